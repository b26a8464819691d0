"""Effects, which scripts ask for, and the events that scripts are told.

A script is a generator that yields effects and receives their replies: `data = yield from ReadFile(path, 0, 100)`.

Rules. Effects of the *inner ring* are answered by the session itself (`scripts`, `slave.command`). Effects of the
*outer ring* leave the session as `Request`s; a runner performs them and reports back with `Completed` or `Rejected`. A
runner has to perform all of `HostEffect`, and nothing else is asked of it.

To add an effect on files: a class that derives from `EffectOnFiles` and a row of `FileEffect` here, a `case` in
`transports.host.files`, and one in `testing.memory_host`. mypy names a `case` that is missing, a test a row.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from slaveproto.errors import HostError
from slaveproto.records import record
from slaveproto.wire.values import Failure, Remote, Value

T_co = TypeVar("T_co", covariant=True)


class Effect(Generic[T_co]):
    """An effect that a script asks for; `yield from` it to get the reply."""

    __slots__ = ()

    def __iter__(self) -> Generator[Effect[Any], Any, T_co]:
        reply: T_co = yield self
        return reply


class EffectOnFiles(Effect[T_co]):
    """An effect on files and directories: the members of `FileEffect` derive from it."""

    __slots__ = ()


T = TypeVar("T")
Script: TypeAlias = Generator[Effect[Any], Any, T]


# -- the inner ring


@record
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


@record
class SendItem(Effect[None]):
    """Add one update that is not text, such as `rc`."""

    key: str
    value: Value


@record
class SetTimer(Effect[None]):
    """Have a `TimerFired(key)` in `after` seconds, instead of any earlier setting; None cancels."""

    key: str
    after: float | None


@record
class Now(Effect[float]):
    """Ask for the present time in seconds; only differences of such times mean anything."""


@record
class OutputUnread(Effect[bool]):
    """Ask whether the children's output is left unread at present, because the master takes in nothing."""


@record
class Heard(Effect[bool]):
    """Ask whether the master still listens to the updates."""


@record
class NextEvent(Effect["ScriptEvent"]):
    """Wait for the next event; events that happened already come first, then timers that are due."""


@record
class Begin(Effect[int]):
    """Ask for an effect on files without waiting for it; the reply is the number that its `EffectDone` will carry.

    An effect that is not done at the end of the script is cancelled.
    """

    effect: EffectOnFiles[Any]


@record
class BeginCall(Effect[int]):
    """Call a method of the master's object; the reply is the number that its `CallDone` will carry.

    Calls are carried out and answered in their order. LocalProtocolError is thrown in if an argument cannot be sent.

    Args:
        target: an object that came with the arguments of the command.
    """

    target: Remote
    method: str
    args: tuple[Value, ...] = ()


# -- the outer ring


@record
class OpenConnection(Effect[None]):
    """Open a TCP connection. Never replied to: report `Connected`, `Received`, `Disconnected` with the request's id."""

    host: str
    port: int


@record
class CloseConnection(Effect[None]):
    """Send `last`, then close the connection that request `connection` opened. Report nothing more about it."""

    connection: int
    last: bytes


@record
class CountUnacknowledged(Effect[int]):
    """Tell how many bytes of what was sent the peer's system has not acknowledged; `connection` is as above.

    The reply is what the runner has not handed over to its system yet, and what that system keeps to send it again; 0
    for a connection that is over. It has to come at once. A failure counts as if nothing had been acknowledged since.
    """

    connection: int


@record
class MakeDirs(EffectOnFiles[bool]):
    """Create a directory and its parents; the reply tells whether it was not there before."""

    path: str


@record
class ListDir(EffectOnFiles[tuple[str, ...]]):
    """Name the entries of a directory that are directories themselves."""

    path: str


@record
class ReadDir(EffectOnFiles[Mapping[str, bytes]]):
    """Read every regular file in a directory that can be read; empty if there is no such directory."""

    path: str


