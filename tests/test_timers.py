"""Deadlines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slaveproto.timers import Timers


def test_nothing_is_due_at_first() -> None:
    timers: Timers[str] = Timers()
    assert timers.deadline is None
    assert timers.pop_expired(1e9) == []


def test_the_earliest_counts_and_expires_first() -> None:
    timers: Timers[str] = Timers()
    timers.set("late", 5.0)
    timers.set("early", 2.0)
    timers.set("never", 50.0)
    assert timers.deadline == 2.0
    assert timers.pop_expired(1.999) == []
    assert timers.pop_expired(5.0) == ["early", "late"]
    assert timers.deadline == 50.0
    assert timers.pop_expired(5.0) == []


def test_setting_again_moves() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    timers.set("a", 9.0)
    assert timers.pop_expired(5.0) == []
    assert timers.pop_expired(9.0) == ["a"]


def test_cancelling() -> None:
    timers: Timers[str] = Timers()
    timers.cancel("a")
    timers.set("a", 1.0)
    timers.set("b", 1.0)
    timers.cancel("a")
    assert timers.pop_expired(1.0) == ["b"]
    timers.set("c", 1.0)
    timers.clear()
    assert timers.deadline is None


def test_keys_need_no_order() -> None:
    timers: Timers[object] = Timers()
    keys = [object() for _ in range(5)]
    for key in keys:
        timers.set(key, 1.0)
    assert timers.pop_expired(1.0) == keys


Step = tuple[str, int, float]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.integers(0, 4), st.floats(0, 10)),
            st.tuples(st.just("cancel"), st.integers(0, 4), st.just(0.0)),
            st.tuples(st.just("expire"), st.just(0), st.floats(0, 10)),
        )
    )
)
def test_like_a_dictionary(steps: list[Step]) -> None:
    timers: Timers[int] = Timers()
    model: dict[int, float] = {}
    for what, key, when in steps:
        if what == "set":
            timers.set(key, when)
            model[key] = when
        elif what == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            expired = timers.pop_expired(when)
            assert sorted(expired) == sorted(key for key, due in model.items() if due <= when)
            dues = [model.pop(key) for key in expired]
            assert dues == sorted(dues)
        assert timers.deadline == (min(model.values()) if model else None)
