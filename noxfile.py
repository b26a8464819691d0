"""Checks of this project: `nox -s fast`, `all`, `lint`, `docs`, `bench`, `fuzz`, `soak`, `executable`, `manuals`,
`sdist`; `nox -l` lists them.

`all` is the README's own test command, word for word, in the environment that it makes itself (`.venv`). The other
sessions have environments of their own.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import nox

HERE = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FAST = ("-m", "not peers and not programs and not campaigns")

nox.options.sessions = ["lint", "fast-3.11"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def fast(session: nox.Session) -> None:
    """Tests without real peers, programs, runners in real time and campaigns, on each Python that is there."""
    session.install("-q", "-e", ".[dev]")
    session.run("python", "-m", "pytest", "-q", *FAST, *session.posargs)


@nox.session(name="all", venv_backend="none")
def all_(session: nox.Session) -> None:
    """All tests, real masters and slaves included, by the README's command."""
    (command,) = re.findall(r"^(.* -m pytest)$", (HERE / "README.md").read_text(), re.MULTILINE)
    session.run("bash", "-euc", " ".join([command, *session.posargs]), external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types: of everything here, and of what runs elsewhere for the systems it is written for."""
    session.install("-q", "-e", ".[dev,bench]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    elsewhere = ("src/transports", "src/slaveproto/cli/create_slave.py", "src/slaveproto/cli/run_slave.py")
    for platform in ("darwin", "win32"):
        session.run("mypy", "--platform", platform, "--follow-imports=silent", *elsewhere)


@nox.session
def docs(session: nox.Session) -> None:
    """Drawings: state diagrams and message ladders are those of the present tables and recordings."""
    session.install("-q", "-e", ".[dev]")
    session.run("python", "docs/draw_states.py", "--check")
    session.run("python", "-m", "pytest", "-q", "-n", "0", "tests/test_drawings.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks: only whether they run; `nox -s bench -- --rows 1,2` measures."""
    session.install("-q", "-e", ".[bench]")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--smoke"]))


def _compare(session: nox.Session, wheel: Path) -> None:
    """Compare the wheel with the sources: it has each of their files."""
    with zipfile.ZipFile(wheel) as opened:
        there = set(opened.namelist())
    src = HERE / "src"
    wanted = {path.relative_to(src).as_posix() for path in src.rglob("*") if path.is_file()}
    missing = {path for path in wanted - there if not path.endswith(".pyc") and ".egg-info/" not in path}
    if missing:
        session.error(f"the wheel lacks {', '.join(sorted(missing))}")


def _compare_sources(session: nox.Session, tree: Path) -> None:
    """Compare the unpacked archive with the repository: it has all that builds, tests and explains."""
    kept = session.run("git", "ls-files", "src", "tests", "docs", "examples", "benchmarks", external=True, silent=True)
    missing = [path for path in str(kept).split() if not (tree / path).is_file()]
    if missing:
        session.error(f"the archive of sources lacks {', '.join(missing)}")


@nox.session
def executable(session: nox.Session) -> None:
    """Executable of the slave that needs no Python: `dist/slaveproto`, or the file that you name."""
    session.install("-q", ".[executable]")
    (HERE / "dist").mkdir(exist_ok=True)
    session.run("python", "examples/deploy/build_executable.py", *(session.posargs or ["dist/slaveproto"]))


@nox.session
def manuals(session: nox.Session) -> None:
    """Manual pages and shell completion, from the parsers: into `dist/share`, or the folder that you name."""
    session.install("-q", ".[manuals]")
    session.run("python", "examples/deploy/write_manuals.py", *(session.posargs or ["dist/share"]))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzzing of everything that reads bytes of a peer: 12 seconds for each target, or as long as you say."""
    session.install("-q", "-e", ".[fuzz]")
    session.run("python", "-m", "tests.fuzz", *(session.posargs or ["--seconds", "12"]))


@nox.session
def soak(session: nox.Session) -> None:
    """Growth: a master and 50 slaves under random kills, for 80 seconds, or as long as you say."""
    session.install("-q", "-e", ".[dev]")
    session.run("python", "-m", "tests.soak", *(session.posargs or ["--seconds", "80"]))


@nox.session
def sdist(session: nox.Session) -> None:
    """Distributions: the wheel has all of src, the archive all that is kept here; it passes the fast tests."""
    session.install("-q", "build")
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "build", "--outdir", folder, ".")
        (archive,) = Path(folder).glob("*.tar.gz")
        (wheel,) = Path(folder).glob("*.whl")
        _compare(session, wheel)
        shutil.unpack_archive(archive, folder)
        (tree,) = (path for path in Path(folder).iterdir() if path.is_dir())
        _compare_sources(session, tree)
        with session.chdir(tree):
            session.install("-q", ".[dev]")
            session.run("python", "-m", "pytest", "-q", *FAST, *session.posargs)
