"""Monotone. Source: `commands/mtn.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value


class Monotone(System):
    """A workspace; all builders' directories have a database of their own."""

    operation = "monotone operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._branch = args.text("branch")
        self._progress = args.flag("progress")
        self._database = ("--db", ws.at("db.mtn"))
        self.sourcedata = f"{args.text('repourl')}?{self._branch}"

    def prepare(self) -> Script[None]:
        # There may be none yet; that is no mistake, and the log does not mention it.
        told = yield from self._mtn("db", "info", *self._database, send=("stdout",), limits=())
        words = self._ws.output(told)
        if told.code:
            yield from self._ws.must(self._mtn("db", "init", *self._database, limits=()))
        elif "(migration needed)" in words:
            yield from self._ws.must(self._mtn("db", "migrate", *self._database, limits=()))
        elif "(too new, cannot use)" in words:
            raise CommandError("builtins.RuntimeError", "the database is too new for this mtn")

    def is_updateable(self) -> Script[bool]:
        return self._ws.is_directory(self._ws.source("_MTN"))

    def update(self) -> Script[int]:
        yield from self._pull()
        which = ("--revision", self._ws.options.revision) if self._ws.options.revision else ("-r", f"h:{self._branch}")
        update = self._mtn("update", *self._database, *which, "-b", self._branch, directory=self._ws.source())
        return (yield from update).code

    def check_out(self) -> Script[int]:
        yield from self._pull()
        which = ("--revision", self._ws.options.revision) if self._ws.options.revision else ()
        checkout = ("checkout", self._ws.source(), *self._database, *which, "--branch", self._branch)
        return (yield from self._mtn(*checkout)).code

    def revision(self) -> Script[Value]:
        select = self._ws.run("mtn", "automate", "select", "w:", directory=self._ws.source(), keep=("stdout",))
        text = self._ws.output((yield from self._ws.must(select))).strip()
        return text if re.fullmatch(r"[0-9a-f]{40}", text) else None

    def _pull(self) -> Script[None]:
        yield from self._ws.say(f"pulling {self._branch} from {self.sourcedata}")
        ticker = "--ticker=dot" if self._progress else "--ticker=none"
        yield from self._ws.must(self._mtn("pull", self.sourcedata, *self._database, ticker))

    def _mtn(
        self,
        *words: str,
        directory: str = "",
        send: tuple[str, ...] = ("stdout", "stderr"),
        limits: tuple[str, ...] = ("silence", "lifetime"),
    ) -> Script[ProcessEnd]:
        return self._ws.run(
            "mtn", *words, directory=directory, plain_words=True, send=send, keep=("stdout",), limits=limits
        )
