"""What real slaves said in recorded sessions, with our master in the place of theirs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any, Final

import attrs
import pytest

from slaveproto.master import (
    AnyStep,
    DownloadFile,
    DownloadString,
    Result,
    Shell,
    UploadDirectory,
    UploadFile,
)
from slaveproto.testing import CallRefused
from slaveproto.wire import Call, Failure, Local, Role, Value
from tests.master.recorded import step_for, told
from tests.master.running import Building
from tests.wire.replay import Replay, homecomings
from tests.wire.support import captures
from tests.wire.test_captures import conversation

GENERATION: Final = {"old": "0.8.4", "mid": "0.8.14", "new": "4.3", "new24": "4.3"}
SCENARIOS: Final = (
    "badargs",
    "binary",
    "dirupload",
    "download",
    "fs",
    "interrupt",
    "logfiles",
    "newcmds",
    "oversize",
    "sigterm",
    "timeout",
    "transferfail",
    "unknown",
    "upload",
)
"""Something of everything; the other sessions say the same in other words."""


@attrs.define
class Recorded:
    """One command of a recorded session.

    Args:
        name: of the command.
        said: its arguments.
        calls: what the slave called: the object (empty for the command's own), the method, the arguments.
    """

    name: str
    said: dict[str, Any]
    calls: list[tuple[str, str, tuple[Value, ...]]] = attrs.field(factory=list)


def recorded(name: str) -> list[Recorded]:
    """The commands of a session in their order, as far as they came to an end."""
    session = conversation(name)
    replay = Replay(Role.SERVER, homecomings(expression for way, expression in session if way == "m2s"))
    commands: list[Recorded] = []
    parts: dict[Local, tuple[Recorded, str]] = {}
    for way, message in session:
        if way == "s2m":
            replay.receive(message)
            continue
        replay.send(message)
        match message:
            case [b"message", _, _, b"startCommand", _, [b"tuple", [b"remote", int() as step], _, command, said], _]:
                entry = Recorded(told(command), told(said))
                commands.append(entry)
                parts[replay.theirs[step]] = (entry, "")
                for key, value in _objects(said):
                    parts[replay.theirs[value]] = (entry, key)
            case _:
                pass
    for event in replay.events:
        if isinstance(event, Call) and event.target in parts:
            entry, part = parts[event.target]
            entry.calls.append((part, event.method, event.args))
    return [entry for entry in commands if any(method == "complete" for _, method, _ in entry.calls)]


def _objects(said: Any) -> Iterable[tuple[str, int]]:
    for pair in said[1:]:
        match pair:
            case [key, [b"remote", int() as luid]]:
                yield told(key), luid
            case _:
                pass


def own_step(entry: Recorded) -> AnyStep:
    """The step of ours for a command; a shell command for what we have no step for."""
    try:
        step = step_for(entry.name, entry.said)
    except (AssertionError, KeyError):
        return Shell(command=entry.name)
    if isinstance(step, (UploadFile, UploadDirectory)):
        return attrs.evolve(step, dest="/m/d", block_size=256 * 1024)
    if isinstance(step, DownloadFile):
        return DownloadString(data=b"", dest=step.dest)
    if isinstance(step, Shell):
        return Shell(command="recorded")
    return step


@attrs.define
class Told:
    """What a command has told, read in the plainest way."""

    keys: set[str] = attrs.field(factory=set)
    stdout: bytes = b""
    written: bytes = b""
    rc: Value = None
    failure: Value = None

    def take(self, method: str, value: Any) -> None:
        match method:
            case "complete":
                self.failure = value
            case "write":
                self.written += value
            case "update":
                for update, _ in value:
                    for key, item in update.items():
                        word = key.decode() if isinstance(key, bytes) else key
                        self.keys.add(word)
                        if word == "stdout":
                            self.stdout += item if isinstance(item, bytes) else item.encode()
                        elif word == "rc":
                            self.rc = item
            case _:
                pass

    @property
    def result(self) -> Result:
        if isinstance(self.failure, Failure):
            return Result.EXCEPTION
        return Result.SUCCESS if self.rc == 0 else Result.FAILURE


@pytest.mark.parametrize("name", [name for name in captures() if name.split("__")[1] in SCENARIOS])
def test_recorded_commands(name: str) -> None:
    slave = name.split("__")[0].split("-")[-1]
    for entry in recorded(name):
        step = own_step(entry)
        building = Building(GENERATION[slave])
        building.start(step)
        if not building.running:
            # Recorded without what that slave needs to have.
            assert "no command" in building.outcome.why
            continue
        command = building.slave.command
        heard = Told()
        for part, method, args in entry.calls:
            heard.take(method, *args[:1] or (None,))
            with contextlib.suppress(*[CallRefused] if part else []):
                building.slave.call(command.object(part) if part else command.step, method, *args)
        assert building.attached
        assert (building.outcome.result, building.outcome.rc) == (heard.result, heard.rc)
        assert building.text("stdout") == heard.stdout
        assert building.outcome.items.keys() == heard.keys - {"stdout", "stderr", "header", "log", "rc"}
        if isinstance(step, UploadFile):
            paths = {"/m/d"} if heard.result is Result.SUCCESS else set()
            assert building.host.paths == paths
            assert not paths or building.host.read("/m/d") == heard.written
        if isinstance(step, UploadDirectory):
            assert not [path for path in building.host.paths if not path.startswith("/m/d/")]


def test_there_is_something_of_everything() -> None:
    sessions = ("new-new__fs", "new-new__upload", "old-old__dirupload", "old-old__download", "new24-mid__newcmds")
    names = {entry.name for session in sessions for entry in recorded(session)}
    assert names >= {"shell", "mkdir", "rmdir", "cpdir", "stat", "glob", "listdir"}
    assert names >= {"uploadFile", "uploadDirectory", "downloadFile"}
