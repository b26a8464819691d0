"""Git. Source: `commands/git.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import SourceFailed, Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

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
        fetched = yield from self._git("fetch", "-t", self._url, f"+{self._fetched}", *self._progress, keep=True)
        self._complaint = self._ws.output(fetched, "stderr")
        self._ws.require(fetched)
        yield from self._must("reset", "--hard", revision or "FETCH_HEAD")
        # It fails where a build left the tree without a branch, and nothing depends on it.
        yield from self._git("branch", "-M", self._branch)
        return (yield from self._update_submodules())

    def check_out(self) -> Script[int]:
        ws = self._ws
        if self._shallow:
            reference = ("--reference", self._reference) if self._reference else ()
            clone = ws.run("git", "clone", "--depth", "1", *reference, self._url, ws.source())
            yield from ws.must(clone)
        else:
            yield from ws.make(ws.source())
            yield from self._must("init")
        if self._reference:
            objects = ws.context.joined(self._reference, "objects")
            yield from ws.write(ws.source(".git", "objects", "info", "alternates"), f"{objects}\n")
        return (yield from self.update())

    def is_hopeless(self) -> bool:
        return names_no_ref(self._complaint)

    def revision(self) -> Script[Value]:
        told = yield from self._ws.must(
            self._ws.run("git", "rev-parse", "HEAD", directory=self._ws.source(), keep=("stdout",))
        )
        text = self._ws.output(told).strip()
        return text if _HASH.fullmatch(text) else None

    def _update_submodules(self) -> Script[int]:
        if not self._submodules:
            return 0
        yield from self._must("submodule", "init")
        yield from self._must("submodule", "update")
        return (yield from self._git("submodule", "foreach", "git", *self._clean)).code

    def _git(self, *words: str, keep: bool = False) -> Script[ProcessEnd]:
        return self._ws.run("git", *words, directory=self._ws.source(), keep=("stderr",) if keep else ())

    def _must(self, *words: str) -> Script[ProcessEnd]:
        return self._ws.must(self._git(*words))


def names_no_ref(complaint: str) -> bool:
    """Whether Git says that there is no such branch over there. Old ones say it with a capital."""
    return "couldn't find remote ref" in complaint.lower()
