"""Jelly against the recorded behaviour of both Twisteds, against itself, and against hostile values."""

from __future__ import annotations

import datetime
import enum
import sys
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.errors import LocalProtocolError, UnreadableValue
from slaveproto.limits import SIZE_LIMIT
from slaveproto.wire import Copied, Failure, Local, Remote, Unpersistable, Value, remotes_in
from slaveproto.wire.banana import VOCABULARY, Expression
from slaveproto.wire.jelly import Unjellier, jelly
from tests.wire.support import (
    GENERATORS,
    NEW,
    OLD,
    NoObjects,
    as_failure,
    banana_value,
    describe,
    expressions,
    failure_state,
    jelly_value,
    lines_run,
    pb,
    rows,
    same_bits,
)

REFUSED: Final = "UnreadableValue"
REFUSED_AT_SENDER: Final = "LocalProtocolError"

DIFFERENCES: Final[dict[tuple[str, str], str]] = {
    (OLD, "R:unicode_surrogate_utf8"): REFUSED,
    (OLD, "R:dict_two_char_string"): REFUSED,
    (NEW, "R:dict_two_char_string"): REFUSED,
    (OLD, "R:decimal_F"): REFUSED,
    (OLD, "R:decimal_float"): REFUSED,
    (NEW, "R:decimal_float"): REFUSED,
    (OLD, "R:deref_unknown"): REFUSED,
    (NEW, "R:deref_unknown"): REFUSED,
    (OLD, "R:deref_unknown_in_list"): REFUSED,
    (NEW, "R:deref_unknown_in_list"): REFUSED,
    (OLD, "R:deref_unknown_in_tuple"): REFUSED,
    (NEW, "R:deref_unknown_in_tuple"): REFUSED,
    (OLD, "R:deref_forward_in_tuple"): "a tuple",
    (NEW, "R:deref_forward_in_tuple"): "a tuple",
    (OLD, "R:deref_forward_in_set"): REFUSED,
    (NEW, "R:deref_forward_in_set"): REFUSED,
    (OLD, "R:ref_to_none"): "None twice",
    (NEW, "R:ref_to_none"): "None twice",
    (OLD, "R:ref_cycle_frozenset_direct"): REFUSED,
    (NEW, "R:ref_cycle_frozenset_direct"): REFUSED,
}
"""Where we differ from Twisted on purpose. See docs/differences-wire.md."""


def to_expression(value: Value) -> Expression:
    """Return the expression of `value` after a journey as bytes."""
    return expressions(pb(jelly(value, NoObjects())))[0]


def read(expression: Expression, tags: frozenset[bytes] = frozenset()) -> Value:
    return Unjellier(NoObjects(), tags).read(expression)


def fixed(expression: Any) -> Expression:
    """Return a literal expression; this only spares the tests a hundred type annotations."""
    return expression  # type: ignore[no-any-return]


# -- the vectors


