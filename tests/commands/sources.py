"""Source commands on a host in memory: the output of version control programs there, and the trees that they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.effects import CreateTemp, PlaceFile, ProcessOutput, SendItem, SendText, Spawn
from slaveproto.testing import MemoryHost
from slaveproto.wire import Value
from tests.commands.conversation import Conversation
from tests.commands.support import BYTES, TEXT, WORKDIR

BASE: Final = "/slave/linux"
PROGRAMS: Final = (
    *("git", "svn", "svnversion", "cvs", "hg", "bzr", "darcs", "mtn", "repo", "p4", "bk"),
    *("patch", "tar", "wget", "cp", "ln"),
)
REVISION: Final = "0123456789abcdef0123456789abcdef01234567"
SOURCEDATA: Final = f"{BASE}/.buildbot-sourcedata-YnVpbGQ="
OPTIONS: Final = " --non-interactive --no-auth-cache"


@attrs.frozen
class Says:
    """What a program does: writes, leaves files behind, ends."""

    out: str = ""
    err: str = ""
    code: int = 0
    leaves: tuple[str, ...] = ()


Said = Mapping[str, Says]
"""The output of the program whose command line contains a text; the first match counts."""

USUAL: Final[Said] = {
    "git init": Says(leaves=(f"{WORKDIR}/.git/config",)),
    "git rev-parse": Says(f"{REVISION}\n"),
    "svnversion": Says("41:42M\n"),
    "svn status": Says(
        '<status><target path="."><entry path="junk"><wc-status item="unversioned"/></entry><entry path="kept">'
        '<wc-status item="unversioned"/></entry><entry path="gone"><wc-status item="missing"/>'
        "</entry></target></status>"
    ),
    "svn info": Says("Path: trunk\nRevision: 42\n"),
    "hg identify --num": Says("2 default\n"),
    "hg identify --id": Says(f"{REVISION}+\n"),
    "hg paths": Says("/repo\n"),
    "bzr version-info": Says("date: today\nrevno: 7\n"),
    "darcs changes": Says("Context:\n"),
    "mtn automate": Says(f"{REVISION}\n"),
    "changes -s": Says("Change 4711 on 2011/12/13 by me\n"),
    "bk changes": Says("1.42\n"),
    "repo download": Says(err=" * branch x refs/changes/64/3964/7 -> FETCH_HEAD\nHEAD is now at 1234abc... it\n"),
}


def install(host: MemoryHost, *names: str) -> None:
    """Put programs into /bin."""
    for name in names:
        temp = host.reply_to(CreateTemp(f"/bin/{name}"))
        assert isinstance(temp, str)
        host.reply_to(PlaceFile(temp, f"/bin/{name}", 0o755))


class SourceConversation(Conversation):
    """One source command.

    Args:
        name: of it.
        arguments: beside `workdir`.
        said: what programs say that do not say the usual.
        files: what is there, by path.
        installed: which programs there are.
        context: where it runs.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Value],
        *,
        said: Said | None = None,
        files: Mapping[str, str] | None = None,
        installed: Sequence[str] = PROGRAMS,
        context: CommandContext = BYTES,
    ) -> None:
        super().__init__(name, {"workdir": "build", "logEnviron": False, **arguments}, context=context)
        self.host.directories.add(BASE)
        install(self.host, *installed)
        for path, text in (files or {}).items():
            self.host.write(path, text.encode())
        self.says = {**(said or {}), **{words: says for words, says in USUAL.items() if words not in (said or {})}}
        """The output of the program whose command line contains a text; the first match counts."""
        self.commands: list[str] = []
        """The command lines, without the folder of the program, and without the options of every svn."""
        self.spawned: list[Spawn] = []
        self.elapsed = 0.0
        """Seconds that it took, once it is at its end."""

    def live(self, child: int, effect: Spawn) -> None:
        line = " ".join(word.decode() for word in effect.argv).removeprefix("/bin/").replace(OPTIONS, "")
        self.commands.append(line)
        self.spawned.append(effect)
        says = next((says for words, says in self.says.items() if words in line), Says())
        for path in says.leaves:
            self.host.write(path, b"")
        for stream, text in (("stdout", says.out), ("stderr", says.err)):
            if text:
                self.happenings.append(ProcessOutput(child, stream, text.encode()))
        for report in self.host.end(child, says.code):
            self.happens(report)

    def finish_all(self) -> SourceConversation:
        """Run undisturbed to the end."""
        self.go(-1, lambda _: False)
        self.elapsed = self.run.now
        self.check()
        self.check_children()
        return self

    def sent(self, key: str) -> list[Value]:
        """Return the updates of a kind."""
        return [said.value for said in self.run.said if isinstance(said, SendItem) and said.key == key]

    @property
    def header(self) -> str:
        """What the log says of the command."""
        texts = [said.text for said in self.run.said if isinstance(said, SendText) and said.stream == "header"]
        return "".join(text if isinstance(text, str) else text.decode() for text in texts)


