"""The port of a master: its listening sockets, and all connections to it, plain or TLS.

Rules:

* A connection is announced as soon as it is accepted, also one whose TLS handshake is still to come: the session counts
  it, and limits its time.
* One batch is on its way at a time. The kernel gets it at once; what it does not take waits here until it is ready. The
  next batch is asked for when the last byte is out (`Sent`), so that what waits for a slow peer waits in the session.
* An error while writing is not reported: what the peer said before is still to be read, and the reader meets the error.
* The descriptor is watched for nothing before the socket is closed: a closed number may be another socket's at once.
* `close` stops reading, since nothing that comes after the session's last word counts, and gives last bytes `LINGER`
  seconds. The end is reported once, and nothing after it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from selectors import EVENT_READ, EVENT_WRITE
from typing import Final, TypeAlias

import attrs
import trio

from slaveproto.inputs import Disconnected, Received
from slaveproto.master import Accepted, Secured
from transports.host import sockets
from transports.host.shortage import Shortage
from transports.host.sockets import words_of
from transports.host.system import sending
from transports.host.tls import names_of
from transports.host.tls_traffic import TlsTraffic, wrap
from transports.trio.nurseries import open_nursery
from transports.trio.shortage import endure
from transports.trio.watching import BATCH, open_watcher

_OUR_FAULT: Final = frozenset({errno.EBADF, errno.EINVAL, errno.EFAULT, errno.ENOTSOCK})


@attrs.frozen
class Sent:
    """A batch is out that the kernel did not take at once; there may be another one."""


Report: TypeAlias = Accepted | Secured | Received | Sent | Disconnected
"""Reports of a connection. Most are meant for the session. The reason of an end is in words of the operating system,
empty for an orderly one."""


class Listener:
    """Listens. Everything that happens is reported at once.

    Args:
        listeners: sockets that listen.
        ssl_context: to speak TLS; None for plain TCP.
        report: is given each report, with the connection that it is about.
        nursery: where tasks belong; as long as it is there, so are the connections.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        ssl_context: ssl.SSLContext | None,
        report: Callable[[ServerConnection, Report], None],
        nursery: trio.Nursery,
    ) -> None:
        self._listeners = listeners
        self._ssl_context = ssl_context
        self._numbers = itertools.count(1)
        self._shortage = Shortage("a connection")
        self.report = report
        self.nursery = nursery
        self.watcher = open_watcher(nursery, _give_turn)

    async def listen(self) -> None:
        """Accept connections until cancelled, and close the port."""
        try:
            async with open_nursery() as nursery:
                for listener in self._listeners:
                    nursery.start_soon(self._listen, listener)
        finally:
            for listener in self._listeners:
                listener.close()

    def close(self) -> None:
        """Let go what is left, once the nursery has ended."""
        self.watcher.close()

    async def _listen(self, listener: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(BATCH):
                try:
                    sock, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _OUR_FAULT:
                        raise
                    await endure(self._shortage, error)
                    # Otherwise it was over before it was accepted.
                else:
                    self._take(sock, address)

    def _take(self, sock: socket.socket, address: object) -> None:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line: ServerConnection
        if self._ssl_context is None:
            line = ServerConnection(next(self._numbers), sock, self)
        else:
            try:
                secure = wrap(self._ssl_context, sock, server_side=True, do_handshake_on_connect=False)
            except OSError:
                # It was over before it was accepted.
                sock.close()
                return
            line = TlsServerConnection(next(self._numbers), secure, self)
        challenge = secrets.token_bytes(16)
        host = address[0] if isinstance(address, tuple) else ""
        plain = self._ssl_context is None
        self.report(line, Accepted(line.number, _words_of_address(address), challenge, plain, host))


class ServerConnection:
    """One connection. What there is to read is read at once; what is to be written is given to the kernel at once.

    Args:
        number: of the connection.
        sock: which becomes ours.
        port: that it came to.
    """

    __slots__ = ("_able", "_port", "_reading", "_sock", "_spoke", "_unsent", "_watched", "closing", "number")

    def __init__(self, number: int, sock: socket.socket, port: Listener) -> None:
        self.number = number
        self.closing = False
        """Whether it is over, or will be with its last bytes."""
        self._sock = sock
        self._port = port
        self._able = True
        self._reading = True
        self._spoke = False
        self._unsent: bytes | memoryview = b""
        self._watched = 0
        self._watch()

    # -- what is asked of it

    @property
    def idle(self) -> bool:
        """Whether there may be another batch."""
        return self._able and not self._unsent

    @property
    def unacknowledged(self) -> int:
        """Bytes that were taken and that the other system has not acknowledged."""
        return 0 if self._sock.fileno() < 0 else len(self._unsent) + sending.unacknowledged(self._sock.fileno())

    def send(self, data: bytes) -> None:
        """Take a batch; only if `idle`."""
        self._spoke = True
        self._unsent = data
        self._write()
        self._watch()

    def pause(self, paused: bool) -> None:
        """Leave it unread, or read it again."""
        self._reading = not paused and not self.closing
        self._watch()

    def close(self, last: bytes) -> None:
        """Read nothing more, and end it after `last`, which has `LINGER` seconds. Only the first call counts."""
        if self.closing:
            return
        self.closing = True
        self._reading = False
        if self._able:
            self._able = False
            self._unsent = bytes(self._unsent) + last
            if self._unsent:
                self._write()
        if self._unsent:
            self._watch()
            self._port.nursery.start_soon(self._linger)
        else:
            self._end("")

    def hang_up(self) -> None:
        """End it at once, and say nothing."""
        self.closing = True
        self._able = self._reading = False
        self._unsent = b""
        self._watch()
        self._sock.close()

    # -- what happens

    def turn(self, events: int) -> None:
        """See `transports.trio.watching`."""
        if events & EVENT_WRITE and self._unsent:
            self._write_on()
        if events & EVENT_READ and self._reading:
            self._read()

    def _write_on(self) -> None:
        self._write()
        self._watch()
        if not self._unsent:
            if self.closing:
                self._end("")
            elif self._able:
                self._port.report(self, Sent())

    def _write(self) -> None:
        unsent = self._unsent
        try:
            sent = self._put(unsent)
            self._unsent = memoryview(unsent)[sent:] if sent < len(unsent) else b""
        except OSError:
            # The reader meets the reason.
            self._able = False
            self._unsent = b""

    def _put(self, data: bytes | memoryview) -> int:
        return sockets.put(self._sock, data)

    def _read(self) -> None:
        try:
            data = self._take()
        except OSError as error:
            self._end(words_of(error))
            return
        if data is None:
            return
        if not data:
            self._end("")
            return
        self._spoke = False
        self._port.report(self, Received(self.number, data))
        if not self._spoke and not self.closing:
            # Otherwise what was sent has done so.
            sockets.acknowledge(self._sock)

    def _take(self) -> bytes | None:
        """Return what there is, None if it is nothing yet."""
        return sockets.take(self._sock)

    def _end(self, why: str) -> None:
        self.hang_up()
        self._port.report(self, Disconnected(self.number, why))

    async def _linger(self) -> None:
        await trio.sleep(sockets.LINGER)
        if self._unsent:
            self._end("")

    # -- what is looked for

    def _wanted(self) -> int:
        return (EVENT_READ if self._reading else 0) | (EVENT_WRITE if self._unsent else 0)

    def _watch(self) -> None:
        wanted = self._wanted()
        if wanted != self._watched:
            self._port.watcher.watch(self._sock.fileno(), self._watched, wanted, self)
            self._watched = wanted


class TlsServerConnection(ServerConnection):
    """A connection with TLS, which begins with the handshake. To read, TLS may have to write, and the reverse.

    Args:
        number: of the connection.
        sock: which becomes ours; its handshake has not begun.
        port: that it came to.
    """

    __slots__ = ("_secured", "_traffic")

    _sock: ssl.SSLSocket

    def __init__(self, number: int, sock: ssl.SSLSocket, port: Listener) -> None:
        self._secured = False
        self._traffic = TlsTraffic(sock)
        super().__init__(number, sock, port)

    def turn(self, events: int) -> None:
        """See `transports.trio.watching`."""
        if not self._secured:
            self._shake_hands()
        if self._secured:
            super().turn(EVENT_READ | EVENT_WRITE)

    def _shake_hands(self) -> None:
        try:
            self._secured = self._traffic.shake_hands()
        except OSError as error:
            self._end(f"TLS: {words_of(error)}")
            return
        self._watch()
        if self._secured:
            self._port.report(self, Secured(self.number, names_of(self._sock)))

    def hang_up(self) -> None:
        """End it at once, with the farewell of TLS."""
        if self._secured and self._sock.fileno() != -1:
            with contextlib.suppress(OSError):
                self._sock.unwrap()
        super().hang_up()

    def _put(self, data: bytes | memoryview) -> int:
        return self._traffic.put(data)

    def _take(self) -> bytes | None:
        data = self._traffic.take()
        if data is None:
            self._watch()
        return data

    def _wanted(self) -> int:
        reading = self._traffic.take_waits_for if self._reading else 0
        return reading | (self._traffic.put_waits_for if self._unsent else 0)


def _give_turn(line: ServerConnection, events: int) -> None:
    line.turn(events)


def _words_of_address(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