@pytest.mark.parametrize(("generator", "name", "vector"), rows("jelly"))
def test_both_directions(generator: str, name: str, vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    value = jelly_value(vector["value"])
    assert same_bits(jelly(value, NoObjects())) == same_bits(banana_value(vector["sexp"]))
    assert pb(jelly(value, NoObjects())) == data
    expected = jelly_value(vector.get("decodes_as", vector["value"]))
    decoded = read(expressions(data)[0])
    assert describe(decoded) == describe(expected)
    if "decodes_as" not in vector:
        assert pb(jelly(decoded, NoObjects())) == data


def outcome(expression: Expression) -> tuple[str, object]:
    try:
        return "", describe(read(expression))
    except UnreadableValue as error:
        return REFUSED, error.kind == "twisted.spread.jelly.InsecureJelly"


def recorded_outcome(vector: dict[str, Any]) -> tuple[str, object]:
    if "raises" in vector:
        return REFUSED, vector["raises"] == "twisted.spread.jelly.InsecureJelly"
    if '"t": "object"' in str(vector["result"]).replace("'", '"'):
        return "a placeholder leaks", None
    return "", describe(jelly_value(vector["result"]))


@pytest.mark.parametrize("generator", GENERATORS)
def test_received(generator: str) -> None:
    different = {}
    for _, name, vector in rows("jelly_received", [generator]):
        expression = expressions(bytes.fromhex(vector["hex"]))[0]
        assert same_bits(expression) == same_bits(banana_value(vector["sexp"])), name
        ours = outcome(expression)
        if ours != recorded_outcome(vector):
            different[generator, f"R:{name}"] = ours
    assert different.keys() == {key for key in DIFFERENCES if key[0] == generator}
    shared: list[Value] = [5]
    values: dict[str, Value] = {"a tuple": (shared, shared), "None twice": [None, None]}
    for key, ours in different.items():
        says = DIFFERENCES[key]
        assert ours == ((REFUSED, False) if says == REFUSED else ("", describe(values[says]))), key


class IntSub(int):
    pass


class BytesSub(bytes):
    pass


class TextSub(str):
    __slots__ = ()


class Plain:
    def method(self) -> None:
        raise AssertionError


class En(enum.Enum):
    A = 1


def iter_nothing() -> Iterator[None]:
    yield from ()


class IntEn(enum.IntEnum):
    A = 1


Pair = namedtuple("Pair", "a b")

UNSENDABLE: Final[dict[str, Callable[[], Any]]] = {
    "builtin_function": lambda: len,
    "bytearray": lambda: bytearray(b"x"),
    "bytes_subclass": lambda: BytesSub(b"x"),
    "class": lambda: Plain,
    "class_builtin": lambda: int,
    "complex": lambda: 1j,
    "datetime_tz": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "decimal_inf": lambda: Decimal("Infinity"),
    "decimal_nan": lambda: Decimal("NaN"),
    "decimal_neginf": lambda: Decimal("-Infinity"),
    "defaultdict": lambda: defaultdict(int),
    "deque": deque,
    "dict_keys": lambda: {}.keys(),
    "ellipsis": lambda: ...,
    "enum": lambda: En.A,
    "exception": lambda: ValueError("x"),
    "function": lambda: rows,
    "generator": lambda: iter_nothing(),
    "int_2pow448": lambda: 2**448,
    "int_subclass": lambda: IntSub(5),
    "intenum": lambda: IntEn.A,
    "lone_surrogate": lambda: "\ud800",
    "memoryview": lambda: memoryview(b"x"),
    "method_bound": lambda: Plain().method,
    "method_unbound": lambda: Plain.method,
    "namedtuple": lambda: Pair(1, 2),
    "notimplemented": lambda: NotImplemented,
    "object": object,
    "ordereddict": OrderedDict,
    "plain_instance": Plain,
    "plain_instance_in_list": lambda: [1, Plain(), 2],
    "plain_instance_twice": lambda: [Plain(), Plain()],
    "text_655361": lambda: "x" * (SIZE_LIMIT + 1),
    "text_subclass": lambda: TextSub("x"),
    "time_tz": lambda: datetime.time(1, tzinfo=datetime.UTC),
}
# Python 3 has no such types.
ONLY_PYTHON_2: Final = {"buffer", "long", "oldstyle_instance"}


def test_the_unsendable_vectors_are_covered() -> None:
    recorded = {name for _, name, _ in rows("jelly_unsendable")}
    assert recorded - {"text_utf8_at_limit"} - set(UNSENDABLE) == ONLY_PYTHON_2


PLACEHOLDERS: Final = {
    f"U:{name}" for _, name, vector in rows("jelly_unsendable") if "sent_hex" in vector and name in UNSENDABLE
}
"""What at least one Twisted sends in another form, or as a placeholder, and we do not send at all."""


@pytest.mark.parametrize("name", UNSENDABLE)
def test_what_cannot_be_sent_is_refused_at_the_sender(name: str) -> None:
    bad = UNSENDABLE[name]()
    places: list[Any] = [bad, [bad], {1: bad}, (1, bad)]
    for value in places:
        with pytest.raises(LocalProtocolError):
            pb(jelly(value, NoObjects()))


@pytest.mark.parametrize("generator", GENERATORS)
def test_text_is_measured_in_utf_8(generator: str) -> None:
    ((_, _, vector),) = (row for row in rows("jelly_unsendable", [generator]) if row[1] == "text_utf8_at_limit")
    sent = pb(jelly("\N{EURO SIGN}" * (SIZE_LIMIT // 3), NoObjects()))
    assert {"first16": sent[:16].hex(), "length": len(sent)} == vector["sent_hex"]
    with pytest.raises(LocalProtocolError):
        pb(jelly("\N{EURO SIGN}" * (SIZE_LIMIT // 3 + 1), NoObjects()))


# -- values of ours, there and back

TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=20)
HASHABLE_ATOMS: Final[st.SearchStrategy[Any]] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**448) + 1, 2**448 - 1),
    st.integers(-3, 300),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.sampled_from(VOCABULARY),
    TEXT,
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3),
    TEXT.map(Unpersistable),
)
HASHABLE: Final[st.SearchStrategy[Any]] = st.recursive(
    HASHABLE_ATOMS,
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
TAG: Final = b"some.Tag"


@st.composite
def values(draw: st.DrawFn) -> Value:
    """Draw a value whose lists, dicts and sets may be shared and may contain each other."""
    containers: list[Any] = draw(
        st.lists(st.one_of(st.builds(list), st.builds(dict), st.builds(set)), min_size=1, max_size=5)
    )
    anything = st.recursive(
        st.one_of(HASHABLE, st.floats(), st.sampled_from(containers)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(tuple),
            # The state of a copied object may not be a cycle: it would be read before it is complete.
            st.builds(Copied, st.just(TAG), HASHABLE),
        ),
        max_leaves=4,
    )
    for container in containers:
        if isinstance(container, list):
            container += draw(st.lists(anything, max_size=4))
        elif isinstance(container, dict):
            container.update(draw(st.dictionaries(HASHABLE, anything, max_size=3)))
        else:
            container |= draw(st.sets(HASHABLE, max_size=3))
    return containers[0]  # type: ignore[no-any-return]


@given(values())
@settings(max_examples=200)
def test_round_trip(value: Value) -> None:
    expression = to_expression(value)
    back = read(expression, frozenset({TAG}))
    assert describe(back) == describe(value)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_numbers_are_given_at_the_second_meeting(order: list[str]) -> None:
    objects: dict[str, list[Value]] = {name: [name] for name in "abc"}
    second_meetings = [name for n, name in enumerate(order) if order[:n].count(name) == 1]
    numbers = {name: n for n, name in enumerate(second_meetings, 1)}
    expected: list[Expression] = [b"list"]
    for n, name in enumerate(order):
        plain: Expression = [b"list", [b"unicode", name.encode()]]
        if name not in numbers:
            expected.append(plain)
        elif name in order[:n]:
            expected.append([b"dereference", numbers[name]])
        else:
            expected.append([b"reference", numbers[name], plain])
    assert to_expression([objects[name] for name in order]) == expected


def test_failures_in_one_value_stay_apart() -> None:
    many: list[Value] = [Failure("a.B", str(n), ("a.B",)) for n in range(50)]
    assert read(to_expression(many)) == many


@given(TEXT.filter(bool), TEXT, st.lists(TEXT, max_size=3), TEXT)
def test_failures_survive_as_ascii(kind: str, message: str, parents: list[str], traceback: str) -> None:
    def ascii_only(text: str) -> str:
        return text.encode("ascii", "backslashreplace").decode()

    failure = Failure(kind, message, tuple(parents), traceback)
    back = read(to_expression(failure))
    assert back == Failure(ascii_only(kind), ascii_only(message), failure.lineage(), ascii_only(traceback))


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        ("builtins.ValueError", ("builtins.ValueError", "builtins.Exception", "exceptions.ValueError",
                                 "exceptions.Exception")),
        ("a.B", ("a.B", "builtins.Exception", "exceptions.Exception")),
        ("twisted.cred.error.UnauthorizedLogin", (
            "twisted.cred.error.UnauthorizedLogin", "twisted.cred.error.LoginFailed",
            "twisted.cred.error.Unauthorized", "builtins.Exception", "exceptions.Exception")),
    ],
)  # fmt: skip
def test_the_lineage_names_both_generations(kind: str, parents: tuple[str, ...]) -> None:
    failure = Failure(kind, "")
    assert failure.lineage() == parents
    assert as_failure(to_expression(failure)).parents == parents
    assert failure.is_a(kind)
    assert not failure.is_a("builtins.KeyError")
    assert as_failure(to_expression(failure)).is_a("exceptions.Exception")


def test_a_failure_is_sent_in_the_form_that_both_generations_survive() -> None:
    expression = to_expression(Failure("a.B", "m\N{EURO SIGN}"))
    assert isinstance(expression, list)
    assert expression[0] == b"twisted.spread.pb.CopyableFailure"
    state = read(expression[1])
    assert isinstance(state, dict)
    assert {type(key) for key in state} == {str}
    assert set(state) >= {"type", "value", "parents", "traceback", "tb", "frames", "stack"}
    assert state["type"] == b"a.B"
    assert state["value"] == "m\\u20ac"
    assert isinstance(state["parents"], list)
    assert {type(name) for name in state["parents"]} == {str}


@pytest.mark.parametrize(
    ("state", "failure"),
    [
        ({}, Failure("", "", (), "")),
        ({b"type": b"a.B", b"value": b"m", b"parents": [b"a.B", b"c.D"]}, Failure("a.B", "m", ("a.B", "c.D"), "")),
        ({"type": "a.B", "value": "m", "parents": ("a.B",)}, Failure("a.B", "m", ("a.B",), "")),
        ({"type": b"\xff", "value": 5, "parents": None, "traceback": None}, Failure("\\xff", "5", (), "None")),
        ({"type": [], "value": {}, "parents": [[], 1.5]}, Failure("(list)", "(dict)", ("(list)", "1.5"), "")),
        ({(1,): 2, "_frames": [("f", "p", 1, (), ())]}, Failure("", "", (), "")),
    ],
)
def test_failures_of_any_shape_are_read(state: Value, failure: Failure) -> None:
    assert as_failure([b"twisted.spread.pb.CopyableFailure", to_expression(state)]) == failure


@pytest.mark.parametrize("state", [[b"list"], [b"None"], 5, b"x"])
def test_a_failure_without_a_dictionary_is_unreadable(state: Expression) -> None:
    with pytest.raises(UnreadableValue):
        read([b"twisted.spread.pb.CopyableFailure", state])


def test_objects_are_counted_by_occurrence() -> None:
    class Counting(NoObjects):
        def number_of(self, local: Local) -> int:
            met.append(local)
            return super().number_of(local)

    met: list[Local] = []
    one, two = Local("one"), Local("two")
    expression = jelly([one, two, one, {"k": one}], Counting())
    assert met == [one, two, one, one]
    assert expression == [b"list", [b"remote", 1], [b"remote", 2], [b"remote", 1],
                          [b"dictionary", [[b"unicode", b"k"], [b"remote", 1]]]]  # fmt: skip


def test_each_remote_that_arrives_is_its_own() -> None:
    objects = NoObjects()
    value = Unjellier(objects).read([b"list", [b"remote", 5], [b"remote", 5]])
    assert isinstance(value, list)
    assert value == objects.remotes
    assert value[0] is not value[1]
    objects = NoObjects()
    value = Unjellier(objects).read([b"list", [b"reference", 1, [b"remote", 5]], [b"dereference", 1]])
    assert isinstance(value, list)
    assert len(objects.remotes) == 1
    assert value[0] is value[1] is objects.remotes[0]


def test_remotes_go_home_and_locals_come_home() -> None:
    objects = NoObjects()
    assert jelly(Remote(7), objects) == [b"local", 7]
    assert jelly(Remote(b"root"), objects) == [b"local", b"root"]
    local = Local("x")
    objects.number_of(local)
    assert Unjellier(objects).read([b"local", 1]) is local
    assert Unjellier(objects).read([b"local", 2]) is None


def test_a_remote_of_elsewhere_is_refused() -> None:
    class Stranger(NoObjects):
        def owns(self, remote: Remote) -> bool:
            return False

    with pytest.raises(LocalProtocolError, match="not of this connection"):
        jelly([Remote(1)], Stranger())


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ([b"remote", b"name"], "Remote(b'name')"),
        ([b"remote", 0], "Remote(0)"),
        ([b"remote", 1, 2], "Remote(1)"),
    ],
)
def test_odd_numbers_of_objects(expression: Expression, expected: str) -> None:
    assert repr(read(expression)) == expected


