"""The command `shell`, from the start of its process to the end of its script."""

from __future__ import annotations

import errno
import os
from typing import Any

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.effects import (
    Abandon,
    FileStamp,
    FindHolders,
    Holder,
    Interrupted,
    MakeDirs,
    ProcessClosed,
    ProcessExited,
    ProcessOutput,
    ReadFile,
    Signal,
    Stat,
)
from slaveproto.errors import HostError
from slaveproto.testing import (
    PlayStep,
    after,
    ends_with,
    fails,
    output_unread,
    play,
    replies,
    sends,
    sends_text,
    tells,
    wants,
)
from slaveproto.updates import Dialect
from slaveproto.wire import Value
from tests.commands.support import (
    BYTES,
    CHILD,
    DIALECTS,
    TEXT,
    WORKDIR,
    begins,
    finishes,
    header,
    make_shell,
    play_running,
    spawn,
)

CLOSED = tells(ProcessClosed(CHILD))
KILLED = (
    tells(ProcessExited(CHILD, 0, 9)),
    CLOSED,
    sends_text("header", "process killed by signal 9\n"),
)
KILL = (wants(Signal(CHILD, "KILL")), replies(True))
INTERRUPT = (
    tells(Interrupted("stop")),
    sends_text("header", "\ncommand interrupted, attempting to kill\n"),
)
LOST = HostError(3, "No such process")


def out(data: bytes, stream: str = "stdout") -> PlayStep:
    return tells(ProcessOutput(CHILD, stream, data))


def exits(code: int = 0, signal: int | None = None) -> PlayStep:
    return tells(ProcessExited(CHILD, code, signal))


# -- without trouble


@pytest.mark.parametrize("context", DIALECTS)
@pytest.mark.parametrize("code", [0, 1, 255])
def test_output_and_code(context: CommandContext, code: int) -> None:
    play_running(
        out(b"one\n"),
        sends_text("stdout", b"one\n"),
        after(1.5),
        out(b"\xff", "stderr"),
        sends_text("stderr", b"\xff"),
        exits(code),
        CLOSED,
        *finishes(code, 1.5),
        context=context,
    )


def test_output_after_the_exit_counts() -> None:
    play_running(exits(3), after(4.9), out(b"late"), sends_text("stdout", b"late"), CLOSED, *finishes(3, 4.9))


def test_streams_may_close_before_the_exit() -> None:
    play_running(CLOSED, after(100), exits(3), *finishes(3, 100))


def test_death_by_a_signal() -> None:
    play_running(exits(0, 11), CLOSED, sends_text("header", "process killed by signal 11\n"), *finishes(-1))


@pytest.mark.parametrize(
    ("unwanted", "wanted"), [("want_stdout", ("stderr",)), ("want_stderr", ("stdout",)), (None, ("stdout", "stderr"))]
)
def test_unwanted_stream(unwanted: str | None, wanted: tuple[str, ...]) -> None:
    steps: list[PlayStep] = []
    for stream in ("stdout", "stderr"):
        steps.append(out(b"x", stream))
        if stream in wanted:
            steps.append(sends_text(stream, b"x"))
    arguments: dict[str, Any] = {unwanted: 0} if unwanted else {}
    play_running(*steps, exits(), CLOSED, *finishes(0), **arguments)


def test_stdin_is_handed_to_the_process() -> None:
    play(
        make_shell(initial_stdin="text"),
        *begins(header(stdin=" writing 4 bytes to stdin\n")),
        wants(spawn(b"text")),
        replies(CHILD),
        exits(),
        CLOSED,
        *finishes(0),
    )


def test_terminal() -> None:
    play(
        make_shell(usePTY=True),
        *begins(header(pty=True)),
        wants(spawn(use_pty=True)),
        replies(CHILD),
        out(b"a\r\n"),
        sends_text("stdout", b"a\r\n"),
        exits(),
        CLOSED,
        *finishes(0),
    )


# -- before there is a process


