"""Darcs. Source: `commands/darcs.py` of buildslave 0.8.4 and 0.8.14.

Rules. Darcs takes a repository of a directory above if it does not know the one here, unless it is told where to look.
"""

from __future__ import annotations

from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.limits import SIZE_LIMIT
from slaveproto.wire.values import Value


class Darcs(System):
    """A lazy repository. A context, the names of the patches since the last tag, takes the place of a revision."""

    operation = "darcs operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("repourl")
        self.sourcedata = f"{self._url}\n"

    def is_updateable(self) -> Script[bool]:
        if self._ws.options.revision or (yield from self._ws.is_patched()):
            return False
        return (yield from self._ws.is_directory(self._ws.source("_darcs")))

    def update(self) -> Script[int]:
        pull = ("darcs", "pull", "--all", "--verbose", "--repodir", ".")
        return (yield from self._ws.run(*pull, directory=self._ws.source())).code

    def check_out(self) -> Script[int]:
        ws = self._ws
        # Darcs knows the option `--partial` of the own slaves no more; this is what became of it.
        get = ("darcs", "get", "--verbose", "--lazy", "--repo-name", ws.source_name)
        if not ws.options.revision:
            return (yield from ws.run(*get, self._url)).code
        context = ws.at(".darcs-context")
        got = ws.run(*get, "--context", context, self._url)
        return (yield from ws.lend(context, ws.options.revision, got)).code

    def is_reachable(self) -> Script[bool]:
        asked = yield from self._ws.run("darcs", "changes", "--last", "1", "--repo", self._url, send=("stderr",))
        return asked.code == 0

    def revision(self) -> Script[Value]:
        told = yield from self._ws.ask("darcs", "changes", "--context", directory=self._ws.source())
        if len(self._ws.context.raw("a context", told)) > SIZE_LIMIT:
            yield from self._ws.say("the context is too long to be sent")
            return None
        return told
