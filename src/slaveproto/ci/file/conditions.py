"""Conditions of steps: `run_if` on a property or on the result of an earlier step. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from slaveproto.ci.file import values
from slaveproto.ci.file.toml_document import At, Kind, of_type, read_table
from slaveproto.ci.properties import NAME, WORDS
from slaveproto.master.results import Result

RESULTS: Final = {
    result.word: result
    for result in (Result.SUCCESS, Result.WARNINGS, Result.FAILURE, Result.SKIPPED, Result.EXCEPTION)
}
"""Results that a step may have while its build goes on."""


@attrs.frozen(kw_only=True)
class Condition:
    """A condition on a property, or on an earlier step, or on both.

    Args:
        property: its name; None for none.
        among: values of it that make it true; None for any that is not empty.
        not_among: values that make it false.
        step: the title of a step before this one; None for none.
        results: results of it that make it true.
    """

    property: str | None = None
    among: tuple[str, ...] | None = None
    not_among: tuple[str, ...] = ()
    step: str | None = None
    results: tuple[Result, ...] = (Result.SUCCESS, Result.WARNINGS)

    def holds(self, properties: Mapping[str, str], results: Mapping[str, Result]) -> bool:
        """Whether it is true.

        Args:
            properties: of the build; one that is not there is empty.
            results: of the steps so far, by their titles.
        """
        return self._property_fits(properties) and (self.step is None or results.get(self.step) in self.results)

    def _property_fits(self, properties: Mapping[str, str]) -> bool:
        if self.property is None:
            return True
        value = properties.get(self.property, "")
        if self.among is None:
            return value not in self.not_among if self.not_among else bool(value)
        return value in self.among and value not in self.not_among


@attrs.frozen(kw_only=True)
class StepExtras:
    """Keys of a step that say what the master is to do with it besides.

    Args:
        run_if: the condition on which it is run; None for always.
        set_property: name of the property that becomes what it writes; None for none.
        warning_pattern: finds the lines of its output that are warnings; None if none are.
    """

    run_if: Condition | None = None
    set_property: str | None = None
    warning_pattern: re.Pattern[str] | None = None


def property_name(at: At, value: object) -> str:
    """The name of a property."""
    found = values.text(at, value)
    if not NAME.fullmatch(found):
        raise at.wrong(f"should be the name of a property, of letters, digits and _.-, not {found!r}")
    return found


def free_property_name(at: At, value: object) -> str:
    """The name of a property that is none of the master's own words."""
    found = property_name(at, value)
    if found in WORDS:
        raise at.wrong(f"should be another name: {found} is what the master says itself")
    return found


def pattern(at: At, value: object) -> re.Pattern[str]:
    """A regular expression, of Python's kind."""
    text = values.text(at, value)
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise at.wrong(f"should be a regular expression, but: {error}") from None


def _results(at: At, value: object) -> tuple[Result, ...]:
    word = values.one_of(tuple(RESULTS))
    if isinstance(of_type(at, value, str, list), str):
        return (RESULTS[word(at, value)],)
    found = tuple(RESULTS[word(at.item(index), item)] for index, item in enumerate(of_type(at, value, list)))
    if not found:
        raise at.wrong("is empty")
    return found


CONDITION_KEYS: Final[dict[str, Kind]] = {
    "property": property_name,
    "is": values.any_texts,
    "is_not": values.any_texts,
    "step": values.text,
    "result": _results,
}
_ARGUMENTS: Final = {"is": "among", "is_not": "not_among", "result": "results"}


def condition(at: At, value: object) -> Condition:
    """A table with `property` (and `is`, `is_not`), `step` (and `result`), or both."""
    given = read_table(at, value, CONDITION_KEYS)
    for key, needed in (("is", "property"), ("is_not", "property"), ("result", "step")):
        if key in given and needed not in given:
            raise at.key(key).wrong(f"needs {needed}")
    if not given:
        raise at.wrong("should have property, or step")
    return Condition(**{_ARGUMENTS.get(key, key): meant for key, meant in given.items()})
