"""The trio master with real sockets: our own slave at the other end, or somebody who does what he wants."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from slaveproto.effects import FileEffect, WriteFile
from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    BuildersChanged,
    BuildLost,
    DownloadFile,
    LoginFailed,
    MasterConfig,
    MasterEvent,
    Result,
    Shell,
    SlaveAccount,
    SlaveAttached,
    SlaveDetached,
    StepFinished,
    StepSpoke,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.peer import HIGH_WATER
from slaveproto.testing import ScriptedSlave
from slaveproto.testing.conformance.harness import descriptors, need_proc
from slaveproto.wire import Value
from tests.transports.test_trio import CERTIFICATE, session
from transports.host import files, sockets
from transports.trio import Build, BuildNotStarted, Master, RunningStep, SlaveLost, hub, open_master, open_slave
from transports.trio.master import AttachedSlave
from transports.trio.nurseries import open_nursery

pytestmark = pytest.mark.trio

BOT: Final = SlaveAccount("bot", "secret", {"b": "b", "c": "c"})
CONFIG: Final = MasterConfig({"bot": BOT, "other": SlaveAccount("other", "secret", {"b": "b"})})
FOREVER: Final = Shell(command="echo up; exec sleep 60", log_environ=False)


@pytest.fixture(autouse=True)
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for whoever does nothing."""
    monkeypatch.setattr(hub, "PATIENCE", 0.2)


@attrs.define
class Pair:
    """A master and a slave of ours that is attached to it."""

    master: Master
    slave: AttachedSlave
    cut: Callable[[], None]
    """Let the slave go without a word."""


@contextlib.asynccontextmanager
async def pair(directory: Path, config: MasterConfig = CONFIG, **how: Any) -> AsyncIterator[Pair]:
    with trio.fail_after(10):
        async with open_master(config, **how) as master, open_nursery() as nursery:
            scope = await nursery.start(run_own_slave, master.port, directory)
            yield Pair(master, await master.wait_attached("bot"), scope.cancel)
            nursery.cancel_scope.cancel()


async def run_own_slave(
    port: int,
    directory: Path,
    context: ssl.SSLContext | None = None,
    *,
    name: str = "bot",
    task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED,
) -> None:
    with trio.CancelScope() as scope:
        async with open_slave(session(port, directory / name, name=name), ssl_context=context) as slave:
            task_status.started(scope)
            async for _ in slave:
                pass


class Scripted:
    """A slave at the wire that does only what it is told to; what it is called it answers by itself."""

    def __init__(self, stream: trio.SocketStream, name: bytes = b"bot") -> None:
        self.stream = stream
        self.slave = ScriptedSlave(lambda: None, name)
        self._sending = trio.Lock()

    async def run(self) -> None:
        """Listen, and answer, until the master closes the connection."""
        async with self.stream:
            async for data in self.stream:
                self.slave.hear(bytes(data))
                await self.flush()
        self.slave.open = False

    async def flush(self) -> None:
        """Send what it has said."""
        async with self._sending:
            with contextlib.suppress(trio.BrokenResourceError):
                await self.stream.send_all(self.slave.data_to_send())

    async def ask(self, name: str, method: str, *args: Value) -> int:
        """Call an object of the running command, `step` is its listener; does not wait for the answer."""
        command = self.slave.command
        number = self.slave.ask(command.step if name == "step" else command.object(name), method, *args)
        await self.flush()
        return number

    async def finish(self, rc: int = 0) -> None:
        """End the running command."""
        await self.ask("step", "update", [[{"rc": rc}, 0]])
        await self.ask("step", "complete", None)

    async def answer(self, number: int) -> Value:
        """Wait for an answer."""
        await until(lambda: number not in self.slave.unanswered)
        return self.slave.answer_to(number)


@contextlib.asynccontextmanager
async def scripted(config: MasterConfig = CONFIG, **how: Any) -> AsyncIterator[tuple[Master, AttachedSlave, Scripted]]:
    with trio.fail_after(10):
        async with open_master(config, **how) as master, open_nursery() as nursery:
            peer = Scripted(await trio.open_tcp_stream("127.0.0.1", master.port))
            nursery.start_soon(peer.run)
            yield master, await master.wait_attached("bot"), peer
            nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.002)


