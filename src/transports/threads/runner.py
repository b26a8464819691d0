"""The blocking runner: one thread owns the session and its connection, the others do the rest of the waiting.

`Runner(session, on_event).run()` returns when the session is finished. From other threads, and from signal handlers,
only `post` and `stop` may be called. Nothing else may wait for the processes that it starts, and SIGCHLD must not be
ignored. While it runs in the main thread, `signal.set_wakeup_fd` is its own.

Rules.

* The thread of `run` owns the session, the connection and the inbox; other threads only put inputs into the inbox.
* Whatever may hang (a name server, a file system, a pipe) has a thread of its own, so that it holds up nothing else.
* Bytes are sent before requests are performed: what the session keeps back is what makes it `congested`.
* A source whose blocks the session has not taken is left unread, so that memory stays bounded.
* A process is signalled or reaped, never both at a time: its number may belong to another one right after.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from slaveproto.effects import (
    Abandon,
    Cancel,
    CloseConnection,
    CountUnacknowledged,
    FileEffect,
    FindHolders,
    Holder,
    OpenConnection,
    Request,
    Signal,
    Spawn,
)
from slaveproto.inputs import Completed, Disconnected, Stop, Wakeup
from slaveproto.slave.events import Input, SlaveEvent, Start
from slaveproto.slave.session import SlaveSession
from transports.host import files, sockets
from transports.host.reports import attempt, rejected
from transports.host.route import Route
from transports.host.service_manager import Heartbeat
from transports.host.system import processes, streams, waiting
from transports.threads.inbox import Inbox
from transports.threads.tcp import TcpLink
from transports.threads.workers import Workers, start_thread

if TYPE_CHECKING:
    import ssl

    from transports.host.proxy import Proxy

UNHANDLED = 8
"""Blocks of data of one source that may wait for the session; then the source is left unread."""


class Runner:
    """Drives one slave session.

    Args:
        session: the session; nothing else may touch it.
        on_event: is told what happens, in the thread of `run`.
        heartbeat: is looked at by the thread of `run` whenever it is about to wait; None for none.
        ssl_context: for a master behind TLS, as of `transports.host.tls.client_context`; None for plain TCP.
        server_hostname: the name that its certificate has to be for; None for the name that the session connects to.
        proxy: the HTTP proxy that connections go through, as of `transports.host.proxy.parse_proxy`; None for none.
    """

    def __init__(
        self,
        session: SlaveSession,
        on_event: Callable[[SlaveEvent], None],
        heartbeat: Heartbeat | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self._session = session
        self._route = Route(ssl_context, server_hostname, proxy)
        self._on_event = on_event
        self._heartbeat = heartbeat
        self._inbox: Inbox[Input] = Inbox()
        # A file system or a name server that hangs holds up nothing else.
        self._workers = Workers()
        self._link: TcpLink | None = None
        self._children: dict[int, processes.Child] = {}
        self._cancelled: dict[int, threading.Event] = {}
        self._reaping = threading.Lock()
        self._output = _Source(self._inbox)
        self._streams = streams.Streams(self._output.put, self.post)

    def post(self, item: Input) -> None:
        """Hand an input to the session. Safe from any thread and from signal handlers."""
        self._inbox.put(item)

    def stop(self, why: str) -> None:
        """End the session; the second call does not wait for children that are slow to die."""
        self.post(Stop(why))

    def run(self) -> None:
        """Run the session to its end. Whatever it raises, nothing that the session started runs on."""
        with self._inbox.awake_to_signals():
            self._run()

    def _run(self) -> None:
        session = self._session
        self._streams.start()
        try:
            session.handle(Start(), now=time.monotonic())
            while True:
                if self._link is not None:
                    self._link.send_from(session)
                for request in session.requests():
                    self._perform(request)
                self._streams.pause(session.congested)
                while (event := session.next_event()) is not None:
                    self._on_event(event)
                if session.finished:
                    break
                for item in self._next_inputs(session.deadline):
                    session.handle(item, now=time.monotonic())
        except BaseException:
            for number in list(self._children):
                self._signal(number, "KILL")
            raise
        finally:
            self._close()

    def _next_inputs(self, deadline: float | None) -> Sequence[Input]:
        patience = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        patience = min(patience, waiting.LONGEST_WAIT)
        if self._heartbeat is not None:
            patience = min(patience, self._heartbeat.look(time.monotonic()))
        return self._inbox.take(None if patience == math.inf else patience) or (Wakeup(),)

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection(host, port):
                try:
                    self._link = TcpLink(request.id, host, port, self._inbox, self._workers, self._route)
                except OSError as error:
                    self.post(Disconnected(request.id, error.strerror or str(error)))
            case CloseConnection(_, last):
                if self._link is not None:
                    self._link.close(last)
            case CountUnacknowledged():
                self.post(Completed(request.id, 0 if self._link is None else self._link.unacknowledged))
            case Spawn() as start:
                self.post(attempt(request.id, lambda: self._spawn(request.id, start)))
            case Signal(process, name):
                self.post(attempt(request.id, lambda: self._signal(process, name)))
            case FindHolders(process):
                self._begin(request.id, lambda: self.post(attempt(request.id, lambda: self._find_holders(process))))
            case Abandon(process):
                self._streams.drop(process)
                self.post(Completed(request.id, None))
            case Cancel(number):
                cancelled = self._cancelled.get(number)
                if cancelled is not None:
                    cancelled.set()
                self.post(Completed(request.id, None))
            case effect:
                self._cancelled[request.id] = threading.Event()
                self._begin(request.id, partial(self._perform_on_file, request.id, effect))

    def _begin(self, request: int, job: Callable[[], None]) -> None:
        try:
            self._workers.start(job)
        except OSError as error:
            self.post(rejected(request, error))

    def _perform_on_file(self, request: int, effect: FileEffect) -> None:
        cancelled = self._cancelled[request]
        self.post(attempt(request, lambda: files.perform(effect, cancelled)))
        del self._cancelled[request]

    def _spawn(self, number: int, effect: Spawn) -> int:
        child = processes.spawn(effect)
        closed = threading.Event()

        def wait() -> None:
            self.post(child.wait(number))
            # Until then the session may still want to reach what is left of the group.
            closed.wait()
            self._streams.drop(number)
            with self._reaping:
                child.reap()
                del self._children[number]

        self._children[number] = child
        try:
            start_thread(f"wait {child.pid}", wait)
        except OSError:
            del self._children[number]
            child.discard()
            raise
        self._streams.add(number, child.outputs, child.stdin, effect.stdin, closed)
        return number

    def _signal(self, process: int, name: str) -> bool:
        with self._reaping:
            child = self._children.get(process)
            return child is not None and child.send_signal(name)

    def _find_holders(self, process: int) -> tuple[Holder, ...]:
        child = self._children.get(process)
        return () if child is None else child.find_holders()

    def _close(self) -> None:
        self._output.close()
        self._streams.close()
        self._workers.close()
        if self._link is not None:
            self._link.close(b"")
            self._link.join(sockets.LINGER)
        self._inbox.close()


class _Source:
    """Puts data into the inbox, but only so much at a time."""

    def __init__(self, inbox: Inbox[Input]) -> None:
        self._inbox = inbox
        self._credit = threading.Semaphore(UNHANDLED)
        self._closed = False

    def put(self, item: Input) -> None:
        """Hand over `item`; blocks while too much of the source waits."""
        self._credit.acquire()
        if self._closed:
            # It is not taken any more; let the next one through.
            self._credit.release()
        else:
            self._inbox.put(item, self._credit.release)

    def close(self) -> None:
        """Let everything pass, to nowhere."""
        self._closed = True
        self._credit.release()
