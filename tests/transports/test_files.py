"""The effects on files: what they do, and what they refuse."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from slaveproto.effects import (
    CopyTree,
    CreateTemp,
    ExpandGlob,
    ListNames,
    PlaceFile,
    ReadFile,
    RemoveTree,
    ScanDir,
    SetTimes,
    StatPath,
    TreeEntry,
    Unlink,
    UnpackTree,
    WriteFile,
)
from transports.host.files import perform

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory, and nobody's rights to it: root may do everything, which would prove nothing."""
    place = tmp_path / "place"
    place.mkdir()
    if os.geteuid():
        yield place
        return
    for directory in (place, *list(place.parents)[:4]):
        if directory != Path("/tmp"):
            directory.chmod(0o755)
    os.chown(place, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield place
    finally:
        os.seteuid(0)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def fails_with(number: int, effect: object, cancelled: threading.Event | None = None) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
        perform(effect, cancelled)  # type: ignore[arg-type]
    assert caught.value.errno == number


# -- single files


def test_a_file_is_made_beside_its_place_and_then_put_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "dirs" / "file"
    temp = perform(CreateTemp(str(target)))
    assert isinstance(temp, str)
    assert Path(temp).parent == target.parent
    assert not target.exists()
    perform(WriteFile(temp, 3, b"def"))
    perform(WriteFile(temp, 0, b"abc"))
    perform(PlaceFile(temp, str(target), 0o751))
    assert target.read_bytes() == b"abcdef"
    assert mode_of(target) == 0o751
    assert names(target.parent) == ["file"]
    assert perform(Unlink(str(target))) is True
    assert perform(Unlink(str(target))) is False


def test_a_placed_file_gets_ordinary_permissions_and_replaces_links(tmp_path: Path) -> None:
    other, link, ordinary = tmp_path / "other", tmp_path / "link", tmp_path / "ordinary"
    other.write_bytes(b"other")
    link.symlink_to(other)
    ordinary.touch()
    temp = str(perform(CreateTemp(str(link))))
    perform(PlaceFile(temp, str(link), None))
    assert not link.is_symlink()
    assert mode_of(link) == mode_of(ordinary)
    assert other.read_bytes() == b"other"


def test_names_may_be_as_long_as_they_can_be(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    temp = str(perform(CreateTemp(str(target))))
    perform(PlaceFile(temp, str(target), None))
    assert target.exists()


def test_directories_and_devices_are_not_replaced(tmp_path: Path) -> None:
    fails_with(errno.EISDIR, CreateTemp(str(tmp_path)))
    os.mkfifo(tmp_path / "fifo")
    fails_with(errno.EEXIST, CreateTemp(str(tmp_path / "fifo")))
    temp = str(perform(CreateTemp(str(tmp_path / "file"))))
    fails_with(errno.EEXIST, PlaceFile(temp, str(tmp_path / "fifo"), None))
    fails_with(errno.EISDIR, PlaceFile(temp, str(tmp_path), None))


def test_writing_follows_no_link_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    fails_with(errno.ELOOP, WriteFile(str(tmp_path / "link"), 0, b"x"))
    fails_with(errno.ENOENT, WriteFile(str(tmp_path / "none"), 0, b"x"))


def test_times(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    perform(SetTimes(str(file), 1000000000.5, 1000000001.25))
    info = perform(StatPath(str(file)))
    found = file.stat()
    assert info.accessed == found.st_atime_ns == 1000000000_500000000  # type: ignore[attr-defined]
    assert info.modified == found.st_mtime_ns == 1000000001_250000000  # type: ignore[attr-defined]


def test_looking_at_a_directory(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"12")
    (tmp_path / "a").mkdir()
    (tmp_path / "c").symlink_to("../gone")
    assert perform(ListNames(str(tmp_path))) == ("a", "b", "c")
    found = perform(ScanDir(str(tmp_path)))
    assert isinstance(found, tuple)
    entries: list[TreeEntry] = list(found)
    assert [(entry.name, entry.link) for entry in entries] == [("a", ""), ("b", ""), ("c", "../gone")]
    assert [stat.S_IFMT(entry.info.mode) for entry in entries] == [stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK]
    assert entries[1].info.size == 2
    assert perform(ReadFile(str(tmp_path / "b"), 1, 5)) == b"2"
    fails_with(errno.ENOENT, ScanDir(str(tmp_path / "none")))
    fails_with(errno.ENOENT, StatPath(str(tmp_path / "c")))


def test_globbing(tmp_path: Path) -> None:
    for name in ("a/b/c.x", "a/d.x", "e.x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert perform(ExpandGlob(f"{tmp_path}/*.x", False)) == (f"{tmp_path}/e.x",)
    assert perform(ExpandGlob(f"{tmp_path}/**/*.x", False)) == (f"{tmp_path}/a/d.x",)
    assert perform(ExpandGlob(f"{tmp_path}/**/*.x", True)) == tuple(
        f"{tmp_path}/{n}" for n in ("a/b/c.x", "a/d.x", "e.x")
    )
    assert perform(ExpandGlob(f"{tmp_path}/none*", True)) == ()


# -- removing


def test_removes_a_tree_and_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").touch()
    (tree / "link").symlink_to(outside)
    (tree / "a" / "dangling").symlink_to("nowhere")
    assert perform(RemoveTree(str(tree))) == ()
    assert names(tmp_path) == ["outside", "outside/kept"]


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("..")])
def test_removes_whatever_has_the_name(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "it")
    assert perform(RemoveTree(str(tmp_path / "it"))) == ()
    assert names(tmp_path) == []


def test_what_is_not_there_is_removed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("none", "none/at/all", "file/below"):
        assert perform(RemoveTree(str(tmp_path / name))) == ()
    fails_with(errno.EINVAL, RemoveTree("/"))


def test_removes_a_tree_that_may_not_be_changed(place: Path) -> None:
    closed = place / "tree" / "closed"
    (closed / "inner").mkdir(parents=True)
    (closed / "file").touch()
    for directory, mode in ((closed / "inner", 0o000), (closed, 0o500), (place / "tree", 0o100)):
        directory.chmod(mode)
    assert perform(RemoveTree(str(place / "tree"))) == ()
    assert names(place) == []


def test_what_cannot_be_removed_keeps_nothing_else(place: Path) -> None:
    tree = place / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "b").touch()
    place.chmod(0o500)
    assert perform(RemoveTree(str(tree))) == (f"{tree}: Permission denied",)
    assert names(place) == ["tree"]
    place.chmod(0o700)


def test_half_a_tree_never_has_the_name_of_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for name in "abc":
        (tree / name).mkdir(parents=True)
    cancelled, rmdir = threading.Event(), os.rmdir

    def once(path: str, dir_fd: int | None = None) -> None:
        rmdir(path, dir_fd=dir_fd)
        cancelled.set()

    monkeypatch.setattr(os, "rmdir", once)
    fails_with(errno.ECANCELED, RemoveTree(str(tree)), cancelled)
    monkeypatch.undo()
    assert len(names(tmp_path)) == 3
    assert names(tmp_path)[0] == ".tree.removed"
    tree.mkdir()
    assert perform(RemoveTree(str(tree))) == ()
    assert names(tmp_path) == []


def test_what_is_left_of_a_tree_keeps_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what was left of an earlier one, which is no problem of the one that is removed now."""
    for name in ("tree", ".tree.removed"):
        (place / name).mkdir()
        (place / name / "stuck").touch()
    unlink = os.unlink

    def refuse(path: str, dir_fd: int | None = None) -> None:
        if path == "stuck":
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    assert perform(RemoveTree(str(place / "tree"))) == (f"{place}/tree/stuck: Permission denied",)
    monkeypatch.undo()
    assert names(place) == [".tree.removed", ".tree.removed/stuck", "tree", "tree/stuck"]
    assert perform(RemoveTree(str(place / "tree"))) == ()
    assert names(place) == []
    (place / "tree").mkdir()
    (place / "tree" / "stuck").touch()
    monkeypatch.setattr(os, "unlink", refuse)
    assert perform(RemoveTree(str(place / "tree"))) == (f"{place}/tree/stuck: Permission denied",)
    assert names(place) == ["tree", "tree/stuck"]


def test_removes_a_tree_deeper_than_paths_and_open_files_reach(tmp_path: Path) -> None:
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(2500):
            os.mkdir("deeper")
            os.chdir("deeper")
    finally:
        os.chdir(before)
    assert perform(RemoveTree(str(tmp_path / "deeper"))) == ()
    assert names(tmp_path) == []


# -- copying


def test_copies_as_cp_does(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_bytes(b"x" * 3_000_000)
    (source / "sub" / "link").symlink_to("../file")
    (source / "sub" / "dangling").symlink_to("nowhere")
    os.mkfifo(source / "fifo", 0o640)
    (source / "file").chmod(0o751)
    (source / "sub").chmod(0o700)
    for path in (source / "file", source / "sub" / "link", source / "sub", source):
        os.utime(path, ns=(10**18 + 1, 10**18 + 3), follow_symlinks=False)
    target = tmp_path / "new" / "dirs" / "copy"
    assert perform(CopyTree(str(source), str(target))) == ()
    assert names(target) == names(source)
    assert (target / "file").read_bytes() == (source / "file").read_bytes()
    assert os.readlink(target / "sub" / "link") == "../file"
    for name in ("", "file", "sub", "sub/link", "fifo"):
        old, new = (source / name).lstat(), (target / name).lstat()
        assert (old.st_mode, old.st_mtime_ns) == (new.st_mode, new.st_mtime_ns), name


def test_copies_into_a_directory_that_is_there_and_over_what_is_in_it(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    source.mkdir()
    (source / "file").write_bytes(b"new")
    (source / "link").write_bytes(b"new")
    (target / "source").mkdir(parents=True)
    (target / "source" / "file").write_bytes(b"a longer old one")
    (target / "source" / "link").symlink_to(outside)
    assert perform(CopyTree(str(source), str(target))) == ()
    assert (target / "source" / "file").read_bytes() == b"new"
    assert (target / "source" / "link").read_bytes() == b"new"
    assert outside.read_bytes() == b"outside"


def test_copies_nothing_into_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    inside = source / "sub" / "inside"
    assert perform(CopyTree(str(source), str(inside))) == (f"{inside}: a directory is not copied into itself",)
    (tmp_path / "file").write_bytes(b"kept")
    file = tmp_path / "file"
    assert perform(CopyTree(str(file), str(tmp_path))) == (f"{file}: source and target are the same",)
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_what_cannot_be_copied_keeps_nothing_else(place: Path) -> None:
    (place / "tree").mkdir()
    for name in "abc":
        (place / "tree" / name).write_text(name)
    (place / "tree" / "b").chmod(0)
    assert perform(CopyTree(str(place / "tree"), str(place / "copy"))) == (f"{place}/tree/b: Permission denied",)
    assert names(place / "copy") == ["a", "c"]
    assert perform(CopyTree(str(place / "none"), str(place / "copy2"))) == (f"{place}/none: No such file or directory",)


def test_what_takes_long_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").touch()
    archive = tmp_path / "a.tar"
    archive.write_bytes(tar(member("a", b"x")))
    cancelled = threading.Event()
    cancelled.set()
    for effect in (
        RemoveTree(str(tmp_path / "tree")),
        CopyTree(str(tmp_path / "tree"), str(tmp_path / "copy")),
        ScanDir(str(tmp_path / "tree")),
        ExpandGlob(f"{tmp_path}/*", False),
        UnpackTree(str(archive), "", str(tmp_path / "out"), 100, 100),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
            perform(effect, cancelled)
        assert caught.value.errno == errno.ECANCELED
    assert names(tmp_path) == ["a.tar", "tree", "tree/file"]


# -- unpacking


Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mtime = 10**9
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, mode: int = 0o755) -> Member:
    return member(name, type=tarfile.DIRTYPE, mode=mode)


def link(name: str, target: str) -> Member:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> Member:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(*members: Member, style: int = tarfile.GNU_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=style) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


class Unpacking:
    """A target, an archive for it, and something beside it that nobody must touch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.target = root / "in" / "target"
        self.outside = root / "in" / "outside"
        self.outside.mkdir(parents=True)
        (self.outside / "kept").write_bytes(b"kept")

    def run(self, data: bytes, compression: str = "", limit: int = 10_000_000, entries: int = 1000) -> object:
        archive = self.root / "archive"
        archive.write_bytes(data)
        return perform(UnpackTree(str(archive), compression, str(self.target), limit, entries))

    def check_nothing_happened(self) -> None:
        assert names(self.root / "in") == ["outside", "outside/kept"]
        assert (self.outside / "kept").read_bytes() == b"kept"


@pytest.fixture
def unpacking(tmp_path: Path) -> Unpacking:
    return Unpacking(tmp_path)


ORDINARY = (
    directory("/", 0o700),
    directory("sub"),
    member("sub/file", b"content", mode=0o751),
    member("setuid", b"x", mode=0o6777),
    member("hidden", b"x", mode=0),
    link("link", "sub/file"),
    link("sub/up", "../setuid"),
    link("dangling", "none"),
    hard_link("again", "sub/file"),
    member("implied/dirs/file", b"y"),
    member("a" * 150 + "/" + "b" * 150, b"long"),
)


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    ("compression", "compress"), [("", bytes), ("gz", gzip.compress), ("bz2", bz2.compress)], ids=["", "gz", "bz2"]
)
def test_unpacks(unpacking: Unpacking, style: int, compression: str, compress: Callable[[bytes], bytes]) -> None:
    unpacking.run(compress(tar(*ORDINARY, style=style)), compression)
    target = unpacking.target
    assert (target / "sub" / "file").read_bytes() == b"content"
    assert (target / "sub" / "file").stat().st_ino == (target / "again").stat().st_ino
    assert (target / "sub" / "file").stat().st_mtime == 10**9
    assert (target / ("a" * 150) / ("b" * 150)).read_bytes() == b"long"
    assert (target / "implied" / "dirs" / "file").read_bytes() == b"y"
    assert os.readlink(target / "sub" / "up") == "../setuid"
    modes = {name: mode_of(target / name) for name in ("sub/file", "setuid", "hidden")}
    assert modes == {"sub/file": 0o751, "setuid": 0o755, "hidden": 0o600}
    assert mode_of(target) == mode_of(unpacking.outside)
    assert names(unpacking.root / "in")[0] == "outside"
    assert not [name for name in os.listdir(unpacking.root / "in") if name.startswith(".")]


