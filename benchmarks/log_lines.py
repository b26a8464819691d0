"""Row 5, log lines of a real process over TCP to a master that stores them.

CPU time is that of the slave's and of the master's process, from the request of the build until both are idle again;
what the command itself needs is not in it. Wall time is that from the start of the command until the master has told
the end of the build. The first byte is the first of the command's output that another process can read from where the
master keeps it: the log file of ours, the database of 4.3.0.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs

from benchmarks.figures import Comparison, Figure, Options, in_turns, times_less
from benchmarks.machine import cpu_seconds
from benchmarks.pairs import (
    NEW_MASTER,
    NEW_SLAVE,
    OUR_MASTER,
    OUR_SLAVE,
    PASSWORD,
    make_slave,
    our_master,
    trigger,
    wait_idle,
)
from slaveproto.testing.peers import OurMaster, RealBuilder, RealMaster, SlaveProgram

LINE: Final = "2026-11-23 21:00:42 [%8d] cc -O2 -Wall -c src/some/module.c -o build/some/module.o\n"
PATIENCE: Final = 300.0
"""Seconds that a build may take."""

OWN: Final = f"{NEW_SLAVE}, {NEW_MASTER}"
MIXED: Final = f"{OUR_SLAVE}, {NEW_MASTER}"
OURS: Final = f"{OUR_SLAVE}, {OUR_MASTER}"


@attrs.frozen
class Cost:
    """What one build took, in seconds."""

    slave: float
    master: float
    wall: float
    first: float


class Pair(ABC):
    """A master and a slave.

    Args:
        master: its program.
        slave: the slave's.
        builder: the name of the builder.
        lines: how many it prints.
    """

    def __init__(self, master: RealMaster | OurMaster, slave: SlaveProgram, builder: str, lines: int) -> None:
        self.slave = slave
        self.builder = builder
        self._pids = slave.pid, master.pid
        self._folder = slave.directory / builder / "build"
        self._folder.mkdir(parents=True)
        with open(self._folder / "data", "w") as file:
            file.writelines(LINE % number for number in range(lines))
        self.lines = lines

    def build(self) -> Cost:
        """Build once."""
        wait_idle(self._pids)
        before = [cpu_seconds(pid) for pid in self._pids]
        end = time.monotonic() + PATIENCE
        self.request()
        while not self.has_some():
            assert time.monotonic() < end, f"{self.builder}: no output"
            time.sleep(0.002)
        first = time.time()
        while not self.is_over():
            assert time.monotonic() < end, f"{self.builder}: not finished"
            time.sleep(0.02)
        over = time.time()
        wait_idle(self._pids)
        after = [cpu_seconds(pid) for pid in self._pids]
        self.check()
        began = float((self._folder / "began").read_text())
        return Cost(after[0] - before[0], after[1] - before[1], over - began, first - began)

    @abstractmethod
    def request(self) -> None:
        """Ask for a build."""

    @abstractmethod
    def has_some(self) -> bool:
        """Whether the master keeps something of the output."""

    @abstractmethod
    def is_over(self) -> bool:
        """Whether the build is over."""

    @abstractmethod
    def check(self) -> None:
        """See that all is there."""


class OfNew(Pair):
    """A slave with a 4.3.0 master."""

    def __init__(self, master: RealMaster, slave: SlaveProgram, builder: str, lines: int) -> None:
        super().__init__(master, slave, builder, lines)
        self._master = master
        self._database = master.directory / "state.sqlite"
        self._seen = 0
        self._token = ""

    def request(self) -> None:
        ((seen,),) = self._ask("SELECT coalesce(max(id), 0) FROM logs")
        assert isinstance(seen, int)
        self._seen = seen
        self._token = self._master.force(self.builder)

    def _ask(self, question: str, *values: object) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as database:
            return database.execute(question, values).fetchall()

    def has_some(self) -> bool:
        for content, compressed in self._ask("SELECT content, compressed FROM logchunks WHERE logid > ?", self._seen):
            assert isinstance(content, bytes)
            text = zlib.decompress(content) if compressed else content
            if text.startswith(b"o") or b"\no" in text:
                return True
        return False

    def is_over(self) -> bool:
        return self._master.result(self._token) is not None

    def check(self) -> None:
        result = self._master.result(self._token)
        assert result is not None
        assert result.result == "success"
        # Headers are lines, too.
        ((stored,),) = self._ask("SELECT num_lines FROM logs WHERE id > ? AND slug = 'stdio'", self._seen)
        assert isinstance(stored, int)
        assert stored > self.lines


class OfOurs(Pair):
    """A slave with our master."""

    def __init__(self, master: OurMaster, slave: SlaveProgram, builder: str, lines: int) -> None:
        super().__init__(master, slave, builder, lines)
        self._master = master
        self._logs = master.directory / ".slaveproto" / "logs"
        self._number = 0

    @property
    def _log(self) -> Path:
        return self._logs / str(self._number) / "1-stdio.log"

    def request(self) -> None:
        self._number += 1
        trigger(self._master, self.builder)

    def has_some(self) -> bool:
        return self._log.exists() and self._log.stat().st_size > 0

    def is_over(self) -> bool:
        return f"build {self._number} of {self.builder} on slave {self.slave.name}: " in self._master.log()

    def check(self) -> None:
        assert f"on slave {self.slave.name}: success" in self._master.log().splitlines()[-1]
        assert self._log.stat().st_size == (self._folder / "data").stat().st_size


def rows(options: Options) -> Iterator[Figure]:
    """Row 5."""
    lines = int(options.megabytes * 1e6 / len(LINE % 0))
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        names = {"own": NEW_SLAVE, "our": OUR_SLAVE}
        builders = [RealBuilder(f"lines-{name}", "lines", (name,)) for name in names]
        real = RealMaster("new", folder / "new", builders, slaves=dict.fromkeys(names, PASSWORD), tell_logs=False)
        ours = our_master(folder / "ours", ["our"], "lines", ["date +%s.%N > began; cat data"])
        stack.enter_context(real)
        stack.enter_context(ours)

        def slave(kind: str, master: RealMaster | OurMaster, name: str) -> SlaveProgram:
            made = stack.enter_context(make_slave(kind, folder / f"{master.directory.name}-{name}", master, name))
            made.wait_attached()
            return made

        pairs: dict[str, Pair] = {
            OWN: OfNew(real, slave(NEW_SLAVE, real, "own"), "lines-own", lines),
            MIXED: OfNew(real, slave(OUR_SLAVE, real, "our"), "lines-our", lines),
            OURS: OfOurs(ours, slave(OUR_SLAVE, ours, "our"), "lines-our", lines),
        }
        found = in_turns(options.runs, {who: pair.build for who, pair in pairs.items()})
    yield from _figures(found, f"{options.megabytes:g} MB of log lines")


def _figures(found: dict[str, list[Cost]], what: str) -> Iterator[Figure]:
    def runs(part: str) -> dict[str, Sequence[float]]:
        return {who: [getattr(cost, part) for cost in costs] for who, costs in found.items()}

    yield Figure(5, f"{what}: slave", "CPU s", runs("slave"), [times_less(OWN, who=OURS)])
    yield Figure(5, f"{what}: master", "CPU s", runs("master"), [times_less(OWN, 10, who=OURS)])
    yield Figure(5, f"{what}: wall time", "s", runs("wall"), [times_less(OWN, who=OURS)])
    yield Figure(5, f"{what}: first byte at the master", "s", runs("first"), [Comparison(OURS, None, most=0.25)])
