"""The effects on files as on Windows. What only Windows refuses is refused by stand-ins for the system's calls."""

from __future__ import annotations

import errno
import ntpath
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slaveproto.effects import (
    CopyTree,
    CreateTemp,
    PlaceFile,
    RemoveTree,
    ScanDir,
    SetTimes,
    StatPath,
    TreeEntry,
    Unlink,
    UnpackTree,
    WriteFile,
)
from tests.transports.test_files import link, member, names, tar
from tests.transports.windows_parts import put_disk
from transports.host.cancelling import Cancellation
from transports.host.files import perform
from transports.host.trees import remove_tree
from transports.host.windows import disk, removal

MOUNT_POINT = 0xA0000003


@pytest.fixture(autouse=True)
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    put_disk(monkeypatch)


def refusing(action: Callable[..., None], position: int) -> Callable[..., None]:
    """Return what refuses to do it if the argument at `position` is read-only, as Windows does."""

    def act(*arguments: Any, **options: Any) -> None:
        path = arguments[position]
        if os.path.lexists(path) and not os.lstat(path).st_mode & stat.S_IWRITE:
            raise PermissionError(errno.EACCES, "Access is denied")
        action(*arguments, **options)

    return act


@pytest.fixture
def read_only_means_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "unlink", refusing(os.unlink, 0))
    monkeypatch.setattr(os, "rmdir", refusing(os.rmdir, 0))
    monkeypatch.setattr(os, "replace", refusing(os.replace, 1))


def test_a_file_is_made_beside_its_place_and_then_put_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    temp = str(perform(CreateTemp(str(target))))
    perform(WriteFile(temp, 3, b"d\r\nf"))
    perform(WriteFile(temp, 0, b"a\nc"))
    perform(PlaceFile(temp, str(target), 0o444))
    assert target.read_bytes() == b"a\ncd\r\nf"
    assert not target.stat().st_mode & stat.S_IWRITE
    assert names(target.parent) == ["file"]
    perform(SetTimes(str(target), 1000000000.5, 1000000001.25))
    assert target.stat().st_mtime_ns == 1000000001_250000000


def test_writing_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
        perform(WriteFile(str(tmp_path / "link"), 0, b"x"))
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.usefixtures("read_only_means_it")
def test_what_is_read_only_is_replaced_and_removed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o444)
    temp = str(perform(CreateTemp(str(target))))
    perform(WriteFile(temp, 0, b"new"))
    perform(PlaceFile(temp, str(target), 0o444))
    assert target.read_bytes() == b"new"
    assert perform(Unlink(str(target))) is True
    assert perform(Unlink(str(target))) is False


@pytest.mark.usefixtures("read_only_means_it")
def test_a_read_only_tree_is_removed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "file").touch()
    for path, mode in ((tree / "a" / "file", 0o444), (tree / "a", 0o555), (tree, 0o555)):
        path.chmod(mode)
    assert perform(RemoveTree(str(tree))) == ()
    assert names(tmp_path) == []


