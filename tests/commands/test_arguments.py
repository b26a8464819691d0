"""The arguments of `shell`: the kinds that are accepted and refused, and their effects."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import MakeDirs, SendText, Spawn
from slaveproto.errors import CommandError, HostError
from slaveproto.testing import Ended, ScriptRun
from slaveproto.updates import Dialect
from slaveproto.wire import Value
from tests.commands.support import BYTES, CHILD, TEXT, WORKDIR, make_shell

PTY = attrs.evolve(TEXT, use_pty=True)
WINDOWS = attrs.evolve(PTY, directory="C:\\slave\\linux", posix=False)


def spawned(context: CommandContext = TEXT, **arguments: Value) -> Spawn:
    """Return how the process is started."""
    run = ScriptRun(make_shell(context, **arguments))
    run.reply(True)
    assert isinstance(run.waits_for, Spawn), run.said
    return run.waits_for


@pytest.mark.parametrize("context", [TEXT, BYTES])
@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("echo $HOME", (b"/bin/sh", b"-c", b"echo $HOME")),
        (b"echo caf\xe9", (b"/bin/sh", b"-c", b"echo caf\xe9")),
        ("", (b"/bin/sh", b"-c", b"")),
        (["echo", b"caf\xe9", "caf\xe9"], (b"echo", b"caf\xe9", b"caf\xc3\xa9")),
        ((b"echo", "a"), (b"echo", b"a")),
        (["sleep", 3, 1.5, True], (b"sleep", b"3", b"1.5", b"True")),
        (["login", ("obfuscated", "secret", "XXXX")], (b"login", b"secret")),
        ([b"login", (b"obfuscated", b"secret", b"XXXX")], (b"login", b"secret")),
        ([b"login", [b"obfuscated", b"secret", b"XXXX"]], (b"login", b"secret")),
        (["a", "b"], (b"a", b"b")),
        (["-x"], (b"-x",)),
    ],
)
def test_command(context: CommandContext, command: Value, argv: tuple[bytes, ...]) -> None:
    assert spawned(context, command=command).argv == argv


@pytest.mark.parametrize(("context", "argv"), [(TEXT, "[b'login', b'XXXX', b'3']"), (BYTES, "['login', 'XXXX', '3']")])
def test_secret_is_not_shown(context: CommandContext, argv: str) -> None:
    run = ScriptRun(make_shell(context, command=[b"login", (b"obfuscated", b"secret", b"XXXX"), 3]))
    run.reply(True)
    said = run.said[1]
    assert isinstance(said, SendText)
    assert isinstance(said.text, str)
    assert said.text.startswith("login XXXX 3\n")
    assert f" argv: {argv}\n" in said.text


@pytest.mark.parametrize(
    ("workdir", "path"),
    [
        ("build", WORKDIR),
        (b"build", WORKDIR),
        (".", "/slave/linux"),
        ("a/../b", "/slave/linux/b"),
        ("/tmp", "/tmp"),
        (b"caf\xe9", "/slave/linux/caf\udce9"),
    ],
)
def test_workdir(workdir: Value, path: str) -> None:
    run = ScriptRun(make_shell(workdir=workdir))
    assert run.waits_for == MakeDirs(path)
    run.reply(True)
    assert isinstance(run.waits_for, Spawn)
    assert run.waits_for.directory == path
    assert run.waits_for.environ[b"PWD"] == path.encode("utf-8", "surrogateescape")


def test_workdir_of_a_windows_host() -> None:
    assert ScriptRun(make_shell(WINDOWS, workdir="build")).waits_for == MakeDirs("C:\\slave\\linux\\build")
    assert ScriptRun(make_shell(WINDOWS, workdir="D:\\x")).waits_for == MakeDirs("D:\\x")


def test_a_windows_host_without_its_shell() -> None:
    run = ScriptRun(make_shell(WINDOWS, command=["make", "a b"]))
    run.reply(True)
    assert isinstance(run.waits_for, Spawn)
    assert (run.waits_for.argv, run.waits_for.script) == ((b'make ^"a b^"',), True)
    run.reject(HostError(2, "The system cannot find the file specified"))
    assert SendText("stderr", "cmd.exe: The system cannot find the file specified\n") in run.said


def test_pwd_wins_over_the_environment_asked_for() -> None:
    assert spawned(env={"PWD": "/elsewhere", b"A": b"1"}).environ == {
        b"PATH": b"/bin",
        b"A": b"1",
        b"PWD": WORKDIR.encode(),
    }


@pytest.mark.parametrize(
    ("stdin", "raw"), [(None, b""), ("", b""), ("caf\xe9", b"caf\xc3\xa9"), (b"caf\xe9\0", b"caf\xe9\0")]
)
def test_stdin(stdin: Value, raw: bytes) -> None:
    assert spawned(initial_stdin=stdin).stdin == raw


@pytest.mark.parametrize(
    ("context", "asked", "stdin", "use_pty", "warned"),
    [
        (TEXT, None, None, False, False),
        (TEXT, "slave-config", None, False, False),
        (TEXT, b"slave-config", None, False, False),
        (TEXT, False, None, False, False),
        (TEXT, True, None, True, False),
        (TEXT, 1, None, True, False),
        (PTY, None, None, True, False),
        (PTY, "slave-config", None, True, False),
        (PTY, b"slave-config", None, True, False),
        (PTY, False, None, False, False),
        # Standard input has to be a pipe to be closed, also where nothing is written to it.
        (TEXT, True, "text", False, True),
        (TEXT, True, "", False, True),
        (PTY, "slave-config", "text", False, False),
        (WINDOWS, True, None, False, True),
        (WINDOWS, "slave-config", None, False, False),
    ],
)
def test_terminal(context: CommandContext, asked: Value, stdin: Value, use_pty: bool, warned: bool) -> None:
    run = ScriptRun(make_shell(context, usePTY=asked, initial_stdin=stdin))
    run.reply(True)
    assert isinstance(run.waits_for, Spawn)
    assert run.waits_for.use_pty == use_pty
    said = run.said[1]
    assert isinstance(said, SendText)
    assert isinstance(said.text, str)
    assert said.text.startswith("WARNING: disabling usePTY for this command") == warned
    assert said.text.endswith(f" using PTY: {use_pty}\n")


def test_terminal_is_left_to_the_slave_if_nothing_is_asked() -> None:
    run = ScriptRun(make_script("shell", {"workdir": "build", "command": "make"}, PTY, COMMANDS))
    run.reply(True)
    assert isinstance(run.waits_for, Spawn)
    assert run.waits_for.use_pty


@pytest.mark.parametrize("missing", ["workdir", "command"])
def test_needs(missing: str) -> None:
    arguments: dict[str, Value] = {"workdir": "build", "command": ["make"]}
    del arguments[missing]
    with pytest.raises(CommandError, match=f"^shell is missing args: {missing}$") as caught:
        make_script("shell", arguments, TEXT, COMMANDS)
    assert caught.value.kind == "builtins.ValueError"


def test_names_all_that_is_missing() -> None:
    with pytest.raises(CommandError, match=r"^shell is missing args: workdir, command$"):
        make_script("shell", {}, TEXT, COMMANDS)


def test_ignores_what_it_does_not_know() -> None:
    assert spawned(dir="build", not_really=True, keep_stdout=1).argv == (b"make",)


NO_SECONDS = "should be a number of seconds or None"
NO_COUNT = "should be a whole number or None"
SECONDS = ("timeout", "maxTime", "sigtermTime")
NO_NUMBERS_OF_SECONDS: tuple[Value, ...] = ("20", b"20", -1, -0.5, True, [1], float("nan"), float("inf"), 1e9, {})


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("command", None, "command should be a list or text, not NoneType"),
        ("command", 1, "command should be a list or text, not int"),
        ("command", {"a": "b"}, "command should be a list or text, not dict"),
        ("command", ["a", None], "command should hold texts, not a NoneType"),
        ("command", ["a", ["b"]], "command should hold texts, not a list"),
        ("command", ["a", ("obfuscated", "b")], "command should hold texts, not a tuple"),
        ("command", [("hidden", "b", "c")], "command should hold texts, not a tuple"),
        ("command", [("obfuscated", 1, "b")], "command should hold texts, not a tuple"),
        ("command", [("obfuscated", "a", None)], "command should hold texts, not a tuple"),
        ("workdir", None, "a path should be text, not NoneType"),
        ("workdir", 1, "a path should be text, not int"),
        ("workdir", ["build"], "a path should be text, not list"),
        ("initial_stdin", 1, "initial_stdin should be text, not int"),
        ("initial_stdin", ["a"], "initial_stdin should be text, not list"),
        ("interruptSignal", 9, "interruptSignal should be text, not int"),
        ("interruptSignal", "", "there is no signal ''"),
        ("interruptSignal", "SIG", "there is no signal ''"),
        ("interruptSignal", "A B", "there is no signal 'A B'"),
        ("interruptSignal", "KILL\n", "there is no signal 'KILL\\n'"),
        *((name, value, f"{name} {NO_SECONDS}") for name in SECONDS for value in NO_NUMBERS_OF_SECONDS),
        ("max_lines", "1", f"max_lines {NO_COUNT}"),
        ("max_lines", 1.5, f"max_lines {NO_COUNT}"),
        ("max_lines", -1, f"max_lines {NO_COUNT}"),
        ("max_lines", [], f"max_lines {NO_COUNT}"),
    ],
)
def test_refuses(argument: str, value: Value, text: str, dialect: Dialect) -> None:
    with pytest.raises(CommandError) as caught:
        make_shell(attrs.evolve(TEXT, dialect=dialect), **{argument: value})
    assert str(caught.value) == text
    assert caught.value.kind in ("builtins.TypeError", "builtins.ValueError")


@pytest.mark.parametrize(
    ("argument", "value", "kind", "text"),
    [
        ("env", ["A=b"], "builtins.TypeError", "env should be a dictionary"),
        ("env", {"A": 1}, "builtins.RuntimeError", "env: the value of 'A' should be text or a list of texts"),
        ("logfiles", ["a"], "builtins.TypeError", "logfiles should be a dictionary"),
        ("logfiles", {"a": 1}, "builtins.TypeError", "a path should be text, not int"),
    ],
)
def test_wrong_surroundings_end_a_command_that_has_begun(argument: str, value: Any, kind: str, text: str) -> None:
    """A real slave answers the call, too, before it looks at these."""
    assert ScriptRun(make_shell(**{argument: value})).said == [Ended(kind, text)]


@pytest.mark.parametrize("command", ["\u20ac", ["\u20ac"]])
def test_command_that_the_encoding_cannot_say(command: Value) -> None:
    run = ScriptRun(make_shell(attrs.evolve(BYTES, encoding="latin-1"), command=command))
    run.reply(True)
    assert run.said[-1] == Ended("builtins.UnicodeEncodeError", "command cannot be said in latin-1")


def test_no_command_at_all() -> None:
    run = ScriptRun(make_shell(command=[]))
    run.reply(True)
    assert run.said[-1] == Ended("builtins.ValueError", "an empty command")
    assert not run.waits_for


def test_number_zero_is_no_limit() -> None:
    run = ScriptRun(make_shell(timeout=0, maxTime=0.0, sigtermTime=0))
    run.reply(True)
    run.reply(CHILD)
    assert run.deadline is None
