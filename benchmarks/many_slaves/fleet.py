"""Agreements of the two masters and the slaves, and what the masters measure of themselves."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import time
from typing import Final

import attrs

from benchmarks.machine import resident_kilobytes

HOST: Final = "127.0.0.1"
PASSWORD: Final = "pw"
BUILDER: Final = "b"
COMMAND: Final = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i; sleep 0.2; done"
LINES: Final = 10
KEEPALIVE: Final = 5.0
"""Seconds between two signs of life of a slave; all that the idle ones do."""
SETTLED: Final = 1.0
"""Seconds after the last slave is attached until memory is looked at."""


def names(count: int) -> list[str]:
    """Return the names of the slaves."""
    return [f"s{number}" for number in range(count)]


@attrs.frozen
class Task:
    """What a master is to do.

    Args:
        port: to listen on.
        count: of slaves, which come by themselves.
        busy: how many of them build, all at once.
        idle: seconds during which no slave builds.
    """

    port: int
    count: int
    busy: int
    idle: float

    @property
    def words(self) -> list[str]:
        """As arguments of a program."""
        return [str(value) for value in attrs.astuple(self)]


@attrs.frozen
class Report:
    """What it cost the master.

    Args:
        attach_wall: seconds from its first sign of life until all are attached.
        attach_cpu: milliseconds per slave.
        memory: kilobytes per slave.
        idle_cpu: milliseconds per slave and minute.
        busy_cpu: the same while the busy ones build.
    """

    attach_wall: float
    attach_cpu: float
    memory: float
    idle_cpu: float
    busy_cpu: float


def task() -> Task:
    """Return the task of this process."""
    parser = argparse.ArgumentParser()
    for name, kind in (("port", int), ("count", int), ("busy", int), ("idle", float)):
        parser.add_argument(name, type=kind)
    allow_many_files()
    return Task(**vars(parser.parse_args()))


def allow_many_files() -> None:
    """Allow this process as many open files as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Book:
    """What this process has used, phase by phase. Begins when the master listens.

    Args:
        task: what it is to do.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        gc.collect()
        self._memory = resident_kilobytes(os.getpid())
        self._found: list[float] = []
        self._begin()

    def _begin(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def _end(self) -> tuple[float, float]:
        found = time.process_time() - self._cpu, time.monotonic() - self._wall
        self._begin()
        return found

    def attached(self) -> None:
        """All slaves are attached."""
        cpu, wall = self._end()
        self._found += [wall, cpu * 1000 / self._task.count]

    def settled(self) -> None:
        """Nothing goes on any more that has to do with attaching."""
        gc.collect()
        self._found.append((resident_kilobytes(os.getpid()) - self._memory) / self._task.count)
        self._begin()

    def idled(self) -> None:
        """The time without builds is over."""
        self._found.append(self._rate())

    def built(self, complete: int) -> None:
        """All builds are over; so many of them have all of their output."""
        assert complete == self._task.busy, f"{complete} of {self._task.busy} builds are complete"
        self._found.append(self._rate())
        print(json.dumps(attrs.asdict(Report(*self._found))), flush=True)

    def _rate(self) -> float:
        cpu, wall = self._end()
        return cpu / wall * 60_000 / self._task.count
