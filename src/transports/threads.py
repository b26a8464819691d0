"""The blocking runner: one thread owns the session, the others do the waiting.

`Runner(session).run()` returns when the session is finished. From other threads, and from signal handlers, only `post`
may be called.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from slaveproto.effects import Abandon, CloseConnection, OpenConnection, ProcessOutput, Request, Signal, Spawn
from slaveproto.errors import HostError
from slaveproto.slave.events import (
    Completed,
    Connected,
    Disconnected,
    Input,
    Received,
    Rejected,
    SlaveEvent,
    Start,
    Stop,
    Wakeup,
)
from slaveproto.slave.session import SlaveSession
from transports import files, processes
from transports.streams import Streams

UNHANDLED = 8
"""Blocks of data of one source that may wait for the session; then the source is left unread."""

LINGER = 5.0
"""Seconds that the last bytes of a connection have to get out."""


class Runner:
    """Drives one slave session.

    Args:
        session: the session; nobody else may touch it.
        on_event: is told what happens, in the thread of `run`.
    """

    def __init__(self, session: SlaveSession, on_event: Callable[[SlaveEvent], None]) -> None:
        self._session = session
        self._on_event = on_event
        self._inbox: SimpleQueue[tuple[Input, threading.Semaphore | None]] = SimpleQueue()
        self._link: _Link | None = None
        self._closing: list[_Link] = []
        self._children: dict[int, processes.Child] = {}
        output_credit = threading.Semaphore(UNHANDLED)
        self._streams = Streams(lambda item: self._post_data(item, output_credit), self.post)
        self._files = ThreadPoolExecutor(4, "files")

    def post(self, item: Input) -> None:
        """Hand an input to the session. Safe from any thread and from signal handlers."""
        self._inbox.put((item, None))

    def stop(self, why: str) -> None:
        """End the session; the second call does not wait for children that are slow to die."""
        self.post(Stop(why))

    def run(self) -> None:
        """Run the session to its end."""
        session = self._session
        session.handle(Start(), now=time.monotonic())
        while True:
            for request in session.requests():
                self._perform(request)
            if self._link is not None:
                self._link.send_from(session)
            self._streams.pause(session.congested)
            while (event := session.next_event()) is not None:
                self._on_event(event)
            if session.finished:
                break
            session.handle(self._next_input(session.deadline), now=time.monotonic())
        self._close()

    def _next_input(self, deadline: float | None) -> Input:
        try:
            item, credit = self._inbox.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except Empty:
            return Wakeup()
        if credit is not None:
            credit.release()
        return item

    def _post_data(self, item: Received | ProcessOutput, credit: threading.Semaphore) -> None:
        credit.acquire()
        self._inbox.put((item, credit))

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection(host, port):
                self._link = _Link(request.id, host, port, self.post, self._post_data)
            case CloseConnection(_, last):
                if self._link is not None:
                    self._link.close(last)
                    self._closing = [self._link]
                    self._link = None
            case Spawn() as start:
                self._attempt(request.id, lambda: self._spawn(request.id, start))
            case Signal(process, name):
                self._attempt(request.id, lambda: self._signal(process, name))
            case Abandon(process):
                self._streams.drop(process)
                self.post(Completed(request.id, None))
            case effect:
                self._files.submit(self._attempt, request.id, lambda: files.perform(effect))

    def _attempt(self, request: int, action: Callable[[], object]) -> None:
        try:
            self.post(Completed(request, action()))
        except OSError as error:
            self.post(Rejected(request, HostError(error.errno or 0, error.strerror or str(error))))

    def _spawn(self, number: int, effect: Spawn) -> int:
        child = processes.spawn(effect)
        closed = threading.Event()
        self._children[number] = child
        self._streams.add(number, child.outputs, child.stdin, effect.stdin, closed)

        def wait() -> None:
            self.post(child.wait(number))
            # Until then the session may still want to reach what is left of the group.
            closed.wait()
            child.reap()
            del self._children[number]

        threading.Thread(target=wait, name=f"wait {child.pid}", daemon=True).start()
        return number

    def _signal(self, process: int, name: str) -> bool:
        child = self._children.get(process)
        return child is not None and processes.send_signal(child.pid, name)

    def _close(self) -> None:
        self._streams.close()
        self._files.shutdown(wait=False, cancel_futures=True)
        for link in self._closing:
            link.join()


class _Link:
    """One connection: a thread that connects and reads, and one that writes."""

    def __init__(
        self,
        number: int,
        host: str,
        port: int,
        post: Callable[[Input], None],
        post_data: Callable[[Received, threading.Semaphore], None],
    ) -> None:
        self._number = number
        self._address = (host, port)
        self._post = post
        self._post_data = post_data
        self._writer: _Writer | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._run, name=f"link {number}", daemon=True).start()

    def send_from(self, session: SlaveSession) -> None:
        """Take the session's data if all data before it is sent."""
        if self._writer is not None and self._writer.idle:
            data = session.data_to_send()
            if data:
                self._writer.send(data)

    def close(self, last: bytes) -> None:
        """Send `last` and close; nothing more is reported."""
        self._closed.set()
        if self._writer is not None:
            self._writer.finish(last)

    def join(self) -> None:
        """Wait until the last bytes are out."""
        if self._writer is not None:
            self._writer.join(LINGER)

    def _run(self) -> None:
        try:
            sock = socket.create_connection(self._address)
        except (OSError, UnicodeError) as error:
            self._report(Disconnected(self._number, getattr(error, "strerror", None) or str(error)))
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._writer = _Writer(sock, self._post)
        self._report(Connected(self._number))
        if self._closed.is_set():
            self._writer.finish(b"")
        why = ""
        credit = threading.Semaphore(UNHANDLED)
        try:
            while data := sock.recv(64 * 1024):
                self._post_data(Received(self._number, data), credit)
        except OSError as error:
            why = error.strerror or str(error)
        self._report(Disconnected(self._number, why))
        self._writer.finish(b"")

    def _report(self, item: Input) -> None:
        if not self._closed.is_set():
            self._post(item)


class _Writer(threading.Thread):
    """Writes to one socket, one batch at a time, and closes it in the end."""

    def __init__(self, sock: socket.socket, post: Callable[[Input], None]) -> None:
        super().__init__(name="writer", daemon=True)
        self._sock = sock
        self._post = post
        self._batches: SimpleQueue[tuple[bytes, bool]] = SimpleQueue()
        self.idle = True
        self.start()

    def send(self, data: bytes) -> None:
        self.idle = False
        self._batches.put((data, False))

    def finish(self, last: bytes) -> None:
        self._batches.put((last, True))

    def run(self) -> None:
        final = False
        try:
            while not final:
                data, final = self._batches.get()
                if final:
                    self._sock.settimeout(LINGER)
                self._sock.sendall(data)
                self.idle = True
                self._post(Wakeup())
        except OSError:
            # Whoever reads the socket reports its end.
            pass
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
