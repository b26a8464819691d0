"""The program `slaveproto pack`, and the file that it makes. Builds with it are in interop/test_packed.py."""

from __future__ import annotations

import os
import re
import resource
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from slaveproto.cli import _COMMANDS, main, pack
from slaveproto.cli.pack import LEFT_OUT, WISHES
from tests.pythons import VERSIONS, bare_python

pytestmark = pytest.mark.programs

MOST = 1_000_000
"""Bytes that a file may have."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed slave."""
    file = tmp_path_factory.mktemp("packed") / "slave.pyz"
    assert main(["pack", str(file)]) == 0
    return file


def complaint(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the program, which has to complain in one line; return that."""
    capfd.readouterr()
    assert main(words) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def run(*call: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in call], capture_output=True, text=True, timeout=60, check=False)


def test_it_says_what_it_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "slave.pyz"
    assert main(["pack", str(file)]) == 0
    out = capfd.readouterr().out
    assert out == f"{file}: {file.stat().st_size} bytes; now: python3 {file} create-slave --help\n"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("options", [[], ["--bytecode"]], ids=["sources", "bytecode"])
def test_it_is_small_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    """In another process, folder and time zone, with another umask and seed of hashes, over the first one or not."""
    file, again = tmp_path / "slave.pyz", tmp_path / "again"
    assert main(["pack", str(file), *options]) == 0
    first = file.read_bytes()
    assert main(["pack", str(file), *options]) == 0
    assert file.read_bytes() == first
    again.mkdir()
    for name, value in {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "TMPDIR": str(again)}.items():
        monkeypatch.setenv(name, value)
    command = f"umask 077; cd {again}; {sys.executable} -m slaveproto pack other.pyz {' '.join(options)}"
    assert run("sh", "-c", command).returncode == 0
    assert (again / "other.pyz").read_bytes() == first
    assert stat.S_IMODE((again / "other.pyz").stat().st_mode) == 0o700
    assert len(first) <= MOST


def test_bytecode_is_that_of_the_start(tmp_path: Path) -> None:
    file = tmp_path / "slave.pyz"
    assert main(["pack", "--bytecode", str(file)]) == 0
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    compiled = [name for name in names if name.endswith(".pyc")]
    assert {"slaveproto/cli/run_slave.pyc", "attr/_make.pyc", "transports/threads/runner.pyc"} <= {*compiled}
    assert "slaveproto/cli/run_relay.pyc" not in compiled
    assert {name[:-1] for name in compiled} <= {*names}
    # It is used: code that is compiled at the start would name the archive, too.
    program = "import sys; sys.path.insert(0, sys.argv[1]); import {0}; print({0}.describe.__code__.co_filename)"
    told = {
        name: run(sys.executable, "-I", "-S", "-c", program.format(f"slaveproto.cli.{name}"), file).stdout.strip()
        for name in ("run_slave", "run_relay")
    }
    assert told == {"run_slave": "slaveproto/cli/run_slave.py", "run_relay": f"{file}/slaveproto/cli/run_relay.py"}


def test_what_a_slave_needs_is_not_left_out() -> None:
    assert not [what for what in WISHES.values() if re.search("`(create-slave|slave|relay)`", what)]


def test_it_has_licences_and_nothing_that_is_left_out(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert b"MIT" in archive.read("licenses/attrs.txt")
        assert b"MIT" in archive.read("licenses/slaveproto.txt")
    assert names == sorted(names)
    stand_ins = {f"{name.replace('.', '/')}.py" for name in WISHES}
    for name in LEFT_OUT:
        path = name.replace(".", "/")
        assert {it for it in names if it.startswith((f"{path}/", f"{path}."))} <= stand_ins


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_each_subcommand_is_there_or_says_that_it_is_not(packed: Path, version: str, command: str) -> None:
    done = run(*bare_python(version), packed, command, "--help")
    if not any(f"`{command}`" in what for what in WISHES.values()):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: slaveproto {command} ")
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("slaveproto: this file lacks `")
        assert f"`{command}`" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_is_packed_can_be_imported(packed: Path, version: str) -> None:
    """On a Python with nothing installed: so whatever these modules import is there, too."""
    with zipfile.ZipFile(packed) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py") and name != "__main__.py"]
    stand_ins = {f"{name.replace('.', '/')}.py" for name in WISHES}
    modules = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in names if name not in stand_ins]
    assert len(modules) > 150
    ours = [name for name in modules if "windows" not in name]
    program = (
        "import importlib, sys; sys.path.insert(0, sys.argv[1]); [importlib.import_module(n) for n in sys.argv[2:]]"
    )
    done = run(*bare_python(version), "-c", program, packed, *ours)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_runner_that_it_lacks(packed: Path, tmp_path: Path) -> None:
    """Whether trio is there or not."""
    assert run(sys.executable, packed, "create-slave", "-q", tmp_path / "s", "m", "bot", "pw").returncode == 0
    call = (packed, "slave", "--runner", "trio", tmp_path / "s")
    assert run(sys.executable, *call).stderr.startswith("slaveproto: this file lacks the runner of trio, and has ")
    bare = run(sys.executable, "-I", "-S", *call)
    assert (bare.returncode, bare.stderr.count("\n")) == (2, 1)
    assert bare.stderr.startswith("slaveproto: this needs trio")


def test_it_is_a_program(packed: Path, tmp_path: Path) -> None:
    """Its first line finds a Python."""
    (tmp_path / "python3").symlink_to(sys.executable)
    done = subprocess.run([packed, "--version"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True)
    assert done.stdout.startswith(b"slaveproto ")
    assert stat.S_IMODE(packed.stat().st_mode) & 0o111


def test_a_python_that_is_too_old(packed: Path) -> None:
    """The file is read by any Python 3; here by one that is told to be old."""
    program = "import sys, runpy; sys.version_info, sys.version = (3, 8, 1), '3.8.1 (old)'; runpy.run_path(sys.argv[1])"
    done = run(sys.executable, "-I", "-S", "-c", program, packed)
    assert (done.returncode, done.stderr) == (
        2, "slaveproto: this needs Python 3.11 or newer, and is run by 3.8.1\n"
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "empty", "zip", "folder", "fifo", "dangling link"])
def test_other_files_are_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str) -> None:
    file = tmp_path / "x.pyz"
    match kind:
        case "text":
            file.write_text("my thesis")
        case "empty":
            file.touch()
        case "zip":
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("slaveproto/__init__.py", "")
        case "folder":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case _:
            file.symlink_to(tmp_path / "nothing")
    before = file.lstat()
    line = complaint(capfd, "pack", str(file))
    assert line == f"slaveproto: {file} is there, and is no file that `slaveproto pack` made; it is left as it is\n"
    assert file.lstat() == before or kind == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["x.pyz"]


def test_places_where_no_file_can_be(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "none" / "x.pyz"
    assert complaint(capfd, "pack", str(place)) == f"slaveproto: {place}: No such file or directory\n"
    assert "FILE.pyz is empty" in complaint(capfd, "pack", "")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Half of it has room."""
    file = tmp_path / "x.pyz"
    assert main(["pack", str(file)]) == 0
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        line = complaint(capfd, "pack", str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line == f"slaveproto: {file}: File too large\n"
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_compiled_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "COMPILE", "import sys; sys.exit('no compiler')")
    line = complaint(capfd, "pack", "--bytecode", str(tmp_path / "x.pyz"))
    assert line == "slaveproto: cannot compile: no compiler\n"
    assert list(tmp_path.iterdir()) == []