def test_workdir_that_cannot_be_made() -> None:
    play(
        make_shell(),
        wants(MakeDirs(WORKDIR)),
        fails(HostError(13, "Permission denied")),
        ends_with("builtins.OSError", f"[Errno 13] Permission denied: '{WORKDIR}'"),
    )


@pytest.mark.parametrize("context", DIALECTS)
def test_program_that_cannot_be_started(context: CommandContext) -> None:
    play(
        make_shell(context),
        *begins(header(context)),
        wants(spawn()),
        after(0.25),
        fails(HostError(2, "No such file or directory")),
        sends_text("stderr", "make: No such file or directory\n"),
        *finishes(1, 0.25),
    )


def test_interrupt_before_the_process_is_there_kills_it_then() -> None:
    play(
        make_shell(),
        wants(MakeDirs(WORKDIR)),
        tells(Interrupted("stop")),
        replies(True),
        sends_text("header", header()),
        wants(spawn()),
        replies(CHILD),
        sends_text("header", "\ncommand interrupted, attempting to kill\n"),
        *KILL,
        *KILLED,
        *finishes(-1),
    )


# -- limits


def reason(context: CommandContext, word: str) -> tuple[PlayStep, ...]:
    """Only workers tell the reason apart."""
    return (sends("failure_reason", word),) if context.dialect is Dialect.TEXT else ()


def running(context: CommandContext) -> str:
    return " running [b'make']" if context.dialect is Dialect.TEXT else ""


@pytest.mark.parametrize("context", DIALECTS)
def test_silence(context: CommandContext) -> None:
    play_running(
        after(19),
        out(b"."),
        sends_text("stdout", b"."),
        after(20),
        *reason(context, "timeout_without_output"),
        sends_text(
            "header",
            f"\ncommand timed out: 20 seconds without output{running(context)}, attempting to kill\n",
        ),
        *KILL,
        *KILLED,
        *finishes(-1, 39),
        context=context,
        limits=" (timeout 20 secs)",
        timeout=20,
    )


def test_nobody_is_silent_while_nobody_listens() -> None:
    """The master takes in nothing, so the output is left unread: that is not the command's fault."""
    play_running(
        output_unread(True),
        after(20),
        output_unread(False),
        after(19),
        after(1),
        sends("failure_reason", "timeout_without_output"),
        sends_text(
            "header",
            f"\ncommand timed out: 20 seconds without output{running(TEXT)}, attempting to kill\n",
        ),
        *KILL,
        *KILLED,
        *finishes(-1, 40),
        limits=" (timeout 20 secs)",
        timeout=20,
    )


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_that_is_not_wanted_is_no_silence(stream: str) -> None:
    play_running(
        after(19),
        out(b".", stream),
        after(19),
        exits(),
        CLOSED,
        *finishes(0, 38),
        limits=" (timeout 20 secs)",
        timeout=20,
        want_stdout=0,
        want_stderr=0,
    )


@pytest.mark.parametrize("context", DIALECTS)
def test_lifetime(context: CommandContext) -> None:
    play_running(
        after(9),
        out(b"."),
        sends_text("stdout", b"."),
        after(1),
        *reason(context, "timeout"),
        sends_text("header", f"\ncommand timed out: 10 seconds elapsed{running(context)}, attempting to kill\n"),
        *KILL,
        *KILLED,
        *finishes(-1, 10),
        context=context,
        limits=" (maxTime 10 secs)",
        maxTime=10,
    )


@pytest.mark.parametrize(("context", "shown"), [(TEXT, "2.5"), (BYTES, "2")])
def test_fraction_of_a_second(context: CommandContext, shown: str) -> None:
    play_running(
        after(2.5),
        *reason(context, "timeout"),
        sends_text("header", f"\ncommand timed out: {shown} seconds elapsed{running(context)}, attempting to kill\n"),
        *KILL,
        *KILLED,
        *finishes(-1, 2.5),
        context=context,
        limits=f" (maxTime {shown} secs)",
        maxTime=2.5,
    )


