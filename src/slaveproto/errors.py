"""The exceptions of slaveproto. Blame is a type: look at which one you got."""

from __future__ import annotations


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


class CommandError(SlaveProtoError):
    """A command cannot be run as asked; it ends with this as its failure.

    Args:
        kind: dotted name of the exception that a real slave would report.
        message: the text that the master shows.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