@pytest.mark.parametrize("expression", [[b"remote"], [b"remote", []], [b"remote", 1.0], [b"local"], [b"local", []]])
def test_unusable_numbers_of_objects(expression: Expression) -> None:
    with pytest.raises(UnreadableValue):
        read(expression)


def test_copied_objects_need_permission() -> None:
    expression: Expression = [TAG, [b"dictionary", [[b"unicode", b"x"], 3]]]
    with pytest.raises(UnreadableValue) as caught:
        read(expression)
    assert caught.value.kind == "twisted.spread.jelly.InsecureJelly"
    copied = read(expression, frozenset({TAG}))
    assert copied == Copied(TAG, {"x": 3})
    assert to_expression(copied) == expression
    both = Copied(TAG, [1])
    assert to_expression([both, both]) == [b"list", [b"reference", 1, [TAG, [b"list", 1]]], [b"dereference", 1]]
    for bad in ([TAG], [TAG, [b"dereference", 1]]):
        with pytest.raises(UnreadableValue):
            read(fixed(bad), frozenset({TAG}))


def test_remotes_are_found_once_each() -> None:
    a, b, c = Remote(1), Remote(1), Remote(2)
    shared: list[Value] = [a]
    cyclic: dict[Value, Value] = {b: shared, "x": (shared, {c}, Copied(TAG, [c]))}
    cyclic["self"] = cyclic
    assert sorted(map(id, remotes_in(cyclic, shared, 5, Failure("", "")))) == sorted(map(id, (a, b, c)))