async def read(step: RunningStep) -> bytes:
    return b"".join([output.data async for output in step if output.stream == "stdout"])


# -- what it is for


async def test_a_build(tmp_path: Path) -> None:
    async with pair(tmp_path) as them:
        slave = them.slave
        assert (slave.name, slave.builders, slave.lost) == ("bot", ("b", "c"), None)
        assert slave.info.commands["shell"]
        assert slave.peer.startswith("127.0.0.1:")
        await slave.ping()
        assert slave.is_idle("b")
        async with slave.build("b", {"A": "1", "B": "1"}) as build:
            assert not slave.is_idle("b")
            assert slave.is_idle("c")
            async with build.step(Shell(command="echo $A $B; exit 3", env={"B": "2"})) as step:
                with pytest.raises(RuntimeError):
                    assert step.outcome
                assert await read(step) == b"1 2\n"
            assert (step.outcome.result, step.outcome.rc) == (Result.FAILURE, 3)
            (tmp_path / "src").write_bytes(bytes(range(256)) * 4000)
            async with build.step(DownloadFile(src=str(tmp_path / "src"), dest="d/f")) as step:
                assert (await step.wait()).result is Result.SUCCESS
            async with build.step(UploadFile(src="d/f", dest=str(tmp_path / "up" / "f"))) as step:
                assert (await step.wait()).result is Result.SUCCESS
            async with build.step(UploadDirectory(src="d", dest=str(tmp_path / "tree"), compress="gz")) as step:
                assert (await step.wait()).result is Result.SUCCESS
            for copy in (tmp_path / "up" / "f", tmp_path / "tree" / "f"):
                assert copy.read_bytes() == (tmp_path / "src").read_bytes()
            assert os.listdir(tmp_path / "up") == ["f"]
            async with build.step(DownloadFile(src=str(tmp_path / "nothing"), dest="d/f")) as step:
                assert (await step.wait()).result is Result.FAILURE
            async with build.step(DownloadFile(src=str(tmp_path / "a\0b"), dest="d/f")) as step:
                assert (await step.wait()).result is Result.FAILURE
        assert slave.is_idle("b")
        assert not os.path.exists(tmp_path / "nothing")


