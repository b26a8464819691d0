"""The mender: expressions of one end in, expressions for the other end out, changed where a row of the table says so.

Rules.

* Numbers of objects, ids of calls, releases and answers pass as they are: counts are exact because nothing is counted.
* What is not understood passes as it came, and is told. Both ends judge for themselves; only bytes that are no Banana
  end here, since nothing could be passed on after them.
* A question of the mender's own has an id that is a byte string. Twisted's are integers, and every peer gives an id
  back as it came; a message that wants no answer needs none.
* Calls are remembered only if a row looks at their answers, and no more of them than `Limits.calls`.

Source: `twisted/spread/pb.py` of Twisted 11.1 and 26.10, observed at the wire.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.mend.events import Mended, MendEvent, PassedOn, Side
from slaveproto.mend.jellied import failure_state, item, said
from slaveproto.mend.known import Known
from slaveproto.mend.rows import ASKED_AGAIN, MENDS, OUTPUT, Change, Mend, MessagePart
from slaveproto.wire.banana import NEED_DATA, Decoder, Expression, encode
from slaveproto.wire.connection import PROFILES

MENDER_LIMITS: Final = Limits(depth=340)
"""Bounds of one connection: Twisted's own where it has any."""

HIGH_WATER_MARK: Final = 1024 * 1024
"""Bytes that one end does not take, beyond which the other is to be left unread."""

_OPAQUE: Final = b"?"
_FIELDS: Final = {
    b"version": 1,
    b"message": 6,
    b"cachemessage": 6,
    b"answer": 2,
    b"error": 2,
    b"decref": 1,
    b"decache": 1,
    b"uncache": 1,
    b"didNotUnderstand": 1,
}
_QUESTION: Final = b"mend: getWorkerInfo"
_NO_SUCH_METHOD: Final = b"twisted.spread.flavors.NoSuchMethod"
_MOST_KINDS: Final = 100
_REMEMBERED: Final = frozenset({b"getSlaveInfo", b"getWorkerInfo", b"getCommands", b"getVersion", b"setBuilderList"})
_NO_ARGUMENTS: Final[list[Expression]] = [b"tuple"]
_NO_KEYWORDS: Final[list[Expression]] = [b"dictionary"]


def _rows(part: MessagePart, side: Side, method: bytes) -> tuple[Mend, ...]:
    return tuple(row for row in MENDS if part in row.parts and side in row.sides and method in row.methods)


_METHODS: Final = frozenset(method for row in MENDS for method in row.methods)
_CALLS: Final = {(side, method): _rows(MessagePart.ARGUMENTS, side, method) for side in Side for method in _METHODS}
_ANSWERS: Final = {method: _rows(MessagePart.ANSWER, Side.SLAVE, method) for method in _METHODS}
_FAILURES: Final = {
    side: tuple(row for row in MENDS if MessagePart.FAILURE in row.parts and side in row.sides) for side in Side
}


class _End:
    """One end: what comes from it, and what it is to be sent."""

    __slots__ = ("calls", "decoder", "greeted", "out", "unsent")

    def __init__(self, limits: Limits) -> None:
        # Words of the vocabulary are read from either end at any time, as Twisted 11 does; what is written is agreed.
        self.decoder = Decoder(limits, vocabulary=True)
        self.out: list[bytes] = []
        self.unsent = 0
        self.greeted = False
        # Its calls whose answers a row looks at: id to method and target.
        self.calls: dict[int, tuple[bytes, Expression]] = {}


