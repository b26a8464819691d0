"""What people see: lines, colours, the status line; and that a reader who is stuck holds up nobody for ever."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.show.terminal import RED, UNREAD_LINES, LineSplitter, Terminal, clean, open_terminal


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\r", b"\nc"], [b"ab", b"c"]),
        ([b"a\r\r\nb\r\n"], [b"a", b"b"]),
        ([b"10%\r20%\r", b"30%\n"], [b"10%", b"20%", b"30%"]),
        ([b"\n\n"], [b"", b""]),
        ([b"x" * 25], [b"x" * 10, b"x" * 10, b"x" * 5]),
        ([b"end\r"], [b"end"]),
        ([], []),
    ],
)
def test_lines(pieces: list[bytes], lines: list[bytes]) -> None:
    splitter = LineSplitter(longest=10)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    assert found + splitter.end() == lines
    assert splitter.end() == []


@given(st.text(st.sampled_from("ab\r\n")), st.lists(st.integers(0, 20)))
def test_lines_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    data = text.encode()
    whole, pieces = LineSplitter(), LineSplitter()
    expected = whole.feed(data) + whole.end()
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    found = [line for begin, end in itertools.pairwise(places) for line in pieces.feed(data[begin:end])]
    assert found + pieces.end() == expected


def test_carriage_returns_cost_no_more_than_others() -> None:
    begun = time.monotonic()
    assert LineSplitter().feed(b"\r" * 300_000)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(
    ("line", "plain", "coloured"),
    [
        (b"caf\xc3\xa9\t\xff", "café\t\\xff", "café\t\\xff"),
        (b"\x1b[1;31mred\x1b[0m", "red", "\x1b[1;31mred\x1b[0m\x1b[0m"),
        (b"\x1b[2J\x1b[Hx\x1b[?25l", "x", "x"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07", "\\x1b]0;title\\x07"),
        (b"a\x08b\x00", "a\\x08b\\x00", "a\\x08b\\x00"),
        (b"\x1bc", "\\x1bc", "\\x1bc"),
    ],
)
def test_what_is_written_does_no_harm(line: bytes, plain: str, coloured: str) -> None:
    assert clean(line, colours=False) == plain
    assert clean(line, colours=True) == coloured


@given(st.binary())
def test_nothing_moves_the_cursor(line: bytes) -> None:
    assert re.sub("\t", "", clean(line, colours=False)).isprintable()


@pytest.mark.trio
async def test_lines_reach_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        async with open_terminal(file.fileno()) as terminal:
            terminal.show_below(lambda: "status")
            await terminal.show(terminal.paint("one", RED))
            terminal.note("two\x1b[2J")
    assert (tmp_path / "out").read_text() == "one\ntwo\\x1b[2J\n"
    terminal.note("too late")


@pytest.mark.trio
async def test_a_file_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(trio.to_thread, "run_sync")
    with (tmp_path / "out").open("wb") as file:
        async with open_terminal(file.fileno()) as terminal:
            await terminal.show("one")
    assert (tmp_path / "out").read_text() == "one\n"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


async def read_until(screen: tuple[int, int], end: str) -> str:
    """What is on the screen by the time that it ends so."""
    os.set_blocking(screen[0], False)
    text = ""
    with trio.fail_after(5):
        while not text.endswith(end):
            await trio.sleep(0.001)
            with contextlib.suppress(BlockingIOError):
                text += os.read(screen[0], 100_000).decode().replace("\r\n", "\n")
    return text


@pytest.mark.trio
async def test_a_status_line(screen: tuple[int, int]) -> None:
    below = "\x1b[2mb [1/2] a step with\x1b[0m"
    async with open_terminal(screen[1]) as terminal:
        terminal.show_below(lambda: "b [1/2] a step with a long name")
        await terminal.show(terminal.paint("one", RED))
        assert await read_until(screen, below) == f"\x1b[31mone\x1b[0m\n{below}"
        await terminal.show("two")
        assert await read_until(screen, f"two\n{below}") == f"\r\x1b[Ktwo\n{below}"
    assert await read_until(screen, "\r\x1b[K")


@pytest.mark.trio
async def test_no_colours(screen: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_terminal(screen[1]) as terminal:
        assert not terminal.coloured
        await terminal.show(terminal.paint("one", RED))
    assert await read_until(screen, "\n") == "one\n"


@pytest.mark.trio
async def test_a_reader_who_is_stuck() -> None:
    """Whoever shows waits; whoever notes does not, and the lines that are lost are counted."""
    read, write = os.pipe()
    try:
        with trio.move_on_after(5) as scope:
            async with open_terminal(write) as terminal:
                with trio.move_on_after(0.2) as waiting:
                    while True:
                        await terminal.show("x" * 1000)
                assert waiting.cancelled_caught
                for _ in range(2 * UNREAD_LINES):
                    terminal.note("lost")
                os.set_blocking(read, False)
                text = b""
                while b"left out" not in text:
                    await trio.sleep(0)
                    try:
                        text += os.read(read, 1 << 20)
                    except BlockingIOError:
                        await trio.sleep(0.001)
        assert not scope.cancelled_caught
        found = re.search(rb"\(([0-9]+) lines were not read in time and are left out\)", text)
        assert found
        assert int(found[1]) + text.count(b"lost\n") == 2 * UNREAD_LINES
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.trio
async def test_nobody_reads() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        async with open_terminal(write) as terminal:
            await terminal.show("x")
            await terminal.show("y")
    finally:
        os.close(write)
    assert isinstance(terminal, Terminal)
