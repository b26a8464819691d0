"""Small repositories of every version control system that can be installed, made with the real programs."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "git": ("git",),
    "svn": ("svn", "svnadmin", "svnversion"),
    "hg": ("hg",),
    "bzr": ("bzr",),
    "cvs": ("cvs",),
    "darcs": ("darcs",),
}
"""Programs that each system needs."""

STAND_INS: Final = ("mtn", "p4", "bk", "repo")
"""Programs that cannot be installed: `make_stand_ins` makes one that records what it is asked."""

WHEN: Final = "2011-12-13T14:15:16+0000"
PERSON: Final = "Test Person <test@example.org>"


def missing(system: str) -> str | None:
    """Return the first program that a system lacks here; None if all are installed."""
    return next((name for name in PROGRAMS[system] if shutil.which(name) is None), None)


def make_repositories(root: Path, copies: Iterable[str]) -> None:
    """Make a repository in `root`/COPY/SYSTEM for every system that is there.

    Each has `file` and `sub/other`, and a second revision in which `file` is changed and `new` is added. Git and
    Mercurial have a branch `side` besides, on which `file` is another one; Git has a submodule `module`.
    """
    original = root / "original"
    original.mkdir(parents=True)
    for system, make in MAKERS.items():
        if missing(system) is None:
            make(_Shell(original / f"{system}-home"), original)
    for name in copies:
        shutil.copytree(original, root / name, symlinks=True)


class _Shell:
    """Runs programs with a home of their own."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "protocol.file.allow",
            "GIT_CONFIG_VALUE_0": "always",
            **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _GIT_PERSON.items()},
            "HGUSER": PERSON,
            "BRZ_EMAIL": PERSON,
            "BZR_EMAIL": PERSON,
            "DARCS_EMAIL": PERSON,
            "LOGNAME": "test",
        }

    def __call__(self, directory: Path, *command: str) -> str:
        done = subprocess.run(command, cwd=directory, env=self.env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


_GIT_PERSON: Final = {"NAME": "Test Person", "EMAIL": "test@example.org", "DATE": WHEN}


def _first(tree: Path) -> None:
    (tree / "sub").mkdir(parents=True)
    (tree / "file").write_text("one\n")
    (tree / "sub" / "other").write_text("other\n")


def _second(tree: Path) -> None:
    (tree / "file").write_text("one\ntwo\n")
    (tree / "new").write_text("new\n")


def _git(shell: _Shell, root: Path) -> None:
    module, tree = root / "git-module", root / "git"
    for place in (module, tree):
        _first(place)
        shell(place, "git", "init", "-q", "-b", "master")
    shell(module, "git", "add", ".")
    shell(module, "git", "commit", "-q", "-m", "first")
    (tree / ".gitignore").write_text("*.ignored\n")
    shell(tree, "git", "submodule", "--quiet", "add", str(module), "module")
    shell(tree, "git", "add", ".")
    shell(tree, "git", "commit", "-q", "-m", "first")
    shell(tree, "git", "tag", "first")
    shell(tree, "git", "checkout", "-q", "-b", "side")
    (tree / "file").write_text("side\n")
    shell(tree, "git", "commit", "-q", "-a", "-m", "side")
    shell(tree, "git", "checkout", "-q", "master")
    _second(tree)
    shell(tree, "git", "add", ".")
    shell(tree, "git", "commit", "-q", "-m", "second")


def _svn(shell: _Shell, root: Path) -> None:
    tree = root / "svn-tree"
    shell(root, "svnadmin", "create", "svn")
    url = f"file://{root}/svn"
    shell(root, "svn", "-q", "mkdir", "-m", "trunk", f"{url}/trunk")
    shell(root, "svn", "-q", "checkout", f"{url}/trunk", str(tree))
    _first(tree)
    shell(tree, "svn", "-q", "add", "file", "sub")
    shell(tree, "svn", "-q", "propset", "svn:ignore", "*.ignored", ".")
    shell(tree, "svn", "-q", "commit", "-m", "first")
    _second(tree)
    shell(tree, "svn", "-q", "add", "new")
    shell(tree, "svn", "-q", "commit", "-m", "second")


def _hg(shell: _Shell, root: Path) -> None:
    tree = root / "hg"
    _first(tree)
    shell(tree, "hg", "init")
    commit = ("hg", "commit", "--addremove", "--date", WHEN, "--message")
    shell(tree, *commit, "first")
    shell(tree, "hg", "branch", "side")
    (tree / "file").write_text("side\n")
    shell(tree, *commit, "side")
    shell(tree, "hg", "update", "default")
    _second(tree)
    shell(tree, *commit, "second")


def _bzr(shell: _Shell, root: Path) -> None:
    tree = root / "bzr"
    _first(tree)
    shell(tree, "bzr", "init", "--quiet")
    shell(tree, "bzr", "add", "--quiet")
    shell(tree, "bzr", "commit", "--quiet", "--message", "first")
    _second(tree)
    shell(tree, "bzr", "add", "--quiet")
    shell(tree, "bzr", "commit", "--quiet", "--message", "second")


def _cvs(shell: _Shell, root: Path) -> None:
    where, tree = str(root / "cvs"), root / "cvs-tree"
    shell(root, "cvs", "-Q", "-d", where, "init")
    start = root / "cvs-start"
    _first(start)
    shell(start, "cvs", "-Q", "-d", where, "import", "-m", "first", "module", "vendor", "start")
    shell(root, "cvs", "-Q", "-d", where, "checkout", "-d", tree.name, "module")
    shell(tree, "cvs", "-Q", "tag", "-b", "side")
    _second(tree)
    shell(tree, "cvs", "-Q", "add", "new")
    shell(tree, "cvs", "-Q", "commit", "-m", "second")


def _darcs(shell: _Shell, root: Path) -> None:
    tree = root / "darcs"
    _first(tree)
    shell(tree, "darcs", "init", "--quiet")
    shell(tree, "darcs", "record", "--quiet", "--all", "--look-for-adds", "--name", "first")
    (root / "darcs-context").write_text(shell(tree, "darcs", "changes", "--context"))
    _second(tree)
    shell(tree, "darcs", "record", "--quiet", "--all", "--look-for-adds", "--name", "second")


MAKERS: Final[Mapping[str, Callable[[_Shell, Path], None]]] = {
    "git": _git,
    "svn": _svn,
    "hg": _hg,
    "bzr": _bzr,
    "cvs": _cvs,
    "darcs": _darcs,
}

# Tells what it was asked, and does just enough that the next command finds what it expects.
_STAND_IN: Final = r"""#!/bin/sh
name=${0##*/}
# To the stream that is not read.
stream=2; [ "$name" = repo ] && stream=1
{ printf '%s in %s:' "$name" "${PWD##*/}"; printf ' [%s]' "$@"; echo; } >&"$stream"
case "$name $*" in
  *'client -i') sed 's/^/  | /' >&2 ;;
  'p4 '*' changes '*) echo 'Change 4711 on 2011/12/13 by test@client' ;;
  'p4 '*' sync'*) [ -d ../build ] || { mkdir -p build source && cd source; } && echo one > synced ;;
  'mtn db info '*) [ -e "$4" ] || { echo 'no database' >&2; exit 1; } ;;
  'mtn db init '*) echo made > "$4" ;;
  'mtn pull '*) ;;
  'mtn checkout '*) mkdir -p "$2/_MTN"; echo one > "$2/file" ;;
  'mtn automate '*) echo 0123456789abcdef0123456789abcdef01234567 ;;
  'bk clone '*hang*) sleep 300 ;;
  'bk clone '*) for last; do :; done; mkdir -p "$last/BK"; echo parent > "$last/BK/parent" ;;
  'bk changes '*) echo 1.42 ;;
  'repo init '*)
    mkdir -p .repo/manifests .repo/repo
    echo made > .repo/repo/main.py
    (cd .repo/manifests && git init -q) ;;
  'repo sync'*) echo one > file ;;
  'repo download '*)
    echo 'From ssh://review' >&2
    echo ' * branch            refs/changes/64/3964/7 -> FETCH_HEAD' >&2
    echo 'HEAD is now at 1234abc... a change' >&2 ;;
esac
"""


def make_stand_ins(folder: Path) -> None:
    """Make a folder of programs that stand in for those that cannot be installed."""
    folder.mkdir()
    for name in STAND_INS:
        (folder / name).write_text(_STAND_IN)
        (folder / name).chmod(0o755)
