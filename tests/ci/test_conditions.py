"""Conditions of steps: what they say in the file, and when they hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slaveproto.ci.file.conditions import Condition, StepExtras
from slaveproto.master.results import Result
from tests.ci.test_build_file import BUILDER, read, refusal

FIRST = '[[builder.step]]\nname = "first"\nshell = "x"\n'


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ('{ property = "branch" }', Condition(property="branch")),
        ('{ property = "k", is = "v" }', Condition(property="k", among=("v",))),
        (
            '{ property = "k", is = ["", "w"], is_not = "x" }',
            Condition(property="k", among=("", "w"), not_among=("x",)),
        ),
        ('{ step = "first" }', Condition(step="first", results=(Result.SUCCESS, Result.WARNINGS))),
        ('{ step = "first", result = "failure" }', Condition(step="first", results=(Result.FAILURE,))),
        (
            '{ property = "k", step = "first", result = ["skipped", "exception"] }',
            Condition(property="k", step="first", results=(Result.SKIPPED, Result.EXCEPTION)),
        ),
    ],
)
def test_what_a_file_says(text: str, condition: Condition, tmp_path: Path) -> None:
    step = f'[[builder.step]]\nmkdir = "x"\nrun_if = {text}\n'
    found = read(tmp_path, BUILDER + FIRST + step).builders["b"]
    assert found.extras == {1: StepExtras(run_if=condition)}


def test_a_property_from_a_command(tmp_path: Path) -> None:
    found = read(tmp_path, f'{BUILDER}{FIRST}set_property = "got.it"\n').builders["b"]
    assert found.extras == {0: StepExtras(set_property="got.it")}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run_if = true", "run_if should be a table, not true or false"),
        ("run_if = {}", "run_if should have property, or step"),
        ('run_if = { is = "x" }', "run_if.is needs property"),
        ('run_if = { property = "x", result = "failure" }', "run_if.result needs step"),
        ('run_if = { step = "first", result = "good" }', "run_if.result should be one of success, warnings, failure, "),
        ('run_if = { step = "first", result = [] }', "run_if.result is empty"),
        ('run_if = { step = "second" }', "run_if.step 'second' is no step before this one; there are first"),
        ('run_if = { property = "a b" }', "run_if.property should be the name of a property, of letters, "),
        ('run_if = { proprety = "a" }', "unknown key 'run_if.proprety'; there are property, is, is_not, step, result"),
        ('set_property = "branch"', "set_property should be another name: branch is what the master says itself"),
        ('set_property = "a/b"', "set_property should be the name of a property, of letters, digits and _.-, not "),
        ('want_stdout = false\nset_property = "k"', "set_property needs what the command writes; want_stdout is false"),
    ],
)
def test_mistakes(line: str, why: str, tmp_path: Path) -> None:
    told = refusal(tmp_path, f'{BUILDER}{FIRST}[[builder.step]]\nname = "second"\nshell = "x"\n{line}\n')
    assert told.startswith(f"{9 + line.count(chr(10))}: {why}")


def test_patterns(tmp_path: Path) -> None:
    found = read(tmp_path, f"{BUILDER}{FIRST}warning_pattern = '(?i)warning: '\n").builders["b"]
    assert found.extras == {0: StepExtras(warning_pattern=re.compile("(?i)warning: "))}
    for text in ("(", "x{99999999999999}", "[z-a]", "(?P<a>x)(?P<a>y)"):
        told = refusal(tmp_path, f"{BUILDER}{FIRST}warning_pattern = '{text}'\n")
        assert told.startswith("6: warning_pattern should be a regular expression, but: ")


def test_only_commands_write(tmp_path: Path) -> None:
    told = refusal(tmp_path, f'{BUILDER}[[builder.step]]\nmkdir = "x"\nset_property = "k"\n')
    assert told.startswith("5: unknown key 'set_property'; there are mkdir, name, ")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Condition(property="k"), True),
        (Condition(property="empty"), False),
        (Condition(property="none"), False),
        (Condition(property="k", among=("v", "w")), True),
        (Condition(property="k", among=("w",)), False),
        (Condition(property="none", among=("",)), True),
        (Condition(property="k", not_among=("v",)), False),
        (Condition(property="none", not_among=("v",)), True),
        (Condition(property="k", among=("v",), not_among=("v",)), False),
        (Condition(step="good"), True),
        (Condition(step="bad"), False),
        (Condition(step="bad", results=(Result.FAILURE,)), True),
        (Condition(step="good", property="none"), False),
        (Condition(step="bad", property="k"), False),
    ],
)
def test_when_it_holds(condition: Condition, holds: bool) -> None:
    results = {"good": Result.WARNINGS, "bad": Result.FAILURE}
    assert condition.holds({"k": "v", "empty": ""}, results) is holds
