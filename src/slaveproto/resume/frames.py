"""Frames on a carrier: one byte for the kind, four for the length of the payload, and the payload.

Numbers are unsigned and big-endian. An offset counts the bytes of one direction since the stream began. The end of a
direction counts as one more byte, so that it is acknowledged as all others are.

    CHALLENGE  nonce (32)                                                           the server's first
    HELLO      nonce (32), stream (16, zeros for a new one), carrier (4), position (20), proof (32)
    WELCOME    stream (16), token (32, zeros for a known one), position (20), proof (32)
    REFUSED    reason (1), words (UTF-8)
    DATA       offset (8), bytes
    ACK        arrived (8), allowed (8)
    BEAT       nothing: a sign of life
    END        offset (8): no more bytes in this direction
    RESET      words (UTF-8): the stream is over in both directions

A position is: arrived (8), allowed (8), silence (4, in milliseconds). `arrived` is the offset of the first byte that is
missing, `allowed` the one of the first byte that must not be sent yet, `silence` the time after which the sender takes
a carrier for dead.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, TypeAlias, assert_never

from slaveproto.errors import RemoteProtocolError
from slaveproto.records import record

NONCE: Final = 32
ID: Final = 16
TOKEN: Final = 32
PROOF: Final = 32

LARGEST_WORDS: Final = 200
"""Bytes of the words of a refusal or a reset."""

LARGEST_DATA: Final = 256 * 1024
"""Bytes of one DATA frame."""

_HEADER: Final = struct.Struct(">BI")
_DATA_HEADER: Final = struct.Struct(">BIQ")
_OFFSET: Final = struct.Struct(">Q")
_ACK: Final = struct.Struct(">QQ")
_POSITION: Final = struct.Struct(">QQI")
_CARRIER: Final = struct.Struct(">I")
_LONGEST_SILENCE: Final = 2**32 - 1


class Kind(IntEnum):
    """Kinds of frames."""

    CHALLENGE = 1
    HELLO = 2
    WELCOME = 3
    REFUSED = 4
    DATA = 5
    ACK = 6
    BEAT = 7
    END = 8
    RESET = 9


class Reason(IntEnum):
    """Reasons of a refusal."""

    UNKNOWN = 1
    DENIED = 2
    STALE = 3
    FULL = 4
    LEAVING = 5


@record
class Position:
    """The place where one end is.

    Args:
        arrived: offset of the first byte that is missing.
        allowed: offset of the first byte that must not be sent yet.
        silence: seconds after which it takes a carrier for dead.
    """

    arrived: int
    allowed: int
    silence: float

    def pack(self) -> bytes:
        """Return its bytes on the wire."""
        return _POSITION.pack(self.arrived, self.allowed, min(round(self.silence * 1000), _LONGEST_SILENCE))


@record
class Challenge:
    """A server's first word."""

    nonce: bytes


@record
class Hello:
    """A client's first word. `stream` is empty for a new one, `carrier` counts the carriers of a stream."""

    nonce: bytes
    stream: bytes
    carrier: int
    position: Position
    proof: bytes


@record
class Welcome:
    """A server's answer. `token` is empty for a stream that was known."""

    stream: bytes
    token: bytes
    position: Position
    proof: bytes


@record
class Refusal:
    """A server's other answer."""

    reason: Reason
    words: str


@record
class Data:
    """Bytes from an offset on: a frame, or the part of it that came."""

    offset: int
    data: bytes


@record
class Ack:
    """Acknowledgement: the first byte that has not arrived, and the first that must not be sent."""

    arrived: int
    allowed: int


@record
class Beat:
    """A sign of life."""


@record
class End:
    """The end of a direction, at an offset."""

    offset: int


@record
class Reset:
    """The end of the stream."""

    words: str


Frame: TypeAlias = Challenge | Hello | Welcome | Refusal | Data | Ack | Beat | End | Reset

_BEAT: Final = Beat()


def hello_fields(stream: bytes, carrier: int, position: Position) -> bytes:
    """Return what a hello says and has to prove, besides the nonces."""
    return stream.ljust(ID, b"\0") + _CARRIER.pack(carrier) + position.pack()


def welcome_fields(stream: bytes, token: bytes, position: Position) -> bytes:
    """Return what a welcome says and has to prove, besides the nonces."""
    return stream + token.ljust(TOKEN, b"\0") + position.pack()


