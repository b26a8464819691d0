"""Builds of several steps, logins that the program decides, and what users of the trio master are told."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    AccountWanted,
    AnyStep,
    GuestAccount,
    GuestCalled,
    LoginFailed,
    MasterConfig,
    MasterEvent,
    Result,
    Shell,
)
from slaveproto.testing.scripted_end import CallRefused
from slaveproto.wire import Failure
from tests.transports.test_trio_master import BOT, CONFIG, FOREVER, Scripted, pair, read, scripted, until
from transports.trio import BuildNotStarted, Master, RunningStep, SlaveLost, open_master
from transports.trio.nurseries import open_nursery

pytestmark = pytest.mark.trio


def ends_with(rc: int, *, halt: bool = True, flunk: bool = True, always: bool = False) -> Shell:
    """A command that writes its exit code and ends with it."""
    return Shell(
        command=f"echo {rc}; exit {rc}",
        halt_on_failure=halt,
        flunk_on_failure=flunk,
        always_run=always,
        warnings_rc=(9,),
    )


@pytest.mark.parametrize(
    ("steps", "run", "result"),
    [
        ([ends_with(0), ends_with(0)], [0, 0], Result.SUCCESS),
        ([ends_with(0), ends_with(9)], [0, 9], Result.WARNINGS),
        ([ends_with(1), ends_with(0), ends_with(2, always=True)], [1, 2], Result.FAILURE),
        ([ends_with(1, halt=False), ends_with(0)], [1, 0], Result.FAILURE),
        ([ends_with(1, halt=False, flunk=False), ends_with(0)], [1, 0], Result.SUCCESS),
        ([ends_with(1, flunk=False), ends_with(0)], [1], Result.SUCCESS),
        ([], [], Result.SUCCESS),
    ],
    ids=["success", "warnings", "halted", "goes on", "does not count", "halted and does not count", "no step"],
)
async def test_the_flags_of_steps_make_the_result(
    tmp_path: Path, steps: list[AnyStep], run: list[int], result: Result
) -> None:
    written: list[bytes] = []

    async def keep(step: RunningStep) -> None:
        written.append(await read(step))

    async with pair(tmp_path) as them, them.slave.build("b") as build:
        assert await build.run(steps, keep) is result
        assert build.result is result
    assert [int(data) for data in written] == run


async def test_steps_one_by_one_make_a_result_too(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        assert build.result.word == "success"
        assert build.wants(ends_with(0))
        async with build.step(ends_with(1)) as step:
            await step.wait()
        assert build.result.word == "failure"
        assert not build.wants(ends_with(0))
        assert build.wants(ends_with(0, always=True))
        # What the policy does not want can be run nevertheless.
        async with build.step(ends_with(0)) as step:
            assert await read(step) == b"0\n"
        assert build.result.word == "failure"


async def test_output_that_is_not_wanted_is_dropped(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        assert await build.run([Shell(command="seq 10000"), Shell(command="seq 10000")]) is Result.SUCCESS
        assert not them.master._hub.session.census["steps"]


async def test_a_slave_that_is_lost_in_a_list_of_steps(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:

        async def cut(step: RunningStep) -> None:
            async for output in step:
                if output.stream == "stdout":
                    them.cut()

        assert await build.run([FOREVER, ends_with(0, always=True)], cut) is Result.RETRY
        assert not build.wants(ends_with(0, always=True))
        assert await build.run([ends_with(0)]) is Result.RETRY


async def test_a_slave_that_is_lost_between_two_steps(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        assert await build.run([ends_with(0)]) is Result.SUCCESS
        them.cut()
        await until(lambda: build.lost is not None)
        # All that it was asked for is done.
        assert build.result.word == "success"
        with pytest.raises(SlaveLost, match="closed the connection"):
            async with build.step(ends_with(0)):
                pass
        assert build.result.word == "retry"


async def test_what_reads_the_steps_may_raise(tmp_path: Path) -> None:
    async def fail(step: RunningStep) -> None:
        raise ZeroDivisionError

    async with pair(tmp_path) as them, them.slave.build("b") as build:
        with pytest.raises(ZeroDivisionError):
            await build.run([FOREVER], fail)
        assert build.result.word == "cancelled"
        assert them.slave.lost is None


# -- words


async def test_what_is_not_possible_is_said_in_the_words_of_the_caller(tmp_path: Path) -> None:
    async with pair(tmp_path) as them, them.slave.build("b") as build:
        with pytest.raises(LocalProtocolError, match=rf"^builder 'b' of slave 'bot' .*build {build.number}\b"):
            async with them.slave.build("b"):
                pass
        async with build.step(FOREVER) as step:
            with pytest.raises(LocalProtocolError, match=rf"build {build.number} .*step {step.number}\b"):
                async with build.step(FOREVER):
                    pass


async def test_how_things_show_themselves(tmp_path: Path) -> None:
    async with pair(tmp_path) as them:
        assert repr(them.master) == f"<Master on 127.0.0.1:{them.master.port}, slaves: bot>"
        assert repr(them.slave) == f"<AttachedSlave 'bot' from {them.slave.peer}>"
        async with them.slave.build("b") as build:
            async with build.step(Shell(command=("echo", "x"))) as step:
                assert repr(step) == f"<RunningStep {step.number} 'echo x': runs>"
                await step.wait()
            assert repr(step) == f"<RunningStep {step.number} 'echo x': success>"
            assert repr(build) == f"<Build {build.number} of 'b' on 'bot': success>"
        them.cut()
        await until(lambda: them.slave.lost is not None)
        assert repr(them.slave) == f"<AttachedSlave 'bot' from {them.slave.peer}, lost: closed the connection>"
        assert repr(them.master) == f"<Master on 127.0.0.1:{them.master.port}, slaves: none>"


async def test_a_slave_is_one_as_long_as_it_is_attached(tmp_path: Path) -> None:
    async with pair(tmp_path) as them:
        slaves = them.master.slaves
        assert (list(slaves), len(slaves), "bot" in slaves, "other" in slaves) == (["bot"], 1, True, False)
        assert {slaves["bot"], them.slave} == {them.slave}
        with pytest.raises(KeyError):
            assert slaves["other"]
        them.cut()
        await until(lambda: not slaves)
        async with await trio.open_tcp_stream("127.0.0.1", them.master.port) as stream, open_nursery() as nursery:
            nursery.start_soon(Scripted(stream).run)
            assert await them.master.wait_attached("bot") != them.slave
            nursery.cancel_scope.cancel()


# -- who may log in


async def test_the_program_decides_who_may_log_in() -> None:
    """A slave whose account is looked up elsewhere, and only when it comes."""
    asked: list[AccountWanted] = []
    failed: list[str] = []

    def on_event(event: MasterEvent) -> None:
        if isinstance(event, AccountWanted):
            asked.append(event)
        elif isinstance(event, LoginFailed):
            failed.append(event.why)

    with trio.fail_after(10):
        async with open_master(MasterConfig(ask=True), on_event=on_event) as master, open_nursery() as nursery:
            first, second = [Scripted(await trio.open_tcp_stream("127.0.0.1", master.port)) for _ in range(2)]
            nursery.start_soon(first.run)
            await until(lambda: len(asked) == 1)
            assert asked[0].name == "bot"
            master.answer_account(asked[0], BOT)
            slave = await master.wait_attached("bot")
            assert slave.builders == ("b", "c")
            with pytest.raises(LocalProtocolError):
                master.answer_account(asked[0], BOT)
            nursery.start_soon(second.run)
            await until(lambda: len(asked) == 2)
            master.answer_account(asked[1], None)
            await until(lambda: second.slave.refused is not None)
            assert failed == ["wrong name or password"]
            nursery.cancel_scope.cancel()
    # The connection is over.
    master.answer_account(asked[1], None)


async def test_the_program_answers_guests() -> None:
    account = GuestAccount("guest", "secret", frozenset({"ask"}))
    master: Master | None = None
    calls: list[GuestCalled] = []

    def on_event(event: MasterEvent) -> None:
        if isinstance(event, GuestCalled):
            calls.append(event)
            assert master is not None
            if event.args == ("now",):
                master.answer_guest(event, ["at once", 1])

    config = attrs.evolve(CONFIG, accounts={**CONFIG.accounts, "guest": account})
    with trio.fail_after(10):
        async with open_master(config, on_event=on_event) as master, open_nursery() as nursery:
            guest = Scripted(await trio.open_tcp_stream("127.0.0.1", master.port), b"guest")
            nursery.start_soon(guest.run)
            await until(lambda: guest.slave.avatar is not None)
            avatar = guest.slave.avatar
            assert avatar is not None
            now, later, never = [guest.slave.ask(avatar, "ask", when) for when in ("now", "later", "never")]
            await guest.flush()
            assert await guest.answer(now) == ["at once", 1]
            assert later in guest.slave.unanswered
            master.answer_guest(calls[1], "later")
            assert await guest.answer(later) == "later"
            master.answer_guest(calls[2], Failure("builtins.ValueError", "not today"))
            with pytest.raises(CallRefused, match="not today"):
                await guest.answer(never)
            with pytest.raises(LocalProtocolError):
                master.answer_guest(calls[2])
            nursery.cancel_scope.cancel()


async def test_a_build_on_a_slave_that_leaves() -> None:
    async with scripted() as (_, slave, peer):
        assert list(slave.idle_builders) == ["b", "c"]
        async with slave.build("c"):
            assert list(slave.idle_builders) == ["b"]
            avatar = peer.slave.avatar
            assert avatar is not None
            peer.slave.ask(avatar, "shutdown")
            await peer.flush()
            await until(lambda: slave.leaving)
            assert list(slave.idle_builders) == []
            with pytest.raises(BuildNotStarted):
                async with slave.build("b"):
                    pass
