"""Checks of the runners of a `MasterSession`: what they ask of a runner, and the tools that they are made with."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import attrs

from slaveproto.master import (
    AnyStep,
    BuildStarted,
    MasterConfig,
    MasterEvent,
    MasterInput,
    Outcome,
    Output,
    SlaveAccount,
    SlaveAttached,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.testing.conformance.harness import Check, CheckSkipped, perform, shown_events, wait_until
from slaveproto.testing.conformance.socket_master import DEADLINE
from slaveproto.testing.conformance.socket_slave import SocketSlave

E = TypeVar("E")


class RunningMaster(Protocol):
    """A master that listens on a port of this host. The checks call these from a thread of their own."""

    @property
    def port(self) -> int:
        """The port that it listens on, at 127.0.0.1."""
        raise NotImplementedError

    def events(self) -> Sequence[MasterEvent]:
        """Return all that was announced so far."""
        raise NotImplementedError

    def post(self, item: MasterInput) -> None:
        """Hand an input to the session, as a program that embeds the runner would."""
        raise NotImplementedError

    def take_output(self, step: int) -> Sequence[Output]:
        """Return what a step said since the last time, as `MasterSession.output` does."""
        raise NotImplementedError

    def stop(self, why: str) -> None:
        """Ask for the end: the port and every connection are closed."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until the runner is gone; True if it is. Raises what the runner raised."""
        raise NotImplementedError


StartMaster: TypeAlias = Callable[[MasterConfig, "ssl.SSLContext | None"], RunningMaster]
"""Starts a runner on a free port of 127.0.0.1, and returns when it listens. With a context it speaks TLS; raises
`CheckSkipped` if the runner has no TLS."""


def run_master_check(check: Check[MasterLab], start: StartMaster, certificate: Path | None = None) -> None:
    """Perform a check of a master's runner. Takes seconds at most.

    Args:
        check: one of `MASTER_CHECKS`.
        start: starts a runner.
        certificate: a file with a private key and a certificate for `localhost`, signed by itself, for the checks with
            TLS; these are skipped without.

    Raises:
        AssertionError: the runner does not do what it must. The text tells what was expected, and what came.
        CheckSkipped: that cannot be found out on this host, or with this runner.
    """
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        lab = MasterLab(Path(directory), start, certificate)
        perform(check, lab, lab.describe)


class MasterLab:
    """The tools of one check of a master's runner.

    Args:
        directory: empty, for files of the master.
        start: starts a runner.
        certificate: as for `run_master_check`.
    """

    def __init__(self, directory: Path, start: StartMaster, certificate: Path | None) -> None:
        self.directory = directory
        self.certificate = certificate
        self._start = start
        self._masters: list[LabMaster] = []

    def describe(self) -> Iterator[str]:
        """Tell what came, for a failure."""
        for number, master in enumerate(self._masters, 1):
            yield f"announcements of master {number}:"
            yield from shown_events(master.events())
            for slave in master.slaves[-10:]:
                yield f"connection of {slave.describe()}"

    @contextlib.contextmanager
    def master(self, *, tls: bool = False, **config: float) -> Iterator[LabMaster]:
        """Run a master for the slaves `bot` and `other`, with builders `b` and `c`; in the end it has to be gone.

        Args:
            tls: whether it speaks TLS.
            config: more of its `MasterConfig`.
        """
        accounts = {name: SlaveAccount(name, "secret", {"b": "b", "c": "c"}) for name in ("bot", "other")}
        context = None
        if tls:
            if self.certificate is None:
                raise CheckSkipped("needs a certificate")
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate)
        full_config = attrs.evolve(MasterConfig(accounts), **config)  # type: ignore[arg-type]
        master = LabMaster(self._start(full_config, context), self.certificate if tls else None)
        self._masters.append(master)
        try:
            yield master
        finally:
            master.stop("the check is over")
            for slave in master.slaves:
                slave.socket.close()
            master.join()

    @contextlib.contextmanager
    def attached(self) -> Iterator[tuple[LabMaster, SocketSlave]]:
        """A master with the slave `bot` attached."""
        with self.master() as master:
            yield master, master.attach()


class LabMaster:
    """A master that runs, with ways to wait for what it does.

    Args:
        running: the runner.
        certificate: of the master; None if it speaks no TLS.
    """

    def __init__(self, running: RunningMaster, certificate: Path | None) -> None:
        self._running = running
        self._certificate = certificate
        self.port = running.port
        self.post = running.post
        self.stop = running.stop
        self.take_output = running.take_output
        self.slaves: list[SocketSlave] = []
        """The slaves' ends of its connections."""

    def events(self) -> list[MasterEvent]:
        """Return all that was announced so far."""
        return list(self._running.events())

    def of(self, kind: type[E]) -> list[E]:
        """Return the announcements of one kind."""
        return [event for event in self.events() if isinstance(event, kind)]

    def wait_for(self, kind: type[E], count: int = 1) -> E:
        """Wait for the `count`th announcement of a kind."""
        wanted = kind.__name__ if count == 1 else f"{kind.__name__} number {count}"
        expected = f"the master announces {wanted}"
        wait_until(lambda: len(self.of(kind)) >= count or self._running.wait(0), expected=expected)
        found = self.of(kind)
        assert len(found) >= count, f"{expected}, but the runner has ended"
        return found[count - 1]

    def join(self, timeout: float = DEADLINE) -> None:
        """Wait for the end of the runner, which has to be an orderly one."""
        assert self._running.wait(timeout), f"the runner ends within {timeout:g} s"

    # -- slaves

    def connect_raw(self) -> socket.socket:
        """Open a connection to it, without TLS."""
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self, name: str = "bot", *, password: str = "secret", login: bool = True) -> SocketSlave:
        """Open a connection to it, with TLS if it speaks that."""
        sock = self.connect_raw()
        if self._certificate is not None:
            context = ssl.create_default_context(cafile=self._certificate)
            sock = context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
        slave = SocketSlave(sock, name, password=password, login=login)
        self.slaves.append(slave)
        return slave

    def attach(self, name: str = "bot") -> SocketSlave:
        """Let a slave log in, and wait until it is attached."""
        slave = self.connect(name)
        slave.wait_for(lambda: [it for it in self.of(SlaveAttached) if it.slave == name], f"slave {name} is attached")
        return slave

    # -- builds

    def start_build(self, slave: SocketSlave, number: int = 1, builder: str = "b") -> None:
        """Start a build and wait until it has begun."""
        self.post(StartBuild(number, slave.name.decode(), builder))
        slave.wait_for(lambda: BuildStarted(number) in self.events(), f"build {number} starts")

    def start_step(self, slave: SocketSlave, what: AnyStep, number: int = 1, build: int = 1) -> None:
        """Start a step, and wait until the slave was told."""
        before = len(slave.commands)
        self.post(StartStep(number, build, what))
        slave.wait_for(lambda: len(slave.commands) > before, f"the command of step {number} starts")

    def outcome_of(self, step: int = 1, slave: SocketSlave | None = None) -> Outcome:
        """Wait for the end of a step; meanwhile, the slave answers."""

        def outcomes() -> list[Outcome]:
            return [event.outcome for event in self.of(StepFinished) if event.step == step]

        expected = f"the master announces the end of step {step}"
        if slave is not None and slave.open:
            slave.wait_for(outcomes, expected)
        else:
            wait_until(outcomes, expected=expected)
        return outcomes()[0]
