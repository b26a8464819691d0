"""Plain values: from Python to bytes and back in one go, without the expressions of Banana between.

Nearly every message carries nothing but text, bytes, numbers, lists, tuples and dictionaries, is small, and arrives
whole. Such are read and written here, in a third of the time; whatever is not plain is left to `banana` and `jelly`.

Rules of this file. What it writes is what those two would write, and what it reads is what they would read. It judges
nothing: whatever is not plain, not whole or not sound is `NotPlain`, and those two say what it is. Only profile `pb`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from slaveproto.limits import Limits
from slaveproto.wire.banana import (
    INT,
    LIST,
    LONGEST_WORD,
    SHORT_STRINGS,
    STRING,
    VOCAB,
    VOCABULARY,
    WORD_TOKENS,
    Expression,
    integer,
    string_header,
)
from slaveproto.wire.values import Value

DEPTH: Final = 16
"""Lists inside lists in the deepest plain message."""

# The message itself, and the list which marks a text, are lists, too.
_NESTING: Final = DEPTH - 2
_LONGEST_LIST: Final = 126
_MOST_DIGITS: Final = 4


class NotPlain(Exception):
    """A message that is left to `banana` and `jelly`."""


def largest(limits: Limits) -> int:
    """Return how many bytes a plain message may have, so that no limit is exceeded, whatever is in it."""
    if limits.depth < DEPTH or limits.prefix <= _MOST_DIGITS:
        return 0
    return min(limits.string, limits.elements, limits.message, limits.message_elements)


def _word(word: bytes) -> bytes:
    return bytes((VOCABULARY.index(word) + 1, VOCAB))


CALL: Final = bytes((7, LIST)) + _word(b"message")
"""First bytes of a call."""

ANSWER: Final = bytes((3, LIST)) + _word(b"answer")
"""First bytes of an answer."""

_UNICODE: Final = bytes((2, LIST, 7, STRING)) + b"unicode"
_TRUE: Final = bytes((2, LIST, 7, STRING)) + b"boolean" + bytes((4, STRING)) + b"true"
_FALSE: Final = bytes((2, LIST, 7, STRING)) + b"boolean" + bytes((5, STRING)) + b"false"
_NONE: Final = bytes((1, LIST)) + _word(b"None")
_NO_KEYWORDS: Final = bytes((1, LIST)) + _word(b"dictionary")
_PAIR: Final = bytes((2, LIST))

_TEXT_KEY: Final = _PAIR + _UNICODE
_TUPLE: Final = bytes((LIST,)) + _word(b"tuple")

_TEXTS: Final = tuple(_UNICODE + header for header in SHORT_STRINGS)


def _headers(word: bytes) -> tuple[bytes, ...]:
    return tuple(bytes((size + 1, LIST)) + _word(word) for size in range(_LONGEST_LIST + 1))


_HEADERS: Final[dict[type, tuple[bytes, ...]]] = {
    list: _headers(b"list"),
    tuple: _headers(b"tuple"),
    dict: _headers(b"dictionary"),
}


# -- writing


def write_call(number: int, luid: int | bytes, method: str, wants_answer: bool, args: tuple[Value, ...]) -> bytes:
    """Return the bytes of a call without keyword arguments; raises NotPlain."""
    if type(luid) is not int:
        raise NotPlain
    try:
        out = [CALL, integer(number), integer(luid)]
        _put((method.encode(), int(wants_answer), args), out.append, set(), _NESTING)
    except UnicodeEncodeError:
        raise NotPlain from None
    out.append(_NO_KEYWORDS)
    return b"".join(out)


def write_answer(number: Expression, value: Value) -> bytes:
    """Return the bytes of an answer; raises NotPlain."""
    if type(number) is not int:
        raise NotPlain
    out = [ANSWER, integer(number)]
    try:
        _put((value,), out.append, set(), _NESTING)
    except UnicodeEncodeError:
        raise NotPlain from None
    return b"".join(out)


def _put(items: Iterable[Any], add: Callable[[bytes], None], met: set[int], nesting: int) -> None:
    for item in items:
        kind = type(item)
        if kind is str:
            raw = item.encode()
            size = len(raw)
            if size <= LONGEST_WORD and raw in WORD_TOKENS:
                add(_UNICODE)
                add(WORD_TOKENS[raw])
            else:
                add(_TEXTS[size] if size < 128 else _UNICODE + string_header(size))
                add(raw)
        elif kind is int:
            add(integer(item))
        elif kind in _HEADERS:
            size = len(item)
            # What occurs twice is written once.
            if id(item) in met or not nesting or size > _LONGEST_LIST:
                raise NotPlain
            met.add(id(item))
            add(_HEADERS[kind][size])
            if kind is not dict:
                _put(item, add, met, nesting - 1)
            elif nesting == 1:
                raise NotPlain
            else:
                for pair in item.items():
                    add(_PAIR)
                    _put(pair, add, met, nesting - 2)
        elif kind is bytes:
            size = len(item)
            if size <= LONGEST_WORD and item in WORD_TOKENS:
                add(WORD_TOKENS[item])
            else:
                add(SHORT_STRINGS[size] if size < 128 else string_header(size))
                add(item)
        elif item is None:
            add(_NONE)
        elif kind is bool:
            add(_TRUE if item else _FALSE)
        else:
            raise NotPlain


# -- reading: each function takes the bytes and where to begin, and returns what is there and where it ends. Whether it
# ends behind the end of the bytes is looked at once, in the end.


def read_call(data: bytes, pos: int) -> tuple[int, int, str, int, tuple[Value, ...], int]:
    """Read a call that begins with `CALL`: number, luid, method, whether an answer is wanted, arguments; and its end.

    Raises:
        NotPlain: or not plain, or with keywords.
    """
    try:
        number, pos = _integer(data, pos + len(CALL))
        luid, pos = _integer(data, pos)
        size, start = data[pos], pos + 2
        stop = start + size
        wants_answer, pos = _integer(data, stop)
        if size >= 0x80 or data[start - 1] != STRING or data[pos + 1 : pos + 4] != _TUPLE:
            raise NotPlain
        args, pos = _list(data, pos, _NESTING)
        if not data.startswith(_NO_KEYWORDS, pos):
            raise NotPlain
        return number, luid, data[start:stop].decode(), wants_answer, tuple(args), pos + len(_NO_KEYWORDS)
    except (IndexError, UnicodeDecodeError):
        raise NotPlain from None


def read_answer(data: bytes, pos: int) -> tuple[int, Value, int]:
    """Read an answer that begins with `ANSWER`: number and value; and its end; raises NotPlain."""
    try:
        number, pos = _integer(data, pos + len(ANSWER))
        value, pos = _READERS.get(data[pos + 1 : pos + 4], _leaf)(data, pos, _NESTING)
    except (IndexError, UnicodeDecodeError):
        raise NotPlain from None
    if pos > len(data):
        raise NotPlain
    return number, value, pos


_Reader: TypeAlias = "Callable[[bytes, int, int], tuple[Value, int]]"


def _header(data: bytes, pos: int) -> tuple[int, int, int]:
    number = shift = 0
    for kind in data[pos : pos + _MOST_DIGITS + 1]:
        pos += 1
        if kind >= 0x80:
            if not shift:
                break
            return number, kind, pos
        number |= kind << shift
        shift += 7
    raise NotPlain


def _integer(data: bytes, pos: int) -> tuple[int, int]:
    number, digit = data[pos], data[pos + 1]
    if number < 0x80:
        if digit == INT:
            return number, pos + 2
        # Most calls of a connection have such a number.
        if digit < 0x80 and data[pos + 2] == INT:
            return number | digit << 7, pos + 3
    number, kind, pos = _header(data, pos)
    if kind != INT:
        raise NotPlain
    return number, pos


def _leaf(data: bytes, pos: int, nesting: int) -> tuple[Value, int]:
    number = data[pos]
    if data[pos + 1] == INT and number < 0x80:
        return number, pos + 2
    number, kind, pos = _header(data, pos)
    if kind == STRING:
        stop = pos + number
        return data[pos:stop], stop
    if kind == INT:
        return number, pos
    return _known(number, kind), pos


def _known(number: int, kind: int) -> bytes:
    if kind != VOCAB or not 0 < number <= len(VOCABULARY):
        raise NotPlain
    return VOCABULARY[number - 1]


def _text(data: bytes, pos: int, nesting: int) -> tuple[Value, int]:
    if data.startswith(_UNICODE, pos):
        return _decoded(data, pos + len(_UNICODE))
    if data.startswith(_TRUE, pos):
        return True, pos + len(_TRUE)
    if data.startswith(_FALSE, pos):
        return False, pos + len(_FALSE)
    raise NotPlain


def _decoded(data: bytes, pos: int) -> tuple[str, int]:
    size = data[pos]
    if data[pos + 1] == STRING and size < 0x80:
        pos += 2
    else:
        size, kind, pos = _header(data, pos)
        if kind != STRING:
            return _known(size, kind).decode(), pos
    stop = pos + size
    return data[pos:stop].decode(), stop


def _none(data: bytes, pos: int, nesting: int) -> tuple[Value, int]:
    if data[pos] != 1:
        raise NotPlain
    return None, pos + len(_NONE)


def _list(data: bytes, pos: int, nesting: int) -> tuple[list[Value], int]:
    left = data[pos] - 1
    if not nesting or not 0 <= left <= _LONGEST_LIST:
        raise NotPlain
    pos += 4
    nesting -= 1
    items: list[Value] = []
    # Most have one element or two: to make a range would take as long as to read them.
    while left:
        left -= 1
        item, pos = _READERS.get(data[pos + 1 : pos + 4], _leaf)(data, pos, nesting)
        items.append(item)
    return items, pos


def _tuple(data: bytes, pos: int, nesting: int) -> tuple[Value, int]:
    items, pos = _list(data, pos, nesting)
    return tuple(items), pos


def _dictionary(data: bytes, pos: int, nesting: int) -> tuple[Value, int]:
    left = data[pos] - 1
    if nesting < 2 or not 0 <= left <= _LONGEST_LIST:
        raise NotPlain
    pos += 4
    nesting -= 2
    items: dict[Value, Value] = {}
    key: Value
    while left:
        left -= 1
        if data.startswith(_TEXT_KEY, pos):
            key, pos = _decoded(data, pos + len(_TEXT_KEY))
        elif data.startswith(_PAIR, pos) and data[pos + 3] in (STRING, VOCAB):
            key, pos = _leaf(data, pos + 2, 0)
        else:
            raise NotPlain
        items[key], pos = _READERS.get(data[pos + 1 : pos + 4], _leaf)(data, pos, nesting)
    return items, pos


# By what follows the number of elements: that it is a list, and the word that it begins with.
_READERS: Final[dict[bytes, _Reader]] = {
    bytes((LIST, 7, STRING)): _text,
    bytes((LIST,)) + _word(b"None"): _none,
    bytes((LIST,)) + _word(b"list"): _list,
    _TUPLE: _tuple,
    bytes((LIST,)) + _word(b"dictionary"): _dictionary,
}
