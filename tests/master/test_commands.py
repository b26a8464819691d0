"""One step and its commands: what slaves say in which layout, how it ends, and everything that can come between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import pytest

from slaveproto.effects import Stat as LookAtFile
from slaveproto.errors import HostError, LocalProtocolError
from slaveproto.machine import Machine
from slaveproto.master import (
    AnyStep,
    BuildLost,
    CopyDirectory,
    DownloadFile,
    DownloadString,
    EndBuild,
    Glob,
    InterruptStep,
    ListDirectory,
    LogFile,
    MakeDirectory,
    MasterNotice,
    Output,
    RemoveDirectory,
    RemoveFile,
    Result,
    Shell,
    SlaveDetached,
    StartStep,
    StatFile,
    StepFinished,
    StepSpoke,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.command import LARGEST_ITEMS, MOST_ITEMS
from slaveproto.master.states import REMOTE_COMMAND, RemoteCommandEvent, RemoteCommandState
from slaveproto.testing import CallRefused, ConnectionLost
from slaveproto.testing.scripted_slave import HeardCall, SlaveCommand
from slaveproto.wire.values import Failure, Value
from tests.master.running import BUILD, GENERATIONS, Building

BROKEN: Final = Failure("exceptions.OSError", "it broke")
SHELL: Final = Shell(command="make", warnings_rc=(2,), logfiles={"l": LogFile("l")})


# -- the table

C, E = RemoteCommandState, RemoteCommandEvent
PATHS: Final[dict[RemoteCommandState, tuple[RemoteCommandEvent, ...]]] = {
    C.SENT: (),
    C.RUNNING: (E.STARTED,),
    C.INTERRUPTING: (E.STARTED, E.INTERRUPT),
    C.DONE: (E.STARTED, E.COMPLETE),
    C.LOST: (E.LOSE,),
}
TARGETS: Final[dict[RemoteCommandState, dict[RemoteCommandEvent, RemoteCommandState]]] = {
    C.SENT: {
        E.STARTED: C.RUNNING,
        E.REFUSED: C.DONE,
        E.UPDATE: C.SENT,
        E.COMPLETE: C.DONE,
        E.INTERRUPT: C.INTERRUPTING,
        E.LOSE: C.LOST,
    },
    C.RUNNING: {E.UPDATE: C.RUNNING, E.COMPLETE: C.DONE, E.INTERRUPT: C.INTERRUPTING, E.LOSE: C.LOST},
    C.INTERRUPTING: {
        E.STARTED: C.INTERRUPTING,
        E.REFUSED: C.DONE,
        E.UPDATE: C.INTERRUPTING,
        E.COMPLETE: C.DONE,
        E.INTERRUPT: C.INTERRUPTING,
        E.LOSE: C.LOST,
    },
    C.DONE: {E.STARTED: C.DONE, E.REFUSED: C.DONE, E.UPDATE: C.DONE, E.COMPLETE: C.DONE},
    C.LOST: {},
}


@pytest.mark.parametrize("state", RemoteCommandState)
@pytest.mark.parametrize("event", RemoteCommandEvent)
def test_every_row_of_the_table(state: RemoteCommandState, event: RemoteCommandEvent) -> None:
    machine = Machine(REMOTE_COMMAND)
    for step in PATHS[state]:
        machine.fire(step)
    assert machine.state is state
    target = TARGETS[state].get(event)
    if target is not None:
        assert machine.fire(event) is target


# -- the same events at a session

Play = Callable[[Building, SlaveCommand], object]


def answer_start(building: Building, command: SlaveCommand) -> None:
    building.slave.answer_held()


def refuse_start(building: Building, command: SlaveCommand) -> None:
    for heard in building.slave.held:
        building.slave.connection.fail(heard.call.id, BROKEN)
    building.slave.held.clear()
    building.driver.settle()


def update(building: Building, command: SlaveCommand) -> None:
    assert command.update({"stdout": "x"}) == 0


def complete(building: Building, command: SlaveCommand) -> None:
    assert command.complete() is None


def complete_badly(building: Building, command: SlaveCommand) -> None:
    command.complete(BROKEN)


def interrupt(building: Building, command: SlaveCommand) -> None:
    building.driver.handle(InterruptStep(building.step, "stop it"))


def lose(building: Building, command: SlaveCommand) -> None:
    building.driver.lose(building.slave)


def say_rc(building: Building, command: SlaveCommand) -> None:
    command.update({"rc": 0})


def held(generation: str = "4.3") -> tuple[Building, SlaveCommand]:
    """A command whose start is not answered yet."""
    building = Building(generation)
    commands: list[SlaveCommand] = []

    def is_start(heard: HeardCall) -> bool:
        if heard.method == "startCommand":
            commands.append(SlaveCommand(building.slave, heard))
        return heard.method == "startCommand"

    building.slave.holds = is_start
    building.start(SHELL)
    (command,) = commands
    return building, command


ENDS: Final[dict[str, tuple[tuple[Play, ...], Result | None, int | None]]] = {
    "answered": ((answer_start,), None, None),
    "never answered": ((update, say_rc), None, None),
    "never answered and complete": ((say_rc, complete), Result.SUCCESS, 0),
    "answered after complete": ((say_rc, complete, answer_start), Result.SUCCESS, 0),
    "refused after complete": ((say_rc, complete, refuse_start), Result.SUCCESS, 0),
    "refused": ((refuse_start,), Result.EXCEPTION, None),
    "refused, and complete all the same": ((refuse_start, update, complete), Result.EXCEPTION, None),
    "no exit code": ((answer_start, update, complete), Result.FAILURE, None),
    "completed badly": ((answer_start, complete_badly), Result.EXCEPTION, None),
    "completed badly after an exit code": ((answer_start, say_rc, complete_badly), Result.EXCEPTION, 0),
    "more after the end": ((answer_start, say_rc, complete, update, say_rc, complete), Result.SUCCESS, 0),
    "ends badly the second time": ((answer_start, say_rc, complete, complete_badly), Result.SUCCESS, 0),
    "ends well the second time": ((answer_start, complete_badly, say_rc, complete), Result.EXCEPTION, None),
    "interrupted before the answer": ((interrupt, answer_start, update), None, None),
    "interrupted, then refused": ((interrupt, refuse_start), Result.CANCELLED, None),
    "interrupted and ended": ((answer_start, interrupt, complete), Result.CANCELLED, None),
    "interrupted too late": ((answer_start, say_rc, interrupt, complete), Result.CANCELLED, 0),
    "interrupted twice": ((answer_start, interrupt, interrupt, complete), Result.CANCELLED, None),
    "interrupted, and ended badly": ((answer_start, interrupt, complete_badly), Result.CANCELLED, None),
    "interrupted when it was over": ((answer_start, say_rc, complete, interrupt), Result.SUCCESS, 0),
    "lost before the answer": ((lose,), Result.RETRY, None),
    "lost": ((answer_start, update, lose), Result.RETRY, None),
    "lost after an exit code": ((answer_start, say_rc, lose), Result.RETRY, None),
    "lost when interrupted": ((answer_start, interrupt, lose), Result.CANCELLED, None),
    "lost when it was over": ((answer_start, say_rc, complete, lose), Result.SUCCESS, 0),
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", ENDS)
def test_every_end(name: str, generation: str) -> None:
    plays, result, rc = ENDS[name]
    building, command = held(generation)
    for play in plays:
        play(building, command)
    if result is None:
        assert building.running
        # A build cannot end under its step.
        with pytest.raises(LocalProtocolError):
            building.driver.handle(EndBuild(BUILD))
        lose(building, command)
    else:
        assert (building.outcome.result, building.outcome.rc) == (result, rc)
    if lose in plays or result is None:
        kinds = [type(event) for event in building.driver.events[-3:] if not isinstance(event, StepSpoke)]
        assert kinds[-2:] == [BuildLost, SlaveDetached]
    else:
        assert building.attached
        building.slave.holds = lambda heard: False
        building.run(Shell(command="next")).finish()
        assert building.outcome.result is Result.SUCCESS
        building.driver.handle(EndBuild(BUILD))
    for number in building.driver.outputs:
        assert building.driver.session.output(number) == []


def test_an_interrupt_is_sent_once_and_with_its_reason() -> None:
    building, command = held()
    interrupt(building, command)
    interrupt(building, command)
    answer_start(building, command)
    interrupt(building, command)
    calls = [heard for heard in building.slave.calls if heard.method == "interruptCommand"]
    assert [heard.args for heard in calls] == [(command.number, "stop it")]
    complete(building, command)
    interrupt(building, command)
    assert building.outcome.why == "stop it"


def test_an_interrupt_without_a_reason_is_one() -> None:
    building = Building()
    command = building.run(SHELL)
    building.driver.handle(InterruptStep(building.step, ""))
    building.driver.handle(InterruptStep(building.step, ""))
    assert len(command.interrupts) == 1
    command.finish(-1)
    assert building.outcome.result is Result.CANCELLED


@pytest.mark.parametrize("failure", [BROKEN, Failure("twisted.spread.flavors.NoSuchMethod", "no")])
def test_an_interrupt_may_fail(failure: Failure) -> None:
    building = Building()
    building.slave.answers["interruptCommand"] = failure
    command = building.run(SHELL)
    interrupt(building, command)
    assert building.running
    command.finish(0)
    assert building.outcome.result is Result.CANCELLED


def test_an_interrupt_of_a_step_that_never_was() -> None:
    building = Building()
    building.driver.handle(InterruptStep(77, "?"))
    assert building.attached


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_a_slave_is_called_with(generation: str) -> None:
    building = Building(generation)
    command = building.run(SHELL)
    (start,) = [heard for heard in building.slave.calls if heard.method == "startCommand"]
    _, number, name, _ = start.args
    kind = bytes if generation.startswith("0.8") else str
    assert type(number) is type(name) is kind
    assert {type(key) for key in command.raw_arguments} == {kind}
    assert (command.name, command.arguments["timeout"]) == ("shell", 1200)


def test_a_build_runs_one_step_at_a_time() -> None:
    building = Building()
    command = building.run(SHELL)
    with pytest.raises(LocalProtocolError):
        building.start(SHELL)
    command.finish()
    with pytest.raises(LocalProtocolError, match="no build 9"):
        building.driver.handle(StartStep(50, 9, SHELL))
    # Nobody has taken what it said.
    building.driver.takes_output = False
    building.driver.handle(StartStep(51, BUILD, SHELL))
    building.slave.command.finish()
    with pytest.raises(LocalProtocolError, match="a step 51 already"):
        building.driver.handle(StartStep(51, BUILD, SHELL))


def test_what_cannot_be_said_ends_the_step_alone() -> None:
    building = Building()
    objects = set(building.driver.session.slaves["bot1"].peer.connection.exported)
    for step in (
        Shell(command="x" * 700_000),
        DownloadString(data=b"", dest="x" * 700_000),
        UploadFile(src="\udcff", dest="/d"),
    ):
        building.start(step)
        assert building.outcome.result is Result.EXCEPTION
        assert building.outcome.why
    assert not building.slave.commands
    assert set(building.driver.session.slaves["bot1"].peer.connection.exported) == objects
    building.run(SHELL).finish()
    assert building.outcome.result is Result.SUCCESS
    assert building.host.paths == set()


def test_a_command_that_the_slave_lacks_ends_the_step_alone() -> None:
    building = Building("0.8.4")
    building.start(Glob(pattern="*"))
    assert building.outcome == attrs.evolve(building.outcome, result=Result.EXCEPTION, rc=None)
    assert "no command 'glob'" in building.outcome.why
    building.run(SHELL).finish()


def test_nothing_to_remove_is_done_at_once() -> None:
    building = Building()
    building.start(RemoveDirectory(dirs=()))
    assert building.outcome.result is Result.SUCCESS
    assert not building.slave.commands


# -- updates

FORMS: Final[dict[str, tuple[Any, bytes, int]]] = {
    # What a slave passes to `update`, the standard output of it, and the answer.
    "a list of lists": ([[{"stdout": "x"}, 0]], b"x", 0),
    "a list of tuples": ([({"stdout": "x"}, 0)], b"x", 0),
    "a tuple of lists": (([{"stdout": "x"}, 0],), b"x", 0),
    "a tuple of tuples": ((({"stdout": "x"}, 0),), b"x", 0),
    "nothing": ([], b"", 0),
    "an empty dictionary": ([[{}, 3]], b"", 3),
    "several updates": ([[{"stdout": "x"}, 5], [{"stdout": "y"}, 2]], b"xy", 5),
    "several keys": ([[{"stdout": "x", "rc": 0, "what": None}, 0]], b"x", 0),
    "bytes": ([[{b"stdout": b"\xff"}, 0]], b"\xff", 0),
    "text": ([[{"stdout": "ü"}, 0]], "ü".encode(), 0),
    "both": ([[{b"stdout": "ü", "stdout": b"\xfc"}, 0]], b"\xc3\xbc\xfc", 0),
    "text under bytes": ([[{b"stdout": "x"}, 0]], b"x", 0),
    "empty text": ([[{"stdout": ""}, 0]], b"", 0),
    "a key that is no text": ([[{7: "x", None: 1}, 0]], b"", 0),
    "a number below nothing": ([[{"stdout": "x"}, -5]], b"x", 0),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_updates(form: str) -> None:
    updates, said, number = FORMS[form]
    building = Building()
    command = building.run(SHELL)
    call = command.raw_update(updates)
    assert building.slave.answer_to(call) == number
    assert building.text("stdout") == said
    command.finish()
    assert building.outcome.result is Result.SUCCESS


HOSTILE: Final[dict[str, Value]] = {
    "no list": 7,
    "a dictionary": {"stdout": "x"},
    "a text": "stdout",
    "no pairs": [{"stdout": "x"}],
    "pairs of another kind": [["stdout", "x"]],
    "a text for a pair": ["xy"],
    "too short": [[{"stdout": "x"}]],
    "too long": [[{"stdout": "x"}, 0, 0]],
    "no number": [[{"stdout": "x"}, None]],
    "an exit code in words": [[{"rc": "0"}, 0]],
    "an exit code that is none": [[{"rc": None}, 0]],
    "an exit code that is true": [[{"rc": True}, 0]],
    "an exit code with a fraction": [[{"rc": 1.0}, 0]],
    "a number as output": [[{"stdout": 7}, 0]],
    "nothing as output": [[{"stderr": None}, 0]],
    "a list as a header": [[{"header": ["x"]}, 0]],
    "a log without a name": [[{"log": "x"}, 0]],
    "a log with too much": [[{"log": ("a", "b", "c")}, 0]],
    "a log with numbers": [[{"log": ("a", 7)}, 0]],
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_updates_that_nobody_sends_end_the_connection(name: str, late: bool) -> None:
    building = Building()
    command = building.run(SHELL)
    if late:
        command.finish()
    values_only = isinstance(HOSTILE[name], list) and "stdout" not in name and name.startswith(("an exit", "a log"))
    command.raw_update(HOSTILE[name])
    if late and (values_only or name in ("a number as output", "nothing as output", "a list as a header")):
        # What is in updates after the end is not looked at.
        assert building.attached
        return
    assert not building.attached
    assert building.outcome.result is (Result.SUCCESS if late else Result.RETRY)


@pytest.mark.parametrize("args", [(), (1, 2, 3)])
def test_a_call_with_other_parameters_fails_alone(args: tuple[Value, ...]) -> None:
    building = Building()
    command = building.run(SHELL)
    for method in ("update", "complete"):
        with pytest.raises(CallRefused):
            building.slave.call(command.step, method, *args)
    with pytest.raises(CallRefused):
        building.slave.call(command.step, "destroy")
    assert building.running
    assert len(building.driver.events_of(MasterNotice)) == 3
    command.finish()


def test_complete_takes_a_failure_or_nothing() -> None:
    building = Building()
    command = building.run(SHELL)
    with pytest.raises(ConnectionLost):
        command.complete("badly")
    assert building.outcome.result is Result.RETRY
    assert "complete takes a failure" in building.outcome.why


def test_logs_that_nobody_asked_for() -> None:
    """There is no end of their names, so nothing of them is kept."""
    building = Building()
    command = building.run(SHELL)
    command.update({"log": ("other", "line\n")})
    command.finish(0)
    assert [output.log for output in building.driver.outputs[building.step]] == ["stdio"]
    assert building.outcome.result is Result.SUCCESS


def test_items_that_are_too_much() -> None:
    building = Building()
    command = building.run(SHELL)
    for number in range(100):
        command.update({f"kind{number}": "x" * 500_000})
    command.update({"kind0": "small"})
    command.finish(0)
    kept = {name: value for name, value in building.outcome.items.items() if name != "elapsed"}
    assert kept.pop("kind0") == "small"
    assert 0 < sum(len(value) for value in kept.values() if isinstance(value, str)) <= LARGEST_ITEMS
    assert len(building.outcome.items) <= MOST_ITEMS


def test_logs_and_streams() -> None:
    building = Building()
    command = building.run(SHELL)
    command.update({"header": "h\n"})
    command.update({"stdout": "o\n"})
    command.update({"log": ("l", "line\n")})
    command.raw_update([[{"log": [b"l", b"\xff"]}, 0]])
    command.update({"stderr": "e\n"})
    command.finish(2)
    assert building.driver.outputs[building.step] == [
        Output("stdio", "header", b"h\n"),
        Output("stdio", "stdout", b"o\n"),
        Output("l", "log", b"line\n"),
        Output("l", "log", b"\xff"),
        Output("stdio", "stderr", b"e\n"),
        Output("stdio", "header", b"program finished with exit code 2\n"),
    ]
    assert building.outcome == attrs.evolve(building.outcome, result=Result.WARNINGS, rc=2, why="exit code 2")
    assert building.outcome.items == {"elapsed": 1.5}


def test_updates_after_the_exit_code_as_a_worker_sends_them() -> None:
    """4.3 sends what is left of a line after `rc` and `elapsed`."""
    building = Building("4.3")
    command = building.run(SHELL)
    command.update({"stdout": "whole\n"})
    command.update({"rc": 0})
    command.update({"elapsed": 0.5})
    command.update({"stdout": "rest\n"})
    assert building.running
    command.complete()
    assert building.text("stdout") == b"whole\nrest\n"
    assert building.outcome.result is Result.SUCCESS


def test_two_keys_at_once_as_transfers_of_08_send_them() -> None:
    building = Building("0.8.4")
    command = building.run(UploadFile(src="f", dest="/m/f"))
    command.update({"rc": 1, "stderr": "Cannot open file 'f' for upload"})
    command.complete()
    assert building.text("stderr") == b"Cannot open file 'f' for upload"
    assert (building.outcome.result, building.outcome.rc) == (Result.FAILURE, 1)


def test_text_that_is_none_comes_as_the_bytes_it_was() -> None:
    building = Building("0.8.4")
    command = building.run(SHELL)
    command.raw_update([[{b"stdout": b"\xc3"}, 0]])
    command.raw_update([[{b"stdout": b"\xbc\xff"}, 0]])
    command.finish()
    assert building.text("stdout") == b"\xc3\xbc\xff"


def test_items_are_kept_and_bounded() -> None:
    building = Building()
    command = building.run(StatFile(file="f"))
    for n in range(2 * MOST_ITEMS):
        command.update({f"item {n}": n})
    command.update({"item 0": "again"})
    command.finish()
    assert len(building.outcome.items) == MOST_ITEMS
    assert building.outcome.items["item 0"] == "again"


@pytest.mark.parametrize("rc", [0, 1, 255, -1, 2**31, -(2**40)])
def test_exit_codes(rc: int) -> None:
    building = Building()
    building.run(SHELL).finish(rc)
    assert building.outcome.rc == rc
    assert building.outcome.result is (Result.SUCCESS if rc == 0 else Result.FAILURE)


def test_the_last_exit_code_counts() -> None:
    building = Building()
    command = building.run(SHELL)
    command.update({"rc": 1})
    command.update({"rc": 0})
    command.complete()
    assert building.outcome.result is Result.SUCCESS


JUDGED: Final[list[tuple[AnyStep, int | None, Result]]] = [
    (Shell(command="x"), 0, Result.SUCCESS),
    (Shell(command="x"), 1, Result.FAILURE),
    (Shell(command="x"), None, Result.FAILURE),
    (Shell(command="x", success_rc=(0, 3), warnings_rc=(4, 5)), 3, Result.SUCCESS),
    (Shell(command="x", success_rc=(0, 3), warnings_rc=(4, 5)), 5, Result.WARNINGS),
    (Shell(command="x", success_rc=(3,)), 0, Result.FAILURE),
    *(
        (step, rc, result)
        for step in (
            MakeDirectory(dir="d"),
            RemoveDirectory(dirs=("d",)),
            CopyDirectory(source="a", dest="b"),
            RemoveFile(path="f"),
            StatFile(file="f"),
            Glob(pattern="*"),
            ListDirectory(dir="d"),
        )
        for rc, result in ((0, Result.SUCCESS), (17, Result.FAILURE), (None, Result.FAILURE))
    ),
    # A slave need not say so when a transfer went well.
    (DownloadString(data=b"", dest="d"), 0, Result.SUCCESS),
    (DownloadString(data=b"", dest="d"), None, Result.SUCCESS),
    (DownloadString(data=b"", dest="d"), 1, Result.FAILURE),
    (DownloadString(data=b"x", dest="d"), 0, Result.FAILURE),
    (UploadFile(src="f", dest="/m/f"), 0, Result.FAILURE),
    (UploadDirectory(src="f", dest="/m/f"), None, Result.FAILURE),
]


@pytest.mark.parametrize(("step", "rc", "result"), JUDGED)
def test_results_by_exit_code(step: AnyStep, rc: int | None, result: Result) -> None:
    building = Building()
    command = building.run(step)
    if rc is not None:
        command.update({"rc": rc})
    command.complete()
    assert (building.outcome.result, building.outcome.rc) == (result, rc)
    assert bool(building.outcome.why) is (result is not Result.SUCCESS)
    assert building.host.paths == set()


def test_elapsed_is_by_our_clock() -> None:
    building = Building()
    building.driver.advance(5)
    command = building.run(SHELL)
    building.driver.advance(2.5)
    command.finish()
    assert building.outcome.elapsed == 2.5


def test_a_failure_is_shown() -> None:
    building = Building()
    command = building.run(SHELL)
    command.complete(Failure("builtins.ValueError", "words"))
    assert building.outcome.why == "builtins.ValueError: words"
    assert building.text("header") == b"\nremote failure: builtins.ValueError: words\n"


def test_notes_are_in_the_log() -> None:
    building = Building("0.8.4")
    building.run(Shell(command="x", sigterm_time=5)).finish()
    assert building.text("header").startswith(b"NOTE: the slave knows no sigtermTime\n")


# -- several commands

SEVERAL: Final[list[tuple[int | None, int | None, int | None, Result]]] = [
    (0, 0, 0, Result.SUCCESS),
    (0, 1, 1, Result.FAILURE),
    (1, 0, 1, Result.FAILURE),
    (1, 2, 2, Result.FAILURE),
    (None, 0, None, Result.FAILURE),
    (0, None, None, Result.FAILURE),
]


@pytest.mark.parametrize(("first", "second", "rc", "result"), SEVERAL)
def test_several_directories_on_a_slave_that_removes_one_at_a_time(
    first: int | None, second: int | None, rc: int | None, result: Result
) -> None:
    building = Building("0.8.4")
    command = building.run(RemoveDirectory(dirs=("a", "b")))
    for name, code in (("a", first), ("b", second)):
        command = building.slave.command
        assert command.arguments["dir"] == f"build/{name}".encode()
        assert building.running
        command.update({} if code is None else {"rc": code})
        command.complete()
    assert len(building.slave.commands) == 2
    assert (building.outcome.result, building.outcome.rc) == (result, rc)


def test_a_failure_of_the_first_of_several_ends_the_step() -> None:
    building = Building("0.8.4")
    building.run(RemoveDirectory(dirs=("a", "b", "c"))).complete(BROKEN)
    assert building.outcome.result is Result.EXCEPTION
    assert len(building.slave.commands) == 1


def test_an_interrupt_of_the_first_of_several_ends_the_step() -> None:
    building = Building("0.8.4")
    command = building.run(RemoveDirectory(dirs=("a", "b", "c")))
    interrupt(building, command)
    command.complete()
    assert building.outcome.result is Result.CANCELLED
    assert len(building.slave.commands) == 1


def test_an_interrupt_of_the_second_of_several_names_it() -> None:
    building = Building("0.8.4")
    first = building.run(RemoveDirectory(dirs=("a", "b")))
    first.finish()
    interrupt(building, first)
    assert (first.interrupts, building.slave.command.interrupts) == (["stop it"], ["stop it"])
    (heard,) = [heard for heard in building.slave.calls if heard.method == "interruptCommand"]
    assert heard.args[0] == building.slave.command.number
    # What the first one still says is nobody's.
    first.update({"stdout": b"late"})
    first.complete(BROKEN)
    assert building.running
    building.slave.command.finish(1)
    assert building.outcome.result is Result.CANCELLED
    assert b"late" not in building.text()


def test_a_loss_between_several() -> None:
    building = Building("0.8.4")
    building.run(RemoveDirectory(dirs=("a", "b"))).finish()
    building.driver.lose(building.slave, "cable")
    assert (building.outcome.result, building.outcome.why) == (Result.RETRY, "cable")


# -- before the first command

DOWNLOAD: Final = DownloadFile(src="/m/f", dest="f")


def test_a_source_that_is_not_there() -> None:
    building = Building()
    building.start(DOWNLOAD)
    assert building.outcome.result is Result.FAILURE
    assert building.outcome.why == "/m/f on the master: no such file"
    building.fail(LookAtFile, HostError(13, "Permission denied"))
    building.start(DOWNLOAD)
    assert building.outcome.why == "/m/f on the master: Permission denied"
    assert not building.slave.commands


@pytest.mark.parametrize("there", [False, True])
def test_an_interrupt_while_the_source_is_looked_for(there: bool) -> None:
    building = Building()
    if there:
        building.host.write("/m/f", b"x")
    building.hold(LookAtFile)
    number = building.start(DOWNLOAD)
    building.driver.handle(InterruptStep(number, "stop it"))
    assert building.running
    building.driver.perform_held()
    assert (building.outcome.result, building.outcome.why) == (Result.CANCELLED, "stop it")
    assert not building.slave.commands
    building.run(SHELL).finish()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_loss_while_the_source_is_looked_for(interrupted: bool) -> None:
    building = Building()
    building.hold(LookAtFile)
    number = building.start(DOWNLOAD)
    if interrupted:
        building.driver.handle(InterruptStep(number, "stop it"))
    building.driver.lose(building.slave)
    assert building.outcome.result is (Result.CANCELLED if interrupted else Result.RETRY)
    building.driver.perform_held()
    assert len(building.outcomes()) == 1


# -- a loss at every point


def conversation(building: Building, stop: Callable[[], bool]) -> None:
    """A build with some of everything; before each thing that happens `stop` tells whether to go on."""
    things: list[Callable[[], Any]] = []

    def then(*more: Callable[[], Any]) -> None:
        things.extend(more)

    command = building.slave
    then(
        lambda: building.start(SHELL),
        lambda: command.command.update({"header": "h"}),
        lambda: command.command.update({"stdout": "x", "rc": 0}),
        lambda: command.command.update({"elapsed": 1.0}),
        lambda: command.command.complete(),
        lambda: building.start(UploadFile(src="f", dest="/m/up", keep_stamp=True)),
        lambda: command.call(command.command.object("writer"), "write", b"abc"),
        lambda: command.call(command.command.object("writer"), "write", b"def"),
        lambda: command.call(command.command.object("writer"), "close"),
        lambda: command.call(command.command.object("writer"), "utime", (1.0, 2.0)),
        lambda: command.command.update({"rc": 0}),
        lambda: command.command.complete(),
        lambda: building.start(DownloadString(data=b"abc", dest="f")),
        lambda: command.call(command.command.object("reader"), "read", 10),
        lambda: command.call(command.command.object("reader"), "read", 10),
        lambda: command.call(command.command.object("reader"), "close"),
        lambda: command.command.finish(),
        lambda: building.start(RemoveDirectory(dirs=("a", "b"))),
        lambda: building.driver.handle(InterruptStep(building.step, "stop it")),
        lambda: command.command.update({"header": "killed"}),
        lambda: command.command.complete(),
        lambda: building.driver.handle(EndBuild(BUILD)),
    )
    for thing in things:
        if stop():
            return
        thing()


def test_a_loss_at_every_point() -> None:
    total = 0

    def count() -> bool:
        nonlocal total
        total += 1
        return False

    whole = Building()
    conversation(whole, count)
    results = [whole.outcomes(step)[0].result for step in range(1, 5)]
    assert results == [Result.SUCCESS] * 3 + [Result.CANCELLED]
    assert whole.host.read("/m/up") == b"abcdef"
    for point in range(total + 1):
        building = Building()
        rest = iter(range(point))
        conversation(building, lambda rest=rest: next(rest, None) is None)  # type: ignore[misc]
        building.driver.lose(building.slave, "cable")
        ended = [event.step for event in building.driver.events_of(StepFinished)]
        assert ended == list(range(1, building.step + 1)), point
        lost = building.driver.events_of(BuildLost)
        assert len(lost) == (point <= total - 1), point
        assert building.driver.events_of(SlaveDetached) == [SlaveDetached("bot1", "cable")]
        assert building.host.paths in (set(), {"/m/up"})
        if building.outcomes() and lost:
            last = building.outcome
            assert last.result in (Result.RETRY, Result.CANCELLED, Result.SUCCESS)
        # Nothing is left to be told to anybody.
        building.driver.advance(10_000)
        assert building.driver.session.deadline is None
