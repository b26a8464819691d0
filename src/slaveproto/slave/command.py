"""A command that runs: its script, its updates and its calls, from `startCommand` to `complete`.

Rules. `complete` is sent in one place, and the state changes with it: there cannot be two, and nothing follows it. A
command that was dropped runs on to the end of its script, but the master hears no more of it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from slaveproto.effects import BeginCall, CallDone, Effect, Heard, Script, SendItem, SendText
from slaveproto.errors import LocalProtocolError
from slaveproto.machine import Machine
from slaveproto.scripts import Answers, Task, failure_of
from slaveproto.slave.events import CommandFinished, SlaveEvent
from slaveproto.slave.reports import CommandEnded, Report
from slaveproto.slave.states import COMMAND, CommandEvent, CommandState
from slaveproto.updates import UpdateBuffer
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Answered, Failed
from slaveproto.wire.values import Remote


class RunningCommand(Task):
    """A command of one builder and the stream of its updates.

    Args:
        number: the number that no other command of the session has.
        builder: the builder's name.
        command: the command's name.
        command_id: the master's number of it, for people only.
        script: what it does.
        connection: where the master listens.
        listener: the master's object that gets the updates.
        others: further objects of the master that the script may call.
        updates: collects what is to be sent.
        calls: where it is found by the connection's numbers of the calls that it waits for.
        announcements: where people are told of its end.
        reports: where the session is told of its end.
        now: the time of its start.
    """

    def __init__(
        self,
        *,
        number: int,
        builder: str,
        command: str,
        command_id: str,
        script: Script[None],
        connection: Connection,
        listener: Remote,
        others: list[Remote],
        updates: UpdateBuffer,
        calls: dict[int, RunningCommand],
        announcements: deque[SlaveEvent],
        reports: deque[Report],
        now: float,
    ) -> None:
        super().__init__(script)
        self.rc: int | None = None
        self.number = number
        self.builder = builder
        self.command = command
        self.command_id = command_id
        self._connection = connection
        self._listener = listener
        self._others = others
        self._updates = updates
        self._announcements = announcements
        self._reports = reports
        self._started = now
        self._machine = Machine(COMMAND)
        self._last_call = 0
        # The script's numbers of its calls, by the connection's.
        self._own_calls: dict[int, int] = {}
        self._all_calls = calls

    @property
    def state(self) -> CommandState:
        """The state of the command."""
        return self._machine.state

    @property
    def audible(self) -> bool:
        """Whether the master still listens."""
        # A command whose state has rows has not ended.
        return bool(COMMAND.moves[self._machine.state])

    @property
    def references(self) -> list[Remote]:
        """The master's objects that the command holds until its end."""
        return [self._listener, *self._others] if self.audible else []

    @property
    def deadline(self) -> float | None:
        """The time at which its script or its updates are due."""
        script, updates = super().deadline, self._updates.deadline
        if updates is None or not self.audible:
            return script
        return updates if script is None or updates < script else script

    @property
    def unsent_bytes(self) -> int:
        """Bytes of updates that are not sent yet, roughly."""
        return self._updates.size

    def look(self, now: float) -> Effect[Any] | None:
        """Resume the script if something is there for it, and send updates that are due."""
        effect = super().look(now)
        due = self._updates.deadline
        if due is not None and due <= now and self.audible:
            self._send_updates(now)
        return effect

    def interrupt(self) -> None:
        """Note that the master asked for its end; the script must be told, too."""
        self._machine.fire(CommandEvent.INTERRUPT)

    def drop(self) -> None:
        """Cut it off from the master, which hears no more of it; the script must be told, too."""
        held = self.references
        self._machine.fire(CommandEvent.DROP)
        self._updates.discard()
        self._release(held)
        for call, number in self._own_calls.items():
            del self._all_calls[call]
            self.put(CallDone(number, None, lost=True))
        self._own_calls.clear()

    def outcome_of(self, event: Answered | Failed) -> CallDone:
        """Return what the script is to be told of the answer to one of its calls."""
        number = self._own_calls.pop(event.id)
        del self._all_calls[event.id]
        if isinstance(event, Failed):
            return CallDone(number, None, event.failure)
        for remote in event.remotes:
            self._connection.release(remote)
        return CallDone(number, event.value)

    def finished(self, now: float) -> None:
        """Send what is left and then `complete`, if the master still listens."""
        dropped = not self.audible
        if not dropped:
            self._updates.end_streams(now)
            if self._machine.state is CommandState.RUNNING:
                self._updates.add_item("elapsed", now - self._started, now)
            self._send_updates(now)
            held = self.references
            self._machine.fire(CommandEvent.COMPLETE)
            self._connection.call(self._listener, "complete", (self.failure,))
            self._release(held)
            for call in self._own_calls:
                del self._all_calls[call]
        failure = None if self.failure is None else f"{self.failure.kind}: {self.failure.message}"
        self._announcements.append(
            CommandFinished(self.builder, self.command, self.command_id, self.rc, failure, dropped)
        )
        self._reports.append(CommandEnded(self.builder, self.number))

    def _send_updates(self, now: float) -> None:
        updates = self._updates.take(now)
        if updates:
            self._machine.fire(CommandEvent.UPDATE)
            try:
                self._connection.call(self._listener, "update", ([[update, 0] for update in updates],))
            except LocalProtocolError as error:
                # Scripts may be a user's own: what one sends may be anything.
                self.failure = self.failure or failure_of("builtins.ValueError", f"an update cannot be sent: {error}")

    def _release(self, held: list[Remote]) -> None:
        for remote in held:
            if self._connection.owns(remote):
                self._connection.release(remote)

    # -- the answers to its script

    def _send_text(self, effect: SendText, now: float) -> None:
        self._updates.add_text(effect.stream, effect.text, effect.log, now)

    def _send_item(self, effect: SendItem, now: float) -> None:
        if effect.key == "rc" and isinstance(effect.value, int):
            self.rc = effect.value
        self._updates.add_item(effect.key, effect.value, now)

    def _is_heard(self, effect: Heard, now: float) -> bool:
        return self.audible

    def _begin_call(self, effect: BeginCall, now: float) -> int:
        self._last_call += 1
        if self.audible:
            call = self._connection.call(effect.target, effect.method, effect.args)
            self._own_calls[call] = self._last_call
            self._all_calls[call] = self
        else:
            self.put(CallDone(self._last_call, None, lost=True))
        return self._last_call

    answers: ClassVar[Answers] = {
        **Task.answers,
        SendText: _send_text,
        SendItem: _send_item,
        Heard: _is_heard,
        BeginCall: _begin_call,
    }
