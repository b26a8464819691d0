"""Events of a connection. Each is past tense, and inert."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeAlias

import attrs

from slaveproto.records import record
from slaveproto.wire.values import Failure, Local, Remote, Value


@record
class Opened:
    """The negotiation is done; `profile` is `pb` or `none`. Calls may be made from now on."""

    profile: str


# Slots that are frozen take half as long again to fill as a dictionary, and this is made for nearly every message.
@attrs.frozen(slots=False)
class Call:
    """The peer called an object of ours.

    Args:
        id: our own number of this call; give it to `Connection.answer` or `Connection.fail`, once.
        target: the object.
        method: the bare name, without any prefix.
        args: positional arguments.
        kwargs: keyword arguments.
        wants_answer: False if the peer waits for nothing; then answering sends nothing.
        remotes: every `Remote` in the arguments, once. Release those that you do not keep.
    """

    id: int
    target: Local
    method: str
    args: tuple[Value, ...]
    kwargs: Mapping[str, Value]
    wants_answer: bool
    remotes: tuple[Remote, ...] = attrs.field(default=(), eq=False, repr=False)


@record
class Answered:
    """Our call `id` returned `value`. `remotes` is every `Remote` in it, once; release those that you do not keep."""

    id: int
    value: Value
    remotes: tuple[Remote, ...] = attrs.field(default=(), eq=False, repr=False)


@record
class Failed:
    """Our call `id` raised `failure` over there, or its answer was unreadable."""

    id: int
    failure: Failure


@record
class CallLost:
    """Our call `id` was pending when the connection ended; whether it was carried out is unknown."""

    id: int


@record
class Released:
    """The peer holds `local` no more, and its number is dead."""

    local: Local


class RefusalReason(Enum):
    """Reasons for which a call never reaches an object of ours."""

    UNKNOWN_OBJECT = auto()
    """Calls of objects that the peer was not given."""

    NOT_CACHED = auto()
    """Calls of cached objects; no object is ever cached here."""

    UNREADABLE = auto()
    """Arguments with a value that is malformed or not acceptable."""


@record
class Refused:
    """A call of the peer that never reached you; it was answered with `failure`."""

    method: str
    failure: Failure
    reason: RefusalReason


@record
class NotUnderstood:
    """The peer (`ours` False) did not understand our message, or we (`ours` True) did not understand theirs."""

    command: str
    ours: bool


@record
class Closed:
    """The connection is over. `clean` is False if it ended inside a message or by a violation."""

    clean: bool


Event: TypeAlias = Opened | Call | Answered | Failed | CallLost | Released | Refused | NotUnderstood | Closed
