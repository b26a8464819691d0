"""Connections that are refused, cut, silent, garbled; and the end of the runner in every situation."""

from __future__ import annotations

import contextlib
import http.server
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slaveproto.slave.events import (
    Attached,
    Connecting,
    Detached,
    LoginRefused,
    MasterSaid,
    SlaveEvent,
    StepFinished,
    Stopped,
    WaitingForMaster,
)
from tests.transports.scripted_master import DEADLINE, Listener, Master, Spoil, Spoiled, Step
from tests.transports.support import Slave, descriptors, is_alive, running_slave, wait_until
from transports import files, host

FEW_CPU_SECONDS = 0.2
"""What a slave may use while it has nothing to do; a busy loop takes all there is."""


def never(delay: float) -> float:
    """Do not try again during the test."""
    return 1000.0


def words_of(event: SlaveEvent) -> str:
    """Why a connection ended: one line that people can read."""
    assert isinstance(event, (Detached, LoginRefused))
    assert event.why.isprintable()
    assert event.why
    return event.why


# -- what may be at the other end


class Peer:
    """Something that listens; `serve` gets each connection."""

    def __init__(self, serve: Callable[[socket.socket], object]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._serve = serve
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._open.append(sock)
            if self._serve(sock) == "end":
                break

    def close(self) -> None:
        """End it."""
        self._serve = lambda sock: "end"
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(DEADLINE)
        for sock in (self._listener, *self._open):
            sock.close()


GREETING = bytes.fromhex("02800282706204826e6f6e65")
"""The profiles that a server offers: pb and none."""


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (lambda sock: None, "spoke no Perspective Broker for 0.25 s"),
        (lambda sock: sock.close(), "closed by a peer that never spoke Perspective Broker"),
        (lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"), "spoke no Perspective Broker"),
        (lambda sock: sock.sendall(b"220 mail.example.org ESMTP Postfix\r\n"), "spoke no Perspective Broker"),
        (lambda sock: sock.sendall(b"HTTP/1.0 400 Bad Request\r\nServer: nginx\r\n\r\n" + b"<html>" * 9), "protocol"),
        (lambda sock: sock.sendall(bytes(100)), "protocol"),
        (lambda sock: sock.sendall(b"\x01" * 1000 + b"\x80"), "protocol"),
        (lambda sock: sock.sendall(GREETING[:5]), "spoke no Perspective Broker for 0.25 s"),
        (lambda sock: (sock.sendall(GREETING[:5]), sock.close()), "closed"),
        (lambda sock: sock.sendall(GREETING), "said nothing for 0.25 s"),
        (lambda sock: (sock.sendall(GREETING), sock.close()), ""),
        (lambda sock: sock.sendall(b"\xff" * 10), "protocol"),
    ],
)  # fmt: skip
def test_a_peer_that_is_no_master(serve: Callable[[socket.socket], object], expected: str, tmp_path: Path) -> None:
    peer = Peer(serve)
    try:
        with running_slave(peer.port, tmp_path, never, silence=0.25) as slave:
            words = words_of(slave.wait_for(Detached))
            print(words)
            assert expected in words
            assert [type(event) for event in slave.events] == [Connecting, WaitingForMaster, Detached]
    finally:
        peer.close()