def test_unpacks_over_what_is_there(unpacking: Unpacking) -> None:
    target = unpacking.target
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "file").write_bytes(b"old")
    (target / "sub" / "other").write_bytes(b"other")
    (target / "way out").symlink_to(unpacking.outside)
    (target / "setuid").symlink_to(unpacking.outside / "kept")
    unpacking.run(tar(*ORDINARY, directory("way out"), member("way out/kept", b"overwritten")))
    assert (target / "sub" / "file").read_bytes() == b"content"
    assert (target / "sub" / "other").read_bytes() == b"other"
    assert (target / "way out" / "kept").read_bytes() == b"overwritten"
    assert not (target / "way out").is_symlink()
    assert (target / "setuid").read_bytes() == b"x"
    assert (unpacking.outside / "kept").read_bytes() == b"kept"


def raw_header(**fields: bytes) -> bytes:
    """A header with fields that no library would write, and a checksum that is right all the same."""
    places = {"name": (0, 100), "size": (124, 12), "typeflag": (156, 1)}
    header = bytearray(tarfile.TarInfo("file").tobuf(tarfile.GNU_FORMAT))
    for name, value in fields.items():
        start, length = places[name]
        header[start : start + length] = value.ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HOSTILE: dict[str, tuple[Member, ...]] = {
    "parent": (member("../outside/kept", b"bad"),),
    "parent inside": (directory("a"), member("a/../../outside/kept", b"bad")),
    "absolute": (member("/etc/slaveproto-test", b"bad"),),
    "absolute directory": (directory("/etc"),),
    "through a link": (link("a", "../outside"), member("a/kept", b"bad")),
    "through a link to itself": (link("a", "."), member("a/b", b"bad")),
    "digits": (member("1" * 5000, b"x"),),
    "hard link out": (hard_link("a", "../outside/kept"),),
    "absolute hard link": (hard_link("a", "/etc/passwd"),),
    "file as directory": (member("a", b"x"), member("a/b", b"x")),
    "directory as file": (directory("a"), member("a", b"x")),
    "no name": (member("", b"x"),),
    "long name": (member("a" * 300_000, b"x"),),
    "too large": (member("a", b"x" * 10_000_001),),
    "too large together": tuple(member(f"{n}", b"x" * 1_000_000) for n in range(11)),
    "too many": tuple(member(f"{n}") for n in range(1001)),
    "too many directories": tuple(member(f"{n}/{n}/{n}") for n in range(400)),
}


