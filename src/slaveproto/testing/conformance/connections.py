"""Connections that are refused, cut, silent, garbled."""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

from slaveproto.slave.events import (
    Attached,
    AttachRefused,
    CommandFinished,
    Connecting,
    Detached,
    LineBack,
    LineLost,
    SlaveEvent,
    WaitingForMaster,
)
from slaveproto.testing.conformance.harness import (
    CheckSkipped,
    Lab,
    LabSlave,
    Suite,
    descriptors,
    is_alive,
    need_acknowledgements,
    need_proc,
    read_slowly,
    wait_until,
    wait_until_stuck,
)
from slaveproto.testing.conformance.lasting import LastingMaster, reset
from slaveproto.testing.conformance.socket_master import DEADLINE, SocketMaster, Spoil, Spoiled

SUITE: Suite[Lab] = Suite()

FEW_CPU_SECONDS = 0.2
"""Processor time of a slave that has nothing to do; a busy loop takes all there is."""


def never(delay: float) -> float:
    """Do not try again during the check."""
    return 1000.0


def words_of(event: SlaveEvent) -> str:
    """Return the reason why a connection ended: one line that people can read."""
    assert isinstance(event, (Detached, AttachRefused))
    assert event.why.isprintable()
    assert event.why
    return event.why


# -- what may be at the other end


class OddPeer:
    """A server of anything: `serve` gets each connection."""

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


def _says(data: bytes, hangs_up: bool, expected: str) -> dict[str, object]:
    return {"data": data, "hangs_up": hangs_up, "expected": expected}


