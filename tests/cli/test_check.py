"""The subcommand `check`: all mistakes of a file at once, and none that follow from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from slaveproto.cli import main

MANY = """\
[master]
silence = 0
keepalive = "never"
colour = "red"

[[slave]]
name = "one"

[[slave]]
name = "two"
password = "pw"
max_builds = 0

[[builder]]
name = "b"
slaves = ["one"]

[[builder.step]]
shell = 7
timeout = "soon"

[[builder.step]]
upload = { src = "x" }

[[builder.step]]
shell = "true"
"""


def told(capfd: pytest.CaptureFixture[str], path: Path, code: int = 2) -> list[str]:
    assert main(["check", str(path)]) == code
    out, err = capfd.readouterr()
    assert bool(out) is (code == 0)
    return [line.removeprefix(f"{path}:") for line in (out + err).splitlines()]


def test_all_mistakes_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ci.toml"
    path.write_text(MANY)
    lines = told(capfd, path)
    assert [line.split(":")[0] for line in lines] == ["4", "2", "3", "19", "20", "23"]
    assert "unknown key 'master.colour'" in lines[0]
    assert "builder.step.shell" in lines[3] or "shell" in lines[3]


def test_mistakes_of_one_section_hide_none_of_another(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ci.toml"
    path.write_text(
        MANY.replace("silence = 0\n", "").replace('keepalive = "never"\n', "").replace('colour = "red"\n', "")
    )
    lines = told(capfd, path)
    assert [int(line.split(":")[0]) for line in lines] == [3, 9, 16, 17, 20]


def test_a_mistake_of_a_matrix_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ci.toml"
    path.write_text(
        '[[builder]]\nname = "b"\nmatrix = { v = ["1", "2", "3"] }\n[[builder.step]]\nshell = 7\n'
        '[[builder]]\nname = "c"\n[[builder.step]]\nshell = 8\n'
    )
    assert [line.split(":")[0] for line in told(capfd, path)] == ["5", "9"]


def test_without_mistakes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ci.toml"
    path.write_text('[[builder]]\nname = "b"\n[[builder.step]]\nshell = "true"\n')
    assert told(capfd, path, 0) == [" no mistakes; 1 builders with 1 steps, slaves: the embedded"]


@pytest.mark.parametrize("place", ["", "slaveproto.toml"])
def test_the_file_of_a_slave(place: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "slave"
    assert main(["create-slave", "-q", str(base), "master", "bot", "pw"]) == 0
    assert "no mistakes; slave bot of master:9989" in told(capfd, base / place, 0)[0]
    with (base / "slaveproto.toml").open("a") as file:
        file.write('colour = "red"\numask = -1\n')
    assert main(["check", str(base / place)]) == 2
    err = capfd.readouterr().err
    assert "unknown key 'colour'" in err
    assert "umask is negative" in err
    assert err.count("\n") == 2


def test_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no such file" in told(capfd, tmp_path / "none.toml")[0]


def test_other_subcommands_tell_the_first_and_how_many_more(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ci.toml"
    path.write_text(MANY)
    assert main(["build", str(path)]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"slaveproto: {path}:4: unknown key")
    assert err.endswith("(and 5 more: `slaveproto check`)\n")
    assert err.count("\n") == 1
