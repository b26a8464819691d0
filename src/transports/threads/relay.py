"""The runner of a relay: one thread with a selector has all connections; each name look-up and connect has another one.

`RelayRunner(session, ...).run()` returns when the session is finished. From other threads, and from signal handlers,
only `post` may be called.

Rules.

* One batch of a connection is on its way at a time. The kernel gets it at once; what it does not take waits here. The
  next batch is asked for when the last byte is out, so that what waits for a slow peer waits in the session, which
  leaves the other side unread.
* A connection that is closed has `LINGER` seconds for its last bytes, counted from the last one that went out.
* Without descriptors or memory for another connection none is accepted for a moment, and it is told once a minute.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from selectors import EVENT_READ
from typing import TYPE_CHECKING, Final, assert_never

from slaveproto.inputs import Disconnected, Wakeup
from slaveproto.relay.events import (
    CameIn,
    Dial,
    HangUp,
    Reached,
    RelayEvent,
    RelayInput,
    RelayRequest,
    ShutWriting,
)
from slaveproto.relay.session import RelaySession
from transports.host import sockets
from transports.host.route import Route
from transports.host.service_manager import Heartbeat
from transports.host.shortage import RESPITE, Shortage, is_shortage
from transports.host.sockets import words_of
from transports.threads.inbox import Inbox
from transports.threads.relay_line import RelayLine
from transports.threads.workers import Workers

if TYPE_CHECKING:
    import ssl

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are accepted before others have their turn."""

CONNECT_TIME: Final = 25.0
"""Seconds for each step of connecting."""

LONGEST_WAIT: Final = 3600.0

