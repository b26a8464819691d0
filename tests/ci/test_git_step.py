"""The step `git`, with real repositories, on the slave inside of `slaveproto build`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from slaveproto.ci.file.secrets import NamedSecret
from slaveproto.cli import main
from slaveproto.master.steps import Shell
from tests.ci.test_build_file import BUILDER, read, refusal

pytestmark = pytest.mark.programs


class Project:
    """A repository, and a build file beside it.

    Args:
        folder: for both. It is a repository itself, with a commit: none of the step's business.
        capfd: hears what the program writes.
    """

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.work = folder / ".slaveproto" / "slave" / "b" / "build"
        self._capfd = capfd
        self.commit(folder, "around")
        self.first = self.commit(self.source, "one")
        self.git(self.source, "branch", "-q", "old")
        self.second = self.commit(self.source, "two")

    @staticmethod
    def git(folder: Path, *words: str) -> str:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
        command = ["git", *names, *words]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, folder: Path, text: str) -> str:
        if not folder.exists() or not (folder / ".git").exists():
            folder.mkdir(exist_ok=True)
            self.git(folder, "init", "-q", "-b", "main")
        (folder / "file").write_text(text)
        self.git(folder, "add", "file")
        self.git(folder, "commit", "-q", "-m", text)
        return self.git(folder, "rev-parse", "HEAD")

    def build(self, keys: str = "", *arguments: str) -> dict[str, Any]:
        """Build once; return what came of the step."""
        text = f'{BUILDER}[[builder.step]]\ngit = {{ url = "{self.source}", retries = 0{keys} }}\n'
        (self.folder / "build.toml").write_text(text)
        main(["build", "--json", *arguments, str(self.folder / "build.toml")])
        [build] = json.loads(self._capfd.readouterr().out)["builds"]
        [step] = build["steps"]
        return {"got": build["properties"].get("got_revision"), **step, "stdio": step["logs"]["stdio"]}


@pytest.fixture
def project(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Project:
    return Project(tmp_path, capfd)


def test_what_was_asked_for(project: Project) -> None:
    assert project.build() | {"elapsed": 0, "logs": {}} == {
        "got": project.second, "name": "git", "result": "success", "rc": 0, "elapsed": 0, "logs": {},
        "stdio": f"{project.second}\n",
    }  # fmt: skip
    assert project.build("", "--branch", "old")["got"] == project.first
    assert project.build("", "--revision", project.second)["got"] == project.second
    assert project.build("", "--revision", project.first[:10])["got"] == project.first
    assert project.build("", "--revision", "main")["got"] == project.second
    assert project.build(', branch = "%(branch:-old)s"')["got"] == project.first
    third = project.commit(project.source, "three")
    assert project.build("", "--branch", "main", "--revision", third)["got"] == third
    assert (project.work / "file").read_text() == "three"
    assert project.git(project.folder, "log", "--format=%s") == "around"


def test_modes(project: Project) -> None:
    project.build()
    (project.work / ".gitignore").write_text("ignored\n")
    for name in ("ignored", "other"):
        (project.work / name).touch()
    (project.work / "file").write_text("changed")
    assert project.build("")["got"] == project.second
    assert sorted(os.listdir(project.work)) == [".git", ".gitignore", "file", "ignored", "other"]
    assert (project.work / "file").read_text() == "two"
    project.build(', mode = "clean"')
    assert sorted(os.listdir(project.work)) == [".git", "file"]
    (project.work / ".git" / "mark").touch()
    assert project.build(', mode = "clobber"')["got"] == project.second
    assert not (project.work / ".git" / "mark").exists()


@pytest.mark.parametrize("damage", ["nothing", "locks", "head", "objects", "no repository"])
def test_what_a_killed_git_left(project: Project, damage: str) -> None:
    project.build()
    git = project.work / ".git"
    if damage == "locks":
        for name in ("index.lock", "shallow.lock", "HEAD.lock"):
            (git / name).touch()
    elif damage == "head":
        (git / "HEAD").write_bytes(b"")
    elif damage == "objects":
        subprocess.run(["rm", "-rf", str(git / "objects")], check=True)
    elif damage == "no repository":
        subprocess.run(["rm", "-rf", str(git)], check=True)
    third = project.commit(project.source, "three")
    assert project.build()["got"] == third
    assert (project.work / "file").read_text() == "three"


def test_submodules(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, pair in enumerate((("protocol.file.allow", "always"),)):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", pair[0])
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", pair[1])
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    other = project.folder / "other"
    project.commit(other, "sub")
    project.git(project.source, "submodule", "--quiet", "add", str(other), "sub")
    project.git(project.source, "commit", "-q", "-m", "with a submodule")
    project.build()
    assert not (project.work / "sub" / "file").exists()
    assert project.build(', submodules = true, mode = "clean"')["result"] == "success"
    assert (project.work / "sub" / "file").read_text() == "sub"


def test_failures(project: Project) -> None:
    """The build has no such property then, and the words of a request are never options."""
    project.build()
    for arguments in (
        ["--branch", "none"], ["--revision", "none"], ["--revision", "0" * 40], ["--branch=--upload-pack=touch x"],
        ["--revision=--force"],
    ):  # fmt: skip
        step = project.build("", *arguments)
        assert (step["result"], step["got"]) == ("failure", None), arguments
        assert not (project.work / "x").exists()
    assert "may not begin with -: --force\n" in step["stdio"]


def test_variables_of_the_slave_lead_it_nowhere_else(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(project.folder / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(project.folder))
    step = project.build()
    monkeypatch.undo()
    assert step["got"] == project.second
    assert project.git(project.folder, "log", "--format=%s") == "around"
    assert (project.folder / "file").read_text() == "around"


def test_what_the_file_says(tmp_path: Path) -> None:
    text = (
        '[secret.u]\nfile = "u"\n' + BUILDER + '[[builder.step]]\nname = "get"\ngit = { url = { secret = "u" } }\n'
        'env = { GIT_SSH_COMMAND = "ssh -x" }\nhalt_on_failure = false\n'
    )
    entry = read(tmp_path, text).builders["b"]
    [step] = entry.steps
    assert isinstance(step, Shell)
    words = (NamedSecret.of("u"), "%(branch)s", "%(revision)s", "update", "no", "3")
    assert (step.title, step.command[4:], step.halt_on_failure) == ("get", words, False)
    assert (entry.extras[0].set_property, [secret.name for secret in entry.secrets]) == ("got_revision", ["u"])
    for keys, why in (
        ('branch = "x"', "git has no url"),
        ('url = "x", mode = "copy"', "git.mode should be one of update, clean, clobber, not 'copy'"),
        ('url = "%(x)s"', "git.url has the unknown word %(x)s; there are "),
    ):
        assert refusal(tmp_path, f"{BUILDER}[[builder.step]]\ngit = {{ {keys} }}\n").startswith(f"4: {why}")
