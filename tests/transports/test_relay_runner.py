"""The runner of a relay with real sockets: bytes, half-closed ends, TLS, cuts, shortage of descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.inputs import Stop
from slaveproto.relay.config import Place, RelayConfig
from slaveproto.relay.events import LinkBack, PairOpened, PairOver, RelayEvent, TurnedAway
from slaveproto.relay.session import RelaySession
from tests.certificates import Authority
from tests.relay.cutter import Cutter
from tests.relay.network import GREETING, PB
from transports.host.describe import jitter
from transports.host.route import Route
from transports.host.tls import client_context, server_context, trust_clients
from transports.threads.relay import RelayRunner

pytestmark = pytest.mark.programs

PATIENCE = 10.0


class Running:
    """A relay in a thread."""

    def __init__(
        self,
        place: Place,
        to: int,
        *,
        server_context: ssl.SSLContext | None = None,
        route: Route = Route(),  # noqa: B008  frozen
    ) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        listener.setblocking(False)
        self.port: int = listener.getsockname()[1]
        self.events: list[RelayEvent] = []
        self.told: list[str] = []
        session = RelaySession(RelayConfig(place), os.urandom(32), jitter)
        self.session = session
        self.runner = RelayRunner(
            session, [listener], ("127.0.0.1", to), self.events.append, self.told.append,
            server_context=server_context, route=route,
        )  # fmt: skip
        self.thread = threading.Thread(target=self.runner.run)
        self.thread.start()

    def stop(self) -> None:
        self.runner.post(Stop("the test is over"))
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def wait_for(self, kind: type[RelayEvent]) -> None:
        until = time.monotonic() + PATIENCE
        while not any(isinstance(event, kind) for event in self.events):
            assert time.monotonic() < until, self.events
            time.sleep(0.01)


@pytest.fixture
def master() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


@contextlib.contextmanager
def running(place: Place, to: int, **contexts: object) -> Iterator[Running]:
    relay = Running(place, to, **contexts)  # type: ignore[arg-type]
    try:
        yield relay
    finally:
        relay.stop()


@contextlib.contextmanager
def path(form: str, master: socket.socket) -> Iterator[list[Running]]:
    """The relays between a slave and a master; the first one is the entrance."""
    with contextlib.ExitStack() as stack:
        relays = [stack.enter_context(running(Place.BESIDE_MASTER, master.getsockname()[1]))]
        if form == "pair":
            relays.insert(0, stack.enter_context(running(Place.BESIDE_SLAVES, relays[0].port)))
        yield relays


def joined(entrance: Running, master: socket.socket) -> tuple[socket.socket, socket.socket]:
    slave = socket.create_connection(("127.0.0.1", entrance.port), PATIENCE)
    if entrance.session.config.place is Place.BESIDE_MASTER:
        assert slave.recv(1000)
        slave.sendall(PB)
        there, _ = master.accept()
        there.sendall(GREETING)
    else:
        there, _ = master.accept()
        there.sendall(GREETING)
        assert read(slave, len(GREETING)) == GREETING
        slave.sendall(PB)
    there.settimeout(PATIENCE)
    assert read(there, len(PB)) == PB
    return slave, there


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(min(size - len(data), 1 << 20))):
        data += more
    return data


@pytest.mark.parametrize("form", ["plain", "pair"])
def test_much_both_ways_and_half_closed_ends(form: str, master: socket.socket) -> None:
    with path(form, master) as relays:
        slave, there = joined(relays[0], master)
        upwards, downwards = os.urandom(8_000_000), os.urandom(3_000_000)

        def speak(sock: socket.socket, data: bytes) -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=speak, args=it) for it in ((slave, upwards), (there, downwards))]
        for thread in threads:
            thread.start()
        assert read(there, 10**9) == upwards
        assert read(slave, 10**9) == downwards
        for thread in threads:
            thread.join()
        for relay in relays:
            relay.wait_for(PairOver)
        slave.close()
        there.close()


@pytest.mark.parametrize("form", ["plain", "pair"])
def test_who_reads_nothing_stops_the_other_side(form: str, master: socket.socket) -> None:
    with path(form, master) as relays:
        slave, there = joined(relays[0], master)
        slave.settimeout(1.0)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 10**9:
                sent += slave.send(bytes(1 << 18))
        assert sent < 64_000_000
        there.close()
        slave.close()


def test_a_cut_link_loses_nothing(master: socket.socket) -> None:
    with (
        running(Place.BESIDE_MASTER, master.getsockname()[1]) as far,
        Cutter(far.port) as cutter,
        running(Place.BESIDE_SLAVES, cutter.port) as near,
    ):
        slave, there = joined(near, master)
        data = os.urandom(3_000_000)
        thread = threading.Thread(target=slave.sendall, args=(data,))
        thread.start()
        got = b""
        for size in (1000, 500_000, 1_000_000):
            got += read(there, size)
            cutter.cut()
        got += read(there, len(data) - len(got))
        thread.join()
        assert got == data
        near.wait_for(LinkBack)
        slave.close()
        there.close()


def test_without_descriptors_the_connections_that_are_there_go_on(master: socket.socket) -> None:
    with path("plain", master) as relays:
        slave, there = joined(relays[0], master)
        late = socket.socket()
        late.settimeout(PATIENCE)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            late.connect(("127.0.0.1", relays[0].port))
            until = time.monotonic() + PATIENCE
            while not relays[0].told and time.monotonic() < until:
                time.sleep(0.01)
            slave.sendall(b"still here")
            assert read(there, 10) == b"still here"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(relays[0].told) == 1
        assert "Too many open files; it is tried again until there is room" in relays[0].told[0]
        assert late.recv(1000), "it has its turn now"
        for sock in (slave, there, late):
            sock.close()


@pytest.mark.parametrize("certificate", [True, False])
def test_tls_between_relays(master: socket.socket, tmp_path: Path, certificate: bool) -> None:
    authority = Authority(tmp_path)
    server = server_context(authority.issue("127.0.0.1"))
    trust_clients(server, authority.path)
    ours = authority.issue("relay") if certificate else None
    route = Route(client_context(ca=authority.path, certificate=ours))
    with (
        running(Place.BESIDE_MASTER, master.getsockname()[1], server_context=server) as far,
        running(Place.BESIDE_SLAVES, far.port, route=route) as near,
    ):
        if certificate:
            slave, there = joined(near, master)
            data = os.urandom(2_000_000)
            thread = threading.Thread(target=slave.sendall, args=(data,))
            thread.start()
            assert read(there, len(data)) == data
            thread.join()
            there.close()
        else:
            slave = socket.create_connection(("127.0.0.1", near.port), PATIENCE)
            assert slave.recv(1) == b""
            far.wait_for(TurnedAway)
            assert "the other side showed no certificate" in str(far.events[0])
        slave.close()


def test_500_strangers(master: socket.socket) -> None:
    """They say nothing, and the slave that comes after them is joined at once."""
    with path("plain", master) as relays:
        crowd = [socket.create_connection(("127.0.0.1", relays[0].port)) for _ in range(500)]
        slave, there = joined(relays[0], master)
        relays[0].wait_for(PairOpened)
        for sock in (slave, there, *crowd):
            sock.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="the system cannot acknowledge at once")
@pytest.mark.parametrize("form", ["plain", "pair"])
def test_a_slave_that_holds_back_small_messages_does_not_wait(form: str, master: socket.socket) -> None:
    """A Twisted slave sends the rest of a message when what it sent before is acknowledged; late, that takes 40 ms."""
    with path(form, master) as relays:
        slave, there = joined(relays[0], master)
        before = time.monotonic()
        for _ in range(100):
            slave.sendall(b"a")
            slave.sendall(b"b")
            assert read(there, 2) == b"ab"
            # The kernel takes it for a conversation, and acknowledges late.
            there.sendall(b"c")
            assert read(slave, 1) == b"c"
        assert time.monotonic() - before < 2.0
        slave.close()
        there.close()