class Mender:
    """A mender between the two ends of one connection.

    Hand what comes from an end to `receive`, send what `data_to_send` returns for each end, and read `next_event`. When
    an end closes, close the other one after it was sent what is left.

    Args:
        limits: what is refused.
    """

    # A relay has thousands.
    __slots__ = ("_agreed", "_asked", "_ends", "_events", "_known", "_limits", "_told", "_vocabulary")

    def __init__(self, limits: Limits = MENDER_LIMITS) -> None:
        self._limits = limits
        self._ends = {side: _End(limits) for side in Side}
        self._known = Known()
        self._events: deque[MendEvent] = deque()
        self._told: set[MendEvent] = set()
        # The profile that the slave chose, empty until it did; `_OPAQUE` for one that is not known.
        self._agreed = b""
        self._vocabulary = False
        # The master's question that is asked in other words: its id, and the failure that it gets if those fail, too.
        self._asked: tuple[Expression, Expression] | None = None

    # -- the owner's side

    def receive(self, side: Side, data: bytes) -> None:
        """Take bytes that came from an end.

        Raises:
            RemoteProtocolError: they are no Banana, or exceed a limit. What came before is passed on; send it, then
                close both ends.
        """
        end = self._ends[side]
        if self._agreed == _OPAQUE:
            self._put(side.other, data)
            return
        end.decoder.feed(data)
        while (expression := end.decoder.next_expression()) is not NEED_DATA:
            if self._agreed and end.greeted:
                self._message(side, expression)
            elif end.greeted:
                self._write(side.other, expression)
            else:
                end.greeted = True
                self._greeting(side, expression)
                if self._agreed == _OPAQUE:
                    self._pass_all()
                    return

    def data_to_send(self, side: Side) -> bytes:
        """Return the bytes that are for an end, and forget them."""
        end = self._ends[side]
        data = b"".join(end.out)
        end.out.clear()
        end.unsent = 0
        return data

    def congested(self, side: Side) -> bool:
        """Whether an end should be left unread, since the other one does not take what came from it."""
        return self._ends[side.other].unsent > HIGH_WATER_MARK

    def next_event(self) -> MendEvent | None:
        """Return what happened next; None if nothing did."""
        return self._events.popleft() if self._events else None

    # -- negotiation

    def _greeting(self, side: Side, expression: Expression) -> None:
        self._write(side.other, expression)
        if side is Side.SLAVE:
            if isinstance(expression, bytes) and expression in PROFILES:
                self._agreed = expression
                self._vocabulary = expression == b"pb"
            else:
                self._agreed = _OPAQUE
                self._tell(PassedOn("a profile that is not known; nothing is mended", side))

    def _pass_all(self) -> None:
        for side, end in self._ends.items():
            ahead = end.decoder.ahead()
            if ahead is None:
                raise RemoteProtocolError("bytes in the middle of an expression before a profile was chosen")
            data, start = ahead
            end.decoder.skip(len(data))
            self._put(side.other, data[start:])

    # -- messages

    def _message(self, side: Side, message: Expression) -> None:
        command = message[0] if isinstance(message, list) and message else None
        if not isinstance(message, list) or not isinstance(command, bytes) or _FIELDS.get(command) != len(message) - 1:
            name = command[:50].decode("ascii", "backslashreplace") if isinstance(command, bytes) else "?"
            self._tell(PassedOn(f"message {name}", side))
            self._write(side.other, message)
        elif command == b"message":
            self._call(side, message)
        elif command == b"answer":
            self._answer(side, message)
        elif command == b"error":
            self._failure(side, message)
        elif command == b"decref" and side is Side.SLAVE:
            self._known.forget(message[1])
            self._write(side.other, message)
        else:
            self._write(side.other, message)

    def _call(self, side: Side, message: list[Expression]) -> None:
        _, number, luid, method, wants_answer, arguments, keywords = message
        if not isinstance(method, bytes):
            self._write(side.other, message)
            return
        self._known.hear_call(side, method, arguments, keywords)
        calls = self._ends[side].calls
        if wants_answer and method in _REMEMBERED and isinstance(number, int) and len(calls) < self._limits.calls:
            calls[number] = (method, luid)
        if side is Side.SLAVE and isinstance(luid, int):
            if method == b"update" and OUTPUT.needed(self._known, side):
                self._mend(side, message, [(OUTPUT, 5, lambda value: self._output(luid, value))])
                return
            if method == b"complete":
                self._left_over(side, luid)
        self._mend(side, message, [(row, 5, row.change) for row in _CALLS.get((side, method), ())])

    def _output(self, luid: int, arguments: Expression) -> Expression:
        if not isinstance(arguments, list) or len(arguments) != 2:
            return arguments
        return [arguments[0], self._known.readable_updates(luid, arguments[1])]

    def _left_over(self, side: Side, luid: int) -> None:
        updates = self._known.left_over(luid)
        if updates:
            arguments: Expression = [b"tuple", [b"list", *updates]]
            self._write(side.other, [b"message", 0, luid, b"update", 0, arguments, _NO_KEYWORDS])

    def _answer(self, side: Side, message: list[Expression]) -> None:
        _, number, value = message
        if side is Side.SLAVE and self._asked is not None and number == _QUESTION:
            (number, _), self._asked = self._asked, None
            self._known.hear_answer(side, b"getWorkerInfo", value)
            self._mend(side, [b"answer", number, value], [(ASKED_AGAIN, 2, ASKED_AGAIN.change)])
            return
        method, _ = self._answered(side, number)
        self._known.hear_answer(side, method, value)
        rows = _ANSWERS.get(method, ()) if side is Side.SLAVE else ()
        self._mend(side, message, [(row, 2, row.change) for row in rows])

    def _failure(self, side: Side, message: list[Expression]) -> None:
        _, number, value = message
        if side is Side.SLAVE and self._asked is not None and number == _QUESTION:
            (number, value), self._asked = self._asked, None
            message = [b"error", number, value]
        method, luid = self._answered(side, number)
        state = failure_state(value)
        if state is not None:
            self._known.hear_failure(side, state)
            kind = item(state, b"type")
            if (
                method in ASKED_AGAIN.methods
                and self._asked is None
                and ASKED_AGAIN.needed(self._known, side)
                and (None if kind is None else said(kind)) == _NO_SUCH_METHOD
            ):
                self._asked = (number, value)
                self._write(side, [b"message", _QUESTION, luid, b"getWorkerInfo", 1, _NO_ARGUMENTS, _NO_KEYWORDS])
                return
        self._mend(side, message, [(row, 2, row.change) for row in _FAILURES[side]])

    def _answered(self, side: Side, number: Expression) -> tuple[bytes, Expression]:
        calls = self._ends[side.other].calls
        return calls.pop(number, (b"", 0)) if isinstance(number, int) else (b"", 0)

    # -- writing

    def _mend(self, side: Side, message: list[Expression], rows: list[tuple[Mend, int, Change]]) -> None:
        """Pass a message on, with the changes of those rows that are needed."""
        try:
            names, data = self._changed(side, message, rows)
        except (LocalProtocolError, RecursionError):
            self._tell(PassedOn("a message that would be too large or too deep to mend", side))
            if message[0] == b"message":
                # The beginning of a character that waits passes with the message.
                self._known.forget(message[2])
            names = []
        if names:
            self._put(side.other, data)
            for name in names:
                self._tell(Mended(name, side.other))
        else:
            self._write(side.other, message)

    def _changed(
        self, side: Side, message: list[Expression], rows: list[tuple[Mend, int, Change]]
    ) -> tuple[list[str], bytes]:
        """Return the names of the rows that were needed, and the bytes of the message with their changes."""
        names = []
        mended = list(message)
        for row, field, change in rows:
            if row.needed(self._known, side):
                value = change(mended[field])
                if value != mended[field]:
                    mended[field] = value
                    names.append(row.name)
        return names, encode(mended, vocabulary=self._vocabulary, limits=self._limits) if names else b""

    def _write(self, side: Side, expression: Expression) -> None:
        self._put(side, encode(expression, vocabulary=self._vocabulary, limits=self._limits))

    def _put(self, side: Side, data: bytes) -> None:
        if data:
            end = self._ends[side]
            end.out.append(data)
            end.unsent += len(data)

    def _tell(self, event: MendEvent) -> None:
        if event not in self._told and len(self._told) < _MOST_KINDS:
            self._told.add(event)
            self._events.append(event)
