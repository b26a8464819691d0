"""The surroundings of one master session, shared by all of its parts."""

from __future__ import annotations

from collections import deque
from enum import auto
from typing import Any, TypeAlias

from slaveproto.effects import Effect, HostEffect, Request
from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Symbol
from slaveproto.master.config import MasterConfig
from slaveproto.master.events import MasterEvent
from slaveproto.master.happenings import Asked, Happening, PeerBroke
from slaveproto.master.interning import Interner
from slaveproto.master.tasks import Answer, Ask, MasterTask
from slaveproto.timers import Timers


class Alarm(Symbol):
    """Deadlines of a connection."""

    LOGIN = auto()
    HANDSHAKE = auto()
    ANSWER = auto()
    KEEPALIVE = auto()
    DEPARTURE = auto()
    STEP = auto()
    OVERDUE = auto()
    STALLED = auto()
    UNTAKEN = auto()


Timer: TypeAlias = tuple[int, Alarm, int]
"""A connection, what of it is due, and the number of the call or step that it is about; else 0."""


class MasterContext:
    """The clock, the queues and the registries of one master session.

    Args:
        config: the present configuration.
    """

    def __init__(self, config: MasterConfig) -> None:
        self.config = config
        self.now = 0.0
        """The time of the present input."""
        self.events: deque[MasterEvent] = deque()
        self.happenings: deque[Happening] = deque()
        """Reports of children to the session."""
        self.timers: Timers[Timer] = Timers()
        self.interner = Interner()
        self.touched: dict[int, None] = {}
        """Connections that may have something to send."""
        self._commands = 0
        self._last_request = 0
        self._requests: list[Request] = []
        self._waiting: dict[int, MasterTask | None] = {}

    @property
    def waiting(self) -> list[int]:
        """The requests that are not replied to."""
        return list(self._waiting)

    def announce(self, event: MasterEvent) -> None:
        """Announce an event to the program."""
        self.events.append(event)

    def report(self, happening: Happening) -> None:
        """Report to the session."""
        self.happenings.append(happening)

    def next_command(self) -> str:
        """Return the number of a new command as slaves get it; it is for people."""
        self._commands += 1
        return str(self._commands)

    # -- requests

    def request(self, effect: HostEffect) -> None:
        """Ask the host for an effect that is never replied to."""
        self._last_request += 1
        self._requests.append(Request(self._last_request, effect))

    def have_done(self, effect: HostEffect) -> None:
        """Ask the host for an effect whose reply does not matter."""
        self.request(effect)
        self._waiting[self._last_request] = None

    def take_requests(self) -> list[Request]:
        """Return the effects to start now."""
        requests, self._requests = self._requests, []
        return requests

    def reply(self, request: int, result: object) -> None:
        """Take the reply to an effect, or the `HostError` that it failed with.

        Raises:
            LocalProtocolError: there is no such request, or it was replied to.
        """
        if request not in self._waiting:
            raise LocalProtocolError(f"there is no request {request} to report on")
        task = self._waiting.pop(request)
        if task is None:
            return
        self._resume(task, result)

    # -- scripts

    def start(self, task: MasterTask) -> None:
        """Start a task."""
        self._resume(task, None)

    def answer(self, task: MasterTask, answers: tuple[Answer, ...] | LocalProtocolError) -> None:
        """Give a task the answers to its calls, or the error for which they were not made."""
        self._resume(task, answers)

    def tell(self, task: MasterTask, event: object) -> None:
        """Give an event to a task."""
        try:
            effect = task.tell(event, self.now)
        except RemoteProtocolError as error:
            self.report(PeerBroke(task.connection, str(error)))
        else:
            self._take(task, effect)

    def _resume(self, task: MasterTask, value: object) -> None:
        try:
            effect = task.throw(value, self.now) if isinstance(value, Exception) else task.reply(value, self.now)
        except RemoteProtocolError as error:
            self.report(PeerBroke(task.connection, str(error)))
        else:
            self._take(task, effect)

    def _take(self, task: MasterTask, effect: Effect[Any] | None) -> None:
        if isinstance(effect, Ask):
            self.report(Asked(task, effect))
        elif effect is not None:
            assert isinstance(effect, HostEffect)
            self.request(effect)
            self._waiting[self._last_request] = task
