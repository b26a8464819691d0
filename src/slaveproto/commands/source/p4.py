"""Perforce. Source: `commands/p4.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re

from slaveproto.commands.headers import shown
from slaveproto.commands.source.engine import System
from slaveproto.commands.source.options import Arguments
from slaveproto.commands.source.workspace import BOTH, Hidden, Word, Workspace
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value


class _Perforce(System):
    """What both ways have in common: who asks, and the number of the last change that is here."""

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        self._shop = shop
        self._client = given.text("p4client")
        self._user = given.text("p4user")
        server: list[Word] = []
        for option, name in (("-p", "p4port"), ("-u", "p4user"), ("-P", "p4passwd")):
            value = given.text(name)
            if value:
                server += [option, Hidden(value, "XXXXXXXX") if option == "-P" else value]
        self._server = server
        self._who = [*server, *(("-c", self._client) if self._client else ())]

    def revision(self) -> Script[Value]:
        if self._shop.wanted.revision:
            return self._shop.wanted.revision
        changes = ("p4", *self._who, "changes", "-s", "submitted", "-m", "1", "#have")
        told = yield from self._shop.ask(*changes, directory=self._shop.base, send=BOTH, limits=("silence", "lifetime"))
        found = re.match(r"Change\s+(\d+)\s", told)
        return None if found is None else found[1]

    def _sync(self, *, force: bool, directory: str = "") -> Script[int]:
        revision = self._shop.wanted.revision
        words = ("sync", *(("-f",) if force else ()), *((f"@{revision}",) if revision else ()))
        return (yield from self._shop.run("p4", *self._who, *words, directory=directory)).code


class Perforce(_Perforce):
    """A tree of a client that is made for it."""

    operation = "p4"

    def __init__(self, given: Arguments, shop: Workspace) -> None:
        super().__init__(given, shop)
        self._depot = given.text("p4base")
        self._branch = given.text("branch")
        self._views = _views(given)
        self._line_end = given.text("p4line_end") or "local"
        get = given.arguments.get
        parts: list[Value] = [
            *(get(name) for name in ("p4port", "p4client", "p4base", "branch", "p4extra_views", "p4line_end")),
            shop.context.raw("a path", shop.base),
            get("mode"),
            get("workdir"),
        ]
        # As Python 2 writes a list: a tree that an old slave left can be updated. Of which kind a text is says nothing
        # of the tree, and changes from build to build; 0.8.4 wrote it all the same.
        same_kind: list[Value] = [
            shop.context.raw("an argument", part) if isinstance(part, str) else part for part in parts
        ]
        self.sourcedata = shown(same_kind, python2=True)
        self._as_of_old = shown(parts, python2=True)

    def is_updateable(self) -> Script[bool]:
        if (yield from self._shop.is_patched()):
            return False
        return (yield from self._shop.is_directory(self._shop.source()))

    def matches(self, old: str | None) -> bool:
        return old in (self.sourcedata, self._as_of_old)

    def update(self) -> Script[int]:
        return self._sync(force=False)

    def bring(self) -> Script[int]:
        make = self._shop.run("p4", *self._server, "client", "-i", stdin=self._specification())
        yield from self._shop.must(make)
        return (yield from self._sync(force=True))

    def _specification(self) -> str:
        """Return the client in the form that `p4 client -i` reads. Perforce takes ASCII only."""
        client, source = self._client, self._shop.source_name
        depot = f"{self._depot}{self._branch}/" if self._branch else self._depot
        lines = [f"{depot}... //{client}/{source}/..."]
        lines += [f"{path}/... //{client}/{source}{place}/..." for path, place in self._views]
        fields = {
            "Client": client,
            "Owner": self._user,
            "Description": f"\n\tCreated by {self._user}",
            "Root": self._shop.base,
            "Options": "allwrite rmdir",
            "LineEnd": self._line_end,
            "View": "".join(f"\n\t{line}" for line in lines),
        }
        return (
            "\n\n".join(f"{name}: {value}" for name, value in fields.items()).encode("ascii", "ignore").decode() + "\n"
        )


class PerforceSync(_Perforce):
    """A tree of a client that somebody made by hand."""

    operation = "p4 sync"
    sourcedata = ""

    def is_updateable(self) -> Script[bool]:
        yield from ()
        return True

    def update(self) -> Script[int]:
        return self._sync(force=False, directory=self._shop.source())

    def bring(self) -> Script[int]:
        return self._sync(force=True, directory=self._shop.source())


def _views(given: Arguments) -> list[tuple[str, str]]:
    value = given.arguments.get("p4extra_views")
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise CommandError("builtins.TypeError", "p4extra_views should be a list of pairs")
    views = []
    for pair in value:
        match pair:
            case [(bytes() | str()) as path, (bytes() | str()) as place]:
                views.append((given.context.text("a view", path), given.context.text("a view", place)))
            case _:
                raise CommandError("builtins.TypeError", "p4extra_views should be a list of pairs of texts")
    return views
