"""One step on a slave: the commands that it takes, what they say, and how it ends.

Source: `process/buildstep.py` (RemoteCommand, LoggedRemoteCommand) of Buildbot 0.8.4p1, `process/remotecommand.py` of
4.3.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from slaveproto.effects import FileStamp, Stat
from slaveproto.errors import CommandError, HostError, LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.master.context import MasterContext
from slaveproto.master.events import Outcome, StartStep, StepFinished, StepSpoke
from slaveproto.master.info import text_of
from slaveproto.master.output import STDIO, Output, Spool, UnreadBytes
from slaveproto.master.results import Result
from slaveproto.master.sizes import MOST_OF_A_MESSAGE, size_of
from slaveproto.master.states import REMOTE_COMMAND, RemoteCommandEvent
from slaveproto.master.steps import AnyStep, DownloadFile, DownloadString, Shell, UploadDirectory, UploadFile
from slaveproto.master.transfer import Reader, TransferObject, Writer
from slaveproto.master.translate import CommandRequest
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import Servant, no_such_method, parameters
from slaveproto.wire.values import Failure, Local, Value

MOST_ITEMS: Final = 64
"""Kinds of updates that one step may send beyond text and `rc`."""

LARGEST_ITEMS: Final = 16 * 1024 * 1024
"""Bytes that they may have together, roughly."""


ABANDONED: Final = "the program no longer waits for it"
"""The reason of the interrupt of a step that was abandoned, as the slave is told it."""


class CommandLine(Protocol):
    """The way to the slave that runs a step's commands."""

    def start_command(self, command: RemoteCommand, arguments: dict[Value, Value], now: float) -> None:
        """Call `startCommand`; LocalProtocolError if the arguments cannot be sent."""

    def set_patience(self, step: StepRun, until: float) -> None:
        """End the connection if a step is not over by then."""

    def interrupt_command(self, command: RemoteCommand, why: str, now: float) -> None:
        """Call `interruptCommand`."""

    def serve(self, local: Local, servant: Servant) -> None:
        """Let the slave call an object."""

    def touch(self) -> None:
        """There may be something to send."""

    def step_over(self, step: StepRun, now: float) -> None:
        """The step is at its end, and its command with it."""


class RemoteCommand:
    """What a slave reports to while it runs one command.

    Args:
        step: whose command it is.
        order: what it is.
        number: of the command, for people.
    """

    def __init__(self, step: StepRun, order: CommandRequest, number: str) -> None:
        self.local = Local(f"command {number}")
        self.order = order
        self.number = number
        self.machine = Machine(REMOTE_COMMAND)
        self.rc: int | None = None
        self._step: StepRun | None = step

    def handle(self, connection: Connection, call: Call, now: float) -> None:
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
                self._over(failure, now)
            case _:
                raise no_such_method(call)

    def started(self, outcome: Value | Failure, now: float) -> None:
        """The answer to `startCommand`."""
        if isinstance(outcome, Failure):
            self.machine.fire(RemoteCommandEvent.REFUSED)
            self._over(outcome, now)
        else:
            self.machine.fire(RemoteCommandEvent.STARTED)

    def _over(self, failure: Failure | None, now: float) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.command_over(self, failure, now)

    def lose(self) -> None:
        """Nothing more will come."""
        self.machine.fire(RemoteCommandEvent.LOSE)
        self._step = None

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
            if self._step is not None:
                for key, value in update.items():
                    left -= size_of(key, value, most=LARGEST_ITEMS)
                    if left < 0:
                        raise RemoteProtocolError("an update that says more than fits into a message")
                    self._take(self._step, text_of(key), value)
        return acknowledged

    def _take(self, step: StepRun, key: str, value: Value) -> None:
        match key, value:
            case (("stdout" | "stderr" | "header"), (bytes() | str())):
                step.say(STDIO, key, _raw(value))
            case "log", ((bytes() | str()) as name, (bytes() | str()) as text):
                # What nobody asked for is dropped: there is no end of names.
                if isinstance(step.what, Shell) and text_of(name) in step.what.logfiles:
                    step.say(text_of(name), "log", _raw(text))
            case "rc", int() if not isinstance(value, bool):
                self.rc = value
                if isinstance(step.what, Shell):
                    step.say(STDIO, "header", b"program finished with exit code %d\n" % value)
            case (("stdout" | "stderr" | "header" | "log" | "rc"), _):
                raise RemoteProtocolError(f"an update of {key!r} is {type(value).__name__}")
            case _:
                step.keep(key, value)


