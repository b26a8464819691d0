"""Source commands, each from its arguments to its command lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest

from slaveproto.commands.process import KEPT
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.commands.source.options import SourceArguments, options_of
from slaveproto.commands.source.workspace import LONGEST, Workspace
from slaveproto.effects import Begin, Cancel, Interrupted, ReadFile, RemoveTree, SendText
from slaveproto.errors import CommandError
from slaveproto.limits import SIZE_LIMIT
from slaveproto.testing import Ended
from slaveproto.wire import Value
from tests.commands.sources import (
    ARGUMENTS,
    BASE,
    MADE_OF,
    PATCH,
    PATCHED,
    PROGRAMS,
    REVISION,
    SOURCEDATA,
    Says,
    SourceConversation,
    talk,
    talk_again,
)
from tests.commands.support import BYTES, TEXT, WORKDIR

HEAD = "git reset --hard FETCH_HEAD"
APPLY = "patch -p1 --remove-empty-files --force --forward -i .buildbot-diff"

# -- what is run


@attrs.frozen
class Case:
    """A command that brings or updates a tree, and what it runs.

    Args:
        runs: the command lines.
        revision: what it tells.
        there: whether a tree is there that it can update.
        files: what else is there.
        said: what programs say.
    """

    system: str
    arguments: Mapping[str, Value]
    runs: Sequence[str]
    revision: Value
    there: bool = False
    files: Mapping[str, str] = attrs.field(factory=dict)
    said: Mapping[str, Says] = attrs.field(factory=dict)

    def talk(self, **options: Any) -> SourceConversation:
        make = talk_again if self.there else talk
        return make(self.system, self.arguments, files=self.files, said=self.said, **options)


P4 = "p4 -p host:1666 -c client"
CASES: Mapping[str, Case] = {
    "git": Case(
        "git",
        {},
        ["git init", "git fetch -t /repo +main", HEAD, "git branch -M main", "git rev-parse HEAD"],
        REVISION,
    ),
    "git, all of it": Case(
        "git",
        {"submodules": True, "progress": True, "gerrit_branch": "refs/changes/1", "ignore_ignores": False},
        [
            "git init",
            "git fetch -t /repo +refs/changes/1 --progress",
            HEAD,
            "git branch -M main",
            "git submodule init",
            "git submodule update",
            "git submodule foreach git clean -f -d",
            "git rev-parse HEAD",
        ],
        REVISION,
    ),
    "git, shallow": Case(
        "git",
        {"shallow": True, "reference": "/mirror"},
        [
            f"git clone --depth 1 --reference /mirror /repo {WORKDIR}",
            "git fetch -t /repo +main",
            HEAD,
            "git branch -M main",
            "git rev-parse HEAD",
        ],
        REVISION,
    ),
    "git, a revision that is here": Case(
        "git", {"revision": "v1"}, ["git reset --hard v1", "git rev-parse HEAD"], REVISION, there=True
    ),
    "git, a revision that is not here": Case(
        "git",
        {"revision": "v1"},
        ["git reset --hard v1", "git fetch -t /repo +main", "git reset --hard v1"],
        None,
        there=True,
        said={"git reset": Says(code=128), "git fetch": Says()},
    ),
    "git, another branch": Case(
        "git",
        {"branch": "side"},
        [
            "git clean -f -d -x",
            "git fetch -t /repo +side",
            HEAD,
            "git branch -M side",
            "git rev-parse HEAD",
        ],
        REVISION,
        there=True,
    ),
    "git, patched": Case(
        "git",
        {"revision": "v1", "ignore_ignores": False},
        ["git clean -f -d", "git reset --hard v1", "git rev-parse HEAD"],
        REVISION,
        there=True,
        files=PATCHED,
    ),
    "git, without a branch": Case(
        "git",
        {},
        ["git fetch -t /repo +main", HEAD, "git branch -M main", "git rev-parse HEAD"],
        REVISION,
        there=True,
        said={"git branch": Says(err="fatal: cannot rename the current branch while not on any.\n", code=128)},
    ),
    "git with longer names": Case(
        "git",
        {"revision": "v1"},
        ["git reset --hard v1", "git rev-parse HEAD"],
        "ab" * 32,
        there=True,
        said={"rev-parse": Says("ab" * 32 + "\n")},
    ),
    "git, copied and patched": Case(
        "git",
        {"mode": "copy", "patch": PATCH},
        ["git init", "git fetch -t /repo +main", HEAD, "git branch -M main", "git rev-parse HEAD", APPLY],
        REVISION,
    ),
    "svn": Case("svn", {}, ["svn checkout --revision HEAD /repo@HEAD build", "svnversion ."], 42),
    "svn, all of it": Case(
        "svn",
        {"username": "me", "password": "secret", "extra_args": ["-x"], "depth": "files", "revision": 7},
        ["svn checkout --username me --password secret -x --depth files --revision 7 /repo@7 build", "svnversion ."],
        42,
    ),
    "svn, update": Case("svn", {}, ["svn update --revision HEAD", "svnversion ."], 42, there=True),
    "svn, purge": Case(
        "svn",
        {"always_purge": True, "ignore_ignores": False, "revision": b"7"},
        ["svn status --xml", "svn update --revision 7", "svnversion ."],
        42,
        there=True,
    ),
    "svn, patched": Case(
        "svn",
        {},
        ["svn status --xml --no-ignore", "svn update --revision HEAD", "svnversion ."],
        42,
        there=True,
        files=PATCHED,
    ),
    "svn, export": Case("svn", {"mode": "export"}, ["svn info /repo", "svn export --revision 42 /repo build"], "42"),
    "svn, export of a revision": Case(
        "svn", {"mode": "export", "revision": "7"}, ["svn export --revision 7 /repo@7 build"], "7"
    ),
    "svn, part of it": Case(
        "svn", {}, ["svn update --revision HEAD", "svnversion ."], 3, there=True, said={"svnversion": Says("1:3MSP\n")}
    ),
    "svn, no revision": Case(
        "svn",
        {},
        ["svn update --revision HEAD", "svnversion ."],
        None,
        there=True,
        said={"svnversion": Says("Unversioned directory\n")},
    ),
    "cvs, all of it": Case(
        "cvs",
        {
            "branch": "side",
            "revision": "2011-12-13",
            "global_options": ["-q"],
            "checkout_options": ["-P"],
            "export_options": ["-kv"],
            "extra_options": ["-l"],
            "login": "secret",
        },
        ["cvs -d /repo -q login", "cvs -d /repo -z3 -q checkout -d build -P -l -r side -D 2011-12-13 module"],
        "1970-01-01 00:00:SS +0000",
    ),
    "cvs, export": Case(
        "cvs",
        {"mode": "export", "export_options": ["-kv"]},
        ["cvs -d /repo -z3 export -d build -kv module"],
        "1970-01-01 00:00:SS +0000",
    ),
    "cvs, update": Case(
        "cvs", {"revision": "now"}, ["cvs -z3 update -dP -D now"], "1970-01-01 00:00:SS +0000", there=True
    ),
    "cvs, patched": Case(
        "cvs",
        {},
        ["cvs -d /repo -z3 checkout -d build module"],
        "1970-01-01 00:00:SS +0000",
        there=True,
        files=PATCHED,
    ),
    "hg": Case(
        "hg",
        {},
        [
            "hg clone --verbose --noupdate /repo build",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev default",
            "hg identify --id --debug",
        ],
        REVISION,
    ),
    "hg, only a revision": Case(
        "hg",
        {"mode": "clobber", "revision": "7"},
        [
            "hg clone --verbose --noupdate --rev 7 /repo build",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev 7",
            "hg identify --id --debug",
        ],
        REVISION,
    ),
    "hg, nothing new": Case(
        "hg",
        {},
        [
            "hg pull --verbose /repo",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev default",
            "hg identify --id --debug",
        ],
        REVISION,
        there=True,
        said={"hg pull": Says("no changes found\n", code=1)},
    ),
    "hg, another branch": Case(
        "hg",
        {"branch": "side", "branchType": "inrepo"},
        [
            "hg pull --verbose /repo",
            "hg identify --num --branch",
            "hg paths default",
            "hg purge --all",
            "hg update --clean --repository build --rev side",
            "hg identify --id --debug",
        ],
        REVISION,
        there=True,
    ),
    "hg, another branch that stays": Case(
        "hg",
        {"branch": "side", "clobberOnBranchChange": False},
        [
            "hg pull --verbose /repo",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev side",
            "hg identify --id --debug",
        ],
        REVISION,
        there=True,
    ),
    "hg, from the same place by another name": Case(
        "hg",
        {"repourl": "http://me:secret@host/repo/"},
        [
            "hg clone --verbose --noupdate http://me:secret@host/repo/ build",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev default",
            "hg identify --id --debug",
        ],
        REVISION,
        there=True,
        said={"hg paths": Says("http://host/repo\n")},
    ),
    "hg, from another place": Case(
        "hg",
        {},
        [
            "hg pull --verbose /repo",
            "hg identify --num --branch",
            "hg paths default",
            "hg clone --verbose --noupdate /repo build",
            "hg identify --num --branch",
            "hg paths default",
            "hg update --clean --repository build --rev default",
            "hg identify --id --debug",
        ],
        REVISION,
        there=True,
        said={"hg paths": Says("file:///elsewhere\n")},
    ),
    "bzr": Case("bzr", {"revision": 7}, ["bzr checkout --revision 7 /repo build", "bzr version-info"], 7),
    "bzr, update": Case("bzr", {}, ["bzr update", "bzr version-info"], 7, there=True),
    "bzr, export": Case(
        "bzr",
        {"mode": "export"},
        [
            f"bzr checkout --lightweight /repo {BASE}/export-temp",
            "bzr version-info",
            f"bzr export {WORKDIR}",
        ],
        7,
        files={f"{BASE}/export-temp/left": ""},
    ),
    "bzr, shared": Case(
        "bzr", {"forceSharedRepo": True}, ["bzr info .", "bzr update", "bzr version-info"], 7, there=True
    ),
    "bzr, to be shared": Case(
        "bzr",
        {"forceSharedRepo": True},
        ["bzr info .", "bzr init-repo .", "bzr update", "bzr version-info"],
        7,
        there=True,
        said={"bzr info": Says(code=3)},
    ),
    "bzr, no revision": Case("bzr", {}, ["bzr update", "bzr version-info"], None, there=True, said={"info": Says("?")}),
    "darcs": Case(
        "darcs",
        {},
        ["darcs get --verbose --lazy --repo-name build /repo", "darcs changes --context"],
        "Context:\n",
    ),
    "darcs, a context": Case(
        "darcs",
        {"revision": "Context:\n"},
        [
            f"darcs get --verbose --lazy --repo-name build --context {BASE}/.darcs-context /repo",
            "darcs changes --context",
        ],
        "Context:\n",
        there=True,
    ),
    "darcs, update": Case(
        "darcs", {}, ["darcs pull --all --verbose --repodir .", "darcs changes --context"], "Context:\n", there=True
    ),
    "mtn": Case(
        "mtn",
        {"revision": "t:1"},
        [
            f"mtn db info --db {BASE}/db.mtn",
            f"mtn db init --db {BASE}/db.mtn",
            f"mtn pull mtn://host/?org.example --db {BASE}/db.mtn --ticker=none",
            f"mtn checkout {WORKDIR} --db {BASE}/db.mtn --revision t:1 --branch org.example",
            "mtn automate select w:",
        ],
        REVISION,
        said={"db info": Says(code=1)},
    ),
    "mtn, update": Case(
        "mtn",
        {"progress": True},
        [
            f"mtn db info --db {BASE}/db.mtn",
            f"mtn db migrate --db {BASE}/db.mtn",
            f"mtn pull mtn://host/?org.example --db {BASE}/db.mtn --ticker=dot",
            f"mtn update --db {BASE}/db.mtn -r h:org.example -b org.example",
            "mtn automate select w:",
        ],
        REVISION,
        there=True,
        said={"db info": Says("schema version: 1 (migration needed)\n")},
    ),
    "repo": Case(
        "repo",
        {"repo_downloads": ["project 3964/7"], "tarball": f"{BASE}/a.tgz"},
        [
            "repo init -u /repo -b main -m a.xml",
            "repo forall -c git clean -f -d -x",
            "git clean -f -d -x",
            "repo sync",
            f"tar -cvzf {BASE}/a.tgz .repo",
            "repo download project 3964/7",
        ],
        None,
    ),
    "repo, from an archive": Case(
        "repo",
        {"tarball": f"{BASE}/a.tgz", "manifest_branch": None, "manifest_file": None},
        [
            f"tar -xvzf {BASE}/a.tgz",
            "repo init -u /repo -b master -m default.xml",
            "repo forall -c git clean -f -d -x",
            "git clean -f -d -x",
            "repo sync",
        ],
        None,
        files={f"{BASE}/a.tgz": "archive"},
    ),
    "repo, another manifest": Case(
        "repo",
        {"manifest_override_url": "http://host/m.xml", "jobs": 4},
        [
            "repo forall -c git clean -f -d -x",
            "git clean -f -d -x",
            "wget http://host/m.xml -O manifest_override.xml",
            "ln -sf ../manifest_override.xml manifest.xml",
            "repo sync -j4",
        ],
        None,
        there=True,
    ),
    "repo, another manifest of its own": Case(
        "repo",
        {"manifest_override_url": "all/m.xml"},
        [
            "repo forall -c git clean -f -d -x",
            "git clean -f -d -x",
            "cp -f all/m.xml manifest_override.xml",
            "ln -sf ../manifest_override.xml manifest.xml",
            "repo sync",
        ],
        None,
        there=True,
        files={f"{WORKDIR}/all/m.xml": "manifest"},
    ),
    "repo, after another manifest": Case(
        "repo",
        {"jobs": 0},
        [
            "repo forall -c git clean -f -d -x",
            "git clean -f -d -x",
            "ln -sf manifests/a.xml manifest.xml",
            "repo sync",
        ],
        None,
        there=True,
        files={f"{WORKDIR}/manifest_override.xml": "manifest"},
    ),
    "p4": Case(
        "p4",
        {"p4user": "me", "p4passwd": "secret"},
        [
            "p4 -p host:1666 -u me -P secret client -i",
            "p4 -p host:1666 -u me -P secret -c client sync -f",
            "p4 -p host:1666 -u me -P secret -c client changes -s submitted -m 1 #have",
        ],
        "4711",
    ),
    "p4, update": Case("p4", {"revision": 7}, [f"{P4} sync @7"], "7", there=True),
    "p4sync": Case(
        "p4sync",
        {},
        ["p4 -p host:1666 sync -f", "p4 -p host:1666 changes -s submitted -m 1 #have"],
        "4711",
    ),
    "p4sync, update": Case("p4sync", {"revision": "7"}, ["p4 -p host:1666 sync @7"], "7", there=True),
    "bk": Case("bk", {"extra_args": ["-q"]}, ["bk clone -q /repo build", "bk changes -r+ -d:REV:"], "1.42"),
    "bk, a revision": Case(
        "bk", {"revision": "1.2"}, ["bk clone -r1.2 /repo build", "bk changes -r+ -d:REV:"], "1.42", there=True
    ),
    "bk, update": Case("bk", {}, ["bk pull", "bk changes -r+ -d:REV:"], "1.42", there=True),
}


@pytest.mark.parametrize("name", [name for name in CASES if name != "git, a revision that is not here"])
def test_what_is_run(name: str) -> None:
    case = CASES[name]
    conversation = case.talk().finish_all()
    assert conversation.commands == case.runs
    (revision,) = conversation.sent("got_revision")
    # The host in memory counts its changes instead of seconds.
    assert re.sub(r":\d\d \+0000$", ":SS +0000", str(revision)) == str(case.revision)
    assert type(revision) is type(case.revision)
    assert conversation.sent("rc") == [0]
    assert conversation.run.said[-1] == Ended()


def test_a_revision_that_is_not_here_is_fetched() -> None:
    case = CASES["git, a revision that is not here"]
    conversation = case.talk().finish_all()
    assert conversation.commands[:3] == case.runs


@pytest.mark.parametrize("system", ARGUMENTS)
def test_what_a_tree_is_made_of_is_remembered(system: str) -> None:
    conversation = talk(system).finish_all()
    assert conversation.host.read(SOURCEDATA).decode() == MADE_OF[system]


@pytest.mark.parametrize("system", ARGUMENTS)
def test_a_tree_is_updated_where_that_is_possible(system: str) -> None:
    assert "removing" not in talk_again(system).finish_all().header


@pytest.mark.parametrize("system", [name for name in ARGUMENTS if name not in ("git", "p4sync")])
def test_a_tree_made_of_something_else_is_removed(system: str) -> None:
    conversation = talk_again(system, files={SOURCEDATA: "something else"}).finish_all()
    assert f"removing {WORKDIR}\n" in conversation.header
    assert conversation.host.read(SOURCEDATA).decode() == MADE_OF[system]


@pytest.mark.parametrize("port", ["host:1666", b"host:1666"])
@pytest.mark.parametrize("workdir", ["'build'", "u'build'"])
def test_a_tree_of_perforce_is_the_same_whatever_kind_its_texts_are(port: Value, workdir: str) -> None:
    old = MADE_OF["p4"].replace("'build'", workdir)
    conversation = talk_again("p4", {"p4port": port}, files={SOURCEDATA: old}).finish_all()
    assert ("removing" not in conversation.header) == (workdir == "'build'" or port == b"host:1666")
    assert conversation.host.read(SOURCEDATA).decode() == MADE_OF["p4"]


@pytest.mark.parametrize("old", [f"{WORKDIR}/.buildbot-sourcedata", f"{BASE}/.buildbot-sourcedata"])
def test_the_file_about_the_tree_gets_its_present_name(old: str) -> None:
    conversation = talk("svn", files={old: MADE_OF["svn"], f"{WORKDIR}/.svn/entries": ""}).finish_all()
    assert conversation.commands[0].startswith("svn update")
    assert old not in conversation.host.paths
    assert conversation.host.read(SOURCEDATA).decode() == MADE_OF["svn"]


@pytest.mark.parametrize(("posix", "meant"), [(False, "/repo\n"), (True, "/repo\r\n")])
def test_on_windows_a_line_of_the_own_slave_ends_otherwise(posix: bool, meant: str) -> None:
    context = attrs.evolve(BYTES, directory="C:\\slave\\linux", posix=posix)
    ws = Workspace(options_of(SourceArguments({"workdir": "build"}, context)), context)
    read = ws.read("file")
    assert next(read) == ReadFile("file", 0, LONGEST)
    with pytest.raises(StopIteration) as end:
        read.send(b"/repo\r\n")
    assert end.value.value == meant


def test_secrets_are_not_shown() -> None:
    for system, arguments in (("svn", {"password": "secret"}), ("p4", {"p4passwd": "secret"})):
        conversation = talk(system, arguments).finish_all()
        assert any("secret" in command for command in conversation.commands)
        assert "secret" not in conversation.header
        assert "XXXX" in conversation.header


def test_what_programs_read() -> None:
    conversation = talk("cvs", {"login": "secret"}).finish_all()
    assert [spawn.stdin for spawn in conversation.spawned] == [b"secret\n", b""]
    views: Value = [["//depot/more", "/more"]]
    conversation = talk(
        "p4", {"branch": "trunk", "p4extra_views": views, "p4user": "mé", "p4line_end": "unix"}
    ).finish_all()
    assert conversation.spawned[0].stdin.decode("ascii").split("\n\n") == [
        "Client: client",
        "Owner: m",
        "Description: \n\tCreated by m",
        f"Root: {BASE}",
        "Options: allwrite rmdir",
        "LineEnd: unix",
        "View: \n\t//depot/trunk/... //client/build/...\n\t//depot/more/... //client/build/more/...\n",
    ]


def test_what_is_read_by_us_is_in_english() -> None:
    conversation = talk("svn").finish_all()
    assert all(spawn.environ[b"LC_MESSAGES"] == b"C" for spawn in conversation.spawned)


def test_purged_is_what_subversion_would_speak_of() -> None:
    files = {f"{WORKDIR}/junk": "", f"{WORKDIR}/kept": "", f"{WORKDIR}/fine": ""}
    conversation = talk_again("svn", {"always_purge": True, "keep_on_purge": ["kept"]}, files=files).finish_all()
    assert {f"{WORKDIR}/kept", f"{WORKDIR}/fine"} <= conversation.host.paths
    assert f"{WORKDIR}/junk" not in conversation.host.paths
    assert SendText("stdout", f"{WORKDIR}/junk\n") in conversation.run.said


def test_subversion_says_names_in_utf_8() -> None:
    said = {"svn status": Says('<status><entry path="\xe9"><wc-status item="unversioned"/></entry></status>')}
    context = attrs.evolve(BYTES, encoding="latin-1")
    files = {f"{WORKDIR}/\xe9": ""}
    conversation = talk_again("svn", {"always_purge": True}, files=files, said=said, context=context).finish_all()
    assert f"{WORKDIR}/\xe9" not in conversation.host.paths
    assert conversation.commands[1].startswith("svn update")


def test_a_reference_is_known_to_the_new_repository() -> None:
    conversation = talk("git", {"reference": "/mirror"}).finish_all()
    assert conversation.host.read(f"{WORKDIR}/.git/objects/info/alternates") == b"/mirror/objects\n"


def test_downloads_are_told() -> None:
    conversation = talk("repo", {"repo_downloads": ["project 3964/7", "project 3964/8"]}).finish_all()
    assert conversation.sent("repo_downloaded") == ["3964/7 1234abc 3964/7 1234abc"]


@pytest.mark.parametrize(("root", "where"), [(None, WORKDIR), ("", WORKDIR), ("sub/dir", f"{WORKDIR}/sub/dir")])
def test_a_patch_is_applied_in_its_root(root: str | None, where: str) -> None:
    conversation = talk_again("git", {"patch": [2, "--- a\n", root]}).finish_all()
    assert conversation.commands[-1] == APPLY.replace("-p1", "-p2")
    assert conversation.spawned[-1].directory == where
    assert conversation.host.read(f"{WORKDIR}/.buildbot-patched") == b"patched\n"
    assert not any(path.endswith(".buildbot-diff") for path in conversation.host.paths)


# -- the tree alone


@pytest.mark.parametrize("name", ["git, all of it", "git, another branch", "git, shallow", "repo"])
def test_git_looks_for_no_repository_above_the_tree(name: str) -> None:
    strange = {"GIT_DIR": "/precious/.git", "GIT_WORK_TREE": "/precious", "GIT_INDEX_FILE": "i", "GIT_COMMON_DIR": "c"}
    context = attrs.evolve(BYTES, environ={**BYTES.environ, **strange})
    for spawn in CASES[name].talk(context=context).finish_all().spawned:
        if spawn.argv[0] in (b"/bin/git", b"/bin/repo"):
            assert not {variable.encode() for variable in strange} & set(spawn.environ)
            if spawn.directory.startswith(WORKDIR):
                assert spawn.environ[b"GIT_CEILING_DIRECTORIES"] == BASE.encode()


@pytest.mark.parametrize(
    ("system", "left"),
    [
        ("git", f"{BASE}/build/file"),
        ("svn", f"{WORKDIR}/.svn/pristine/x"),
        ("hg", f"{BASE}/build/file"),
        ("bzr", f"{WORKDIR}/.bzr/checkout/x"),
        ("darcs", f"{BASE}/build/file"),
        ("repo", f"{WORKDIR}/.repo/manifests/x"),
    ],
)
def test_a_damaged_tree_is_brought_anew(system: str, left: str) -> None:
    """Of each system without what it knows its tree by; a program that runs there would find the tree above."""
    conversation = talk(system, files={SOURCEDATA: MADE_OF[system], left: ""}).finish_all()
    assert f"removing {WORKDIR}\n" in conversation.header
    assert conversation.sent("rc") == [0]


@pytest.mark.parametrize("above", [BASE, "/slave", "/"])
def test_repo_makes_no_tree_inside_of_another_one(above: str) -> None:
    mark = f"{above.rstrip('/')}/.repo/repo/main.py"
    conversation = talk("repo", {"retry": [1, 3]}, files={mark: ""}).finish_all()
    assert not conversation.commands
    assert conversation.sent("rc") == [-1]
    assert f"{above} is a tree of repo, which would be changed instead of one in it\n" in conversation.header


UPDATES: Mapping[str, tuple[str, str]] = {
    "git": ("git fetch", "git ls-remote"),
    "svn": ("svn update", "svn info"),
    "hg": ("hg pull", "hg identify --id /repo"),
    "bzr": ("bzr update", "bzr revno"),
    "darcs": ("darcs pull", "darcs changes --last"),
    "repo": ("repo sync", "git ls-remote"),
}
"""The program that fails when a tree cannot be updated, and the one that tells whether the repository answers."""


@pytest.mark.parametrize("system", UPDATES)
def test_a_repository_that_does_not_answer_costs_no_tree(system: str) -> None:
    said = {words: Says(code=9) for words in UPDATES[system]}
    conversation = talk_again(system, {"retry": [60, 2]}, said=said).finish_all()
    assert "removing" not in conversation.header
    assert conversation.header.count("the repository does not answer; the tree stays as it is\n") == 3
    assert conversation.sent("rc") == [9]
    assert conversation.elapsed == 120
    assert conversation.host.read(SOURCEDATA).decode() == MADE_OF[system]


@pytest.mark.parametrize("system", UPDATES)
def test_a_tree_that_cannot_be_updated_is_brought_anew_if_the_repository_answers(system: str) -> None:
    update, _ = UPDATES[system]
    conversation = talk_again(system, said={update: Says(code=9)}).finish_all()
    assert conversation.header.count(f"removing {WORKDIR}\n") == 1


@pytest.mark.parametrize(
    ("system", "program", "told"),
    [
        ("git", "git fetch", "fatal: detected dubious ownership in repository at '/slave/linux/build'"),
        ("git", "git fetch", "fatal: unsafe repository ('/slave/linux/build' is owned by someone else)"),
        ("git", "git clean", "fatal: detected dubious ownership in repository at '/slave/linux/build'"),
        ("svn", "svn update", "svn: E155021: This client is too old to work with the working copy at '.'"),
    ],
)
def test_a_tree_that_a_program_refuses_to_work_in_stays(system: str, program: str, told: str) -> None:
    said = {program: Says(err=told, code=128)}
    conversation = talk_again(system, said=said, files=PATCHED if "clean" in program else {}).finish_all()
    assert "removing" not in conversation.header
    assert conversation.sent("rc") == [-1]


def test_a_working_copy_of_an_older_subversion_is_upgraded() -> None:
    told = Says(err="svn: E155036: Working copy '.' is too old (format 10, created by Subversion 1.6)", code=1)
    conversation = talk_again("svn", {"always_purge": True}, said={"svn status": told})
    live = conversation.live

    def upgraded(child: int, effect: Any) -> None:
        conversation.says["svn status"] = Says("<status/>")
        live(child, effect)

    conversation.live = lambda child, effect: (upgraded if b"upgrade" in effect.argv else live)(child, effect)  # type: ignore[method-assign]
    conversation.finish_all()
    assert conversation.commands == [
        "svn status --xml --no-ignore",
        "svn upgrade",
        "svn status --xml --no-ignore",
        "svn update --revision HEAD",
        "svnversion .",
    ]
    assert conversation.sent("rc") == [0]


@pytest.mark.parametrize("mode", ["update", "copy", "clobber"])
def test_a_tree_that_is_being_removed_is_no_longer_taken_for_a_whole_one(mode: str) -> None:
    """The file that tells what it was made of is gone first, and comes again once a tree is there."""
    source = f"{BASE}/source" if mode == "copy" else WORKDIR
    data = f"{BASE}/.buildbot-sourcedata-{'c291cmNl' if mode == 'copy' else 'YnVpbGQ='}"
    conversation = talk("bk", {"mode": mode}, files={data: "another", f"{source}/BK/parent": ""})
    while not any(begun == Begin(RemoveTree(source)) for begun in conversation.run.begun.values()):
        conversation.go_once()
    assert data not in conversation.host.paths
    conversation.finish_all()
    assert conversation.host.read(data).decode() == MADE_OF["bk"]


# -- what goes wrong


@pytest.mark.parametrize("system", ARGUMENTS)
def test_a_program_that_is_not_there(system: str) -> None:
    conversation = talk(system, {"retry": [3, 5]}, installed=()).finish_all()
    assert conversation.sent("rc") == [-1]
    name = {"p4sync": "p4"}.get(system, system)
    assert SendText("stderr", f"could not find '{name}'\nPATH is '/bin'\n") in conversation.run.said
    assert not conversation.commands


def test_what_is_no_program_is_not_run() -> None:
    conversation = talk("bk", installed=(), files={"/bin/bk": "no program"}).finish_all()
    assert conversation.sent("rc") == [-1]


def test_a_failing_update_makes_a_new_tree() -> None:
    conversation = talk_again("bk", said={"bk pull": Says(code=3)}).finish_all()
    assert conversation.commands == ["bk pull", "bk clone /repo build", "bk changes -r+ -d:REV:"]
    assert (
        f"update failed, clobbering and trying again\nremoving {WORKDIR}\nnow retrying VC operation\n"
        in conversation.header
    )
    assert conversation.sent("rc") == [0]


@pytest.mark.parametrize("told", ["fatal: couldn't find remote ref none", "Couldn't find remote ref none"])
def test_a_branch_that_is_nowhere_costs_no_tree(told: str) -> None:
    conversation = talk_again("git", said={"git fetch": Says(err=told, code=128)}).finish_all()
    assert conversation.commands == ["git fetch -t /repo +main"]
    assert conversation.sent("rc") == [-1]
    assert "removing" not in conversation.header


@pytest.mark.parametrize("told", ["Automatic cherry-pick failed.", "error: Automatic revert failed"])
@pytest.mark.parametrize("code", [0, 1])
def test_a_change_that_cannot_be_merged_costs_no_tree(told: str, code: int) -> None:
    said = {"repo download": Says(err=told, code=code)}
    conversation = talk_again("repo", {"repo_downloads": ["project 1/1"], "retry": [1, 1]}, said=said).finish_all()
    assert conversation.commands[-2:] == ["repo download project 1/1", "repo forall -c git diff HEAD"]
    assert conversation.sent("rc") == [-1]
    assert "removing" not in conversation.header
    assert "the changeset project 1/1 cannot be merged\n" in conversation.header


@pytest.mark.parametrize(
    ("retry", "times", "seconds"),
    [(None, 0, 0.0), ([], 0, 0.0), ([5, 0], 0, 0.0), ((5, 2), 2, 10.0), ([0.5, 1], 1, 0.5)],
)
def test_a_failure_is_repeated_as_often_as_wanted(retry: Value, times: int, seconds: float) -> None:
    conversation = talk("bk", {"retry": retry}, said={"bk clone": Says(code=7)}).finish_all()
    assert conversation.commands == ["bk clone /repo build"] * (times + 1)
    assert conversation.sent("rc") == [7]
    assert conversation.header.count("update failed, trying ") == times
    assert conversation.sent("got_revision") == []
    assert SOURCEDATA not in conversation.host.paths
    assert conversation.elapsed == seconds


def test_a_failing_patch_is_a_failure() -> None:
    conversation = talk_again("bk", {"patch": PATCH}, said={"patch": Says(code=1)}).finish_all()
    assert conversation.sent("rc") == [1]
    assert conversation.sent("got_revision") == ["1.42"]


def test_an_interrupted_pause_is_over_at_once() -> None:
    conversation = talk("bk", {"retry": [3600, 5]}, said={"bk clone": Says(code=7)})
    while not any("trying" in str(said) for said in conversation.run.said):
        conversation.go_once()
    conversation.run.tell(Interrupted("stop"))
    conversation.finish_all()
    assert conversation.sent("rc") == [-1]
    assert conversation.elapsed == 0
    assert len(conversation.commands) == 1


@pytest.mark.parametrize(
    ("system", "said", "code"),
    [
        ("svn", {"svn status": Says("no XML")}, -1),
        ("svn", {"svn status": Says("<status>." + "\xe9" * (KEPT // 2))}, -1),
        ("svn", {"svn status": Says(code=1)}, 1),
        ("hg", {"hg identify --num": Says(code=255)}, -1),
        ("hg", {"hg identify --num": Says("what")}, -1),
    ],
)
def test_answers_that_make_no_sense(system: str, said: Mapping[str, Says], code: int) -> None:
    conversation = talk_again(system, {"always_purge": True}, said=said).finish_all()
    assert conversation.header.count("update failed, clobbering") == 1
    assert conversation.sent("rc") == [code if system == "hg" else 0]


def test_an_export_that_does_not_know_its_revision_fails() -> None:
    conversation = talk("svn", {"mode": "export"}, said={"svn info": Says("nothing")}).finish_all()
    assert conversation.sent("rc") == [-1]


@pytest.mark.parametrize(("size", "sent"), [(SIZE_LIMIT, 1), (SIZE_LIMIT + 1, 0)])
def test_a_context_that_no_message_can_carry(size: int, sent: int) -> None:
    context = "x" * size
    conversation = talk("darcs", said={"darcs changes": Says(context)}).finish_all()
    assert conversation.sent("got_revision") == [context if sent else None]
    assert conversation.sent("rc") == [0]
    assert conversation.header.count("the context is too long to be sent\n") == 1 - sent


def test_a_database_that_is_too_new() -> None:
    conversation = talk("mtn", said={"db info": Says("schema version: 99 (too new, cannot use)")})
    conversation.go(-1, lambda _: False)
    assert conversation.run.said[-1] == Ended("builtins.RuntimeError", "the database is too new for this mtn")


def test_a_limit_ends_one_program_and_not_the_next() -> None:
    """A timer of the program that was ended would otherwise end the one that follows."""
    conversation = talk_again("bk", {"timeout": 3})
    hang = conversation.live

    def first_hangs(child: int, effect: Any) -> None:
        conversation.live = hang  # type: ignore[method-assign]
        conversation.commands.append("hangs")

    conversation.live = first_hangs  # type: ignore[method-assign]
    conversation.finish_all()
    assert conversation.commands == ["hangs", "bk clone /repo build", "bk changes -r+ -d:REV:"]
    assert "command timed out: 3 seconds without output" in conversation.header
    assert conversation.sent("rc") == [0]


def test_an_interrupt_during_the_end_of_what_took_too_long() -> None:
    """The update has failed already, but nobody wants a new tree any more."""
    conversation = talk_again("svn", {"always_purge": True, "timeout": 3})
    while not any(isinstance(begun, Begin) for begun in conversation.run.begun.values()):
        conversation.go_once()
    conversation.run.pass_time(3.0)
    assert isinstance(conversation.run.waits_for, Cancel)
    conversation.run.tell(Interrupted("stop"))
    conversation.finish_all()
    assert conversation.commands == ["svn status --xml --no-ignore"]
    assert conversation.sent("rc") == [-1]


# -- arguments


@pytest.mark.parametrize("context", [BYTES, TEXT])
@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "sideways"},
        {"mode": ["update"]},
        {"revision": 1.5},
        {"revision": True},
        {"timeout": "soon"},
        {"maxTime": -1},
        {"retry": 5},
        {"retry": ["soon", 1]},
        {"retry": [1, -1]},
        {"retry": [1]},
        {"patch": "text"},
        {"patch": ["1", "diff"]},
        {"patch": [-1, "diff"]},
        {"patch": [1, ["diff"]]},
        {"patch": [1, "diff", "..", "more"]},
        {"patch": [1, "diff", "../outside"]},
        {"patch": [1, "diff", "/outside"]},
        {"patch": [1, "diff", "../build2"]},
        {"patch": [1, "diff", 5]},
        {"workdir": None},
        {"workdir": 5.0},
    ],
    ids=str,
)
def test_wrong_arguments(wrong: Mapping[str, Value], context: Any) -> None:
    with pytest.raises(CommandError):
        make_script("git", {"workdir": "build", "repourl": "/repo", **wrong}, context, COMMANDS)


@pytest.mark.parametrize(
    ("system", "wrong"),
    [
        ("git", {"repourl": 1.5}),
        ("svn", {"keep_on_purge": "file"}),
        ("svn", {"extra_args": [5]}),
        ("p4", {"p4extra_views": "text"}),
        ("p4", {"p4extra_views": [["one"]]}),
        ("p4", {"p4extra_views": [["one", 2]]}),
        ("repo", {"repo_downloads": {"a": "b"}}),
    ],
)
def test_wrong_arguments_of_a_system(system: str, wrong: Mapping[str, Value]) -> None:
    with pytest.raises(CommandError):
        make_script(system, {"workdir": "build", **ARGUMENTS[system], **wrong}, BYTES, COMMANDS)


@pytest.mark.parametrize("system", ARGUMENTS)
def test_missing_arguments(system: str) -> None:
    with pytest.raises(CommandError, match=f"{system} is missing args: workdir"):
        make_script(system, {}, BYTES, COMMANDS)


def test_every_program_is_used() -> None:
    used = {command.split()[0] for case in CASES.values() for command in case.runs}
    assert used == set(PROGRAMS)
