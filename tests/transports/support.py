"""A slave in this process: its session in a thread of its own, and what it announced."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slaveproto import HostInfo, SlaveConfig, SlaveSession
from slaveproto.slave.events import SlaveEvent
from tests.transports.scripted_master import DEADLINE
from transports.threads import Runner


def wait_until(condition: Callable[[], object], timeout: float = DEADLINE) -> None:
    """Return when `condition` holds."""
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


class Slave:
    """A session and its runner."""

    def __init__(self, port: int, basedir: Path, jitter: Callable[[float], float], **config: Any) -> None:
        settings = {"host": "127.0.0.1", "name": "bot", "password": "secret", **config}
        self.config = SlaveConfig(port=port, basedir=str(basedir), **settings)
        host = HostInfo(dict(os.environ), os.name, 1, {}, "test")
        self.events: list[SlaveEvent] = []
        self.error: BaseException | None = None
        self.runner = Runner(SlaveSession(self.config, host, jitter), self.events.append)
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.runner.run()
        except BaseException as error:
            self.error = error

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def wait_for(self, kind: type[Any], count: int = 1) -> Any:
        """Wait for the `count`th event of a kind."""
        wait_until(lambda: len(self.of(kind)) >= count or not self.thread.is_alive())
        found = self.of(kind)
        assert len(found) >= count, f"the slave ended without it: {self.events}, {self.error!r}"
        return found[count - 1]

    def join(self, timeout: float = DEADLINE) -> None:
        """Wait for the end of the slave, which has to be an orderly one."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the slave did not end in time"
        assert self.error is None, repr(self.error)


@contextlib.contextmanager
def running_slave(
    port: int, basedir: Path, jitter: Callable[[float], float] = lambda delay: 0.0, **config: Any
) -> Iterator[Slave]:
    """Run a slave that does not wait before it tries again; in the end it is stopped, and has to be gone."""
    slave = Slave(port, basedir, jitter, **config)
    slave.thread.start()
    try:
        yield slave
    finally:
        slave.runner.stop("the test is over")
        slave.runner.stop("at once")
        slave.join()


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