def test_a_web_server(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with running_slave(server.server_port, tmp_path, never, silence=0.25) as slave:
                assert words_of(slave.wait_for(Detached)) == "the master spoke no Perspective Broker for 0.25 s"
        finally:
            server.shutdown()
            thread.join(DEADLINE)


@pytest.mark.parametrize("name", ["no-such-host.invalid", "a..b", "x" * 64 + ".invalid", "a b", "\0", "ä\udc80"])
def test_a_host_that_does_not_exist(name: str, tmp_path: Path) -> None:
    with running_slave(1, tmp_path, never, host=name) as slave:
        assert words_of(slave.wait_for(Detached))


def test_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with running_slave(port, tmp_path, never) as slave:
        assert words_of(slave.wait_for(Detached)) == "Connection refused"


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that neither accepts nor refuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


def test_a_connection_that_does_not_come_about(full_port: int, tmp_path: Path) -> None:
    with running_slave(full_port, tmp_path, never, connect_timeout=0.3) as slave:
        assert words_of(slave.wait_for(Detached)) == "no connection within 0.3 s"


def test_ipv6(tmp_path: Path) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, running_slave(listener.getsockname()[1], tmp_path, never, host="::1") as slave:
        sock, _ = listener.accept()
        with sock:
            Master(sock).attach("b")
            slave.wait_for(Attached)


# -- what may happen to a good one


def build(master: Master) -> None:
    """A login and a build, in always the same number of bytes."""
    master.attach("b")
    step = master.run("b", "echo hello", env={"A": "b"}, logfiles={"log": "log"})
    assert step.text("stdout") == "hello\n"
    master.wait_for(lambda: step.completed)


def garbage(kind: str) -> bytes:
    """Bytes that are no answer to anything."""
    if kind == "cut":
        return b""
    return b"\xff" * 50_000 if kind == "high" else random.Random(1).randbytes(50_000)


@pytest.mark.parametrize("kind", ["cut", "high", "random"])
def test_a_conversation_that_goes_wrong_anywhere(listener: Listener, tmp_path: Path, kind: str) -> None:
    """Each time there is one reason, and the next connection works."""
    with running_slave(listener.port, tmp_path) as slave:
        with listener.accept() as master:
            build(master)
            length = master.sent
        slave.wait_for(Detached)
        slave.wait_for(Attached)
        files, threads = descriptors(), threading.active_count()
        begun, used = time.monotonic(), time.process_time()
        offsets = range(0, length, length // 60)
        assert len(offsets) > 55
        for rounds, offset in enumerate(offsets, 1):
            with listener.accept_raw() as sock, pytest.raises(Spoiled):
                build(Master(sock, Spoil(offset, garbage(kind))))
            wait_for_ends(slave, 1 + rounds)
        reasons = sorted({words_of(event) for event in ends(slave)})
        with listener.accept() as master:
            build(master)
            wait_until(lambda: threading.active_count() <= threads + 1)
            assert descriptors() <= files + 4
        took, used = time.monotonic() - begun, time.process_time() - used
        print(f"{len(offsets)} connections: {took:.1f} s, {used:.1f} s CPU, {reasons}")
        assert used < 10


def wait_for_ends(slave: Slave, count: int) -> None:
    wait_until(lambda: len(ends(slave)) >= count)
    assert len(ends(slave)) == count


def ends(slave: Slave) -> list[SlaveEvent]:
    return slave.of(Detached) + slave.of(LoginRefused)


def test_a_connection_that_is_cut_kills_the_build_and_comes_back(
    listener: Listener, slave: Slave, tmp_path: Path
) -> None:
    with listener.attach("b") as master:
        step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
        master.wait_for(lambda: len(step.text("stdout").split()) == 2)
    with listener.attach("b") as master:
        assert words_of(slave.wait_for(Detached)) == "the master closed the connection"
        assert slave.wait_for(StepFinished).dropped
        wait_until(lambda: not any(is_alive(int(pid)) for pid in step.text("stdout").split()))
        assert master.run("b", "echo fine").text("stdout") == "fine\n"


def test_a_reset_is_told_from_an_orderly_end(listener: Listener, slave: Slave) -> None:
    with listener.attach("b") as master:
        slave.wait_for(Attached)
        # On close, reset.
        master.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert words_of(slave.wait_for(Detached)) == "Connection reset by peer"


def test_attempts_become_rare(tmp_path: Path) -> None:
    """With the jitter of the real program."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with running_slave(port, tmp_path, host.jitter) as slave:
        slave.wait_for(Detached)
        used = cpu_seconds_of(1.0)
        assert len(slave.of(Connecting)) <= 3
        assert used < FEW_CPU_SECONDS


def test_a_slave_that_is_idle_does_nothing(listener: Listener, slave: Slave) -> None:
    with listener.attach("b"):
        slave.wait_for(Attached)
        used = cpu_seconds_of(1.0)
        print(f"{used:.4f} s CPU in a second")
        assert used < FEW_CPU_SECONDS


def test_a_slave_whose_child_is_silent_does_nothing(listener: Listener, slave: Slave) -> None:
    with listener.attach("b") as master:
        master.start("b", "exec >&-; sleep 60", initial_stdin="x" * 600_000)
        assert cpu_seconds_of(0.5) < FEW_CPU_SECONDS


def cpu_seconds_of(seconds: float) -> float:
    used = time.process_time()
    threading.Event().wait(seconds)
    return time.process_time() - used


# -- the end


def test_stop_while_connecting(full_port: int, tmp_path: Path) -> None:
    with running_slave(full_port, tmp_path, never) as slave:
        slave.wait_for(Connecting)
        slave.runner.stop("enough")
        slave.join(2)
        assert slave.wait_for(Stopped) == Stopped("enough", False)


def test_stop_while_waiting(tmp_path: Path) -> None:
    with running_slave(1, tmp_path, never) as slave:
        slave.wait_for(Detached)
        slave.runner.stop("enough")
        slave.join(2)


def test_stop_before_the_start(tmp_path: Path) -> None:
    slave = Slave(1, tmp_path, never)
    slave.runner.stop("enough")
    slave.thread.start()
    slave.join(2)
    assert slave.wait_for(Stopped) == Stopped("enough", False)


def test_stop_while_idle(listener: Listener, slave: Slave) -> None:
    with listener.attach("b") as master:
        slave.wait_for(Attached)
        slave.runner.stop("enough")
        slave.join(2)
        master.wait_closed()


def test_stop_during_a_build(listener: Listener, slave: Slave) -> None:
    with listener.attach("b") as master:
        step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
        master.wait_for(lambda: len(step.text("stdout").split()) == 2)
        slave.runner.stop("enough")
        slave.join(5)
        wait_until(lambda: not any(is_alive(int(pid)) for pid in step.text("stdout").split()))
        assert slave.wait_for(StepFinished).dropped


def test_the_second_stop_does_not_wait(listener: Listener, slave: Slave) -> None:
    with listener.attach("b") as master:
        script = "trap '' TERM; echo $$; sleep 60 & echo $!; while :; do sleep 1; done"
        step = master.start("b", script, sigtermTime=1000)
        master.wait_for(lambda: len(step.text("stdout").split()) == 2)
        slave.runner.stop("enough")
        slave.wait_for(Stopped)
        slave.thread.join(0.3)
        assert slave.thread.is_alive(), "the first stop waits for what dies slowly"
        slave.runner.stop("really")
        slave.join(2)
        wait_until(lambda: not any(is_alive(int(pid)) for pid in step.text("stdout").split()))


def test_stop_while_the_master_talks_without_pause(listener: Listener, tmp_path: Path) -> None:
    with running_slave(listener.port, tmp_path) as slave, listener.attach("b") as master:
        threads = threading.active_count()
        talker = threading.Thread(target=talk, args=(master,))
        talker.start()
        slave.wait_for(MasterSaid, 20)
        slave.runner.stop("enough")
        slave.join(2)
        talker.join(5)
        assert not talker.is_alive()
        # Main, streams, reader and writer of the slave.
        wait_until(lambda: threading.active_count() == threads - 4)


def talk(master: Master) -> None:
    """Send one message after the other, and read nothing, until that fails."""
    assert master.mind is not None
    with contextlib.suppress(OSError):
        while True:
            master.connection.call(master.mind, "print", ("x" * 50_000,), wants_answer=False)
            master.flush()


def wait_for_calls(master: Master, step: Step, count: int) -> None:
    master.wait_for(lambda: step.calls > count)


def test_the_second_stop_in_the_middle_of_much_output(listener: Listener, tmp_path: Path) -> None:
    for _ in range(5):
        with running_slave(listener.port, tmp_path) as slave, listener.attach("b") as master:
            step = master.start("b", "exec cat /dev/zero", keep=False)
            wait_for_calls(master, step, 20)
            slave.runner.stop("enough")
            slave.runner.stop("really")
            slave.join(2)


def test_a_file_system_that_hangs_holds_up_neither_others_nor_the_end(
    listener: Listener, slave: Slave, monkeypatch: pytest.MonkeyPatch
) -> None:
    perform, hang = files.perform, threading.Event()

    def slow(effect: files.FileEffect) -> object:
        if effect.path.endswith("/dead"):
            hang.wait()
        return perform(effect)

    monkeypatch.setattr(files, "perform", slow)
    try:
        with listener.attach(*"abcdef", "g") as master:
            for builder in "abcdef":
                master.start(builder, "true", workdir="dead")
            assert master.run("g", "echo fine").text("stdout") == "fine\n"
            slave.runner.stop("enough")
            slave.runner.stop("really")
            slave.join(2)
    finally:
        hang.set()


def test_nothing_is_left_of_a_runner(tmp_path: Path) -> None:
    def live() -> None:
        with Listener() as listener, running_slave(listener.port, tmp_path) as slave, listener.attach("b") as master:
            master.run("b", "echo fine")
            master.start("b", "exec cat /dev/zero", keep=False)
            slave.runner.stop("enough")
            slave.join()

    live()
    wait_until(lambda: threading.active_count() == 1)
    files = descriptors()
    for _ in range(5):
        live()
    wait_until(lambda: (threading.active_count(), descriptors()) == (1, files))
