"""Checks of runners, and the tools that they are made with.

A check that fails raises one AssertionError that tells what was expected, and then what came: the announcements so far,
the last bytes on each connection, and the threads and child processes of this process. That works without pytest, which
shows the values of an assertion only in modules that it has rewritten.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import socket
import ssl
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import attrs

from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import Input, SlaveEvent
from slaveproto.slave.session import SlaveSession
from slaveproto.testing.conformance.socket_master import DEADLINE, MasterSocket, SocketMaster

E = TypeVar("E")
L = TypeVar("L")

MOST_EVENTS = 40
"""Announcements that a failure shows; the latest."""


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
    """A check cannot be made, because this host or the runner lacks what it needs; the text tells what."""


@attrs.frozen
class Check(Generic[L]):
    """One thing that a runner has to do.

    Args:
        name: unique.
        text: its rule, for people.
        body: performs it; raises AssertionError if the runner does not do it.
    """

    name: str
    text: str
    body: Callable[[L], None] = attrs.field(repr=False)


class Suite(Generic[L]):
    """Checks in the order in which they were added, for a lab of one kind."""

    def __init__(self) -> None:
        self.checks: list[Check[L]] = []

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


def run_check(check: Check[Lab], start: StartSlave, ssl_context: ssl.SSLContext | None = None) -> None:
    """Perform a check, in a new directory and with a master on a port of this host. Takes seconds at most.

    Args:
        check: one of `CHECKS`, or of `TLS_CHECKS` if there is a context.
        start: starts a runner for a session and returns at once; with TLS if there is a context.
        ssl_context: of the master, for TLS; None for none.

    Raises:
        AssertionError: the runner does not do what it must. The text tells what was expected, and what came.
        CheckSkipped: that cannot be found out on this host.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory, MasterSocket(ssl_context) as listener:
        lab = Lab(Path(directory), listener, start)
        perform(check, lab, lab.describe)


def perform(check: Check[L], lab: L, describe: Callable[[], Iterable[str]]) -> None:
    """Perform a check, and add to its failure what it was about and what came; raises as `run_check`."""
    try:
        check.body(lab)
    except AssertionError as error:
        place = traceback.extract_tb(error.__traceback__)
        mine = [frame for frame in place if "conformance" in frame.filename and frame.name != "perform"]
        where = [f"  {Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in mine]
        expected = str(error).partition("\n")[0] or "the assertion in the last of these lines holds"
        lines = [f"{check.text}: not so", f"expected: {expected}", "at:", *where, *describe(), *_describe_process()]
        raise AssertionError("\n".join(lines)) from error


def shown_events(events: Sequence[object]) -> Iterator[str]:
    """Show the latest announcements, one a line."""
    if not events:
        yield "  no announcement"
    if len(events) > MOST_EVENTS:
        yield f"  ({len(events) - MOST_EVENTS} more before these)"
    for event in events[-MOST_EVENTS:]:
        text = repr(event)
        yield f"  {text if len(text) <= 400 else text[:400] + '...'}"


def _describe_process() -> Iterator[str]:
    names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
    yield f"threads besides the main one: {', '.join(names) or 'none'}"
    try:
        children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()
    except OSError:
        return
    yield f"child processes of the main thread: {', '.join(children) or 'none'}"


class Lab:
    """The tools of one check of a slave's runner.

    Args:
        directory: for the slave, empty.
        listener: the port of a master.
        start: starts a runner.
    """

    def __init__(self, directory: Path, listener: MasterSocket, start: StartSlave) -> None:
        self.directory = directory
        self.listener = listener
        self._start = start
        self._slaves: list[LabSlave] = []

    def describe(self) -> Iterator[str]:
        """Tell what came, for a failure."""
        for number, slave in enumerate(self._slaves, 1):
            yield f"announcements of slave {number}:"
            yield from shown_events(slave.events())
        for number, master in enumerate(self.listener.masters, 1):
            yield f"connection {number}: {master.describe()}"

    @contextlib.contextmanager
    def slave(
        self,
        *,
        port: int | None = None,
        jitter: Callable[[float], float] | None = None,
        resume: bytes | None = None,
        **config: Any,
    ) -> Iterator[LabSlave]:
        """Run a slave; in the end it is stopped, and has to be gone.

        Args:
            port: to connect to; None for that of the listener.
            jitter: as for the session; None for a slave that does not wait before it tries again.
            resume: as for the session.
            config: more of its `SlaveConfig`.
        """
        settings = {"host": "127.0.0.1", "name": "bot", "password": "secret", **config}
        port = self.listener.port if port is None else port
        if jitter is None:
            settings["max_delay"] = 0.0
        full_config = SlaveConfig(port=port, basedir=str(self.directory), **settings)
        host = HostInfo(dict(os.environ), os.name, 1, {}, "test")
        slave = LabSlave(self._start(SlaveSession(full_config, host, jitter or float, resume=resume)))
        self._slaves.append(slave)
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
        wanted = kind.__name__ if count == 1 else f"{kind.__name__} number {count}"
        expected = f"the slave announces {wanted}"
        wait_until(lambda: len(self.of(kind)) >= count or self._running.wait(0), expected=expected)
        found = self.of(kind)
        assert len(found) >= count, f"{expected}, but the runner has ended"
        return found[count - 1]

    def is_over(self, timeout: float) -> bool:
        """Whether it ends in time."""
        return self._running.wait(timeout)

    def join(self, timeout: float = DEADLINE) -> None:
        """Wait for the end of the slave, which has to be an orderly one unless `fails` said otherwise."""
        if self._expected is None:
            assert self._running.wait(timeout), f"the runner ends within {timeout:g} s"

    def fails(self, kind: type[BaseException]) -> None:
        """Wait until the runner has ended with an exception."""
        self._expected = kind
        try:
            over = self._running.wait(DEADLINE)
        except kind:
            return
        came = "it ended in an orderly way" if over else f"it still runs after {DEADLINE:g} s"
        raise AssertionError(f"the runner ends with {kind.__name__}, but {came}")


def wait_until(condition: Callable[[], object], timeout: float = DEADLINE, *, expected: str = "") -> None:
    """Return when `condition` holds.

    Args:
        condition: looked at again and again.
        timeout: seconds that it has.
        expected: the condition in words, for the failure; empty for the line that called this.

    Raises:
        AssertionError: it does not hold in time.
    """
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= limit:
            words = expected or f"`{traceback.extract_stack(limit=2)[0].line}`"
            raise AssertionError(f"{words} within {timeout:g} s")
        time.sleep(0.005)


# -- what Linux tells about processes


def need_acknowledgements() -> None:
    """Skip the check where the system does not tell what the other side's has acknowledged."""
    if sys.platform != "linux":
        raise CheckSkipped("needs a system that tells what was acknowledged")


def read_slowly(sock: socket.socket, seconds: float) -> None:
    """Read 4 KiB of a connection every 16 ms for so many seconds, and drop them."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert sock.recv(4096), "the connection is not closed"
        threading.Event().wait(0.016)


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
    """Return the number of files that this process has open."""
    return len(os.listdir("/proc/self/fd"))


def written_by(pid: int) -> int:
    """Return the number of bytes that a process has written."""
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
