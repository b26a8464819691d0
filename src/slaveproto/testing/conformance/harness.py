"""Checks of a runner, and what they are made with."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs

from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import Input, SlaveEvent
from slaveproto.slave.session import SlaveSession
from slaveproto.testing.conformance.master import DEADLINE, MasterSocket, SocketMaster

E = TypeVar("E")


class RunningSlave(Protocol):
    """A session with the runner that drives it. The checks call these from a thread of their own."""

    def events(self) -> Sequence[SlaveEvent]:
        """Return all that was announced so far."""
        raise NotImplementedError

    def post(self, item: Input) -> None:
        """Hand an input to the session, as a program that embeds the runner would."""
        raise NotImplementedError

    def stop(self, why: str) -> None:
        """Ask for the end; for the second time, at once."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until the runner is gone; True if it is. Raises what the runner raised."""
        raise NotImplementedError


StartSlave = Callable[[SlaveSession], RunningSlave]


class CheckSkipped(Exception):
    """This host lacks what the check needs; the text tells what."""


@attrs.frozen
class Check:
    """One thing that a runner has to do.

    Args:
        name: unique.
        text: what it is, for people.
        body: performs it; raises AssertionError if the runner does not do it.
    """

    name: str
    text: str
    body: Callable[[Lab], None] = attrs.field(repr=False)


class Suite:
    """Checks in the order in which they were added."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(self, *variants: dict[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Return a decorator that adds a function as a check, or as one for each set of arguments."""

        def decorate(function: Callable[..., None]) -> Callable[..., None]:
            text = inspect.getdoc(function) or function.__name__.replace("_", " ")
            for number, arguments in enumerate(variants or ({},)):
                suffix = f"-{number}" if arguments else ""
                shown = "".join(f"; {key}: {value!r}" for key, value in arguments.items() if not callable(value))
                body = functools.partial(function, **arguments)
                self.checks.append(Check(function.__name__ + suffix, text + shown, body))
            return function

        return decorate


def run_check(check: Check, start: StartSlave) -> None:
    """Perform a check, in a new directory and with a master on a port of this host. Takes seconds at most.

    Args:
        check: one of `CHECKS`.
        start: starts a runner for a session and returns at once.

    Raises:
        AssertionError: the runner does not do what it must.
        CheckSkipped: that cannot be found out on this host.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory, MasterSocket() as listener:
        check.body(Lab(Path(directory), listener, start))


class Lab:
    """What a check works with.

    Args:
        directory: for the slave, empty.
        listener: the port of a master.
        start: starts a runner.
    """

    def __init__(self, directory: Path, listener: MasterSocket, start: StartSlave) -> None:
        self.directory = directory
        self.listener = listener
        self._start = start

    @contextlib.contextmanager
    def slave(
        self, *, port: int | None = None, jitter: Callable[[float], float] = lambda delay: 0.0, **config: Any
    ) -> Iterator[LabSlave]:
        """Run a slave that does not wait before it tries again; in the end it is stopped, and has to be gone.

        Args:
            port: to connect to; None for that of the listener.
            jitter: as for the session.
            config: more of its `SlaveConfig`.
        """
        settings = {"host": "127.0.0.1", "name": "bot", "password": "secret", **config}
        port = self.listener.port if port is None else port
        full_config = SlaveConfig(port=port, basedir=str(self.directory), **settings)
        host = HostInfo(dict(os.environ), os.name, 1, {}, "test")
        slave = LabSlave(self._start(SlaveSession(full_config, host, jitter)))
        try:
            yield slave
        finally:
            slave.stop("the check is over")
            slave.stop("at once")
            slave.join()

    @contextlib.contextmanager
    def attached(self) -> Iterator[tuple[LabSlave, SocketMaster]]:
        """A slave with a builder `b`, attached to a master of the new kind."""
        with self.slave() as slave, self.listener.attach("b") as master:
            yield slave, master


class LabSlave:
    """A slave that runs, with ways to wait for what it does."""

    def __init__(self, running: RunningSlave) -> None:
        self._running = running
        self._expected: type[BaseException] | None = None
        self.post = running.post
        self.stop = running.stop

    def events(self) -> list[SlaveEvent]:
        """All that was announced so far."""
        return list(self._running.events())

    def of(self, kind: type[E]) -> list[E]:
        """The announcements of one kind."""
        return [event for event in self.events() if isinstance(event, kind)]

    def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Wait for the `count`th announcement of a kind."""
        wait_until(lambda: len(self.of(kind)) >= count or self._running.wait(0))
        found = self.of(kind)
        assert len(found) >= count, f"the slave ended without it: {self.events()}"
        return found[count - 1]

    def is_over(self, timeout: float) -> bool:
        """Whether it ends in time."""
        return self._running.wait(timeout)

    def join(self, timeout: float = DEADLINE) -> None:
        """Wait for the end of the slave, which has to be an orderly one unless `fails` said otherwise."""
        if self._expected is None:
            assert self._running.wait(timeout), "the slave did not end in time"

    def fails(self, kind: type[BaseException]) -> None:
        """Wait until the runner has ended with an exception."""
        self._expected = kind
        try:
            over = self._running.wait(DEADLINE)
        except kind:
            return
        raise AssertionError("the runner ended as if nothing were wrong" if over else "the runner goes on")


def wait_until(condition: Callable[[], object], timeout: float = DEADLINE) -> None:
    """Return when `condition` holds.

    Raises:
        AssertionError: it does not within `timeout` seconds.
    """
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


# -- what Linux tells about processes


def need_proc() -> None:
    """Raise CheckSkipped unless this host tells about its processes."""
    if not Path("/proc/self/io").exists():
        raise CheckSkipped("looks into /proc")


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return state_of(pid) not in ("", "Z", "X")


def state_of(pid: int) -> str:
    """The letter that Linux gives to the state of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descriptors() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))


def written_by(pid: int) -> int:
    """How many bytes a process has written."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def wait_until_stuck(pid: int) -> int:
    """Wait until a process has written something, and nothing more for 0.2 s; return how many bytes."""
    figures: list[int] = []

    def steady() -> bool:
        figures.append(written_by(pid))
        time.sleep(0.02)
        return len(figures) > 10 and figures[-1] == figures[-10] > 0

    wait_until(steady)
    return figures[-1]
