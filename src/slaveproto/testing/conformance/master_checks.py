"""Rules for runners of a `MasterSession`: connections, output, files, time, ends, TLS."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    AbandonStep,
    BuildLost,
    Configure,
    Disconnect,
    DownloadString,
    EndBuild,
    InterruptStep,
    LoginFailed,
    MasterConfig,
    Ping,
    Ponged,
    Result,
    Shell,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    StepSpoke,
    UploadFile,
)
from slaveproto.testing.conformance.connections import FEW_CPU_SECONDS, cpu_seconds_of
from slaveproto.testing.conformance.harness import (
    Suite,
    descriptors,
    need_acknowledgements,
    need_proc,
    read_slowly,
    wait_until,
)
from slaveproto.testing.conformance.lasting import LastingSlave, reset
from slaveproto.testing.conformance.master_harness import LabMaster, MasterLab
from slaveproto.testing.conformance.socket_slave import SocketSlave
from slaveproto.wire.values import Value

SUITE: Suite[MasterLab] = Suite()

COMMAND = Shell(command="x", log_environ=False, timeout=None)

ENOUGH = 60_000_000
"""Characters of output that no runner may have read while none is taken, buffers of the kernel included."""

BLOCK_SIZE = 100_000
"""Bytes that a slave reads of a file at once."""

MORE_THAN_FITS = 200
"""Blocks that no connection takes while its other end does not read, buffers of the kernel included."""


def read_text(master: LabMaster, step: int = 1) -> str:
    """Take what a step wrote."""
    return b"".join(output.data for output in master.take_output(step) if output.stream == "stdout").decode()


def read_in_two_batches(master: LabMaster, slave: SocketSlave, data: bytes) -> list[int]:
    """Begin a download and ask for all of it, so that answers wait for an earlier batch that is not read.

    Returns:
        The numbers of the calls, in order.
    """
    master.start_step(slave, DownloadString(data=data, dest="f", block_size=BLOCK_SIZE))
    reader = slave.command.object("reader")
    numbers: list[int] = []
    for count in (MORE_THAN_FITS, len(data) // BLOCK_SIZE - MORE_THAN_FITS):
        asked = [slave.connection.call(reader, "read", (BLOCK_SIZE,), {}) for _ in range(count)]
        slave.unanswered.update(asked)
        numbers += asked
        slave.flush()
        time.sleep(0.2)
    return numbers


# -- builds


@SUITE.add()
def a_build(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        slave.command.update({"stdout": "hello\n"})
        master.wait_for(StepSpoke)
        assert read_text(master) == "hello\n"
        slave.command.update({"stdout": "last words\n"})
        slave.command.finish(3)
        assert (master.outcome_of().result, master.outcome_of().rc) == (Result.FAILURE, 3)
        assert read_text(master) == "last words\n"
        master.post(EndBuild(1))
        master.start_build(slave, 2)


@SUITE.add()
def output_is_complete_and_in_order(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        text = ""
        for number in range(2000):
            slave.write(f"{number}\n")
            if number % 100 == 0:
                text += read_text(master)
        slave.command.finish()
        assert master.outcome_of().rc == 0
        text += read_text(master)
        assert text == "".join(f"{number}\n" for number in range(2000))


@SUITE.add()
def messages_arrive_in_any_pieces(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        updates: list[Value] = [[{"stdout": "piece by piece"}, 0]]
        slave.connection.call(slave.command.step, "update", (updates,), {})
        for byte in slave.data_to_send():
            slave.socket.sendall(bytes([byte]))
        slave.wait_for(lambda: master.of(StepSpoke), "the master announces StepSpoke")
        assert read_text(master) == "piece by piece"


@SUITE.add()
def inputs_of_the_program_reach_the_slave_at_once(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.post(Ping("bot"))
        slave.wait_for(lambda: master.of(Ponged), "the master announces Ponged", 2)
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        master.post(InterruptStep(1, "enough"))
        slave.wait_for(lambda: slave.command.interrupts, "the command is interrupted", 2)
        slave.command.finish(1)
        assert master.outcome_of().result is Result.CANCELLED


# -- slow readers


@SUITE.add()
def a_slave_that_reads_late_gets_all_of_it(lab: MasterLab) -> None:
    """A slave that reads late gets all of it, in order: one batch after the other."""
    data = os.urandom(BLOCK_SIZE * (MORE_THAN_FITS + 20))
    with lab.attached() as (master, slave):
        master.start_build(slave)
        numbers = read_in_two_batches(master, slave, data)
        slave.wait_for(lambda: not slave.unanswered, "the master answers every read")
        blocks = [slave.answer_to(number) for number in numbers]
        assert b"".join(block for block in blocks if isinstance(block, bytes)) == data


@SUITE.add()
def output_that_is_not_taken_leaves_its_connection_unread_and_no_other(lab: MasterLab) -> None:
    line = "x" * 99_999 + "\n"
    with lab.attached() as (master, slave):
        other = master.attach("other")
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        slave.command.update({"stdout": "begin\n"})
        written = 0
        slave.socket.settimeout(0.5)
        data = b""
        with contextlib.suppress(TimeoutError):
            while written < ENOUGH:
                updates: list[Value] = [[{"stdout": line}, 0]]
                number = slave.connection.call(slave.command.step, "update", (updates,), {})
                slave.unanswered.add(number)
                data = slave.data_to_send()
                written += len(line)
                while data:
                    data = data[slave.socket.send(data) :]
        assert written < ENOUGH, "the runner leaves a connection unread while `paused` is true"
        master.post(Ping("other"))
        other.wait_for(lambda: master.of(Ponged), "another slave is served meanwhile", 5)
        taken = read_text(master)
        slave.socket.settimeout(0.05)
        limit = time.monotonic() + 20
        while data and time.monotonic() < limit:
            with contextlib.suppress(TimeoutError):
                data = data[slave.socket.send(data) :]
            taken += read_text(master)
        assert not data, "the runner reads a connection again when its output was taken"

        def all_is_there() -> bool:
            nonlocal taken
            taken += read_text(master)
            return len(taken) >= written + len("begin\n")

        slave.wait_for(all_is_there, "all output arrives")
        assert taken == "begin\n" + line * (written // len(line))


@SUITE.add()
def output_that_is_not_taken_does_not_hold_up_another_build(lab: MasterLab) -> None:
    """A connection that was left unread is read again when the session says so, also when no output was taken."""
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        for _ in range(4):
            slave.write("x" * 500_000)
        master.start_build(slave, 2, "c")
        master.start_step(slave, COMMAND, 2, 2)
        slave.command.finish()
        assert master.outcome_of(2, slave=slave).rc == 0
        assert read_text(master) == "x" * 2_000_000


# -- files


@SUITE.add()
def a_file_that_was_uploaded_is_there_when_its_step_is_over(lab: MasterLab) -> None:
    target = lab.directory / "up" / "f"
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, UploadFile(src="f", dest=str(target)))
        writer = slave.command.object("writer")
        for number in range(20):
            slave.call(writer, "write", bytes([number]) * 10_000)
        slave.call(writer, "close")
        slave.command.finish()
        assert master.outcome_of(slave=slave).result is Result.SUCCESS
        assert target.read_bytes() == b"".join(bytes([number]) * 10_000 for number in range(20))
        assert os.listdir(target.parent) == ["f"]


@SUITE.add({"end": "slave"}, {"end": "master"})
def nothing_is_left_of_an_upload_that_was_cut(lab: MasterLab, end: str) -> None:
    target = lab.directory / "up" / "f"
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, UploadFile(src="f", dest=str(target)))
        slave.call(slave.command.object("writer"), "write", bytes(10_000))
        if end == "slave":
            slave.socket.close()
            slave.open = False
        else:
            master.stop("enough")
        assert master.outcome_of().result is Result.RETRY
        if end == "master":
            master.join()
        wait_until(lambda: not os.listdir(target.parent), expected="the half-written file is removed")


@SUITE.add()
def a_file_that_cannot_be_written_fails_its_step_and_nothing_else(lab: MasterLab) -> None:
    (lab.directory / "file").touch()
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, UploadFile(src="f", dest=str(lab.directory / "file" / "f")))
        with contextlib.suppress(Exception):
            slave.call(slave.command.object("writer"), "write", bytes(10))
        slave.command.finish(1)
        assert master.outcome_of(slave=slave).result is not Result.SUCCESS
        master.start_step(slave, COMMAND, 2)


# -- time


@SUITE.add()
def deadlines_are_kept(lab: MasterLab) -> None:
    with lab.master(login_timeout=0.3) as master:
        began = time.monotonic()
        slave = master.connect(login=False)
        slave.wait_closed(5)
        assert 0.25 < time.monotonic() - began < 3
        assert master.wait_for(LoginFailed).why == "did not log in within 0.3 s"


@SUITE.add()
def a_step_that_does_not_end_when_it_is_abandoned_costs_its_slave(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        master.post(AbandonStep(1, 0.3))
        slave.wait_closed(5)
        assert master.outcome_of().result is Result.CANCELLED
        assert master.wait_for(SlaveDetached).why == "it did not end an interrupted step"


@SUITE.add()
def a_master_that_is_idle_does_nothing(lab: MasterLab) -> None:
    with lab.attached():
        assert cpu_seconds_of(0.7) < FEW_CPU_SECONDS


# -- ends of connections


@SUITE.add()
def a_slave_that_is_slow_is_not_taken_for_dead(lab: MasterLab) -> None:
    """A question that waits behind what the slave takes in slowly is under way; then its answer has its time."""
    need_acknowledgements()
    with lab.master(keepalive=0.2, silence=1.0) as master:
        slave = master.attach()
        slave.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        master.start_build(slave)
        read_in_two_batches(master, slave, os.urandom(BLOCK_SIZE * (MORE_THAN_FITS + 1)))
        read_slowly(slave.socket, 2.5)
        assert master.of(SlaveDetached) == []
        assert master.wait_for(SlaveDetached).why == "did not answer getVersion within 1 s"


@SUITE.add()
def last_words_get_out_before_the_end(lab: MasterLab) -> None:
    """Last words get out before the end: those of `CloseConnection`, and the batch before them."""
    data = os.urandom(BLOCK_SIZE * (MORE_THAN_FITS + 20))
    with lab.attached() as (master, slave):
        master.start_build(slave)
        numbers = read_in_two_batches(master, slave, data)
        master.post(Disconnect("bot", "enough"))
        slave.wait_closed(5)
        blocks = [slave.answer_to(number) for number in numbers]
        assert b"".join(block for block in blocks if isinstance(block, bytes)) == data


@SUITE.add()
def a_refused_login_is_answered(lab: MasterLab) -> None:
    with lab.master() as master:
        slave = master.connect(password="wrong")
        slave.wait_for(lambda: slave.refused is not None, "the login is refused")
        assert master.wait_for(LoginFailed).credentials


@SUITE.add()
def every_connection_has_a_challenge_of_its_own(lab: MasterLab) -> None:
    """Every connection has a challenge of its own: a response that was overheard is of no use."""
    with lab.master() as master:
        challenges = {challenge_to(master.connect(login=False)) for _ in range(3)}
        assert len(challenges) == 3


def challenge_to(slave: SocketSlave) -> Value:
    """Begin a login and return the challenge that it is answered with."""
    slave.wait_for(lambda: slave.events, "the master opens the connection")
    answer = slave.call(slave.connection.root, "login", slave.name)
    assert isinstance(answer, (tuple, list))
    return answer[0]


@SUITE.add()
def an_orderly_end_is_told(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        # Not by a close, which makes a reset of bytes that are not read yet.
        slave.socket.shutdown(socket.SHUT_WR)
        assert master.wait_for(SlaveDetached).why == "closed the connection"
        master.attach()


@SUITE.add()
def a_reset_is_told_in_words_of_the_system(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        reset(slave.socket)
        assert master.wait_for(SlaveDetached).why == "Connection reset by peer"


@SUITE.add()
def a_build_outlives_its_link(lab: MasterLab) -> None:
    with lab.master() as master, LastingSlave(master.port) as slave:
        master.slaves.append(slave)
        slave.wait_for(lambda: master.of(SlaveAttached), "the slave is attached")
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        for cut in range(1, 4):
            slave.write(f"before cut {cut}\n")
            slave.cut()
            master.wait_for(SlaveCut, cut)
            slave.write(f"after cut {cut}\n")
            slave.resume()
        slave.command.finish()
        assert master.outcome_of(slave=slave).result is Result.SUCCESS
        assert read_text(master) == "".join(f"before cut {cut}\nafter cut {cut}\n" for cut in range(1, 4))
        assert len(master.of(SlaveBack)) == 3
        assert not master.of(SlaveDetached)


@SUITE.add()
def output_that_is_not_taken_stops_a_slave_whose_line_lasts(lab: MasterLab) -> None:
    with lab.master() as master, LastingSlave(master.port) as slave:
        master.slaves.append(slave)
        slave.wait_for(lambda: master.of(SlaveAttached), "the slave is attached")
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        block = "x" * 100_000
        written = 0
        while not slave.congested:
            slave.write(block)
            written += len(block)
            assert written < ENOUGH, "the slave is stopped"
        taken = 0
        with contextlib.suppress(TimeoutError):
            while True:
                taken += len(read_text(master))
                slave.pump(1.0)
        slave.command.finish()
        master.outcome_of(slave=slave)
        assert taken + len(read_text(master)) == written


@SUITE.add()
def a_slave_that_is_lost_ends_its_build(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        slave.command.update({"stdout": "before\n"})
        slave.socket.close()
        slave.open = False
        assert master.outcome_of().result is Result.RETRY
        assert master.wait_for(BuildLost).build == 1
        assert read_text(master) == "before\n"


@SUITE.add()
def a_slave_that_is_disconnected_gets_nothing_more(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.post(Disconnect("bot", "enough"))
        slave.wait_closed(5)
        assert master.wait_for(SlaveDetached).why == "enough"


@SUITE.add()
def a_new_configuration_is_told_to_slaves(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.post(Configure(MasterConfig()))
        slave.wait_closed(5)
        assert master.wait_for(SlaveDetached).why == "it is not configured any more"


HOSTILE = (
    b"GET / HTTP/1.0\r\n\r\n",
    b"\x00" * 1000,
    b"\xff" * 100_000,
    b"\x7f\x7f\x7f\x7f\x82" + bytes(100_000),
    b"\x80" * 10_000,
    b"",
)


@SUITE.add()
def clients_that_are_no_slaves_disturb_none(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        for data in HOSTILE:
            with master.connect_raw() as sock, contextlib.suppress(ConnectionError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
        slave.command.update({"stdout": "fine\n"})
        slave.command.finish()
        assert master.outcome_of(slave=slave).rc == 0
        assert [event.slave for event in master.of(SlaveAttached)] == ["bot"]
        assert not master.of(SlaveDetached)


@SUITE.add()
def more_visitors_than_there_may_be_close_the_oldest(lab: MasterLab) -> None:
    with lab.master(visitors=3) as master:
        slaves = [master.connect(login=False) for _ in range(5)]
        for _ in range(2):
            master.wait_for(LoginFailed, 2)
        for slave in slaves:
            # The first one is the greeting.
            with contextlib.suppress(TimeoutError):
                slave.pump(1)
                slave.pump(0.5)
        assert [slave.open for slave in slaves] == [False, False, True, True, True]


# -- many


@SUITE.add()
def a_hundred_connections_come_and_go(lab: MasterLab) -> None:
    need_proc()
    with lab.attached() as (master, slave):
        before = descriptors()
        socks = [master.connect_raw() for _ in range(100)]
        for sock in socks:
            assert sock.recv(1), "every connection is greeted"
        for number, sock in enumerate(socks):
            if number % 2:
                reset(sock)
            else:
                sock.close()
        wait_until(lambda: descriptors() <= before, expected="the runner closes what its peers have closed")
        master.wait_for(LoginFailed, 100)
        master.post(Ping("bot"))
        slave.wait_for(lambda: master.of(Ponged), "a slave is served afterwards")


# -- the end


def expect_refusal(master: LabMaster) -> None:
    """Find the port closed."""
    try:
        socket.create_connection(("127.0.0.1", master.port), 1).close()
    except OSError:
        return
    raise AssertionError("the port is closed")


@SUITE.add()
def stop_at_once(lab: MasterLab) -> None:
    with lab.master() as master:
        master.stop("enough")
        master.join(2)
        expect_refusal(master)


@SUITE.add()
def stop_closes_the_port_and_every_connection(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        stranger = master.connect(login=False)
        master.stop("enough")
        slave.wait_closed(2)
        stranger.wait_closed(2)
        master.join(2)
        assert master.wait_for(SlaveDetached).why == "enough"
        expect_refusal(master)


@SUITE.add()
def stop_in_a_build_ends_its_step(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        master.stop("enough")
        outcome = master.outcome_of()
        assert (outcome.result, outcome.why) == (Result.RETRY, "enough")
        master.join(2)


@SUITE.add()
def stop_while_a_slave_talks_without_pause(lab: MasterLab) -> None:
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        over = threading.Event()

        def talk() -> None:
            with contextlib.suppress(OSError, LocalProtocolError):
                while not over.is_set():
                    slave.write("x" * 10_000)

        talker = threading.Thread(target=talk, name="talker")
        talker.start()
        try:
            master.wait_for(StepSpoke)
            master.stop("enough")
            master.join(10)
        finally:
            over.set()
            with contextlib.suppress(OSError):
                slave.socket.shutdown(socket.SHUT_RDWR)
            talker.join()


@SUITE.add()
def stop_while_a_slave_does_not_read(lab: MasterLab) -> None:
    """Last bytes have a few seconds, and no more: a slave that reads nothing does not hold up the end."""
    with lab.attached() as (master, slave):
        master.start_build(slave)
        master.start_step(slave, DownloadString(data=bytes(20_000_000), dest="f", block_size=100_000))
        reader = slave.command.object("reader")
        for _ in range(200):
            slave.connection.call(reader, "read", (100_000,), {})
        slave.flush()
        time.sleep(0.3)
        master.stop("enough")
        master.join(10)


@SUITE.add()
def nothing_is_left_of_a_runner(lab: MasterLab) -> None:
    need_proc()

    def live() -> None:
        with lab.attached() as (master, slave):
            master.start_build(slave)
            master.start_step(slave, COMMAND)
            master.connect(login=False)

    live()
    before, threads = descriptors(), threading.active_count()
    for _ in range(5):
        live()
    wait_until(lambda: descriptors() <= before, expected=f"no more than {before} descriptors are open")
    wait_until(lambda: threading.active_count() <= threads, expected=f"no more than {threads} threads run")


# -- TLS


@SUITE.add()
def a_build_over_tls(lab: MasterLab) -> None:
    with lab.master(tls=True) as master:
        slave: SocketSlave = master.attach()
        master.start_build(slave)
        master.start_step(slave, COMMAND)
        for _ in range(20):
            slave.write("x" * 50_000)
        slave.command.finish()
        assert master.outcome_of().rc == 0
        assert len(read_text(master)) == 1_000_000
        # A farewell that was forgotten would be an error here.
        master.stop("enough")
        slave.wait_closed()


@SUITE.add()
def a_peer_without_tls_is_told_of(lab: MasterLab) -> None:
    with lab.master(tls=True) as master, master.connect_raw() as sock:
        sock.sendall(b"hello there\n")
        assert master.wait_for(LoginFailed).why.startswith("TLS: ")
        with contextlib.suppress(ConnectionError):
            while sock.recv(1000):
                pass


@SUITE.add()
def a_handshake_that_takes_too_long_is_ended(lab: MasterLab) -> None:
    with lab.master(tls=True, login_timeout=0.3) as master, master.connect_raw() as sock:
        assert master.wait_for(LoginFailed).why == "TLS: no handshake within 0.3 s"
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1000) == b""
