"""The update stream: nothing is lost, reordered or torn apart, and not too many calls are made."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import groupby, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slaveproto.updates import BURST, DELAY, FULL, INTERVAL, LARGEST, Dialect, UpdateBuffer, plain
from slaveproto.wire import Value

OFTEN = settings(max_examples=150, deadline=None)

# Characters of one to four bytes, lone parts of them, and bytes that never are UTF-8.
awkward = st.lists(
    st.one_of(
        st.binary(max_size=4),
        st.sampled_from([c.encode() for c in "a\n\u00e9\u20ac\U0001f600"]),
        st.sampled_from([b"\xf0\x9f", b"\xe2\x82", b"\xc3", b"\xff", b"\x80", b"\xed\xa0\x80"]),
    ),
    max_size=30,
).map(b"".join)


def pieces_of(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def values(updates: Sequence[dict[Value, Value]]) -> list[tuple[str, Value]]:
    """Return updates as pairs; each has one key, in the kind that the dialect reads."""
    pairs = []
    for update in updates:
        ((key, value),) = update.items()
        pairs.append((key.decode() if isinstance(key, bytes) else str(key), value))
    return pairs


def whole(updates: Sequence[dict[Value, Value]], stream: str) -> Value:
    texts = [value for key, value in values(updates) if key == stream]
    assert all(isinstance(text, str) for text in texts) or all(isinstance(text, bytes) for text in texts)
    return b"".join(texts) if texts and isinstance(texts[0], bytes) else "".join(texts)  # type: ignore[arg-type]


# -- order, joining, splitting


@pytest.mark.parametrize("dialect", list(Dialect))
def test_order_is_kept_and_neighbours_are_joined(dialect: Dialect) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    buffer.add_text("header", "h\n", "", 0.0)
    buffer.add_text("stdout", b"1", "", 0.0)
    buffer.add_text("stdout", b"2", "", 0.0)
    buffer.add_text("stderr", b"3", "", 0.0)
    buffer.add_text("stdout", b"4", "", 0.0)
    buffer.add_text("log", b"5", "a", 0.0)
    buffer.add_text("log", b"6", "a", 0.0)
    buffer.add_text("log", b"7", b"b", 0.0)
    buffer.add_item("rc", 0, 0.0)
    buffer.add_item("elapsed", 1.5, 0.0)

    def say(text: str) -> bytes | str:
        return text if dialect is Dialect.TEXT else text.encode()

    assert buffer.take(1.0) == [
        {say("header"): say("h\n")},
        {say("stdout"): say("12")},
        {say("stderr"): say("3")},
        {say("stdout"): say("4")},
        # The name of a log goes back in the kind in which it came: masters look for it by that.
        {say("log"): ("a", say("56"))},
        {say("log"): (b"b", say("7"))},
        {say("rc"): 0},
        {say("elapsed"): 1.5},
    ]
    assert buffer.take(2.0) == []
    assert buffer.deadline is None


@pytest.mark.parametrize("dialect", list(Dialect))
def test_empty_text_is_no_update(dialect: Dialect) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    buffer.add_text("stdout", b"", "", 0.0)
    buffer.add_text("header", "", "", 0.0)
    assert buffer.deadline is None
    assert buffer.take(0.0) == []


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("length", [1, LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST + 7])
@pytest.mark.parametrize("log", ["", "a"])
def test_values_are_split_at_the_largest(dialect: Dialect, length: int, log: str) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    data = (bytes(range(32, 127)) * (length // 95 + 1))[:length]
    buffer.add_text("log" if log else "stdout", data, log, 0.0)
    texts = [value[1] if isinstance(value, tuple) else value for _, value in values(buffer.take(0.0))]
    assert all(isinstance(text, (bytes, str)) and 0 < len(text) <= LARGEST for text in texts)
    assert len(texts) == -(-length // LARGEST)
    assert "".join(text if isinstance(text, str) else text.decode() for text in texts) == data.decode()  # type: ignore[union-attr]


@pytest.mark.parametrize(("character", "fit"), [("é", LARGEST // 2), ("€", LARGEST // 3), ("\U0001f600", LARGEST // 4)])
def test_largest_value_is_measured_in_utf_8_and_tears_no_character(character: str, fit: int) -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    buffer.add_text("stdout", character.encode() * (2 * fit + 1), "", 0.0)
    assert [value for _, value in values(buffer.take(0.0))] == [character * fit, character * fit, character]


def test_what_is_read_at_once_is_one_value() -> None:
    """Each value costs a 4.3 master a transaction."""
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    data = "€".encode() * FULL
    for start in range(0, len(data), FULL):
        buffer.add_text("stdout", data[start : start + FULL], "", 0.0)
        assert len(buffer.take(0.0)) == 1


# -- text


@OFTEN
@given(awkward, st.lists(st.integers(0, 200), max_size=20), st.lists(st.booleans(), min_size=1), st.sampled_from("1a"))
@example(b"\xf0\x9f\x98\x80" * 3, list(range(13)), [True], "1")
@example(b"\xf0\x9f", [1], [True], "1")
def test_no_character_is_torn_for_a_master_that_reads_text(
    data: bytes, places: list[int], takes: list[bool], log: str
) -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    updates: list[dict[Value, Value]] = []
    for n, piece in enumerate(pieces_of(data, places)):
        buffer.add_text("stdout", piece, "", float(n))
        if takes[n % len(takes)]:
            updates += buffer.take(float(n))
    buffer.add_item("rc", 0, 1000.0)
    updates += buffer.take(1000.0)
    assert whole(updates, "stdout") == data.decode("utf-8", "replace")
    for key, value in values(updates):
        if key == "stdout":
            assert isinstance(value, str)
            assert value
            value.encode()


@OFTEN
@given(awkward, st.lists(st.integers(0, 200), max_size=20), st.lists(st.booleans(), min_size=1))
def test_a_master_that_reads_bytes_gets_the_bytes_of_the_process(
    data: bytes, places: list[int], takes: list[bool]
) -> None:
    buffer = UpdateBuffer(Dialect.BYTES, "utf-8")
    updates: list[dict[Value, Value]] = []
    for n, piece in enumerate(pieces_of(data, places)):
        buffer.add_text("stdout", piece, "", float(n))
        if takes[n % len(takes)]:
            updates += buffer.take(float(n))
    updates += buffer.take(1000.0)
    assert b"".join(v for k, v in values(updates) if k == "stdout" and isinstance(v, bytes)) == data


@OFTEN
@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr", "log"]), awkward), max_size=10))
def test_streams_do_not_mix(pieces: list[tuple[str, bytes]]) -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    for stream, piece in pieces:
        buffer.add_text(stream, piece, "a" if stream == "log" else "", 0.0)
    buffer.add_item("rc", 0, 0.0)
    updates = buffer.take(0.0)
    for stream in ("stdout", "stderr"):
        expected = b"".join(piece for name, piece in pieces if name == stream).decode("utf-8", "replace")
        assert whole(updates, stream) == expected
    logged = [value[1] for key, value in values(updates) if key == "log" and isinstance(value, tuple)]
    assert "".join(logged) == b"".join(p for name, p in pieces if name == "log").decode("utf-8", "replace")  # type: ignore[arg-type]


def test_half_a_character_waits_for_the_other_half() -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    buffer.add_text("stdout", b"\xe2\x82", "", 0.0)
    assert buffer.deadline is None
    buffer.add_text("header", "between\n", "", 1.0)
    buffer.add_text("stdout", b"\xac", "", 2.0)
    assert buffer.take(3.0) == [{"header": "between\n"}, {"stdout": "\u20ac"}]


def test_return_code_ends_half_a_character() -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    buffer.add_text("stdout", b"\xe2\x82", "", 0.0)
    buffer.add_item("rc", 0, 0.0)
    buffer.add_text("stdout", b"\xac", "", 0.0)
    buffer.add_item("rc", 0, 0.0)
    assert buffer.take(0.0) == [{"stdout": "\ufffd"}, {"rc": 0}, {"stdout": "\ufffd"}, {"rc": 0}]


@pytest.mark.parametrize(
    ("encoding", "raw", "text"),
    [("latin-1", b"caf\xe9", "caf\xe9"), ("utf-8", b"caf\xc3\xa9", "caf\xe9"), ("ascii", b"caf\xe9", "caf\ufffd")],
)
def test_encoding_of_processes(encoding: str, raw: bytes, text: str) -> None:
    buffer = UpdateBuffer(Dialect.TEXT, encoding)
    buffer.add_text("stdout", raw, "", 0.0)
    assert buffer.take(0.0) == [{"stdout": text}]
    buffer = UpdateBuffer(Dialect.BYTES, encoding)
    buffer.add_text("stdout", raw, "", 0.0)
    assert buffer.take(0.0) == [{b"stdout": raw}]


@pytest.mark.parametrize(
    ("text", "as_bytes", "as_text"),
    [
        ("caf\xe9", b"caf\xc3\xa9", "caf\xe9"),
        ("caf\udce9", b"caf\xe9", "caf\ufffd"),
        ("\ud800", b"?", "?"),
    ],
)
def test_text_of_our_own(text: str, as_bytes: bytes, as_text: str) -> None:
    for dialect, expected in ((Dialect.BYTES, as_bytes), (Dialect.TEXT, as_text)):
        buffer = UpdateBuffer(dialect, "utf-8")
        buffer.add_text("header", text, "", 0.0)
        ((_, value),) = values(buffer.take(0.0))
        assert value == expected
        assert plain(text, dialect, "utf-8") == expected


@pytest.mark.parametrize(
    ("value", "as_bytes", "as_text"),
    [
        ("a", b"a", "a"),
        (b"caf\xe9", b"caf\xe9", "caf\ufffd"),
        (1, 1, 1),
        (1.5, 1.5, 1.5),
        (None, None, None),
        (True, True, True),
        (["a", b"b", 1], [b"a", b"b", 1], ["a", "b", 1]),
        ({"a": (b"b", {"c": "d"})}, {b"a": (b"b", {b"c": b"d"})}, {"a": ("b", {"c": "d"})}),
    ],
)
def test_items_are_in_one_kind(value: Value, as_bytes: Value, as_text: Value) -> None:
    for dialect, expected in ((Dialect.BYTES, as_bytes), (Dialect.TEXT, as_text)):
        buffer = UpdateBuffer(dialect, "utf-8")
        buffer.add_item("x", value, 0.0)
        ((_, sent),) = values(buffer.take(0.0))
        assert sent == expected
        assert type(sent) is type(expected)


# -- when they leave


@pytest.mark.parametrize("now", [0.0, 1e6, -50.0])
def test_first_output_leaves_soon(now: float) -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    buffer.add_text("stdout", b"x", "", now)
    assert buffer.deadline == pytest.approx(now + DELAY)
    assert DELAY <= 0.25


def test_items_leave_as_soon_as_text() -> None:
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    buffer.add_item("stat", (1, 2), 5.0)
    assert buffer.deadline == pytest.approx(5.0 + DELAY)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_full_leaves_at_once(dialect: Dialect) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    for n in range(3 * BURST):
        buffer.add_text("stdout", b"x" * (FULL - 1), "", float(n) / 100)
        assert buffer.deadline is not None
        assert buffer.deadline > n / 100
        buffer.add_text("stdout", b"x", "", float(n) / 100)
        assert buffer.deadline <= n / 100
        assert buffer.take(float(n) / 100)


def test_much_output_does_not_delay_the_little_after_it() -> None:
    """Full calls are not paid for: a build that talked a lot and then says one word is heard."""
    buffer = UpdateBuffer(Dialect.TEXT, "utf-8")
    for _ in range(100):
        buffer.add_text("stdout", b"x" * FULL, "", 1.0)
        buffer.take(1.0)
    buffer.add_text("stdout", b"linking\n", "", 1.0)
    assert buffer.deadline == pytest.approx(1.0 + DELAY)


def drive(
    buffer: UpdateBuffer, arrivals: Sequence[tuple[float, bytes]]
) -> tuple[list[float], list[dict[Value, Value]]]:
    """Add each piece after its pause and take whatever is due when it is due; return the times and the updates."""
    now = 0.0
    times: list[float] = []
    updates: list[dict[Value, Value]] = []

    def take_until(end: float) -> None:
        nonlocal now
        while (due := buffer.deadline) is not None and due <= end:
            now = max(now, due)
            taken = buffer.take(now)
            assert taken
            times.append(now)
            updates.extend(taken)

    for pause, piece in arrivals:
        take_until(now + pause)
        now += pause
        buffer.add_text("stdout", piece, "", now)
        take_until(now)
    take_until(now + 100)
    return times, updates


@OFTEN
@given(
    st.sampled_from(list(Dialect)),
    st.lists(
        st.tuples(st.floats(0, 3) | st.floats(0, 0.05), st.binary(min_size=1, max_size=20)), min_size=1, max_size=100
    ),
)
def test_trickle_never_exceeds_its_rate_and_loses_nothing(
    dialect: Dialect, arrivals: list[tuple[float, bytes]]
) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    times, updates = drive(buffer, arrivals)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= BURST + (times[last] - times[first]) / INTERVAL + 1e-6
    buffer.add_item("rc", 0, 1e6)
    updates += buffer.take(1e6)
    data = b"".join(piece for _, piece in arrivals)
    assert whole(updates, "stdout") == (data if dialect is Dialect.BYTES else data.decode("utf-8", "replace"))


@OFTEN
@given(st.lists(st.tuples(st.floats(0, 3), st.binary(min_size=1, max_size=5)), min_size=1, max_size=50))
def test_nothing_waits_longer_than_the_rate_demands(arrivals: list[tuple[float, bytes]]) -> None:
    buffer = UpdateBuffer(Dialect.BYTES, "utf-8")
    now = 0.0
    for pause, piece in arrivals:
        now += pause
        buffer.add_text("stdout", piece, "", now)
        due = buffer.deadline
        assert due is not None
        assert due <= now + max(DELAY, INTERVAL) + 1e-6
        if due <= now:
            buffer.take(now)


def test_pause_fills_the_bucket_again_but_not_beyond() -> None:
    buffer = UpdateBuffer(Dialect.BYTES, "utf-8")
    times, _ = drive(
        buffer, [(0.0, b"x")] + [(DELAY * 1.1, b"x")] * 200 + [(1000.0, b"x")] + [(DELAY * 1.1, b"x")] * 40
    )
    sessions = [list(group) for _, group in groupby(times, lambda time: time > 900)]
    # Both begin with a burst: as many calls within the first second.
    bursts = [sum(time - session[0] < 0.9 for time in session) for session in sessions]
    assert bursts == [BURST, BURST]


def test_a_minute_of_trickle() -> None:
    """What a compiler does: a line every 30 ms."""
    times, updates = drive(UpdateBuffer(Dialect.BYTES, "utf-8"), [(0.03, b"cc -c\n")] * 2000)
    assert len(times) <= 60 / INTERVAL + BURST + 1
    assert whole(updates, "stdout") == b"cc -c\n" * 2000
    assert max(b - a for a, b in pairwise(times)) <= INTERVAL + DELAY


# -- nobody listens


@pytest.mark.parametrize("dialect", list(Dialect))
def test_discard_forgets_what_is_there_and_what_comes(dialect: Dialect) -> None:
    buffer = UpdateBuffer(dialect, "utf-8")
    buffer.add_text("stdout", b"x" * 100, "", 1.0)
    buffer.discard()
    for _ in range(2):
        assert buffer.size == 0
        assert buffer.deadline is None
        assert buffer.take(2.0) == []
        buffer.add_text("stdout", b"x" * FULL, "", 2.0)
        buffer.add_item("rc", 0, 2.0)


def test_size_is_that_of_the_pending_text() -> None:
    buffer = UpdateBuffer(Dialect.BYTES, "utf-8")
    buffer.add_text("stdout", b"x" * 10, "", 0.0)
    buffer.add_text("log", b"x" * 5, "a", 0.0)
    assert buffer.size == 15
    buffer.take(0.0)
    assert buffer.size == 0


def test_every_codec_that_a_host_may_name_has_a_decoder() -> None:
    for encoding in ("utf-8", "ascii", "latin-1", "cp1252", "shift_jis"):
        buffer = UpdateBuffer(Dialect.TEXT, encoding)
        buffer.add_text("stdout", "a".encode(encoding), "", 0.0)
        assert buffer.take(0.0) == [{"stdout": codecs.decode("a".encode(encoding), encoding)}]