OUT = "a link that leads out"
NO_FILE = "a second name of what is no file of the archive"
NEITHER = "neither file, directory nor link"
ODD: dict[str, tuple[tuple[Member, ...], tuple[str, ...]]] = {
    "link that leads out": ((link("a", "../outside"),), (f"'a': {OUT}",)),
    "absolute link": ((link("a", "/etc/passwd"),), ("'a': a link to an absolute path",)),
    "link out of a link": ((link("a", "."), link("b", "a/..")), (f"'b': {OUT}",)),
    "link out of a later link": (
        (directory("d"), link("b", "d/x/../.."), link("d/x", "../d")),
        (f"'b': {OUT}",),
    ),
    "link by way of one that is left out": (
        (link("a", "b/../c"), link("b", "../d")),
        (f"'a': {OUT}", f"'b': {OUT}"),
    ),
    "back from what is not there yet": ((link("a", "b/c/../../d"),), (f"'a': {OUT}",)),
    "loop": ((link("a", "b"), link("b", "a")), ("'a': a link that leads nowhere",)),
    "hard link to nothing": ((hard_link("a", "b"),), (f"'a': {NO_FILE}",)),
    "hard link to a link": ((link("b", "good"), hard_link("a", "b")), (f"'a': {NO_FILE}",)),
    "device": ((member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=3),), (f"'a': {NEITHER}",)),
    "block device": ((member("a", type=tarfile.BLKTYPE, devmajor=1, devminor=3),), (f"'a': {NEITHER}",)),
    "fifo": ((member("a", type=tarfile.FIFOTYPE),), (f"'a': {NEITHER}",)),
    "deep": ((member("a/" * 300 + "b", b"x"),), (f"{'a/' * 300 + 'b'!r}: directories that are too deep",)),
    "long name": ((member("a" * 256, b"x" * 5000),), (f"{'a' * 256!r}: File name too long",)),
    "long directory": ((directory("a" * 256), member("b", b"x")), (f"{'a' * 256!r}: File name too long",)),
    "many": (
        tuple(member(f"{n}", type=tarfile.FIFOTYPE) for n in range(200)),
        tuple(f"'{n}': {NEITHER}" for n in range(100)),
    ),
}
"""Entries that are left out, and the lines about them. The others of the archive are there, and nothing else."""


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ODD)
def test_leaves_out_what_is_odd(unpacking: Unpacking, name: str, style: int) -> None:
    members, lines = ODD[name]
    assert unpacking.run(tar(member("good", b"good"), *members, member("last", b"last"), style=style)) == lines
    assert (unpacking.target / "good").read_bytes() == b"good"
    assert (unpacking.target / "last").read_bytes() == b"last"
    told = {line.split("'")[1] for line in lines}
    assert told.isdisjoint(os.listdir(unpacking.target))
    assert names(unpacking.outside) == ["kept"]


