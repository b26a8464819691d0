"""One step on a slave: the commands that it takes, what they say, and how it ends.

Rules.

* The step's commands run one after the other; the first that fails, or an interruption, is the last.
* Only `complete` ends a command. What comes after it is answered and forgotten.
* Output goes to the step's spool at once, and is announced once until it is taken. Output of an abandoned step is
  dropped.
* A file of the step is put in its place when the last command has ended well; only then the step is over.
* A slave ends its shell commands in their time; all other limits are the master's, for slaves know none of them, and
  where they do (`OF_SLAVES`), theirs come first. A slave that is late with the end of a shell command by `GRACE` is
  asked to interrupt it, and the step is an EXCEPTION; so is one that says an exit code, and then nothing. A slave that
  does not end an interrupted command is given up. Each word of the step puts that off, and a slave that is not read is
  not late.

Source: `process/buildstep.py` (RemoteCommand, LoggedRemoteCommand) of Buildbot 0.8.4p1, `process/remotecommand.py` of
4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.effects import FileStamp, Script, Stat
from slaveproto.errors import HostError, LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.master.context import Alarm, MasterContext
from slaveproto.master.events import Outcome, StartStep, StepFinished, StepSpoke
from slaveproto.master.happenings import CommandOver, SourceFound, StepOver, TransferOver
from slaveproto.master.info import text_of
from slaveproto.master.output import STDIO, Output, Spool
from slaveproto.master.peer import Peer
from slaveproto.master.results import Result
from slaveproto.master.sizes import MOST_OF_A_MESSAGE, size_of
from slaveproto.master.states import REMOTE_COMMAND, STEP, RemoteCommandEvent, StepEvent, StepState
from slaveproto.master.steps import (
    AnyStep,
    CopyDirectory,
    DownloadFile,
    DownloadString,
    RemoveDirectory,
    Secret,
    Shell,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.tasks import Ask, MasterTask
from slaveproto.master.transfer import Reader, Transfer, Writer
from slaveproto.master.translate import CommandRequest
from slaveproto.updates import LEFT_OUT, plain
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import no_such_method, parameters
from slaveproto.wire.values import Failure, Local, Remote, Value

MOST_ITEMS: Final = 64
"""Kinds of updates that one step may send beyond text and `rc`."""

LARGEST_ITEMS: Final = 16 * 1024 * 1024
"""Bytes that they may have together, roughly."""

ABANDONED: Final = "the program no longer waits for it"
"""The reason of the interrupt of a step that was abandoned, as the slave is told it."""

GRACE: Final = 120.0
"""Seconds that a slave may be late with the end of a command, or with a sign of its own time limits."""

UNENDED: Final = "it did not end an interrupted step"
"""The reason for which a slave is given up."""

PATIENCE: Final = 10.0
"""Seconds that a step beyond its limit has to end, and that the slave's own limit may be late."""

OF_SLAVES: Final = (RemoveDirectory, CopyDirectory)
"""Steps whose limits slaves know, but not all slaves all of them."""


class StepOutput:
    """The output of one step: its spool, and the last update of each kind that has no meaning here.

    Args:
        number: of the step.
        logs: names of the log files that the step asked for.
        shows_rc: whether the exit code is told in the output.
        spool: takes the text.
        context: the surroundings.
    """

    def __init__(
        self, number: int, logs: Mapping[str, object], shows_rc: bool, spool: Spool, context: MasterContext
    ) -> None:
        self.spool = spool
        self.shows_rc = shows_rc
        self.items: dict[str, Value] = {}
        self.wanted = True
        """Whether the program still reads it."""
        self.heard = context.now
        """The time when the slave said something of the step, was told to begin a command, or to interrupt it."""
        self._number = number
        self._logs = logs
        self._context = context
        self._sizes: dict[str, int] = {}

    def say(self, log: str, stream: str, data: bytes) -> None:
        """Add output."""
        if data and self.wanted and self.spool.add(Output(log, stream, data)):
            self._context.announce(StepSpoke(self._number))

    def say_log(self, log: str, data: bytes) -> None:
        """Add what a log file has; a log that was not asked for is dropped, for there is no end of names."""
        if log in self._logs:
            self.say(log, "log", data)

    def keep(self, key: str, value: Value) -> None:
        """Keep the last update of a kind, as long as all of them are not too much."""
        self._sizes.pop(key, None)
        self.items.pop(key, None)
        size = size_of(value, most=LARGEST_ITEMS) + len(key)
        if len(self.items) < MOST_ITEMS and sum(self._sizes.values()) + size <= LARGEST_ITEMS:
            self.items[key] = value
            self._sizes[key] = size