# -- sharing and cycles that come from elsewhere


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # forward, in every place that can wait
        ([b"list", [b"dereference", 1], [b"reference", 1, [b"list", 5]]], "[[5], [5]]"),
        ([b"tuple", [b"dereference", 1], [b"reference", 1, 5]], "(5, 5)"),
        ([b"dictionary", [1, [b"dereference", 1]], [2, [b"reference", 1, 5]]], "{1: 5, 2: 5}"),
        ([b"list", [b"tuple", [b"tuple", [b"dereference", 1], [b"dereference", 2]]], [b"reference", 2, 6],
          [b"reference", 1, 5]], "[((5, 6),), 6, 5]"),
        # a chain of names for one thing
        ([b"list", [b"reference", 3, [b"reference", 2, [b"reference", 1, 5]]], [b"dereference", 1],
          [b"dereference", 2], [b"dereference", 3]], "[5, 5, 5, 5]"),
        ([b"list", [b"reference", 1, [b"dereference", 2]], [b"dereference", 1], [b"reference", 2, 5]], "[5, 5, 5]"),
        # cycles
        ([b"reference", 1, [b"list", [b"tuple", [b"dereference", 1]]]], "[([...],)]"),
        ([b"reference", 1, [b"dictionary", [5, [b"dereference", 1]]]], "{5: {...}}"),
        # keys that are shared
        ([b"list", [b"reference", 1, [b"tuple"]], [b"dictionary", [[b"dereference", 1], 5]]], "[(), {(): 5}]"),
        ([b"dictionary", [[b"reference", 1, [b"tuple", 1]], [b"dereference", 1]]], "{(1,): (1,)}"),
    ],
)  # fmt: skip
def test_sharing(expression: Expression, expected: str) -> None:
    assert repr(read(expression)) == expected


