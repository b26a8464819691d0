"""Frames: whole, byte by byte, with what follows; wrong lengths, and kinds of the other phase."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.errors import RemoteProtocolError
from slaveproto.resume.frames import (
    LARGEST_DATA,
    LARGEST_WORDS,
    Ack,
    Beat,
    Challenge,
    Data,
    End,
    Frame,
    FrameReader,
    Hello,
    Kind,
    Position,
    Reason,
    Refusal,
    Reset,
    Welcome,
    write,
)

PLACE = Position(5, 4096, 30.0)
HANDSHAKE: tuple[Frame, ...] = (
    Challenge(b"n" * 32),
    Hello(b"n" * 32, b"", 1, PLACE, b"p" * 32),
    Hello(b"n" * 32, b"i" * 16, 7, PLACE, b"p" * 32),
    Welcome(b"i" * 16, b"t" * 32, PLACE, b"p" * 32),
    Welcome(b"i" * 16, b"", PLACE, b"p" * 32),
    Refusal(Reason.UNKNOWN, "not here"),
)
PROVEN: tuple[Frame, ...] = (
    Data(0, b"x"),
    Data(2**40, b"data" * 1000),
    Ack(3, 2**63),
    Beat(),
    End(17),
    Reset("enough"),
    Reset(""),
)


def read(data: bytes, piece: int, *, proven: bool) -> list[Frame]:
    """All frames in some bytes; pieces of one DATA frame are put together."""
    reader = FrameReader()
    reader.proven = proven
    found: list[Frame] = []
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        while (frame := reader.next_frame()) is not None:
            last = found[-1] if found else None
            if isinstance(frame, Data) and isinstance(last, Data) and last.offset + len(last.data) == frame.offset:
                found[-1] = Data(last.offset, last.data + frame.data)
            else:
                found.append(frame)
    return found


@pytest.mark.parametrize("frame", HANDSHAKE + PROVEN, ids=repr)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_a_frame_is_read_as_it_was_written(frame: Frame, piece: int) -> None:
    proven = frame in PROVEN
    assert read(write(frame), piece, proven=proven) == [frame]
    after = write(Beat() if proven else Challenge(b"m" * 32))
    assert read(write(frame) + after, piece, proven=proven) == [frame, Beat() if proven else Challenge(b"m" * 32)]


@pytest.mark.parametrize("frame", HANDSHAKE + PROVEN, ids=repr)
def test_a_frame_of_the_other_phase_is_refused(frame: Frame) -> None:
    with pytest.raises(RemoteProtocolError, match="not possible here"):
        read(write(frame), 10_000, proven=frame not in PROVEN)


@pytest.mark.parametrize("code", [*Kind, 0, 10, 255])
@pytest.mark.parametrize("proven", [False, True])
def test_wrong_lengths_are_refused_before_their_bytes_come(code: int, proven: bool) -> None:
    right = {len(write(frame)) - 5 for frame in (PROVEN if proven else HANDSHAKE) if write(frame)[0] == code}
    for length in (0, 1, 8, 15, 31, 33, 104, 200, 202, 5000, LARGEST_DATA + 9, 2**32 - 1):
        reader = FrameReader()
        reader.proven = proven
        reader.feed(struct.pack(">BI", code, length))
        variable = (code == Kind.DATA and 9 <= length <= LARGEST_DATA + 8) or (
            code == Kind.RESET and length <= LARGEST_WORDS
        )
        if code == Kind.REFUSED:
            variable = 1 <= length <= LARGEST_WORDS + 1
        known = any(write(frame)[0] == code for frame in (PROVEN if proven else HANDSHAKE))
        if known and (length in right or variable):
            reader.next_frame()
        else:
            with pytest.raises(RemoteProtocolError):
                reader.next_frame()


def test_a_refusal_without_a_reason_is_refused() -> None:
    data = write(Refusal(Reason.FULL, "x"))
    with pytest.raises(RemoteProtocolError, match="no reason 99"):
        read(data[:5] + b"\x63" + data[6:], 100, proven=False)


def test_words_are_cut_and_printable() -> None:
    (frame,) = read(write(Reset("\u20ac" * 100 + "\n")), 1000, proven=True)
    assert isinstance(frame, Reset)
    assert frame.words.startswith("\u20ac" * 66)
    assert frame.words.isprintable()


@given(st.lists(st.sampled_from(PROVEN), max_size=5), st.integers(1, 50))
def test_frames_in_pieces(frames: list[Frame], piece: int) -> None:
    assert b"".join(map(write, read(b"".join(map(write, frames)), piece, proven=True))) == b"".join(map(write, frames))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data: bytes, proven: bool) -> None:
    with contextlib.suppress(RemoteProtocolError):
        read(data, 7, proven=proven)
