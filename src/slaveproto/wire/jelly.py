"""Jelly: Python values as Banana expressions and back.

A value that is not a list stands for itself; a list begins with an atom that says what it is. Source:
`twisted/spread/jelly.py` of Twisted 11.1 and 26.10, observed at the wire.

Rules of this file. Nothing that the peer names is looked up: a class, module, function or instance is an
`UnreadableValue`. What Twisted would send as a placeholder is refused at the sender. Reading takes linear time, also
for values that share their parts and for keys chosen to collide.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Protocol, TypeAlias

from slaveproto.errors import LocalProtocolError, UnreadableValue
from slaveproto.wire.banana import Encodable, Expression
from slaveproto.wire.values import FAILURE_TAG, Copied, Failure, Local, Remote, Unpersistable, Value

INSECURE: Final = "twisted.spread.jelly.InsecureJelly"

# Python's hashes of these can be made equal at will, so a message may hold only so many as keys or set members.
_HASH_MODULUS: Final = 2**61 - 1
_MOST_HARD_KEYS: Final = 1000
_MOST_KEY_ELEMENTS: Final = 10_000

# Of the name of an object; they are quoted in failures.
_LONGEST_NAME: Final = 200

# 2**448, the first integer that Banana cannot carry, has 135 digits.
_MOST_DECIMAL_DIGITS: Final = 135


class Numbers(Protocol):
    """A source of numbers of objects, for writing a value."""

    def number_of(self, local: Local) -> int:
        """Return the number under which the peer will know `local`; this counts as one occurrence."""

    def owns(self, remote: Remote) -> bool:
        """Whether `remote` came from this connection and is not released."""


class Objects(Protocol):
    """A source of objects behind numbers, for reading a value."""

    def remote(self, luid: int | bytes) -> Remote:
        """Return a new `Remote` for one occurrence of the peer's object `luid`."""

    def local(self, luid: int | bytes) -> Local | None:
        """Return our object of that number or name, None if there is none."""


def jelly(value: Value, numbers: Numbers) -> Encodable:
    """Return the expression of `value`.

    Objects that occur more than once become references, numbered when they are met for the second time.

    Raises:
        LocalProtocolError: a type that has no form on the wire, subclasses of Python's own types included.
    """
    simple = type(value)
    if simple is int or simple is bytes:
        # Nearly every answer.
        return value  # type: ignore[return-value]
    if simple is dict and not value:
        # The keywords of nearly every call.
        return [b"dictionary"]
    met: dict[int, list[Encodable]] = {}
    shared: dict[int, int] = {}
    # What exists only here must outlive `met`, which knows objects by their address.
    kept: list[Value] = []

    def put(item: Value) -> Encodable:
        kind = type(item)
        if kind is str:
            return [b"unicode", utf8(item)]  # type: ignore[arg-type]
        if kind is bytes or kind is int or kind is float:
            return item  # type: ignore[return-value]
        if item is None:
            return [b"None"]
        if kind is bool:
            return [b"boolean", b"true" if item else b"false"]
        if id(item) in met:
            number = shared.setdefault(id(item), len(shared) + 1)
            return [b"dereference", number]
        form: list[Encodable]
        atom = _SEQUENCES.get(kind)
        if atom is not None:
            met[id(item)] = form = [atom]
            form += map(put, item)  # type: ignore[arg-type]
        elif isinstance(item, dict) and kind is dict:
            met[id(item)] = form = [b"dictionary"]
            for key, element in item.items():
                form.append([put(key), put(element)])
        elif kind in _SCALARS:
            return _SCALARS[kind](item)
        elif isinstance(item, Local):
            return [b"remote", numbers.number_of(item)]
        elif isinstance(item, Remote):
            if not numbers.owns(item):
                raise LocalProtocolError(f"{item!r} is not of this connection, or is released")
            return [b"local", item.luid]
        elif isinstance(item, Copied):
            met[id(item)] = form = [item.tag]
            form.append(put(item.state))
        elif isinstance(item, Failure):
            kept.append(_failure_state(item))
            form = [FAILURE_TAG, put(kept[-1])]
        else:
            raise LocalProtocolError(f"a {kind.__module__}.{kind.__qualname__} cannot be sent")
        return form

    try:
        expression = put(value)
    except RecursionError:
        raise LocalProtocolError("a value nested too deep for the stack") from None
    for identity, number in shared.items():
        first = met[identity]
        first[:] = [b"reference", number, first[:]]
    return expression