def test_a_tuple_in_its_own_list_is_one_object() -> None:
    value = read([b"reference", 1, [b"tuple", [b"list", [b"dereference", 1]]]])
    assert isinstance(value, tuple)
    (inner,) = value
    assert isinstance(inner, list)
    assert inner[0] is value


@pytest.mark.parametrize(
    "expression",
    [
        [b"dereference", 1],
        [b"list", [b"dereference", 1]],
        [b"reference", 1, [b"dereference", 1]],
        [b"reference", 1, [b"tuple", [b"dereference", 1]]],
        [b"reference", 1, [b"reference", 1, 5]],
        [b"list", [b"reference", 1, 5], [b"reference", 1, 5]],
        [b"list", [b"reference", 1, [b"dereference", 2]], [b"reference", 2, [b"dereference", 1]]],
        [b"set", [b"dereference", 1]],
        [b"dictionary", [[b"dereference", 1], 5]],
        [b"dictionary", [[b"tuple", [b"dereference", 1]], [b"reference", 1, 5]]],
        [b"list", [b"reference", 1, [b"tuple", 1]], [b"set", [b"tuple", [b"dereference", 1]]]],
        [b"set", [b"list"]],
        [b"set", [b"tuple", [b"list"]]],
        [b"dictionary", [[b"dictionary"], 5]],
        [b"dictionary", [1, 2, 3]],
        [b"dictionary", [1]],
        [b"reference", 1],
        [b"reference", [], 5],
        [b"reference", 1.5, 5],
        [b"dereference"],
    ],
)
def test_unreadable_sharing(expression: Any) -> None:
    with pytest.raises(UnreadableValue) as caught:
        read(expression)
    assert caught.value.kind.startswith("builtins.")


