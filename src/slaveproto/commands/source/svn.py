"""Subversion. Source: `commands/svn.py` of buildslave 0.8.4 and 0.8.14.

Rules. Subversion takes the working copy of a directory above if `.svn` here has neither of its two files.
"""

from __future__ import annotations

import re
from typing import Final

from slaveproto.commands.process import ProcessEnd
from slaveproto.commands.source.options import Mode, SourceArguments
from slaveproto.commands.source.plan import System
from slaveproto.commands.source.workspace import BOTH, Hidden, SourceFailed, Word, Workspace
from slaveproto.effects import Script, SendText
from slaveproto.wire.values import Value

HEAD: Final = "HEAD"

_MADE_BY_OLDER: Final = "E155036"
_MADE_BY_NEWER: Final = "E155021"
_REVISION: Final = re.compile(r"^Revision: (\d+)", re.MULTILINE)
_VERSION: Final = re.compile(r"(?:\d+:)?(\d+)[MSP]*")


class Subversion(System):
    """A working copy, or in the mode EXPORT a tree without one."""

    operation = "svn operation"

    def __init__(self, args: SourceArguments, ws: Workspace) -> None:
        self._ws = ws
        self._url = args.text("svnurl")
        self._wanted = ws.options.revision or HEAD
        self._exported = ""
        self._keep = {*args.texts("keep_on_purge"), ".buildbot-sourcedata"}
        self._always_purge = args.flag("always_purge")
        self._status = ("--xml", *(("--no-ignore",) if args.flag("ignore_ignores", True) else ()))
        options: list[Word] = ["--non-interactive", "--no-auth-cache"]
        if "username" in args.values:
            options += ["--username", args.text("username")]
        if "password" in args.values:
            options += ["--password", Hidden(args.text("password"), "XXXX")]
        options += args.texts("extra_args")
        if "depth" in args.values:
            options += ["--depth", args.text("depth")]
        self._options = options
        self._complaint = ""
        self.sourcedata = f"{self._url}\n"

    def is_updateable(self) -> Script[bool]:
        # The database since version 1.7, a list before.
        for name in ("wc.db", "entries"):
            if (yield from self._ws.is_file(self._ws.source(".svn", name))):
                return True
        return False

    def update(self) -> Script[int]:
        try:
            yield from self._ws.must(self._update())
        except SourceFailed as end:
            if end.final or _MADE_BY_OLDER not in self._complaint:
                raise
            yield from self._ws.must(self._svn("upgrade", directory=self._ws.source()))
            yield from self._ws.must(self._update())
        return 0

    def is_hopeless(self) -> bool:
        return _MADE_BY_NEWER in self._complaint

    def is_reachable(self) -> Script[bool]:
        return (yield from self._svn("info", self._url, send=("stderr",))).code == 0

    def check_out(self) -> Script[int]:
        target = self._ws.source_name
        if self._ws.options.mode is not Mode.EXPORT:
            words = ["checkout", "--revision", self._wanted, f"{self._url}@{self._wanted}", target]
        elif self._wanted != HEAD:
            words = ["export", "--revision", self._wanted, f"{self._url}@{self._wanted}", target]
        else:
            # An exported tree does not know its revision, so that has to be settled before.
            told = yield from self._ws.must(self._svn("info", self._url))
            found = _REVISION.search(self._ws.output(told))
            if found is None:
                yield from self._ws.say("svn info did not tell the revision")
                raise SourceFailed(-1)
            self._exported = found[1]
            words = ["export", "--revision", self._exported, self._url, target]
        return (yield from self._svn(*words)).code

    def revision(self) -> Script[Value]:
        if self._ws.options.mode is Mode.EXPORT:
            return self._ws.options.revision or self._exported
        text = (yield from self._ws.ask("svnversion", ".", directory=self._ws.source())).strip()
        found = _VERSION.fullmatch(text)
        if found is None:
            yield from self._ws.say(f"svnversion did not tell a revision: {text!r}")
            return None
        return int(found[1])

    def _update(self) -> Script[ProcessEnd]:
        if self._always_purge or (yield from self._ws.is_patched()):
            yield from self._purge()
        return (yield from self._svn("update", "--revision", self._wanted, directory=self._ws.source()))

    def _purge(self) -> Script[None]:
        """Remove everything that `svn status` lists: `svn revert` leaves too much behind."""
        told = yield from self._ws.must(
            self._svn("status", *self._status, directory=self._ws.source(), send=("stderr",))
        )
        names = _changed(told.kept["stdout"])
        if names is None:
            yield from self._ws.say("svn status did not tell what changed")
            raise SourceFailed(-1)
        for name in names:
            if name not in self._keep:
                path = self._ws.source(name)
                yield from SendText("stdout", f"{path}\n")
                yield from self._ws.remove(path, tell=False)

    def _svn(
        self,
        command: str,
        *words: str,
        directory: str = "",
        send: tuple[str, ...] = ("stdout", "stderr"),
    ) -> Script[ProcessEnd]:
        whole = ("svn", command, *self._options, *words)
        ended = yield from self._ws.run(*whole, directory=directory, plain_words=True, keep=BOTH, send=send)
        self._complaint = self._ws.output(ended, "stderr")
        return ended


def _changed(status: bytes) -> list[str] | None:
    """Return the paths that `svn status --xml` lists, None if its output cannot be read.

    It is read as bytes: it is UTF-8 wherever it is said, and may end within a character.
    """
    # Every slave that starts would pay for it.
    from xml.etree import ElementTree

    try:
        entries = list(ElementTree.fromstring(status).iter("entry"))
    except ElementTree.ParseError:
        return None
    states = ((entry.get("path", ""), entry.find("wc-status")) for entry in entries)
    return [path for path, state in states if state is not None and state.get("item") not in ("external", "missing")]
