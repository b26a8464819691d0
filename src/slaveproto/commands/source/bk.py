"""BitKeeper. Source: `commands/bk.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value


class BitKeeper(System):
    """A clone. The free client cannot go to a revision, so only a new clone is of the one that was asked for."""

    operation = "bk operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._url = given.text("bkurl")
        self._options = given.texts("extra_args")
        self.sourcedata = f'"{self._url}\n"'

    def is_updateable(self) -> Script[bool]:
        if self._shop.wanted.revision or (yield from self._shop.is_patched()):
            return False
        return (yield from self._shop.is_file(self._shop.source("BK", "parent")))

    def update(self) -> Script[int]:
        return (yield from self._shop.run("bk", "pull", directory=self._shop.source(), limits=("silence",))).code

    def bring(self) -> Script[int]:
        revision = self._shop.wanted.revision
        which = (f"-r{revision}",) if revision else ()
        clone = ("bk", "clone", *which, *self._options, self._url, self._shop.source_name)
        return (yield from self._shop.run(*clone, limits=("silence",))).code

    def revision(self) -> Script[Value]:
        told = yield from self._shop.ask("bk", "changes", "-r+", "-d:REV:", directory=self._shop.source())
        return told.strip()
