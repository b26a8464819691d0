"""What a script may ask for, and what it may be told.

A script is a generator that yields effects and receives their replies: `data = yield from ReadFile(path, 0, 100)`.
Effects of the *inner ring* are answered by the session itself. Effects of the *outer ring* leave the session as
`Request`s; a runner performs them and reports back with `Completed` or `Rejected`. Whoever writes a runner has to
perform `HostEffect`, the whole of it and nothing else.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from slaveproto.wire.values import Value

T_co = TypeVar("T_co", covariant=True)


class Effect(Generic[T_co]):
    """Something that a script asks for; `yield from` it to get the reply."""

    __slots__ = ()

    def __iter__(self) -> Generator[Effect[Any], Any, T_co]:
        reply: T_co = yield self
        return reply


T = TypeVar("T")
Script: TypeAlias = Generator[Effect[Any], Any, T]


# -- the inner ring


@attrs.frozen
class SendText(Effect[None]):
    """Add text to a stream of the update stream: `stdout`, `stderr` or `header`, or a log by its name.

    Args:
        stream: the key of the update.
        text: bytes as a process wrote them, or text of ours.
        log: for the stream `log`, the name of the log as the master spelt it.
    """

    stream: str
    text: bytes | str
    log: bytes | str = ""


@attrs.frozen
class SendItem(Effect[None]):
    """Add one update that is no text, such as `rc`."""

    key: str
    value: Value


@attrs.frozen
class SetTimer(Effect[None]):
    """Have a `TimerFired(key)` in `after` seconds, instead of any earlier setting; None cancels."""

    key: str
    after: float | None


@attrs.frozen
class Now(Effect[float]):
    """The present time in seconds, of a clock that only differences may be taken of."""


@attrs.frozen
class OutputUnread(Effect[bool]):
    """Whether the children's output is left unread at present, because the master takes in nothing."""


@attrs.frozen
class Heard(Effect[bool]):
    """Whether anybody still listens to the updates."""


@attrs.frozen
class NextEvent(Effect["ScriptEvent"]):
    """Wait for the next event; what already happened comes first, then timers that are due."""


# -- the outer ring


@attrs.frozen
class OpenConnection(Effect[None]):
    """Open a TCP connection. Never replied to: report `Connected`, `Received`, `Disconnected` with the request's id."""

    host: str
    port: int


@attrs.frozen
class CloseConnection(Effect[None]):
    """Send `last`, then close the connection that request `connection` opened. Report nothing more about it."""

    connection: int
    last: bytes


@attrs.frozen
class MakeDirs(Effect[bool]):
    """Create a directory and its parents; the reply tells whether it was not there before."""

    path: str


@attrs.frozen
class ListDir(Effect[tuple[str, ...]]):
    """Name the entries of a directory that are directories themselves."""

    path: str


@attrs.frozen
class ReadDir(Effect[Mapping[str, bytes]]):
    """Read every regular file in a directory that can be read; empty if there is no such directory."""

    path: str


@attrs.frozen
class FileStamp:
    """What tells that a file changed. Times are in nanoseconds."""

    inode: int
    size: int
    mtime: int
    ctime: int


@attrs.frozen
class StatFile(Effect["FileStamp | None"]):
    """Look at a file; None if there is none."""

    path: str


@attrs.frozen
class ReadFile(Effect[bytes]):
    """Read up to `size` bytes at `offset`; fewer only at the end of the file."""

    path: str
    offset: int
    size: int


@attrs.frozen
class Spawn(Effect[int]):
    """Start a process in a process group of its own; the reply is the request's id, which names the process.

    A pseudo-terminal becomes its standard streams and controlling terminal if `use_pty`, and its output then is all
    `stdout`. Otherwise it gets pipes. `stdin` is written, then standard input is closed.
    """

    argv: tuple[bytes, ...]
    environ: Mapping[bytes, bytes]
    directory: str
    stdin: bytes
    use_pty: bool


@attrs.frozen
class Signal(Effect[bool]):
    """Send the signal `SIG<name>` to a process and its whole group; the reply is False if it was gone."""

    process: int
    name: str


@attrs.frozen
class Abandon(Effect[None]):
    """Close our ends of a process's streams and report nothing more about it."""

    process: int


HostEffect: TypeAlias = (
    OpenConnection | CloseConnection | MakeDirs | ListDir | ReadDir | StatFile | ReadFile | Spawn | Signal | Abandon
)


@attrs.frozen
class Request:
    """An effect of the outer ring that is to be started now."""

    id: int
    effect: HostEffect


# -- what scripts are told


@attrs.frozen
class ProcessOutput:
    """A process wrote `data` to `stream`, which is `stdout` or `stderr`."""

    process: int
    stream: str
    data: bytes


@attrs.frozen
class ProcessExited:
    """A process ended, by itself with `code` or by the signal number `signal`. Output may still follow."""

    process: int
    code: int
    signal: int | None


@attrs.frozen
class ProcessClosed:
    """The last of a process's output streams is at its end."""

    process: int


@attrs.frozen
class TimerFired:
    """A timer set by `SetTimer` is due."""

    key: str


@attrs.frozen
class Interrupted:
    """The master, or the end of its connection, asks the command to stop. `why` is for people."""

    why: str


ProcessEvent: TypeAlias = ProcessOutput | ProcessExited | ProcessClosed
ScriptEvent: TypeAlias = ProcessEvent | TimerFired | Interrupted