def test_a_name_that_is_no_utf_8_stays_what_it_is(unpacking: Unpacking) -> None:
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert unpacking.run(tar(member("caf\udce9", b"x"), style=style)) == ()
        assert os.listdir(os.fsencode(unpacking.target)) == [b"caf\xe9"]


def test_a_file_takes_no_directorys_place(unpacking: Unpacking) -> None:
    (unpacking.target / "sub" / "a").mkdir(parents=True)
    lines = unpacking.run(tar(member("sub/a", b"x"), member("sub/b", b"y")))
    assert lines == ("'sub/a': there is a directory of that name",)
    assert names(unpacking.target) == ["sub", "sub/a", "sub/b"]


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", HOSTILE)
def test_refuses(unpacking: Unpacking, name: str, style: int) -> None:
    data = tar(member("good", b"good"), *HOSTILE[name], style=style)
    with pytest.raises(OSError, match=r"refused|no archive"):
        unpacking.run(data)
    unpacking.check_nothing_happened()


def test_headers_for_all_that_follow_are_counted(unpacking: Unpacking) -> None:
    """Each is small, and all of them are kept."""
    data = io.BytesIO()
    for number in range(200):
        with tarfile.open(fileobj=data, mode="w", pax_headers={f"key{number}": "x" * 1000}) as archive:
            archive.addfile(tarfile.TarInfo(f"{number}"))
        # The end of one archive gives way to the next.
        data.seek(-tarfile.RECORDSIZE, io.SEEK_END)
        data.seek(len(data.getvalue().rstrip(b"\0")) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE + tarfile.BLOCKSIZE)
        data.truncate()
    with pytest.raises(OSError, match="global headers"):
        unpacking.run(data.getvalue())
    unpacking.check_nothing_happened()


