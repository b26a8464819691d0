"""What a relay costs a build: a long log and a large upload, beside the direct link, in turns.

    python benchmarks/relayed_builds.py [--log 50] [--upload 200] [--runs 3]

The master is ours, the slaves are buildbot-worker 4.3.0 and ours. Prints a table for docs/relay.md: megabytes a second,
the median, and beside the first row of a slave what part of it.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.relay import Started
from slaveproto.testing.peers import OurBuilds, OurSlave, RealSlave, SlaveProgram
from slaveproto.testing.peers.processes import free_port

FILE: Final = """[master]
listen = "127.0.0.1:9989"
log_max_size = 0
[[slave]]
name = "s"
password = "pw"
[[builder]]
name = "b"
slaves = ["s"]
[[builder.step]]
name = "prepare"
shell = "test -f data || head -c {upload}000000 /dev/urandom > data"
[[builder.step]]
name = "log"
shell = "head -c {log}000000 /dev/zero | tr '\\\\0' x | fold -w 99"
log_environ = false
[[builder.step]]
name = "upload"
upload = {{ src = "data", dest = "data" }}
"""


@attrs.frozen
class Door:
    """Where a slave logs in."""

    port: int
    slaves: Mapping[str, str] = {"s": "pw"}
    host: str = "127.0.0.1"


@contextlib.contextmanager
def ways(master: int) -> Iterator[Mapping[str, Door]]:
    """Run relays to a master's port; return the doors by name."""
    relay = ("-m", "slaveproto", "relay", "--listen", "127.0.0.1:0")
    far = Started(*relay, "--to", f"127.0.0.1:{master}")
    near = Started(*relay, "--via", f"127.0.0.1:{far.port}")
    straight = Started(*relay, "--via", f"127.0.0.1:{master}")
    try:
        yield {
            "direct": Door(master),
            "relay": Door(far.port),
            "pair of relays": Door(near.port),
            "relay, and the master's own end of the stream": Door(straight.port),
        }
    finally:
        for program in (far, near, straight):
            program.process.kill()


def slaves(folder: Path, doors: Mapping[str, Door]) -> Iterator[tuple[str, str, SlaveProgram]]:
    """Give each slave with each way, by their names."""
    for number, (way, door) in enumerate(doors.items()):
        yield "worker 4.3.0", way, RealSlave(folder / f"worker{number}", door, "s", kind="new")
    direct = doors["direct"]
    yield "slaveproto", "direct", OurSlave(folder / "plain", direct, "s", more=["--resume", "0"])
    yield "slaveproto", "direct, over a stream", OurSlave(folder / "lasting", direct, "s")
    yield "slaveproto", "relay, over a stream", OurSlave(folder / "relayed", doors["relay"], "s")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a relay costs a build.")
    parser.add_argument("--log", type=int, default=50, metavar="MB", help="of a log (default: 50)")
    parser.add_argument("--upload", type=int, default=200, metavar="MB", help="of a file (default: 200)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each (default: 3)")
    options = parser.parse_args()
    sizes = {"log": options.log, "upload": options.upload}
    port = free_port()
    base: dict[tuple[str, str], float] = {}
    print("| slave | way | log, MB/s | upload, MB/s |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ways(port) as doors:
        for name, way, slave in slaves(Path(scratch), doors):
            found: dict[str, list[float]] = {step: [] for step in sizes}
            with slave:
                for run in range(options.runs):
                    program = OurBuilds(Path(scratch) / f"{slave.directory.name}-{run}", FILE.format(**sizes))
                    program.port = port
                    program.write(FILE.format(**sizes))
                    program.start()
                    code, builds = program.wait(300)
                    assert code == 0, program.log()
                    for step, size in sizes.items():
                        elapsed = builds["b"].step(step).elapsed
                        assert elapsed is not None
                        found[step].append(size / elapsed)
                    program.stop()
            cells = []
            for step, speeds in found.items():
                speed = statistics.median(speeds)
                part = speed / base.setdefault((name, step), speed)
                cells.append(f"{speed:.0f}" if way == "direct" else f"{speed:.0f} ({part:.0%})")
            print(f"| {name} | {way} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
