"""The opening of a connection, in a thread; then the thread that waits at the inbox reads and writes it.

To open it is to connect, to have a proxy make a tunnel, and to shake hands for TLS: all of that blocks, in the thread
that opens, and ends when the link is closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from slaveproto.inputs import Disconnected
from slaveproto.slave.events import Connected, Input
from slaveproto.slave.session import SlaveSession
from transports.host.route import Route
from transports.host.sockets import words_of
from transports.threads.inbox import Inbox
from transports.threads.stream import Stream
from transports.threads.workers import Workers

if TYPE_CHECKING:
    from transports.host.proxy import Proxy

DIRECT = Route()


class TcpLink:
    """Opens a connection and keeps it until it ends, or is closed. For the thread that waits at the inbox.

    Args:
        number: names the connection in what is reported.
        host: to connect to.
        port: to connect to.
        inbox: takes what is reported.
        workers: one of them connects, which may take long.
        route: the route there.
    """

    def __init__(
        self, number: int, host: str, port: int, inbox: Inbox[Input], workers: Workers, route: Route = DIRECT
    ) -> None:
        self._number = number
        self._inbox = inbox
        self._route = route
        self._stream: Stream | None = None
        self._opening: socket.socket | None = None
        self._closed = False
        # It may be closed at the very moment when it is open.
        self._changing = threading.Lock()
        self._last_words: threading.Thread | None = None
        workers.start(lambda: self._open(host, port))

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._stream is not None and self._stream.idle:
            data = session.data_to_send()
            if data:
                self._stream.send(data)

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the master's system has not acknowledged."""
        return 0 if self._stream is None else self._stream.unacknowledged

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported. Only the first call counts."""
        with self._changing:
            self._closed = True
            stream, self._stream = self._stream, None
            if self._opening is not None:
                _interrupt(self._opening)
        if stream is not None:
            self._last_words = stream.end(last)

    def join(self, timeout: float) -> None:
        """Wait until the last bytes are out or given up."""
        if self._last_words is not None:
            self._last_words.join(timeout)

    def _open(self, host: str, port: int) -> None:
        try:
            sock = socket.create_connection(self._route.first_hop(host, port))
        except (OSError, UnicodeError) as error:
            self._failed(error)
            return
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            self._watch(sock)
            sock = self._agree(sock, host, port)
        except (OSError, ValueError) as error:
            sock.close()
            self._failed(error)
            return
        sock.setblocking(False)
        with self._changing:
            self._opening = None
            if self._closed:
                sock.close()
            else:
                self._stream = self._stream_of(sock)
                connected = Connected(self._number, secure=self._route.ssl_context is not None)
                self._inbox.put(connected, self._begin)

    def _agree(self, sock: socket.socket, host: str, port: int) -> socket.socket:
        """Have the tunnel made and shake hands, if the route wants that; returns the socket to go on with."""
        route = self._route
        if route.proxy is not None:
            _open_tunnel(sock, route.proxy, host, port)
        if route.ssl_context is None:
            return sock
        from transports.host.tls_traffic import wrap

        name = route.server_hostname or host
        secure = wrap(
            route.ssl_context, sock, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        try:
            self._watch(secure)
            secure.do_handshake()
        except BaseException:
            secure.close()
            raise
        return secure

    def _watch(self, sock: socket.socket) -> None:
        """Let `close` interrupt what is done with a socket from now on."""
        with self._changing:
            self._opening = sock
            if self._closed:
                _interrupt(sock)

    def _failed(self, error: Exception) -> None:
        with self._changing:
            self._opening = None
            if not self._closed:
                self._inbox.put(Disconnected(self._number, words_of(error)))

    def _stream_of(self, sock: socket.socket) -> Stream:
        if self._route.ssl_context is None:
            return Stream(sock, self._number, self._inbox.selector)
        from transports.threads.tls_stream import TlsStream

        return TlsStream(sock, self._number, self._inbox.selector)

    def _begin(self) -> None:
        # Not before the session hears of the connection: it would not know whose data it is.
        if self._stream is not None:
            self._stream.begin()


def _interrupt(sock: socket.socket) -> None:
    """Let each call that waits for the socket in another thread return."""
    # Not by the method of TLS, whose handshake may be under way.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _open_tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    from transports.host.proxy import Tunnel

    tunnel = Tunnel(proxy, host, port)
    sock.sendall(tunnel.request)
    while not tunnel.take(sock.recv(1)):
        pass
