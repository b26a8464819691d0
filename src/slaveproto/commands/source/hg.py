"""Mercurial. Source: `commands/hg.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.options import Mode, SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import BOTH, SourceFailed, Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

_NOBODY_IN: Final = re.compile(r"(?<=://)[^/@]*@")


class Mercurial(System):
    """A clone. A branch is a directory of its own (`dirname`), or a name in the repository (`inrepo`)."""

    operation = "mercurial operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("repourl")
        self._branch = args.text("branch", "default")
        self._clobbers = args.flag("clobberOnBranchChange", True)
        in_directories = args.text("branchType", "dirname") == "dirname"
        # A whole clone can be used again, unless it is to be thrown away next time.
        only_this = ws.options.revision and ws.options.mode is Mode.CLOBBER and in_directories
        self._only = ("--rev", ws.options.revision) if only_this else ()
        self.sourcedata = f"{self._url}\n"

    def is_updateable(self) -> Script[bool]:
        return self._ws.is_directory(self._ws.source(".hg"))

    def update(self) -> Script[int]:
        pulled = yield from self._hg("pull", "--verbose", self._url)
        # Before version 2 it was a failure that there was nothing to pull.
        if pulled.code and not (pulled.code == 1 and "no changes found" in self._ws.output(pulled)):
            return pulled.code
        return (yield from self._go_there(fresh=False))

    def check_out(self) -> Script[int]:
        clone = ("hg", "clone", "--verbose", "--noupdate", *self._only, self._url, self._ws.source_name)
        cloned = yield from self._ws.run(*clone)
        return cloned.code or (yield from self._go_there(fresh=True))

    def is_reachable(self) -> Script[bool]:
        return (yield from self._ws.run("hg", "identify", "--id", self._url, send=("stderr",))).code == 0

    def revision(self) -> Script[Value]:
        told = yield from self._ws.ask("hg", "identify", "--id", "--debug", directory=self._ws.source(), send=BOTH)
        found = re.match(r"\w+", told)
        return None if found is None else found[0]

    def _go_there(self, *, fresh: bool) -> Script[int]:
        obstacle = yield from self._obstacle()
        other_source = yield from self._comes_from_elsewhere()
        if not fresh and (other_source or (obstacle and not (yield from self._purge()))):
            yield from self._ws.clear(self._ws.source_name)
            return (yield from self.check_out())
        which = self._ws.options.revision or self._branch
        update = ("hg", "update", "--clean", "--repository", self._ws.source_name, "--rev", which)
        return (yield from self._ws.run(*update)).code

    def _obstacle(self) -> Script[bool]:
        """Whether the tree that is there cannot stay."""
        told = yield from self._hg("identify", "--num", "--branch")
        if told.code:
            yield from self._ws.say("'hg identify' failed.")
            raise SourceFailed(-1)
        found = re.match(r"(.+) (.+)$", self._ws.output(told), re.MULTILINE)
        if found is None:
            yield from self._ws.say("'hg identify' did not give a recognizable output")
            raise SourceFailed(-1)
        revision, branch = found.groups()
        if revision == "-1":
            return False
        if (yield from self._ws.is_patched()):
            return True
        if branch == self._branch:
            return False
        what = "Clobbering." if self._clobbers else "Updating."
        yield from self._ws.say(f"Working dir is on in-repo branch '{branch}' and build needs '{self._branch}'. {what}")
        return self._clobbers

    def _comes_from_elsewhere(self) -> Script[bool]:
        told = yield from self._hg("paths", "default")
        return told.code == 0 and _bare(self._ws.output(told).strip()) != _bare(self._url)

    def _purge(self) -> Script[bool]:
        """Remove everything that is not Mercurial's; return whether that was possible."""
        purge = self._ws.run("hg", "purge", "--all", directory=self._ws.source(), keep=("stdout", "stderr"), limits=())
        purged = yield from purge
        if purged.code:
            said = f"{self._ws.output(purged)}\n{self._ws.output(purged, 'stderr')}"
            yield from self._ws.say(f"'hg purge' failed: {said}. Clobbering.")
        return purged.code == 0

    def _hg(self, *words: str) -> Script[ProcessEnd]:
        # Only what may take long has a limit as a whole.
        asks = words[0] in ("identify", "paths")
        return self._ws.run(
            "hg",
            *words,
            directory=self._ws.source(),
            keep=("stdout", "stderr"),
            limits=("silence",) if asks else ("silence", "lifetime"),
        )


def _bare(url: str) -> str:
    """Return an address without the parts that may differ between spellings of the same one."""
    return _NOBODY_IN.sub("", url).removeprefix("file://").rstrip("/")
