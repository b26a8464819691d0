"""Unpacking of archives that come from elsewhere, and may be made to do harm.

Rules. Two kinds of entries are not unpacked. What no slave's archive of a real directory contains (a name that leads
out, an entry below a link) is hostile: all of the archive is refused (`_refuse`). What a real directory may well
contain and is no use here, or cannot be had here, is odd: it is left out, with a line of text (`_Odd`).
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import os
import re
import secrets
import stat
import tarfile
import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from slaveproto.effects import UnpackTree
from transports.host.cancelling import Cancellation, Problems
from transports.host.system import disk, removal

BLOCK: Final = 16 * 1024

DEEPEST: Final = 200
"""Directories inside directories."""

LARGEST_HEADER: Final = 16 * 1024
"""Bytes of one header, such as a long name."""

OVERHEAD: Final = 4096
"""Bytes of header and padding that an entry may have on the average."""

MOST_GLOBAL: Final = 100
"""Headers of an archive that hold for all entries after them."""

_MOST_LINKS: Final = 40
_MOST_ROUNDS: Final = 10
_NO_NAME_HERE: Final = (errno.ENAMETOOLONG, errno.EILSEQ)
_DIGITS: Final = re.compile(rb"[0-9]{256}")

Place = tuple[str, ...]
"""A place in a tree, as the names on the way from the top."""


class _Odd(Exception):
    """An entry is to be left out; the text says why."""


def unpack(effect: UnpackTree, check: Cancellation) -> tuple[str, ...]:
    """Unpack an archive beside its target, then move it there; return lines about what is left out.

    Raises:
        OSError: it is no archive, has more in it than is allowed, or something that is not; or it cannot be written.
    """
    target = effect.target
    parent, name = os.path.split(target)
    os.makedirs(parent, exist_ok=True)
    if os.path.lexists(target) and not os.path.isdir(target):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    staging = os.path.join(parent, f".{name[:40]}.{secrets.token_hex(6)}.part")
    os.mkdir(staging)
    try:
        with _opened(effect) as stream:
            budget = effect.limit + OVERHEAD * effect.entries + 2 * tarfile.RECORDSIZE
            unpacker = _Unpacker(effect, staging, check)
            try:
                forward = _Forward(stream, budget, check)
                unpacker.run(forward)
                # Only at its end does a compressed stream show whether it is whole.
                while forward.take(BLOCK):
                    pass
            except (tarfile.TarError, EOFError, zlib.error, ValueError, OverflowError, RecursionError) as error:
                raise OSError(errno.EBADMSG, f"no archive that can be read: {error}") from None
        unpacker.check_links()
        check()
        if os.path.lexists(target):
            _merge(staging, target, unpacker.left_out)
        else:
            os.rename(staging, target)
        return tuple(unpacker.left_out.lines)
    finally:
        with contextlib.suppress(OSError):
            removal.remove(staging, Cancellation(None))


def _refuse(why: str) -> OSError:
    return OSError(errno.EPERM, f"refused: {why}")


class _ReadableStream(Protocol):
    def read(self, size: int, /) -> bytes: ...


@contextlib.contextmanager
def _opened(effect: UnpackTree) -> Iterator[_ReadableStream]:
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(effect.archive, "rb"))
        match effect.compression:
            case "":
                yield raw
            case "gz":
                yield stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb"))
            case "bz2":
                yield stack.enter_context(bz2.BZ2File(raw))
            case other:
                raise OSError(errno.EINVAL, f"no such compression: {other}")


class _Forward(io.RawIOBase):
    """A stream that only goes forward, and not for ever. What wants to go back is no honest archive."""

    def __init__(self, stream: _ReadableStream, budget: int, check: Cancellation) -> None:
        self._stream = stream
        self._budget = budget
        self._check = check
        self._position = 0
        self.in_content = False

    def read(self, size: int = -1) -> bytes:
        data = self.take(size)
        # No name has so many; a header of digits costs the square of its length to read.
        if not self.in_content and _DIGITS.search(data):
            raise _refuse("a header of too many digits")
        return data

    def take(self, size: int) -> bytes:
        """Read without looking."""
        if not 0 <= size <= LARGEST_HEADER:
            raise _refuse("a header that is too large")
        parts = []
        while size:
            self._check()
            part = self._stream.read(size)
            if not part:
                break
            size -= len(part)
            self._position += len(part)
            parts.append(part)
        if self._position > self._budget:
            raise _refuse("more in it than is allowed")
        return b"".join(parts)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position < self._position:
            raise _refuse("an archive that goes back")
        while position > self._position and self.take(min(BLOCK, position - self._position)):
            pass
        return self._position


class _Unpacker:
    def __init__(self, effect: UnpackTree, staging: str, check: Cancellation) -> None:
        self._target = effect.target
        self._bytes_left = effect.limit
        self._entries_left = effect.entries
        self._staging = staging
        self._check = check
        self._directories: set[Place] = {()}
        self._files: set[Place] = set()
        self._links: dict[Place, str] = {}
        self.left_out = Problems()

    def run(self, stream: _Forward) -> None:
        self._stream = stream
        with tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                # It keeps every member otherwise.
                vars(archive)["members"].clear()
                # What is said once for all that follow is kept, too, and there is no end of it.
                if len(archive.pax_headers) > MOST_GLOBAL:
                    raise _refuse("too many global headers")
                self._check()
                try:
                    self._take(member, archive)
                except _Odd as odd:
                    self.left_out.note(f"{member.name!r}: {odd}")
                except OSError as error:
                    if error.errno not in _NO_NAME_HERE:
                        raise
                    self.left_out.note(f"{member.name!r}: {error.strerror}")

    def _take(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        place = _place_of(member.name)
        if member.isdir():
            self._make_directory(place)
            return
        if not place:
            raise _refuse("a file without a name")
        self._make_directory(place[:-1])
        if place in self._directories:
            raise _refuse(f"{member.name!r} is a directory and a file")
        self._count()
        path = self._path(place)
        if place in self._files or place in self._links:
            os.unlink(path)
            self._files.discard(place)
            self._links.pop(place, None)
        if member.issym():
            disk.make_link(member.linkname, path)
            self._links[place] = member.linkname
        elif member.islnk():
            first = _place_of(member.linkname)
            if first not in self._files:
                raise _Odd("a second name of what is no file of the archive")
            disk.make_hard_link(self._path(first), path)
            self._files.add(place)
        elif member.isreg() and not member.issparse():
            self._write(member, archive, path)
            self._files.add(place)
        else:
            raise _Odd("neither file, directory nor link")

    def _count(self) -> None:
        self._entries_left -= 1
        if self._entries_left < 0:
            raise _refuse("more entries than are allowed")

    def _make_directory(self, place: Place) -> None:
        for end in range(1, len(place) + 1):
            part = place[:end]
            if part in self._directories:
                continue
            if part in self._files or part in self._links:
                raise _refuse(f"{'/'.join(part)!r} is a directory and something else")
            self._count()
            os.mkdir(self._path(part))
            self._directories.add(part)

    def _write(self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str) -> None:
        if not 0 <= member.size <= self._bytes_left:
            raise _refuse("more in it than is allowed")
        self._bytes_left -= member.size
        source = archive.extractfile(member)
        assert source is not None, "regular files have content"
        with open(path, "xb") as file:
            self._stream.in_content = True
            left = member.size
            while left:
                block = source.read(min(BLOCK, left))
                if not block:
                    raise EOFError("the archive ends in the middle of a file")
                file.write(block)
                left -= len(block)
            self._stream.in_content = False
            # Its owner reads and writes it; no other user writes it, and nothing runs with another user's rights.
            mode = member.mode & 0o755 if member.mode & 0o100 else member.mode & 0o644
            disk.set_mode(file.fileno(), path, mode | 0o600)
        with contextlib.suppress(OverflowError, OSError):
            os.utime(path, (member.mtime, member.mtime))

    def _path(self, place: Place) -> str:
        return os.path.join(self._staging, *place)

    def check_links(self) -> None:
        """Follow every link as the system will, once all is in its place; leave out those that lead out."""
        # Without one of them, others may lead elsewhere.
        for _ in range(_MOST_ROUNDS):
            before = len(self._links)
            for place, link in list(self._links.items()):
                try:
                    self._follow(place, link)
                except _Odd as odd:
                    self.left_out.note(f"{'/'.join(place)!r}: {odd}")
                    os.unlink(self._path(place))
                    del self._links[place]
            if len(self._links) == before:
                return
        raise _refuse("too many links that depend on each other")

    def _follow(self, place: Place, link: str) -> None:
        here = list(place[:-1])
        todo = _steps(link)
        # How many of them are the link's own, and not those of a link on its way.
        own = len(todo)
        followed = 0
        while todo:
            is_own = len(todo) == own
            own -= is_own
            step = todo.pop()
            if step == "..":
                # Back from what is no directory yet may lead anywhere, once a link is put in its place. So may back
                # from a link, once it is another one.
                if not here or not self._is_directory((*here,)) or (is_own and followed):
                    raise _Odd("a link that leads out")
                here.pop()
                continue
            here.append(step)
            further = self._link_at((*here,))
            if further is not None:
                followed += 1
                if followed > _MOST_LINKS:
                    raise _Odd("a link that leads nowhere")
                here.pop()
                todo += _steps(further)

    def _is_directory(self, place: Place) -> bool:
        if place in self._files or place in self._links:
            return False
        return place in self._directories or os.path.isdir(os.path.join(self._target, *place))

    def _link_at(self, place: Place) -> str | None:
        if place in self._links:
            return self._links[place]
        if place not in self._files and place not in self._directories:
            with contextlib.suppress(OSError):
                return disk.read_link(os.path.join(self._target, *place))
        return None


def _place_of(name: str) -> Place:
    """Return where a member belongs; raises OSError if that is no place of ours."""
    # Real slaves call the top itself "/".
    if name.strip("/") and name.startswith("/"):
        raise _refuse(f"the absolute name {name!r}")
    place = (*(part for part in name.split("/") if part not in ("", ".")),)
    if ".." in place:
        raise _refuse(f"the name {name!r} leads out")
    if not all(map(disk.may_be_name, place)):
        raise _Odd("a name that means something else here")
    if len(place) > DEEPEST:
        raise _Odd("directories that are too deep")
    return place


def _steps(link: str) -> list[str]:
    """Return the names on the way of a link, the first one last."""
    if link.startswith("/"):
        raise _Odd("a link to an absolute path")
    steps = [part for part in reversed(link.split("/")) if part not in ("", ".")]
    if not all(step == ".." or disk.may_be_name(step) for step in steps):
        raise _Odd("a link to what means something else here")
    return steps


def _merge(staging: str, target: str, left_out: Problems) -> None:
    """Move what is in `staging` over what is in `target`; a file takes no directory's place."""
    todo = [""]
    while todo:
        inner = todo.pop()
        with os.scandir(os.path.join(staging, inner)) as entries:
            for entry in entries:
                place = os.path.join(inner, entry.name)
                there = os.path.join(target, place)
                if not entry.is_dir(follow_symlinks=False):
                    try:
                        disk.replace(entry.path, there)
                    except IsADirectoryError:
                        left_out.note(f"{place!r}: there is a directory of that name")
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if not stat.S_ISDIR(disk.mode_of(os.lstat(there))):
                        # A link here would be a way out.
                        disk.unlink(there)
                with contextlib.suppress(FileExistsError):
                    os.mkdir(there)
                todo.append(place)
