"""The connection of a slave: one byte stream, plain or TLS, with a writer of its own."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import trio

from transports.host import sockets
from transports.host.route import Route
from transports.host.sockets import words_of
from transports.host.system import sending
from transports.trio.nurseries import open_nursery

if TYPE_CHECKING:
    from transports.host.proxy import Proxy


async def connect(host: str, port: int, route: Route) -> trio.abc.Stream:
    """Open a TCP connection, a tunnel through it if there is a proxy, and TLS on it if there is a context.

    Args:
        host: to connect to.
        port: to connect to.
        route: the route there.

    Raises:
        OSError: there is no connection, or no tunnel.
        ValueError: the name is none.
        trio.BrokenResourceError: it ended before TLS was agreed on.
    """
    stream = await trio.open_tcp_stream(*route.first_hop(host, port))
    with contextlib.suppress(OSError):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        if route.proxy is not None:
            await _open_tunnel(stream, route.proxy, host, port)
        if route.ssl_context is None:
            return stream
        secure = trio.SSLStream(stream, route.ssl_context, server_hostname=route.server_hostname or host)
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


async def _open_tunnel(stream: trio.SocketStream, proxy: Proxy, host: str, port: int) -> None:
    from transports.host.proxy import Tunnel

    tunnel = Tunnel(proxy, host, port)
    await stream.send_all(tunnel.request)
    while not tunnel.take(bytes(await stream.receive_some(1))):
        pass


@contextlib.asynccontextmanager
async def open_wire(stream: trio.abc.Stream, sent: Callable[[], None]) -> AsyncIterator[Wire]:
    """Write to a stream in a task of its own, and close it in the end.

    After `Wire.close` the last bytes have `LINGER` seconds to get out; otherwise nothing is waited for.

    Args:
        stream: which becomes ours.
        sent: is called when a batch is out.
    """
    wire = Wire(stream, sent)
    try:
        async with open_nursery() as nursery:
            nursery.start_soon(wire.write)
            yield wire
            nursery.cancel_scope.deadline = trio.current_time() + (sockets.LINGER if wire.closing else 0.0)
    finally:
        # The last word of TLS only waits if a peer reads nothing.
        with trio.CancelScope(deadline=trio.current_time() + sockets.LINGER, shield=True):
            await stream.aclose()


def _socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType:
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    return stream.socket


class Wire:
    """One byte stream: the task that calls `read` reads it, a task of its own writes, one batch at a time."""

    def __init__(self, stream: trio.abc.Stream, sent: Callable[[], None]) -> None:
        self._stream = stream
        self._sent = sent
        # The batch on its way to the writer, and the last one.
        self._put, self._take = trio.open_memory_channel[bytes](2)
        self._reading = trio.CancelScope()
        self._left = 0
        self.idle = True
        """Whether all that was sent is out."""
        self.closing = False
        """Whether `close` was called."""

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the other system has not acknowledged; to within a block."""
        sock = _socket_of(self._stream)
        return 0 if sock.fileno() < 0 else self._left + sending.unacknowledged(sock.fileno())

    def send(self, data: bytes) -> None:
        """Take a batch; only if `idle`, and before `close`."""
        self.idle = False
        self._left = len(data)
        self._put.send_nowait(data)

    def close(self, last: bytes) -> None:
        """Send `last` and read nothing more. Only the first call counts."""
        if not self.closing:
            self.closing = True
            if last:
                self._put.send_nowait(last)
            self._put.close()
            self._reading.cancel()

    async def read(self, received: Callable[[bytes], None]) -> str | None:
        """Read until the end.

        Args:
            received: takes the bytes.

        Returns:
            Why it ended, in words of the operating system, empty for an orderly end; None if it was `close`.
        """
        why = ""
        try:
            with self._reading:
                while data := await self._stream.receive_some(sockets.BLOCK):
                    received(bytes(data))
        except trio.BrokenResourceError as error:
            # A peer that hangs up without the farewell of TLS hangs up: its messages show by themselves where they end.
            why = "" if isinstance(error.__cause__, ssl.SSLEOFError) else words_of(error)
        return None if self.closing else why

    async def write(self) -> None:
        """Write until `close`."""
        # The reader of the stream reports its end.
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in self._take:
                for start in range(0, len(data), sockets.BLOCK):
                    await self._stream.send_all(data[start : start + sockets.BLOCK])
                    self._left = len(data) - start - sockets.BLOCK
                self._left = 0
                self.idle = True
                self._sent()
