"""The header of a command: the words of the real slaves, to the letter."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.headers import command_line, environment_text, limit_text, shown, shown_command
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import SendText
from slaveproto.testing import ScriptRun
from slaveproto.updates import Dialect
from slaveproto.wire import Value
from tests.commands.recorded import RecordedRun, recorded_runs
from tests.commands.support import BYTES, TEXT, WORKDIR, header, make_shell

RECORDED = """
    new-new: badargs binary concurrent env git gitmodes hello interrupt lazylog logfiles maxtime newcmds obfuscated
        output pty shell sigterm stdin timeout trickle unicode warn patched
    old-old: badargs binary concurrent env envuni git hello interrupt lazylog logfiles maxtime newcmds obfuscated
        output pty shell stdin svn timeout trickle unicode warn
    new24-old: badargs env hello logfiles shell stdin unicode
    new24-mid: hello newcmds shell
    old-mid: hello newcmds shell
"""

# Where a real slave writes something that follows from Python's dictionaries or from a bug that we do not share.
KNOWN = {
    "new-new__patched": ("/build/. (timeout", "/build (timeout", "we write paths in their shortest form"),
    "old-old__obfuscated": ("('\"'\"'obfuscated'\"'\"'", "XXXX", "0.8.4 shows the secret"),
    "new24-mid__hello": ("argv: ['echo'", "argv: [u'echo'", "0.8.14 turned text into bytes before"),
    "new24-mid__shell": ("argv: ['", "argv: [u'", "0.8.14 turned text into bytes before"),
    "old-old__logfiles": ("logfiles {'", "logfiles {'", "the order of Python 2's dictionaries"),
    "new24-old__logfiles": ("logfiles {u'", "logfiles {u'", "the order of Python 2's dictionaries"),
}


def recordings() -> Sequence[str]:
    combo, names = "", []
    for word in RECORDED.split():
        if word.endswith(":"):
            combo = word[:-1]
        else:
            names.append(f"{combo}__{word}")
    return names


def our_header(run: RecordedRun) -> str:
    script = ScriptRun(make_script("shell", run.arguments, run.context, COMMANDS))
    script.reply(True)
    said = script.said[1]
    assert isinstance(said, SendText)
    assert isinstance(said.text, str)
    return said.text


@pytest.mark.parametrize("name", recordings())
def test_same_as_the_real_slave(name: str) -> None:
    runs = [run for run in recorded_runs(name) if run.name == "shell" and run.header()]
    assert runs
    differing = 0
    for run in runs:
        ours, theirs = our_header(run), run.header()
        if not theirs.startswith(ours):
            assert name in KNOWN, theirs
            their_part, our_part, _ = KNOWN[name]
            assert their_part in theirs
            assert our_part in ours
            differing += 1
    assert bool(differing) == (name in KNOWN)


@pytest.mark.parametrize("context", [TEXT, BYTES])
def test_everything_in_its_order(context: CommandContext) -> None:
    context = attrs.evolve(context, environ={"Z": "last", "A": "first"})
    run = ScriptRun(
        make_shell(
            context,
            command="make -j2",
            timeout=20,
            maxTime=1,
            logfiles={},
            logEnviron=True,
            usePTY=True,
            initial_stdin=b"12345",
        )
    )
    run.reply(True)
    argv = "b'make -j2'" if context.dialect is Dialect.TEXT else "make -j2"
    assert run.said[1] == SendText(
        "header",
        "WARNING: disabling usePTY for this command"
        "make -j2\n"
        f" in dir {WORKDIR} (timeout 20 secs) (maxTime 1 sec)\n"
        " watching logfiles {}\n"
        f" argv: {argv}\n"
        " environment:\n"
        "  A=first\n"
        f"  PWD={WORKDIR}\n"
        "  Z=last\n"
        " writing 5 bytes to stdin\n"
        " using PTY: False\n",
    )


@pytest.mark.parametrize("context", [TEXT, BYTES])
def test_nothing_that_was_not_asked_for(context: CommandContext) -> None:
    run = ScriptRun(make_shell(context, initial_stdin=b""))
    run.reply(True)
    assert run.said[1] == SendText("header", header(context))


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        (b"a", "'a'", "b'a'"),
        ("a", "u'a'", "'a'"),
        ("caf\xe9", "u'caf\\xe9'", "'caf\xe9'"),
        (b"caf\xe9", "'caf\\xe9'", "b'caf\\xe9'"),
        (b"it's", '"it\'s"', 'b"it\'s"'),
        ("it's", 'u"it\'s"', '"it\'s"'),
        (None, "None", "None"),
        (True, "True", "True"),
        (3, "3", "3"),
        (1.5, "1.5", "1.5"),
        ([b"a", "b", [1]], "['a', u'b', [1]]", "[b'a', 'b', [1]]"),
        ((b"a",), "('a',)", "(b'a',)"),
        ((b"a", "b"), "('a', u'b')", "(b'a', 'b')"),
        ({b"a": {"b": True}}, "{'a': {u'b': True}}", "{b'a': {'b': True}}"),
        ({}, "{}", "{}"),
    ],
)
def test_values_look_as_in_the_python_of_the_generation(value: Value, old: str, new: str) -> None:
    assert shown(value, python2=True) == old
    assert shown(value, python2=False) == new


@pytest.mark.parametrize(
    ("command", "line", "old_argv", "new_argv"),
    [
        ("make -j2", "make -j2", "make -j2", "b'make -j2'"),
        (b"make", "make", "make", "b'make'"),
        (["echo", "a b"], "echo 'a b'", "[u'echo', u'a b']", "[b'echo', b'a b']"),
        ([b"echo", b"a b"], "echo 'a b'", "['echo', 'a b']", "[b'echo', b'a b']"),
        ([b"echo", b""], 'echo ""', "['echo', '']", "[b'echo', b'']"),
        ([b"it's"], "'it'\"'\"'s'", '["it\'s"]', '[b"it\'s"]'),
        ((b"a", b"b"), "a b", "['a', 'b']", "[b'a', b'b']"),
        ([], "", "[]", "[]"),
    ],
)
def test_command(command: Sequence[bytes | str], line: str, old_argv: str, new_argv: str) -> None:
    for context, argv in ((BYTES, old_argv), (TEXT, new_argv)):
        assert command_line(command, context) == line
        assert shown_command(command, context) == argv


@pytest.mark.parametrize("context", [TEXT, BYTES])
def test_command_of_a_windows_host(context: CommandContext) -> None:
    windows = attrs.evolve(context, posix=False)
    assert command_line([b"echo", b"a b", "%x"], windows) == 'echo ^"a b^" %%x'
    assert command_line("echo %x", windows) == "echo %x"
    assert shown_command([b"echo", b"a b"], windows) == shown_command([b"echo", b"a b"], context)


@pytest.mark.parametrize(
    ("seconds", "old", "new"),
    [
        (None, "", ""),
        (0, "", ""),
        (1, " (timeout 1 sec)", " (timeout 1 sec)"),
        (2, " (timeout 2 secs)", " (timeout 2 secs)"),
        (1200, " (timeout 1200 secs)", " (timeout 1200 secs)"),
        (2.5, " (timeout 2 secs)", " (timeout 2.5 secs)"),
    ],
)
def test_limit(seconds: float | None, old: str, new: str) -> None:
    assert limit_text("timeout", seconds, Dialect.BYTES) == old
    assert limit_text("timeout", seconds, Dialect.TEXT) == new


def test_environment_is_sorted() -> None:
    assert environment_text({"b": "2", "a": "1\n2"}) == " environment:\n  a=1\n2\n  b=2\n"
