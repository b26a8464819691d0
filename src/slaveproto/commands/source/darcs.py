"""Darcs. Source: `commands/darcs.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.limits import SIZE_LIMIT
from slaveproto.wire.values import Value


class Darcs(System):
    """A lazy repository. What stands for a revision is a context: the names of the patches since the last tag."""

    operation = "darcs operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._url = given.text("repourl")
        self.sourcedata = f"{self._url}\n"

    def is_updateable(self) -> Script[bool]:
        if self._shop.wanted.revision or (yield from self._shop.is_patched()):
            return False
        return (yield from self._shop.is_directory(self._shop.source("_darcs")))

    def update(self) -> Script[int]:
        return (yield from self._shop.run("darcs", "pull", "--all", "--verbose", directory=self._shop.source())).code

    def bring(self) -> Script[int]:
        shop = self._shop
        # Darcs knows the option `--partial` of the own slaves no more; this is what became of it.
        get = ("darcs", "get", "--verbose", "--lazy", "--repo-name", shop.source_name)
        if not shop.wanted.revision:
            return (yield from shop.run(*get, self._url)).code
        context = shop.at(".darcs-context")
        got = shop.run(*get, "--context", context, self._url)
        return (yield from shop.lend(context, shop.wanted.revision, got)).code

    def revision(self) -> Script[Value]:
        told = yield from self._shop.ask("darcs", "changes", "--context", directory=self._shop.source())
        if len(self._shop.context.raw("a context", told)) > SIZE_LIMIT:
            yield from self._shop.say("the context is too long to be sent")
            return None
        return told
