"""Findings in what a command writes, whatever the pieces in which it comes."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.ci.file.conditions import StepExtras
from slaveproto.ci.findings import LINE, Findings
from slaveproto.master.events import Outcome
from slaveproto.master.output import Output
from slaveproto.master.results import Result

GOOD = Outcome(Result.SUCCESS, 0, "", {}, 1.0)


def judged(findings: Findings, result: Result = Result.SUCCESS, why: str = "") -> tuple[Result, str]:
    outcome = findings.judge(attrs.evolve(GOOD, result=result, why=why))
    return outcome.result, outcome.why


@given(st.lists(st.sampled_from(["warning: a", "fine", "a Warning: b", "warn", ""]), max_size=8), st.data())
def test_lines_are_counted_in_any_pieces(lines: list[str], data: st.DataObject) -> None:
    text = "\n".join(lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    findings = Findings(StepExtras(warning_pattern=re.compile("(?i)warning: ")))
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        findings.hear(Output("stdio", "stdout", text[start:end]))
        findings.hear(Output("stdio", "header", b"warning: of the slave\n"))
        findings.hear(Output("other", "log", b"warning: of a log file\n"))
    count = sum("warning: " in line.lower() for line in lines)
    words = {0: "", 1: "1 line is a warning"}.get(count, f"{count} lines are warnings")
    assert judged(findings) == (Result.WARNINGS if count else Result.SUCCESS, words)


@pytest.mark.parametrize(
    ("result", "why", "expected"),
    [
        (Result.WARNINGS, "exit code 3", (Result.WARNINGS, "exit code 3; 1 line is a warning")),
        (Result.FAILURE, "exit code 1", (Result.FAILURE, "exit code 1; 1 line is a warning")),
        (Result.RETRY, "lost", (Result.RETRY, "lost")),
        (Result.EXCEPTION, "", (Result.EXCEPTION, "")),
    ],
)
def test_warnings_of_what_did_not_succeed(result: Result, why: str, expected: tuple[Result, str]) -> None:
    findings = Findings(StepExtras(warning_pattern=re.compile("^w")))
    findings.hear(Output("stdio", "stderr", b"w\nx w\n"))
    assert judged(findings, result, why) == expected


def test_the_end_of_a_long_line_does_not_count() -> None:
    findings = Findings(StepExtras(warning_pattern=re.compile("end")))
    findings.hear(Output("stdio", "stdout", b"x" * 9000 + b"end\n" + b"x" * (LINE - 3) + b"end\n"))
    assert judged(findings) == (Result.WARNINGS, "1 line is a warning")


def test_nothing_is_looked_for() -> None:
    findings = Findings(StepExtras())
    findings.hear(Output("stdio", "stdout", b"warning\n"))
    assert (judged(findings), findings.properties) == ((Result.SUCCESS, ""), {})


def test_a_property_beside_warnings() -> None:
    findings = Findings(StepExtras(set_property="k", warning_pattern=re.compile("w")))
    findings.hear(Output("stdio", "stdout", b" v\n"))
    findings.hear(Output("stdio", "stderr", b"w"))
    assert judged(findings) == (Result.WARNINGS, "1 line is a warning")
    assert findings.properties == {"k": "v"}
