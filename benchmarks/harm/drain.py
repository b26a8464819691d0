"""Promise 9: what SIGTERM, once or twice, does to a slave or a master in the middle of a build.

A build needs some seconds more when the signal comes. The other end is our program, or for a real master its own slave.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import KINDS, DoHarm, Row, Side
from slaveproto.ci.store import Store
from slaveproto.testing.peers import (
    MatchingSlave,
    OurMaster,
    OurSlave,
    RealMaster,
    RealSlave,
    SlaveProgram,
    poll,
)

LIMIT: Final = 60.0
"""Seconds after which a program that does not end counts as one that never does."""
FILE: Final = """[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "s"
password = "p"
[[builder]]
name = "slow1"
slaves = ["s"]
[[builder.step]]
shell = "sleep 3; echo done"
[[builder.step]]
shell = "echo the second step"
"""


def _slave(side: Side, folder: Path, master: OurMaster) -> SlaveProgram:
    if side is Side.OURS:
        return OurSlave(folder / "slave", master, "s")
    return RealSlave(folder / "slave", master, "s", kind=KINDS[side])


def _trigger(master: OurMaster) -> None:
    call = [sys.executable, "-m", "slaveproto", "trigger", str(master.file), "slow1"]
    subprocess.run(call, check=True, capture_output=True)


def _results(master: OurMaster) -> list[str]:
    store = Store(str(master.directory / ".slaveproto"), read_only=True)
    try:
        return [build.result or "no result" for build in store.builds(10)]
    finally:
        store.close()


def _end_of(program: SlaveProgram | OurMaster | RealMaster) -> str:
    """Wait for the end of a program; return its exit code and how long that took."""
    begun = time.monotonic()
    try:
        code = program.wait_exit(LIMIT)
    except TimeoutError:
        return f"not gone after {LIMIT:g} s"
    return f"exit {code} after {time.monotonic() - begun:.1f} s"


def _slave_in_a_build(side: Side, folder: Path) -> str:
    with OurMaster(folder / "master", FILE) as master, _slave(side, folder, master) as slave:
        slave.wait_attached()
        _trigger(master)
        poll(slave.step_processes, 30, "the step runs")
        slave.process.terminate()
        end = _end_of(slave)
        poll(lambda: all(result != "no result" for result in _results(master)), 30, "the build has a result")
        return f"build {_results(master)[-1]}; {end}"


def _slave_twice(side: Side, folder: Path) -> str:
    with OurMaster(folder / "master", FILE) as master, _slave(side, folder, master) as slave:
        slave.wait_attached()
        _trigger(master)
        poll(slave.step_processes, 30, "the step runs")
        slave.process.terminate()
        time.sleep(0.5)
        if slave.running:
            slave.process.terminate()
        end = _end_of(slave)
        return f"{end}; {len(slave.step_processes())} processes of the step are left"


@contextlib.contextmanager
def _master_in_a_build(
    side: Side, folder: Path, *options: str
) -> Iterator[tuple[OurMaster | RealMaster, SlaveProgram, str]]:
    """Run a master, ours with some options, and its slave in a build; gives the name of the build as well."""
    if side is Side.OURS:
        with OurMaster(folder / "master", FILE, *options) as ours, OurSlave(folder / "slave", ours, "s") as slave:
            slave.wait_attached()
            _trigger(ours)
            poll(slave.step_processes, 30, "the step runs")
            yield ours, slave, ""
        return
    with (
        RealMaster(KINDS[side], folder / "master", ["slow1"], slaves={"s": "p"}) as real,
        MatchingSlave(folder / "slave", real, "s") as matching,
    ):
        real.wait_attached("s")
        token = real.force("slow1")
        poll(matching.step_processes, 30, "the step runs")
        yield real, matching, token


def _master_once(side: Side, folder: Path) -> str:
    with _master_in_a_build(side, folder) as (master, _, token):
        master.process.terminate()
        end = _end_of(master)
        if isinstance(master, OurMaster):
            return f"build {_results(master)[-1]}; {end}"
        result = master.result(token)
        return f"build {result.result if result else 'without a result'}; {end}"


def _master_with_a_frozen_slave(signals: int) -> DoHarm:
    def do(side: Side, folder: Path) -> str:
        # Ours is asked for what the others do: to end at once.
        with _master_in_a_build(side, folder, "--drain", "0") as (master, slave, _):
            slave.freeze()
            for number in range(signals):
                if number:
                    time.sleep(2)
                if master.running:
                    master.process.terminate()
            end = _end_of(master)
            traces = len(re.findall("Traceback", master.log()))
            return f"{end}; {traces} tracebacks"

    return do


ROWS: Final = (
    Row(9, "SIGTERM of a slave in a build with 3 s to go", _slave_in_a_build),
    Row(9, "two SIGTERMs of a slave in a build, 0.5 s apart", _slave_twice),
    Row(9, "SIGTERM of a master in a build", _master_once),
    Row(9, "SIGTERM of a master that builds on a frozen slave", _master_with_a_frozen_slave(1)),
    Row(9, "two of them, 2 s apart", _master_with_a_frozen_slave(2)),
)
