"""The parts of the blocking runner that wait: its inbox, its connection, its workers."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from slaveproto import HostInfo, SlaveConfig, SlaveSession
from slaveproto.inputs import Completed, Disconnected, Received, Wakeup
from slaveproto.slave.events import Connected, Input
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.conformance.socket_master import DEADLINE
from transports.threads.inbox import Inbox
from transports.threads.tcp import TcpLink
from transports.threads.workers import IDLE, Workers


@pytest.fixture
def inbox() -> Iterator[Inbox[Input]]:
    inbox: Inbox[Input] = Inbox()
    yield inbox
    inbox.close()


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.close()


def take_one(inbox: Inbox[Input]) -> Input:
    limit = time.monotonic() + DEADLINE
    while not (found := inbox.take(DEADLINE)):
        assert time.monotonic() < limit, "nothing came"
    (item,) = found
    return item


# -- the inbox


def test_waits_until_there_is_something(inbox: Inbox[Input]) -> None:
    assert inbox.take(0) == []
    threading.Timer(0.01, inbox.put, (Completed(1, "x"),)).start()
    assert take_one(inbox) == Completed(1, "x")


def test_nothing_is_lost_between_threads(inbox: Inbox[Input]) -> None:
    def put(first: int) -> None:
        for number in range(first, first + 1000):
            inbox.put(Completed(number, None))

    threads = [threading.Thread(target=put, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    taken = [take_one(inbox) for _ in range(3000)]
    assert {item.request for item in taken if isinstance(item, Completed)} == set(range(3000))
    for thread in threads:
        thread.join()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals")
def test_a_signal_handler_may_put_at_any_moment(inbox: Inbox[Input]) -> None:
    """Also at that when a thread is about to wait: another one that wants to run makes it a long one."""
    main, going_on, next_one = threading.main_thread().ident, True, threading.Semaphore(0)
    assert main is not None

    def send() -> None:
        for n in range(300):
            next_one.acquire()
            for _ in range(n * 10):
                pass
            signal.pthread_kill(main, signal.SIGUSR1)

    def want_to_run() -> None:
        while going_on:
            pass

    old = signal.signal(signal.SIGUSR1, lambda *_: inbox.put(Wakeup()))
    threads = [threading.Thread(target=send), threading.Thread(target=want_to_run)]
    try:
        for thread in threads:
            thread.start()
        with inbox.awake_to_signals():
            for _ in range(300):
                next_one.release()
                assert take_one(inbox) == Wakeup()
    finally:
        going_on = False
        next_one.release(300)
        for thread in threads:
            thread.join()
        signal.signal(signal.SIGUSR1, old)


def test_what_is_waited_for_beside_it_has_its_turn(inbox: Inbox[Input]) -> None:
    readable, other = socket.socketpair()
    with readable, other:
        other.send(b"x")
        inbox.selector.register(readable, selectors.EVENT_READ, lambda events: Received(1, b"x"))
        for number in range(3):
            inbox.put(Completed(number, None))
        assert inbox.take(0) == [Received(1, b"x"), Completed(0, None)]
        assert inbox.take(0) == [Received(1, b"x"), Completed(1, None)]


def test_whoever_puts_is_told_when_it_is_taken(inbox: Inbox[Input]) -> None:
    told = list[str]()
    inbox.put(Wakeup(), lambda: told.append("taken"))
    assert told == []
    assert inbox.take(0) == [Wakeup()]
    assert told == ["taken"]


def test_a_closed_one_takes_what_nobody_reads() -> None:
    inbox: Inbox[Input] = Inbox()
    inbox.close()
    inbox.put(Wakeup())


# -- the connection

HOST = HostInfo({}, "posix", 1, {}, "test")


class Talker(SlaveSession):
    """A session that has something to send."""

    def __init__(self, data: bytes) -> None:
        super().__init__(SlaveConfig("127.0.0.1", 1, "bot", "secret", "/"), HOST, lambda delay: delay)
        self.data = data

    def data_to_send(self) -> bytes:
        data, self.data = self.data, b""
        return data


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def opened(inbox: Inbox[Input], workers: Workers, server: socket.socket) -> tuple[TcpLink, socket.socket]:
    link = TcpLink(7, "127.0.0.1", server.getsockname()[1], inbox, workers)
    assert take_one(inbox) == Connected(7)
    sock, _ = server.accept()
    sock.settimeout(DEADLINE)
    return link, sock


def all_of(sock: socket.socket) -> bytes:
    pieces = []
    while data := sock.recv(1 << 20):
        pieces.append(data)
    return b"".join(pieces)


def test_what_does_not_fit_is_sent_later(inbox: Inbox[Input], workers: Workers, server: socket.socket) -> None:
    data = os.urandom(20_000_000)
    link, sock = opened(inbox, workers, server)
    with sock, ThreadPoolExecutor() as threads:
        link.send_from(Talker(data))
        more = Talker(b"more")
        link.send_from(more)
        assert more.data, "it was taken although the data before it is not sent"
        received = threads.submit(all_of, sock)
        while more.data:
            assert inbox.take(DEADLINE) == []
            link.send_from(more)
        link.close(b"")
        assert received.result() == data + b"more"


def test_the_last_words_come_after_what_is_not_sent_yet(
    inbox: Inbox[Input], workers: Workers, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transports.host.sockets.LINGER", DEADLINE)
    data = os.urandom(20_000_000)
    link, sock = opened(inbox, workers, server)
    with sock:
        link.send_from(Talker(data))
        link.close(b"bye")
        link.close(b"again")
        assert all_of(sock) == data + b"bye"
        link.join(0)
        assert inbox.take(0) == []


def test_last_words_that_nobody_hears_are_given_up(
    inbox: Inbox[Input], workers: Workers, server: socket.socket
) -> None:
    link, sock = opened(inbox, workers, server)
    with sock:
        link.close(bytes(20_000_000))
        link.join(DEADLINE)
        assert len(all_of(sock)) < 20_000_000


def test_who_cannot_send_hears_the_rest_and_tells_why(
    inbox: Inbox[Input], workers: Workers, server: socket.socket
) -> None:
    link, sock = opened(inbox, workers, server)
    sock.send(b"last")
    # On close, reset.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    link.send_from(Talker(b"x"))
    link.send_from(Talker(b"y"))
    heard = take_one(inbox)
    if heard == Received(7, b"last"):
        heard = take_one(inbox)
    assert heard in (Disconnected(7, "Connection reset by peer"), Disconnected(7, "Broken pipe"))
    link.close(b"nobody")
    link.join(DEADLINE)


def test_one_that_is_closed_before_it_is_open(
    inbox: Inbox[Input], workers: Workers, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, may_go_on = socket.create_connection, threading.Event()

    def slow(address: tuple[str, int]) -> socket.socket:
        may_go_on.wait(DEADLINE)
        return connect(address)

    monkeypatch.setattr(socket, "create_connection", slow)
    link = TcpLink(7, "127.0.0.1", server.getsockname()[1], inbox, workers)
    link.close(b"")
    may_go_on.set()
    sock, _ = server.accept()
    with sock:
        sock.settimeout(DEADLINE)
        assert sock.recv(1) == b""
    assert inbox.take(0) == []
    link.join(0)


def test_one_that_is_closed_before_its_opening_is_heard_of(
    inbox: Inbox[Input], workers: Workers, server: socket.socket
) -> None:
    link = TcpLink(7, "127.0.0.1", server.getsockname()[1], inbox, workers)
    sock, _ = server.accept()
    with sock:
        sock.settimeout(DEADLINE)
        wait_until(lambda: not inbox._items.empty())
        link.close(b"bye")
        assert take_one(inbox) == Connected(7)
        assert all_of(sock) == b"bye"
    assert inbox.take(0) == []


# -- workers


def busy() -> int:
    return sum(thread.name == "worker" for thread in threading.enumerate())


def test_a_thread_is_used_again(workers: Workers) -> None:
    seen = list[int]()
    for n in range(5):
        workers.start(lambda: seen.append(threading.get_ident()))
        wait_until(lambda n=n: workers._idle == 1 and len(seen) == n + 1)  # type: ignore[misc]
    assert len(set(seen)) == 1


def test_one_that_hangs_holds_up_nobody(workers: Workers) -> None:
    hang, done = threading.Event(), threading.Semaphore(0)

    def hanging() -> None:
        hang.wait(DEADLINE)
        done.release()

    for _ in range(10):
        workers.start(hanging)
    workers.start(done.release)
    assert done.acquire(timeout=DEADLINE)
    assert busy() >= 10
    hang.set()
    for _ in range(10):
        assert done.acquire(timeout=DEADLINE)


def test_threads_end_when_there_is_nothing_to_do(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports.threads.workers.IDLE", 0.001)
    done = threading.Semaphore(0)
    for n in range(300):
        workers.start(done.release)
        time.sleep(0.0005 * (n % 4))
    for _ in range(300):
        assert done.acquire(timeout=DEADLINE), "a job was forgotten"
    wait_until(lambda: busy() == 0)


def test_threads_end_when_told_so(workers: Workers) -> None:
    done = threading.Event()
    workers.start(done.set)
    assert done.wait(DEADLINE)
    wait_until(lambda: workers._idle == 1)
    started = time.monotonic()
    workers.close()
    wait_until(lambda: busy() == 0)
    assert time.monotonic() - started < IDLE