@record
class FileStamp:
    """Facts about a file that differ once it has changed. Times are in nanoseconds."""

    inode: int
    size: int
    mtime: int
    ctime: int


@record
class Stat(EffectOnFiles["FileStamp | None"]):
    """Look at a file; None if there is none."""

    path: str


@record
class ReadFile(EffectOnFiles[bytes]):
    """Read up to `size` bytes at `offset`; fewer only at the end of the file."""

    path: str
    offset: int
    size: int


@record
class CreateTemp(EffectOnFiles[str]):
    """Create an empty file of a new name beside `path`, and the directories above it; the reply is its path."""

    path: str


@record
class WriteFile(EffectOnFiles[None]):
    """Write all of `data` at `offset` of a file that is there."""

    path: str
    offset: int
    data: bytes


@record
class PlaceFile(EffectOnFiles[None]):
    """Bring a file safely to the disk, and then to the place of `target` in one step, whatever file was there.

    Args:
        mode: permission bits; None for those that any new file would get.
    """

    path: str
    target: str
    mode: int | None


@record
class Unlink(EffectOnFiles[bool]):
    """Remove a file or a link; the reply is False if it was not there."""

    path: str


@record
class SetTimes(EffectOnFiles[None]):
    """Set when a file was last read and changed, in seconds since 1970."""

    path: str
    accessed: float
    modified: float


@record
class UnpackTree(EffectOnFiles[tuple[str, ...]]):
    """Unpack a tar archive into a directory, over what is there. Nothing outside the directory is touched.

    It is unpacked beside the directory and then moved into it, so that a part of it is never seen there. What an honest
    archive may contain and this host cannot have is left out: links that lead out, devices, names that are too long.
    The reply is a line of text for each such entry, or for the first of them. What no honest archive contains makes all
    of it fail, such as a name that leads out.

    Args:
        archive: path of the archive.
        compression: `gz`, `bz2` or empty.
        target: path of the directory.
        limit: most bytes of all files together.
        entries: most files, directories and links.
    """

    archive: str
    compression: str
    target: str
    limit: int
    entries: int


@record
class PathInfo:
    """Facts about a file, directory or link. Times are in nanoseconds since 1970.

    Args:
        mode: type and permission bits, as `stat.S_IFMT` and `stat.S_IMODE` take them apart.
    """

    mode: int
    inode: int
    device: int
    links: int
    uid: int
    gid: int
    size: int
    accessed: int
    modified: int
    changed: int


@record
class TreeEntry:
    """One entry of a directory: its name, facts about it, and the target if it is a link; links are not followed."""

    name: str
    info: PathInfo
    link: str


@record
class StatPath(EffectOnFiles[PathInfo]):
    """Look at a file, directory or anything else; links are followed."""

    path: str


@record
class ListNames(EffectOnFiles[tuple[str, ...]]):
    """Name everything in a directory, sorted."""

    path: str


@record
class ScanDir(EffectOnFiles[tuple[TreeEntry, ...]]):
    """Look at everything in a directory, sorted by name; links are not followed."""

    path: str


@record
class ExpandGlob(EffectOnFiles[tuple[str, ...]]):
    """Find the paths that match a pattern, sorted; with `recursive`, `**` is any number of directories."""

    pattern: str
    recursive: bool


@record
class RemoveTree(EffectOnFiles[tuple[str, ...]]):
    """Remove a directory with all that is in it, or a file; one that is not there is fine.

    Links are removed, not followed; directories that may not be changed are made writable first. A path that cannot be
    removed does not stop the rest: the reply is a line of text for each such path, or for the first of them.
    """

    path: str


@record
class CopyTree(EffectOnFiles[tuple[str, ...]]):
    """Copy a directory or file as `cp -R -P -p` does, into `target` if that is a directory; its parents are created.

    Links are copied as links; permissions and times are kept, the owner where that is allowed. A path that cannot be
    copied does not stop the rest: the reply is a line of text for each such path, or for the first of them.
    """

    source: str
    target: str