def test_what_is_refused_for_another_reason_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has it open, say."""
    tried: list[str] = []

    def refuse(path: str, target: str | None = None) -> None:
        tried.append(path)
        raise PermissionError(errno.EACCES, "somebody has it open")

    monkeypatch.setattr(os, "unlink", refuse)
    file = tmp_path / "file"
    file.touch()
    for mode, attempts in ((0o644, 1), (0o444, 2)):
        tried.clear()
        file.chmod(mode)
        with pytest.raises(PermissionError):
            perform(Unlink(str(file)))
        assert len(tried) == attempts
        assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_directory_is_not_removed_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011  the system's own
        perform(Unlink(str(tmp_path)))
    assert tmp_path.exists()


def test_what_cannot_be_removed_keeps_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path.endswith("open"):
            raise PermissionError(errno.EACCES, "somebody has it open")
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    (tmp_path / "tree" / "a").mkdir(parents=True)
    for name in ("a/open", "a/other", "b"):
        (tmp_path / "tree" / name).touch()
    assert perform(RemoveTree(str(tmp_path / "tree"))) == (f"{tmp_path}/tree/a/open: somebody has it open",)
    assert names(tmp_path) == ["tree", "tree/a", "tree/a/open"]


def test_a_tree_is_removed_and_no_link_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    deep = tmp_path / "tree" / "/".join("abc" * 100)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    (deep / "link").symlink_to(outside)
    assert perform(RemoveTree(str(tmp_path / "tree"))) == ()
    assert names(tmp_path) == ["outside", "outside/kept"]
    for name in ("none", "none/at/all", "outside/kept/below"):
        assert perform(RemoveTree(str(tmp_path / name))) == ()
    (tmp_path / "link").symlink_to(outside)
    assert perform(RemoveTree(str(tmp_path / "link"))) == ()
    assert names(tmp_path) == ["outside", "outside/kept"]


def test_a_removal_can_be_cancelled(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
        perform(RemoveTree(str(tmp_path / "tree")), cancelled)
    assert caught.value.errno == errno.ECANCELED
    assert (tmp_path / "tree").exists()


@pytest.mark.parametrize("path", ["C:\\", "C:", "\\\\server\\share\\", "\\"])
def test_a_root_is_not_removed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "path", ntpath)
    monkeypatch.setattr(removal, "remove", lambda *_: pytest.fail("it was"))
    with pytest.raises(OSError, match="root"):
        remove_tree(path, Cancellation(None))


# -- junctions, which say that they are directories


def junction(mode: int = stat.S_IFDIR | 0o777) -> os.stat_result:
    found: Any = SimpleNamespace(st_mode=mode, st_reparse_tag=MOUNT_POINT)
    return found  # type: ignore[no-any-return]


def test_a_junction_is_a_link() -> None:
    assert disk.mode_of(junction()) == stat.S_IFLNK | 0o777
    plain: Any = SimpleNamespace(st_mode=stat.S_IFDIR | 0o777, st_reparse_tag=0)
    assert disk.mode_of(plain) == stat.S_IFDIR | 0o777
    assert disk.mode_of(os.stat("/")) == os.stat("/").st_mode


@pytest.fixture
def with_junction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with a junction to a directory outside of it: a link that looks like one."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "junction").symlink_to(outside)
    lstat = os.lstat

    def look(path: str) -> Any:
        found = lstat(path)
        if str(path).endswith("junction"):
            fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
            return SimpleNamespace(**{**fields, "st_mode": stat.S_IFDIR | 0o777, "st_reparse_tag": MOUNT_POINT})
        return found

    monkeypatch.setattr(os, "lstat", look)
    return tmp_path


def test_a_junction_is_removed_and_not_followed(with_junction: Path) -> None:
    assert perform(RemoveTree(str(with_junction / "tree"))) == ()
    assert names(with_junction) == ["outside", "outside/kept"]


def test_a_junction_is_seen_and_copied_as_a_link(with_junction: Path) -> None:
    found = perform(ScanDir(str(with_junction / "tree")))
    assert isinstance(found, tuple)
    (entry,) = found
    assert isinstance(entry, TreeEntry)
    assert stat.S_ISLNK(entry.info.mode)
    assert entry.link == f"{with_junction}/outside"
    perform(CopyTree(str(with_junction / "tree"), str(with_junction / "copy")))
    assert not (with_junction / "copy" / "kept").exists()
    assert (with_junction / "copy" / "junction").is_symlink()


def test_the_long_form_of_a_path_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "readlink", lambda path: path)
    assert disk.read_link("\\\\?\\C:\\x") == "C:\\x"
    assert disk.read_link("..\\x") == "..\\x"


def test_a_link_to_a_directory_is_one_of_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(
        os, "symlink", lambda target, path, target_is_directory: made.append((target, path, target_is_directory))
    )
    (tmp_path / "sub").mkdir()
    disk.make_link("sub", str(tmp_path / "a"))
    disk.make_link("a/file", str(tmp_path / "b"))
    assert made == [("sub", f"{tmp_path}/a", True), ("a\\file", f"{tmp_path}/b", False)]


# -- copying


def test_a_copy_has_content_times_and_what_windows_knows_of_permissions(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(b"x\n" * 1_500_000)
    (source / "sub" / "file").chmod(0o444)
    os.mkfifo(source / "fifo")
    for path in (source / "sub" / "file", source / "sub", source):
        os.utime(path, ns=(10**18 + 1, 10**18 + 3))
    target = tmp_path / "copy"
    assert perform(CopyTree(str(source), str(target))) == (f"{source}/fifo: neither file, directory nor link",)
    assert names(target) == ["sub", "sub/file"]
    assert (target / "sub" / "file").read_bytes() == (source / "sub" / "file").read_bytes()
    for name in ("", "sub", "sub/file"):
        old, new = (source / name).stat(), (target / name).stat()
        assert (old.st_mode, old.st_mtime_ns) == (new.st_mode, new.st_mtime_ns), name


@pytest.mark.usefixtures("read_only_means_it")
def test_a_copy_replaces_what_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "a" / "source").mkdir(parents=True)
    (tmp_path / "a" / "source" / "file").write_bytes(b"new")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"old")
    (tmp_path / "source" / "file").chmod(0o444)
    assert perform(CopyTree(str(tmp_path / "a" / "source"), str(tmp_path))) == ()
    assert (tmp_path / "source" / "file").read_bytes() == b"new"


# -- archives


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("file", True),
        (".file", True),
        ("fi le.tar.gz", True),
        ("caf\xe9", True),
        ("console", True),
        ("com", True),
        ("com10", True),
        ("nul-x", True),
        ("..\\x", False),
        ("a\\b", False),
        ("C:", False),
        ("C:x", False),
        ("file:stream", False),
        ("file.", False),
        ("file ", False),
        ("..", False),
        (".. ", False),
        ("...", False),
        ("nul", False),
        ("NUL.txt", False),
        ("con .txt", False),
        ("CONIN$", False),
        ("com1", False),
        ("lpt\xb9.x", False),
        ("aux.", False),
        ("a*", False),
        ("a?", False),
        ("a|b", False),
        ('a"b', False),
        ("a\x1fb", False),
    ],
)
def test_names_of_archives(name: str, may: bool) -> None:
    assert disk.may_be_name(name) == may


def unpacked(tmp_path: Path, data: bytes) -> Path:
    archive, target = tmp_path / "archive", tmp_path / "target"
    archive.write_bytes(data)
    perform(UnpackTree(str(archive), "", str(target), 10_000, 100))
    return target


@pytest.mark.parametrize(
    "bad",
    [member("..\\..\\x", b""), member("a/C:x", b""), member("nul", b""), link("a", "..\\..\\x"), link("a", "C:/x")],
    ids=["back", "drive", "device", "link back", "link to a drive"],
)
def test_an_archive_does_not_get_out(tmp_path: Path, bad: Any) -> None:
    archive, target = tmp_path / "archive", tmp_path / "target"
    archive.write_bytes(tar(member("good", b"x"), bad))
    lines = perform(UnpackTree(str(archive), "", str(target), 10_000, 100))
    assert isinstance(lines, tuple)
    assert [line.rpartition(": ")[2].split()[-4:] for line in lines] == [["means", "something", "else", "here"]]
    assert names(tmp_path) == ["archive", "target", "target/good"]


def test_an_archive_is_unpacked(tmp_path: Path) -> None:
    target = unpacked(tmp_path, tar(member("a/file", b"a\r\nb\n"), link("a/link", "file")))
    assert (target / "a" / "file").read_bytes() == b"a\r\nb\n"
    assert os.readlink(target / "a" / "link") == "file"


@pytest.mark.usefixtures("read_only_means_it")
def test_an_archive_replaces_what_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").write_bytes(b"old")
    (tmp_path / "target" / "file").chmod(0o444)
    target = unpacked(tmp_path, tar(member("file", b"new")))
    assert (target / "file").read_bytes() == b"new"
    assert perform(StatPath(str(target / "file")))
