"""The exceptions of slaveproto. Blame is a type.

Rules.

* `LocalProtocolError` blames the caller: nothing was sent and nothing changed.
* `RemoteProtocolError` blames the peer. It ends the connection; a call that was being served is failed first, so that
  the peer can log why.
* `CallFailed` (and `CommandError`, `UnreadableValue`) fail one call of the peer. The connection lives on. On a slave, a
  call that its builder cannot take in its state fails so: a master that lost count is better served by an answer than
  by a lost slave.
* `HostError` is the host's: the effect that was asked for did not work.
"""

from __future__ import annotations

import errno
from typing import Final

# Of memory, of processes, of descriptors of this process and of the whole system.
_SHORTAGES: Final = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})


class SlaveProtoError(Exception):
    """Base of everything that slaveproto raises on purpose."""


class LocalProtocolError(SlaveProtoError):
    """Your call was illegal in this state or with this value. Nothing was sent and nothing changed."""


class RemoteProtocolError(SlaveProtoError):
    """The peer broke the protocol. Send what `data_to_send()` still holds, then close the connection."""


class UnreadableValue(SlaveProtoError):
    """One value that the peer sent is malformed or not acceptable; only the call that carried it fails.

    Args:
        kind: the dotted name under which the peer's side knows this kind of failure, such as
            `twisted.spread.jelly.InsecureJelly`.
        message: what was wrong.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class HostError(SlaveProtoError):
    """The host could not perform a requested effect; thrown into the script that asked for it.

    Args:
        errno: the operating system's number, 0 if it gave none.
        strerror: the operating system's words.
    """

    def __init__(self, errno: int, strerror: str) -> None:
        super().__init__(strerror)
        self.errno = errno
        self.strerror = strerror

    @property
    def is_shortage(self) -> bool:
        """Whether the host lacks memory, processes or descriptors at present: that says nothing about a build."""
        return self.errno in _SHORTAGES


class CallFailed(SlaveProtoError):
    """One call of the peer cannot be carried out: it is answered with a failure, and the connection lives on.

    Args:
        kind: dotted name of the exception that the peer's side knows, such as `builtins.TypeError`.
        message: its text.
        parents: dotted names of the classes that `kind` derives from, for kinds that are neither Python's nor
            Twisted's.
    """

    def __init__(self, kind: str, message: str, parents: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.parents = parents


class CommandError(CallFailed):
    """A command cannot be run as asked; it ends with this as its failure, which the master shows."""
