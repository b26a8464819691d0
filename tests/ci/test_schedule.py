"""Schedules of builders: lengths, times of the day, and changes that count."""

from __future__ import annotations

import itertools
import math
from datetime import datetime, time
from time import tzset

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.ci.schedule import (
    SHORTEST_DAY,
    Timetable,
    Triggers,
    next_daily,
    next_due,
    parse_length,
    parse_time_of_day,
)
from slaveproto.master.changes import Change

CHANGE = Change("who", (), "", "", "main", "", "p", "", "", "", None, {})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("2d1s", 172801), ("0s", 0),
        ("", None), ("5", None), ("h", None), ("1m1h", None), ("1h 5m", None),
        ("-1h", None), ("1.5h", None), ("1H", None),
    ],
)  # fmt: skip
def test_lengths(text: str, seconds: float | None) -> None:
    assert parse_length(text) == seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [("03:00", time(3)), ("3:05", time(3, 5)), ("23:59", time(23, 59)), ("24:00", None), ("3:5", None), ("03:60", None),
     ("3", None), ("", None), ("٣:00", None)],
)  # fmt: skip
def test_times_of_day(text: str, moment: time | None) -> None:
    assert parse_time_of_day(text) == moment


@pytest.mark.parametrize(
    ("times", "after", "moment"),
    [
        ([time(3)], datetime(2026, 1, 1, 2, 59), datetime(2026, 1, 1, 3)),
        ([time(3)], datetime(2026, 1, 1, 3), datetime(2026, 1, 2, 3)),
        ([time(3), time(15, 30)], datetime(2026, 1, 1, 3), datetime(2026, 1, 1, 15, 30)),
        ([time(3), time(15, 30)], datetime(2026, 2, 28, 16), datetime(2026, 3, 1, 3)),
        ([], datetime(2026, 1, 1), None),
    ],
)
def test_next_daily(times: list[time], after: datetime, moment: datetime | None) -> None:
    assert next_daily(times, after) == moment


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (None, False),
        ({}, True),
        ({"branch": ("main",)}, True),
        ({"branch": ("other", "main"), "project": ("p",)}, True),
        ({"branch": ("main",), "project": ("q",)}, False),
        ({"category": ("",)}, True),
        ({"repository": ("x",)}, False),
    ],
)
def test_changes_that_count(change: dict[str, tuple[str, ...]] | None, wanted: bool) -> None:
    assert Triggers(change=change).wants(CHANGE) is wanted


def test_an_hour_that_comes_twice_is_due_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Berlin on 25 October 2026 clocks go back from 3:00 to 2:00."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    tzset()
    try:
        now = datetime(2026, 10, 25, 1, 0).timestamp()
        due: list[datetime] = []
        while len(due) < 2:
            now = next_due((time(2, 45),), now)
            due.append(datetime.fromtimestamp(now))
        assert due == [datetime(2026, 10, 25, 2, 45), datetime(2026, 10, 26, 2, 45)]
    finally:
        monkeypatch.undo()
        tzset()


# -- timetables: W is any moment of the wall clock, the steady clock begins at 0

DAY = 86400.0
W = datetime(2026, 11, 28, 12, 0).timestamp()
EVERY = {"b": Triggers(every=100.0)}
DAILY = {"b": Triggers(daily=(time(3),))}
naps = st.floats(1.0, 60.0)
jumps = st.one_of(st.just(0.0), st.floats(-3 * DAY, 3 * DAY))


@pytest.mark.parametrize(
    ("last", "first"),
    [
        (None, 100.0), (W, 100.0), (W - 30, 70.0),
        # Missed while no master ran.
        (W - 100, 0.0), (W - 3 * DAY, 0.0),
        # Stored by a clock that was wrong.
        (W + 10, 100.0), (W + DAY, 100.0),
    ],
)  # fmt: skip
def test_the_first_interval_of_a_master(last: float | None, first: float) -> None:
    table = Timetable(EVERY, {} if last is None else {"b": last}, W, 0.0)
    assert table.next(W, 0.0) == first
    assert first == 0.0 or table.due(W + first - 1, first - 1) == []
    assert table.due(W + first, first) == ["b"]
    assert table.next(W + first, first) == 100.0


def test_a_day_that_was_wrong_stops_nothing() -> None:
    """The clock is a day ahead for a while, then it is right again."""
    table = Timetable(EVERY, {}, W, 0.0)
    due = [steady for steady in range(1000) if table.due(W + steady + (DAY if 150 < steady < 450 else 0), steady)]
    assert due == list(range(100, 1000, 100))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(naps, jumps), min_size=20, max_size=20), jumps)
def test_intervals_do_not_care_for_the_wall_clock(steps: list[tuple[float, float]], last: float) -> None:
    """However it jumps, and whatever was stored: no pause is longer than two intervals, none is shorter than one."""
    table = Timetable(EVERY, {"b": W + last}, W, 0.0)
    wall, steady, due = W, 0.0, [0.0]
    for nap, jump in steps:
        nap = min(nap, table.next(wall, steady))
        steady += nap
        wall += nap + jump
        if table.due(wall, steady):
            due.append(steady)
    due.append(steady)
    assert all(later - earlier <= 200.0 for earlier, later in itertools.pairwise(due))
    assert all(later - earlier >= 99.9 for earlier, later in itertools.pairwise(due[1:-1]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1.0, DAY), jumps), min_size=30, max_size=30))
def test_a_time_of_the_day_comes_once_a_day(steps: list[tuple[float, float]]) -> None:
    """However the wall clock jumps; and once it is right, it comes within two days."""
    table = Timetable(DAILY, {}, W, 0.0)
    wall, steady = W, 0.0
    due = []
    for nap, jump in steps:
        steady += nap
        wall += nap + jump
        if table.due(wall, steady):
            due.append(steady)
    right = steady
    for _ in range(48 * 6):
        steady, wall = steady + 600.0, wall + 600.0
        if table.due(wall, steady):
            due.append(steady)
    assert all(later - earlier >= SHORTEST_DAY for earlier, later in itertools.pairwise(due))
    assert due[-1] > right


def test_times_of_the_day_that_were_missed() -> None:
    """While no master ran they are not made up for; a clock that is set forward passes them."""
    table = Timetable(DAILY, {"b": W - 9 * DAY}, W, 0.0)
    assert table.next(W, 0.0) == 15 * 3600.0
    assert table.due(W, 0.0) == []
    assert table.due(W + 5 * DAY, 1.0) == ["b"]
    assert table.due(W + 5 * DAY, 2.0) == []


def test_both_at_once_are_due_once() -> None:
    table = Timetable({"a": Triggers(), "b": Triggers(every=15 * 3600.0, daily=(time(3), time(3)))}, {}, W, 0.0)
    assert table.due(W + 15 * 3600, 15 * 3600.0) == ["b"]
    assert table.due(W + 15 * 3600, 15 * 3600.0) == []


def test_other_triggers() -> None:
    """The last time counts for them, too."""
    table = Timetable(EVERY, {}, W, 0.0)
    assert table.due(W + 100, 100.0) == ["b"]
    table.revise({"b": Triggers(every=30.0), "c": Triggers(every=150.0)})
    assert table.due(W + 120, 120.0) == []
    assert table.due(W + 130, 130.0) == ["b"]
    assert table.due(W + 150, 150.0) == ["c"]
    table.revise({"b": Triggers()})
    assert table.next(W, 150.0) == math.inf
