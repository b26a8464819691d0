"""Processes on POSIX, also where it lacks what Linux has: macOS."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from slaveproto.effects import ProcessExited, Spawn
from slaveproto.testing.conformance.harness import descriptors, need_proc
from transports.host.posix import processes

ENVIRON = {b"PATH": b"/usr/bin:/bin"}


def start(directory: Path, command: str, *, use_pty: bool = False) -> processes.Child:
    return processes.spawn(Spawn((b"/bin/sh", b"-c", command.encode()), ENVIRON, str(directory), b"", use_pty))


def read_all(child: processes.Child) -> bytes:
    data = b""
    for fd in child.outputs:
        # A terminal says EIO at its end.
        with contextlib.suppress(OSError):
            while block := os.read(fd, 1000):
                data += block
        os.close(fd)
    return data


@pytest.fixture(params=[True, False], ids=["waitid", "no waitid"])
def waitid(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether Python has it; for macOS only since 3.13."""
    if not request.param:
        monkeypatch.delattr(os, "waitid")
    return bool(request.param)


@pytest.mark.parametrize("use_pty", [False, True])
@pytest.mark.parametrize(
    ("command", "code", "signal_number", "reaped"),
    [("exit 3", 3, None, 3), ("kill -TERM $$", 0, signal.SIGTERM, -15), ("exit 0", 0, None, 0)],
)
def test_how_it_ended(
    tmp_path: Path, waitid: bool, use_pty: bool, command: str, code: int, signal_number: int | None, reaped: int
) -> None:
    child = start(tmp_path, command, use_pty=use_pty)
    read_all(child)
    assert child.wait(1) == ProcessExited(1, code, signal_number)
    # The number of the process is kept if it can be.
    assert os.path.exists(f"/proc/{child.pid}") == (waitid and os.path.exists("/proc"))
    assert child.reap() == child.reap() == reaped


def test_a_group_outlives_its_leader(tmp_path: Path, waitid: bool) -> None:
    child = start(tmp_path, "sleep 60 & exit 0")
    assert child.wait(1).code == 0
    assert child.send_signal("KILL")
    read_all(child)
    child.reap()


@pytest.mark.parametrize("use_pty", [False, True])
def test_two_threads_may_wait_for_it(tmp_path: Path, waitid: bool, use_pty: bool) -> None:
    """A waiting thread that was given up goes on, while another one reaps."""
    child = start(tmp_path, "exec sleep 60", use_pty=use_pty)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(child.wait, 1)
        reaping = [threads.submit(child.reap) for _ in range(3)]
        child.send_signal("KILL")
        codes = [future.result() for future in reaping]
        # With `waitid`, somebody else may have reaped it before.
        if not waitid:
            assert waiting.result() == ProcessExited(1, 0, signal.SIGKILL)
    assert codes == [-9] * 3
    read_all(child)


def test_a_terminal_is_a_controlling_one(tmp_path: Path) -> None:
    """On macOS it is so because the shell opens it once more."""
    child = start(
        tmp_path, "pwd; echo fine > /dev/tty; echo ${OLDPWD-unset}; ps -o tty= -p $$ | tr -d ' '", use_pty=True
    )
    lines = read_all(child).split()
    assert lines[:3] == [bytes(tmp_path), b"fine", b"unset"]
    assert lines[3].startswith(b"pts/")
    assert child.reap() == 0


def test_a_terminal_of_a_directory_that_is_not_there(tmp_path: Path) -> None:
    child = start(tmp_path / "none", "echo here", use_pty=True)
    assert b"here" not in read_all(child)
    assert child.reap() != 0


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("macos", [False, True])
def test_a_group_that_may_not_be_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, macos: bool, ended: bool
) -> None:
    """On macOS that is also how a group is whose leader is a zombie, and alone."""

    def refuse(group: int, number: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    child = start(tmp_path, "exit 0" if ended else "exec sleep 60")
    if ended:
        child.wait(1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refuse)
        patch.setattr(processes, "_ZOMBIES_REFUSE", macos)
        if macos and ended:
            assert not child.send_signal("KILL")
        else:
            with pytest.raises(PermissionError):
                child.send_signal("KILL")
    child.send_signal("KILL")
    read_all(child)
    child.reap()


def test_a_python_that_cannot_start_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_proc()

    def refuse(*_: Any, **__: Any) -> int:
        raise NotImplementedError("posix_spawn: setsid unavailable on this platform")

    monkeypatch.setattr(os, "posix_spawn", refuse)
    before = descriptors()
    with pytest.raises(OSError, match="no command can have a terminal here") as caught:
        start(tmp_path, "echo", use_pty=True)
    assert caught.value.errno == errno.ENOSYS
    assert descriptors() == before


def test_a_system_without_pidfds_leaves_nothing_of_a_child_that_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_proc()
    before = descriptors()
    child = start(tmp_path, "exec sleep 60")
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(OSError) as caught:  # noqa: PT011  the number tells
        processes.open_exit(child)
    assert caught.value.errno == errno.ENOSYS
    assert child.reap() == -9
    assert descriptors() == before
