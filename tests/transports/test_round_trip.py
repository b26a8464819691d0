"""A real directory through `uploadDirectory` and `UnpackTree`, and a real file up and down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import Begin, BeginCall, CallDone, EffectDone, FileEffect, SendItem, UnpackTree
from slaveproto.errors import HostError
from slaveproto.testing import Ended, ScriptRun
from slaveproto.updates import Dialect
from slaveproto.wire import Remote, Value
from transports.host.files import perform

PEER = Remote(1)


@attrs.define
class Peer:
    """A master's object."""

    content: bytes = b""
    written: bytes = b""
    methods: list[str] = attrs.field(factory=list)
    args: tuple[Value, ...] = ()

    def answer(self, call: BeginCall) -> Value:
        self.methods.append(call.method)
        self.args = call.args
        match call.method, call.args:
            case "write", (bytes() as data,):
                self.written += data
            case "read", (int() as size,):
                data, self.content = self.content[:size], self.content[size:]
                return data
        return None


def outcome(effect: FileEffect) -> tuple[object, HostError | None]:
    try:
        return perform(effect), None
    except OSError as error:
        return None, HostError(error.errno or 0, error.strerror or "")


def run(name: str, arguments: Mapping[str, Value], directory: Path, dialect: Dialect, peer: Peer) -> Value:
    """Run a transfer on the real file system; return its code."""
    context = CommandContext(str(directory), {}, dialect, "utf-8", use_pty=False, posix=True)
    script = ScriptRun(make_script(name, {"workdir": ".", "blocksize": 5000, **arguments}, context, COMMANDS))
    number = 1
    while not script.done:
        if script.waits_for is not None:
            assert isinstance(script.waits_for, FileEffect)
            result, error = outcome(script.waits_for)
            if error is None:
                script.reply(result)
            else:
                script.reject(error)
            continue
        begun = script.begun[number]
        if isinstance(begun, Begin):
            assert isinstance(begun.effect, FileEffect)
            script.tell(EffectDone(number, *outcome(begun.effect)))
        else:
            script.tell(CallDone(number, peer.answer(begun)))
        number += 1
    assert script.said[-1] == Ended()
    (code,) = (said.value for said in script.said if isinstance(said, SendItem) and said.key == "rc")
    return code


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """What a tree consists of, but for the times and modes of its directories."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name, stat = str(path.relative_to(root)), path.lstat()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory",)
        else:
            found[name] = (path.read_bytes(), stat.st_mode, stat.st_nlink, int(stat.st_mtime))
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "file").write_bytes(bytes(range(256)) * 1000)
    (tree / "nothing").touch()
    (tree / "sub" / "programme").write_bytes(b"#!")
    (tree / "sub" / "programme").chmod(0o755)
    (tree / "sub" / "up").symlink_to("../file")
    (tree / "dangling").symlink_to("nowhere")
    os.link(tree / "file", tree / "sub" / "again")
    (tree / ("ü" * 100) / ("y" * 100)).mkdir(parents=True)
    (tree / ("ü" * 100) / ("y" * 100) / ("z" * 100)).write_bytes(b"long")
    os.close(os.open(os.fsencode(tree) + b"/odd \xff", os.O_CREAT, 0o600))
    os.utime(tree / "file", (10**9, 10**9 + 0.5))
    return tree


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("compression", ["", "gz", "bz2"])
def test_directory(tmp_path: Path, tree: Path, compression: str, dialect: Dialect) -> None:
    peer = Peer()
    arguments: dict[str, Value] = {"slavesrc": "tree", "writer": PEER, "compress": compression or None}
    assert run("uploadDirectory", arguments, tmp_path, dialect, peer) == 0
    assert peer.methods[-1] == "unpack"
    archive = tmp_path / "archive"
    archive.write_bytes(peer.written)
    perform(UnpackTree(str(archive), compression, str(tmp_path / "out"), 10**6, 100))
    assert look(tmp_path / "out") == look(tree)


@pytest.mark.parametrize("dialect", Dialect)
def test_file(tmp_path: Path, tree: Path, dialect: Dialect) -> None:
    peer = Peer()
    arguments: dict[str, Value] = {"slavesrc": "tree/file", "writer": PEER, "keepstamp": True}
    assert run("uploadFile", arguments, tmp_path, dialect, peer) == 0
    assert peer.written == (tree / "file").read_bytes()
    assert peer.args == ((10**9, 10**9 + 0.5),)
    back = Peer(peer.written)
    arguments = {"slavedest": "new/file", "reader": PEER, "mode": 0o751}
    assert run("downloadFile", arguments, tmp_path, dialect, back) == 0
    assert (tmp_path / "new" / "file").read_bytes() == peer.written
    assert (tmp_path / "new" / "file").stat().st_mode & 0o7777 == 0o751
    assert os.listdir(tmp_path / "new") == ["file"]


def test_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments: dict[str, Value] = {"slavedest": "file/below", "reader": PEER}
    peer = Peer(b"x")
    assert run("downloadFile", arguments, tmp_path, Dialect.TEXT, peer) == 1
    assert peer.methods == ["close"]
    assert os.listdir(tmp_path) == ["file"]
