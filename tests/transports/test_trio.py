"""What only the trio runner does: cancellation, exceptions, readers that take their time, TLS."""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
import trio.testing

from slaveproto import HostInfo, SlaveConfig, SlaveSession
from slaveproto.effects import ProcessOutput
from slaveproto.slave.events import (
    Attached,
    CommandFinished,
    CommandStarted,
    Connecting,
    Detached,
    Input,
    MasterSaid,
    SlaveEvent,
    SlaveNotice,
    Stopped,
)
from slaveproto.testing.conformance import MasterSocket, SocketMaster, SocketStep, wait_until
from slaveproto.testing.conformance.connections import full_port
from slaveproto.testing.conformance.harness import descriptors, is_alive, need_proc
from transports.host import sockets
from transports.host.system import streams as system_streams
from transports.trio import Slave, open_slave, run_slave
from transports.trio import event_queue as unread
from transports.trio.event_queue import EventQueue
from transports.trio.nurseries import open_nursery
from transports.trio.streams import open_wire

T = TypeVar("T")

CERTIFICATE = str(Path(__file__).parents[1] / "data" / "localhost.pem")
"""Made by `openssl req -x509` for localhost and 127.0.0.1, with its key; signed by itself, good for a century."""

TREE = "echo $$; sleep 60 & echo $!; wait"

pytestmark = pytest.mark.trio


def session(port: int, directory: Path, **config: Any) -> SlaveSession:
    settings = {"host": "127.0.0.1", "name": "bot", "password": "secret", "basedir": str(directory), **config}
    return SlaveSession(SlaveConfig(port=port, **settings), HostInfo(dict(os.environ), os.name, 1, {}, "test"), jitter)


def jitter(delay: float) -> float:
    return delay


async def in_thread(function: Callable[..., T], *args: Any, **more: Any) -> T:
    """Drive the master, which blocks, beside the slave."""
    return await trio.to_thread.run_sync(functools.partial(function, *args, **more))


class Build:
    """A step that goes on and on: two processes."""

    def __init__(self, master: SocketMaster) -> None:
        self.master = master
        self.step: SocketStep = master.start("b", TREE)
        master.wait_for(lambda: len(self.step.numbers) == 2)

    async def is_over(self) -> None:
        """Wait until the slave hung up; its processes must be gone by then, and waited for."""
        await in_thread(self.master.wait_closed)
        await in_thread(wait_until, lambda: not any(map(is_alive, self.step.numbers)))
        await in_thread(wait_until, lambda: not Path(f"/proc/{self.step.numbers[0]}").exists())


@contextlib.asynccontextmanager
async def building(listener: MasterSocket) -> AsyncIterator[Build]:
    """Let a slave log in and start a build."""
    need_proc()
    attaching = listener.attach("b")
    master = await in_thread(attaching.__enter__)
    try:
        yield await in_thread(Build, master)
    finally:
        attaching.__exit__(None, None, None)


class Oops(Exception):
    """Something that goes wrong in the program."""


# -- cancellation and exceptions


