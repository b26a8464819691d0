"""Files of examples/deploy for hosts: units of systemd, container files, and the page about them."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from slaveproto.cli import main
from slaveproto.testing.conformance import wait_until

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "examples" / "deploy"
PAGE = (ROOT / "docs" / "deploy.md").read_text()
UNITS = ("slaveproto-slave@.service", "slaveproto-master@.service", "slaveproto-relay@.service")
PROGRAM = "/opt/slaveproto/bin/slaveproto"
EXPOSURE = {"slaveproto-slave@.service": 35, "slaveproto-master@.service": 15, "slaveproto-relay@.service": 15}
"""Tenths of systemd's points that a unit may have: 100 is a service without any hardening."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def instance_of(unit: str, folder: Path) -> Path:
    """Return a file with that unit as `NAME@x.service`, whose program is there."""
    text = (DEPLOY / unit).read_text()
    assert text.count(f"ExecStart={PROGRAM} ") == 1
    instance = folder / unit.replace("@", "@x")
    instance.write_text(text.replace(PROGRAM, "/bin/true"))
    return instance


def analyze(*words: object) -> subprocess.CompletedProcess[str]:
    call = ["systemd-analyze", "--no-pager", *(str(word) for word in words)]
    return subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@needs_systemd
@pytest.mark.programs
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_the_unit(tmp_path: Path, unit: str) -> None:
    """The manual page is not looked for: it is not installed here."""
    done = analyze("verify", "--man=no", instance_of(unit, tmp_path))
    assert (done.returncode, done.stdout) == (0, "")


@needs_systemd
@pytest.mark.programs
@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_is_hardened(tmp_path: Path, unit: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE[unit]}", instance_of(unit, tmp_path))
    assert done.returncode == 0, done.stdout


@needs_systemd
@pytest.mark.programs
def test_a_mistake_in_a_unit_would_be_found(tmp_path: Path) -> None:
    instance = instance_of(UNITS[0], tmp_path)
    instance.write_text(instance.read_text().replace("ProtectHome=yes", "ProtectHouse=yes"))
    assert "ProtectHouse" in analyze("verify", "--man=no", instance).stdout


@pytest.mark.parametrize("unit", UNITS)
def test_what_a_unit_starts_is_a_call_of_ours(capfd: pytest.CaptureFixture[str], unit: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / unit)
    words = parser["Service"]["ExecStart"].removeprefix(PROGRAM).replace("%i", "none").split()
    assert main(words) == 2
    # All is right but that there is no such file.
    assert re.search(r"none(/master\.toml|\.toml)?: no such", capfd.readouterr().err), words


@pytest.mark.parametrize("name", ["slave", "master", "relay"])
def test_a_container_file_names_what_is_there(name: str) -> None:
    lines = (DEPLOY / f"Containerfile.{name}").read_text().splitlines()
    for line in lines:
        word, *rest = line.split() or [""]
        if word == "COPY" and not rest[0].startswith("--from="):
            for path in rest[:-1]:
                assert (ROOT / path).exists(), path
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("root", "0")
    (start,) = (line.removeprefix("ENTRYPOINT ") for line in lines if line.startswith("ENTRYPOINT "))
    assert json.loads(start)


def says(log: Path, words: str) -> bool:
    return words in log.read_text()


@pytest.mark.programs
def test_the_start_of_a_slave_in_a_container(tmp_path: Path) -> None:
    """It runs with what the environment says, twice in the same directory, and leaves at SIGTERM."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "slaveproto").write_text(f'#!/bin/sh\nexec {sys.executable} -m slaveproto "$@"\n')
    (programs / "slaveproto").chmod(0o755)
    call = ["/bin/sh", str(DEPLOY / "container-slave.sh"), str(tmp_path / "slave")]
    env = {"PATH": f"{programs}:/usr/bin:/bin", "MASTER": "127.0.0.1:1", "NAME": "ex", "PASSWORD": "pw"}
    for master in ("127.0.0.1:1", "127.0.0.1:2"):
        env["MASTER"] = master
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(call, env=env, stderr=log) as process:
            wait_until(partial(says, tmp_path / "log", f"connecting to {master}"))
            process.terminate()
            assert process.wait(30) == 0
    assert "pw" not in (tmp_path / "slave/slaveproto.toml").read_text().splitlines()
    del env["PASSWORD"]
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "PASSWORD: is missing" in done.stderr


def test_the_page_names_the_files() -> None:
    """Each file of the folder, and none that is not there."""
    named = set(re.findall(r"examples/deploy/([\w.@-]+\w)", PAGE))
    assert named == {path.name for path in DEPLOY.iterdir() if path.is_file()} - {"executable.py"}