@pytest.mark.parametrize("context", DIALECTS)
def test_lines(context: CommandContext) -> None:
    play_running(
        out(b"1\n2"),
        sends_text("stdout", b"1\n2"),
        out(b"\n3\n", "stderr"),
        sends_text("stderr", b"\n3\n"),
        out(b"4"),
        sends_text("stdout", b"4"),
        out(b"\n5\n"),
        sends_text("stdout", b"\n5\n"),
        *reason(context, "max_lines_failure"),
        sends_text(
            "header",
            f"\ncommand exceeds max lines: 5/3 written/allowed{running(context)}, attempting to kill\n",
        ),
        *KILL,
        out(b"6\n"),
        sends_text("stdout", b"6\n"),
        *KILLED,
        *finishes(-1),
        context=context,
        max_lines=3,
    )


def test_as_many_lines_as_allowed() -> None:
    play_running(out(b"1\n2\n3\n"), sends_text("stdout", b"1\n2\n3\n"), exits(), CLOSED, *finishes(0), max_lines=3)


def test_no_limits_no_timers() -> None:
    run = play_running(out(b"."), sends_text("stdout", b"."))
    assert run.deadline is None


# -- ending it


@pytest.mark.parametrize("context", DIALECTS)
def test_interrupt(context: CommandContext) -> None:
    play_running(*INTERRUPT, *KILL, *KILLED, *finishes(-1), context=context)


def test_what_comes_second_changes_nothing() -> None:
    play_running(
        *INTERRUPT,
        *KILL,
        tells(Interrupted("stop again")),
        after(4),
        out(b"\n\n\n"),
        sends_text("stdout", b"\n\n\n"),
        *KILLED,
        *finishes(-1, 4),
        limits=" (timeout 2 secs) (maxTime 3 secs)",
        timeout=2,
        maxTime=3,
        max_lines=1,
    )


@pytest.mark.parametrize(("code", "rc"), [(0, -1), (3, 3)])
def test_exit_of_one_that_we_ended(code: int, rc: int) -> None:
    """Code 0 would look like success."""
    play_running(*INTERRUPT, *KILL, exits(code), CLOSED, *finishes(rc))


def test_gone_before_the_signal() -> None:
    play_running(*INTERRUPT, wants(Signal(CHILD, "KILL")), replies(False), exits(), CLOSED, *finishes(-1))


@pytest.mark.parametrize("given", ["INT", "SIGINT", b"SIGINT", "int"])
def test_signal_of_the_masters_choice(given: Value) -> None:
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "INT")),
        replies(True),
        exits(0, 2),
        CLOSED,
        sends_text("header", "process killed by signal 2\n"),
        *finishes(-1),
        interruptSignal=given,
    )


def test_signal_that_does_not_exist() -> None:
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "FOO")),
        fails(HostError(22, "there is no signal FOO")),
        sends_text("header", "cannot send SIGFOO: there is no signal FOO; sending SIGKILL\n"),
        *KILL,
        *KILLED,
        *finishes(-1),
        interruptSignal="FOO",
    )


def test_term_first_and_that_is_enough() -> None:
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "TERM")),
        replies(True),
        after(1.9),
        exits(0, 15),
        # For those of its group that did not obey.
        *KILL,
        CLOSED,
        sends_text("header", "process killed by signal 15\n"),
        *finishes(-1, 1.9),
        sigtermTime=2,
    )


def test_term_first_and_then_the_other() -> None:
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "TERM")),
        replies(True),
        after(2),
        wants(Signal(CHILD, "INT")),
        replies(True),
        after(4.9),
        exits(2),
        CLOSED,
        *finishes(2, 6.9),
        sigtermTime=2,
        interruptSignal="INT",
    )


