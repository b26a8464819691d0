"""The process of a command: its header in the log, its output, its limits and its end.

Source: manual page, section "Building"; `runprocess.py` of buildslave 0.8.4, 0.8.14 and buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final, TypeAlias, assert_never

from slaveproto.commands.context import CommandContext
from slaveproto.commands.headers import command_line, environment_text, limit_text, shown, shown_command, shown_seconds
from slaveproto.commands.logfiles import POLL_INTERVAL, LogWatcher, watchers
from slaveproto.commands.programs import spawn
from slaveproto.effects import (
    Abandon,
    CallDone,
    EffectDone,
    FindHolders,
    Interrupted,
    MakeDirs,
    NextEvent,
    Now,
    OutputUnread,
    ProcessClosed,
    ProcessExited,
    ProcessOutput,
    Script,
    SendItem,
    SendText,
    SetTimer,
    Signal,
    TimerFired,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.records import record
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value

BACKUP_TIMEOUT: Final = 5.0
"""Seconds that a process has to be gone after the last signal."""

DRAIN_TIMEOUT: Final = 1.0
"""Seconds that output may still come after a process that we killed is gone."""

HELD_NOTICE: Final = 5.0
"""Seconds after the end of a process until the log tells who still holds its output."""

_MOST_HOLDERS: Final = 3

KEPT: Final = 1024 * 1024
"""Bytes of a stream that a script may look at; what comes after them is only sent."""

Words: TypeAlias = bytes | str | Sequence[bytes | str]
"""A command: a list of words, or one string for the shell."""


@record
class ProcessSpec:
    """A process to run. Times are in seconds.

    Args:
        command: the command.
        shown: the same with secret words replaced.
        workdir: the directory to run it in, absolute.
        environ: its whole environment.
        streams: which of its outputs the master gets.
        stdin: the input of the process; None for nothing.
        use_pty: whether it gets a pseudo-terminal.
        pty_refused: whether it asked for one and cannot have it.
        silence: the time that it may write nothing.
        lifetime: the time that it may run.
        max_lines: the number of lines that it may write.
        signal: the signal that ends it, without SIG.
        patience: if set, TERM is sent first, and the signal after this time.
        kill_leftovers: whether what it leaves behind is killed when it ends by itself.
        logfiles: files to read while it runs, as the master names them.
        shown_environ: the part of the environment that the log lists; None for none of it.
        keep: which of its outputs the script wants to read, up to `KEPT` bytes.
    """

    command: Words
    shown: Words
    workdir: str
    environ: Mapping[str, str]
    streams: frozenset[str] = frozenset({"stdout", "stderr"})
    stdin: bytes | None = None
    use_pty: bool = False
    pty_refused: bool = False
    silence: float | None = None
    lifetime: float | None = None
    max_lines: int | None = None
    signal: str = "KILL"
    patience: float | None = None
    kill_leftovers: bool = False
    logfiles: Value = None
    shown_environ: Mapping[str, str] | None = None
    keep: frozenset[str] = frozenset()


@record
class ProcessEnd:
    """The end of a process.

    Args:
        code: its return code; -1 if a signal ended it.
        by_us: whether it was interrupted, or beyond one of its limits.
        interrupted: whether the master wants the command to end.
        kept: what it wrote to the streams that were kept.
    """

    code: int
    by_us: bool
    interrupted: bool
    kept: Mapping[str, bytes]


def run_process(spec: ProcessSpec, context: CommandContext, *, send_rc: bool) -> Script[ProcessEnd]:
    """Run a process and tell the master about it.

    Args:
        spec: what to run.
        context: the surroundings of the command.
        send_rc: whether its return code is that of the command.

    Raises:
        CommandError: it cannot be run, or cannot be ended.
    """
    logs = watchers(spec.logfiles, spec.workdir, context)
    try:
        yield from MakeDirs(spec.workdir)
    except HostError as error:
        raise CommandError("builtins.OSError", f"[Errno {error.errno}] {error.strerror}: {spec.workdir!r}") from None
    yield from SendText("header", _header(spec, context))
    start = spawn(
        spec.command,
        spec.environ,
        spec.workdir,
        context,
        stdin=spec.stdin or b"",
        use_pty=spec.use_pty,
        kill_leftovers=spec.kill_leftovers,
    )
    for log in logs:
        yield from log.begin()
    started = yield from Now()
    try:
        process = yield from start
    except HostError as error:
        if error.is_shortage:
            text = f"[Errno {error.errno}] {error.strerror}: the slave's host cannot start a process at present"
            raise CommandError("builtins.OSError", text) from None
        program = "cmd.exe" if start.script else start.argv[0].decode(context.encoding, "surrogateescape")
        yield from SendText("stderr", f"{program}: {error.strerror}\n")
        ended = ProcessEnd(1, False, False, {})
    else:
        ended = yield from _Supervision(spec, context, process, logs, send_rc).script()
    for log in logs:
        yield from log.poll(to_the_end=True)
    if send_rc:
        yield from SendItem("rc", ended.code)
    elapsed = (yield from Now()) - started
    yield from SendText("header", f"elapsedTime={elapsed:.6f}\n")
    return ended


class _Phase(Enum):
    RUNNING = auto()
    TERM_SENT = auto()
    KILL_SENT = auto()


class _Supervision:
    """Supervision of a process from its start to its return code.

    A script with a mailbox, because output, the end, a timer, an interruption and a log file can come at any time.
    """

    def __init__(
        self, spec: ProcessSpec, context: CommandContext, process: int, logs: list[LogWatcher], send_rc: bool
    ) -> None:
        self.spec = spec
        self.context = context
        self.process = process
        self.logs = logs
        self.send_rc = send_rc
        self.phase = _Phase.RUNNING
        self.interrupted = False
        self.kept = {stream: bytearray() for stream in spec.keep}
        self.exited: ProcessExited | None = None
        self.lines = 0

    def script(self) -> Script[ProcessEnd]:
        yield from SetTimer("silence", self.spec.silence)
        yield from SetTimer("lifetime", self.spec.lifetime)
        if self.logs:
            yield from SetTimer("logs", POLL_INTERVAL)
        closed = False
        while self.exited is None or not closed:
            event = yield from NextEvent()
            match event:
                case ProcessOutput():
                    yield from self.output(event)
                case ProcessClosed():
                    closed = True
                case ProcessExited():
                    self.exited = event
                    if self.phase is _Phase.TERM_SENT:
                        # The leader obeyed; those of its group that did not are still there.
                        yield from self.kill()
                    elif self.phase is _Phase.KILL_SENT:
                        yield from self.drain()
                    else:
                        yield from SetTimer("held", HELD_NOTICE)
                case Interrupted():
                    self.interrupted = True
                    yield from self.end("command interrupted", None)
                case TimerFired(key="silence") if (yield from OutputUnread()):
                    # The process may be writing, but its output is left unread: the master is the silent one.
                    yield from SetTimer("silence", self.spec.silence)
                case TimerFired(key="silence"):
                    yield from self.end(self.timed_out(self.spec.silence, "without output"), "timeout_without_output")
                case TimerFired(key="lifetime"):
                    yield from self.end(self.timed_out(self.spec.lifetime, "elapsed"), "timeout")
                case TimerFired(key="logs"):
                    yield from self.poll_logs()
                case TimerFired(key="held"):
                    yield from self.tell_holders()
                case TimerFired(key="drain"):
                    yield from Abandon(self.process)
                    closed = True
                case TimerFired():
                    # The timer "kill": the last signal was not enough.
                    if self.phase is _Phase.KILL_SENT:
                        yield from self.give_up()
                    yield from self.kill()
                case EffectDone() | CallDone():
                    # A process begins neither.
                    pass
                case _:
                    assert_never(event)
        if self.exited.signal is not None:
            yield from SendText("header", f"process killed by signal {self.exited.signal}\n")
        for timer in ("silence", "lifetime", "logs", "kill", "held", "drain"):
            yield from SetTimer(timer, None)
        by_us = self.phase is not _Phase.RUNNING
        code = -1 if self.exited.signal is not None or (by_us and self.exited.code == 0) else self.exited.code
        return ProcessEnd(code, by_us, self.interrupted, {stream: bytes(data) for stream, data in self.kept.items()})

    def output(self, event: ProcessOutput) -> Script[None]:
        if event.stream in self.spec.streams:
            yield from SendText(event.stream, event.data)
        if event.stream in self.kept:
            kept = self.kept[event.stream]
            kept += event.data[: KEPT - len(kept)]
        if self.phase is not _Phase.RUNNING:
            return
        yield from SetTimer("silence", self.spec.silence)
        self.lines += event.data.count(b"\n")
        if self.spec.max_lines is not None and self.lines > self.spec.max_lines:
            text = f"command exceeds max lines: {self.lines}/{self.spec.max_lines} written/allowed"
            yield from self.end(text + self.running(), "max_lines_failure")

    def poll_logs(self) -> Script[None]:
        for log in self.logs:
            if (yield from log.poll()) and self.phase is _Phase.RUNNING:
                yield from SetTimer("silence", self.spec.silence)
        yield from SetTimer("logs", POLL_INTERVAL)

    def tell_holders(self) -> Script[None]:
        try:
            found = yield from FindHolders(self.process)
        except HostError:
            found = ()
        names = [f"process {one.pid} ({one.name})" for one in found[:_MOST_HOLDERS]]
        if len(found) > _MOST_HOLDERS:
            names.append(f"{len(found) - _MOST_HOLDERS} more")
        limits = [
            f"{shown_seconds(limit, self.context.dialect)} seconds {how}"
            for limit, how in ((self.spec.silence, "without output"), (self.spec.lifetime, "in all"))
            if limit
        ]
        who, most = " and ".join(names) or "another process", " or ".join(limits)
        text = f"the command has ended, but its output is held open by {who}; waiting for that"
        yield from SendText("header", f"\n{text}, {f'at most {most}' if most else 'without limit'}\n")

    def timed_out(self, seconds: float | None, how: str) -> str:
        return f"command timed out: {shown_seconds(seconds or 0, self.context.dialect)} seconds {how}{self.running()}"

    def running(self) -> str:
        """Only workers repeat the command in the text."""
        if self.context.dialect is Dialect.BYTES:
            return ""
        return f" running {shown_command(self.spec.shown, self.context)}"

    def end(self, why: str, reason: str | None) -> Script[None]:
        """Begin to end the process; a second reason changes nothing."""
        if self.phase is not _Phase.RUNNING:
            return
        for timer in ("silence", "lifetime", "held"):
            yield from SetTimer(timer, None)
        if reason is not None and self.context.dialect is Dialect.TEXT:
            yield from SendItem("failure_reason", reason)
        yield from SendText("header", f"\n{why}, attempting to kill\n")
        if self.spec.patience is None:
            yield from self.kill()
        else:
            self.phase = _Phase.TERM_SENT
            yield from self.signal("TERM")
            yield from SetTimer("kill", self.spec.patience)

    def kill(self) -> Script[None]:
        self.phase = _Phase.KILL_SENT
        yield from self.signal(self.spec.signal)
        if self.exited is None:
            yield from SetTimer("kill", BACKUP_TIMEOUT)
        else:
            yield from self.drain()

    def drain(self) -> Script[None]:
        """Wait a little for the last output: a daemon outside of the group may hold the streams open for ever."""
        yield from SetTimer("kill", None)
        yield from SetTimer("drain", DRAIN_TIMEOUT)

    def signal(self, name: str) -> Script[None]:
        try:
            yield from Signal(self.process, name)
        except HostError as error:
            yield from SendText("header", f"cannot send SIG{name}: {error.strerror}; sending SIGKILL\n")
            yield from self.last_signal()

    def last_signal(self) -> Script[None]:
        """Send the one signal that cannot be caught; if even that is not allowed, the timer goes on."""
        try:
            yield from Signal(self.process, "KILL")
        except HostError:
            return

    def give_up(self) -> Script[None]:
        """Let go of a process that survived, but never without the one signal that cannot be caught."""
        text = f"SIG{self.spec.signal} failed to kill process"
        yield from SendText("header", f"{text}\n")
        if self.spec.signal != "KILL":
            yield from self.last_signal()
        yield from Abandon(self.process)
        yield from SendText("header", "using fake rc=-1\n")
        if self.send_rc:
            yield from SendItem("rc", -1)
        raise CommandError("builtins.RuntimeError", text)


def _environment(spec: ProcessSpec) -> str:
    shown = spec.shown_environ
    return "" if shown is None else environment_text(shown, len(spec.environ) - len(shown))


def _header(spec: ProcessSpec, context: CommandContext) -> str:
    dialect = context.dialect
    return "".join(
        (
            "WARNING: disabling usePTY for this command" if spec.pty_refused else "",
            command_line(spec.shown, context) + "\n",
            f" in dir {spec.workdir}",
            limit_text("timeout", spec.silence, dialect),
            limit_text("maxTime", spec.lifetime, dialect) + "\n",
            f" watching logfiles {shown(spec.logfiles or {}, python2=context.shows_python2)}\n",
            f" argv: {shown_command(spec.shown, context)}\n",
            _environment(spec),
            f" writing {len(spec.stdin)} bytes to stdin\n" if spec.stdin else "",
            f" using PTY: {spec.use_pty}\n",
        )
    )
