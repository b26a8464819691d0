"""The port of the trio master, with each way to watch sockets: one task for all, and tasks for each as on Windows."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, assert_never

import attrs
import pytest
import trio
import trio.testing

from slaveproto.inputs import Disconnected, Received
from slaveproto.master import Accepted, Secured
from slaveproto.testing.conformance.harness import descriptors, need_proc
from tests.transports.test_trio import CERTIFICATE
from tests.transports.test_trio_master import until
from transports.host import sockets
from transports.host.windows import waiting as windows_waiting
from transports.trio import shortage
from transports.trio.listener import Listener, Report, Sent, ServerConnection
from transports.trio.nurseries import open_nursery
from transports.trio.watching import BATCH, Apart, Together

pytestmark = pytest.mark.trio

LARGE: Final = bytes(range(256)) * 40_000
"""More than a kernel takes at once."""


@pytest.fixture(params=[Together, Apart], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """The class that watches sockets."""
    if request.param is Apart:
        monkeypatch.setattr("transports.trio.watching.waiting", windows_waiting)
    way: type = request.param
    return way


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def secure(request: pytest.FixtureRequest) -> bool:
    """Whether TLS is spoken."""
    secure: bool = request.param
    return secure


@attrs.define
class Clerk:
    """Writes down what connections report."""

    lines: list[ServerConnection] = attrs.field(factory=list)
    data: bytearray = attrs.field(factory=bytearray)
    secured: list[ServerConnection] = attrs.field(factory=list)
    ends: list[str] = attrs.field(factory=list)
    sendings: int = 0
    answer: Callable[[ServerConnection, bytes], None] = lambda line, data: None

    def report(self, line: ServerConnection, item: Report) -> None:
        match item:
            case Accepted():
                assert item.connection == line.number
                assert item.peer.startswith("127.0.0.1:")
                assert len(item.challenge) == 16
                self.lines.append(line)
                if item.secure:
                    self.secured.append(line)
            case Secured():
                assert item.connection == line.number
                assert line not in self.secured
                self.secured.append(line)
            case Received():
                assert item.connection == line.number
                assert line in self.secured
                self.data += item.data
                self.answer(line, item.data)
            case Sent():
                assert line.idle
                self.sendings += 1
            case Disconnected():
                assert item.connection == line.number
                self.lines.remove(line)
                self.ends.append(item.why)
            case _:
                assert_never(item)


@attrs.frozen
class Open:
    """A port that is open."""

    clerk: Clerk
    port: Listener
    connect: Callable[[], Any]
    listening: trio.CancelScope


@contextlib.asynccontextmanager
async def opened(secure: bool = False) -> AsyncIterator[Open]:
    server = None
    if secure:
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(CERTIFICATE)
    clerk = Clerk()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    number = listener.getsockname()[1]

    async def connect() -> trio.abc.Stream:
        stream = await trio.open_tcp_stream("127.0.0.1", number)
        if not secure:
            return stream
        client = trio.SSLStream(stream, ssl.create_default_context(cafile=CERTIFICATE), server_hostname="localhost")
        await client.do_handshake()
        return client

    port = None
    try:
        with trio.fail_after(10):
            async with open_nursery() as nursery:
                port = Listener([listener], server, clerk.report, nursery)
                listening = trio.CancelScope()
                nursery.start_soon(listen, port, listening)
                yield Open(clerk, port, connect, listening)
                nursery.cancel_scope.cancel()
    finally:
        for line in clerk.lines:
            line.hang_up()
        if port is not None:
            port.close()


async def listen(port: Listener, listening: trio.CancelScope) -> None:
    with listening:
        await port.listen()


@contextlib.asynccontextmanager
async def connected(secure: bool) -> AsyncIterator[tuple[Open, ServerConnection, trio.abc.Stream]]:
    async with opened(secure) as it, await it.connect() as stream:
        await until(lambda: bool(it.clerk.secured))
        yield it, it.clerk.lines[0], stream


async def read_to_the_end(stream: trio.abc.Stream) -> bytes:
    data = bytearray()
    with contextlib.suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return bytes(data)


async def test_how_sockets_are_watched(way: type) -> None:
    async with opened() as it:
        assert type(it.port.watcher) is way


async def test_both_directions(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        it.clerk.answer = lambda line, data: line.send(data.upper())
        await stream.send_all(b"ping")
        assert bytes(await stream.receive_some()) == b"PING"
        await stream.aclose()
        await until(lambda: it.clerk.ends == [""])
        # Whatever is still sent is lost.
        line.close(b"last words")
        assert it.clerk.ends == [""]


async def test_what_the_kernel_does_not_take_at_once(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        line.send(LARGE)
        assert (line.idle, it.clerk.sendings) == (False, 0)
        received = bytearray()
        while len(received) < len(LARGE):
            received += await stream.receive_some()
        assert received == LARGE
        await until(lambda: it.clerk.sendings == 1)
        assert (line.idle, it.clerk.sendings) == (True, 1)
        line.send(b"more")
        assert (line.idle, it.clerk.sendings) == (True, 1)
        assert bytes(await stream.receive_some()) == b"more"


async def test_reads_while_it_cannot_write(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        line.send(LARGE)
        await stream.send_all(LARGE)
        await until(lambda: len(it.clerk.data) == len(LARGE))
        assert it.clerk.data == LARGE
        assert not line.idle


async def test_a_line_that_is_paused_is_not_read(secure: bool) -> None:
    async with connected(secure) as (it, line, stream), trio.open_nursery() as nursery:
        await stream.send_all(b"a")
        await until(lambda: it.clerk.data == b"a")
        line.pause(True)
        line.pause(True)
        nursery.start_soon(stream.send_all, LARGE)
        line.send(b"still written")
        assert bytes(await stream.receive_some()) == b"still written"
        with trio.move_on_after(0.05):
            await until(lambda: it.clerk.data != b"a")
        assert it.clerk.data == b"a"
        line.pause(False)
        await until(lambda: it.clerk.data == b"a" + LARGE)


async def test_who_hangs_up_while_he_is_paused_costs_nothing_and_is_heard_later() -> None:
    async with connected(secure=False) as (it, line, stream):
        line.pause(True)
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await stream.aclose()
        turns: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServerConnection, "turn", lambda line, events: turns.append(events))
            await trio.sleep(0.05)
        assert turns == []
        line.pause(False)
        await until(lambda: it.clerk.ends == ["Connection reset by peer"])


async def test_the_last_bytes_get_out(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        line.send(LARGE)
        line.close(b"last words")
        line.close(b"never")
        assert it.clerk.ends == []
        assert await read_to_the_end(stream) == LARGE + b"last words"
        await until(lambda: it.clerk.ends == [""])


async def test_the_last_bytes_have_their_time_and_no_more(secure: bool) -> None:
    async with connected(secure) as (it, line, _):
        line.send(LARGE)
        began = trio.current_time()
        line.close(b"last words")
        await until(lambda: it.clerk.ends == [""])
        assert sockets.LINGER <= trio.current_time() - began < 2 * sockets.LINGER


async def test_an_end_that_waits_for_nothing_is_one_at_once(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        line.close(b"last words")
        assert it.clerk.ends == [""]
        assert await read_to_the_end(stream) == b"last words"


async def test_who_is_closed_in_his_turn_has_no_other_one(secure: bool) -> None:
    async with connected(secure) as (it, _, stream):
        it.clerk.answer = lambda line, data: line.close(b"enough")
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(LARGE)
        assert it.clerk.ends == [""]
        assert len(it.clerk.data) <= sockets.BLOCK


async def test_a_lost_connection_is_told_by_whoever_reads(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        line.send(LARGE)
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        assert isinstance(transport, trio.SocketStream)
        transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(stream)
        await until(lambda: bool(it.clerk.ends))
        assert not line.idle
        assert it.clerk.ends[0] in ("Connection reset by peer", "Broken pipe", "")


async def test_what_is_raised_in_a_turn_comes_out(secure: bool) -> None:
    class Mine(Exception):
        """One that nobody else raises."""

    def answer(line: ServerConnection, data: bytes) -> None:
        raise Mine

    async def bring_it_about() -> None:
        async with connected(secure) as (it, _, stream):
            it.clerk.answer = answer
            await stream.send_all(b"x")
            await trio.sleep_forever()

    with pytest.raises(Mine):
        await bring_it_about()


async def test_tls_without_a_farewell_is_an_orderly_end() -> None:
    async with connected(secure=True) as (it, line, stream):
        # With this byte the client reads the tickets of TLS 1.3, too: left unread they would make its end a reset.
        line.send(b"x")
        assert await stream.receive_some(1) == b"x"
        await trio.aclose_forcefully(stream)
        await until(lambda: bool(it.clerk.ends))
        assert it.clerk.ends == [""]


async def test_broken_tls_is_told() -> None:
    async with connected(secure=True) as (it, _, stream):
        assert isinstance(stream, trio.SSLStream)
        await stream.transport_stream.send_all(b"this is no record of TLS")
        await until(lambda: bool(it.clerk.ends))
        assert it.clerk.ends == ["we speak TLS, and the other side speaks plain"]


async def test_a_record_that_is_larger_than_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "BLOCK", 1000)
    async with connected(secure=True) as (it, _, stream):
        await stream.send_all(LARGE[:10_500])
        await until(lambda: len(it.clerk.data) == 10_500)
        assert it.clerk.data == LARGE[:10_500]


async def test_a_port_that_is_closed_keeps_its_lines(secure: bool) -> None:
    async with connected(secure) as (it, line, stream):
        it.listening.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match=r"Connection refused|all attempts"):
            await it.connect()
        line.send(b"x")
        assert bytes(await stream.receive_some()) == b"x"


async def test_accepts_again_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [errno.EMFILE, errno.EMFILE, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE, errno.ENFILE]
    real = socket.socket.accept

    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        if errors:
            raise OSError(errors.pop(0), "no")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    monkeypatch.setattr(shortage, "RESPITE", 0.02)
    with caplog.at_level(logging.ERROR):
        began = trio.current_time()
        async with connected(secure=False):
            assert trio.current_time() - began >= 5 * 0.02
    assert [record.getMessage() for record in caplog.records] == [
        "cannot accept a connection: Too many open files; it is tried again until there is room",
        "cannot accept a connection: Too many open files in system; it is tried again until there is room",
    ]


async def test_an_error_of_ours_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(self: socket.socket) -> tuple[socket.socket, Any]:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(socket.socket, "accept", accept)
    with pytest.raises(OSError, match="no"):
        async with connected(secure=False):
            pass


async def test_many_at_once_leave_room_for_other_tasks(secure: bool) -> None:
    count = 3 * BATCH
    async with opened(secure) as it, contextlib.AsyncExitStack() as stack, trio.open_nursery() as nursery:
        it.clerk.answer = lambda line, data: line.send(data)
        streams = [await stack.enter_async_context(await it.connect()) for _ in range(count)]
        await until(lambda: len(it.clerk.lines) == count)

        async def echo(stream: trio.abc.Stream) -> None:
            for _ in range(5):
                await stream.send_all(b"x" * 1000)
                received = 0
                while received < 1000:
                    received += len(await stream.receive_some())

        for stream in streams:
            nursery.start_soon(echo, stream)
    assert len(it.clerk.data) == count * 5 * 1000


async def test_nothing_is_left(secure: bool) -> None:
    need_proc()
    before = descriptors()
    async with opened(secure) as it:
        for _ in range(20):
            stream = await it.connect()
            await trio.aclose_forcefully(stream)
        async with await it.connect():
            await until(lambda: len(it.clerk.ends) == 20)
    assert descriptors() == before