class RemoteCommand:
    """The object that a slave reports to while it runs one command.

    Args:
        step: the number of the step whose command it is.
        connection: the number of the slave's connection.
        request: the command.
        number: of the command, for people.
        output: takes what it says.
        context: the surroundings.
    """

    def __init__(
        self,
        step: int,
        connection: int,
        request: CommandRequest,
        number: str,
        output: StepOutput,
        context: MasterContext,
    ) -> None:
        self.local = Local(f"command {number}")
        self.request = request
        self.number = number
        self.machine = Machine(REMOTE_COMMAND)
        self._step = step
        self._overdue = connection, Alarm.OVERDUE, step
        self._rc: int | None = None
        self._output: StepOutput | None = output
        self._context = context

    def handle(self, connection: Connection, call: Call) -> None:
        """Take `update` or `complete`; what comes after the end is answered and forgotten."""
        match call.method:
            case "update":
                (updates,) = parameters(call, "updates")
                self.machine.fire(RemoteCommandEvent.UPDATE)
                connection.answer(call.id, self._update(updates))
            case "complete":
                (failure,) = parameters(call, "failure")
                if failure is not None and not isinstance(failure, Failure):
                    raise RemoteProtocolError(f"complete takes a failure, not {type(failure).__name__}")
                self.machine.fire(RemoteCommandEvent.COMPLETE)
                connection.answer(call.id)
                self._over(failure)
            case _:
                raise no_such_method(call)

    def starting(self, target: Remote, arguments: tuple[Value, ...]) -> Script[None]:
        """Call `startCommand`; a script."""
        try:
            (started,) = yield from Ask(((target, "startCommand", (self.local, *arguments)),))
        except LocalProtocolError as error:
            # What the step takes cannot be said: too long, say.
            self._over(None, str(error))
            return
        if isinstance(started, Failure):
            self.machine.fire(RemoteCommandEvent.REFUSED)
            self._over(started)
        else:
            self.machine.fire(RemoteCommandEvent.STARTED)

    def _over(self, failure: Failure | None, problem: str = "") -> None:
        output, self._output = self._output, None
        if output is not None:
            self._context.report(CommandOver(self._step, self._rc, failure, problem))

    @property
    def said_rc(self) -> bool:
        """Whether its exit code is known."""
        return self._rc is not None

    def lose(self) -> None:
        """Expect nothing more."""
        self.machine.fire(RemoteCommandEvent.LOSE)
        self._output = None

    def _update(self, updates: Value) -> int:
        if not isinstance(updates, (list, tuple)):
            raise RemoteProtocolError("update takes a list")
        acknowledged = 0
        left = MOST_OF_A_MESSAGE
        for entry in updates:
            match entry:
                # A list or a tuple.
                case [dict() as update, int() as number]:
                    pass
                case _:
                    raise RemoteProtocolError("an update is a pair of a dictionary and a number")
            acknowledged = max(acknowledged, number)
            if self._output is not None:
                self._output.heard = self._context.now
                for key, value in update.items():
                    left -= size_of(key, value, most=LARGEST_ITEMS)
                    if left < 0:
                        raise RemoteProtocolError("an update that says more than fits into a message")
                    self._take(self._output, text_of(key), value)
        return acknowledged

    def _take(self, output: StepOutput, key: str, value: Value) -> None:
        match key, value:
            case (("stdout" | "stderr" | "header"), (bytes() | str())):
                output.say(STDIO, key, _raw(value))
            case "log", ((bytes() | str()) as name, (bytes() | str()) as text):
                output.say_log(text_of(name), _raw(text))
            case "rc", int() if not isinstance(value, bool):
                self._rc = value
                self._context.timers.set(self._overdue, self._context.now + GRACE)
                if output.shows_rc:
                    output.say(STDIO, "header", b"program finished with exit code %d\n" % value)
            case (("stdout" | "stderr" | "header" | "log" | "rc"), _):
                raise RemoteProtocolError(f"an update of {key!r} is {type(value).__name__}")
            case _:
                output.keep(key, value)


