"""Perspective Broker without I/O: bytes in, events out; calls in, bytes out.

How to drive one: hand received bytes to `receive_data`; call `next_event` until it says `NEED_DATA`; send what
`data_to_send` returns; at the end of the stream call `receive_eof` and read the last events. If `next_event` raises
`RemoteProtocolError`, send what is left and close; the events that follow tell which calls were lost.

Source: `twisted/spread/pb.py` of Twisted 11.1 and 26.10, observed at the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Final, TypeVar

import attrs

from slaveproto.errors import LocalProtocolError, RemoteProtocolError, UnreadableValue
from slaveproto.limits import Limits
from slaveproto.machine import Machine
from slaveproto.wire.banana import NEED_DATA, Decoder, Encodable, Expression, NeedData, encode
from slaveproto.wire.events import (
    Answered,
    Call,
    CallLost,
    Closed,
    Event,
    Failed,
    NotUnderstood,
    Opened,
    RefusalReason,
    Refused,
    Released,
)
from slaveproto.wire.jelly import Unjellier, jelly, utf8
from slaveproto.wire.plain import ANSWER, CALL, NotPlain, largest, read_answer, read_call, write_answer, write_call
from slaveproto.wire.states import NEGOTIATION_CLIENT, NEGOTIATION_SERVER, NegotiationEvent, NegotiationState
from slaveproto.wire.values import Copied, Failure, Local, Remote, Unpersistable, Value, remotes_in

C = TypeVar("C")

VERSION: Final = 6
PROFILES: Final = (b"pb", b"none")
ROOT_NAME: Final = b"root"

# What Enum looks up takes a tenth of all that a short answer does.
_OPEN: Final = NegotiationState.OPEN
_CLOSED: Final = NegotiationState.CLOSED
_MESSAGE: Final = NegotiationEvent.MESSAGE

# Nearly every call has none.
_NO_KEYWORDS: Final[Expression] = [b"dictionary"]


class Role(Enum):
    """The side of a connection: the client opened it; the server speaks first and owns the root object."""

    CLIENT = auto()
    SERVER = auto()


class Connection:
    """One Perspective Broker connection, either end.

    Args:
        role: which end we are.
        root: as server, the object that the peer reaches under the name `root`.
        tags: tags of copied objects to accept as inert `Copied` values.
        limits: what is refused.
    """

    # A master has thousands.
    __slots__ = (
        "_decoder", "_eof", "_exports", "_fresh", "_held", "_incoming", "_last_call", "_last_events", "_last_incoming",
        "_left", "_limits", "_machine", "_out", "_plain", "_published", "_tags", "_unsent", "_vocabulary", "_waiting",
        "role", "root",
    )  # fmt: skip

    def __init__(
        self,
        role: Role,
        *,
        root: Local | None = None,
        tags: frozenset[bytes] = frozenset(),
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self.role = role
        self.root = Remote(ROOT_NAME)
        self._limits = limits
        # Messages that may still come and are not plain.
        self._left = limits.messages
        self._tags = tags
        self._published = root
        self._decoder = Decoder(limits)
        self._machine = Machine(NEGOTIATION_CLIENT if role is Role.CLIENT else NEGOTIATION_SERVER)
        self._vocabulary = False
        # Bytes of the largest message that may be plain.
        self._plain = 0
        self._out: list[bytes] = []
        self._unsent = 0
        # What the end of the connection means is more than one event, all else is one.
        self._last_events: deque[Event] | None = None
        self._eof = False
        # Calls of ours that wait for their answer, and calls of theirs that wait for ours.
        self._last_call = 0
        self._waiting: dict[int, None] = {}
        self._last_incoming = 0
        self._incoming: dict[int, Expression | None] = {}
        # Objects of ours that the peer holds, and theirs that we hold.
        self._exports = _Exports()
        self._held: set[Remote] = set()
        self._fresh: list[Remote] = []
        if role is Role.SERVER:
            self._machine.fire(NegotiationEvent.OFFER)
            self._write(list(PROFILES))

    @property
    def state(self) -> NegotiationState:
        """The state of the connection, as of the last event."""
        return self._machine.state

    @property
    def is_open(self) -> bool:
        """Whether calls and answers can be sent."""
        return self._machine.state is _OPEN

    @property
    def unsent(self) -> int:
        """Bytes that `data_to_send` would return."""
        return self._unsent

    @property
    def exported(self) -> Mapping[Local, int]:
        """Our objects that the peer holds, with its number of counts of each."""
        return {export.local: export.count for export in self._exports.by_luid.values()}

    # -- bytes

    def receive_data(self, data: bytes) -> None:
        """Buffer received bytes. Never raises; `next_event` looks at them."""
        if self._machine.state is not _CLOSED:
            self._decoder.feed(data)

    def receive_eof(self) -> None:
        """Tell that no more bytes will come. May be called twice."""
        self._eof = True

    def data_to_send(self) -> bytes:
        """Return the bytes to send and forget them. Always safe, also after an error."""
        data = b"".join(self._out)
        self._out.clear()
        self._unsent = 0
        return data

    def next_event(self) -> Event | NeedData:
        """Return what happened next.

        Raises:
            RemoteProtocolError: the peer broke the protocol; the connection is closed as of now. Later calls return
                the lost calls and `Closed`.
        """
        while True:
            if self._last_events:
                return self._last_events.popleft()
            if self._machine.state is _CLOSED:
                return NEED_DATA
            try:
                if self._unsent > self._limits.unsent:
                    raise RemoteProtocolError(f"more than {self._limits.unsent} bytes that the peer does not read")
                event: Event | NeedData | None = self._receive_plain() if self._plain else None
                if event is None:
                    expression = self._decoder.next_expression()
                    if expression is not NEED_DATA:
                        event = self._receive(expression)
                    elif self._eof:
                        self._end(clean=not self._decoder.pending)
                    else:
                        event = NEED_DATA
            except RemoteProtocolError:
                self._end(clean=False)
                raise
            if event is not None:
                return event

    def set_limits(self, limits: Limits) -> None:
        """Refuse from now on what exceeds `limits`: a peer that has logged in may be trusted with more."""
        self._limits = limits
        self._left = limits.messages
        self._decoder.limits = limits
        self._plain = largest(limits) if self._vocabulary else 0

    # -- what we do

    def call(
        self,
        target: Remote,
        method: str,
        args: Sequence[Value] = (),
        kwargs: Mapping[str, Value] | None = None,
        *,
        wants_answer: bool = True,
    ) -> int:
        """Call `method` of the peer's object `target` and return the id that its answer will carry.

        Raises:
            LocalProtocolError: not open, a value that cannot be sent, or a limit of the peer's. Nothing was sent.
        """
        self._require_open()
        if not self.owns(target):
            raise LocalProtocolError(f"{target!r} is not of this connection, or is released")
        number = self._last_call + 1
        positional = tuple(args)
        try:
            if kwargs:
                raise NotPlain
            self._send_plain(write_call(number, target.luid, method, wants_answer, positional))
        except NotPlain:
            head: list[Encodable] = [b"message", number, target.luid, utf8(method), int(wants_answer)]
            self._send(head, positional, dict(kwargs.items()) if kwargs else {})
        self._last_call = number
        if wants_answer:
            self._waiting[number] = None
        return number

    def answer(self, call_id: int, value: Value = None) -> None:
        """Answer a `Call`.

        Raises:
            LocalProtocolError: not open, no such call or answered already, or a value that cannot be sent. Nothing was
                sent, and the call may still be answered.
        """
        wire_id = self._number_over_there(call_id)
        if wire_id is not None:
            try:
                self._send_plain(write_answer(wire_id, value))
            except NotPlain:
                self._send([b"answer", wire_id], value)
        _forget(self._incoming, call_id)

    def fail(self, call_id: int, failure: Failure) -> None:
        """Answer a `Call` with an exception; raises as `answer`."""
        wire_id = self._number_over_there(call_id)
        if wire_id is not None:
            self._send([b"error", wire_id], failure)
        _forget(self._incoming, call_id)

    def release(self, remote: Remote) -> None:
        """Give back one count of an object of the peer's. After the end of the connection this only forgets it.

        Raises:
            LocalProtocolError: not of this connection, released before, or the root.
        """
        if remote not in self._held:
            raise LocalProtocolError(f"{remote!r} is not of this connection, or is released")
        self._held.discard(remote)
        if self._machine.state is _OPEN:
            self._write([b"decref", remote.luid])

    def close(self) -> None:
        """End the connection from our side: pending calls are lost, nothing more is read."""
        if self._machine.state is not _CLOSED:
            self._end(clean=True)

    def owns(self, remote: Remote) -> bool:
        """Whether `remote` came from this connection and is not released."""
        return remote in self._held or remote is self.root

    # -- sending

    def _require_open(self) -> None:
        if self._machine.state is not _OPEN:
            raise LocalProtocolError(f"the connection is {self._machine.state.name}")

    def _number_over_there(self, call_id: int) -> Expression | None:
        """Return what the peer calls one of its calls; None if it waits for no answer."""
        self._require_open()
        if call_id not in self._incoming:
            raise LocalProtocolError(f"call {call_id} does not exist or is answered")
        return self._incoming[call_id]

    def _send(self, head: list[Encodable], *values: Value) -> None:
        draft = _Draft(self._exports, self)
        for value in values:
            head.append(jelly(value, draft))
        self._write(head)
        draft.keep()

    def _send_plain(self, data: bytes) -> None:
        if len(data) > self._plain:
            raise NotPlain
        self._out.append(data)
        self._unsent += len(data)

    def _write(self, expression: Encodable) -> None:
        data = encode(expression, vocabulary=self._vocabulary, limits=self._limits)
        self._out.append(data)
        self._unsent += len(data)

    def _end(self, *, clean: bool) -> None:
        self._machine.fire(NegotiationEvent.END)
        self._last_events = deque((*map(CallLost, sorted(self._waiting)), Closed(clean)))
        self._waiting.clear()
        self._incoming.clear()
        self._exports = _Exports()

    # -- receiving

    def _receive_plain(self) -> Call | Answered | NeedData | None:
        """Take the next message if it is plain, whole and sound; whatever is not, `_receive` judges."""
        ahead = self._decoder.ahead()
        if ahead is None:
            return None
        data, pos = ahead
        if pos == len(data):
            return None if self._eof else NEED_DATA
        event: Call | Answered
        try:
            if data.startswith(CALL, pos):
                wire_id, luid, method, wants_answer, args, stop = read_call(data, pos)
                export = self._exports.by_luid.get(luid)
                if stop - pos > self._plain or export is None or len(self._incoming) >= self._limits.calls:
                    return None
                number = self._begin_incoming(wire_id, wants_answer)
                event = Call(number, export.local, method, args, {}, bool(wants_answer))
            elif data.startswith(ANSWER, pos):
                number, value, stop = read_answer(data, pos)
                if stop - pos > self._plain or number not in self._waiting:
                    return None
                _forget(self._waiting, number)
                event = Answered(number, value)
            else:
                return None
        except NotPlain:
            return None
        self._machine.fire(_MESSAGE)
        self._decoder.skip(stop)
        return event

    def _receive(self, expression: Expression) -> Event | None:
        if self._machine.state is NegotiationState.START:
            return self._choose(expression)
        if self._machine.state is NegotiationState.OFFERED:
            if not isinstance(expression, bytes) or expression not in PROFILES:
                raise RemoteProtocolError("the client chose no profile that we offered")
            return self._open(expression)
        self._machine.fire(_MESSAGE)
        self._left -= 1
        if self._left < 0:
            raise RemoteProtocolError(f"more than {self._limits.messages} messages that are not plain")
        return self._message(expression)

    def _choose(self, expression: Expression) -> Opened:
        if not isinstance(expression, list):
            raise RemoteProtocolError("the server did not begin with a list of profiles")
        self._machine.fire(NegotiationEvent.OFFER)
        for profile in expression:
            if isinstance(profile, bytes) and profile in PROFILES:
                self._write(profile)
                return self._open(profile)
        raise RemoteProtocolError("the server offers no profile that we know")

    def _open(self, profile: bytes) -> Opened:
        self._machine.fire(NegotiationEvent.CHOOSE)
        self._vocabulary = self._decoder.vocabulary = profile == b"pb"
        self.set_limits(self._limits)
        self._write([b"version", VERSION])
        return Opened(profile.decode())

    def _message(self, expression: Expression) -> Event | None:
        if not isinstance(expression, list) or not expression:
            raise RemoteProtocolError("a message is a list that is not empty")
        command = expression[0]
        if not isinstance(command, bytes):
            raise RemoteProtocolError("a message begins with the name of its command")
        known = _MESSAGES.get(command)
        if known is None:
            self._write([b"didNotUnderstand", command])
            return NotUnderstood(_printable(command), ours=True)
        handler, fields = known
        if len(expression) != fields + 1:
            raise RemoteProtocolError(f"{command.decode()} has {fields} fields, not {len(expression) - 1}")
        return handler(self, expression)

    def _on_version(self, message: list[Expression]) -> None:
        if message[1] != VERSION:
            raise RemoteProtocolError(f"the peer speaks another version than {VERSION}")

    def _on_message(self, message: list[Expression]) -> Call | Refused:
        _, wire_id, luid, name, wants_answer, args, kwargs = message
        if not isinstance(name, bytes):
            raise RemoteProtocolError("the name of a method is a byte string")
        try:
            method = name.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("the name of a method is not UTF-8") from None
        if len(self._incoming) >= self._limits.calls:
            raise RemoteProtocolError(f"more than {self._limits.calls} unanswered calls")
        number = self._begin_incoming(wire_id, wants_answer)
        try:
            target = self._local(luid) if isinstance(luid, (int, bytes)) else None
            if target is None:
                unknown = UnreadableValue("twisted.spread.pb.Error", "Invalid Object ID")
                return self._refuse(number, method, unknown, RefusalReason.UNKNOWN_OBJECT)
            positional, keywords, remotes = self._arguments(args, kwargs)
            return Call(number, target, method, positional, keywords, bool(wants_answer), remotes)
        except UnreadableValue as error:
            return self._refuse(number, method, error, RefusalReason.UNREADABLE)

    def _on_cachemessage(self, message: list[Expression]) -> Refused:
        number = self._begin_incoming(message[1], message[4])
        unknown = UnreadableValue("builtins.KeyError", "no object of the peer is cached here")
        return self._refuse(number, "", unknown, RefusalReason.NOT_CACHED)

    def _begin_incoming(self, wire_id: Expression, wants_answer: Expression) -> int:
        if not isinstance(wire_id, int):
            size = len(encode(wire_id, vocabulary=self._vocabulary, limits=self._limits))
            if size > self._limits.call_id:
                raise RemoteProtocolError(f"the id of a call has {size} bytes; the limit is {self._limits.call_id}")
        self._last_incoming += 1
        self._incoming[self._last_incoming] = wire_id if wants_answer else None
        return self._last_incoming

    def _refuse(self, number: int, method: str, error: UnreadableValue, reason: RefusalReason) -> Refused:
        failure = Failure(error.kind, str(error)[:1000])
        self.fail(number, failure)
        return Refused(method[:200], failure, reason)

    def _on_answer(self, message: list[Expression]) -> Answered | Failed:
        number = self._answered(message)
        event: Answered | Failed
        try:
            value = self._read(message[2])
            event = Answered(number, value, self._release_lost(self._fresh, value))
        except UnreadableValue as error:
            event = Failed(number, Failure(error.kind, f"unreadable answer: {error}"))
        _forget(self._waiting, number)
        return event

    def _on_error(self, message: list[Expression]) -> Failed:
        number = self._answered(message)
        try:
            failure = _as_failure(self._read(message[2]))
            self._release_lost(self._fresh)
        except UnreadableValue as error:
            failure = Failure(error.kind, f"unreadable failure: {error}")
        _forget(self._waiting, number)
        return Failed(number, failure)

    def _answered(self, message: list[Expression]) -> int:
        number = message[1]
        if not isinstance(number, int) or number not in self._waiting:
            raise RemoteProtocolError("an answer to a call that is not pending")
        return number

    def _on_decref(self, message: list[Expression]) -> Released | None:
        luid = message[1]
        export = self._exports.by_luid.get(luid) if isinstance(luid, int) else None
        if export is None:
            raise RemoteProtocolError("a decref of an object that the peer does not hold")
        export.count -= 1
        if export.count:
            return None
        self._exports.forget(export)
        return Released(export.local)

    def _on_cache_release(self, message: list[Expression]) -> None:
        raise RemoteProtocolError("a release of a cached object that does not exist")

    def _on_not_understood(self, message: list[Expression]) -> NotUnderstood:
        command = message[1]
        return NotUnderstood(_printable(command) if isinstance(command, bytes) else "?", ours=False)

    # -- values

    def _read(self, expression: Expression) -> Value:
        self._fresh = []
        if type(expression) is not list:
            return expression  # type: ignore[return-value]
        try:
            return Unjellier(_Objects(self._remote, self._local), self._tags).read(expression)
        except (UnreadableValue, RecursionError) as error:
            self._release_lost(self._fresh)
            if isinstance(error, RecursionError):
                raise UnreadableValue("builtins.RecursionError", "nested too deep for the stack") from None
            raise

    def _arguments(
        self, args: Expression, kwargs: Expression
    ) -> tuple[tuple[Value, ...], dict[str, Value], tuple[Remote, ...]]:
        positional = self._read(args)
        begun = self._fresh
        try:
            if not isinstance(positional, (tuple, list, set, frozenset, dict)):
                raise UnreadableValue("builtins.TypeError", "arguments are a tuple")
            keywords: Value = {}
            if kwargs != _NO_KEYWORDS:
                keywords = self._read(kwargs)
                begun += self._fresh
            if not isinstance(keywords, dict):
                raise UnreadableValue("builtins.TypeError", "keyword arguments are a dictionary")
            arguments = tuple(positional), {_keyword(key): value for key, value in keywords.items()}
        except UnreadableValue:
            self._release_lost(begun)
            raise
        return *arguments, self._release_lost(begun, *arguments[0], *arguments[1].values())

    def _release_lost(self, begun: list[Remote], *values: Value) -> tuple[Remote, ...]:
        """Release those that came but are in none of `values`: of two equal keys, say, one is dropped.

        Return the others.
        """
        if not begun:
            return ()
        kept = set(remotes_in(*values))
        for remote in begun:
            if remote not in kept:
                self.release(remote)
        return tuple(remote for remote in begun if remote in kept)

    def _remote(self, luid: int | bytes) -> Remote:
        if len(self._held) >= self._limits.references:
            raise RemoteProtocolError(f"more than {self._limits.references} references that are not released")
        remote = Remote(luid)
        self._held.add(remote)
        self._fresh.append(remote)
        return remote

    def _local(self, luid: int | bytes) -> Local | None:
        if isinstance(luid, bytes):
            return self._published if luid == ROOT_NAME else None
        export = self._exports.by_luid.get(luid)
        return export.local if export else None


@attrs.frozen
class _Objects:
    """The connection's answers while a value is read. Only here a number becomes a reference."""

    remote: Callable[[int | bytes], Remote]
    local: Callable[[int | bytes], Local | None]


