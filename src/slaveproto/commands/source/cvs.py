"""CVS. Source: `commands/cvs.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments, Mode
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import CreateTemp, Script, StatPath, Unlink
from slaveproto.wire.values import Value


class Cvs(System):
    """A working copy. CVS has no revisions, so a time stands for one."""

    operation = "cvs operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._root = given.text("cvsroot")
        self._module = given.text("cvsmodule")
        self._branch = given.text("branch")
        self._login = None if given.arguments.get("login") is None else given.text("login")
        self._global = given.texts("global_options")
        export = shop.wanted.mode is Mode.EXPORT
        self._verb = "export" if export else "checkout"
        self._options = (
            *given.texts("export_options" if export else "checkout_options"),
            *given.texts("extra_options"),
        )
        self.sourcedata = f"{self._root}\n{self._module}\n{self._branch or None}\n"

    def prepare(self) -> Script[None]:
        if self._login is not None:
            login = ("cvs", "-d", self._root, *self._global, "login")
            yield from self._shop.must(self._shop.run(*login, stdin=f"{self._login}\n"))

    def is_updateable(self) -> Script[bool]:
        if (yield from self._shop.is_patched()):
            return False
        return (yield from self._shop.is_directory(self._shop.source("CVS")))

    def update(self) -> Script[int]:
        update = ("cvs", "-z3", *self._global, "update", "-dP", *self._which())
        return (yield from self._shop.run(*update, directory=self._shop.source())).code

    def bring(self) -> Script[int]:
        start = ("cvs", "-d", self._root, "-z3", *self._global, self._verb, "-d", self._shop.source_name)
        return (yield from self._shop.run(*start, *self._options, *self._which(), self._module)).code

    def revision(self) -> Script[Value]:
        # The core has no clock: the file system says what time it is.
        temp = yield from CreateTemp(self._shop.sourcedata)
        info = yield from StatPath(temp)
        yield from Unlink(temp)
        now = datetime.fromtimestamp(0, UTC) + timedelta(seconds=info.modified // 10**9)
        return now.strftime("%Y-%m-%d %H:%M:%S +0000")

    def _which(self) -> tuple[str, ...]:
        revision = self._shop.wanted.revision
        return (*(("-r", self._branch) if self._branch else ()), *(("-D", revision) if revision else ()))