@attrs.frozen
class _Due:
    """A limit of a step: when it is reached, in words why, and the result of the step that is interrupted then."""

    when: float
    why: str
    result: Result


class StepRun:
    """One step of a build.

    Args:
        start: what to run, and its number.
        peer: the slave's connection.
        target: the slave's builder.
        context: the surroundings.
    """

    def __init__(self, start: StartStep, peer: Peer, target: Remote, context: MasterContext) -> None:
        self.number = start.step
        self.build = start.build
        self.what: AnyStep = start.what
        logs = start.what.logfiles if isinstance(start.what, Shell) else {}
        self._output = StepOutput(start.step, logs, isinstance(start.what, Shell), Spool(peer.unread), context)
        self._peer = peer
        self._target = target
        self._context = context
        self._started = context.now
        self._machine = Machine(STEP)
        self._requests: list[CommandRequest] = []
        self._command: RemoteCommand | None = None
        self._transfer: Transfer | None = None
        self._judged: tuple[Result, str] = (Result.EXCEPTION, "")
        # The time when its first command was sent.
        self._sent = context.now
        # How it ends because it was interrupted; the first reason counts.
        self._cut: tuple[Result, str] | None = None
        self._rcs: list[int | None] = []

    @property
    def over(self) -> bool:
        """Whether it is over; there may be output that is not taken."""
        return self._machine.state is StepState.OVER

    @property
    def forgotten(self) -> bool:
        """Whether it is over and its output is not wanted any more."""
        return self.over and not self._output.wanted

    @property
    def connection(self) -> int:
        """The number of its slave's connection."""
        return self._peer.number

    @property
    def spool(self) -> Spool:
        """Its output that is not taken."""
        return self._output.spool

    # -- from the beginning

    def begin(self, requests: tuple[CommandRequest, ...], problem: str) -> None:
        """Make ready what it takes on this side, and send the first command.

        Args:
            requests: its commands.
            problem: why the slave cannot run it; empty if it can.
        """
        self._requests = list(requests)
        what = self.what
        if problem:
            self._conclude(Result.EXCEPTION, problem)
        elif not requests:
            self._conclude(Result.SUCCESS, "")
        elif isinstance(what, DownloadFile):
            self._context.start(MasterTask(self._peer.number, self._looking(what.src)))
        else:
            if isinstance(what, (UploadFile, UploadDirectory)):
                self._transfer = Writer(self.number, what, self._peer, self._context)
            elif isinstance(what, DownloadString):
                data = what.data.data if isinstance(what.data, Secret) else what.data
                self._transfer = Reader(self.number, data, len(data), self._peer, self._context)
            self._send()

    def _looking(self, source: str) -> Script[None]:
        try:
            stamp = yield from Stat(source)
        except HostError as error:
            self._context.report(SourceFound(self.number, None, f"{source} on the master: {error.strerror}"))
            return
        if isinstance(stamp, FileStamp):
            self._context.report(SourceFound(self.number, stamp.size, ""))
        else:
            self._context.report(SourceFound(self.number, None, f"{source} on the master: no such file"))

    def source_found(self, found: SourceFound) -> None:
        """Go on once the file to be sent was looked at."""
        if self.over:
            return
        if self._machine.state is StepState.UNWANTED:
            self._conclude(*(self._cut or (Result.CANCELLED, "")))
        elif found.size is None or not isinstance(self.what, DownloadFile):
            self._conclude(Result.FAILURE, found.problem)
        else:
            self._transfer = Reader(self.number, self.what.src, found.size, self._peer, self._context)
            self._send()

    def _send(self) -> None:
        if self._machine.state is StepState.PREPARING:
            self._sent = self._context.now
        self._machine.fire(StepEvent.COMMAND)
        request = self._requests.pop(0)
        for note in request.notes:
            self._output.say(STDIO, "header", f"NOTE: {note}\n".encode())
        arguments = dict(request.arguments)
        if request.object_key is not None and self._transfer is not None:
            # The key in the kind of all the others.
            text = any(isinstance(key, str) for key in arguments)
            arguments[request.object_key if text else request.object_key.encode()] = self._transfer.local
            self._peer.serve(self._transfer.local, self._transfer)
        number = self._context.next_command()
        peer = self._peer.number
        command = self._command = RemoteCommand(self.number, peer, request, number, self._output, self._context)
        self._output.heard = self._context.now
        self._expect(self._due)
        self._peer.serve(command.local, command)
        head = plain((number, request.command), self._peer.dialect.text, "utf-8")
        assert isinstance(head, tuple)
        self._context.start(MasterTask(self._peer.number, command.starting(self._target, (*head, arguments))))

    # -- on the way

    @property
    def _due(self) -> _Due | None:
        """The time when its command is late, None for never."""
        what, now, paused = self.what, self._context.now, self._peer.paused
        heard = max(self._output.heard, self._transfer.heard if self._transfer is not None else 0.0)
        heard = now if paused else heard
        grace = GRACE + (what.sigterm_time or 0.0) if isinstance(what, Shell) else GRACE
        if self._machine.state is StepState.INTERRUPTED:
            given_up = heard + grace + self._peer.slack
            if what.max_time is not None and not isinstance(what, Shell):
                given_up = min(given_up, self._sent + what.max_time + PATIENCE + self._peer.slack)
            return _Due(given_up, UNENDED, Result.RETRY)
        if self._command is not None and self._command.said_rc:
            why = f"the slave told its exit code, and not that it is over, for {GRACE:g} s"
            return _Due(heard + GRACE, why, Result.EXCEPTION)
        dues = []
        if isinstance(what, Shell):
            if what.timeout and what.want_stdout and what.want_stderr:
                why = f"nothing was heard of it for {what.timeout:g} s, and the slave did not end it"
                dues.append(_Due(heard + what.timeout + grace, why, Result.EXCEPTION))
            if what.max_time:
                why = f"it ran for more than {what.max_time:g} s, and the slave did not end it"
                end = self._sent + what.max_time + grace
                dues.append(_Due(max(now + GRACE, end) if paused else end, why, Result.EXCEPTION))
        else:
            of_slave = isinstance(what, OF_SLAVES)
            if what.timeout is not None and not of_slave:
                dues.append(_Due(heard + what.timeout, f"nothing came for {what.timeout:g} s", Result.FAILURE))
            if what.max_time is not None:
                end = self._sent + what.max_time + (PATIENCE if of_slave else 0.0)
                dues.append(_Due(end, f"not over within {what.max_time:g} s", Result.FAILURE))
        return min(dues, key=lambda due: due.when, default=None)

    def _expect(self, due: _Due | None) -> None:
        key = self._peer.number, Alarm.OVERDUE, self.number
        if due is None:
            self._context.timers.cancel(key)
        else:
            self._context.timers.set(key, due.when)

    def look(self) -> None:
        """Interrupt it if its command is late, and give the slave up if it was interrupted; else wait on."""
        due, now = self._due, self._context.now
        if due is None or due.when > now:
            self._expect(due)
        elif self._machine.state is StepState.RUNNING:
            if due.result is Result.FAILURE:
                self._output.say(STDIO, "header", f"\ncommand timed out: {due.why}\n".encode())
                self._give_up_at(now + PATIENCE)
            self._interrupt(due.result, due.why)
        elif self._machine.state is StepState.INTERRUPTED:
            self._peer.end(due.why)

    def _give_up_at(self, due: float) -> None:
        self._context.timers.set((self._peer.number, Alarm.STEP, self.number), due + self._peer.slack)

    def link_back(self) -> None:
        """Count the slave's silence anew: its line was cut."""
        self._output.heard = self._context.now

    def interrupt(self, why: str) -> None:
        """Ask the slave to end it. Only the first time counts, and only while a command runs."""
        self._interrupt(Result.CANCELLED, why or "interrupted")

    def _interrupt(self, result: Result, why: str) -> None:
        before = self._machine.state
        state = self._machine.fire(StepEvent.INTERRUPT)
        if state is StepState.OVER:
            return
        self._cut = self._cut or (result, why)
        if before is StepState.RUNNING and self._command is not None:
            self._output.heard = self._context.now
            self._expect(self._due)
            self._command.machine.fire(RemoteCommandEvent.INTERRUPT)
            arguments = plain((self._command.number, why), self._peer.dialect.text, "utf-8")
            assert isinstance(arguments, tuple)
            self._peer.call(self._target, "interruptCommand", arguments)

    def abandon(self, patience: float) -> None:
        """Drop its output, interrupt it, and give it some time to end. Only the first time counts."""
        first, self._output.wanted = self._output.wanted, False
        self.spool.take()
        if first and not self.over:
            self.interrupt(ABANDONED)
            self._give_up_at(self._context.now + patience)

    def lose(self, why: str) -> None:
        """End with the slave."""
        if self.over:
            return
        if self._command is not None:
            self._command.lose()
        if self._transfer is not None:
            self._transfer.settle(wanted=False)
        self._conclude(*(self._cut or (Result.RETRY, why)))

    # -- to the end

    def command_over(self, report: CommandOver) -> None:
        """Go on once a command completed, or was refused."""
        if self.over:
            return
        if report.problem:
            self._conclude(Result.EXCEPTION, report.problem)
            return
        self._rcs.append(report.rc)
        failure = report.failure
        if failure is not None:
            text = f"\nremote failure: {failure.kind}: {failure.message}\n"
            self._output.say(STDIO, "header", text.encode(errors="replace"))
        if self._requests and failure is None and self._machine.state is StepState.RUNNING:
            self._send()
            return
        result, why = self._judged = self._judge(failure)
        if self._transfer is None:
            self._conclude(result, why)
        else:
            self._machine.fire(StepEvent.SETTLE)
            self._context.timers.cancel((self._peer.number, Alarm.OVERDUE, self.number))
            self._transfer.settle(wanted=result is Result.SUCCESS)

    def transfer_over(self, report: TransferOver) -> None:
        """End once the file is in its place, or removed. A problem of ours is the reason of what the slave tells."""
        # The connection may be lost while a file is put in its place.
        if self.over:
            return
        result, why = self._judged
        problem = report.problem
        for line in report.left_out:
            self._output.say(STDIO, "header", f"left out: {line}\n".encode(errors="backslashreplace"))
        if problem and result is Result.SUCCESS:
            self._output.say(STDIO, "header", f"{problem}\n".encode(errors="replace"))
            result, why = Result.FAILURE, problem
        elif result is Result.SUCCESS and (report.left_out or LEFT_OUT in self._output.items):
            result, why = Result.WARNINGS, "the directory is not whole"
        elif report.ours and result in (Result.FAILURE, Result.EXCEPTION):
            why = problem
        self._conclude(result, why)

    @property
    def _rc(self) -> int | None:
        """The exit code: of several commands the last one's that went wrong, None if one of them had none."""
        if not self._rcs or None in self._rcs:
            return None
        return next((rc for rc in reversed(self._rcs) if rc), 0)

    def _judge(self, failure: Failure | None) -> tuple[Result, str]:
        if self._machine.state is StepState.INTERRUPTED:
            return self._cut or (Result.CANCELLED, "")
        if failure is not None:
            return Result.EXCEPTION, f"{failure.kind}: {failure.message}"
        rc, what = self._rc, self.what
        if isinstance(what, Shell):
            if rc in what.success_rc:
                return Result.SUCCESS, ""
            if rc in what.warnings_rc:
                return Result.WARNINGS, f"exit code {rc}"
        elif rc == 0 or (rc is None and self._transfer is not None):
            # Not every slave says so when a transfer went well.
            return Result.SUCCESS, ""
        return Result.FAILURE, "no exit code" if rc is None else f"exit code {rc}"

    def _conclude(self, result: Result, why: str) -> None:
        self._machine.fire(StepEvent.END)
        self._command = None
        for alarm in (Alarm.STEP, Alarm.OVERDUE):
            self._context.timers.cancel((self._peer.number, alarm, self.number))
        self._context.report(StepOver(self.build, self.number))
        outcome = Outcome(result, self._rc, why, self._output.items, self._context.now - self._started)
        self._context.announce(StepFinished(self.number, outcome))


def _raw(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
