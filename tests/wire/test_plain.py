"""The short way for plain messages says what the long way says, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.wire import NEED_DATA, Call, Connection, Failure, Local, Opened, Remote, Role, Value, connection
from slaveproto.wire.banana import VOCABULARY, Encodable, Expression
from slaveproto.wire.jelly import Unjellier, jelly
from slaveproto.wire.plain import (
    ANSWER,
    CALL,
    DEPTH,
    NotPlain,
    largest,
    read_answer,
    read_call,
    write_answer,
    write_call,
)
from tests.wire.support import expressions, pb


class _Nobody:
    """Knows no objects."""

    def number_of(self, local: Local) -> int:
        return 1

    def owns(self, remote: Remote) -> bool:
        return False

    def remote(self, luid: int | bytes) -> Remote:
        return Remote(luid)

    def local(self, luid: int | bytes) -> Local | None:
        return None


def by_the_long_way(number: int, value: Value) -> bytes:
    """Write an answer through the expressions of Banana."""
    return pb([b"answer", number, jelly(value, _Nobody())])


def call_by_the_long_way(number: int, luid: int, method: str, args: tuple[Value, ...]) -> bytes:
    """Write a call through the expressions of Banana."""
    head: list[Encodable] = [b"message", number, luid, method.encode(), 1]
    return pb([*head, jelly(args, _Nobody()), [b"dictionary"]])


def exact(value: object) -> object:
    """Return something that is equal only for values of the same types all through."""
    if isinstance(value, dict):
        return (dict, [(exact(key), exact(element)) for key, element in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [exact(element) for element in value])
    return (type(value), repr(value))


WORDS: Final = st.one_of(
    st.text(max_size=6),
    st.binary(max_size=6),
    st.sampled_from(VOCABULARY),
    st.sampled_from(VOCABULARY).map(bytes.decode),
)
LEAVES: Final = st.one_of(
    WORDS,
    st.text(min_size=126, max_size=130),
    st.integers(-3, 300),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False),
)
VALUES: Final = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(WORDS, inner, max_size=3),
    ),
    max_leaves=12,
)
PLAIN: Final[list[Value]] = [
    b"message",
    "message",
    {b"version": 1, "version": 2, "list": "None"},
    0,
    127,
    128,
    16383,
    16384,
    2**28 - 1,
    b"",
    b"stdout",
    b"x" * 127,
    b"x" * 128,
    "",
    "text",
    "äöü€",
    "x" * 127,
    "x" * 128,
    "x" * 20000,
    None,
    True,
    False,
    [],
    {},
    [1, [2, [3]]],
    (1, (2, ("x",))),
    {"stdout": "x", b"rc": 0},
    [None, True, {"a": None, "b": [False]}],
    [0] * 126,
    dict.fromkeys(map(str, range(126)), 1),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_plain_values_go_the_short_way(value: Value) -> None:
    data = by_the_long_way(5, value)
    assert write_answer(5, value) == data
    number, read, stop = read_answer(data, 0)
    assert (number, exact(read), stop) == (5, exact(value), len(data))
    call = call_by_the_long_way(300, 2, "update", (value,))
    assert write_call(300, 2, "update", True, (value,)) == call
    *head, args, stop = read_call(call, 0)
    assert (head, exact(args), stop) == ([300, 2, "update", 1], exact((value,)), len(call))


def nested(depth: int, inner: Any) -> Any:
    """Return lists inside lists."""
    return inner if not depth else [nested(depth - 1, inner)]


SHARED: Final[list[Value]] = [1]


class _Number(int):
    """No plain number."""


NOT_PLAIN: Final[list[Any]] = [
    -1,
    2.0,
    2**28,
    2**31,
    {1},
    frozenset(),
    Local("x"),
    Failure("builtins.ValueError", "x"),
    [0] * 127,
    nested(DEPTH, 0),
    [SHARED, SHARED],
    ((), ()),
    {1: 2},
    {(): 1},
    {None: 1},
    {True: 1},
]


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: repr(value)[:30])
def test_what_is_not_plain_is_left_alone(value: Value) -> None:
    data = by_the_long_way(5, value)
    with pytest.raises(NotPlain):
        read_answer(data, 0)
    try:
        written = write_answer(5, value)
    except NotPlain:
        return
    # Written it may be plain even so.
    assert written == data


@pytest.mark.parametrize("value", ["\ud800", _Number(1), object()])
def test_what_cannot_be_written_is_left_alone(value: Any) -> None:
    with pytest.raises(NotPlain):
        write_answer(5, [value])
    with pytest.raises(NotPlain):
        write_call(5, 2, "update", True, (value,))


def test_names_of_methods_are_written_as_ever() -> None:
    for method in ("update", "message", "remote", "x" * 127, "ü" * 100):
        assert write_call(1, 2, method, True, ()) == call_by_the_long_way(1, 2, method, ())
    for luid, method in ((b"root", "login"), (2, "\ud800")):
        with pytest.raises(NotPlain):
            write_call(1, luid, method, True, ())


@given(number=st.integers(1, 10**6), value=VALUES, rest=st.binary(max_size=3))
def test_any_value(number: int, value: Value, rest: bytes) -> None:
    data = by_the_long_way(number, value)
    with contextlib.suppress(NotPlain):
        assert write_answer(number, value) == data
    with contextlib.suppress(NotPlain):
        assert write_call(number, 2, "update", True, (value,)) == call_by_the_long_way(number, 2, "update", (value,))
    with contextlib.suppress(NotPlain):
        *fields, stop = read_answer(data + rest, 0)
        assert exact(fields) == exact([number, value])
        assert stop == len(data)


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: repr(value)[:30])
def test_what_is_cut_short_is_left_alone(value: Value) -> None:
    answer, call = by_the_long_way(300, value), call_by_the_long_way(300, 2, "update", (value,))
    for stop in range(0, len(call), max(1, len(call) // 200)):
        with pytest.raises(NotPlain):
            read_call(call[:stop], 0)
    for stop in range(0, len(answer), max(1, len(answer) // 200)):
        with pytest.raises(NotPlain):
            read_answer(answer[:stop], 0)


def long_reading(data: bytes) -> Expression | None:
    """Return the first expression of the bytes, None if they hold none."""
    try:
        found = expressions(data)
    except RemoteProtocolError:
        return None
    return found[0] if found else None


MESSAGES: Final = [
    call_by_the_long_way(300, 2, "update", ([[{"out": "xy", b"e": None}, 0]], (True, b"x"))),
    by_the_long_way(300, {"out": ["xy", 1, (), {}], b"e": [None, False]}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=["call", "answer"])
def test_every_byte_replaced_by_every_other(message: bytes) -> None:
    """Where the short way still finds something, it is what is there."""
    plain = 0
    for where in range(len(CALL if message.startswith(CALL) else ANSWER), len(message)):
        for byte in range(256):
            data = message[:where] + bytes((byte,)) + message[where + 1 :]
            try:
                found: Sequence[object] = read_call(data, 0) if data.startswith(CALL) else read_answer(data, 0)
            except NotPlain:
                continue
            plain += 1
            *fields, stop = found
            assert isinstance(stop, int)
            expression = long_reading(data[:stop])
            assert isinstance(expression, list)
            values: list[object] = [*expression[1:]]
            if data.startswith(CALL):
                assert values.pop() == [b"dictionary"]
                values[2] = values[2].decode()  # type: ignore[attr-defined]
            values[-1] = Unjellier(_Nobody()).read(expression[len(values)])
            assert exact(fields) == exact(values)
    assert plain > 1000


# -- whole conversations


def not_plain(*args: object) -> object:
    raise NotPlain


def hear(
    monkeypatch: pytest.MonkeyPatch,
    *,
    short: bool,
    limits: Limits,
    chunks: Sequence[bytes],
    each: bool = True,
    says: Sequence[Value] = (),
) -> list[object]:
    """Return everything that a server does and says when it gets these bytes. Its object 1 is known, 3 calls wait.

    Args:
        monkeypatch: switches the short way off.
        short: whether it is there.
        limits: the server's.
        chunks: the bytes.
        each: whether the server looks at each of them, or at all at once.
        says: what the server says first.
    """
    with monkeypatch.context() as patch:
        if not short:
            for name in ("read_call", "read_answer", "write_call", "write_answer"):
                patch.setattr(connection, name, not_plain)
        server = Connection(Role.SERVER, root=Local("root"))
        args: Encodable = [b"tuple", [b"remote", 7]]
        server.receive_data(pb(b"pb") + pb([b"message", 1, b"root", b"get", 1, args, [b"dictionary"]]))
        assert isinstance(server.next_event(), Opened)
        call = server.next_event()
        assert isinstance(call, Call)
        server.answer(1, Local("command"))
        (remote,) = call.args
        assert isinstance(remote, Remote)
        for _ in range(3):
            server.call(remote, "x")
        server.data_to_send()
        server.set_limits(limits)
        said: list[object] = []

        def tried(act: Callable[[], object]) -> bool:
            try:
                said.append(repr(act()))
            except (RemoteProtocolError, LocalProtocolError) as error:
                said.append(repr(error))
                return False
            return True

        def look() -> None:
            def next_event() -> object:
                event = server.next_event()
                if isinstance(event, Call):
                    tried(lambda: server.answer(event.id, event.args))
                return event

            while tried(next_event) and said[-1] != repr(NEED_DATA):
                pass

        for value in says:
            tried(lambda value=value: server.call(remote, "x", (value,)))  # type: ignore[misc]
        for chunk in chunks:
            server.receive_data(chunk)
            if each:
                look()
        server.receive_eof()
        look()
        look()
        return [*said, server.data_to_send()]


BOUNDS: Final = [
    Limits(),
    Limits(calls=0),
    *(Limits(depth=depth) for depth in (3, 7, DEPTH - 1, DEPTH)),
    *(Limits(string=size) for size in (6, 60, 200)),
    *(Limits(elements=size) for size in (7, 60, 200)),
    *(Limits(message=size) for size in (20, 60, 200)),
    *(Limits(message_elements=size) for size in (7, 60, 200)),
    *(Limits(prefix=digits) for digits in (1, 2, 4)),
]
INNERMOST: Final[list[Any]] = [0, "x", {"x": 1}]
TALK: Final = [
    *(call_by_the_long_way(300, 1, "update", (value,)) for value in [*PLAIN, *NOT_PLAIN]),
    *(by_the_long_way(2, value) for value in [*PLAIN, *NOT_PLAIN]),
    *(
        by_the_long_way(2, nested(depth, inner))
        for depth in range(DEPTH - 6, DEPTH + 1)
        for inner in (0, "x", {"x": 1})
    ),
    *(call_by_the_long_way(9, 1, "x", (nested(depth, inner),)) for depth in range(DEPTH) for inner in INNERMOST),
    call_by_the_long_way(8, 2, "update", ()),
    by_the_long_way(4, 0),
    by_the_long_way(2, 0) + by_the_long_way(2, 0),
    # A type byte without digits before it is an element of its own; read as a digit it would be a size.
    *(ANSWER + b"\x02\x81" + begin + b"\0" * 300 for begin in (b"\x81\x81", b"\x81\x82", b"\x82\x81")),
    *(ANSWER + b"\x02\x81" + begin + b"\0\x81" * 300 for begin in (b"\x80\x80\x08\x87", b"\0\x80\x08\x87")),
    ANSWER + b"\x02\x81\x80\x80\x05\x87" + b"\x02\x80\x01\x82x\0\x81" * 300,
    CALL + b"\x02\x81\x01\x81\x81\x82" + b"x" * 129 + b"\x01\x81\x01\x80\x0b\x87\x01\x80\x05\x87",
    ANSWER + b"\x02\x81\x02\x80\x07\x82unicode\x81\x82" + b"x" * 300,
]


@pytest.mark.parametrize("limits", BOUNDS, ids=lambda limits: str(largest(limits)))
def test_a_message_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    for data in TALK:
        half = len(data) // 2
        ways = [[data], [data[:half], data[half:]]]
        if len(data) < 100:
            ways.append([data[n : n + 1] for n in range(len(data))])
        for chunks in ways:
            by_length = hear(monkeypatch, short=False, limits=limits, chunks=chunks)
            assert hear(monkeypatch, short=True, limits=limits, chunks=chunks) == by_length


@pytest.mark.parametrize("limits", BOUNDS, ids=lambda limits: str(largest(limits)))
def test_what_is_said_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    deep = [nested(depth, inner) for depth in range(DEPTH) for inner in INNERMOST]
    says = [value for value in [*PLAIN, *NOT_PLAIN, *deep] if not isinstance(value, Local)]
    by_length = hear(monkeypatch, short=False, limits=limits, chunks=[], says=says)
    assert hear(monkeypatch, short=True, limits=limits, chunks=[], says=says) == by_length


@pytest.mark.parametrize("each", [True, False])
def test_a_message_inside_a_message(monkeypatch: pytest.MonkeyPatch, each: bool) -> None:
    """It is none, wherever the bytes are cut."""
    inner: Encodable = [b"message", 5, 1, b"inner", 1, [b"tuple"], [b"dictionary"]]
    data = pb([b"message", 4, 1, b"outer", 1, [b"tuple", inner, 1], [b"dictionary"]])
    data += call_by_the_long_way(6, 1, "last", ())
    for cut in range(len(data)):
        chunks = [data[:cut], data[cut:]]
        by_length = hear(monkeypatch, short=False, limits=Limits(), chunks=chunks, each=each)
        assert hear(monkeypatch, short=True, limits=Limits(), chunks=chunks, each=each) == by_length
        assert "inner" not in str(by_length[:-1])
        assert "last" in str(by_length)


CONVERSATIONS: Final = st.lists(
    st.one_of(
        st.tuples(VALUES).map(lambda args: call_by_the_long_way(7, 1, "update", args)),
        st.tuples(VALUES, VALUES).map(lambda args: call_by_the_long_way(300, 1, "update", args)),
        st.tuples(st.integers(1, 3), VALUES).map(lambda answer: by_the_long_way(*answer)),
        st.sampled_from([pb([b"decref", 1]), pb([b"error", 1, b"text"]), *TALK]),
    ),
    max_size=5,
).map(b"".join)


@given(
    data=CONVERSATIONS,
    cuts=st.lists(st.integers(0, 600), max_size=4),
    change=st.none() | st.tuples(st.integers(0, 600), st.integers(0, 255)),
    limits=st.sampled_from(BOUNDS),
    each=st.booleans(),
    says=st.lists(VALUES, max_size=2),
)
def test_a_conversation_is_the_same_either_way(
    data: bytes,
    cuts: list[int],
    change: tuple[int, int] | None,
    limits: Limits,
    each: bool,
    says: list[Value],
) -> None:
    if change is not None and change[0] < len(data):
        data = data[: change[0]] + bytes((change[1],)) + data[change[0] + 1 :]
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[start:stop] for start, stop in pairwise(ends)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        by_length = hear(monkeypatch, short=False, limits=limits, chunks=chunks, each=each, says=says)
        assert hear(monkeypatch, short=True, limits=limits, chunks=chunks, each=each, says=says) == by_length


def test_no_plain_message_exceeds_a_limit() -> None:
    for limits in BOUNDS:
        size = largest(limits)
        assert size <= min(limits.string, limits.elements, limits.message, limits.message_elements)
        assert not size or limits.depth >= DEPTH
