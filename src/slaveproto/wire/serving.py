"""Helpers for objects that the peer calls: find the method, read its parameters, send the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

from slaveproto.errors import CallFailed, LocalProtocolError
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.values import Failure, Value

NO_SUCH_METHOD: Final = "twisted.spread.flavors.NoSuchMethod"
PB_ERROR: Final = "twisted.spread.pb.Error"


class Servant(Protocol):
    """An object of ours that a peer may call."""

    def handle(self, connection: Connection, call: Call) -> None:
        """Carry out a call and answer it; raises CallFailed or RemoteProtocolError."""


def answer(connection: Connection, call_id: int, outcome: Value) -> None:
    """Answer a call with a value or a failure; a value that cannot be sent becomes a failure."""
    if isinstance(outcome, Failure):
        connection.fail(call_id, outcome)
        return
    try:
        connection.answer(call_id, outcome)
    except LocalProtocolError as error:
        connection.fail(call_id, Failure("builtins.ValueError", f"the result cannot be sent: {error}"))


def parameters(call: Call, *names: str) -> list[Value]:
    """Return the parameters of a call, given by position or by name.

    Raises:
        CallFailed: one is missing, or there are others.
    """
    if not call.kwargs and len(call.args) == len(names):
        # Nearly all calls.
        return list(call.args)
    values = dict(zip(names, call.args, strict=False))
    if len(call.args) > len(names) or set(call.kwargs) & set(values) or set(call.kwargs) - set(names):
        raise CallFailed("builtins.TypeError", f"{call.method} takes {', '.join(names) or 'nothing'}")
    values.update(call.kwargs)
    missing = [name for name in names if name not in values]
    if missing:
        raise CallFailed("builtins.TypeError", f"{call.method} is missing {', '.join(missing)}")
    return [values[name] for name in names]


def no_such_method(call: Call, prefix: str = "remote") -> CallFailed:
    """Return the error for a method that does not exist. Masters know an old slave by its kind.

    Args:
        call: the call.
        prefix: what a peer on Twisted would put before the name: `remote`, on a perspective `perspective`.
    """
    return CallFailed(NO_SUCH_METHOD, f"No such method: {prefix}_{call.method[:200]}")


H = TypeVar("H", bound=Callable[..., object])


def method_of(table: Mapping[str, H], call: Call) -> H:
    """Return the entry of a table of methods.

    Raises:
        CallFailed: the table has none; see `no_such_method`.
    """
    method = table.get(call.method)
    if method is None:
        raise no_such_method(call)
    return method