@pytest.mark.parametrize(
    "expression",
    [
        [b"datetime", b"1 1"],
        [b"datetime", b"2020 13 1"],
        [b"datetime", b"2020 1 1 0 0 0 0 0 0"],
        [b"datetime", b"1" * 5000],
        [b"datetime", b"99999999999999999999 1 1"],
        [b"datetime", 5],
        [b"date", b"2020 1"],
        [b"time", b"25"],
        [b"timedelta", b"999999999999"],
        [b"timedelta", b"1 2 3 4 5 6 7 8"],
        [b"decimal", 1],
        [b"decimal", b"1", 1],
        [b"decimal", 1, 1.0],
        [b"decimal", 1, 10**10],
        [b"boolean", b"maybe"],
        [b"boolean"],
        [b"unicode", b"\xff"],
        [b"unicode", 5],
        [b"unicode"],
        [b"unpersistable", 5],
        [5],
        [[b"list"]],
        [],
    ],
)
def test_unreadable_values(expression: Any) -> None:
    with pytest.raises(UnreadableValue):
        read(expression)


ATOMS: Final = [
    b"None", b"boolean", b"unicode", b"list", b"tuple", b"dictionary", b"set", b"frozenset", b"reference",
    b"dereference", b"datetime", b"date", b"time", b"timedelta", b"decimal", b"unpersistable", b"persistent",
    b"remote", b"local", b"twisted.spread.pb.CopyableFailure", TAG,
]  # fmt: skip
HEADS: Final = st.sampled_from([
    *ATOMS, *ATOMS, b"class", b"function", b"module", b"method", b"instance", b"os.system", b"antigravity", b"this.x",
    b"tests.wire.no_such", b"cached", b"lcache", b"copy", b"cache",
])  # fmt: skip
SEEMINGLY_JELLY: Final[st.SearchStrategy[Any]] = st.recursive(
    st.one_of(
        st.integers(-5, 5),
        st.floats(),
        st.sampled_from([b"true", b"false", b"2020 1 1", b"1 2 3", b"antigravity", b"os.system", b"", b"\xff"]),
    ),
    lambda inner: st.one_of(
        st.builds(lambda head, rest: [head, *rest], HEADS, st.lists(inner, max_size=4)),
        st.builds(lambda pairs: [b"dictionary", *pairs], st.lists(st.lists(inner, min_size=2, max_size=2), max_size=3)),
        st.builds(lambda n, body: [b"reference", n, body], st.integers(1, 3), inner),
        st.integers(1, 3).map(lambda n: [b"dereference", n]),
        st.lists(inner, max_size=2),
    ),
    max_leaves=15,
)


@given(SEEMINGLY_JELLY)
@settings(max_examples=500)
def test_only_unreadable_value_escapes(expression: Any) -> None:
    objects = NoObjects()
    try:
        value = Unjellier(objects, frozenset({TAG})).read(expression)
    except UnreadableValue:
        return
    again = jelly(value, objects)
    assert len(list(remotes_in(value))) <= len(objects.remotes)
    # A failure that names no ancestors is sent with those that its kind implies.
    if not objects.remotes and "Failure(" not in repr(value):
        assert describe(read(expressions(pb(again))[0], frozenset({TAG}))) == describe(value)


@given(st.lists(SEEMINGLY_JELLY, max_size=5))
def test_nothing_is_imported_or_looked_up(parts: list[Any]) -> None:
    before = set(sys.modules)
    for head in (b"class", b"module", b"function", b"method", b"instance", b"antigravity", b"antigravity.fly"):
        for rest in ([b"antigravity"], [b"antigravity.fly", [b"dictionary"]], parts):
            with pytest.raises(UnreadableValue) as caught:
                read([head, *rest])
            assert caught.value.kind == "twisted.spread.jelly.InsecureJelly"
    assert set(sys.modules) == before


def test_depth_ends_in_an_error_of_ours() -> None:
    deep: list[Value] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LocalProtocolError, match="too deep"):
        jelly(deep, NoObjects())


