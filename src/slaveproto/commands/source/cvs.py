"""CVS. Source: `commands/cvs.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from slaveproto.commands.source.options import Mode, SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import CreateTemp, Script, StatPath, Unlink
from slaveproto.wire.values import Value


class Cvs(System):
    """A working copy. CVS has no revisions, so a time stands for one."""

    operation = "cvs operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._root = args.text("cvsroot")
        self._module = args.text("cvsmodule")
        self._branch = args.text("branch")
        self._login = None if args.values.get("login") is None else args.text("login")
        self._global = args.texts("global_options")
        export = ws.options.mode is Mode.EXPORT
        self._verb = "export" if export else "checkout"
        self._options = (
            *args.texts("export_options" if export else "checkout_options"),
            *args.texts("extra_options"),
        )
        self.sourcedata = f"{self._root}\n{self._module}\n{self._branch or None}\n"

    def prepare(self) -> Script[None]:
        if self._login is not None:
            login = ("cvs", "-d", self._root, *self._global, "login")
            yield from self._ws.must(self._ws.run(*login, stdin=f"{self._login}\n"))

    def is_updateable(self) -> Script[bool]:
        if (yield from self._ws.is_patched()):
            return False
        return (yield from self._ws.is_directory(self._ws.source("CVS")))

    def update(self) -> Script[int]:
        update = ("cvs", "-z3", *self._global, "update", "-dP", *self._which())
        return (yield from self._ws.run(*update, directory=self._ws.source())).code

    def check_out(self) -> Script[int]:
        start = ("cvs", "-d", self._root, "-z3", *self._global, self._verb, "-d", self._ws.source_name)
        return (yield from self._ws.run(*start, *self._options, *self._which(), self._module)).code

    def revision(self) -> Script[Value]:
        # The core has no clock: the file system says what time it is.
        temp = yield from CreateTemp(self._ws.sourcedata)
        info = yield from StatPath(temp)
        yield from Unlink(temp)
        now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=info.modified // 10**9)
        return now.strftime("%Y-%m-%d %H:%M:%S +0000")

    def _which(self) -> tuple[str, ...]:
        revision = self._ws.options.revision
        return (*(("-r", self._branch) if self._branch else ()), *(("-D", revision) if revision else ()))