PATCH: Final[Value] = [1, b"--- a\n+++ b\n"]
HAS: Final[Mapping[str, str]] = {
    "git": f"{WORKDIR}/.git/config",
    "svn": f"{WORKDIR}/.svn/entries",
    "cvs": f"{WORKDIR}/CVS/Entries",
    "hg": f"{WORKDIR}/.hg/requires",
    "bzr": f"{WORKDIR}/.bzr/branch-format",
    "darcs": f"{WORKDIR}/_darcs/format",
    "mtn": f"{WORKDIR}/_MTN/log",
    "repo": f"{WORKDIR}/.repo/repo/main.py",
    "bk": f"{WORKDIR}/BK/parent",
    "p4": f"{WORKDIR}/file",
}
"""The entry that shows that a system has a tree there."""

ARGUMENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "git": {"repourl": "/repo", "branch": "main"},
    "svn": {"svnurl": "/repo"},
    "cvs": {"cvsroot": "/repo", "cvsmodule": "module"},
    "hg": {"repourl": "/repo"},
    "bzr": {"repourl": "/repo"},
    "darcs": {"repourl": "/repo"},
    "mtn": {"repourl": "mtn://host/", "branch": "org.example"},
    "repo": {"manifest_url": "/repo", "manifest_branch": "main", "manifest_file": "a.xml"},
    "p4": {"p4port": b"host:1666", "p4client": b"client", "p4base": b"//depot/", "mode": b"update"},
    "p4sync": {"p4port": "host:1666"},
    "bk": {"bkurl": "/repo"},
}
"""The arguments of the simplest command of each system."""

MADE_OF: Final[Mapping[str, str]] = {
    "git": "/repo main\n",
    "svn": "/repo\n",
    "cvs": "/repo\nmodule\nNone\n",
    "hg": "/repo\n",
    "bzr": "/repo\n",
    "darcs": "/repo\n",
    "mtn": "mtn://host/?org.example",
    "repo": "/repo main a.xml",
    "p4": "['host:1666', 'client', '//depot/', None, None, None, '/slave/linux', 'update', 'build']",
    "p4sync": "",
    "bk": '"/repo\n"',
}
"""The origin of a tree that those arguments make, in the words of buildslave 0.8.4."""


def talk(system: str, arguments: Mapping[str, Value] | None = None, **options: Any) -> SourceConversation:
    """Return the conversation of a command that finds no tree."""
    return SourceConversation(system, {**ARGUMENTS[system], **(arguments or {})}, **options)


def talk_again(
    system: str, arguments: Mapping[str, Value] | None = None, *, files: Mapping[str, str] | None = None, **options: Any
) -> SourceConversation:
    """Return the conversation of a command that finds a tree which it can update."""
    there = {SOURCEDATA: MADE_OF[system], **({HAS[system]: ""} if system in HAS else {}), **(files or {})}
    return talk(system, arguments, files=there, **options)


PATCHED: Final[Mapping[str, str]] = {f"{WORKDIR}/.buildbot-patched": "patched\n"}

CONVERSATIONS: Final[Mapping[str, Callable[[], Conversation]]] = {
    **{f"new {system}": lambda system=system: talk(system) for system in ARGUMENTS},  # type: ignore[misc]
    **{f"old {system}": lambda system=system: talk_again(system) for system in ARGUMENTS},  # type: ignore[misc]
    **{f"4.x new {system}": lambda system=system: talk(system, context=TEXT) for system in ARGUMENTS},  # type: ignore[misc]
    "git in another tree": lambda: talk("git", {"mode": "copy", "patch": PATCH, "submodules": True}),
    "git that fails": lambda: talk("git", {"retry": [3, 1]}, said={"git fetch": Says(code=1)}),
    "patched svn": lambda: talk_again("svn", {"keep_on_purge": ["kept"]}, files=PATCHED),
    "cvs with a login": lambda: talk("cvs", {"login": "secret", "mode": "export"}),
    "patched hg": lambda: talk_again("hg", files=PATCHED, said={"hg purge": Says(code=255)}),
    "exporting bzr": lambda: talk("bzr", {"mode": "export", "forceSharedRepo": True}),
    "darcs of old": lambda: talk("darcs", {"revision": "context", "patch": PATCH}),
    "repo of another manifest": lambda: talk("repo", {"manifest_override_url": "http://host/m.xml"}),
    "downloading repo": lambda: talk("repo", {"repo_downloads": ["project 3964/7"], "tarball": "/slave/a.tgz"}),
}
