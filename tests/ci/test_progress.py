"""What `--json` and the table at the end say, whatever happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from slaveproto.ci.builds import (
    Run,
    RunBegan,
    RunEnded,
    RunNotTaken,
    RunOutput,
    RunStepBegan,
    RunStepEnded,
    StepPlace,
)
from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.ci.masking import Vault
from slaveproto.ci.show.progress import Collect, Show, duration
from slaveproto.ci.show.terminal import open_terminal
from slaveproto.master.events import Outcome
from slaveproto.master.output import Output
from slaveproto.master.results import Result
from slaveproto.master.steps import MakeDirectory

STEP = MakeDirectory(dir="x", name="step")
ENTRY = BuilderEntry(name="b", slaves=("s",), builddir="b", steps=(STEP,))
PLACE = StepPlace(1, 1, STEP)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (61.4, "1:01 min"), (3599.4, "59:59 min"), (3600, "1:00:00 h"),
     (90061, "25:01:01 h")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.trio
async def test_bytes_that_are_no_text() -> None:
    """Whatever the pieces, and not even then is anything lost."""
    collect, run = Collect(), Run(ENTRY, "s", 1, Vault())
    await collect.handle(RunBegan(run))
    await collect.handle(RunStepBegan(run, PLACE))
    for stream, data in (("stdout", b"caf\xc3"), ("header", b"no"), ("stderr", b"\xa9\xff"), ("stdout", b"\n")):
        await collect.handle(RunOutput(run, PLACE, Output("stdio", stream, data)))
    await collect.handle(RunOutput(run, PLACE, Output("extra", "log", b"\x80")))
    await collect.handle(RunStepEnded(run, PLACE, Outcome(Result.SUCCESS, 0, "", {}, 0.25)))
    await collect.handle(RunEnded(run, Result.SUCCESS))
    text = json.dumps(collect.as_object({"b": Result.SUCCESS}, {"b": ["step"]}))
    assert text.isascii()
    logs = {"stdio": "café\udcff\n", "extra": "\udc80"}
    step = {"name": "step", "result": "success", "rc": 0, "elapsed": 0.25, "logs": logs}
    assert json.loads(text) == {
        "builds": [{"builder": "b", "slave": "s", "properties": run.shown, "result": "success", "steps": [step]}]
    }


@pytest.mark.trio
async def test_only_the_last_attempt_counts() -> None:
    collect = Collect()
    for attempt, result in ((1, Result.RETRY), (2, Result.WARNINGS)):
        run = Run(ENTRY, f"s{attempt}", attempt, Vault())
        await collect.handle(RunBegan(run))
        await collect.handle(RunStepBegan(run, PLACE))
        await collect.handle(RunOutput(run, PLACE, Output("stdio", "stdout", b"%d" % attempt)))
        await collect.handle(RunStepEnded(run, PLACE, Outcome(result, None, "", {}, 1.0)))
        await collect.handle(RunEnded(run, result))
    [build] = collect.as_object({"b": Result.WARNINGS}, {"b": ["step"]})["builds"]
    assert (build["slave"], build["result"], build["steps"][0]["logs"]) == ("s2", "warnings", {"stdio": "2"})


def test_a_build_that_never_began() -> None:
    step = {"name": "step", "result": "skipped", "rc": None, "elapsed": 0.0, "logs": {"stdio": ""}}
    assert Collect().as_object({"b": Result.CANCELLED}, {"b": ["step"]}) == {
        "builds": [{"builder": "b", "slave": None, "properties": {}, "result": "cancelled", "steps": [step]}]
    }


@pytest.mark.trio
async def test_the_table(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        async with open_terminal(file.fileno()) as terminal:
            show = Show(terminal, ["b", "long name"], trio.current_time)
            run = Run(ENTRY, "s", 2, Vault())
            await show.handle(RunBegan(run))
            await show.handle(RunStepBegan(run, PLACE))
            assert show.status().startswith("b [1/1] step 0 s")
            await show.handle(RunOutput(run, PLACE, Output("stdio", "stdout", b"no end")))
            await show.handle(RunStepEnded(run, PLACE, Outcome(Result.EXCEPTION, None, "odd\n", {}, 1.0)))
            assert show.status() == ""
            await show.handle(RunEnded(run, Result.EXCEPTION))
            await show.handle(RunNotTaken(run, "busy\x1b[2J\n"))
            await show.summary({"b": Result.EXCEPTION, "long name": Result.CANCELLED})
    assert (tmp_path / "out").read_text().splitlines() == [
        "b         | building on slave s (attempt 2)",
        "b         | [1/1] step",
        "b         | no end",
        "b         | [1/1] step: exception, odd\\n, 1.0 s",
        "b         | exception, 0.0 s",
        "b         | slave s did not take it: busy\\x1b[2J\\n",
        "",
        "builder    slave  result     run      time",
        "b          s      exception  1 step   0.0 s",
        "long name  -      cancelled  0 steps  -",
    ]
