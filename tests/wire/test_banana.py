"""Banana against the recorded behaviour of both Twisteds, and against itself."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import SIZE_LIMIT, Limits
from slaveproto.wire import NEED_DATA
from slaveproto.wire.banana import VOCABULARY, Decoder, Encodable, Expression, encode
from tests.wire.support import LIMITS, OLD, banana_value, cuts, expressions, lines_run, pb, rows, same_bits

DIFFERENCES: Final = {
    "B:list_nest200": "lists nested deeper than 128",
    "M:vocab_in_none": "a vocabulary token outside profile pb",
    "M:vocab_in_list_in_none": "a vocabulary token outside profile pb",
    "BR:depth_encode": "lists nested deeper than 128",
    "BR:depth_decode": "lists nested deeper than 128",
}
"""Where we differ from at least one of the two on purpose: vector -> what we say. See docs/differences-wire.md."""

_DEEP: Final = attrs.evolve(LIMITS, depth=30_000)

ATOMS: Final[st.SearchStrategy[Expression]] = st.one_of(
    st.integers(-(2**448) + 1, 2**448 - 1),
    st.integers(-(2**31) - 2, -(2**31) + 2),
    st.integers(2**31 - 3, 2**31 + 3),
    st.integers(-300, 300),
    st.floats(),
    st.binary(max_size=300),
    st.sampled_from(VOCABULARY),
)
EXPRESSIONS: Final[st.SearchStrategy[Expression]] = st.recursive(
    ATOMS, lambda e: st.lists(e, max_size=5), max_leaves=30
)


def decode_three_ways(data: bytes, *, vocabulary: bool, limits: Limits = LIMITS) -> Expression:
    """Decode the one expression of `data` whole, byte by byte, and followed by garbage."""
    whole = Decoder(limits, vocabulary=vocabulary)
    whole.feed(data)
    expression = whole.next_expression()
    assert expression is not NEED_DATA
    assert not whole.pending

    by_byte = Decoder(limits, vocabulary=vocabulary)
    for n in range(len(data)):
        assert by_byte.next_expression() is NEED_DATA
        assert by_byte.pending == (n > 0)
        by_byte.feed(data[n : n + 1])
    again = by_byte.next_expression()
    assert again is not NEED_DATA
    assert same_bits(again) == same_bits(expression)

    followed = Decoder(limits, vocabulary=vocabulary)
    followed.feed(data + b"\x05\xff")
    again = followed.next_expression()
    assert again is not NEED_DATA
    assert same_bits(again) == same_bits(expression)
    with pytest.raises(RemoteProtocolError, match="0xff"):
        followed.next_expression()
    return expression


@pytest.mark.parametrize(("generator", "name", "vector"), rows("banana"))
@pytest.mark.parametrize(("field", "vocabulary"), [("hex_none", False), ("hex_pb", True)])
def test_both_directions(generator: str, name: str, vector: dict[str, Any], field: str, vocabulary: bool) -> None:
    value = banana_value(vector["value"])
    data = bytes.fromhex(vector[field])
    limits = LIMITS
    if f"B:{name}" in DIFFERENCES:
        with pytest.raises(LocalProtocolError, match=DIFFERENCES[f"B:{name}"]):
            encode(value, vocabulary=vocabulary, limits=LIMITS)
        with pytest.raises(RemoteProtocolError, match=DIFFERENCES[f"B:{name}"]):
            expressions(data, vocabulary=vocabulary)
        limits = _DEEP
    assert encode(value, vocabulary=vocabulary, limits=limits) == data
    expected = banana_value(vector.get("decodes_as", vector["value"]))
    assert same_bits(decode_three_ways(data, vocabulary=vocabulary, limits=limits)) == same_bits(expected)


def decode_steps(vector: dict[str, Any], *, by_byte: bool) -> list[tuple[list[object], bool, str]]:
    """Return for each step of a vector: what came out, whether something is held back, and what was wrong."""
    decoder = Decoder(LIMITS, vocabulary=vector["state"] == "pb")
    out = []
    for step in vector["steps"]:
        data = bytes.fromhex(step["in"])
        items: list[object] = []
        trouble = ""
        for chunk in cuts(data, range(len(data))) if by_byte else [data]:
            decoder.feed(chunk)
            try:
                while (item := decoder.next_expression()) is not NEED_DATA:
                    items.append(same_bits(item))
            except RemoteProtocolError as error:
                trouble = str(error)
                break
        out.append((items, not trouble and decoder.pending, trouble))
        if trouble:
            break
    return out


@pytest.mark.parametrize("by_byte", [False, True])
@pytest.mark.parametrize(
    ("generator", "name", "vector"), [row for row in rows("banana_malformed") if row[2]["state"] in ("pb", "none")]
)
def test_malformed(generator: str, name: str, vector: dict[str, Any], by_byte: bool) -> None:
    recorded: list[tuple[list[object], bool, bool]] = []
    for step in vector["steps"]:
        items = [same_bits(banana_value(event["item"])) for event in step.get("events", [])]
        recorded.append((items, "waiting" in step, "raises" in step))
        if "raises" in step:
            break
    ours = decode_steps(vector, by_byte=by_byte)
    if generator == OLD and f"M:{name}" in DIFFERENCES:
        assert [trouble for _, _, trouble in ours] == [DIFFERENCES[f"M:{name}"]]
    else:
        assert [(items, held, bool(trouble)) for items, held, trouble in ours] == recorded


def from_rule(name: str) -> object:
    """Return the value that a vector of kind `banana_rules` describes in words."""
    one = b"x" * SIZE_LIMIT
    return {
        "size_str_limit_minus_1": one[1:],
        "size_str_limit": one,
        "size_str_limit_plus_1": one + b"x",
        "size_list_limit_minus_1": [0] * (SIZE_LIMIT - 1),
        "size_list_limit": [0] * SIZE_LIMIT,
        "size_list_limit_plus_1": [0] * (SIZE_LIMIT + 1),
        "size_two_big_strings": [one, one],
        "size_int_2pow448": 2**448,
        "size_int_neg_2pow448": -(2**448),
        "bad_str_in_list": [1, "x"],
        "bad_none": None,
        "bad_dict": {},
        "bad_text_vocab": "list",
        "bad_nested_none": [[None]],
        "bad_set": {1},
        "bad_bytearray": bytearray(b"x"),
    }[name]


@pytest.mark.parametrize("vocabulary", [False, True])
@pytest.mark.parametrize(
    ("generator", "name", "vector"), [row for row in rows("banana_rules") if not row[1].startswith("depth")]
)
def test_rules(generator: str, name: str, vector: dict[str, Any], vocabulary: bool) -> None:
    value: Any = from_rule(name)
    recorded = vector["encode_pb" if vocabulary else "encode_none"]
    if recorded == "ok":
        data = encode(value, vocabulary=vocabulary, limits=LIMITS)
        assert (len(data), data[:8].hex()) == (vector["length"], vector["first8_hex"])
        assert expressions(data, vocabulary=vocabulary) == [value]
    else:
        assert recorded.get("bytes_written", 0) == 0
        with pytest.raises(LocalProtocolError):
            encode(value, vocabulary=vocabulary, limits=LIMITS)


@pytest.mark.parametrize("name", ["BR:depth_encode", "BR:depth_decode"])
def test_depth_is_bounded_alike_in_both_directions(name: str) -> None:
    words = DIFFERENCES[name]
    deepest = int(re.findall(r"\d+", words)[0])
    assert deepest == LIMITS.depth
    nested: Encodable = []
    for _ in range(deepest - 1):
        nested = [nested]
    data = b"\x01\x80" * (deepest - 1) + b"\x00\x80"
    assert pb(nested) == data
    assert expressions(data) == [nested]
    if name == "BR:depth_encode":
        with pytest.raises(LocalProtocolError, match=words):
            pb([nested])
    else:
        decoder = Decoder(LIMITS)
        decoder.feed(b"\x01\x80" * deepest)
        assert decoder.next_expression() is NEED_DATA
        for last in (b"\x00\x80", b"\x01\x80"):
            with pytest.raises(RemoteProtocolError, match=words):
                expressions(b"\x01\x80" * deepest + last)


def test_every_difference_is_a_vector() -> None:
    known = {
        f"{prefix}:{name}"
        for prefix, kind in (("B", "banana"), ("M", "banana_malformed"), ("BR", "banana_rules"))
        for _, name, _ in rows(kind)
    }
    assert set(DIFFERENCES) <= known


@pytest.mark.parametrize(
    ("header", "limits", "words"),
    [
        (b"\x01\x28\x82", Limits(string=5 * 1024), "a string of 5121 bytes"),
        (b"\x01\x00\x28\x82", LIMITS, "a string of 655361 bytes"),
        (b"\x01\x00\x28\x80", LIMITS, "a list of 655361 elements"),
        (b"\x06\x80", Limits(elements=5), "a list of 6 elements"),
        (b"\x03\x80\x03\x80\x02\x80", Limits(message_elements=7), "a message of more than 7 elements"),
        (b"\x02\x80\x01\x81\x05\x82", Limits(message=10), "a message of more than 10 bytes"),
        (b"\x02\x80\x01\x81\x84", Limits(message=12), "a message of more than 12 bytes"),
        (b"\x01\x80\x01\x80\x01\x80", Limits(depth=2), "lists nested deeper than 2"),
        (b"\x01\x80\x01\x80\x00\x80", Limits(depth=2), "lists nested deeper than 2"),
        (b"\x01" * 65, LIMITS, "more than 64 digits"),
        (b"\x01" * 4, Limits(prefix=3), "more than 3 digits"),
    ],
)
def test_limits_hold_at_the_header(header: bytes, limits: Limits, words: str) -> None:
    shortened = Decoder(limits)
    shortened.feed(header[:-1])
    assert shortened.next_expression() is NEED_DATA
    for chunks in ([header], [header[n : n + 1] for n in range(len(header))]):
        assert re.search(words, what_comes(chunks, limits)[1])


def test_just_within_the_limits() -> None:
    limits = Limits(string=5, elements=3, prefix=3, depth=2, message=14, message_elements=5)
    data = b"\x03\x80\x02\x80\x01\x81\x02\x81" + b"\x01\x00\x00\x81" + b"\x00\x80"
    assert decode_three_ways(data, vocabulary=False, limits=limits) == [[1, 2], 1, []]


def test_the_message_limit_counts_one_message_only() -> None:
    limits = Limits(message=8)
    one = b"\x02\x80\x01\x81\x01\x82x"
    decoder = Decoder(limits)
    for _ in range(10):
        decoder.feed(one)
        assert decoder.next_expression() == [1, b"x"]
    for byte in one * 10:
        decoder.feed(bytes((byte,)))
        assert decoder.next_expression() in (NEED_DATA, [1, b"x"])
    decoder.feed(one * 10 + b"\x03\x80\x01\x81\x01\x81")
    for _ in range(10):
        assert decoder.next_expression() == [1, b"x"]
    assert decoder.next_expression() is NEED_DATA
    decoder.feed(b"\x02\x82xx")
    with pytest.raises(RemoteProtocolError, match="more than 8 bytes"):
        decoder.next_expression()


@pytest.mark.parametrize(
    ("chunks", "limit"),
    [([b"\x02\x80", b"\x01\x81", b"\x01\x82", b"x"], 7), ([b"\x02\x80\x01\x81\x01\x82x"], 7)],
)
def test_the_message_limit_is_exact(chunks: list[bytes], limit: int) -> None:
    for allowed in (limit, limit - 1):
        decoder = Decoder(Limits(message=allowed))
        results = []
        try:
            for chunk in chunks:
                decoder.feed(chunk)
                results.append(decoder.next_expression())
        except RemoteProtocolError:
            assert allowed == limit - 1
        else:
            assert allowed == limit
            assert results[-1] == [1, b"x"]


@given(EXPRESSIONS, st.booleans())
def test_round_trip(expression: Expression, vocabulary: bool) -> None:
    data = encode(expression, vocabulary=vocabulary, limits=LIMITS)
    decoded = decode_three_ways(data, vocabulary=vocabulary)
    assert same_bits(decoded) == same_bits(expression)
    assert encode(decoded, vocabulary=vocabulary, limits=LIMITS) == data


@given(st.lists(EXPRESSIONS, max_size=5), st.lists(st.integers(0, 10_000)))
def test_any_segmentation(sent: list[Expression], places: list[int]) -> None:
    data = b"".join(map(pb, sent))
    assert list(map(same_bits, expressions(list(cuts(data, places))))) == list(map(same_bits, sent))


BYTES_OF_BANANA: Final = st.lists(
    st.one_of(
        st.integers(0x80, 0x87).map(lambda n: bytes((n,))),
        st.integers(0, 0x7F).map(lambda n: bytes((n,))),
        st.binary(max_size=10),
        EXPRESSIONS.map(pb),
    ),
    max_size=40,
).map(b"".join)


def what_comes(chunks: list[bytes], limits: Limits) -> tuple[list[object], str]:
    decoder = Decoder(limits, vocabulary=True)
    items: list[object] = []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            while (item := decoder.next_expression()) is not NEED_DATA:
                items.append(same_bits(item))
    except RemoteProtocolError as error:
        return items, str(error)
    return items, "held" if decoder.pending else ""


@given(BYTES_OF_BANANA, st.lists(st.integers(0, 1000), max_size=10))
@settings(max_examples=300)
def test_garbage_is_the_same_however_it_is_cut(data: bytes, places: list[int]) -> None:
    limits = Limits(string=40, elements=20, depth=4, message_elements=60)
    whole = what_comes([data], limits)
    assert what_comes(list(cuts(data, places)), limits) == whole
    assert what_comes(list(cuts(data, range(len(data)))), limits) == whole


@given(BYTES_OF_BANANA)
def test_what_can_be_read_can_be_written(data: bytes) -> None:
    decoder = Decoder(LIMITS, vocabulary=True)
    decoder.feed(data)
    try:
        while (item := decoder.next_expression()) is not NEED_DATA:
            assert same_bits(expressions(pb(item))[0]) == same_bits(item)
    except RemoteProtocolError:
        return


@pytest.mark.parametrize("item", ["x", None, {}, {1}, bytearray(b"x"), object(), 1j, [1, [2, "x"]]])
def test_other_types_are_refused(item: Any) -> None:
    with pytest.raises(LocalProtocolError, match="cannot carry"):
        pb(item)


def test_feeding_nothing_changes_nothing() -> None:
    decoder = Decoder(LIMITS)
    decoder.feed(b"")
    assert not decoder.pending
    decoder.feed(b"\x05\x82he")
    decoder.feed(b"")
    assert decoder.next_expression() is NEED_DATA
    decoder.feed(b"llo")
    assert decoder.next_expression() == b"hello"


@pytest.mark.parametrize("chunk", [1, 7, 4096, 10**9])
@pytest.mark.parametrize("shape", ["many small", "one list", "strings", "one string", "digits", "nested"])
def test_decoding_is_linear(shape: str, chunk: int) -> None:
    def data(n: int) -> bytes:
        return {
            "many small": b"\x02\x80\x01\x81\x01\x82x" * (n // 7),
            "one list": b"\x00" + bytes((n // 256 % 128, n // 256 // 128)) + b"\x80" + b"\x01\x81" * (n // 256 * 128),
            "strings": (b"\x64\x82" + b"x" * 100) * (n // 102),
            "one string": b"\x00" + bytes((n // 128 % 128, n // 128 // 128)) + b"\x82" + b"x" * (n // 128 * 128),
            "digits": (b"\x01" * 64 + b"\x81") * (n // 65),
            "nested": (b"\x01\x80" * 100 + b"\x00\x80") * (n // 202),
        }[shape]

    def cost(size: int) -> tuple[int, int]:
        stream = data(size)
        decoder = Decoder(LIMITS)
        joined = 0

        def run() -> None:
            nonlocal joined
            buffer = decoder._data
            for start in range(0, len(stream), chunk):
                decoder.feed(stream[start : start + chunk])
                more = True
                while more:
                    more = decoder.next_expression() is not NEED_DATA
                    if decoder._data is not buffer:
                        buffer = decoder._data
                        joined += len(buffer)

        lines = lines_run(run, "slaveproto/wire/banana.py")
        assert not decoder.pending
        return lines, joined

    size = 6 * 1024
    (lines, joined), (more_lines, more_joined) = cost(size), cost(2 * size)
    # Of a header that came in pieces, all of its up to 64 digits are looked at and copied again with each piece.
    assert lines <= (500 if shape == "digits" else 80) * size
    assert more_lines <= 2.1 * lines + 100
    assert joined <= 40 * size
    assert more_joined <= 2.1 * joined + 100


def test_a_long_string_is_joined_once() -> None:
    decoder = Decoder(LIMITS)
    body = b"x" * 600_000
    for chunk in cuts(b"\x40\x4f\x24\x82" + body, range(0, 600_000, 1000)):
        assert decoder.next_expression() is NEED_DATA
        decoder.feed(chunk)
        assert len(decoder._data) < 2000
    assert decoder.next_expression() == body


def test_encoding_is_linear() -> None:
    def lines(n: int) -> int:
        value: list[Encodable] = [[1, b"xyz", [2.5, b"list"]] for _ in range(n)]
        return lines_run(lambda: pb(value), "slaveproto/wire/banana.py")

    assert lines(2000) <= 2.1 * lines(1000)
