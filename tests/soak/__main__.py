"""Run a master with many slaves under random kills, and look whether anything grows.

    python -m tests.soak [--seconds N] [--slaves N] [--seed N]

Every builder builds every second. Slaves are killed and started again, or stand still for three seconds; strangers
come, say something and go. A tenth of the slaves is spared. What is compared, of the master and of those, are the
smallest values of two windows: from 30 to 50 % of the time, and from 80 to 100 %. Exits with 1 if something grew. Runs
on Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from slaveproto.testing.peers import OurMaster, OurSlave, poll

BUILDERS: Final = 10
STEP: Final = "echo hello; sleep 0.2; echo out"

PAUSE: Final = 0.5
"""Seconds between two kills."""

FROZEN: Final = 3.0
"""Seconds for which a slave stands still."""

EARLY: Final = (0.3, 0.5)
LATE: Final = (0.8, 1.0)
"""Windows, as parts of the whole time."""

MORE: Final[Mapping[str, float]] = {"megabytes": 3.0, "descriptors": 2, "threads": 3, "children": 0}
"""Growth from one window to the other that is none in two minutes: pools and caches fill up once."""


@attrs.frozen
class Sample:
    """Figures of a process."""

    megabytes: float
    descriptors: int
    threads: int
    children: int


def main() -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3600, metavar="N", help="how long (default: 3600)")
    parser.add_argument("--slaves", type=int, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _soak(Path(folder), options.seconds, options.slaves, random.Random(options.seed))


def _soak(folder: Path, seconds: int, count: int, chance: random.Random) -> int:
    with contextlib.ExitStack() as stack:
        master = OurMaster(folder / "master", _build_file(count))
        # With an arena for each worker thread, memory grows by megabytes until the arenas have found their size.
        master.variables["MALLOC_ARENA_MAX"] = "1"
        stack.enter_context(master)
        slaves = [OurSlave(folder / f"s{number}", master, f"s{number}") for number in range(count)]
        for slave in slaves:
            stack.enter_context(slave)
        for slave in slaves:
            slave.wait_attached(timeout=120)
        spared, mortal = slaves[: max(1, count // 10)], slaves[max(1, count // 10) :]
        watched = {"master": master.pid, **{slave.name: slave.pid for slave in spared}}
        samples: dict[str, list[tuple[float, Sample]]] = {name: [] for name in watched}
        start, kills, pauses = time.monotonic(), 0, 0
        frozen: list[tuple[float, OurSlave]] = []
        while (passed := time.monotonic() - start) < seconds:
            for name, pid in watched.items():
                samples[name].append((passed / seconds, _sample(pid)))
            while frozen and frozen[0][0] <= passed:
                frozen.pop(0)[1].thaw()
            standing = {slave for _, slave in frozen}
            slave = chance.choice([slave for slave in mortal if slave not in standing])
            if chance.random() < 0.5:
                slave.kill()
                slave.start()
                kills += 1
            else:
                slave.freeze()
                frozen.append((passed + FROZEN, slave))
                pauses += 1
            _stranger(master.port, chance)
            time.sleep(PAUSE)
        for _, slave in frozen:
            slave.thaw()
        for slave in slaves:
            poll(lambda slave=slave: slave.running, 10, f"{slave.name} runs")  # type: ignore[misc]
        log = master.log()
        master.stop(timeout=60)
    built, retried = log.count(": success"), log.count(": retry")
    print(
        f"{count} slaves, {seconds} s: {kills} kills, {pauses} pauses, {built} builds succeeded, {retried} lost their "
        f"slave, {log.count('Traceback')} tracebacks"
    )
    grown = [words for name, found in samples.items() for words in _growth(name, found)]
    print(*grown, sep="\n")
    return 1 if grown or "Traceback" in log or not built else 0


def _build_file(count: int) -> str:
    lines = ["[master]", 'listen = "127.0.0.1:9989"']
    for number in range(count):
        lines += ["[[slave]]", f'name = "s{number}"', f'password = "pw{number}"']
    for number in range(BUILDERS):
        names = ", ".join(f'"s{slave}"' for slave in range(number, count, BUILDERS))
        lines += ["[[builder]]", f'name = "b{number}"', f"slaves = [{names}]", 'triggers = { every = "1s" }']
        lines += ["[[builder.step]]", f'shell = "{STEP}"']
    return "\n".join(lines) + "\n"


def _sample(pid: int) -> Sample:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    children = sum(len(path.read_text().split()) for path in _tasks(process))
    return Sample(
        int(status["VmRSS"].split()[0]) / 1024,
        len(list((process / "fd").iterdir())),
        int(status["Threads"]),
        children,
    )


def _tasks(process: Path) -> Iterator[Path]:
    for task in (process / "task").iterdir():
        with contextlib.suppress(OSError):
            (task / "children").stat()
            yield task / "children"


def _growth(name: str, found: list[tuple[float, Sample]]) -> list[str]:
    """Print the smallest figures of both windows; return what grew, in words."""
    wrong, told = [], []
    for what, more in MORE.items():
        before, after = (
            min(getattr(sample, what) for at, sample in found if low <= at <= high) for low, high in (EARLY, LATE)
        )
        told.append(f"{what} {before:.1f} -> {after:.1f}")
        if after > before + more:
            wrong.append(f"{name}: {told[-1]}")
    print(f"{name}: {', '.join(told)}")
    return wrong


def _stranger(port: int, chance: random.Random) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as stranger:
        stranger.sendall(chance.choice((b"", b"GET / HTTP/1.0\r\n\r\n", b"\x03\x82abc", chance.randbytes(100))))


if __name__ == "__main__":
    sys.exit(main())
