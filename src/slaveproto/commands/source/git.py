"""Git. Source: `commands/git.py` of buildslave 0.8.4 and 0.8.14.

Rules. Git looks for its repository in the directories above, too, and a tree whose `.git` is damaged has none of its
own. So the search ends at the tree (`bound`): what Git then finds there, or not, is the only thing that it can touch.
"""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import BOTH, SourceFailed, Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

ELSEWHERE: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")
"""Environment variables that lead Git to another tree than that of the directory where it runs."""

_HASH: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Git(System):
    """A tree that Git brings: it may come from any branch, so another branch is no reason for a new tree."""

    operation = "git operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("repourl")
        self._branch = args.text("branch") or "master"
        self._fetched = args.text("gerrit_branch") or self._branch
        self._reference = args.text("reference")
        self._submodules = args.flag("submodules")
        self._shallow = args.flag("shallow") and not ws.options.revision
        self._progress = ("--progress",) if args.flag("progress") else ()
        self._clean = ("clean", "-f", "-d", *(("-x",) if args.flag("ignore_ignores", True) else ()))
        self._complaint = ""
        self.sourcedata = f"{self._url} {self._branch}\n"

    def is_updateable(self) -> Script[bool]:
        return self._ws.is_directory(self._ws.source(".git"))

    def matches(self, old: str | None) -> bool:
        return old is not None

    def update(self) -> Script[int]:
        old = yield from self._ws.read(self._ws.sourcedata)
        if (old is not None and old != self.sourcedata) or (yield from self._ws.is_patched()):
            yield from self._must(*self._clean)
        revision = self._ws.options.revision
        if revision:
            try:
                yield from self._must("reset", "--hard", revision)
                return (yield from self._update_submodules())
            except SourceFailed as end:
                if end.final:
                    raise
                # It may be on its way.
        yield from self._ws.say(f"fetching branch {self._fetched} from {self._url}")
        yield from self._must("fetch", "-t", self._url, f"+{self._fetched}", *self._progress)
        yield from self._must("reset", "--hard", revision or "FETCH_HEAD")
        # It fails where a build left the tree without a branch, and nothing depends on it.
        yield from self._git("branch", "-M", self._branch)
        return (yield from self._update_submodules())

    def check_out(self) -> Script[int]:
        ws = self._ws
        if self._shallow:
            reference = ("--reference", self._reference) if self._reference else ()
            clone = ("git", "clone", "--depth", "1", *reference, self._url, ws.source())
            yield from ws.must(ws.run(*clone, without=ELSEWHERE))
        else:
            yield from ws.make(ws.source())
            yield from self._must("init")
        if self._reference:
            objects = ws.context.joined(self._reference, "objects")
            yield from ws.write(ws.source(".git", "objects", "info", "alternates"), f"{objects}\n")
        return (yield from self.update())

    def is_hopeless(self) -> bool:
        return names_no_ref(self._complaint) or refuses_owner(self._complaint)

    def is_reachable(self) -> Script[bool]:
        return (yield from answers(self._url, self._ws))

    def revision(self) -> Script[Value]:
        text = self._ws.output((yield from self._must("rev-parse", "HEAD"))).strip()
        return text if _HASH.fullmatch(text) else None

    def _update_submodules(self) -> Script[int]:
        if not self._submodules:
            return 0
        yield from self._must("submodule", "init")
        yield from self._must("submodule", "update")
        return (yield from self._git("submodule", "foreach", "git", *self._clean)).code

    def _git(self, *words: str) -> Script[ProcessEnd]:
        ended = yield from self._ws.run(
            "git", *words, directory=self._ws.source(), keep=BOTH, variables=bound(self._ws), without=ELSEWHERE
        )
        self._complaint = self._ws.output(ended, "stderr")
        return ended

    def _must(self, *words: str) -> Script[ProcessEnd]:
        return self._ws.must(self._git(*words))


def bound(ws: Workspace) -> dict[str, str]:
    """Return the variables for which Git looks for a repository in the tree and not above it."""
    return {"GIT_CEILING_DIRECTORIES": ws.source("..")}


def answers(url: str, ws: Workspace) -> Script[bool]:
    """Return whether a repository of Git's can be read."""
    asked = yield from ws.run("git", "ls-remote", url, "HEAD", send=("stderr",), variables=bound(ws), without=ELSEWHERE)
    return asked.code == 0


def refuses_owner(complaint: str) -> bool:
    """Whether Git, since 2.35.2, does not work in a tree because it is another user's."""
    return "dubious ownership" in complaint or "unsafe repository" in complaint


def names_no_ref(complaint: str) -> bool:
    """Whether Git says that there is no such branch over there. Old ones say it with a capital."""
    return "couldn't find remote ref" in complaint.lower()
