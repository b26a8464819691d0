"""Schedules of builders: lengths, times of the day, and changes that count."""

from __future__ import annotations

from datetime import datetime, time
from time import tzset

import pytest

from slaveproto.ci.schedule import Triggers, change_variables, next_daily, next_due, parse_length, parse_time_of_day
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


def test_what_commands_are_told_of_a_change() -> None:
    change = {"revision": "1f2e", "branch": "a${HOME}", "project": "", "category": "x\0", "codebase": "x" * 1001}
    assert change_variables({**change, "repository": "x" * 1000}) == {
        "SLAVEPROTO_REVISION": "1f2e",
        "SLAVEPROTO_REPOSITORY": "x" * 1000,
    }


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
