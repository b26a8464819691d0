"""Contents of the distributions. `nox -s sdist` builds them, runs the tests of the one and looks into the other."""

from __future__ import annotations

import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DATA = PROJECT["tool"]["setuptools"]["package-data"]


def data_files() -> list[tuple[str, str]]:
    """Files of src that a wheel has only if pyproject.toml names them: package, and path in it."""
    source = ROOT / "src"
    found = []
    for path in sorted(source.rglob("*")):
        folder = path.parent
        while not (folder / "__init__.py").exists() and folder != source:
            folder = folder.parent
        in_a_package = folder == path.parent and path.suffix == ".py"
        if path.is_file() and not in_a_package and folder != source and path.suffix != ".pyc":
            found.append((".".join(folder.relative_to(source).parts), path.relative_to(folder).as_posix()))
    return found


def test_a_wheel_has_the_data_files() -> None:
    assert ("slaveproto.testing.peers", "inside/old/slave.tac") in data_files()
    for package, path in data_files():
        assert any(fnmatch(path, pattern) for pattern in DATA.get(package, ())), f"{package}: {path}"


def test_each_pattern_finds_something() -> None:
    for package, patterns in DATA.items():
        for pattern in patterns:
            assert any(fnmatch(path, pattern) for where, path in data_files() if where == package), pattern


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_a_source_distribution_has_what_git_has() -> None:
    """Every folder and file at the top is named in MANIFEST.in, or is there anyhow."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    anyhow = {"src", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
    assert {path.partition("/")[0] for path in listed} <= {*manifest, *anyhow}