@pytest.mark.parametrize("effect", [SetTimes("{}", 1e300, 0.0), ReadFile("{}", 2**70, 1), WriteFile("{}", 2**70, b"x")])
def test_numbers_that_no_system_takes(tmp_path: Path, effect: SetTimes | ReadFile | WriteFile) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
        perform(attrs.evolve(effect, path=str(tmp_path / "file")))
    assert caught.value.errno == errno.EOVERFLOW


def test_a_link_may_not_lead_out_through_one_that_was_there(unpacking: Unpacking) -> None:
    unpacking.target.mkdir()
    (unpacking.target / "old").symlink_to(unpacking.outside)
    assert unpacking.run(tar(link("new", "old/kept"))) == ("'new': a link to an absolute path",)
    assert os.listdir(unpacking.target) == ["old"]


def test_a_link_may_not_lead_out_once_another_one_is_replaced(unpacking: Unpacking) -> None:
    lines = unpacking.run(tar(member("d/e", b"x"), link("b", "d"), link("a", "b/../kept")))
    assert lines == (f"'a': {OUT}",)
    unpacking.run(
        tar(
            member("d/e", b"x"),
            link("b", "d"),
            link("d/a", "../b/e"),
            link("c", "d/a"),
            link("f", "d/g/h"),
            link("d/g", ".."),
        )
    )
    unpacking.run(tar(link("b", ".")))
    assert os.readlink(unpacking.target / "b") == "."
    assert (unpacking.target / "d" / "e").read_bytes() == b"x"


