"""BitKeeper. Source: `commands/bk.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.wire.values import Value


class BitKeeper(System):
    """A clone. The free client cannot go to a revision, so a revision that is asked for takes a new clone."""

    operation = "bk operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("bkurl")
        self._options = args.texts("extra_args")
        self.sourcedata = f'"{self._url}\n"'

    def is_updateable(self) -> Script[bool]:
        if self._ws.options.revision or (yield from self._ws.is_patched()):
            return False
        return (yield from self._ws.is_file(self._ws.source("BK", "parent")))

    def update(self) -> Script[int]:
        return (yield from self._ws.run("bk", "pull", directory=self._ws.source(), limits=("silence",))).code

    def check_out(self) -> Script[int]:
        revision = self._ws.options.revision
        which = (f"-r{revision}",) if revision else ()
        clone = ("bk", "clone", *which, *self._options, self._url, self._ws.source_name)
        return (yield from self._ws.run(*clone, limits=("silence",))).code

    def revision(self) -> Script[Value]:
        told = yield from self._ws.ask("bk", "changes", "-r+", "-d:REV:", directory=self._ws.source())
        return told.strip()
