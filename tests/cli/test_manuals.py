"""Manual pages and completion that examples/deploy/write_manuals.py makes: every subcommand and option is in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from slaveproto.cli import _COMMANDS, parser_of

pytestmark = pytest.mark.programs

WRITER = Path(__file__).parents[2] / "examples" / "deploy" / "write_manuals.py"
PAGES = ("slaveproto", *(f"slaveproto-{name}" for name in _COMMANDS))


def write(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, WRITER, folder], capture_output=True, text=True, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1800000000"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that was written."""
    folder = tmp_path_factory.mktemp("manuals") / "share"
    done = write(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert {Path(line) for line in done.stdout.splitlines()} == {it for it in folder.rglob("*") if it.is_file()}
    return folder


def options_of(command: str) -> set[str]:
    """Return all spellings of the options of a subcommand, by its parser."""
    (subcommands,) = (action for action in parser_of()._actions if action.dest == "command")
    assert isinstance(subcommands.choices, dict)
    parser = subcommands.choices[command]
    return {text for action in parser._actions for text in action.option_strings}


def test_parsers_have_options() -> None:
    """So that the tests below look at something."""
    assert {"--help", "-h", "--drain", "--runner"} <= options_of("slave")
    assert sum(len(options_of(command)) for command in _COMMANDS) > 80


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_page_has_every_option(share: Path, command: str) -> None:
    """But for `--help`, which is the page."""
    text = re.sub(r"\\f\w|\\[,/]", "", (share / "man/man1" / f"slaveproto-{command}.1").read_text()).replace("\\-", "-")
    explained = re.findall(r"^\.TP\n(-.*)$", text, re.MULTILINE)
    found = {word for line in explained for word in re.findall(r"--?[\w-]+", line)}
    assert options_of(command) - found == {"-h", "--help"}
    assert f"\nslaveproto-{command} - {_COMMANDS[command][0]}\n" in text


def test_the_first_page_leads_to_the_others(share: Path) -> None:
    text = (share / "man/man1/slaveproto.1").read_text().replace("\\-", "-")
    for command, (line, _) in _COMMANDS.items():
        assert line in text
        assert f".BR slaveproto-{command} (1)" in text
    assert "usage:" not in text


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man")
@pytest.mark.parametrize("name", PAGES)
def test_man_shows_the_page_without_a_warning(share: Path, name: str) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", share / "man/man1" / f"{name}.1"],
        capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(name.upper())


def completed_by_bash(share: Path, words: Sequence[str], folder: Path) -> set[str]:
    """Return what bash offers for the last word."""
    program = """
      source "$1"; shift
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
      _shtab_slaveproto slaveproto "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2> /dev/null
      printf '%s\\n' "${COMPREPLY[@]}"
    """
    script = share / "bash-completion/completions/slaveproto"
    done = subprocess.run(
        ["bash", "--norc", "-c", program, "bash", script, "slaveproto", *words],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("command", _COMMANDS)
def test_bash_offers_every_option(share: Path, tmp_path: Path, command: str) -> None:
    offered = completed_by_bash(share, [command, "-"], tmp_path)
    assert offered == options_of(command)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_offers_subcommands_and_paths(share: Path, tmp_path: Path) -> None:
    (tmp_path / "builds.toml").touch()
    (tmp_path / "base").mkdir()
    assert completed_by_bash(share, [""], tmp_path) == {*_COMMANDS}
    assert completed_by_bash(share, ["slave", "--runner", ""], tmp_path) == {"threads", "trio"}
    assert {path.rstrip("/") for path in completed_by_bash(share, ["slave", "b"], tmp_path)} == {"base"}
    assert {path.rstrip("/") for path in completed_by_bash(share, ["master", "b"], tmp_path)} == {"base", "builds.toml"}


def test_zsh_has_every_option(share: Path) -> None:
    text = (share / "zsh/site-functions/_slaveproto").read_text()
    assert text.startswith("#compdef slaveproto\n")
    for command, (line, _) in _COMMANDS.items():
        assert f"    {command}:'{line}'\n" in text
        (part,) = re.findall(rf"^_shtab_slaveproto_{command.replace('-', '_')}_options=\((.*?)^\)", text, re.M | re.S)
        named = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*(?=[\[,}=])", part))
        assert options_of(command) <= named, command


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_loads_it(share: Path) -> None:
    """The functions of its completion are there, and the file is for our program."""
    program = (
        "fpath=($1 $fpath); autoload -U compinit; compinit -D -u; print $_comps[slaveproto]; autoload +X _slaveproto"
    )
    done = subprocess.run(
        ["zsh", "-f", "-c", program, "zsh", share / "zsh/site-functions"],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(share)},
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "_slaveproto\n")


def test_the_same_again(share: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again").returncode == 0
    for path in share.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(share)).read_bytes() == path.read_bytes()


def test_it_is_called_wrongly(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, WRITER], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, f"usage: {WRITER} FOLDER\n")
    (tmp_path / "file").touch()
    done = write(tmp_path / "file")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Not a directory" in done.stderr