@record
class Cancel(Effect[None]):
    """End a request on files that may take long: it fails with ECANCELED soon, unless it is done first."""

    request: int


@record
class Spawn(Effect[int]):
    """Start a process in a process group of its own; the reply is the request's id, which names the process.

    A pseudo-terminal becomes its standard streams and controlling terminal if `use_pty`, and its output then is all
    `stdout`. Otherwise it gets pipes. `stdin` is written, then standard input is closed.

    Args:
        argv: the program and its arguments; with `script`, one text.
        environ: its whole environment.
        script: whether that text is for the host's own shell: a batch file. Only asked of a Windows host.
        encoding: the encoding of `argv` and `environ`, for hosts whose processes take text.
        kill_leftovers: whether what it started and left behind is killed when it ends, even if it ends by itself.
    """

    argv: tuple[bytes, ...]
    environ: Mapping[bytes, bytes]
    directory: str
    stdin: bytes
    use_pty: bool
    script: bool = False
    encoding: str = "utf-8"
    kill_leftovers: bool = False


@record
class Signal(Effect[bool]):
    """Send the signal `SIG<name>` to a process and all that it started; the reply is False if they were gone.

    It is the beginning of their end: what is left when the process has ended is killed. All that it started is at least
    its process group, and more where the system tells of it.
    """

    process: int
    name: str


@record
class Holder:
    """A process that holds an output of another one open: its number, and its name for people."""

    pid: int
    name: str


@record
class FindHolders(Effect[tuple[Holder, ...]]):
    """Find those that hold the outputs of a process open; empty where the system does not tell."""

    process: int


@record
class Abandon(Effect[None]):
    """Close our ends of a process's streams and report nothing more about it."""

    process: int


FileEffect: TypeAlias = (
    MakeDirs
    | ListDir
    | ReadDir
    | Stat
    | ReadFile
    | CreateTemp
    | WriteFile
    | PlaceFile
    | Unlink
    | SetTimes
    | UnpackTree
    | StatPath
    | ListNames
    | ScanDir
    | ExpandGlob
    | RemoveTree
    | CopyTree
)
HostEffect: TypeAlias = (
    OpenConnection
    | CloseConnection
    | CountUnacknowledged
    | FileEffect
    | Cancel
    | Spawn
    | Signal
    | FindHolders
    | Abandon
)


@record
class Request:
    """An effect of the outer ring that is to be started now."""

    id: int
    effect: HostEffect


# -- events, which scripts are told


@record
class ProcessOutput:
    """A process wrote `data` to `stream`, which is `stdout` or `stderr`."""

    process: int
    stream: str
    data: bytes


@record
class ProcessExited:
    """A process ended, by itself with `code` or by the signal number `signal`. Output may still follow."""

    process: int
    code: int
    signal: int | None


@record
class ProcessClosed:
    """The last of a process's output streams is at its end."""

    process: int


@record
class TimerFired:
    """A timer set by `SetTimer` is due."""

    key: str


@record
class Interrupted:
    """The master, or the end of its connection, asks the command to stop. `why` is for people."""

    why: str


@record
class EffectDone:
    """An effect that was begun is over: with `result` as its reply, or as `error` says if that is set."""

    number: int
    result: Any
    error: HostError | None = None


@record
class CallDone:
    """A call that was begun is over: answered with `value`, or failed if `failure` is set.

    `lost` says that it will never be answered, because the connection is over or the master does not listen any more.
    """

    number: int
    value: Value
    failure: Failure | None = None
    lost: bool = False


ProcessEvent: TypeAlias = ProcessOutput | ProcessExited | ProcessClosed
ScriptEvent: TypeAlias = ProcessEvent | TimerFired | Interrupted | EffectDone | CallDone
