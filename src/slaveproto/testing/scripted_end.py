"""The base of the scripted master and the scripted slave: an end of a connection that calls the other one."""

from __future__ import annotations

from collections.abc import Callable

from slaveproto.wire.connection import Connection
from slaveproto.wire.values import Failure, Remote, Value


class CallRefused(Exception):
    """A call of a scripted end failed at the other one.

    Args:
        failure: how.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class ConnectionLost(Exception):
    """The connection ended before a call of a scripted end was answered."""


class ScriptedEnd:
    """One end of a connection.

    Args:
        connection: the connection.
        settle: drives both ends until every call has had its effects.
    """

    def __init__(self, connection: Connection, settle: Callable[[], None]) -> None:
        self.connection = connection
        self.open = True
        """Whether the connection is there."""
        self.unanswered: set[int] = set()
        """The calls that still wait for their answers."""
        self._settle = settle
        self._outcomes: dict[int, Value] = {}

    def ask(self, target: Remote, method: str, *args: Value, **kwargs: Value) -> int:
        """Make a call without waiting for its answer; `answer_to` has it later."""
        if not self.open:
            raise ConnectionLost
        number = self.connection.call(target, method, args, kwargs)
        self.unanswered.add(number)
        self._settle()
        return number

    def answer_to(self, number: int) -> Value:
        """Return the answer to a call.

        Raises:
            CallRefused: it failed.
            ConnectionLost: it will never be answered.
            AssertionError: it is not answered yet.
        """
        assert number in self._outcomes, f"call {number} is not answered"
        outcome = self._outcomes[number]
        if isinstance(outcome, Failure):
            if not self.open:
                raise ConnectionLost
            raise CallRefused(outcome)
        return outcome

    def call(self, target: Remote, method: str, *args: Value, **kwargs: Value) -> Value:
        """Make a call and return its answer; raises as `answer_to`."""
        return self.answer_to(self.ask(target, method, *args, **kwargs))
