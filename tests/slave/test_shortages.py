"""A host that lacks descriptors, processes or memory: the command fails, and no return code makes a build red."""

from __future__ import annotations

import errno
from typing import Any, Final

import pytest

from slaveproto.effects import EffectOnFiles, HostEffect, MakeDirs, Spawn
from slaveproto.errors import HostError
from slaveproto.testing import SessionDriver
from slaveproto.wire import Failure, Local
from tests.commands.sources import install
from tests.slave.support import GENERATIONS, attached, build, name

TOO_MANY: Final = HostError(errno.EMFILE, "Too many open files")
TRANSFER: Final[dict[str, Any]] = {"workdir": "build", "blocksize": 1000}
FILE: Final = Local("file")
COMMANDS: Final[dict[str, dict[str, Any]]] = {
    "shell": {"workdir": "build", "command": ["make"]},
    "mkdir": {"dir": "d"},
    "rmdir": {"dir": "d"},
    "cpdir": {"fromdir": "d", "todir": "e"},
    "stat": {"file": "f"},
    "glob": {"path": "*"},
    "listdir": {"dir": "d"},
    "rmfile": {"path": "f"},
    "uploadFile": {**TRANSFER, "slavesrc": "f", "writer": FILE},
    "uploadDirectory": {**TRANSFER, "slavesrc": "d", "writer": FILE, "compress": None},
    "downloadFile": {**TRANSFER, "slavedest": "f", "reader": FILE},
    "git": {"workdir": "build", "repourl": "here", "mode": "update"},
}


def out_of(driver: SessionDriver, kind: type) -> None:
    def refuse(effect: HostEffect) -> HostError | None:
        return TOO_MANY if isinstance(effect, kind) else None

    driver.host.refuses = refuse


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("command", "kind"),
    [*((command, EffectOnFiles) for command in COMMANDS), ("shell", Spawn), ("git", Spawn)],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_shortage_is_no_return_code(command: str, kind: type, generation: str) -> None:
    driver, master = attached(generation)
    driver.host.directories |= {"/slave/linux-dir/d", "/slave/linux-dir/build", "/slave/linux-dir/build/d"}
    driver.host.write("/slave/linux-dir/f", b"data")
    driver.host.write("/slave/linux-dir/build/f", b"data")
    install(driver.host, "git")
    master.objects[FILE] = lambda call: None
    out_of(driver, kind)
    started = master.start_command(name(generation, "linux"), command, COMMANDS[command])
    driver.advance(30)
    (failure,) = started.ends
    assert isinstance(failure, Failure)
    assert failure.kind == "builtins.OSError"
    assert "[Errno 24] Too many open files" in failure.message
    assert "rc" not in dict(started.items())
    driver.host.refuses = lambda effect: None
    build(driver, master, name(generation, "linux"))


def test_a_directory_that_cannot_be_made_is_told_by_the_slave_itself() -> None:
    driver, master = attached()
    out_of(driver, MakeDirs)
    with pytest.raises(Exception, match="Too many open files"):
        master.set_builders([("linux", "linux-dir"), ("windows", "w")])
    assert "cannot be made: Too many open files; the master cannot use this slave" in repr(driver.events[-1])
