"""Classes of values, and that they are what attrs would make of them."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

from slaveproto.records import record


@record
class Point:
    """A place."""

    x: int
    y: int = 0
    secret: str = attrs.field(default="", repr=False)


@record
class Note:
    """Something of which a part does not count."""

    x: int
    hint: int = attrs.field(default=0, eq=False)


@record
class Place:
    """Another one with the same fields."""

    x: int
    y: int = 0
    secret: str = ""


@attrs.frozen
class Plain:
    """What attrs itself makes."""

    x: int
    y: int = 0
    secret: str = attrs.field(default="", repr=False)


def test_two_are_equal_if_class_and_fields_are() -> None:
    assert Point(1, 2) == Point(1, y=2)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2, "a") != Point(1, 2, "b")
    others: list[object] = [Place(1, 2), (1, 2, "")]
    assert Point(1, 2) not in others


def test_what_does_not_count_does_not() -> None:
    assert Note(1, 2) == Note(1, 3)
    assert Note(1, 2) != Note(2, 2)
    assert len({Note(1, 2), Note(1, 3)}) == 1


def test_equal_ones_have_one_place_in_a_set() -> None:
    assert {Point(1, 2), Point(1, 2), Point(2, 1)} == {Point(2, 1), Point(1, 2)}
    assert len({Point(1), Place(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point([]))  # type: ignore[arg-type]


def test_text_is_that_of_attrs() -> None:
    assert repr(Point(1, 2, "pw")) == repr(Plain(1, 2, "pw")).replace("Plain", "Point")


def test_nothing_can_be_changed() -> None:
    point = Point(1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]
    assert not hasattr(point, "__dict__")


def test_attrs_knows_them() -> None:
    assert attrs.evolve(Point(1, 2), y=3) == Point(1, 3)
    assert attrs.asdict(Point(1)) == {"x": 1, "y": 0, "secret": ""}
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_copies_are_equal() -> None:
    assert copy.deepcopy(Point(1, 2)) == pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
