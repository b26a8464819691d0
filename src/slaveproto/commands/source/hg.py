"""Mercurial. Source: `commands/hg.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments, Mode
from slaveproto.commands.source.workspace import BOTH, Abandoned, Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

_NOBODY_IN: Final = re.compile(r"(?<=://)[^/@]*@")


class Mercurial(System):
    """A clone. A branch is a directory of its own (`dirname`), or a name in the repository (`inrepo`)."""

    operation = "mercurial operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._url = given.text("repourl")
        self._branch = given.text("branch", "default")
        self._clobbers = given.flag("clobberOnBranchChange", True)
        in_directories = given.text("branchType", "dirname") == "dirname"
        # A whole clone can be used again, unless it is to be thrown away next time.
        only_this = shop.wanted.revision and shop.wanted.mode is Mode.CLOBBER and in_directories
        self._only = ("--rev", shop.wanted.revision) if only_this else ()
        self.sourcedata = f"{self._url}\n"

    def is_updateable(self) -> Script[bool]:
        return self._shop.is_directory(self._shop.source(".hg"))

    def update(self) -> Script[int]:
        pulled = yield from self._hg("pull", "--verbose", self._url)
        # Before version 2 it was a failure that there was nothing to pull.
        if pulled.code and not (pulled.code == 1 and "no changes found" in self._shop.output(pulled)):
            return pulled.code
        return (yield from self._go_there(fresh=False))

    def bring(self) -> Script[int]:
        clone = ("hg", "clone", "--verbose", "--noupdate", *self._only, self._url, self._shop.source_name)
        cloned = yield from self._shop.run(*clone)
        return cloned.code or (yield from self._go_there(fresh=True))

    def revision(self) -> Script[Value]:
        told = yield from self._shop.ask("hg", "identify", "--id", "--debug", directory=self._shop.source(), send=BOTH)
        found = re.match(r"\w+", told)
        return None if found is None else found[0]

    def _go_there(self, *, fresh: bool) -> Script[int]:
        obstacle = yield from self._obstacle()
        other_source = yield from self._comes_from_elsewhere()
        if not fresh and (other_source or (obstacle and not (yield from self._purge()))):
            yield from self._shop.remove(self._shop.source())
            return (yield from self.bring())
        which = self._shop.wanted.revision or self._branch
        update = ("hg", "update", "--clean", "--repository", self._shop.source_name, "--rev", which)
        return (yield from self._shop.run(*update)).code

    def _obstacle(self) -> Script[bool]:
        """Whether what lies in the tree cannot stay."""
        told = yield from self._hg("identify", "--num", "--branch")
        if told.code:
            yield from self._shop.say("'hg identify' failed.")
            raise Abandoned(-1)
        found = re.match(r"(.+) (.+)$", self._shop.output(told), re.MULTILINE)
        if found is None:
            yield from self._shop.say("'hg identify' did not give a recognizable output")
            raise Abandoned(-1)
        revision, branch = found.groups()
        if revision == "-1":
            return False
        if (yield from self._shop.is_patched()):
            return True
        if branch == self._branch:
            return False
        what = "Clobbering." if self._clobbers else "Updating."
        yield from self._shop.say(
            f"Working dir is on in-repo branch '{branch}' and build needs '{self._branch}'. {what}"
        )
        return self._clobbers

    def _comes_from_elsewhere(self) -> Script[bool]:
        told = yield from self._hg("paths", "default")
        return told.code == 0 and _bare(self._shop.output(told).strip()) != _bare(self._url)

    def _purge(self) -> Script[bool]:
        """Remove what is not Mercurial's; whether that was possible."""
        purge = self._shop.run(
            "hg", "purge", "--all", directory=self._shop.source(), keep=("stdout", "stderr"), limits=()
        )
        purged = yield from purge
        if purged.code:
            said = f"{self._shop.output(purged)}\n{self._shop.output(purged, 'stderr')}"
            yield from self._shop.say(f"'hg purge' failed: {said}. Clobbering.")
        return purged.code == 0

    def _hg(self, *words: str) -> Script[ProcessEnd]:
        # Only what may take long has a limit as a whole.
        asks = words[0] in ("identify", "paths")
        return self._shop.run(
            "hg",
            *words,
            directory=self._shop.source(),
            keep=("stdout", "stderr"),
            limits=("silence",) if asks else ("silence", "lifetime"),
        )


def _bare(url: str) -> str:
    """Return an address without what may differ although it is the same."""
    return _NOBODY_IN.sub("", url).removeprefix("file://").rstrip("/")