@pytest.mark.parametrize(("name", "last"), [("KILL", ()), ("INT", KILL)])
def test_survivor_is_let_go(name: str, last: tuple[PlayStep, ...]) -> None:
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, name)),
        replies(True),
        after(4.9),
        out(b"still here"),
        sends_text("stdout", b"still here"),
        after(0.1),
        sends_text("header", f"SIG{name} failed to kill process\n"),
        *last,
        wants(Abandon(CHILD)),
        replies(None),
        sends_text("header", "using fake rc=-1\n"),
        sends("rc", -1),
        ends_with("builtins.RuntimeError", f"SIG{name} failed to kill process"),
        interruptSignal=name,
    )


def test_process_that_may_not_be_signalled_is_let_go() -> None:
    """It runs as somebody else, say. Its streams must not keep the command, nor the command keep them."""
    refused = HostError(1, "Operation not permitted")
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "KILL")),
        fails(refused),
        sends_text("header", "cannot send SIGKILL: Operation not permitted; sending SIGKILL\n"),
        wants(Signal(CHILD, "KILL")),
        fails(refused),
        after(5),
        sends_text("header", "SIGKILL failed to kill process\n"),
        wants(Abandon(CHILD)),
        replies(None),
        sends_text("header", "using fake rc=-1\n"),
        sends("rc", -1),
        ends_with("builtins.RuntimeError"),
    )


def test_daemon_that_holds_the_streams_of_one_that_we_killed() -> None:
    play_running(
        *INTERRUPT,
        *KILL,
        exits(0, 9),
        after(0.9),
        out(b"from the daemon"),
        sends_text("stdout", b"from the daemon"),
        after(0.1),
        wants(Abandon(CHILD)),
        replies(None),
        sends_text("header", "process killed by signal 9\n"),
        *finishes(-1, 1),
    )


def test_exit_calls_off_what_would_have_come_next() -> None:
    """Not the giving up, and the stronger signal is only for what is left of the group."""
    play_running(
        *INTERRUPT,
        wants(Signal(CHILD, "TERM")),
        replies(True),
        after(0.1),
        exits(3),
        *KILL,
        after(1),
        wants(Abandon(CHILD)),
        replies(None),
        *finishes(3, 1.1),
        sigtermTime=0.5,
    )
    play_running(
        *INTERRUPT,
        *KILL,
        after(4.5),
        exits(3),
        after(1),
        wants(Abandon(CHILD)),
        replies(None),
        *finishes(3, 5.5),
    )


def test_limits_end_with_the_first_signal() -> None:
    run = play_running(*INTERRUPT, *KILL, limits=" (timeout 2 secs) (maxTime 3 secs)", timeout=2, maxTime=3)
    assert run.deadline == 5.0


def test_streams_that_close_while_they_drain() -> None:
    play_running(*INTERRUPT, *KILL, exits(0, 9), after(0.5), *KILLED[1:], *finishes(-1, 0.5))


@pytest.mark.parametrize("context", DIALECTS)
@pytest.mark.parametrize(
    ("found", "who"),
    [
        ((), "another process"),
        ((Holder(17, "sleep"),), "process 17 (sleep)"),
        (tuple(Holder(n, "d") for n in range(5)), "process 0 (d) and process 1 (d) and process 2 (d) and 2 more"),
        (HostError(24, "Too many open files"), "another process"),
    ],
)
def test_daemon_that_holds_the_streams_of_one_that_ended_by_itself(
    context: CommandContext, found: tuple[Holder, ...] | HostError, who: str
) -> None:
    """As with the real slaves only a limit or an interrupt ends that, but the log tells what it waits for, once."""
    text = f"the command has ended, but its output is held open by {who}; waiting for that, without limit"
    play_running(
        exits(3),
        after(5),
        wants(FindHolders(CHILD)),
        fails(found) if isinstance(found, HostError) else replies(found),
        sends_text("header", f"\n{text}\n"),
        after(3595),
        *INTERRUPT,
        *KILL,
        after(1),
        wants(Abandon(CHILD)),
        replies(None),
        *finishes(3, 3601),
        context=context,
    )


