"""Banana: self-delimiting bytes for integers, floats, byte strings and lists.

An element is up to 64 base-128 digits, least significant first, then a type byte (the first one with its top bit
set), then a body. Source: `twisted/spread/banana.py` of Twisted 11.1 and 26.10, observed at the wire.

Rules of this file. Time is linear in the bytes fed, however they are cut. Size errors are raised at the header,
before a body is waited for. Nothing but `RemoteProtocolError` leaves the decoder, and nothing but
`LocalProtocolError` the encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final, TypeAlias

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits

Expression: TypeAlias = "int | float | bytes | list[Expression]"
"""A value that Banana carries. Lists only ever hold further expressions."""

Encodable: TypeAlias = "int | float | bytes | Sequence[Encodable]"
"""Values that may be written: of sequences only lists and tuples, both as a list."""


class NeedData(Enum):
    """The type of `NEED_DATA`; `event is NEED_DATA` narrows."""

    NEED_DATA = auto()


NEED_DATA: Final = NeedData.NEED_DATA
"""The sign that no complete expression is buffered: feed more bytes."""

LIST: Final = 0x80
INT: Final = 0x81
STRING: Final = 0x82
NEG: Final = 0x83
FLOAT: Final = 0x84
LONGINT: Final = 0x85
LONGNEG: Final = 0x86
VOCAB: Final = 0x87

VOCABULARY: Final[tuple[bytes, ...]] = (
    b"None", b"class", b"dereference", b"reference", b"dictionary", b"function", b"instance", b"list",
    b"module", b"persistent", b"tuple", b"unpersistable", b"copy", b"cache", b"cached", b"remote",
    b"local", b"lcache", b"version", b"login", b"password", b"challenge", b"logged_in", b"not_logged_in",
    b"cachemessage", b"message", b"answer", b"error", b"decref", b"decache", b"uncache",
)  # fmt: skip
"""The words of profile `pb`, numbered from 1."""

WORD_TOKENS: Final = {word: bytes((n, VOCAB)) for n, word in enumerate(VOCABULARY, 1)}
"""Bytes that are written for a word of the vocabulary."""

LONGEST_WORD: Final = max(map(len, VOCABULARY))
"""Bytes of the longest of them: to look up something longer would be to hash it for nothing."""

SHORT_STRINGS: Final = tuple(bytes((n, STRING)) for n in range(128))
"""Bytes that are written before a string of that length."""

_DOUBLE: Final = struct.Struct("!d")
_INT_MAX: Final = 2**31 - 1
_NEG_MIN: Final = -(2**31)
_SMALL_INTS: Final = tuple(bytes((n, INT)) for n in range(128))
_SHORT_LISTS: Final = tuple(bytes((n, LIST)) for n in range(128))


class Decoder:
    """Bytes in, one complete expression out at a time.

    Args:
        limits: what is refused.
        vocabulary: whether VOCAB tokens are allowed; set it to True once profile `pb` is agreed.
    """

    # A master has thousands.
    __slots__ = (
        "_before", "_chunks", "_data", "_elements", "_missing", "_open", "_pos", "_queued", "limits", "vocabulary",
    )  # fmt: skip

    def __init__(self, limits: Limits, *, vocabulary: bool = False) -> None:
        self.vocabulary = vocabulary
        self.limits = limits
        self._data = b""
        self._pos = 0
        self._chunks: list[bytes] = []
        self._queued = 0
        # How many queued bytes it takes before looking again is of any use.
        self._missing = 0
        # The open lists, outermost first, each with the number of elements it still waits for.
        self._open: list[tuple[list[Expression], int]] = []
        # Of the present message: bytes that came before `_data`, and elements announced.
        self._before = 0
        self._elements = 0

    @property
    def pending(self) -> bool:
        """Whether an expression has begun and is not complete."""
        return bool(self._open or self._queued or self._pos < len(self._data))

    def feed(self, data: bytes) -> None:
        """Buffer bytes; nothing is looked at before `next_expression`."""
        if data:
            self._chunks.append(data)
            self._queued += len(data)

    def ahead(self) -> tuple[bytes, int] | None:
        """Return what is buffered, and where in it the next top-level expression begins.

        None if an expression has begun, or if what is buffered is in pieces. `next_expression` or `skip` comes next.
        """
        if self._open:
            return None
        if self._queued:
            if self._pos < len(self._data) or len(self._chunks) > 1:
                return None
            self._data = self._chunks.pop()
            self._pos = self._queued = 0
        return self._data, self._pos

    def skip(self, stop: int) -> None:
        """Take what was seen with `ahead` for read, up to `stop`."""
        self._pos = stop
        if stop == len(self._data):
            # Thousands of connections need not keep what they have read.
            self._data, self._pos = b"", 0

    def next_expression(self) -> Expression | NeedData:
        """Return the next complete top-level expression.

        Raises:
            RemoteProtocolError: the bytes are not Banana, or a limit is exceeded. The decoder is useless afterwards.
        """
        if self._queued < self._missing or (not self._queued and self._pos == len(self._data)):
            return NEED_DATA
        self._missing = 0
        # Names of the function are found much faster than those of an object.
        limits = self.limits
        most_string, most_elements, most_in_all = limits.string, limits.elements, limits.message_elements
        most_depth, most_shift = limits.depth, 7 * limits.prefix
        vocabulary = self.vocabulary
        data, pos = self._data, self._pos
        base = pos
        opened = self._open
        depth, elements = len(opened), self._elements
        current, left = opened.pop() if opened else (None, 0)
        item: Expression
        while True:
            start = pos
            missing = 0
            try:
                number = data[pos]
                if number < 0x80:
                    kind = data[pos + 1]
                    pos += 2
                    if kind < 0x80:
                        shift = 7
                        while kind < 0x80:
                            if shift >= most_shift:
                                raise RemoteProtocolError(f"more than {limits.prefix} digits before a type byte")
                            number |= kind << shift
                            shift += 7
                            kind = data[pos]
                            pos += 1
                else:
                    kind = number
                    number = 0
                    pos += 1
                if kind == LIST:
                    if number > most_elements:
                        raise RemoteProtocolError(f"a list of {number} elements; the limit is {most_elements}")
                    elements += number
                    if elements > most_in_all:
                        raise RemoteProtocolError(f"a message of more than {most_in_all} elements")
                    if depth >= most_depth:
                        raise RemoteProtocolError(f"lists nested deeper than {most_depth}")
                    if number:
                        if current is not None:
                            opened.append((current, left))
                        current, left = [], number
                        depth += 1
                        continue
                    item = []
                elif kind == STRING:
                    if number > most_string:
                        raise RemoteProtocolError(f"a string of {number} bytes; the limit is {most_string}")
                    stop = pos + number
                    if stop > len(data):
                        missing = stop - len(data)
                        raise IndexError
                    item = data[pos:stop]
                    pos = stop
                elif kind == VOCAB:
                    if not vocabulary:
                        raise RemoteProtocolError("a vocabulary token outside profile pb")
                    if not 0 < number <= len(VOCABULARY):
                        raise RemoteProtocolError(f"no vocabulary word has number {number}")
                    item = VOCABULARY[number - 1]
                elif kind == INT or kind == LONGINT:
                    item = number
                elif kind == NEG or kind == LONGNEG:
                    item = -number
                elif kind == FLOAT:
                    if pos + 8 > len(data):
                        missing = pos + 8 - len(data)
                        raise IndexError
                    (item,) = _DOUBLE.unpack_from(data, pos)
                    pos += 8
                else:
                    raise RemoteProtocolError(f"invalid type byte 0x{kind:02x}")
            except IndexError:
                # The element that begins at `start` is cut short, by `missing` bytes if its header was complete.
                missing = missing or 1
                self._before += start - base
                if self._before + (len(data) - start) + missing > limits.message:
                    raise RemoteProtocolError(f"a message of more than {limits.message} bytes") from None
                if self._queued >= missing:
                    chunks = self._chunks
                    # A message that came in one piece is not copied.
                    whole = start == len(data) and len(chunks) == 1
                    data = self._data = chunks[0] if whole else b"".join((data[start:], *chunks))
                    chunks.clear()
                    self._queued = 0
                    base = pos = 0
                    continue
                self._pos = start
                self._missing = missing
                self._elements = elements
                if current is not None:
                    opened.append((current, left))
                return NEED_DATA

            while current is not None:
                current.append(item)
                left -= 1
                if left:
                    break
                item = current
                depth -= 1
                current, left = opened.pop() if opened else (None, 0)
            else:
                if self._before + pos - base > limits.message:
                    raise RemoteProtocolError(f"a message of more than {limits.message} bytes")
                self._pos = pos
                self._before = self._elements = 0
                return item


def encode(expression: Encodable, *, vocabulary: bool, limits: Limits) -> bytes:
    """Return the bytes of one expression.

    Args:
        expression: what to write; see `Encodable`.
        vocabulary: whether words of the vocabulary are abbreviated (profile `pb`).
        limits: the sizes that the peer reads.

    Raises:
        LocalProtocolError: a value of another type, an integer beyond 448 bits, or a limit exceeded.
    """
    out: list[bytes] = []
    add = out.append
    words = WORD_TOKENS if vocabulary else {}

    # One call for each list, none for what is in it: most of a message is short words and small numbers.
    def put(items: Sequence[object], depth: int) -> None:
        for item in items:
            kind = type(item)
            if kind is bytes:
                assert isinstance(item, bytes)
                size = len(item)
                word = words.get(item) if size <= LONGEST_WORD else None
                if word is not None:
                    add(word)
                    continue
                if size < 128:
                    add(SHORT_STRINGS[size])
                elif size > limits.string:
                    raise LocalProtocolError(f"a string of {size} bytes; the peer reads {limits.string}")
                else:
                    add(string_header(size))
                add(item)
            elif kind is list or kind is tuple:
                assert isinstance(item, (list, tuple))
                size = len(item)
                if size > limits.elements:
                    raise LocalProtocolError(f"a list of {size} elements; the peer reads {limits.elements}")
                if depth >= limits.depth:
                    raise LocalProtocolError(f"lists nested deeper than {limits.depth}")
                add(_SHORT_LISTS[size] if size < 128 else _digits(size) + b"\x80")
                put(item, depth + 1)
            elif kind is int or kind is bool:
                assert isinstance(item, int)
                add(integer(item))
            elif kind is float:
                add(b"\x84" + _DOUBLE.pack(item))
            else:
                raise LocalProtocolError(f"Banana cannot carry a {kind.__name__}")

    put((expression,), 0)
    return b"".join(out)


def string_header(size: int) -> bytes:
    """Return what is written before a string of `size` bytes."""
    return _digits(size) + b"\x82"


def integer(number: int) -> bytes:
    """Return what is written for an integer; raises LocalProtocolError beyond 448 bits."""
    if 0 <= number < 128:
        return _SMALL_INTS[number]
    if 0 <= number < 16384:
        return bytes((number & 0x7F, number >> 7, INT))
    if number.bit_length() > 448:
        raise LocalProtocolError("an integer of more than 448 bits")
    if number >= 0:
        return _digits(number) + (b"\x81" if number <= _INT_MAX else b"\x85")
    return _digits(-number) + (b"\x83" if number >= _NEG_MIN else b"\x86")


def _digits(number: int) -> bytes:
    if number < 128:
        return bytes((number,))
    digits = bytearray()
    while number:
        digits.append(number & 0x7F)
        number >>= 7
    return bytes(digits)
