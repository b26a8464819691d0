"""What was built, from the command line: logs of steps, files that have a mistake, and two files in one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slaveproto.ci.store import Store
from slaveproto.cli import main
from slaveproto.master.results import Result
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.peers import OurMaster
from tests.cli.test_create_slave import complaint

FILE = '[[builder]]\nname = "b"\n[[builder.step]]\nshell = "true"\n'


class Remembered:
    """A state with one build, which is written as a master would."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ci.toml"
        self.file.write_text(FILE)
        (folder / ".slaveproto").mkdir()
        self.store = Store(str(folder / ".slaveproto"))
        self.store.add_request("b", "trigger", 1.0)
        self.build = self.store.begin_build("b", "ex", 1.0)
        self._steps = 0

    def step(self, name: str, result: Result | None = Result.SUCCESS, **logs: bytes) -> None:
        self._steps += 1
        self.store.begin_step(self.build, self._steps, name, 1.0)
        for log, text in logs.items():
            file, path = self.store.open_log(self.build, self._steps, log)
            with file:
                file.write(text)
            self.store.add_log(self.build, self._steps, log, path)
        if result is not None:
            self.store.end_step(self.build, self._steps, result, 0, "", 1.25)

    def end(self) -> None:
        self.store.end_build(self.build, Result.SUCCESS, 3.0, 2.0)


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Remembered]:
    remembered = Remembered(tmp_path)
    yield remembered
    remembered.store.close()


def shown(capfd: pytest.CaptureFixture[str], past: Remembered, *words: str) -> str:
    """Return what the program shows."""
    assert main(["log", str(past.file), *words]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_all_steps_of_a_build(past: Remembered, capfd: pytest.CaptureFixture[str]) -> None:
    past.step("first", stdio=b"hello\n\xff\n", header=b"not shown\n")
    past.step("second", Result.FAILURE, stdio=b"oh\n")
    past.store.skip_step(past.build, 3, "third")
    past.end()
    lines = shown(capfd, past, "1").splitlines()
    assert lines == [
        "== 1. first", "hello", "�", "== success in 1.2 s", "== 2. second", "oh", "== failure in 1.2 s", "== 3. third",
        "== skipped",
    ]  # fmt: skip


def test_one_log(past: Remembered, capfd: pytest.CaptureFixture[str]) -> None:
    past.step("first", stdio=b"hello\n", warnings=b"careful\n")
    past.end()
    assert shown(capfd, past, "1", "first") == shown(capfd, past, "1", "1") == "hello\n"
    assert shown(capfd, past, "1", "1", "--log", "warnings") == "careful\n"
    found = json.loads(shown(capfd, past, "1", "--json"))
    (step,) = found["steps"]
    assert (step["name"], step["result"], sorted(step["logs"])) == ("first", "success", ["stdio", "warnings"])


def test_a_build_that_runs_is_followed(past: Remembered, capfd: pytest.CaptureFixture[str]) -> None:
    past.step("first", None, stdio=b"one\n")
    followed = threading.Thread(target=lambda: shown(capfd, past, "1"))
    followed.start()
    followed.join(10)
    assert not followed.is_alive(), "without --follow it does not wait"
    program = [sys.executable, "-m", "slaveproto", "log", "--follow", str(past.file), "1"]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline(), child.stdout.readline()] == [b"== 1. first\n", b"one\n"]
        (log,) = (past.file.parent / ".slaveproto/logs/1").iterdir()
        with log.open("ab") as file:
            file.write(b"two\n")
        assert child.stdout.readline() == b"two\n"
        past.store.end_step(past.build, 1, Result.SUCCESS, 0, "", 1.0)
        past.step("second", stdio=b"three\n")
        past.end()
        assert child.stdout.read() == b"== success in 1.0 s\n== 2. second\nthree\n== success in 1.2 s\n"
        assert child.wait() == 0


def test_a_log_does_not_change_a_terminal(past: Remembered) -> None:
    past.step("first", stdio=b"\x1b]0;title\x07\x1b[31mred\x1b[0m\x1b[2J<script>\n")
    past.end()
    ours, theirs = os.openpty()
    program = [sys.executable, "-m", "slaveproto", "log", str(past.file), "1", "1"]
    with subprocess.Popen(program, stdout=theirs) as child:
        os.close(theirs)
        said = os.read(ours, 1000)
        assert child.wait() == 0
    os.close(ours)
    assert b"red" in said
    assert b"<script>" in said
    assert b"\x1b]0" not in said
    assert b"\x1b[2J" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["2"], "there is no build 2"),
        (["1", "none"], "build 1 has no step 'none'"),
        (["1", "1", "--log", "x"], "step 1 of build 1 has no log 'x'; there are: stdio"),
        (["x"], "'x' is no whole number"),
    ],
)
def test_what_is_not_there(words: list[str], told: str, past: Remembered, capfd: pytest.CaptureFixture[str]) -> None:
    past.step("first", stdio=b"hello\n")
    past.end()
    assert told in complaint(capfd, "log", str(past.file), *words)


@pytest.mark.parametrize(
    "text", [FILE + "[oops", FILE + "no = 1\n", '[master]\nstate_dir = ".slaveproto"\nlisten = 7\n', "\xff\xfe"]
)
def test_the_past_can_be_read_while_the_file_has_a_mistake(
    text: str, past: Remembered, capfd: pytest.CaptureFixture[str]
) -> None:
    past.step("first", stdio=b"hello\n")
    past.end()
    past.file.write_text(text)
    assert "hello" in shown(capfd, past, "1")
    assert main(["builds", str(past.file)]) == 0
    assert "b on ex: success" in capfd.readouterr().out


def test_a_file_with_a_mistake_and_no_past_is_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ci.toml").write_text("[oops")
    assert "ci.toml:1:" in complaint(capfd, "builds", str(tmp_path / "ci.toml"))


@pytest.mark.programs
def test_another_file_of_the_folder_does_not_reach_this_master(tmp_path: Path) -> None:
    with OurMaster(tmp_path / "master", f'[master]\nlisten = "127.0.0.1:9989"\n{FILE}') as master:
        wait_until(lambda: "listening on" in master.log())
        other = master.directory / "other.toml"
        other.write_text(master.file.read_text())
        linked = master.directory / "linked.toml"
        linked.symlink_to(master.file)
        program = [sys.executable, "-m", "slaveproto", "trigger"]
        refused = subprocess.run([*program, str(other), "b"], capture_output=True, text=True)
        assert refused.returncode == 2
        assert f"is that of {master.file.resolve()}" in refused.stderr
        assert subprocess.run([*program, str(linked), "b"], capture_output=True).returncode == 0
