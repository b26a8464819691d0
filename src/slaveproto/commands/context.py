"""The surroundings of a command."""

from __future__ import annotations

from collections.abc import Mapping

from slaveproto.errors import CommandError
from slaveproto.paths import join_paths, joined
from slaveproto.records import record
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value


@record
class CommandContext:
    """The surroundings of a command: where it runs, and for what kind of master.

    Args:
        directory: the slave builder's directory, absolute.
        environ: the slave's own environment.
        dialect: how the master reads text.
        encoding: of text that goes to processes and paths.
        use_pty: whether a command that leaves it to the slave gets a pseudo-terminal.
        posix: whether the host is POSIX.
        python2: whether the master runs on Python 2, which all those do that read bytes.
        unlisted: names of variables of `environ` that the master is not told.
        kill_leftovers: whether what commands leave behind is killed if the master leaves it to the slave.
    """

    directory: str
    environ: Mapping[str, str]
    dialect: Dialect
    encoding: str
    use_pty: bool
    posix: bool
    python2: bool = False
    unlisted: frozenset[str] = frozenset()
    kill_leftovers: bool = False

    @property
    def shows_python2(self) -> bool:
        """Whether values are shown as Python 2 prints them."""
        return self.python2 or self.dialect is Dialect.BYTES

    @property
    def path_separator(self) -> str:
        """The character between the directories of a search path."""
        return ":" if self.posix else ";"

    def variable(self, name: str) -> str:
        """Return the name of an environment variable as the host spells it; Windows ignores case."""
        return name if self.posix else name.upper()

    def path(self, *parts: Value) -> str:
        """Join `parts` to the builder's directory by the host's rules; an absolute part wins.

        Raises:
            CommandError: a part is not text.
        """
        return join_paths(self.posix, self.directory, *(self.text("a path", part) for part in parts))

    def joined(self, *parts: str) -> str:
        """Join as `path`, but for people: `..` and the like stay as they are."""
        return joined(self.posix, self.directory, *parts)

    def text(self, what: str, value: Value) -> str:
        """Return text that the master sent as text or bytes; bytes that are no text survive the way back.

        Raises:
            CommandError: it is neither.
        """
        if isinstance(value, bytes):
            return value.decode(self.encoding, "surrogateescape")
        if isinstance(value, str):
            return value
        raise CommandError("builtins.TypeError", f"{what} should be text, not {type(value).__name__}")

    def raw(self, what: str, value: Value) -> bytes:
        """Return the bytes of text that the master sent as text or bytes; raises as `text`."""
        if isinstance(value, bytes):
            return value
        try:
            return self.text(what, value).encode(self.encoding, "surrogateescape")
        except UnicodeEncodeError:
            raise CommandError("builtins.UnicodeEncodeError", f"{what} cannot be said in {self.encoding}") from None
