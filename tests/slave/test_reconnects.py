"""Promise 6: a thousand slaves that lost one master come back evenly."""

from __future__ import annotations

import statistics

import pytest

from benchmarks.harm.reconnects import back, worst_second
from benchmarks.harm.rows import Side


@pytest.mark.parametrize(("outage", "median"), [(3.001, 20.0), (10.0, 20.0), (30.0, 25.0), (120.0, 60.0)])
def test_no_second_sees_more_than_a_twentieth(outage: float, median: float) -> None:
    times = back(Side.OURS, outage)
    assert worst_second(times) <= len(times) / 20
    assert statistics.median(times) < median


def test_a_short_outage_is_over_soon() -> None:
    assert back(Side.OURS, 0.1)[-60] < 3.0