def test_long_decimals_are_refused() -> None:
    assert read(to_expression(Decimal("9" * 134))) == Decimal("9" * 134)
    for digits in (136, 5000):
        with pytest.raises(LocalProtocolError, match="decimal of more than"):
            jelly(Decimal("9" * digits), NoObjects())


# -- hostile values: the work grows with the message, not faster


def work(expression: Any) -> int:
    def attempt() -> None:
        try:
            hash_free = read(expression)
        except UnreadableValue:
            return
        list(remotes_in(hash_free))

    return lines_run(attempt, "slaveproto/wire")


def chain_forward(n: int) -> Any:
    """Each tuple waits for the next one; the last releases them all."""
    links = [[b"reference", k, [b"tuple", [b"dereference", k + 1]]] for k in range(n)]
    return [b"list", *links, [b"reference", n, 5]]


def chain_of_names(n: int) -> Any:
    links = [[b"reference", k, [b"dereference", k + 1]] for k in range(n)]
    return [b"list", *links, [b"reference", n, [b"list"]]]


def all_wait_for_one(n: int) -> Any:
    return [b"list", *([b"tuple", [b"dereference", 0]] for _ in range(n)), [b"reference", 0, 5]]


def laughs(n: int) -> Any:
    """Each tuple holds the one before twice: 2**n leaves if anybody walked it."""
    levels = [[b"reference", k, [b"tuple", [b"dereference", k - 1], [b"dereference", k - 1]]] for k in range(1, n)]
    return [b"list", [b"reference", 0, [b"tuple", 1]], *levels]


def laughs_as_key(n: int) -> Any:
    return [*laughs(n), [b"dictionary", [[b"dereference", n - 1], 1]]]


def laughs_inside_a_key(n: int) -> Any:
    return [b"dictionary", [[b"tuple", *laughs(n)[1:]], 1]]


def laughs_as_frozensets(n: int) -> Any:
    levels = [[b"reference", k, [b"frozenset", [b"tuple", [b"dereference", k - 1]]]] for k in range(1, n)]
    return [b"list", [b"reference", 0, [b"frozenset"]], *levels]


def same_hash_integers(n: int) -> Any:
    return [b"set", *(k * (2**61 - 1) for k in range(1, n))]


def same_hash_tuples(n: int) -> Any:
    return [b"set", *([b"tuple", k * (2**61 - 1)] for k in range(1, n))]


def same_hash_decimals(n: int) -> Any:
    return [b"dictionary", *([[b"decimal", k * (2**61 - 1), 0], 1] for k in range(1, n))]


@pytest.mark.parametrize(
    "hostile",
    [
        chain_forward, chain_of_names, all_wait_for_one, laughs, laughs_as_key, laughs_inside_a_key,
        laughs_as_frozensets, same_hash_integers, same_hash_tuples, same_hash_decimals,
    ],
)  # fmt: skip
def test_hostile_values_take_linear_work(hostile: Callable[[int], Any]) -> None:
    few, many = work(hostile(500)), work(hostile(1000))
    assert many <= 2.1 * few + 200
    # If the number of steps were right but each of them slow, this would not end.
    assert work(hostile(4000)) <= 9 * few


def test_thirty_thousand_references() -> None:
    value = read(chain_of_names(30_000))
    assert isinstance(value, list)
    assert len(value) == 30_001


def test_unusual_keys_are_counted() -> None:
    assert read([b"set", *(fixed([b"tuple", n]) for n in range(1000))]) == {(n,) for n in range(1000)}
    for member in ([b"tuple", 5], [b"frozenset", 5], [b"decimal", 5, 0], 2**61):
        with pytest.raises(UnreadableValue, match="unusual keys"):
            read([b"set", *(fixed(member) for _ in range(1001))])
    assert len(read([b"set", *range(5000)])) == 5000  # type: ignore[arg-type]


def test_elements_of_unusual_keys_are_counted() -> None:
    """Keys that differ only at their end, and hash alike, would be compared to their end, each with each."""
    assert len(read([b"set", *(fixed([b"tuple", *range(99), n]) for n in range(100))])) == 100  # type: ignore[arg-type]
    with pytest.raises(UnreadableValue, match="keys of more than"):
        read([b"set", *(fixed([b"tuple", *range(99), n]) for n in range(101))])


def test_failure_state_is_what_the_helpers_say() -> None:
    assert as_failure(failure_state("a.B", "m")) == Failure("a.B", "m", ("a.B",))