def write(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    match frame:
        case Challenge(nonce):
            return _frame(Kind.CHALLENGE, nonce)
        case Hello(nonce, stream, carrier, position, proof):
            return _frame(Kind.HELLO, nonce + hello_fields(stream, carrier, position) + proof)
        case Welcome(stream, token, position, proof):
            return _frame(Kind.WELCOME, welcome_fields(stream, token, position) + proof)
        case Refusal(reason, words):
            return _frame(Kind.REFUSED, bytes([reason]) + _pack_words(words))
        case Data(offset, data):
            return data_header(offset, len(data)) + data
        case Ack(arrived, allowed):
            return _frame(Kind.ACK, _ACK.pack(arrived, allowed))
        case Beat():
            return _frame(Kind.BEAT, b"")
        case End(offset):
            return _frame(Kind.END, _OFFSET.pack(offset))
        case Reset(words):
            return _frame(Kind.RESET, _pack_words(words))
        case _:
            assert_never(frame)


def data_header(offset: int, length: int) -> bytes:
    """Return the bytes of a DATA frame before its `length` bytes."""
    return _DATA_HEADER.pack(Kind.DATA, _OFFSET.size + length, offset)


class FrameReader:
    """Reads frames. What is there of a DATA frame is a frame by itself, so no more than a small frame is held."""

    __slots__ = ("_buffer", "_left", "_offset", "_pos", "proven")

    def __init__(self) -> None:
        self.proven = False
        """Whether the handshake is over: before, only its frames may come, and after, only the others."""
        self._buffer = b""
        self._pos = 0
        # What is missing of a DATA frame, and the offset of its next byte.
        self._left = 0
        self._offset = 0

    def feed(self, data: bytes) -> None:
        """Take bytes; only once there is no frame any more."""
        self._buffer = self._buffer[self._pos :] + data if self._pos < len(self._buffer) else data
        self._pos = 0

    def next_frame(self) -> Frame | None:
        """Return the next frame, None if more bytes have to come.

        Raises:
            RemoteProtocolError: it is none, or not of this phase.
        """
        buffer, pos = self._buffer, self._pos
        there = len(buffer) - pos
        if self._left and there:
            return self._piece(min(there, self._left))
        if there < _HEADER.size:
            return None
        code, length = _HEADER.unpack_from(buffer, pos)
        smallest, largest = _SIZES_PROVEN.get(code, _NONE) if self.proven else _SIZES_BEFORE.get(code, _NONE)
        if not smallest <= length <= largest:
            raise RemoteProtocolError(f"a frame of kind {code} with {length} bytes is not possible here")
        if code == Kind.DATA:
            if there < _DATA_HEADER.size:
                return None
            self._pos = pos + _DATA_HEADER.size
            self._offset = _OFFSET.unpack_from(buffer, pos + _HEADER.size)[0]
            self._left = length - _OFFSET.size
            return self._piece(min(len(buffer) - self._pos, self._left)) if self._pos < len(buffer) else None
        start, stop = pos + _HEADER.size, pos + _HEADER.size + length
        if stop > len(buffer):
            return None
        self._pos = stop
        return _read(Kind(code), buffer[start:stop])

    def _piece(self, size: int) -> Data:
        start, self._pos = self._pos, self._pos + size
        piece = Data(self._offset, self._buffer[start : self._pos])
        self._left -= size
        self._offset += size
        return piece


_POSITION_AND_PROOF: Final = _POSITION.size + PROOF
_HELLO: Final = NONCE + ID + _CARRIER.size + _POSITION_AND_PROOF
_WELCOME: Final = ID + TOKEN + _POSITION_AND_PROOF

_NONE: Final = (1, 0)

_SIZES_BEFORE: Final = {
    int(Kind.CHALLENGE): (NONCE, NONCE),
    int(Kind.HELLO): (_HELLO, _HELLO),
    int(Kind.WELCOME): (_WELCOME, _WELCOME),
    int(Kind.REFUSED): (1, 1 + LARGEST_WORDS),
}
"""Fewest and most bytes of payload in the handshake."""

_SIZES_PROVEN: Final = {
    int(Kind.DATA): (_OFFSET.size + 1, _OFFSET.size + LARGEST_DATA),
    int(Kind.ACK): (_ACK.size, _ACK.size),
    int(Kind.BEAT): (0, 0),
    int(Kind.END): (_OFFSET.size, _OFFSET.size),
    int(Kind.RESET): (0, LARGEST_WORDS),
}
"""The same, after it."""


def _frame(kind: Kind, payload: bytes) -> bytes:
    return _HEADER.pack(kind, len(payload)) + payload


def _read(kind: Kind, payload: bytes) -> Frame:
    match kind:
        case Kind.ACK:
            return Ack(*_ACK.unpack(payload))
        case Kind.BEAT:
            return _BEAT
        case Kind.END:
            return End(_OFFSET.unpack(payload)[0])
        case Kind.RESET:
            return Reset(_unpack_words(payload))
        case Kind.CHALLENGE:
            return Challenge(payload)
        case Kind.HELLO:
            nonce, stream, carrier = payload[:NONCE], payload[NONCE : NONCE + ID], payload[NONCE + ID :]
            number = _CARRIER.unpack_from(carrier)[0]
            position = _read_position(carrier, _CARRIER.size)
            return Hello(nonce, b"" if not any(stream) else stream, number, position, payload[-PROOF:])
        case Kind.WELCOME:
            stream, token = payload[:ID], payload[ID : ID + TOKEN]
            position = _read_position(payload, ID + TOKEN)
            return Welcome(stream, b"" if not any(token) else token, position, payload[-PROOF:])
        case Kind.REFUSED:
            try:
                reason = Reason(payload[0])
            except ValueError:
                raise RemoteProtocolError(f"a refusal has no reason {payload[0]}") from None
            return Refusal(reason, _unpack_words(payload[1:]))
        case Kind.DATA:
            raise AssertionError("data is read in pieces")
        case _:
            assert_never(kind)


def _read_position(payload: bytes, start: int) -> Position:
    arrived, allowed, silence = _POSITION.unpack_from(payload, start)
    return Position(arrived, allowed, silence / 1000)


def _pack_words(words: str) -> bytes:
    return words.encode("utf-8", "backslashreplace")[:LARGEST_WORDS]


def _unpack_words(data: bytes) -> str:
    # For people: cut within a character, or unprintable, it is still to be read.
    words = data.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else "?" for letter in words)
