"""What is kept once of what many slaves say alike."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.master import interning as sayings
from slaveproto.master.info import read_info
from slaveproto.master.interning import Interner
from slaveproto.wire import Value


def told(**more: Value) -> dict[Value, Value]:
    """What a slave says, in objects of its own."""
    environ: dict[Value, Value] = {f"NAME{n}": f"value {n}" for n in range(5)}
    commands: dict[Value, Value] = {f"command{n}": f"{n}.0" for n in range(5)}
    said: dict[Value, Value] = {"admin": f"admin {len(more)}", "environ": environ, "worker_commands": commands}
    said["os_id"] = f"os {len(commands)}"
    said.update(more.items())
    return said


def test_what_the_last_slave_said_too_is_the_same() -> None:
    shared = Interner()
    first = shared.read(told(basedir="/one"), None, None)
    second = shared.read(told(basedir="/two"), None, None)
    assert first == attrs.evolve(second, basedir="/one")
    assert second.environ is first.environ
    assert second.commands is first.commands
    assert second.other is first.other
    assert second.admin is first.admin


def test_texts_of_any_slave_before_are_the_same() -> None:
    shared = Interner()
    first = shared.read(told(), None, None)
    shared.read(None, None, None)
    said = told(environ={"NAME1": "value 1", "HOSTNAME": "b"})
    second = shared.read(said, None, None)
    assert second == read_info(said, None, None)
    assert second.environ["NAME1"] is first.environ["NAME1"]
    assert second.commands is not first.commands
    assert second.commands["command1"] is first.commands["command1"]


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ([1], [True]), ({"a": 1}, {"a": True})])
def test_what_is_equal_need_not_be_the_same(one: Value, other: Value) -> None:
    shared = Interner()
    shared.read(told(extra=one), None, None)
    assert repr(shared.read(told(extra=other), None, None).other["extra"]) == repr(other)


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sayings, "MOST", 10)
    shared = Interner()
    for number in range(100):
        said = told(admin=f"somebody {number}", host="h" * (sayings.LONGEST + 1))
        assert shared.read(said, None, None) == read_info(said, None, None)
        assert len(shared._texts) <= 10
        assert all(len(text) <= sayings.LONGEST for text in shared._texts)


texts = st.sampled_from(["", "a", "b"])
mappings = st.none() | st.dictionaries(texts | st.just(b"a"), texts | st.sampled_from([None, b"a", 1]), max_size=3)
infos = st.fixed_dictionaries(
    {},
    optional={
        "admin": texts,
        "environ": mappings,
        "worker_commands": mappings,
        "other": st.sampled_from([None, 0, False, 1, True, "1", b"1", [1], [True]]),
    },
)


@given(st.lists(infos, max_size=5))
def test_nothing_is_said_otherwise(said: list[dict[Value, Value]]) -> None:
    shared = Interner()
    for one in said:
        info = read_info(one, None, None)
        found = shared.read(one, None, None)
        assert found == info
        assert repr(found.other) == repr(info.other)
