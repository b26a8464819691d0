"""Logs that have a largest size: the beginning and the end are kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.bounded_log import TAIL, BoundedLog


def written(path: Path, most: int, pieces: list[bytes]) -> bytes:
    with open(path, "wb", buffering=0) as file:
        log = BoundedLog(file, most)
        for piece in pieces:
            log.write(piece)
        log.close()
        assert file.closed
    return path.read_bytes()


@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 30), max_size=12),
)
def test_any_pieces(tmp_path_factory: pytest.TempPathFactory, most: int, sizes: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "log"
    count = iter(range(100_000))
    pieces = [bytes(97 + next(count) % 26 for _ in range(size)) for size in sizes]
    whole = b"".join(pieces)
    found = written(path, most, pieces)
    if len(whole) <= most:
        assert found == whole
        return
    match = re.fullmatch(rb"(.*)\n\[(\d+) bytes are left out here: log_max_size is (\d+)\]\n(.*)", found, re.DOTALL)
    assert match is not None
    head, left_out, limit, tail = match.groups()
    assert (len(head), len(tail), int(limit)) == (most - most // 2, most // 2, most)
    assert len(head) + len(tail) + int(left_out) == len(whole)
    assert whole.startswith(head)
    assert whole.endswith(tail)


def test_no_limit(tmp_path: Path) -> None:
    assert written(tmp_path / "log", 0, [b"x" * 100_000] * 50) == b"x" * 5_000_000


def test_an_endless_log(tmp_path: Path) -> None:
    """Its file does not grow, and neither does the memory."""
    most = 3 * TAIL
    found = written(tmp_path / "log", most, [b"%06d\n" % number * 10_000 for number in range(200)])
    assert most < len(found) < most + 100
    assert found.startswith(b"000000\n")
    assert found.endswith(b"000199\n")


def test_a_file_that_cannot_be_written_is_closed() -> None:
    with open("/dev/full", "wb", buffering=0) as file:
        # Its room is for the end alone.
        log = BoundedLog(file, 2)
        with pytest.raises(OSError, match="No space"):
            log.write(b"abc")
        log = BoundedLog(file, 2)
        log._room = 0
        log.write(b"abc")
        with pytest.raises(OSError, match="No space"):
            log.close()
        assert file.closed