@pytest.mark.parametrize(
    ("limits", "line", "words"),
    [
        ({"timeout": 20}, " (timeout 20 secs)", "at most 20 seconds without output"),
        ({"maxTime": 30}, " (maxTime 30 secs)", "at most 30 seconds in all"),
        (
            {"timeout": 20, "maxTime": 30},
            " (timeout 20 secs) (maxTime 30 secs)",
            "at most 20 seconds without output or 30 seconds in all",
        ),
    ],
)
def test_what_holds_the_streams_is_told_with_the_limit(limits: dict[str, Any], line: str, words: str) -> None:
    text = "the command has ended, but its output is held open by another process; waiting for that"
    play_running(
        exits(0),
        after(5),
        wants(FindHolders(CHILD)),
        replies(()),
        sends_text("header", f"\n{text}, {words}\n"),
        after(1),
        CLOSED,
        *finishes(0, 6),
        limits=line,
        **limits,
    )


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_host_without_room_is_no_failure_of_the_build(number: int) -> None:
    words = os.strerror(number)
    play(
        make_shell(),
        *begins(header()),
        wants(spawn()),
        fails(HostError(number, words)),
        ends_with("builtins.OSError", f"[Errno {number}] {words}: the slave's host cannot start a process at present"),
    )


@pytest.mark.parametrize("of_slave", [False, True])
@pytest.mark.parametrize("of_step", [None, False, True])
def test_what_is_left_behind_is_killed_if_the_step_or_the_slave_says_so(of_slave: bool, of_step: bool | None) -> None:
    play(
        make_shell(attrs.evolve(TEXT, kill_leftovers=of_slave), kill_leftovers=of_step),
        *begins(header()),
        wants(attrs.evolve(spawn(), kill_leftovers=of_slave if of_step is None else of_step)),
        replies(CHILD),
        exits(0),
        CLOSED,
        *finishes(0),
    )


# -- logs


def test_logs_are_looked_at_now_and_then_and_in_the_end() -> None:
    def stamp(size: int) -> FileStamp:
        return FileStamp(1, size, size, size)

    path = f"{WORKDIR}/a.log"
    look = wants(Stat(path))
    play(
        make_shell(logfiles={"a": "a.log"}),
        *begins(header(logs="{'a': 'a.log'}")),
        look,
        replies(None),
        wants(spawn()),
        replies(CHILD),
        after(2),
        look,
        replies(stamp(3)),
        wants(ReadFile(path, 0, 3)),
        replies(b"one"),
        sends_text("log", b"one", "a"),
        after(2),
        look,
        replies(stamp(3)),
        exits(),
        CLOSED,
        look,
        replies(stamp(6)),
        wants(ReadFile(path, 3, 3)),
        replies(b"two"),
        sends_text("log", b"two", "a"),
        *finishes(0, 4),
    )


def test_growing_log_is_no_silence() -> None:
    path = f"{WORKDIR}/a.log"
    play(
        make_shell(logfiles={"a": "a.log"}, timeout=3),
        *begins(header(limits=" (timeout 3 secs)", logs="{'a': 'a.log'}")),
        wants(Stat(path)),
        replies(None),
        wants(spawn()),
        replies(CHILD),
        after(2),
        wants(Stat(path)),
        replies(FileStamp(1, 1, 1, 1)),
        wants(ReadFile(path, 0, 1)),
        replies(b"x"),
        sends_text("log", b"x", "a"),
        after(2),
        wants(Stat(path)),
        replies(FileStamp(1, 1, 1, 1)),
        after(1),
        sends("failure_reason", "timeout_without_output"),
        sends_text("header", "\ncommand timed out: 3 seconds without output running [b'make'], attempting to kill\n"),
        *KILL,
        *KILLED,
        wants(Stat(path)),
        fails(LOST),
        *finishes(-1, 5),
    )


def test_end_of_a_script_is_its_end() -> None:
    run = play_running(exits(), CLOSED, *finishes(0))
    said = list(run.said)
    run.tell(Interrupted("too late"))
    run.pass_time(1000)
    assert run.said == said
    assert run.deadline is None