class _Export:
    __slots__ = ("count", "local", "luid")

    def __init__(self, luid: int, local: Local) -> None:
        self.luid = luid
        self.local = local
        self.count = 0


class _Exports:
    """Our objects that the peer holds. Numbers rise from 1 and are never used again."""

    __slots__ = ("by_local", "by_luid", "last")

    def __init__(self) -> None:
        self.last = 0
        self.by_luid: dict[int, _Export] = {}
        self.by_local: dict[Local, _Export] = {}

    def forget(self, export: _Export) -> None:
        del self.by_luid[export.luid]
        del self.by_local[export.local]


class _Draft:
    """Numbers the objects in one outgoing message. They count only once the whole message could be written."""

    def __init__(self, exports: _Exports, connection: Connection) -> None:
        self._exports = exports
        self._connection = connection
        self._new: dict[Local, int] = {}
        self._met: list[Local] = []
        self.owns = connection.owns

    def number_of(self, local: Local) -> int:
        self._met.append(local)
        export = self._exports.by_local.get(local)
        if export is not None:
            return export.luid
        return self._new.setdefault(local, self._exports.last + len(self._new) + 1)

    def keep(self) -> None:
        """Make the references of what was written count."""
        if not self._met:
            return
        exports = self._exports
        for local, luid in self._new.items():
            export = _Export(luid, local)
            exports.by_luid[luid] = exports.by_local[local] = export
            exports.last = luid
        for local in self._met:
            exports.by_local[local].count += 1


