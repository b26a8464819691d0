"""Bazaar, and Breezy under its name. Source: `commands/bzr.py` of buildslave 0.8.4 and 0.8.14.

Rules. Bazaar takes the tree of a directory above if `.bzr/branch-format` is missing here, and only then.
"""

from __future__ import annotations

import re

from slaveproto.commands.source.options import Mode, SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

TEMPORARY = "export-temp"


class Bazaar(System):
    """A checkout, or in the mode EXPORT a tree without one."""

    operation = "bzr operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("repourl")
        self._shared = args.flag("forceSharedRepo")
        revision = ws.options.revision
        self._which = ("--revision", revision) if revision else ()
        self._exported: Value = None
        self.sourcedata = f"{self._url}\n"

    def prepare(self) -> Script[None]:
        if self._shared:
            # There may be none yet; that is no mistake, and the log does not mention it.
            found = yield from self._ws.run("bzr", "info", ".", send=("stdout",), limits=())
            if found.code:
                yield from self._ws.must(self._ws.run("bzr", "init-repo", ".", limits=()))

    def is_updateable(self) -> Script[bool]:
        if self._which or (yield from self._ws.is_patched()):
            return False
        return (yield from self._ws.is_file(self._ws.source(".bzr", "branch-format")))

    def update(self) -> Script[int]:
        return (yield from self._ws.run("bzr", "update", directory=self._ws.source())).code

    def check_out(self) -> Script[int]:
        if self._ws.options.mode is Mode.EXPORT:
            return (yield from self._export())
        return (yield from self._ws.run("bzr", "checkout", *self._which, self._url, self._ws.source_name)).code

    def is_reachable(self) -> Script[bool]:
        return (yield from self._ws.run("bzr", "revno", self._url, send=("stderr",))).code == 0

    def revision(self) -> Script[Value]:
        if self._ws.options.mode is Mode.EXPORT:
            return self._exported
        return (yield from self._revision_of(self._ws.source()))

    def _export(self) -> Script[int]:
        temporary = self._ws.at(TEMPORARY)
        if (yield from self._ws.is_directory(temporary)):
            yield from self._ws.remove(temporary)
        checkout = ("bzr", "checkout", "--lightweight", *self._which, self._url, temporary)
        yield from self._ws.must(self._ws.run(*checkout))
        self._exported = yield from self._revision_of(temporary)
        exported = yield from self._ws.run("bzr", "export", self._ws.source(), directory=temporary)
        yield from self._ws.remove(temporary)
        return exported.code

    def _revision_of(self, directory: str) -> Script[Value]:
        told = yield from self._ws.ask("bzr", "version-info", directory=directory, limits=())
        found = re.search(r"^revno: (\d+)$", told, re.MULTILINE)
        if found is None:
            yield from self._ws.say(f"bzr version-info did not tell a revision: {told.strip()!r}")
            return None
        return int(found[1])
