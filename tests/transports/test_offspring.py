"""All that a command started, wherever it went: found, ended, and nothing else touched. Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from slaveproto.effects import Holder, Spawn
from slaveproto.testing.conformance import wait_until
from slaveproto.testing.conformance.commands import ESCAPES, escaped
from slaveproto.testing.conformance.harness import is_alive
from transports.host.posix import offspring, processes
from transports.host.posix.offspring import MARK, Offspring

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of all processes"),
]

ENVIRON = {b"PATH": b"/usr/bin:/bin"}


class Started:
    """A command, and all that became of it."""

    def __init__(self, directory: Path, command: str, *, use_pty: bool = False, kill_leftovers: bool = False) -> None:
        effect = Spawn((b"/bin/sh", b"-c", command.encode()), ENVIRON, str(directory), b"", use_pty)
        self.directory = directory
        self.child = processes.spawn(attrs.evolve(effect, kill_leftovers=kill_leftovers))

    def number(self, name: str) -> int:
        """Wait until a process has written its number into a file."""
        file = self.directory / name
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        return int(file.read_text())

    def close(self) -> None:
        """Leave nothing."""
        self.child.send_signal("KILL")
        self.child.wait(1)
        self.child.reap()
        for fd in self.child.outputs:
            os.close(fd)


@contextlib.contextmanager
def started(directory: Path, command: str, *, use_pty: bool = False, kill_leftovers: bool = False) -> Iterator[Started]:
    """Run a command."""
    found = Started(directory, command, use_pty=use_pty, kill_leftovers=kill_leftovers)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this program that is no command."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("use_pty", [False, True])
@pytest.mark.parametrize("name", ["KILL", "TERM", "INT"])
def test_nothing_escapes_and_nothing_else_dies(
    tmp_path: Path, name: str, use_pty: bool, bystander: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "other").mkdir()
    lines = "".join(f"{line}\n" for line in ESCAPES.values())
    # Not `wait`: a shell may miss a signal that comes right before it.
    leader = "trap 'exit 3' TERM INT; while :; do sleep 0.05; done"
    with (
        started(tmp_path / "other", f"{lines}sleep 1000") as other,
        started(tmp_path, f"{lines}{leader}", use_pty=use_pty) as command,
    ):
        wait_until(lambda: escaped(tmp_path) and escaped(tmp_path / "other"))
        pids = escaped(tmp_path)
        assert command.child.send_signal(name)
        # Until its first process has ended, a signal that can be caught may be survived.
        command.child.wait(1)
        wait_until(lambda: not any(map(is_alive, pids.values())))
        assert all(map(is_alive, (other.child.pid, bystander.pid, *escaped(tmp_path / "other").values())))


def test_a_command_in_a_command(tmp_path: Path) -> None:
    """A slave that a command of ours runs marks its own, and they stay ours, too."""
    environ = offspring.marked({**ENVIRON, MARK: b"outer"}, b"inner")
    assert environ[MARK] == b"outer inner"
    with subprocess.Popen(["setsid", "sleep", "1000"], env=environ) as process:
        try:
            for token, found in (("outer", True), ("inner", True), ("out", False), ("", False)):
                wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep"))
                pids = {one.pid for one in Offspring(token.encode()).find()}
                assert (process.pid in pids) is found
        finally:
            process.kill()


def test_a_number_that_is_another_processes_by_now_gets_no_signal(
    bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = offspring.look_at(bystander.pid)
    assert seen is not None
    for without_pidfds in (False, True):
        if without_pidfds:
            monkeypatch.delattr(os, "pidfd_open")
            monkeypatch.setattr("sys.platform", "freebsd")
        assert not offspring.send(seen.pid, seen.started - 1, signal.SIGKILL)
        assert bystander.poll() is None
    assert offspring.send(seen.pid, seen.started, signal.SIGTERM)
    assert bystander.wait(10) == -signal.SIGTERM


def test_what_starts_without_end_is_ended(tmp_path: Path) -> None:
    """Each process starts another one in a session of its own, and ends."""
    (tmp_path / "hop").write_text("#!/bin/sh\necho x >> hops\nsleep 0.05\nsetsid ./hop &\n")
    (tmp_path / "hop").chmod(0o755)
    hops = tmp_path / "hops"
    with started(tmp_path, "for n in 1 2 3; do ./hop & done; wait; sleep 1000") as command:
        wait_until(lambda: hops.exists() and len(hops.read_text()) > 30)
        command.child.send_signal("KILL")
        command.child.wait(1)
        found = command.child._offspring
        assert found is not None
        wait_until(lambda: not found.find())
        size = hops.stat().st_size
        assert not found.find()
        assert hops.stat().st_size == size


def test_what_is_left_behind(tmp_path: Path) -> None:
    for kill_leftovers in (False, True):
        file = tmp_path / str(kill_leftovers)
        script = f"setsid sh -c 'echo $$ > {file}.new; mv {file}.new {file}; exec sleep 1000' & "
        waiting = f"while [ ! -f {file} ]; do sleep 0.01; done"
        with started(tmp_path, script + waiting, kill_leftovers=kill_leftovers) as command:
            assert command.child.wait(1).code == 0
            pid = command.number(file.name)
            if kill_leftovers:
                wait_until(lambda pid=pid: not is_alive(pid))  # type: ignore[misc]
            assert is_alive(pid) is not kill_leftovers


@pytest.mark.parametrize("use_pty", [False, True])
def test_what_holds_the_output_is_found(tmp_path: Path, use_pty: bool) -> None:
    with started(tmp_path, "trap '' HUP; setsid sleep 1000 & echo $! > pid", use_pty=use_pty) as command:
        pid = command.number("pid")
        command.child.wait(1)
        wait_until(lambda: command.child.find_holders() == (Holder(pid, "sleep"),))


def test_a_program_that_is_killed_takes_its_commands_along(tmp_path: Path) -> None:
    """What was left behind by a command that had ended stays, and so does what is none of it."""
    lines = "".join(f"{line}\n" for line in ESCAPES.values())
    code = (
        "import sys, time\n"
        "from slaveproto.effects import Spawn\n"
        "from transports.host.posix import processes\n"
        "def run(command):\n"
        "    words = (b'/bin/sh', b'-c', command.encode())\n"
        "    return processes.spawn(Spawn(words, {b'PATH': b'/usr/bin:/bin'}, sys.argv[1], b'', False))\n"
        "done = run('setsid sleep 1000 >/dev/null 2>&1 & echo $! > left')\n"
        "done.wait(1), done.reap()\n"
        "command = run(sys.argv[2] + 'sleep 1000')\n"
        "print(command.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path), lines]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        leader = int(program.stdout.readline())
        wait_until(lambda: escaped(tmp_path))
        pids = [leader, *escaped(tmp_path).values()]
        assert all(map(is_alive, pids))
        program.kill()
        wait_until(lambda: not any(map(is_alive, pids)))
    left = int((tmp_path / "left").read_text())
    assert is_alive(left)
    os.kill(left, signal.SIGKILL)