_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""Options for a connection without signs of life of its own, where the system has them."""


class RelayRunner:
    """Drives one relay session.

    Args:
        session: the session; nothing else may touch it.
        listeners: sockets that listen; they become ours.
        to: host and port that the relay leads to.
        on_event: is told what happens, in the thread of `run`.
        tell: is told of shortages.
        server_context: to speak TLS with those that come in; None for plain TCP.
        route: the route to where the relay leads.
        heartbeat: is looked at by the thread of `run` whenever it is about to wait; None for none.
    """

    def __init__(
        self,
        session: RelaySession,
        listeners: Sequence[socket.socket],
        to: tuple[str, int],
        on_event: Callable[[RelayEvent], None],
        tell: Callable[[str], None],
        *,
        server_context: ssl.SSLContext | None = None,
        route: Route = Route(),  # noqa: B008  frozen
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._session = session
        self._listeners = listeners
        self._to = to
        self._on_event = on_event
        self._tell = tell
        self._server_context = server_context
        self._route = route
        self._heartbeat = heartbeat
        self._inbox: Inbox[RelayInput] = Inbox()
        self._workers = Workers()
        self._numbers = itertools.count(1)
        self._lines: dict[int, RelayLine] = {}
        # Connections that are being made; those of them that are not wanted any more are gone.
        self._dialled: set[int] = set()
        # Closed, but for their last bytes.
        self._lingering: dict[RelayLine, float] = {}
        self._came: list[RelayInput] = []
        self._hurried = False
        self._accepting = False
        self._respite = 0.0
        self._shortage = Shortage("a connection")

    def post(self, item: RelayInput) -> None:
        """Hand an input to the session. Safe from any thread and from signal handlers."""
        self._inbox.put(item)

    def hurry(self) -> None:
        """Wait for no last bytes. Safe from signal handlers; a `Stop` has to follow."""
        self._hurried = True

    def run(self) -> None:
        """Run the session to its end."""
        with self._inbox.awake_to_signals():
            try:
                self._run()
            finally:
                self._close()

    def _run(self) -> None:
        session = self._session
        self._accept_again()
        while not session.finished or (self._lingering and not self._hurried):
            for item in self._next_inputs():
                session.handle(item, now=time.monotonic())
                self._settle()
            self._see_to_time()

    def _settle(self) -> None:
        session = self._session
        # What one connection takes may let another one be read, or have something to say.
        while touched := session.connections_to_send():
            for number in touched:
                self._touch(number)
        for request in session.requests():
            self._perform(request)
        while (event := session.next_event()) is not None:
            self._on_event(event)

    def _next_inputs(self) -> Sequence[RelayInput]:
        now = time.monotonic()
        due = self._session.deadline
        patience = LONGEST_WAIT if due is None else min(LONGEST_WAIT, max(0.0, due - now))
        if not self._accepting:
            patience = min(patience, max(0.0, self._respite - now))
        if self._lingering:
            patience = min(patience, max(0.0, min(self._lingering.values()) - now))
        if self._heartbeat is not None:
            patience = min(patience, self._heartbeat.look(now))
        found = self._inbox.take(patience)
        if self._came:
            found = [*self._came, *found]
            self._came.clear()
        return found or (Wakeup(),)

    def _see_to_time(self) -> None:
        if not self._accepting and time.monotonic() >= self._respite:
            self._accept_again()
        if self._lingering:
            now = time.monotonic()
            for line, due in list(self._lingering.items()):
                if line.over:
                    del self._lingering[line]
                elif line.progressed:
                    line.progressed = False
                    self._lingering[line] = now + sockets.LINGER
                elif due <= now:
                    line.hang_up()
                    del self._lingering[line]

    # -- what the session wants

    def _touch(self, number: int) -> None:
        line = self._lines.get(number)
        if line is None:
            return
        session = self._session
        while line.idle and (data := session.data_to_send(number)):
            line.send(data)
        line.pause(session.paused(number))

    def _perform(self, request: RelayRequest) -> None:
        match request:
            case Dial(number):
                self._dialled.add(number)
                try:
                    self._workers.start(partial(self._connect, number))
                except OSError as error:
                    self.post(Disconnected(number, words_of(error)))
            case ShutWriting(number):
                if number in self._lines:
                    self._lines[number].shut()
            case HangUp(number, last):
                self._dialled.discard(number)
                line = self._lines.pop(number, None)
                if line is not None:
                    line.close(last)
                    if not line.over:
                        self._lingering[line] = time.monotonic() + sockets.LINGER
            case _:
                assert_never(request)

    def _connect(self, number: int) -> None:
        """Connect, in a thread of its own."""
        sock = None
        try:
            sock = socket.create_connection(self._to, CONNECT_TIME)
            _set_options(sock)
            secure = self._route.ssl_context is not None
            if self._route.ssl_context is not None:
                from transports.host.tls_traffic import wrap

                name = self._route.server_hostname or self._to[0]
                sock = wrap(self._route.ssl_context, sock, server_hostname=name, suppress_ragged_eofs=False)
            sock.setblocking(False)
        except (OSError, UnicodeError, ValueError) as error:
            if sock is not None:
                sock.close()
            self._inbox.put(Disconnected(number, words_of(error)))
            return
        self._inbox.put(Reached(number), partial(self._begin, number, sock, secure))

    def _begin(self, number: int, sock: socket.socket, secure: bool) -> None:
        if number not in self._dialled:
            sock.close()
            return
        self._dialled.discard(number)
        self._lines[number] = self._line_of(number, sock, secure, shaken=True)

    # -- who comes

    def _accept_again(self) -> None:
        self._accepting = True
        for listener in self._listeners:
            self._inbox.selector.register(listener, EVENT_READ, partial(self._accept, listener))

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if is_shortage(error):
                    self._wait_for_room(error)
                    return
                # Otherwise it was over before it was accepted.
            else:
                self._take(sock, address)

    def _wait_for_room(self, error: OSError) -> None:
        now = time.monotonic()
        self._accepting = False
        self._respite = now + RESPITE
        for listener in self._listeners:
            self._inbox.selector.unregister(listener)
        words = self._shortage.words(error, now)
        if words is not None:
            self._tell(words)

    def _take(self, sock: socket.socket, address: object) -> None:
        sock.setblocking(False)
        _set_options(sock)
        secure = self._server_context is not None
        if self._server_context is not None:
            from transports.host.tls_traffic import wrap

            try:
                sock = wrap(
                    self._server_context, sock,
                    server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False,
                )  # fmt: skip
            except OSError:
                # It was over before it was accepted.
                sock.close()
                return
        number = next(self._numbers)
        host = str(address[0]) if isinstance(address, tuple) else ""
        peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a local program"
        self._came.append(CameIn(number, peer, host, not secure))
        self._lines[number] = self._line_of(number, sock, secure, shaken=not secure)

    def _line_of(self, number: int, sock: socket.socket, secure: bool, *, shaken: bool) -> RelayLine:
        if not secure:
            return RelayLine(number, sock, self)
        from transports.threads.tls_relay_line import TlsRelayLine

        return TlsRelayLine(number, sock, self, shaken=shaken)

    # -- what lines ask for

    @property
    def selector(self) -> selectors.BaseSelector:
        """The selector of all lines."""
        return self._inbox.selector

    def more(self, line: RelayLine) -> None:
        """Give a line its next batch: the last one is out."""
        if self._lines.get(line.number) is line:
            self._touch(line.number)
            self._settle()

    def forget(self, line: RelayLine) -> None:
        """Forget a line that has ended by itself."""
        if self._lines.get(line.number) is line:
            del self._lines[line.number]

    def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for line in [*self._lines.values(), *self._lingering]:
            line.hang_up()
        self._workers.close()
        self._inbox.close()


def _set_options(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
