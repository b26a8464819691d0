"""The commands on files and directories."""

from __future__ import annotations

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import (
    Begin,
    Cancel,
    CopyTree,
    EffectDone,
    ExpandGlob,
    Interrupted,
    ListNames,
    PathInfo,
    RemoveTree,
    Script,
    StatPath,
    Unlink,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.testing import PlayStep, after, ends, fails, play, replies, sends, sends_text, tells, wants
from slaveproto.wire import Value
from tests.commands.recorded import recorded_runs
from tests.commands.support import BYTES, TEXT

MISSING = HostError(2, "No such file or directory")
HOME = "/slave/linux"


def make(name: str, context: CommandContext = TEXT, /, **arguments: Value) -> Script[None]:
    return make_script(name, arguments, context, COMMANDS)


# -- short ones

INFO = PathInfo(
    0o100644, 11, 12, 1, 1000, 1001, 5, accessed=1_700_000_001_999_999_999, modified=1_500_000_000, changed=-1
)


def test_stat_tells_ten_whole_numbers() -> None:
    play(
        make("stat", file=b"build/f"),
        wants(StatPath(f"{HOME}/build/f")),
        replies(INFO),
        sends("stat", (0o100644, 11, 12, 1, 1000, 1001, 5, 1_700_000_001, 1, -1)),
        sends("rc", 0),
        ends(),
    )


def test_stat_is_relative_to_the_workdir() -> None:
    play(
        make("stat", file="../f", workdir="build/deep"),
        wants(StatPath(f"{HOME}/build/f")),
        fails(MISSING),
        sends_text("header", f"stat: No such file or directory: {HOME}/build/f\n"),
        sends("rc", 2),
        ends(),
    )


def test_listdir() -> None:
    names = "a", "caf\udce9"
    play(
        make("listdir", dir="build"),
        wants(ListNames(f"{HOME}/build")),
        replies(names),
        sends("files", list(names)),
        sends("rc", 0),
        ends(),
    )


@pytest.mark.parametrize(
    ("path", "meant"), [("~/f", "/home/me/f"), ("~", "/home/me"), ("~you/f", f"{HOME}/~you/f"), ("f", f"{HOME}/f")]
)
def test_rmfile_knows_the_way_home(path: str, meant: str) -> None:
    context = attrs.evolve(TEXT, environ={"HOME": "/home/me"})
    play(make("rmfile", context, path=path), wants(Unlink(meant)), replies(True), sends("rc", 0), ends())


def test_rmfile_of_what_is_not_there() -> None:
    play(
        make("rmfile", path="f"),
        wants(Unlink(f"{HOME}/f")),
        replies(False),
        sends_text("header", f"rmfile: No such file or directory: {HOME}/f\n"),
        sends("rc", 2),
        ends(),
    )


@pytest.mark.parametrize(("context", "recursive"), [(TEXT, True), (BYTES, False)])
def test_glob(context: CommandContext, recursive: bool) -> None:
    play(
        make("glob", context, path="build/**/f"),
        wants(Begin(ExpandGlob(f"{HOME}/build/**/f", recursive))),
        tells(EffectDone(1, (f"{HOME}/build/a/f",))),
        sends("files", [f"{HOME}/build/a/f"]),
        sends("rc", 0),
        ends(),
    )


@pytest.mark.parametrize(
    ("path", "pattern"), [("build/*/", f"{HOME}/build/*/"), (b"../*", f"{HOME}/../*"), ("/*", "/*")]
)
def test_a_pattern_stays_as_it_is(path: Value, pattern: str) -> None:
    play(
        make("glob", path=path),
        wants(Begin(ExpandGlob(pattern, True))),
        tells(EffectDone(1, ())),
        sends("files", []),
        sends("rc", 0),
        ends(),
    )


# -- what may take long

REMOVE = Begin(RemoveTree(f"{HOME}/a"))
REMOVING = sends_text("header", f"removing {HOME}/a\n"), wants(REMOVE)


def test_rmdir() -> None:
    play(make("rmdir", dir="a"), *REMOVING, tells(EffectDone(1, ())), sends("rc", 0), ends())


def test_rmdir_of_a_list_goes_on_after_a_failure() -> None:
    play(
        make("rmdir", dir=["a", b"b", "c"]),
        *REMOVING,
        tells(EffectDone(1, (f"{HOME}/a/x: Permission denied", f"{HOME}/a/y: Permission denied"))),
        sends_text("stderr", f"rmdir: {HOME}/a/x: Permission denied\n"),
        sends_text("stderr", f"rmdir: {HOME}/a/y: Permission denied\n"),
        sends_text("header", f"removing {HOME}/b\n"),
        wants(Begin(RemoveTree(f"{HOME}/b"))),
        tells(EffectDone(2, None, HostError(5, "Input/output error"))),
        sends_text("stderr", f"rmdir: {HOME}/b: Input/output error\n"),
        sends_text("header", f"removing {HOME}/c\n"),
        wants(Begin(RemoveTree(f"{HOME}/c"))),
        tells(EffectDone(3, ())),
        sends("rc", 1),
        ends(),
    )


CANCELLED = HostError(125, "Operation canceled")


def given_up(*reason: PlayStep, text: str) -> tuple[PlayStep, ...]:
    return *reason, sends_text("header", f"\n{text}\n"), wants(Cancel(1))


@pytest.mark.parametrize("outcome", [EffectDone(1, None, CANCELLED), EffectDone(1, ())])
def test_interrupted_rmdir_is_answered_with_a_code(outcome: EffectDone) -> None:
    play(
        make("rmdir", dir=["a", "b"]),
        *REMOVING,
        after(3.0),
        tells(Interrupted("stop")),
        *given_up(text="command interrupted"),
        tells(Interrupted("again")),
        replies(None),
        tells(outcome),
        sends("rc", -1),
        ends(),
    )


def test_what_does_not_end_when_it_is_cancelled_is_not_waited_for() -> None:
    play(
        make("cpdir", fromdir="a", todir="b"),
        sends_text("header", f"copying {HOME}/a to {HOME}/b\n"),
        wants(Begin(CopyTree(f"{HOME}/a", f"{HOME}/b"))),
        tells(Interrupted("stop")),
        *given_up(text="command interrupted"),
        replies(None),
        after(4.9),
        after(0.2),
        sends("rc", -1),
        ends(),
    )


@pytest.mark.parametrize(
    ("context", "reason"), [(TEXT, (sends("failure_reason", "timeout_without_output"),)), (BYTES, ())]
)
def test_rmdir_has_a_limit_of_its_own(context: CommandContext, reason: tuple[PlayStep, ...]) -> None:
    play(
        make("rmdir", context, dir="a"),
        *REMOVING,
        after(120.0),
        *given_up(*reason, text="command timed out: 120 seconds without output"),
        replies(None),
        tells(EffectDone(1, None, CANCELLED)),
        sends("rc", -1),
        ends(),
    )


def test_rmdir_without_a_limit() -> None:
    play(make("rmdir", dir="a", timeout=None), *REMOVING, after(1e6), tells(EffectDone(1, ())), sends("rc", 0), ends())


def test_cpdir_has_the_limit_that_the_master_gives() -> None:
    play(
        make("cpdir", fromdir="a", todir="b", timeout=1, maxTime=7),
        sends_text("header", f"copying {HOME}/a to {HOME}/b\n"),
        wants(Begin(CopyTree(f"{HOME}/a", f"{HOME}/b"))),
        after(7.0),
        *given_up(sends("failure_reason", "timeout"), text="command timed out: 7 seconds elapsed"),
        replies(None),
        tells(EffectDone(1, None, CANCELLED)),
        sends("rc", -1),
        ends(),
    )


def test_cpdir_tells_what_it_could_not_copy() -> None:
    play(
        make("cpdir", fromdir="a", todir="b"),
        sends_text("header", f"copying {HOME}/a to {HOME}/b\n"),
        wants(Begin(CopyTree(f"{HOME}/a", f"{HOME}/b"))),
        tells(EffectDone(1, (f"{HOME}/a: No such file or directory",))),
        sends_text("stderr", f"cpdir: {HOME}/a: No such file or directory\n"),
        sends("rc", 1),
        ends(),
    )


# -- arguments


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("rmdir", {}, "rmdir is missing args: dir"),
        ("rmdir", {"dir": []}, "dir should name at least one directory"),
        ("rmdir", {"dir": ["a", 1]}, "a path should be text, not int"),
        ("rmdir", {"dir": "a", "timeout": "long"}, "timeout should be a number of seconds or None"),
        ("cpdir", {"todir": "a"}, "cpdir is missing args: fromdir"),
        ("cpdir", {"fromdir": "a", "todir": "b", "maxTime": -1}, "maxTime should be a number of seconds or None"),
        ("stat", {}, "stat is missing args: file"),
        ("listdir", {"dir": None}, "a path should be text, not NoneType"),
        ("glob", {}, "glob is missing args: path"),
        ("rmfile", {"path": ["a"]}, "a path should be text, not list"),
    ],
)
def test_refuses_other_arguments(name: str, arguments: dict[str, Value], text: str) -> None:
    with pytest.raises(CommandError) as caught:
        make(name, **arguments)
    assert str(caught.value) == text