GOOD = tar(member("good", b"good" * 1000))
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "noise": (bytes(range(256)) * 10, ""),
    "cut in a file": (GOOD[:1500], ""),
    "cut in a header": (GOOD[:200], ""),
    "negative size": (raw_header(size=b"\xff" + b"\xff" * 10 + b"\x00") + GOOD, ""),
    "size beyond all": (raw_header(size=b"\x80" + b"\xff" * 11) + GOOD, ""),
    "size of a long name beyond all": (raw_header(typeflag=b"L", size=b"\x80" + b"\x7f" * 11) + GOOD, ""),
    "size of a pax header beyond all": (raw_header(typeflag=b"x", size=b"77777777777") + bytes(1024) + GOOD, ""),
    "long names of long names": (raw_header(typeflag=b"L", size=b"00000000001") + b"a" + bytes(511), ""),
    "long names without end": ((raw_header(typeflag=b"L", size=b"00000000001") + b"a" + bytes(511)) * 5000, ""),
    "no gz": (GOOD, "gz"),
    "no bz2": (GOOD, "bz2"),
    "gz cut": (gzip.compress(GOOD)[:-20], "gz"),
    "gz with a wrong sum": (gzip.compress(GOOD)[:-8] + bytes(8), "gz"),
    "bz2 cut": (bz2.compress(GOOD)[:-20], "bz2"),
    "compression unknown": (GOOD, "xz"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_leaves_nothing(unpacking: Unpacking, name: str) -> None:
    data, compression = BROKEN[name]
    with pytest.raises(OSError):  # noqa: PT011  some are the system's own
        unpacking.run(data, compression)
    unpacking.check_nothing_happened()


@pytest.mark.parametrize(("compression", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_bombs_end_at_the_limit(
    unpacking: Unpacking, compression: str, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 MB no more is read than is allowed, whether they are a file, or padding behind an honest one."""
    stream: Any = {"gz": gzip.GzipFile, "bz2": bz2.BZ2File}[compression]
    original = stream.read
    read = 0

    def counted(self: object, size: int) -> object:
        nonlocal read
        data = original(self, size)
        read += len(data)
        return data

    monkeypatch.setattr(stream, "read", counted)
    padding = raw_header(typeflag=b"?", size=b"00400000000") + bytes(64_000_000)
    for bomb in (tar(member("a", bytes(64_000_000))), padding):
        with pytest.raises(OSError, match="refused"):
            unpacking.run(compress(bomb), compression, limit=1_000_000, entries=10)
    assert 0 < read < 4_000_000
    unpacking.check_nothing_happened()


def test_the_target_may_be_no_file(unpacking: Unpacking) -> None:
    unpacking.target.write_bytes(b"file")
    with pytest.raises(NotADirectoryError):
        unpacking.run(GOOD)
    assert unpacking.target.read_bytes() == b"file"


def test_an_empty_archive_is_an_empty_directory(unpacking: Unpacking) -> None:
    unpacking.run(tar())
    assert os.listdir(unpacking.target) == []


def test_links_are_left_out_even_if_resolving_them_is_slow(unpacking: Unpacking) -> None:
    """Each link doubles the way of the one before."""
    chain = [link("l0", ".")] + [link(f"l{n}", f"l{n - 1}/l{n - 1}") for n in range(1, 60)]
    lines = unpacking.run(tar(*chain))
    assert isinstance(lines, tuple)
    assert "'l5': a link that leads nowhere" in lines
    assert "l0" in os.listdir(unpacking.target)


def test_nothing_of_the_null_byte() -> None:
    with pytest.raises(ValueError, match="null"), contextlib.suppress(OSError):
        perform(StatPath("/a\0b"))
