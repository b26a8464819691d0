"""The wire of these tests does what it is told, so that a cut is one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from slaveproto.testing.peers import poll
from tests.cuts.wire import READ, Absence, Cut, Wire

pytestmark = pytest.mark.programs


class Ends:
    """A wire to a server of this test, and the two ends of its carriers."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.wire = stack.enter_context(Wire(self._server.getsockname()[1]))

    def client(self) -> socket.socket:
        """Connect to the wire."""
        client = self._stack.enter_context(socket.create_connection(("127.0.0.1", self.wire.port), 5))
        client.settimeout(5)
        return client

    def carrier(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new carrier."""
        client = self.client()
        server, _ = self._server.accept()
        self._stack.enter_context(server)
        server.settimeout(5)
        return client, server


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A wire that carries."""
    with ExitStack() as stack:
        yield Ends(stack)


def test_a_fuse_cuts_at_its_byte(ends: Ends) -> None:
    client, server = ends.carrier()
    for sock, other in ((client, server), (server, client)):
        sock.sendall(b"a" * 10)
        assert other.recv(100) == b"a" * 10
    ends.wire.cut_after(READ + 7, Cut.END)
    client.sendall(b"b" * 3 * READ)
    with server.makefile("rb") as stream:
        assert len(stream.read(3 * READ)) == READ + 7
    assert (ends.wire.cuts, ends.wire.carriers, ends.wire.armed) == (1, 0, False)


def test_a_reset_is_one_for_both_ends(ends: Ends) -> None:
    both = ends.carrier()
    ends.wire.wait_carrier()
    assert ends.wire.cut(Cut.RESET) == 1
    for sock in both:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_each_direction_ends_for_itself(ends: Ends) -> None:
    client, server = ends.carrier()
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    server.sendall(b"late")
    assert client.recv(10) == b"late"
    server.close()
    assert client.recv(1) == b""
    poll(lambda: not ends.wire.carriers, 5, "the carrier is gone")
    assert ends.wire.cuts == 0


def test_a_frozen_carrier_says_nothing_and_new_ones_live(ends: Ends) -> None:
    client, server = ends.carrier()
    ends.wire.wait_carrier()
    ends.wire.freeze()
    client.sendall(b"x")
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.recv(1)
    another, its_server = ends.carrier()
    another.sendall(b"y")
    assert its_server.recv(1) == b"y"
    ends.wire.thaw()
    server.settimeout(5)
    assert server.recv(1) == b"x"


@pytest.mark.parametrize("absence", Absence)
def test_an_absence(ends: Ends, absence: Absence) -> None:
    client, _ = ends.carrier()
    ends.wire.wait_carrier()
    ends.wire.leave(absence)
    if absence is Absence.REFUSED:
        with pytest.raises(ConnectionRefusedError):
            ends.client()
    else:
        silent = ends.client()
        silent.settimeout(0.1)
        with pytest.raises(TimeoutError):
            silent.recv(1)
    ends.wire.come_back()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    another, its_server = ends.carrier()
    another.sendall(b"y")
    assert its_server.recv(1) == b"y"
    assert ends.wire.cuts == 1