# -- recorded

SHORT = {"stat": StatPath, "listdir": ListNames, "glob": ExpandGlob}


@pytest.mark.parametrize(
    "session", ["old-old__fs", "new-new__fs", "new-new__stat", "old-mid__newcmds", "new-new__newcmds"]
)
def test_recorded_answers_have_the_same_form(session: str) -> None:
    """Fed with what the real slave found, ours sends the same updates, but for what `differences-slave.md` lists."""
    compared = 0
    for run in recorded_runs(session):
        sent = dict(run.updates)
        if run.name not in SHORT or sent["rc"] != 0:
            continue
        script = make_script(run.name, run.arguments, run.context, COMMANDS)
        if run.name == "stat":
            numbers = sent["stat"]
            assert isinstance(numbers, tuple)
            whole = [int(str(number)) for number in numbers]
            info = PathInfo(*whole[:7], *(seconds * 10**9 for seconds in whole[7:]))
            path = run.context.path(run.arguments.get("workdir", ""), run.arguments["file"])
            play(script, wants(StatPath(path)), replies(info), sends("stat", numbers), sends("rc", 0), ends())
        else:
            files = sent["files"]
            assert isinstance(files, list)
            steps: tuple[PlayStep, ...]
            if run.name == "listdir":
                path = run.context.path(run.arguments["dir"])
                steps = wants(ListNames(path)), replies(tuple(files))
            else:
                effect = ExpandGlob(run.context.path(run.arguments["path"]), run.context.dialect is TEXT.dialect)
                steps = wants(Begin(effect)), tells(EffectDone(1, tuple(files)))
            play(script, *steps, sends("files", files), sends("rc", 0), ends())
        compared += 1
    assert compared
