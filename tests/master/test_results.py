"""How a build stands after its steps: against the field's rules, said a second time and differently."""

from __future__ import annotations

import itertools
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.master import MakeDirectory, Progress, Result, worse

FLAGS: Final = (
    "halt_on_failure",
    "flunk_on_failure",
    "warn_on_failure",
    "flunk_on_warnings",
    "warn_on_warnings",
    "always_run",
)
ENDING: Final = (Result.EXCEPTION, Result.RETRY, Result.CANCELLED)
SEVERITY: Final = {
    Result.SKIPPED: 0,
    Result.SUCCESS: 1,
    Result.WARNINGS: 2,
    Result.FAILURE: 3,
    Result.EXCEPTION: 4,
    Result.RETRY: 5,
    Result.CANCELLED: 6,
}


def step(name: str, **flags: Any) -> MakeDirectory:
    return MakeDirectory(dir="d", name=name, **flags)


def test_numbers_and_words_of_the_field() -> None:
    words = ["success", "warnings", "failure", "skipped", "exception", "retry", "cancelled"]
    assert [result.word for result in Result] == words
    assert [result.value for result in Result] == list(range(7))


@pytest.mark.parametrize(("one", "other"), list(itertools.product(Result, Result)))
def test_the_worse_of_two(one: Result, other: Result) -> None:
    assert worse(one, other) is max(one, other, key=SEVERITY.__getitem__)


TABLE: Final = [
    # The flags that matter, the step's result, what it makes of a build that went well, whether it halts.
    ({}, Result.SUCCESS, Result.SUCCESS, False),
    ({"halt_on_failure": True}, Result.SUCCESS, Result.SUCCESS, False),
    ({}, Result.SKIPPED, Result.SUCCESS, False),
    ({"flunk_on_failure": True}, Result.FAILURE, Result.FAILURE, False),
    ({"flunk_on_failure": True, "warn_on_failure": True}, Result.FAILURE, Result.FAILURE, False),
    ({"warn_on_failure": True}, Result.FAILURE, Result.WARNINGS, False),
    ({}, Result.FAILURE, Result.SUCCESS, False),
    ({"flunk_on_warnings": True, "warn_on_warnings": True}, Result.FAILURE, Result.SUCCESS, False),
    ({"halt_on_failure": True}, Result.FAILURE, Result.SUCCESS, True),
    ({"halt_on_failure": True, "flunk_on_failure": True}, Result.FAILURE, Result.FAILURE, True),
    ({"warn_on_warnings": True}, Result.WARNINGS, Result.WARNINGS, False),
    ({"flunk_on_warnings": True}, Result.WARNINGS, Result.FAILURE, False),
    ({"flunk_on_warnings": True, "warn_on_warnings": True}, Result.WARNINGS, Result.FAILURE, False),
    ({"flunk_on_warnings": True, "halt_on_failure": True}, Result.WARNINGS, Result.FAILURE, False),
    ({"flunk_on_failure": True, "warn_on_failure": True}, Result.WARNINGS, Result.SUCCESS, False),
    ({}, Result.WARNINGS, Result.SUCCESS, False),
    *(({}, result, result, True) for result in ENDING),
]


@pytest.mark.parametrize(("flags", "result", "build", "halts"), TABLE)
def test_one_step(flags: dict[str, bool], result: Result, build: Result, halts: bool) -> None:
    what = step("x", **{**dict.fromkeys(FLAGS, False), **flags})
    after, always = step("after"), step("always", always_run=True)
    progress = Progress((what, after, always))
    assert progress.next_step() is what
    progress.record(what, result)
    assert progress.result is build
    assert progress.skipped() == ((after,) if halts else ())
    rest = [progress.next_step(), progress.next_step(), progress.next_step()]
    assert rest == ([always, None, None] if halts else [after, always, None])


def test_nothing_to_do_is_a_success() -> None:
    progress = Progress(())
    assert progress.next_step() is None
    assert progress.result is Result.SUCCESS


def test_defaults_of_steps() -> None:
    """A step that fails makes its build fail, and ends it."""
    progress = Progress((step("a"), step("b")))
    first = progress.next_step()
    assert first is not None
    progress.record(first, Result.FAILURE)
    assert progress.next_step() is None
    assert progress.result is Result.FAILURE


@pytest.mark.parametrize("result", ENDING)
def test_an_early_end_leaves_nothing_to_run(result: Result) -> None:
    progress = Progress((step("a"), step("b"), step("c", always_run=True)))
    first = progress.next_step()
    assert first is not None
    progress.record(first, Result.FAILURE)
    progress.cancel(result)
    assert progress.next_step() is None
    assert progress.result is result
    assert progress.skipped() == ()


STEPS = st.lists(st.tuples(st.fixed_dictionaries(dict.fromkeys(FLAGS, st.booleans())), st.sampled_from(Result)))


@settings(max_examples=50, deadline=None)
@given(STEPS)
def test_builds_as_the_field_runs_them(plan: list[tuple[dict[str, bool], Result]]) -> None:
    """The model works on bare flags and reads a build from its end; see `process/build.py` of either generation."""
    steps = tuple(step(str(n), **flags) for n, (flags, _) in enumerate(plan))
    progress = Progress(steps)
    run: list[int] = []
    while (what := progress.next_step()) is not None:
        run.append(int(what.name))
        progress.record(what, plan[run[-1]][1])

    def ends(n: int) -> bool:
        flags, result = plan[n]
        return result in ENDING or (result is Result.FAILURE and flags["halt_on_failure"])

    def counts(n: int) -> Result:
        flags, result = plan[n]
        if result is Result.FAILURE:
            weak = Result.WARNINGS if flags["warn_on_failure"] else Result.SUCCESS
            return Result.FAILURE if flags["flunk_on_failure"] else weak
        if result is Result.WARNINGS:
            weak = Result.WARNINGS if flags["warn_on_warnings"] else Result.SUCCESS
            return Result.FAILURE if flags["flunk_on_warnings"] else weak
        return result

    expected = [n for n in range(len(plan)) if plan[n][0]["always_run"] or not any(map(ends, range(n)))]
    assert run == expected
    worst = max((counts(n) for n in run), key=SEVERITY.__getitem__, default=Result.SUCCESS)
    assert progress.result is max(worst, Result.SUCCESS, key=SEVERITY.__getitem__)
