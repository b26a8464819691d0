"""Results of a benchmark: figures of several contestants, and their goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

T = TypeVar("T")

OURS: Final = "ours"


@attrs.frozen
class Options:
    """How much is done.

    Args:
        runs: how often each contestant has its turn.
        smoke: as little as possible: only whether everything works.
        megabytes: of log lines (row 5).
    """

    runs: int
    smoke: bool
    megabytes: float

    @property
    def warm_ups(self) -> int:
        """How many runs come first and do not count: things are learned in them, or imported."""
        return 0 if self.smoke else 1


@attrs.frozen
class Comparison:
    """One contestant's median divided by another's, or alone.

    Args:
        over: what is divided.
        under: by what; None for nothing.
        least: the goal: what it should be at least; None for no such goal.
        most: likewise at most.
    """

    over: str
    under: str | None
    least: float | None = None
    most: float | None = None


@attrs.frozen
class Figure:
    """One line of the table.

    Args:
        row: of the table in docs/benchmarks.md.
        work: what was done.
        unit: of what was measured.
        runs: by contestant, what each of its runs took.
        comparisons: what to say about it.
        size: how much of it was done; what it is drawn over.
    """

    row: int
    work: str
    unit: str
    runs: Mapping[str, Sequence[float]]
    comparisons: Sequence[Comparison] = ()
    size: float | None = None

    def __attrs_post_init__(self) -> None:
        assert self.runs, self.work
        assert all(self.runs.values()), f"{self.work}: nothing was measured"

    def median(self, who: str) -> float:
        """Return the run in the middle."""
        return statistics.median(self.runs[who])

    def value(self, comparison: Comparison) -> float:
        """Return what is compared with the goal."""
        over = self.median(comparison.over)
        return over if comparison.under is None else over / self.median(comparison.under)

    def is_met(self, comparison: Comparison) -> bool | None:
        """Tell whether the goal is met; None if there is none."""
        value = self.value(comparison)
        if comparison.least is None and comparison.most is None:
            return None
        return (comparison.least is None or value >= comparison.least) and (
            comparison.most is None or value <= comparison.most
        )

    def as_json(self) -> dict[str, Any]:
        """Return all there is to know."""
        return {
            "row": self.row,
            "work": self.work,
            "unit": self.unit,
            "size": self.size,
            "medians": {who: self.median(who) for who in self.runs},
            "runs": {who: list(values) for who, values in self.runs.items()},
            "comparisons": [
                {**attrs.asdict(comparison), "value": self.value(comparison), "met": self.is_met(comparison)}
                for comparison in self.comparisons
            ],
        }

    def as_text(self, *, goals: bool) -> str:
        """Return it for people, with what it was to be if `goals`."""
        values = "  ".join(f"{who} {short(self.median(who))}" for who in self.runs)
        text = f"{self.row}  {f'{self.work}, {self.unit}':<76}  {values}"
        for comparison in self.comparisons:
            text += f"\n{'':>6}{self._words(comparison, goals)}"
        return text

    def _words(self, comparison: Comparison, goals: bool) -> str:
        name = comparison.over if comparison.under is None else f"{comparison.over} / {comparison.under}"
        text = f"{name} = {short(self.value(comparison))}"
        bounds = [
            f"{word} {short(bound)}"
            for word, bound in (("at least", comparison.least), ("at most", comparison.most))
            if bound is not None
        ]
        if not bounds or not goals:
            return text
        return f"{text}   goal: {' and '.join(bounds)}: {'met' if self.is_met(comparison) else 'NOT MET'}"


def times_less(peer: str, least: float | None = None, *, who: str = OURS) -> Comparison:
    """Compare two contestants: how many times less than its peer does one need?"""
    return Comparison(peer, who, least=least)


def short(value: float) -> str:
    """Return a number with three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def in_turns(runs: int, contestants: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Let everybody have a run, then everybody another one, and return what each found."""
    found: dict[str, list[T]] = {name: [] for name in contestants}
    for _ in range(runs):
        for name, run in contestants.items():
            found[name].append(run())
    return found
