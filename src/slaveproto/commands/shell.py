"""The `shell` command: one process, its output, its limits, its end.

Source: manual page, section "Building"; `runprocess.py` and `commands/shell.py` of buildslave 0.8.4, 0.8.14 and
buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Final, assert_never

import attrs

from slaveproto.commands.arguments import count, seconds
from slaveproto.commands.context import Context
from slaveproto.commands.environ import merged_environ
from slaveproto.commands.headers import command_line, environment_text, limit_text, shown, shown_command, shown_seconds
from slaveproto.commands.logfiles import POLL_INTERVAL, LogWatcher, watchers
from slaveproto.commands.programs import spawn
from slaveproto.effects import (
    Abandon,
    CallDone,
    EffectDone,
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
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value

BACKUP_TIMEOUT: Final = 5.0
"""Seconds that a process has to be gone after the last signal."""

DRAIN_TIMEOUT: Final = 1.0
"""Seconds that output may still come after a process that we killed is gone."""


@attrs.frozen
class ShellSpec:
    """The arguments of one run, checked. Times are in seconds.

    Args:
        command: what to run: a list of words, or one string for the shell.
        shown: the same with secret words replaced.
        stdin: what the process reads; None for nothing.
        use_pty: whether it gets a pseudo-terminal.
        pty_refused: whether it asked for one and cannot have it.
        silence: how long it may write nothing.
        lifetime: how long it may run.
        max_lines: how many lines it may write.
        signal: the signal that ends it, without SIG.
        patience: if set, TERM is tried first, and for so long.
    """

    command: bytes | str | Sequence[bytes | str]
    shown: bytes | str | Sequence[bytes | str]
    workdir: str
    environ: Mapping[str, str]
    streams: frozenset[str]
    stdin: bytes | None
    use_pty: bool
    pty_refused: bool
    silence: float | None
    lifetime: float | None
    max_lines: int | None
    signal: str
    patience: float | None
    logfiles: Value
    show_environ: bool


def shell(arguments: Mapping[str, Value], context: Context) -> Script[None]:
    """Return the script of one run.

    Raises:
        CommandError: an argument is not of the type that it should be.
    """
    get = arguments.get
    command, hidden = _command(arguments["command"], context)
    workdir = context.path(arguments["workdir"])
    stdin = get("initial_stdin")
    asked = get("usePTY")
    left_to_us = asked is None or asked in ("slave-config", b"slave-config")
    wants_pty = context.use_pty if left_to_us else bool(asked)
    # To be closed, standard input has to be a pipe.
    impossible = stdin is not None or not context.posix
    spec = ShellSpec(
        command=command,
        shown=hidden,
        workdir=workdir,
        environ={},
        streams=frozenset(name for name in ("stdout", "stderr") if get(f"want_{name}", True)),
        stdin=None if stdin is None else context.raw("initial_stdin", stdin),
        use_pty=wants_pty and not impossible,
        pty_refused=wants_pty and impossible and not left_to_us,
        silence=seconds("timeout", get("timeout")),
        lifetime=seconds("maxTime", get("maxTime")),
        max_lines=count("max_lines", get("max_lines")),
        signal=_signal_name(get("interruptSignal"), context),
        patience=seconds("sigtermTime", get("sigtermTime")),
        logfiles=get("logfiles"),
        show_environ=bool(get("logEnviron", True)),
    )
    return _run(spec, get("env"), context)


def _run(spec: ShellSpec, env: Value, context: Context) -> Script[None]:
    # From here on the command has been started as far as the master is concerned: what goes wrong ends it.
    environ = {**merged_environ(env or None, context), "PWD": spec.workdir}
    spec = attrs.evolve(spec, environ=environ)
    logs = watchers(spec.logfiles, spec.workdir, context)
    try:
        yield from MakeDirs(spec.workdir)
    except HostError as error:
        raise CommandError("builtins.OSError", f"[Errno {error.errno}] {error.strerror}: {spec.workdir!r}") from None
    yield from SendText("header", _header(spec, context))
    start = spawn(spec.command, environ, spec.workdir, context, stdin=spec.stdin or b"", use_pty=spec.use_pty)
    for log in logs:
        yield from log.begin()
    started = yield from Now()
    try:
        process = yield from start
    except HostError as error:
        program = "cmd.exe" if start.script else start.argv[0].decode(context.encoding, "surrogateescape")
        yield from SendText("stderr", f"{program}: {error.strerror}\n")
        code = 1
    else:
        code = yield from _Supervision(spec, context, process, logs).script()
    for log in logs:
        yield from log.poll(to_the_end=True)
    yield from SendItem("rc", code)
    elapsed = (yield from Now()) - started
    yield from SendText("header", f"elapsedTime={elapsed:.6f}\n")


class _Phase(Enum):
    RUNNING = auto()
    TERM_SENT = auto()
    KILL_SENT = auto()


class _Supervision:
    """From the start of the process to its return code: a mailbox script, for five things can happen at any time."""

    def __init__(self, spec: ShellSpec, context: Context, process: int, logs: list[LogWatcher]) -> None:
        self.spec = spec
        self.context = context
        self.process = process
        self.logs = logs
        self.phase = _Phase.RUNNING
        self.exited: ProcessExited | None = None
        self.lines = 0

    def script(self) -> Script[int]:
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
                case Interrupted():
                    yield from self.end("command interrupted", None)
                case TimerFired(key="silence") if (yield from OutputUnread()):
                    # It may well talk, and we do not listen: the master is the silent one.
                    yield from SetTimer("silence", self.spec.silence)
                case TimerFired(key="silence"):
                    yield from self.end(self.timed_out(self.spec.silence, "without output"), "timeout_without_output")
                case TimerFired(key="lifetime"):
                    yield from self.end(self.timed_out(self.spec.lifetime, "elapsed"), "timeout")
                case TimerFired(key="logs"):
                    yield from self.poll_logs()
                case TimerFired(key="drain"):
                    yield from Abandon(self.process)
                    closed = True
                case TimerFired():
                    # The timer "kill": the last signal was not enough.
                    if self.phase is _Phase.KILL_SENT:
                        yield from self.give_up()
                    yield from self.kill()
                case EffectDone() | CallDone():
                    # It begins neither.
                    pass
                case _:
                    assert_never(event)
        if self.exited.signal is not None:
            yield from SendText("header", f"process killed by signal {self.exited.signal}\n")
        died_of_us = self.phase is not _Phase.RUNNING and self.exited.code == 0
        return -1 if self.exited.signal is not None or died_of_us else self.exited.code

    def output(self, event: ProcessOutput) -> Script[None]:
        if event.stream in self.spec.streams:
            yield from SendText(event.stream, event.data)
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

    def timed_out(self, seconds: float | None, how: str) -> str:
        return f"command timed out: {shown_seconds(seconds or 0, self.context.dialect)} seconds {how}{self.running()}"

    def running(self) -> str:
        """Only workers repeat the command in the text."""
        if self.context.dialect is Dialect.BYTES:
            return ""
        return f" running {shown_command(self.spec.shown, self.context)}"

    def end(self, why: str, reason: str | None) -> Script[None]:
        """Begin to end the process; what comes second changes nothing."""
        if self.phase is not _Phase.RUNNING:
            return
        yield from SetTimer("silence", None)
        yield from SetTimer("lifetime", None)
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
        """The process is gone, but a daemon that escaped its group may hold the streams open for ever."""
        yield from SetTimer("kill", None)
        yield from SetTimer("drain", DRAIN_TIMEOUT)

    def signal(self, name: str) -> Script[None]:
        try:
            yield from Signal(self.process, name)
        except HostError as error:
            yield from SendText("header", f"cannot send SIG{name}: {error.strerror}; sending SIGKILL\n")
            yield from self.last_signal()

    def last_signal(self) -> Script[None]:
        """Send the one signal that cannot be caught. Where even that is not allowed, time will tell."""
        try:
            yield from Signal(self.process, "KILL")
        except HostError:
            return

    def give_up(self) -> Script[None]:
        """The process survived. Let it go, but never without the one signal that cannot be caught."""
        text = f"SIG{self.spec.signal} failed to kill process"
        yield from SendText("header", f"{text}\n")
        if self.spec.signal != "KILL":
            yield from self.last_signal()
        yield from Abandon(self.process)
        yield from SendText("header", "using fake rc=-1\n")
        yield from SendItem("rc", -1)
        raise CommandError("builtins.RuntimeError", text)


def _header(spec: ShellSpec, context: Context) -> str:
    dialect = context.dialect
    return "".join(
        (
            "WARNING: disabling usePTY for this command" if spec.pty_refused else "",
            command_line(spec.shown, context) + "\n",
            f" in dir {spec.workdir}",
            limit_text("timeout", spec.silence, dialect),
            limit_text("maxTime", spec.lifetime, dialect) + "\n",
            f" watching logfiles {shown(spec.logfiles or {}, dialect)}\n",
            f" argv: {shown_command(spec.shown, context)}\n",
            environment_text(spec.environ) if spec.show_environ else "",
            f" writing {len(spec.stdin)} bytes to stdin\n" if spec.stdin else "",
            f" using PTY: {spec.use_pty}\n",
        )
    )


_Words = bytes | str | Sequence[bytes | str]


def _command(value: Value, context: Context) -> tuple[_Words, _Words]:
    """Return the command, and the same as it may be shown."""
    if isinstance(value, (bytes, str)):
        return value, value
    if not isinstance(value, (list, tuple)):
        raise CommandError("builtins.TypeError", f"command should be a list or text, not {type(value).__name__}")
    real: list[bytes | str] = []
    public: list[bytes | str] = []
    for word in value:
        match word:
            case (("obfuscated" | b"obfuscated"), (bytes() | str()) as secret, (bytes() | str()) as stand_in):
                real.append(secret)
                public.append(stand_in)
            case bytes() | str():
                real.append(word)
                public.append(word)
            case int() | float():
                real.append(str(word).encode())
                public.append(str(word).encode())
            case _:
                raise CommandError("builtins.TypeError", f"command should hold texts, not a {type(word).__name__}")
    return real, public


def _signal_name(value: Value, context: Context) -> str:
    if value is None:
        return "KILL"
    name = context.text("interruptSignal", value).upper().removeprefix("SIG")
    if not name.isalnum():
        raise CommandError("builtins.ValueError", f"there is no signal {name!r}")
    return name