_MESSAGES: Final[dict[bytes, tuple[Callable[[Connection, list[Expression]], Event | None], int]]] = {
    b"version": (Connection._on_version, 1),
    b"message": (Connection._on_message, 6),
    b"cachemessage": (Connection._on_cachemessage, 6),
    b"answer": (Connection._on_answer, 2),
    b"error": (Connection._on_error, 2),
    b"decref": (Connection._on_decref, 1),
    b"decache": (Connection._on_cache_release, 1),
    b"uncache": (Connection._on_cache_release, 1),
    b"didNotUnderstand": (Connection._on_not_understood, 1),
}


def _forget(calls: dict[int, C], number: int) -> None:
    del calls[number]
    if not calls:
        # A dictionary that is emptied otherwise stays as large as it was.
        calls.clear()


def _keyword(key: Value) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        try:
            return key.decode()
        except UnicodeDecodeError:
            pass
    raise UnreadableValue("builtins.TypeError", "the name of a keyword argument is not text")


def _as_failure(value: Value) -> Failure:
    """Return `value` if it is a failure; else what another thing in its place most likely meant."""
    if isinstance(value, Failure):
        return value
    if isinstance(value, Copied):
        return Failure(_printable(value.tag), "")
    if isinstance(value, bytes):
        return Failure("", _printable(value))
    if isinstance(value, (str, Unpersistable)):
        return Failure("", value if isinstance(value, str) else value.reason)
    return Failure("", f"({type(value).__name__})")


def _printable(text: bytes) -> str:
    return text[:1000].decode("utf-8", "backslashreplace")
