"""What every part of a master session shares: where it says what happened, and where it asks the host for something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

import attrs

from slaveproto.effects import HostEffect, Request
from slaveproto.errors import HostError, LocalProtocolError
from slaveproto.master.events import MasterEvent, StartStep
from slaveproto.master.interning import Interner
from slaveproto.master.output import Spool
from slaveproto.timers import Timers


@attrs.frozen
class Abandoned:
    """The timer of a step that was abandoned and has to end in time."""

    step: int


Timer: TypeAlias = "tuple[int, str | int | Abandoned]"
"""A connection, and what of it is due: a name, the number of a call that waits for its answer, or a step."""

Then: TypeAlias = Callable[[object, float], None]
"""What goes on with the reply to an effect, or with the `HostError` that it failed with."""


class Builder(Protocol):
    """The builder that a build has."""

    def start_step(self, start: StartStep, now: float) -> None:
        """Run a step; raises LocalProtocolError if that is not possible."""

    def end_build(self, now: float) -> None:
        """The build is over; raises LocalProtocolError if its step is not."""


class Step(Protocol):
    """A step whose output can be asked for."""

    spool: Spool
    over: bool

    def interrupt(self, why: str, now: float) -> None:
        """Ask the slave to end it."""

    def abandon(self, patience: float, now: float) -> None:
        """Drop its output and interrupt it; end the connection if it is not over in time."""


class MasterContext:
    """The surroundings of one master session."""

    def __init__(self) -> None:
        self.now = 0.0
        """The time of the present input."""
        self.events: deque[MasterEvent] = deque()
        self.timers: Timers[Timer] = Timers()
        self.sayings = Interner()
        self.touched: dict[int, None] = {}
        """Connections that may have something to send."""
        self.builds: dict[int, Builder] = {}
        """The builders that builds have, by the number of the build."""
        self.lost: dict[int, str] = {}
        """Why builds have no slave any more that have not been ended yet."""
        self.steps: dict[int, Step] = {}
        """The steps whose output can be asked for."""
        self.commands = 0
        """Commands started so far; the last one's number."""
        self._last_request = 0
        self._requests: list[Request] = []
        self._waiting: dict[int, Then | None] = {}

    @property
    def waiting(self) -> int:
        """How many requests are not replied to."""
        return len(self._waiting)

    def announce(self, event: MasterEvent) -> None:
        """Say what happened."""
        self.events.append(event)

    def next_command(self) -> str:
        """Return the number of a new command as slaves get it; it is for people."""
        self.commands += 1
        return str(self.commands)

    def tell(self, effect: HostEffect) -> None:
        """Ask the host for something that is never replied to."""
        self._last_request += 1
        self._requests.append(Request(self._last_request, effect))

    def ask(self, effect: HostEffect, then: Then | None) -> None:
        """Ask the host for something; `then` gets the reply."""
        self.tell(effect)
        self._waiting[self._last_request] = then

    def take_requests(self) -> list[Request]:
        """Return the effects to start now."""
        requests, self._requests = self._requests, []
        return requests

    def reply(self, request: int, result: object | HostError, now: float) -> None:
        """An effect was performed, or failed.

        Raises:
            LocalProtocolError: nobody asked for it, or it was replied to.
        """
        if request not in self._waiting:
            raise LocalProtocolError(f"nobody waits for request {request}")
        then = self._waiting.pop(request)
        if then is not None:
            then(result, now)
