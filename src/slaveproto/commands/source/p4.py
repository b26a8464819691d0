"""Perforce. Source: `commands/p4.py` of buildslave 0.8.4 and 0.8.14."""

from __future__ import annotations

import re

from slaveproto.commands.headers import shown
from slaveproto.commands.source.options import SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import BOTH, Hidden, Word, Workspace
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value


class _Perforce(System):
    """The common part of both commands: the client and user, and the number of the last change that is here."""

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._client = args.text("p4client")
        self._user = args.text("p4user")
        server: list[Word] = []
        for option, name in (("-p", "p4port"), ("-u", "p4user"), ("-P", "p4passwd")):
            value = args.text(name)
            if value:
                server += [option, Hidden(value, "XXXXXXXX") if option == "-P" else value]
        self._server = server
        self._who = [*server, *(("-c", self._client) if self._client else ())]

    def revision(self) -> Script[Value]:
        if self._ws.options.revision:
            return self._ws.options.revision
        changes = ("p4", *self._who, "changes", "-s", "submitted", "-m", "1", "#have")
        told = yield from self._ws.ask(*changes, directory=self._ws.base, send=BOTH, limits=("silence", "lifetime"))
        found = re.match(r"Change\s+(\d+)\s", told)
        return None if found is None else found[1]

    def _sync(self, *, force: bool, directory: str = "") -> Script[int]:
        revision = self._ws.options.revision
        words = ("sync", *(("-f",) if force else ()), *((f"@{revision}",) if revision else ()))
        return (yield from self._ws.run("p4", *self._who, *words, directory=directory)).code


class Perforce(_Perforce):
    """A tree of a client that is made for it."""

    operation = "p4"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        super().__init__(args, ws)
        self._depot = args.text("p4base")
        self._branch = args.text("branch")
        self._views = _views(args)
        self._line_end = args.text("p4line_end") or "local"
        get = args.values.get
        parts: list[Value] = [
            *(get(name) for name in ("p4port", "p4client", "p4base", "branch", "p4extra_views", "p4line_end")),
            ws.context.raw("a path", ws.base),
            get("mode"),
            get("workdir"),
        ]
        # As Python 2 writes a list, so that a tree that an old slave left can be updated. The kind of a text (bytes or
        # unicode) says nothing about the tree and changes from build to build; 0.8.4 wrote it all the same.
        same_kind: list[Value] = [
            ws.context.raw("an argument", part) if isinstance(part, str) else part for part in parts
        ]
        self.sourcedata = shown(same_kind, python2=True)
        self._as_of_old = shown(parts, python2=True)

    def is_updateable(self) -> Script[bool]:
        if (yield from self._ws.is_patched()):
            return False
        return (yield from self._ws.is_directory(self._ws.source()))

    def matches(self, old: str | None) -> bool:
        return old in (self.sourcedata, self._as_of_old)

    def update(self) -> Script[int]:
        return self._sync(force=False)

    def check_out(self) -> Script[int]:
        make = self._ws.run("p4", *self._server, "client", "-i", stdin=self._specification())
        yield from self._ws.must(make)
        return (yield from self._sync(force=True))

    def _specification(self) -> str:
        """Return the client in the form that `p4 client -i` reads. Perforce takes ASCII only."""
        client, source = self._client, self._ws.source_name
        depot = f"{self._depot}{self._branch}/" if self._branch else self._depot
        lines = [f"{depot}... //{client}/{source}/..."]
        lines += [f"{path}/... //{client}/{source}{place}/..." for path, place in self._views]
        fields = {
            "Client": client,
            "Owner": self._user,
            "Description": f"\n\tCreated by {self._user}",
            "Root": self._ws.base,
            "Options": "allwrite rmdir",
            "LineEnd": self._line_end,
            "View": "".join(f"\n\t{line}" for line in lines),
        }
        return (
            "\n\n".join(f"{name}: {value}" for name, value in fields.items()).encode("ascii", "ignore").decode() + "\n"
        )


class PerforceSync(_Perforce):
    """A tree of a client that was made by hand."""

    operation = "p4 sync"
    sourcedata = ""

    def is_updateable(self) -> Script[bool]:
        yield from ()
        return True

    def update(self) -> Script[int]:
        return self._sync(force=False, directory=self._ws.source())

    def check_out(self) -> Script[int]:
        return self._sync(force=True, directory=self._ws.source())


def _views(args: SourceArguments) -> list[tuple[str, str]]:
    value = args.values.get("p4extra_views")
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise CommandError("builtins.TypeError", "p4extra_views should be a list of pairs")
    views = []
    for pair in value:
        match pair:
            case [(bytes() | str()) as path, (bytes() | str()) as place]:
                views.append((args.context.text("a view", path), args.context.text("a view", place)))
            case _:
                raise CommandError("builtins.TypeError", "p4extra_views should be a list of pairs of texts")
    return views