async def test_two_builds_at_once(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as one, them.slave.build("c") as two:
        async with one.step(Shell(command="echo 1")) as first, two.step(Shell(command="echo 2")) as second:
            assert [await read(second), await read(first)] == [b"2\n", b"1\n"]
        with pytest.raises(LocalProtocolError):
            async with them.slave.build("b"):
                pass
        with pytest.raises(BuildNotStarted, match="no builder 'nothing'"):
            async with them.slave.build("nothing"):
                pass
        async with one.step(FOREVER) as first:
            with pytest.raises(LocalProtocolError):
                async with one.step(FOREVER):
                    pass


async def test_a_step_that_is_interrupted(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        async with build.step(FOREVER) as step:
            async for output in step:
                if output.stream == "stdout":
                    step.interrupt("enough")
            step.interrupt("twice")
        assert (step.outcome.result, step.outcome.why) == (Result.CANCELLED, "enough")


async def test_a_step_that_is_left(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        async with build.step(FOREVER) as step:
            async for output in step:
                if output.stream == "stdout":
                    break
        assert step.outcome.result is Result.CANCELLED
        async with build.step(Shell(command="echo next")) as step:
            assert await read(step) == b"next\n"


async def test_output_that_nobody_reads_is_dropped_with_its_step(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        async with build.step(Shell(command="echo x")) as step:
            await until(lambda: step.is_over)
        assert step.outcome.result is Result.SUCCESS
        assert not them.master._hub.session._steps


async def test_cancellation_ends_the_step_and_nothing_else(tmp_path: Path) -> None:
    async with pair(tmp_path) as them:
        with trio.CancelScope() as scope:
            async with them.slave.build("b") as build, build.step(FOREVER) as step:
                async for output in step:
                    if output.stream == "stdout":
                        scope.cancel()
        assert scope.cancelled_caught
        assert step.outcome.result is Result.CANCELLED
        assert them.slave.lost is None
        async with them.slave.build("b") as build, build.step(Shell(command="true")) as step:
            assert (await step.wait()).result is Result.SUCCESS


@pytest.mark.parametrize("cancel", [True, False])
async def test_a_slave_that_does_not_end_a_step_is_given_up(cancel: bool) -> None:
    async with scripted() as (_, slave, peer):
        begun = trio.current_time()
        with trio.CancelScope() as scope:
            async with slave.build("b") as build, build.step(FOREVER) as step:
                await until(lambda: bool(peer.slave.commands))
                if cancel:
                    scope.cancel()
        assert peer.slave.command.interrupts == ["the program no longer waits for it"]
        assert step.outcome.result is Result.CANCELLED
        assert slave.lost == "it did not end an interrupted step"
        assert hub.PATIENCE <= trio.current_time() - begun < 2
        await until(lambda: not peer.slave.open)


async def test_a_build_that_is_cancelled_before_it_began() -> None:
    async with scripted() as (_, slave, peer):
        peer.slave.holds = lambda heard: heard.method == "startBuild"
        with trio.move_on_after(0.05):
            async with slave.build("b"):
                pytest.fail("it has not begun")
        assert slave.is_idle("b")
        peer.slave.answer_held()
        await peer.flush()
        async with slave.build("b") as build, build.step(Shell(command="x")) as step:
            await until(lambda: bool(peer.slave.commands))
            await peer.finish()
            assert (await step.wait()).result is Result.SUCCESS


# -- exceptions


class Mine(Exception):
    """One that nobody else raises."""


def raise_mine() -> None:
    raise Mine


def raising_at(kind: type[MasterEvent]) -> Callable[[MasterEvent], None]:
    raised = False

    def on_event(event: MasterEvent) -> None:
        nonlocal raised
        assert not raised, "it wants to hear no more"
        if isinstance(event, kind):
            raised = True
            raise Mine

    return on_event


@contextlib.asynccontextmanager
async def raises_mine() -> AsyncIterator[None]:
    """The block ends with that exception, which is not in a group."""
    with pytest.raises(Mine):
        yield


@pytest.mark.parametrize("kind", [SlaveAttached, StepSpoke, StepFinished, SlaveDetached])
async def test_what_a_listener_raises_comes_out(tmp_path: Path, kind: type[MasterEvent]) -> None:
    before = trio.current_time()
    async with raises_mine(), pair(tmp_path, on_event=raising_at(kind)) as them:
        async with them.slave.build("b") as build, build.step(Shell(command="echo x")) as step:
            await read(step)
        them.cut()
        await until(lambda: False)
    assert trio.current_time() - before < 5


async def test_what_a_listener_raises_while_a_step_runs(tmp_path: Path) -> None:
    """The step is over by then: nobody waits for a slave that is not there."""
    before = trio.current_time()
    steps: list[RunningStep] = []
    listener = raising_at(StepSpoke)
    async with (
        raises_mine(),
        pair(tmp_path, on_event=listener) as them,
        them.slave.build("b") as build,
        build.step(FOREVER) as step,
    ):
        steps.append(step)
        await until(lambda: False)
    assert trio.current_time() - before < 2
    assert steps[0].outcome.result in (Result.RETRY, Result.CANCELLED)


async def test_what_the_block_raises_comes_out(tmp_path: Path) -> None:
    port = 0
    async with raises_mine(), pair(tmp_path) as them, them.slave.build("b") as build, build.step(FOREVER):
        port = them.master.port
        raise_mine()
    with pytest.raises(OSError, match=r"Connection refused|all attempts"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_a_port_in_use() -> None:
    async with open_master(CONFIG) as one:
        with pytest.raises(OSError, match="in use"):
            async with open_master(CONFIG, port=one.port):
                pass
    # It can be had again at once.
    async with open_master(CONFIG, port=one.port) as other:
        assert (other.host, other.port) == ("127.0.0.1", one.port)


async def test_a_listener_that_wants_something(tmp_path: Path) -> None:
    """What is wanted while things are told is done at once, too."""
    running: list[RunningStep] = []

    def on_event(event: MasterEvent) -> None:
        if isinstance(event, StepSpoke) and running:
            running[0].interrupt("it spoke")

    async with pair(tmp_path, on_event=on_event) as them, them.slave.build("b") as build:
        async with build.step(FOREVER) as step:
            running.append(step)
            outcome = await step.wait()
        assert (outcome.result, outcome.why) == (Result.CANCELLED, "it spoke")
        running.clear()


# -- losses


async def test_a_slave_that_is_lost_in_a_step(tmp_path: Path) -> None:
    events: list[MasterEvent] = []
    async with pair(tmp_path, on_event=events.append) as them, them.slave.build("b") as build:
        async with build.step(FOREVER) as step:
            async for output in step:
                if output.stream == "stdout":
                    them.cut()
        assert step.outcome.result is Result.RETRY
        assert build.lost == them.slave.lost == "closed the connection"
        with pytest.raises(SlaveLost):
            async with build.step(FOREVER):
                pass
        with pytest.raises(SlaveLost):
            await them.slave.ping()
        with pytest.raises(BuildNotStarted):
            async with them.slave.build("c"):
                pass
        await them.slave.shut_down()
        them.slave.disconnect("again")
        assert not them.slave.is_idle("c")
        assert not them.master.slaves
        kinds = [type(event) for event in events if isinstance(event, (StepFinished, BuildLost, SlaveDetached))]
        assert kinds == [StepFinished, BuildLost, SlaveDetached]


async def test_a_slave_that_refuses_a_build() -> None:
    async with scripted() as (_, slave, peer):
        peer.slave.lacks.add("startBuild")
        with pytest.raises(BuildNotStarted, match="startBuild failed"):
            async with slave.build("b"):
                pass
        assert slave.is_idle("b")


@pytest.mark.parametrize("wanted", ["ping", "build"])
async def test_a_slave_that_answers_nothing(wanted: str) -> None:
    async with scripted(attrs.evolve(CONFIG, ping_timeout=0.1)) as (_, slave, peer):
        peer.slave.holds = lambda heard: True
        if wanted == "ping":
            with pytest.raises(SlaveLost, match=r"did not answer print within 0\.1 s"):
                await slave.ping()
        else:
            with pytest.raises(BuildNotStarted, match=r"did not answer print within 0\.1 s"):
                async with slave.build("b"):
                    pass


async def test_a_new_configuration(tmp_path: Path) -> None:
    events: list[MasterEvent] = []
    async with pair(tmp_path, on_event=events.append) as them:
        more = SlaveAccount("bot", "secret", {"b": "b", "d": "d"})
        them.master.configure(MasterConfig({"bot": more}))
        await until(lambda: them.slave.builders == ("b", "d"))
        assert BuildersChanged("bot", ("b", "d")) in events
        them.master.configure(MasterConfig())
        await until(lambda: them.slave.lost is not None)
        assert them.slave.lost == "it is not configured any more"


@pytest.mark.parametrize("graceful", [True, False])
async def test_a_slave_is_shut_down(tmp_path: Path, graceful: bool) -> None:
    async with pair(tmp_path) as them:
        with trio.fail_after(2):
            await them.slave.shut_down(graceful=graceful)
        assert them.slave.lost is not None
        assert them.slave.leaving is graceful


async def test_stop_ends_builds(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        async with build.step(FOREVER) as step:
            async for output in step:
                if output.stream == "stdout":
                    them.master.stop("enough")
                    them.master.stop("more than enough")
        assert (step.outcome.result, step.outcome.why) == (Result.RETRY, "enough")
        with pytest.raises(OSError, match=r"Connection refused|all attempts"):
            await trio.open_tcp_stream("127.0.0.1", them.master.port)


# -- files


@pytest.mark.parametrize("end", ["cancelled", "raised", "left", "stopped"])
@pytest.mark.parametrize("slow", [False, True], ids=["quick disk", "slow disk"])
async def test_no_file_stays_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool, end: str) -> None:
    """Also if the end comes while a thread writes."""
    target = tmp_path / "up"
    writing = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def perform(effect: FileEffect, *more: Any) -> object:
        if isinstance(effect, WriteFile):
            token.run_sync_soon(writing.set)
            if slow:
                time.sleep(0.05)
        return real(effect, *more)

    real = files.perform
    monkeypatch.setattr(files, "perform", perform)
    with contextlib.suppress(Mine), trio.CancelScope() as scope:
        async with scripted() as (master, slave, peer), slave.build("b") as build:
            async with build.step(UploadFile(src="f", dest=str(target / "f"))) as step:
                await until(lambda: bool(peer.slave.commands))
                await peer.ask("writer", "write", bytes(1000))
                await writing.wait()
                if end == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
                elif end == "raised":
                    raise Mine
                elif end == "stopped":
                    master.stop("enough")
            assert step.outcome.result is not Result.SUCCESS
    assert os.listdir(target) == []


async def test_a_hanging_disk_holds_nobody_up_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LINGER", 0.05)
    hang = trio.Event()

    def perform(effect: FileEffect, *more: Any) -> object:
        token.run_sync_soon(hang.set)
        time.sleep(0.6)
        raise OSError(5, "I/O error")

    token = trio.lowlevel.current_trio_token()
    monkeypatch.setattr(files, "perform", perform)
    with trio.CancelScope() as scope:
        upload = UploadFile(src="f", dest=str(tmp_path / "f"))
        async with scripted() as (_, slave, peer), slave.build("b") as build, build.step(upload):
            await until(lambda: bool(peer.slave.commands))
            await peer.ask("writer", "write", bytes(1000))
            await hang.wait()
            before = trio.current_time()
            scope.cancel()
    assert trio.current_time() - before < 0.5


# -- slow readers


async def test_a_slow_reader_slows_its_slave_and_nobody_else(tmp_path: Path) -> None:
    size = 20_000_000
    async with pair(tmp_path) as them, trio.open_nursery() as nursery:
        await nursery.start(functools.partial(run_own_slave, name="other"), them.master.port, tmp_path)
        other = await them.master.wait_attached("other")
        peer = them.master._hub.session.slaves["bot"].peer
        async with them.slave.build("b") as build:
            async with build.step(Shell(command=f"head -c {size} /dev/zero")) as step:
                await until(lambda: peer.paused)
                async with other.build("b") as quick, quick.step(Shell(command="echo quick")) as second:
                    assert await read(second) == b"quick\n"
                assert not step.is_over
                assert peer.unread.size < HIGH_WATER + 1_000_000
                assert len(await read(step)) == size
            assert step.outcome.result is Result.SUCCESS
            assert peer.unread.size == 0
        nursery.cancel_scope.cancel()


# -- others


async def test_tls(tmp_path: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(CERTIFICATE)
    client = ssl.create_default_context(cafile=CERTIFICATE)
    events: list[MasterEvent] = []
    config = attrs.evolve(CONFIG, login_timeout=0.2)
    with trio.fail_after(10):
        async with open_master(config, ssl_context=server, on_event=events.append) as master:
            async with trio.open_nursery() as nursery:
                scope = await nursery.start(run_own_slave, master.port, tmp_path, client)
                slave = await master.wait_attached("bot")
                async with slave.build("b") as build, build.step(Shell(command="echo x")) as step:
                    assert await read(step) == b"x\n"
                scope.cancel()
            # Who speaks no TLS is told nothing; who says nothing has to go.
            plain = await trio.open_tcp_stream("127.0.0.1", master.port)
            await plain.send_all(b"hello there\n")
            silent = await trio.open_tcp_stream("127.0.0.1", master.port)
            async with plain, silent:
                await until(lambda: len([event for event in events if isinstance(event, LoginFailed)]) == 2)
                for stream in (plain, silent):
                    with contextlib.suppress(trio.BrokenResourceError):
                        while await stream.receive_some():
                            pass
    assert "TLS: no handshake within 0.2 s" in [event.why for event in events if isinstance(event, LoginFailed)]


HOSTILE: Final = {
    "nonsense": b"GET / HTTP/1.0\r\n\r\n",
    "an endless number": b"\x00" * 1000,
    "a long string": b"\x7f\x7f\x7f\x7f\x82" + bytes(100_000),
    "nothing": b"",
    "all bits": b"\xff" * 100_000,
}


async def test_hostile_clients_do_not_disturb_a_build(tmp_path: Path) -> None:
    events: list[MasterEvent] = []
    async with pair(tmp_path, on_event=events.append) as them, them.slave.build("b") as build:
        cat = Shell(command="cat", initial_stdin=b"x" * 500_000)
        async with build.step(cat) as step, trio.open_nursery() as nursery:

            async def bother(data: bytes) -> None:
                async with await trio.open_tcp_stream("127.0.0.1", them.master.port) as stream:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await stream.send_all(data)
                        await stream.send_eof()
                        while await stream.receive_some():
                            pass

            for data in HOSTILE.values():
                nursery.start_soon(bother, data)
            assert len(await read(step)) == 500_000
        assert step.outcome.result is Result.SUCCESS
        await until(lambda: len([e for e in events if isinstance(e, LoginFailed)]) == len(HOSTILE))


async def test_more_visitors_than_there_may_be() -> None:
    events: list[MasterEvent] = []
    config = attrs.evolve(CONFIG, visitors=3)
    with trio.fail_after(5):
        async with open_master(config, on_event=events.append) as master, contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", master.port)) for _ in range(5)
            ]
            await until(lambda: len(events) == 2)
            for stream in streams:
                await stream.receive_some()
            # The oldest ones made room.
            for stream in streams[:2]:
                assert await stream.receive_some() == b""


async def test_more_handshakes_than_there_may_be_visitors() -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(CERTIFICATE)
    events: list[MasterEvent] = []
    config = attrs.evolve(CONFIG, visitors=3)
    with trio.fail_after(5):
        async with (
            open_master(config, ssl_context=server, on_event=events.append) as master,
            contextlib.AsyncExitStack() as stack,
        ):
            for _ in range(5):
                await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", master.port))
            await until(lambda: len(events) == 2)
            whys = [event.why for event in events if isinstance(event, LoginFailed)]
    assert whys == ["it made room for another one: there are 3 that have not logged in"] * 2


async def test_many_connections_leave_nothing_open(tmp_path: Path) -> None:
    need_proc()
    async with pair(tmp_path) as them:
        before = descriptors()
        async with trio.open_nursery() as nursery:

            async def visit(rude: bool) -> None:
                stream = await trio.open_tcp_stream("127.0.0.1", them.master.port)
                await stream.receive_some()
                if rude:
                    # A reset instead of an orderly end.
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                await stream.aclose()

            for n in range(100):
                nursery.start_soon(visit, n % 2 == 0)
        await until(lambda: descriptors() <= before)
        await them.slave.ping()
        assert len(them.master._hub._lines) == 1


async def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    need_proc()
    await trio.to_thread.run_sync(int)
    before = descriptors()
    builds: list[Build] = []
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        builds.append(build)
        async with build.step(Shell(command="true")) as step:
            await step.wait()
    await until(lambda: descriptors() <= before)
    core = them.master._hub
    assert not any([core.slaves, core._builds, core._steps, core._lines, core._paused])


async def test_who_waits_for_a_slave_is_told() -> None:
    with trio.fail_after(5):
        async with open_master(CONFIG) as master, open_nursery() as nursery:
            came: list[str] = []

            async def wait_for(name: str) -> None:
                came.append((await master.wait_attached(name)).name)

            nursery.start_soon(wait_for, "other")
            nursery.start_soon(wait_for, "bot")
            await trio.testing.wait_all_tasks_blocked()
            for name in (b"bot", b"other"):
                peer = Scripted(await trio.open_tcp_stream("127.0.0.1", master.port), name)
                nursery.start_soon(peer.run)
                await until(lambda name=name: name.decode() in came)  # type: ignore[misc]
            assert came == ["bot", "other"]
            nursery.cancel_scope.cancel()