def utf8(text: str) -> bytes:
    """Return the bytes of `text`; raises `LocalProtocolError` for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"text that UTF-8 cannot carry: {error.reason}") from None


def _failure_state(failure: Failure) -> Value:
    # Text that is not ASCII breaks str() of the failure on Twisted 11, bytes break its printing on Twisted 26.
    return {
        "type": failure.kind.encode("ascii", "backslashreplace"),
        "value": failure.message.encode("ascii", "backslashreplace").decode(),
        "parents": list(failure.lineage()),
        "traceback": failure.traceback.encode("ascii", "backslashreplace").decode(),
        "tb": None,
        "frames": [],
        "stack": [],
        "captureVars": False,
        "unsafeTracebacks": False,
        "count": 0,
        "pickled": 1,
    }


def _datetime(moment: datetime.datetime) -> Encodable:
    if moment.tzinfo is not None:
        raise LocalProtocolError("a datetime with a time zone cannot be sent")
    fields = (
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond,
    )
    return [b"datetime", _fields(*fields)]


def _time(moment: datetime.time) -> Encodable:
    if moment.tzinfo is not None:
        raise LocalProtocolError("a time with a time zone cannot be sent")
    return [b"time", _fields(moment.hour, moment.minute, moment.second, moment.microsecond)]


def _decimal(number: Decimal) -> Encodable:
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise LocalProtocolError(f"the decimal {number} cannot be sent")
    if len(digits) > _MOST_DECIMAL_DIGITS:
        raise LocalProtocolError(f"a decimal of more than {_MOST_DECIMAL_DIGITS} digits cannot be sent")
    magnitude = int("".join(map(str, digits)))
    return [b"decimal", -magnitude if sign else magnitude, exponent]


def _fields(*numbers: int) -> bytes:
    return " ".join(map(str, numbers)).encode()


_SCALARS: Final[dict[type, Callable[..., Encodable]]] = {
    datetime.datetime: _datetime,
    datetime.date: lambda day: [b"date", _fields(day.year, day.month, day.day)],
    datetime.time: _time,
    datetime.timedelta: lambda span: [b"timedelta", _fields(span.days, span.seconds, span.microseconds)],
    Decimal: _decimal,
    Unpersistable: lambda placeholder: [b"unpersistable", utf8(placeholder.reason)],
}


_SEQUENCES: Final[dict[type, bytes]] = {list: b"list", tuple: b"tuple", set: b"set", frozenset: b"frozenset"}


class _Unresolved:
    """Stands for an object that is not complete yet; once it is, `fixes` are told of it and `whole` is it."""

    __slots__ = ("fixes", "whole")

    def __init__(self) -> None:
        self.fixes: list[Callable[[Value], tuple[_Unresolved, Value] | None]] = []
        self.whole: _Read = self


_Read: TypeAlias = "Value | _Unresolved"


class Unjellier:
    """Reads the expressions of one value. Numbers of shared objects hold only within it.

    Args:
        objects: resolves `remote` and `local`.
        tags: the tags of copied objects that are accepted besides failures.
    """

    def __init__(self, objects: Objects, tags: frozenset[bytes] = frozenset()) -> None:
        self._objects = objects
        self._tags = tags
        self._shared: dict[int | bytes, _Read] = {}
        self._defined: set[int | bytes] = set()
        self._unresolved = 0
        self._key_depth = 0
        self._hard_keys = 0
        self._key_elements = 0

    def read(self, expression: Expression) -> Value:
        """Return the value.

        Raises:
            UnreadableValue: malformed, or something that is never accepted.
        """
        value = self._read(expression)
        if self._unresolved or isinstance(value, _Unresolved):
            raise UnreadableValue("builtins.ValueError", "a dereference without its reference")
        return value

    def _read(self, expression: Expression) -> _Read:
        if type(expression) is not list:
            return expression  # type: ignore[return-value]
        if not expression:
            raise UnreadableValue("builtins.IndexError", "an empty list is no value")
        atom = expression[0]
        if type(atom) is not bytes:
            raise UnreadableValue("builtins.TypeError", "a value that does not begin with an atom")
        reader = _READERS.get(atom)
        if reader is not None:
            return reader(self, expression)
        if atom == FAILURE_TAG:
            return self._failure(self._read(_argument(expression)))
        if atom in self._tags:
            return self._copied(atom, self._read(_argument(expression)))
        raise UnreadableValue(INSECURE, atom[:200].decode("ascii", "backslashreplace"))

    def _none(self, expression: list[Expression]) -> _Read:
        return None

    def _boolean(self, expression: list[Expression]) -> _Read:
        word = _argument(expression)
        if word == b"true":
            return True
        if word == b"false":
            return False
        raise UnreadableValue("builtins.AssertionError", "a boolean is true or false")

    def _unicode(self, expression: list[Expression]) -> _Read:
        word = expression[1] if len(expression) > 1 else None
        try:
            return (word if type(word) is bytes else _word(expression)).decode()
        except UnicodeDecodeError as error:
            raise UnreadableValue("builtins.UnicodeDecodeError", f"text is not UTF-8: {error.reason}") from None

    def _list(self, expression: list[Expression]) -> _Read:
        out: list[Value] = []
        for element in expression[1:]:
            value = self._read(element)
            if isinstance(value, _Unresolved):
                value.fixes.append(_setter(out, len(out)))
                value = None
            out.append(value)
        return out

    def _tuple(self, expression: list[Expression]) -> _Read:
        return self._immutable([self._read(element) for element in expression[1:]], tuple)

    def _frozenset(self, expression: list[Expression]) -> _Read:
        return self._immutable([self._key(element) for element in expression[1:]], frozenset)

    def _set(self, expression: list[Expression]) -> _Read:
        out: set[Value] = set()
        for element in expression[1:]:
            out.add(self._key(element))
        return out

    def _dictionary(self, expression: list[Expression]) -> _Read:
        out: dict[Value, Value] = {}
        for pair in expression[1:]:
            if type(pair) is not list or len(pair) != 2:
                raise UnreadableValue("builtins.ValueError", "a dictionary holds pairs")
            key = self._key(pair[0])
            value = self._read(pair[1])
            if isinstance(value, _Unresolved):
                value.fixes.append(_setter(out, key))
                value = None
            out[key] = value
        return out

    def _key(self, expression: Expression) -> Value:
        """Read what will be hashed. Hashing a tuple that shares its parts could take exponential time."""
        self._key_depth += 1
        value = self._read(expression)
        self._key_depth -= 1
        kind = type(value)
        if kind is bytes or kind is str:
            return value  # type: ignore[return-value]
        if isinstance(value, (_Unresolved, list, dict, set, Copied, Failure)):
            raise UnreadableValue("builtins.TypeError", "a key or member that cannot be hashed")
        if isinstance(value, (tuple, frozenset, Decimal)) or (isinstance(value, int) and abs(value) >= _HASH_MODULUS):
            self._hard_keys += 1
            if self._hard_keys > _MOST_HARD_KEYS:
                raise UnreadableValue("builtins.ValueError", f"more than {_MOST_HARD_KEYS} unusual keys")
        try:
            hash(value)
        except TypeError:
            raise UnreadableValue("builtins.TypeError", "a key or member that cannot be hashed") from None
        return value

    def _immutable(self, items: list[_Read], make: Callable[[list[Value]], Value]) -> _Read:
        if self._key_depth:
            self._key_elements += len(items)
            if self._key_elements > _MOST_KEY_ELEMENTS:
                raise UnreadableValue("builtins.ValueError", f"keys of more than {_MOST_KEY_ELEMENTS} elements")
        # An element may have been completed while those after it were read.
        items = [item.whole if isinstance(item, _Unresolved) else item for item in items]
        waiting = [n for n, item in enumerate(items) if isinstance(item, _Unresolved)]
        if not waiting:
            return make(items)  # type: ignore[arg-type]
        mine = _Unresolved()
        self._unresolved += 1
        left = len(waiting)

        def fill(n: int) -> Callable[[Value], tuple[_Unresolved, Value] | None]:
            def fix(value: Value) -> tuple[_Unresolved, Value] | None:
                nonlocal left
                items[n] = value
                left -= 1
                return None if left else (mine, make(items))  # type: ignore[arg-type]

            return fix

        for n in waiting:
            items[n].fixes.append(fill(n))  # type: ignore[union-attr]
        return mine

    def _reference(self, expression: list[Expression]) -> _Read:
        number = _number(_argument(expression))
        if number in self._defined:
            raise UnreadableValue("builtins.AssertionError", f"reference {number!r} is defined twice")
        self._defined.add(number)
        holder = self._holder(number)
        value = self._read(_argument(expression, 2))
        if isinstance(value, _Unresolved):
            value.fixes.append(lambda whole: self._define(number, holder, whole))
            return value
        self._settle(self._define(number, holder, value))
        return value

    def _dereference(self, expression: list[Expression]) -> _Read:
        number = _number(_argument(expression))
        value = self._shared.get(number, self)
        if value is self:
            return self._holder(number)
        if self._key_depth and isinstance(value, (tuple, frozenset)) and value:
            raise UnreadableValue("builtins.TypeError", "a shared tuple or frozenset as a key or member")
        return value  # type: ignore[return-value]

    def _holder(self, number: int | bytes) -> _Unresolved:
        holder = self._shared.get(number)
        if not isinstance(holder, _Unresolved):
            holder = self._shared[number] = _Unresolved()
            self._unresolved += 1
        return holder

    def _define(self, number: int | bytes, holder: _Unresolved, value: Value) -> tuple[_Unresolved, Value]:
        self._shared[number] = value
        return holder, value

    def _settle(self, first: tuple[_Unresolved, Value]) -> None:
        # A loop, not recursion: a peer can chain as many references as a message holds.
        todo = [first]
        while todo:
            holder, value = todo.pop()
            holder.whole = value
            self._unresolved -= 1
            todo += filter(None, (fix(value) for fix in holder.fixes))

    def _numbers(self, expression: list[Expression]) -> list[int]:
        try:
            return [int(field) for field in _word(expression).split(b" ") if field]
        except ValueError:
            raise UnreadableValue("builtins.ValueError", "a date or time of something else than numbers") from None

    def _datetime(self, expression: list[Expression]) -> _Read:
        return _build(datetime.datetime, self._numbers(expression))

    def _date(self, expression: list[Expression]) -> _Read:
        return _build(datetime.date, self._numbers(expression))

    def _time(self, expression: list[Expression]) -> _Read:
        return _build(datetime.time, self._numbers(expression))

    def _timedelta(self, expression: list[Expression]) -> _Read:
        numbers = self._numbers(expression)
        if len(numbers) != 3:
            raise UnreadableValue("builtins.ValueError", "a timedelta is days, seconds and microseconds")
        return _build(datetime.timedelta, numbers)

    def _decimal(self, expression: list[Expression]) -> _Read:
        magnitude, exponent = _argument(expression), _argument(expression, 2)
        if type(magnitude) is not int or type(exponent) is not int or abs(exponent) > 10**9:
            raise UnreadableValue("builtins.ValueError", "a decimal is two integers")
        return Decimal((int(magnitude < 0), tuple(map(int, str(abs(magnitude)))), exponent))

    def _unpersistable(self, expression: list[Expression]) -> _Read:
        return Unpersistable(_word(expression).decode("utf-8", "backslashreplace"))

    def _persistent(self, expression: list[Expression]) -> _Read:
        return Unpersistable("Persistent callback not found")

    def _remote(self, expression: list[Expression]) -> _Read:
        return self._objects.remote(_number(_argument(expression)))

    def _local(self, expression: list[Expression]) -> _Read:
        return self._objects.local(_number(_argument(expression)))

    def _copied(self, tag: bytes, state: _Read) -> _Read:
        if isinstance(state, _Unresolved):
            raise UnreadableValue("builtins.ValueError", "the state of a copied object is not complete")
        return Copied(tag, state)

    def _failure(self, state: _Read) -> _Read:
        if not isinstance(state, dict):
            raise UnreadableValue("builtins.ValueError", "the state of a failure is a dictionary")
        fields = {_as_text(key): value for key, value in state.items()}
        parents = fields.get("parents")
        return Failure(
            kind=_as_text(fields.get("type", "")),
            message=_as_text(fields.get("value", "")),
            parents=tuple(map(_as_text, parents)) if isinstance(parents, (list, tuple)) else (),
            traceback=_as_text(fields.get("traceback", "")),
        )


_READERS: Final[dict[bytes, Callable[[Unjellier, list[Expression]], _Read]]] = {
    b"None": Unjellier._none,
    b"boolean": Unjellier._boolean,
    b"unicode": Unjellier._unicode,
    b"list": Unjellier._list,
    b"tuple": Unjellier._tuple,
    b"dictionary": Unjellier._dictionary,
    b"set": Unjellier._set,
    b"frozenset": Unjellier._frozenset,
    b"reference": Unjellier._reference,
    b"dereference": Unjellier._dereference,
    b"datetime": Unjellier._datetime,
    b"date": Unjellier._date,
    b"time": Unjellier._time,
    b"timedelta": Unjellier._timedelta,
    b"decimal": Unjellier._decimal,
    b"unpersistable": Unjellier._unpersistable,
    b"persistent": Unjellier._persistent,
    b"remote": Unjellier._remote,
    b"local": Unjellier._local,
}


def _argument(expression: list[Expression], n: int = 1) -> Expression:
    if len(expression) <= n:
        raise UnreadableValue("builtins.IndexError", "a value is cut short")
    return expression[n]


def _word(expression: list[Expression]) -> bytes:
    word = _argument(expression)
    if type(word) is not bytes:
        raise UnreadableValue("builtins.TypeError", "a byte string was expected")
    return word


def _number(expression: Expression) -> int | bytes:
    if isinstance(expression, int) or (isinstance(expression, bytes) and len(expression) <= _LONGEST_NAME):
        return expression
    raise UnreadableValue("builtins.TypeError", "an object's number is an integer or a name")


def _setter(container: list[Value] | dict[Value, Value], where: Value) -> Callable[[Value], None]:
    def fix(value: Value) -> None:
        container[where] = value  # type: ignore[index]

    return fix


def _build(make: Callable[..., Value], numbers: list[int]) -> Value:
    try:
        return make(*numbers)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableValue(f"builtins.{type(error).__name__}", str(error)) from None


def _as_text(value: Value) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str):
        return value
    # Never str() of a container: one that shares its parts can be exponentially long in print.
    return str(value) if value is None or isinstance(value, (int, float)) else f"({type(value).__name__})"