@SUITE.add(
    _says(b"", False, "spoke no Perspective Broker for 0.25 s"),
    _says(b"", True, "closed by a peer that never spoke Perspective Broker"),
    _says(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", False, "spoke no Perspective Broker"),
    _says(b"220 mail.example.org ESMTP Postfix\r\n", False, "spoke no Perspective Broker"),
    _says(b"HTTP/1.0 400 Bad Request\r\nServer: nginx\r\n\r\n" + b"<html>" * 9, False, "protocol"),
    _says(bytes(100), False, "protocol"),
    _says(b"\x01" * 1000 + b"\x80", False, "protocol"),
    _says(GREETING[:5], False, "spoke no Perspective Broker for 0.25 s"),
    _says(GREETING[:5], True, "closed"),
    _says(GREETING, False, "said nothing for 0.25 s"),
    _says(GREETING, True, ""),
    _says(b"\xff" * 10, False, "protocol"),
)
def a_peer_that_is_no_master(lab: Lab, data: bytes, hangs_up: bool, expected: str) -> None:
    def serve(sock: socket.socket) -> None:
        sock.sendall(data)
        if hangs_up:
            sock.close()

    peer = OddPeer(serve)
    try:
        with lab.slave(port=peer.port, jitter=never, login_silence=0.25) as slave:
            assert expected in words_of(slave.wait_for(Detached))
            assert [type(event) for event in slave.events()] == [Connecting, WaitingForMaster, Detached]
    finally:
        peer.close()


@SUITE.add()
def a_web_server(lab: Lab) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with lab.slave(port=server.server_port, jitter=never, login_silence=0.25) as slave:
                assert words_of(slave.wait_for(Detached)) == "the master spoke no Perspective Broker for 0.25 s"
        finally:
            server.shutdown()
            thread.join(DEADLINE)


@SUITE.add(
    *({"name": name} for name in ("no-such-host.invalid", "a..b", "x" * 64 + ".invalid", "a b", "\0", "ä\udc80"))
)
def a_host_that_does_not_exist(lab: Lab, name: str) -> None:
    with lab.slave(port=1, jitter=never, host=name) as slave:
        assert words_of(slave.wait_for(Detached))


@SUITE.add()
def a_port_where_nobody_listens(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with lab.slave(port=port, jitter=never) as slave:
        assert words_of(slave.wait_for(Detached)) == "Connection refused"


@contextlib.contextmanager
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


@SUITE.add()
def a_connection_that_does_not_come_about(lab: Lab) -> None:
    with full_port() as port, lab.slave(port=port, jitter=never, connect_timeout=0.3) as slave:
        assert words_of(slave.wait_for(Detached)) == "no connection within 0.3 s"


@SUITE.add()
def ipv6(lab: Lab) -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        raise CheckSkipped("no IPv6 here") from None
    with listener, lab.slave(port=listener.getsockname()[1], host="::1") as slave:
        sock, _ = listener.accept()
        with sock:
            SocketMaster(sock).attach("b")
            slave.wait_for(Attached)


# -- what may happen to a good one


def build(master: SocketMaster) -> None:
    """A login and a build, in always the same number of bytes."""
    master.attach("b")
    step = master.run("b", "echo hello", env={"A": "b"}, logfiles={"log": "log"})
    assert step.output() == "hello\n"


def garbage(kind: str) -> bytes:
    """Bytes that are no answer to anything."""
    if kind == "cut":
        return b""
    return b"\xff" * 50_000 if kind == "high" else random.Random(1).randbytes(50_000)


@SUITE.add({"kind": "cut"}, {"kind": "high"}, {"kind": "random"})
def a_conversation_that_goes_wrong_anywhere(lab: Lab, kind: str) -> None:
    """Each time there is one reason, and the next connection works."""
    need_proc()

    def ends(slave: LabSlave) -> list[SlaveEvent]:
        return [*slave.of(Detached), *slave.of(AttachRefused)]

    with lab.slave() as slave:
        with lab.listener.accept() as master:
            build(master)
            length = master.sent
        slave.wait_for(Detached)
        slave.wait_for(Attached)
        files = descriptors()
        used = time.process_time()
        offsets = range(0, length, length // 60)
        assert len(offsets) > 55
        for rounds, offset in enumerate(offsets, 2):
            with lab.listener.accept_raw() as sock:
                try:
                    build(SocketMaster(sock, Spoil(offset, garbage(kind))))
                except Spoiled:
                    pass
                else:
                    raise AssertionError("the build needed less than it did before")
            wait_until(lambda rounds=rounds: len(ends(slave)) >= rounds)  # type: ignore[misc]
            assert len(ends(slave)) == rounds
        for event in ends(slave):
            words_of(event)
        with lab.listener.accept() as master:
            build(master)
            wait_until(lambda: descriptors() <= files + 4)
        assert time.process_time() - used < 10


@SUITE.add()
def a_connection_that_is_cut_kills_the_build_and_comes_back(lab: Lab) -> None:
    need_proc()
    with lab.slave() as slave:
        with lab.listener.attach("b") as master:
            step = master.start("b", "echo $$; sleep 60 & echo $!; wait")
            master.wait_for(lambda: len(step.numbers) == 2)
        with lab.listener.attach("b") as master:
            assert words_of(slave.wait_for(Detached)) == "the master closed the connection"
            assert slave.wait_for(CommandFinished).dropped
            wait_until(lambda: not any(map(is_alive, step.numbers)))
            assert master.run("b", "echo fine").output() == "fine\n"


@SUITE.add()
def a_build_outlives_its_link(lab: Lab) -> None:
    with lab.slave(resume=os.urandom(32)) as slave, LastingMaster(lab.listener) as master:
        master.attach("b")
        count = "n=0; while [ $n -lt 100 ]; do n=$((n+1)); echo $n; sleep 0.01; done"
        step = master.start("b", count)
        for cut in range(1, 4):
            master.wait_for(lambda cut=cut: len(step.numbers) > 20 * cut)  # type: ignore[misc]
            master.cut()
            slave.wait_for(LineLost, cut)
            master.resume()
            slave.wait_for(LineBack, cut)
        assert master.finish(step).numbers == list(range(1, 101))
        assert not slave.of(Detached)
        # Before its master goes, for it would come back at once.
        slave.stop("the check is over")
        slave.join()


@SUITE.add()
def a_reset_is_told_from_an_orderly_end(lab: Lab) -> None:
    with lab.slave() as slave:
        with lab.listener.attach("b") as master:
            slave.wait_for(Attached)
            reset(master.socket)
        assert words_of(slave.wait_for(Detached)) == "Connection reset by peer"


@SUITE.add()
def a_connection_that_is_stuck_is_given_up(lab: Lab) -> None:
    """Its last bytes have their time, and are no reason to wait with a new one."""
    need_proc()
    with lab.slave(keepalive=0.6, silence=0.5) as slave, lab.listener.attach("b") as master:
        before = descriptors()
        master.start("b", "exec cat /dev/zero")
        assert slave.wait_for(Detached).why == "the master said nothing for 0.5 s"
        with lab.listener.attach("b") as second:
            assert second.run("b", "echo fine").output() == "fine\n"
            # One more at each end; those of the first connection, which the master still does not read, are one less.
            wait_until(lambda: descriptors() <= before + 1)
            assert master.open


@SUITE.add()
def a_master_that_is_slow_is_not_taken_for_dead(lab: Lab) -> None:
    """A question that waits behind what the master takes in slowly is under way; then its answer has its time."""
    need_acknowledgements()
    lab.listener.narrow()
    with lab.slave(keepalive=0.2, silence=1.0) as slave, lab.listener.attach("b") as master:
        slave.wait_for(Attached)
        master.start("b", "exec cat /dev/zero")
        read_slowly(master.socket, 2.5)
        assert slave.of(Detached) == []
        assert slave.wait_for(Detached).why == "the master said nothing for 1 s"


@SUITE.add()
def a_master_that_does_not_read_stops_the_child_until_it_does(lab: Lab) -> None:
    need_proc()
    size = 40_000_000
    with lab.slave(), lab.listener.attach("b", text=False) as master:
        step = master.start("b", f"echo $$ > pid; exec head -c {size} /dev/zero", keep=False)
        file = lab.directory / "b" / "pid"
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        assert wait_until_stuck(int(file.read_text())) < size / 2, "the child was not stopped"
        master.finish(step)
        assert step.sizes == {"stdout": size}
        assert step.rc == 0


# -- how much it does


@SUITE.add()
def attempts_become_rare(lab: Lab) -> None:
    """Attempts become rare, with jitter as a real program has it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with lab.slave(port=port, jitter=lambda most: random.uniform(0, most)) as slave:
        slave.wait_for(Detached)
        used = cpu_seconds_of(1.0)
        assert len(slave.of(Connecting)) <= 3
        assert used < FEW_CPU_SECONDS


@SUITE.add()
def a_slave_that_is_idle_does_nothing(lab: Lab) -> None:
    with lab.attached() as (slave, _):
        slave.wait_for(Attached)
        assert cpu_seconds_of(0.7) < FEW_CPU_SECONDS


@SUITE.add()
def a_slave_whose_child_is_silent_does_nothing(lab: Lab) -> None:
    with lab.attached() as (_, master):
        master.start("b", "exec >&-; sleep 60", initial_stdin="x" * 600_000)
        assert cpu_seconds_of(0.5) < FEW_CPU_SECONDS


def cpu_seconds_of(seconds: float) -> float:
    """Return the processor time that this program takes in some seconds."""
    used = time.process_time()
    threading.Event().wait(seconds)
    return time.process_time() - used
