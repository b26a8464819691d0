"""The values that calls and answers carry, beyond what Python has already."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, TypeAlias

from slaveproto.records import record


class Local:
    """An object of ours that the peer may be given and may call. Two are the same only if they are one object.

    Args:
        label: what it is, for messages and logs.
    """

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def __repr__(self) -> str:
        return f"Local({self.label!r})"


class Remote:
    """One count of an object of the peer. Each that arrives ends with one `Connection.release`.

    Args:
        luid: the peer's number of the object, or the name under which it is published.
    """

    __slots__ = ("luid",)

    def __init__(self, luid: int | bytes) -> None:
        self.luid = luid

    def __repr__(self) -> str:
        return f"Remote({self.luid!r})"


@record
class Unpersistable:
    """A placeholder that the peer sent instead of a value which it could not send. `reason` is its text."""

    reason: str


@record
class Copied:
    """An object by value, as inert data: the `tag` that names its class over there, and its `state`.

    Only tags that a connection was told to accept arrive; see `Connection`.
    """

    tag: bytes
    state: Value


FAILURE_TAG: Final = b"twisted.spread.pb.CopyableFailure"

_ANCESTORS: Final[dict[str, tuple[str, ...]]] = {
    "twisted.spread.flavors.NoSuchMethod": ("builtins.AttributeError",),
    "twisted.cred.error.UnauthorizedLogin": (
        "twisted.cred.error.LoginFailed",
        "twisted.cred.error.Unauthorized",
    ),
}


@record
class Failure:
    """An exception that crossed the wire, or is about to.

    Args:
        kind: dotted name of the exception's class, such as `builtins.ValueError`.
        message: its text.
        parents: dotted names of the class and all its ancestors; empty means: derive them from `kind`.
        traceback: text for people; never source lines of ours.
    """

    kind: str
    message: str
    parents: tuple[str, ...] = ()
    traceback: str = "Traceback unavailable\n"

    def is_a(self, kind: str) -> bool:
        """Whether the exception is of class `kind` or of a class below it, as the sender told."""
        return kind == self.kind or kind in self.parents

    def lineage(self) -> tuple[str, ...]:
        """Return `parents`, or what they would be: both spellings of Python's own classes, for either generation."""
        if self.parents:
            return self.parents
        names = [self.kind, *_ANCESTORS.get(self.kind, ()), "builtins.Exception"]
        old = [n.replace("builtins.", "exceptions.", 1) for n in names if n.startswith("builtins.")]
        return (*dict.fromkeys([*names, *old]),)


_Simple: TypeAlias = bool | int | float | bytes | str | Decimal | None
_Moment: TypeAlias = datetime.datetime | datetime.date | datetime.time | datetime.timedelta
_Object: TypeAlias = Local | Remote | Copied | Failure | Unpersistable
_Container: TypeAlias = "list[Value] | tuple[Value, ...] | dict[Value, Value] | set[Value] | frozenset[Value]"
Value: TypeAlias = "_Simple | _Moment | _Object | _Container"
"""Every value that Jelly carries."""


def remotes_in(*values: Value) -> Iterator[Remote]:
    """Yield every `Remote` inside `values`, each once, however the values share their parts."""
    seen: set[int] = set()
    todo: list[Value] = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, (list, tuple, set, frozenset, dict, Copied, Remote)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Remote):
                yield value
            elif isinstance(value, dict):
                todo += value.keys()
                todo += value.values()
            elif isinstance(value, Copied):
                todo.append(value.state)
            else:
                todo += value