class StepRun:
    """One step of a build.

    Args:
        start: what to run, and its number.
        line: the way to the slave.
        realm: the surroundings.
        unread: counts what the connection brought.
        now: the time.
    """

    def __init__(
        self, start: StartStep, line: CommandLine, realm: MasterContext, unread: UnreadBytes, now: float
    ) -> None:
        self.number = start.step
        self.build = start.build
        self.what: AnyStep = start.what
        self.spool = Spool(unread)
        self.over = False
        self._line = line
        self._realm = realm
        self._unread = unread
        self._started = now
        self._orders: list[CommandRequest] = []
        self._command: RemoteCommand | None = None
        self._transfer: TransferObject | None = None
        self._interrupted = ""
        self._abandoned = False
        self._rcs: list[int | None] = []
        self._items: dict[str, Value] = {}
        self._weights: dict[str, int] = {}

    # -- from the beginning

    def begin(self, orders: Callable[[], tuple[CommandRequest, ...]], now: float) -> None:
        """Make ready what it takes on this side, and send the first command."""
        self._realm.steps[self.number] = self
        try:
            self._orders = list(orders())
        except CommandError as error:
            self._conclude(Result.EXCEPTION, str(error), now)
            return
        if not self._orders:
            self._conclude(Result.SUCCESS, "", now)
        elif isinstance(self.what, DownloadFile):
            source = self.what.src

            def found(stamp: object, now: float) -> None:
                if not self.over:
                    self._source_found(source, stamp, now)

            self._realm.ask(Stat(source), found)
        else:
            if isinstance(self.what, (UploadFile, UploadDirectory)):
                self._transfer = Writer(self.what, self._realm, self._unread, self._line.touch)
            elif isinstance(self.what, DownloadString):
                self._transfer = Reader(self.what.data, len(self.what.data), self._realm, self._line.touch)
            self._send(now)

    def _source_found(self, source: str, stamp: object, now: float) -> None:
        if self._interrupted:
            self._conclude(Result.CANCELLED, self._interrupted, now)
        elif isinstance(stamp, FileStamp):
            self._transfer = Reader(source, stamp.size, self._realm, self._line.touch)
            self._send(now)
        else:
            why = stamp.strerror if isinstance(stamp, HostError) else "no such file"
            self._conclude(Result.FAILURE, f"{source} on the master: {why}", now)

    def _send(self, now: float) -> None:
        order = self._orders.pop(0)
        for note in order.notes:
            self.say(STDIO, "header", f"NOTE: {note}\n".encode())
        arguments = dict(order.arguments)
        if order.object_key is not None and self._transfer is not None:
            # The key in the kind of all the others.
            text = any(isinstance(key, str) for key in arguments)
            arguments[order.object_key if text else order.object_key.encode()] = self._transfer.local
        command = RemoteCommand(self, order, self._realm.next_command())
        try:
            self._line.start_command(command, arguments, now)
        except LocalProtocolError as error:
            # What it takes cannot be said: too long, say.
            self._conclude(Result.EXCEPTION, str(error), now)
            return
        self._command = command
        self._line.serve(command.local, command)
        if order.object_key is not None and self._transfer is not None:
            self._line.serve(self._transfer.local, self._transfer)

    # -- on the way

    def say(self, log: str, stream: str, data: bytes) -> None:
        """Add output."""
        if data and not self._abandoned and self.spool.add(Output(log, stream, data)):
            self._realm.announce(StepSpoke(self.number))

    def keep(self, key: str, value: Value) -> None:
        """Keep the last update of a kind that has no meaning here, as long as all of them are not too much."""
        self._weights.pop(key, None)
        self._items.pop(key, None)
        weight = size_of(value, most=LARGEST_ITEMS) + len(key)
        if len(self._items) < MOST_ITEMS and sum(self._weights.values()) + weight <= LARGEST_ITEMS:
            self._items[key] = value
            self._weights[key] = weight

    def interrupt(self, why: str, now: float) -> None:
        """Ask the slave to end it. Only the first time counts, and only while a command runs."""
        first, self._interrupted = not self._interrupted, self._interrupted or why or "interrupted"
        command = self._command
        if command is not None and command.machine.can(RemoteCommandEvent.INTERRUPT) and first:
            command.machine.fire(RemoteCommandEvent.INTERRUPT)
            self._line.interrupt_command(command, why, now)

    def abandon(self, patience: float, now: float) -> None:
        """Drop its output, interrupt it, and give it some time to end. Only the first time counts."""
        self.spool.take()
        if not self.over and not self._abandoned:
            self._abandoned = True
            self.interrupt(ABANDONED, now)
            self._line.set_patience(self, now + patience)

    def lose(self, why: str, now: float) -> None:
        """The slave is gone."""
        if self._command is not None and self._command.machine.can(RemoteCommandEvent.LOSE):
            self._command.lose()
        if self._transfer is not None:
            self._transfer.settle(False, lambda *_: None, now)
        result = Result.CANCELLED if self._interrupted else Result.RETRY
        self._conclude(result, self._interrupted or why, now)

    # -- to the end

    def command_over(self, command: RemoteCommand, failure: Failure | None, now: float) -> None:
        """A command completed, or was refused."""
        self._rcs.append(command.rc)
        if failure is not None:
            self.say(STDIO, "header", f"\nremote failure: {failure.kind}: {failure.message}\n".encode(errors="replace"))
        if self._orders and failure is None and not self._interrupted:
            self._send(now)
            return
        result, why = self._judge(failure)
        if self._transfer is None:
            self._conclude(result, why, now)
            return

        def settled(problem: str, now: float) -> None:
            # The connection may be lost while a file is put in its place.
            if not self.over:
                if problem and result is Result.SUCCESS:
                    self.say(STDIO, "header", f"{problem}\n".encode(errors="replace"))
                    self._conclude(Result.FAILURE, problem, now)
                else:
                    self._conclude(result, why, now)

        self._transfer.settle(result is Result.SUCCESS, settled, now)

    @property
    def _rc(self) -> int | None:
        """Of several commands: the last one's that went wrong; none if one of them had none."""
        if not self._rcs or None in self._rcs:
            return None
        return next((rc for rc in reversed(self._rcs) if rc), 0)

    def _judge(self, failure: Failure | None) -> tuple[Result, str]:
        if self._interrupted:
            return Result.CANCELLED, self._interrupted
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

    def _conclude(self, result: Result, why: str, now: float) -> None:
        self.over = True
        self._command = None
        if self._abandoned:
            # Its output is not asked for any more.
            del self._realm.steps[self.number]
        self._line.step_over(self, now)
        outcome = Outcome(result, self._rc, why, self._items, now - self._started)
        self._realm.announce(StepFinished(self.number, outcome))


def _raw(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
