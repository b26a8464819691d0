"""Monotone. Source: `commands/mtn.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments
from slaveproto.commands.source.workspace import Workspace
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value


class Monotone(System):
    """A workspace; all builders' directories have a database of their own."""

    operation = "monotone operation"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._branch = given.text("branch")
        self._progress = given.flag("progress")
        self._database = ("--db", shop.at("db.mtn"))
        self.sourcedata = f"{given.text('repourl')}?{self._branch}"

    def prepare(self) -> Script[None]:
        # That there is none yet is no mistake, so nobody needs to read of it.
        told = yield from self._mtn("db", "info", *self._database, send=("stdout",), limits=())
        words = self._shop.output(told)
        if told.code:
            yield from self._shop.must(self._mtn("db", "init", *self._database, limits=()))
        elif "(migration needed)" in words:
            yield from self._shop.must(self._mtn("db", "migrate", *self._database, limits=()))
        elif "(too new, cannot use)" in words:
            raise CommandError("builtins.RuntimeError", "the database is too new for this mtn")

    def is_updateable(self) -> Script[bool]:
        return self._shop.is_directory(self._shop.source("_MTN"))

    def update(self) -> Script[int]:
        yield from self._pull()
        which = (
            ("--revision", self._shop.wanted.revision) if self._shop.wanted.revision else ("-r", f"h:{self._branch}")
        )
        update = self._mtn("update", *self._database, *which, "-b", self._branch, directory=self._shop.source())
        return (yield from update).code

    def bring(self) -> Script[int]:
        yield from self._pull()
        which = ("--revision", self._shop.wanted.revision) if self._shop.wanted.revision else ()
        checkout = ("checkout", self._shop.source(), *self._database, *which, "--branch", self._branch)
        return (yield from self._mtn(*checkout)).code

    def revision(self) -> Script[Value]:
        select = self._shop.run("mtn", "automate", "select", "w:", directory=self._shop.source(), keep=("stdout",))
        text = self._shop.output((yield from self._shop.must(select))).strip()
        return text if re.fullmatch(r"[0-9a-f]{40}", text) else None

    def _pull(self) -> Script[None]:
        yield from self._shop.say(f"pulling {self._branch} from {self.sourcedata}")
        ticker = "--ticker=dot" if self._progress else "--ticker=none"
        yield from self._shop.must(self._mtn("pull", self.sourcedata, *self._database, ticker))

    def _mtn(
        self,
        *words: str,
        directory: str = "",
        send: tuple[str, ...] = ("stdout", "stderr"),
        limits: tuple[str, ...] = ("silence", "lifetime"),
    ) -> Script[ProcessEnd]:
        return self._shop.run(
            "mtn", *words, directory=directory, plain_words=True, send=send, keep=("stdout",), limits=limits
        )
