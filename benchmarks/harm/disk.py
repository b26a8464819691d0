"""Harm to the disk and the state of a master, to builds that come to nothing, and to its clock. Needs root to mount.

The builder `maxtime` of real masters runs for three seconds, and so does that of ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import KINDS, Row, Side
from slaveproto.testing.peers import OurMaster, OurSlave, RealMaster, poll

HEAD: Final = '[master]\nlisten = "127.0.0.1:9989"\n'
SLAVE: Final = '[[slave]]\nname = "our"\npassword = "pw-our"\n'
PATIENCE: Final = 60.0
LOCKED: Final = 20.0
FULL: Final = 10.0
SUPERVISED: Final = 40.0
DAY: Final = 86400
CLOCK: Final = """
import os, time
real = time.time
time.time = lambda: real() + float(open(os.environ["WALL_CLOCK"]).read())
"""


def _builder(name: str, step: str, more: str = "") -> str:
    return f"[[builder]]\nname = \"{name}\"\nslaves = [\"our\"]\n{more}[[builder.step]]\nshell = '''{step}'''\n"


OURS: Final = (
    HEAD + SLAVE + _builder("maxtime", "sleep 3") + _builder("hello", "true") + _builder("poison", "kill -9 $PPID")
)


@contextlib.contextmanager
def _master(side: Side, folder: Path) -> Iterator[OurMaster | RealMaster]:
    """Run a master of a side."""
    if side is Side.OURS:
        with OurMaster(folder / "master", OURS) as ours:
            yield ours
    else:
        with RealMaster(KINDS[side], folder / "master", ["maxtime", "hello", "poison"]) as real:
            yield real


def _state(master: OurMaster | RealMaster) -> Path:
    folder = master.directory if isinstance(master, RealMaster) else master.directory / ".slaveproto"
    return folder / "state.sqlite"


class _Asked:
    """A build that was asked for."""

    def __init__(self, master: OurMaster | RealMaster, builder: str) -> None:
        self._master = master
        self._builder = builder
        self._token = ""
        if isinstance(master, RealMaster):
            self._token = master.force(builder)
        else:
            command = [*master.command()[:3], "trigger", master.file.name, builder]
            subprocess.run(command, cwd=master.directory, check=False, capture_output=True, timeout=PATIENCE)

    def wait_running(self) -> None:
        if isinstance(self._master, RealMaster):
            self._master.wait_running(self._builder)
        else:
            self._master.wait_log(f"of {self._builder} on slave our started")

    def outcome(self, timeout: float) -> str:
        """Return its result, or that there is none."""
        with contextlib.suppress(TimeoutError, OSError, RuntimeError):
            return poll(self._result, timeout, "a result")
        return f"no result in {timeout:.0f} s"

    def _result(self) -> str:
        if isinstance(self._master, RealMaster):
            found = self._master.result(self._token)
            return "" if found is None else "ended" if self._builder == "maxtime" else found.result
        for line in self._master.log().splitlines():
            if f"of {self._builder} on slave our: " in line and not line.endswith("retry"):
                return "ended" if self._builder == "maxtime" else line.rpartition(": ")[2]
        return ""


def _told(master: OurMaster | RealMaster, build: _Asked) -> str:
    if not master.running:
        return f"the master ended with exit code {master.process.returncode}; its build had {build.outcome(0)}"
    ran = build.outcome(PATIENCE)
    following = _Asked(master, "hello").outcome(PATIENCE)
    return f"the master runs; the build that ran: {ran}; the next one: {following}"


def _lock_state(side: Side, folder: Path) -> str:
    with _master(side, folder) as master, OurSlave(folder / "slave", master, "our"):
        if isinstance(master, RealMaster):
            master.wait_attached("our")
        build = _Asked(master, "maxtime")
        build.wait_running()
        with contextlib.closing(sqlite3.connect(_state(master), isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE" if isinstance(master, RealMaster) else "BEGIN IMMEDIATE")
            time.sleep(LOCKED)
        return _told(master, build)


def _fill_disk(side: Side, folder: Path) -> str:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        with _master(side, disk) as master, OurSlave(folder / "slave", master, "our"):
            if isinstance(master, RealMaster):
                master.wait_attached("our")
                # The results are ours, not the master's: they are written elsewhere.
                (folder / "results").mkdir()
                (master.directory / "results").rmdir()
                (master.directory / "results").symlink_to(folder / "results")
            build = _Asked(master, "maxtime")
            build.wait_running()
            with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
            time.sleep(FULL)
            (disk / "filler").unlink()
            time.sleep(2)
            return _told(master, build)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def _kill_in_uploads(side: Side, folder: Path) -> str:
    upload = (
        '[[builder]]\nname = "up"\n[[builder.step]]\nshell = "head -c 300000000 /dev/zero > big"\n'
        '[[builder.step]]\nupload = { src = "big", dest = "out/big", block_size = 4096 }\n'
    )
    master = OurMaster(folder / "master", HEAD + upload)
    out = master.directory / "out"
    out.mkdir()
    with master:
        master.wait_log("listening on")
        _Asked(master, "up")
        _kill_in_upload(master, out)
        for _ in range(4):
            master.start()
            _kill_in_upload(master, out)
    sizes = [path.stat().st_size for path in out.iterdir()]
    return f"{len(sizes)} files, {sum(sizes) / 1e6:.1f} MB, after the fifth kill"


def _kill_in_upload(master: OurMaster, out: Path) -> None:
    before = {path.name for path in out.iterdir()}
    poll(lambda: {path.name for path in out.iterdir()} - before, PATIENCE, "another upload")
    time.sleep(0.3)
    master.process.kill()
    master.process.wait()


def _lose_slave(side: Side, folder: Path) -> str:
    """Let a build kill its slave, which comes again at once."""
    with _master(side, folder) as master:
        slave = OurSlave(folder / "slave", master, "our")
        with slave:
            if isinstance(master, RealMaster):
                master.wait_attached("our")
            else:
                master.wait_log("slave our attached")
            _Asked(master, "poison")
            deaths, end = 0, time.monotonic() + SUPERVISED
            while time.monotonic() < end:
                if not slave.running:
                    deaths += 1
                    slave.start()
                time.sleep(0.05)
    return f"{deaths} tries in {SUPERVISED:.0f} s"


def _set_clock(side: Side, folder: Path) -> str:
    """Let the wall clock be a day ahead for 20 s, then right again."""
    clock = folder / "clock"
    clock.write_text("0")
    every = HEAD + '[[builder]]\nname = "b"\ntriggers = { every = 5 }\n[[builder.step]]\nshell = "true"\n'
    master = OurMaster(folder / "master", every)
    log = master.directory / "stdio.log"
    # Only the wall clock is moved. libfaketime also delays what waits with a limit.
    (folder / "sitecustomize.py").write_text(CLOCK)
    faked = {**os.environ, "PYTHONPATH": str(folder), "WALL_CLOCK": str(clock)}
    counts = []
    with (
        log.open("wb") as output,
        subprocess.Popen(master.command(), cwd=master.directory, env=faked, stdout=output, stderr=output) as process,
    ):
        for offset, seconds in ((0, 15), (DAY, 20), (0, 30)):
            (folder / "next").write_text(str(offset))
            (folder / "next").replace(clock)
            before = log.read_text().count("started")
            time.sleep(seconds)
            counts.append(f"{log.read_text().count('started') - before} in {seconds} s")
        process.send_signal(signal.SIGTERM)
    listed = subprocess.run(
        [*master.command()[:3], "builds", master.file.name],
        cwd=master.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    taken = [float(line.split(" success ")[1].split()[0]) for line in listed.stdout.splitlines() if " success " in line]
    return f"builds: {', '.join(counts)}; durations from {min(taken)} s to {max(taken)} s"


ROWS: Final[Sequence[Row]] = (
    Row(4, f"the state file is locked for {LOCKED:.0f} s in a build: what becomes of it", _lock_state),
    Row(4, f"the disk is full for {FULL:.0f} s in a build (root): what becomes of it", _fill_disk),
    Row(4, "kill -9 in five uploads: what is left beside the target", _kill_in_uploads, [Side.OURS]),
    Row(5, f"a build kills its slave each time, which comes again: tries in {SUPERVISED:.0f} s", _lose_slave),
    Row(10, "the clock is right, a day ahead, right again, every = 5 s", _set_clock, [Side.OURS]),
)