async def test_cancellation_kills_what_runs_and_closes_the_connection(listener: MasterSocket, tmp_path: Path) -> None:
    before = descriptors()
    scope = trio.CancelScope()

    async def program() -> None:
        with scope:
            await run_slave(session(listener.port, tmp_path), lambda event: None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(program)
        async with building(listener) as build:
            scope.cancel()
            await build.is_over()
    assert scope.cancelled_caught
    # The first command of a program opens the pipe of its watcher.
    assert descriptors() <= before + 1


async def test_what_the_block_raises_comes_out_as_it_is(listener: MasterSocket, tmp_path: Path) -> None:
    numbers: list[int] = []

    async def program() -> None:
        async with open_slave(session(listener.port, tmp_path)), building(listener) as build:
            numbers.extend(build.step.numbers)
            raise Oops

    with pytest.raises(Oops), trio.fail_after(10):
        await program()
    # What SIGKILL was sent to may take a moment.
    wait_until(lambda: not any(map(is_alive, numbers)))


async def test_what_the_listener_to_events_raises_comes_out_as_it_is(listener: MasterSocket, tmp_path: Path) -> None:
    told = trio.Event()

    def on_event(event: SlaveEvent) -> None:
        if isinstance(event, MasterSaid):
            raise Oops

    async def program() -> None:
        with pytest.raises(Oops):
            await run_slave(session(listener.port, tmp_path), on_event)
        told.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(program)
        async with building(listener) as build:
            assert build.master.bot is not None
            build.master.connection.call(build.master.bot, "print", ("boo",), wants_answer=False)
            build.master.flush()
            await build.is_over()
            await told.wait()


async def test_a_mistake_in_the_session_comes_out_of_the_block(
    listener: MasterSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slave_session = session(listener.port, tmp_path)
    handle = slave_session.handle

    def wrong(item: Input, *, now: float) -> None:
        if isinstance(item, ProcessOutput) and item.data == b"now\n":
            raise Oops
        handle(item, now=now)

    monkeypatch.setattr(slave_session, "handle", wrong)

    async def program() -> None:
        with pytest.raises(Oops):
            async with open_slave(slave_session):
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(program)
        async with building(listener) as build:
            await in_thread(build.master.interrupt, "b")
            await in_thread(build.master.finish, build.step)
            build.step = await in_thread(
                build.master.start, "b", "echo $$; sleep 60 & echo $!; sleep 0.1; echo now; wait"
            )
            await build.is_over()


async def test_leaving_the_block_stops_the_slave_at_once(listener: MasterSocket, tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        leave = trio.Event()
        events: list[SlaveEvent] = []

        async def program() -> None:
            async with open_slave(session(listener.port, tmp_path)) as slave:
                await leave.wait()
            events.extend([event async for event in slave])

        nursery.start_soon(program)
        async with building(listener) as build:
            leave.set()
            await build.is_over()
    assert events[-1] == Stopped("the program has left it", False)


async def test_a_program_can_stop_what_it_started(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """On virtual time, which only passes when everybody waits for it."""
    events: list[SlaveEvent] = []
    async with trio.open_nursery() as nursery:
        slave: Slave = await nursery.start(run_slave, session(1, tmp_path, max_delay=600.0), events.append)
        while sum(isinstance(event, Connecting) for event in events) < 10:
            await trio.sleep(1)
        slave.stop("enough")
    assert trio.current_time() > 60
    assert events[-1] == Stopped("enough", False)
    # After the end nothing is heeded any more.
    slave.stop("enough")


async def test_cancelled_while_it_connects(tmp_path: Path) -> None:
    with full_port() as port, trio.move_on_after(0.05) as scope:
        await run_slave(session(port, tmp_path), lambda event: None)
    assert scope.cancelled_caught


async def test_one_exception_comes_alone_and_two_in_a_group() -> None:
    async def fail(kind: type[Exception]) -> None:
        raise kind

    async def run(*kinds: type[Exception]) -> None:
        async with open_nursery() as nursery:
            for kind in kinds:
                nursery.start_soon(fail, kind)
            await trio.sleep_forever()

    with pytest.raises(Oops):
        await run(Oops)
    with pytest.raises(ExceptionGroup) as caught:
        await run(Oops, ValueError)
    assert {type(error) for error in caught.value.exceptions} == {Oops, ValueError}


# -- a reader that takes its time


async def test_a_slow_reader_of_events_holds_up_nobody_and_learns_how_many_it_missed(
    listener: MasterSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "MOST", 10)
    # Whether there is a word about the environment would depend on where the test runs.
    async with open_slave(session(listener.port, tmp_path, send_environment="all")) as slave:
        with contextlib.ExitStack() as stack:
            master = await in_thread(stack.enter_context, listener.attach("b"))
            for _ in range(20):
                await in_thread(master.run, "b", "true")
        slave.stop("enough")
        events = [event async for event in slave]
    assert len(events) == 11
    # Connecting, the connection, the builders, the login; two of each step; the end.
    assert events[0] == SlaveNotice("35 announcements were not read in time and are lost")
    assert isinstance(events[-1], Stopped)


async def test_what_waits_to_be_read_is_bounded_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "MOST_TEXT", 1000)
    waiting = EventQueue[str]()
    for n in range(10):
        waiting.put(str(n) * 300)
    assert [await waiting.take() for _ in range(4)] == [7, "7" * 300, "8" * 300, "9" * 300]
    waiting.put("x" * 2000)
    waiting.end()
    assert [await waiting.take() for _ in range(3)] == ["x" * 2000, None, None]


async def test_every_reader_is_told_of_the_end() -> None:
    waiting = EventQueue[int]()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(waiting.take)
        await trio.testing.wait_all_tasks_blocked()
        waiting.end()


# -- TLS


@pytest.fixture
def secure() -> Iterator[MasterSocket]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    with MasterSocket(context) as listener:
        yield listener


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTIFICATE)


async def first_end(slave: Slave) -> str:
    """Why the first connection ended."""
    async for event in slave:
        if isinstance(event, Detached):
            return event.why
    raise AssertionError("it did not")


async def test_tls(secure: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path) -> None:
    def live(master: SocketMaster) -> None:
        master.attach("b")
        step = master.run("b", "tee /dev/stderr", initial_stdin="x" * 600_000)
        assert (step.output(), step.output("stderr")) == ("x" * 600_000, "x" * 600_000)
        assert master.call_bot("shutdown") is None
        # A farewell that was forgotten would be an error here.
        master.wait_closed()

    async with open_slave(session(secure.port, tmp_path), ssl_context=trusting) as slave:
        with contextlib.closing(await in_thread(secure.accept_raw)) as sock:
            await in_thread(lambda: live(SocketMaster(sock)))
        events = [event async for event in slave]
    assert [type(event) for event in events if not isinstance(event, (SlaveNotice, MasterSaid))][-3:] == [
        CommandStarted,
        CommandFinished,
        Stopped,
    ]


async def test_tls_by_another_name(secure: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path) -> None:
    async with open_slave(session(secure.port, tmp_path), ssl_context=trusting, server_hostname="localhost") as slave:
        with contextlib.closing(await in_thread(secure.accept_raw)) as sock:
            await in_thread(lambda: SocketMaster(sock).attach("b"))
            async for event in slave:
                if isinstance(event, Attached):
                    break


@pytest.mark.parametrize("how", ["untrusted", "wrong name"])
async def test_tls_with_a_master_that_may_be_somebody_else(
    how: str, secure: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    context = ssl.create_default_context() if how == "untrusted" else trusting
    name = "master.example.org" if how == "wrong name" else None

    def refuse() -> None:
        with pytest.raises(ssl.SSLError), secure.accept_raw() as sock:
            sock.recv(1)

    async with (
        open_slave(session(secure.port, tmp_path), ssl_context=context, server_hostname=name) as slave,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(in_thread, refuse)
        end = await first_end(slave)
        assert end.startswith("certificate verify failed: ")
        assert ("self-signed" if how == "untrusted" else "not valid for 'master.example.org'") in end


async def test_tls_to_a_master_without(listener: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path) -> None:
    async with open_slave(session(listener.port, tmp_path, silence=0.5), ssl_context=trusting) as slave:
        with contextlib.closing(await in_thread(listener.accept_raw)) as sock:
            sock.sendall(b"\x02\x80\x02\x82pb\x04\x82none")
            why = await first_end(slave)
    assert why == "we speak TLS, and the other side speaks plain"


async def test_tls_that_a_master_does_not_finish(
    listener: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    settings = session(listener.port, tmp_path, connect_timeout=0.2)
    async with open_slave(settings, ssl_context=trusting) as slave:
        with contextlib.closing(await in_thread(listener.accept_raw)):
            assert await first_end(slave) == "no connection within 0.2 s"


async def test_tls_without_a_farewell_ends_as_orderly_as_tcp(
    secure: MasterSocket, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    async with open_slave(session(secure.port, tmp_path), ssl_context=trusting) as slave:
        with contextlib.closing(await in_thread(secure.accept_raw)) as sock:
            await in_thread(lambda: SocketMaster(sock).attach("b"))
            # Closes the connection and says nothing.
            sock.close()
        assert await first_end(slave) == "the master closed the connection"


# -- one stream


async def test_the_last_bytes_have_their_time_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    began = trio.current_time()
    async with open_wire(ours, lambda: None) as wire:
        wire.send(b"first")
        wire.close(b"last")
        wire.close(b"never")
        assert await wire.read(lambda data: None) is None
    assert trio.current_time() - began == pytest.approx(sockets.LINGER)
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        received = bytearray()

        async def listen() -> None:
            await trio.sleep(sockets.LINGER / 2)
            while data := await theirs.receive_some():
                received.extend(data)

        nursery.start_soon(listen)
        async with open_wire(ours, lambda: None) as wire:
            wire.send(b"first ")
            wire.close(b"last")
    assert received == b"first last"


async def test_windows_has_no_slave_under_trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_streams, "SELECTABLE", False)
    with pytest.raises(RuntimeError, match="on Windows use transports"):
        async with open_slave(session(1, tmp_path)):
            raise AssertionError("it runs")
