"""Bazaar, and Breezy under its name. Source: `commands/bzr.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re

from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments, Mode
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value

TEMPORARY = "export-temp"


class Bazaar(System):
    """A checkout, or in the mode EXPORT a tree without one."""

    operation = "bzr operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._url = given.text("repourl")
        self._shared = given.flag("forceSharedRepo")
        revision = shop.wanted.revision
        self._which = ("--revision", revision) if revision else ()
        self._exported: Value = None
        self.sourcedata = f"{self._url}\n"

    def prepare(self) -> Script[None]:
        if self._shared:
            # That there is none yet is no mistake, so nobody needs to read of it.
            found = yield from self._shop.run("bzr", "info", ".", send=("stdout",), limits=())
            if found.code:
                yield from self._shop.must(self._shop.run("bzr", "init-repo", ".", limits=()))

    def is_updateable(self) -> Script[bool]:
        if self._which or (yield from self._shop.is_patched()):
            return False
        return (yield from self._shop.is_directory(self._shop.source(".bzr")))

    def update(self) -> Script[int]:
        return (yield from self._shop.run("bzr", "update", directory=self._shop.source())).code

    def bring(self) -> Script[int]:
        if self._shop.wanted.mode is Mode.EXPORT:
            return (yield from self._export())
        return (yield from self._shop.run("bzr", "checkout", *self._which, self._url, self._shop.source_name)).code

    def revision(self) -> Script[Value]:
        if self._shop.wanted.mode is Mode.EXPORT:
            return self._exported
        return (yield from self._revision_of(self._shop.source()))

    def _export(self) -> Script[int]:
        temporary = self._shop.at(TEMPORARY)
        if (yield from self._shop.is_directory(temporary)):
            yield from self._shop.remove(temporary)
        checkout = ("bzr", "checkout", "--lightweight", *self._which, self._url, temporary)
        yield from self._shop.must(self._shop.run(*checkout))
        self._exported = yield from self._revision_of(temporary)
        exported = yield from self._shop.run("bzr", "export", self._shop.source(), directory=temporary)
        yield from self._shop.remove(temporary)
        return exported.code

    def _revision_of(self, directory: str) -> Script[Value]:
        told = yield from self._shop.ask("bzr", "version-info", directory=directory, limits=())
        found = re.search(r"^revno: (\d+)$", told, re.MULTILINE)
        if found is None:
            yield from self._shop.say(f"bzr version-info did not tell a revision: {told.strip()!r}")
            return None
        return int(found[1])
