"""Starting and signalling child processes (POSIX)."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable

import attrs

from slaveproto.effects import ProcessExited, Spawn

# The new session's first open of a terminal makes that its controlling terminal; only the directory is left to set.
_IN_DIRECTORY = (b"/bin/sh", b"-c", b'cd "$0" && exec "$@"')


@attrs.frozen
class Child:
    """A process that was started, and its streams by descriptor.

    Args:
        pid: of the process, and of the group that it leads.
        outputs: descriptors to read, with the names of their streams.
        stdin: descriptor to write, None for none.
        reap: waits for its end and returns its code, negative for a signal. From then on its number may belong to
            another process.
    """

    pid: int
    outputs: dict[int, str]
    stdin: int | None
    reap: Callable[[], int]

    def wait(self, process: int) -> ProcessExited:
        """Wait for the end and return the report of it, if possible without giving up the number of the group."""
        if hasattr(os, "waitid"):
            status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            if status is not None:
                exited = status.si_code == os.CLD_EXITED
                code, signal_number = (status.si_status, None) if exited else (0, status.si_status)
                return ProcessExited(process, code, signal_number)
        code = self.reap()
        return ProcessExited(process, max(code, 0), -code if code < 0 else None)


def spawn(effect: Spawn) -> Child:
    """Start a process in a session of its own.

    Raises:
        OSError: it cannot be started.
    """
    return _spawn_on_terminal(effect) if effect.use_pty else _spawn_on_pipes(effect)


def send_signal(pid: int, name: str) -> bool:
    """Send `SIG<name>` to the group that a process leads; False if nobody is left in it.

    Raises:
        OSError: there is no such signal, or no permission.
    """
    number = getattr(signal.Signals, f"SIG{name}", None)
    if number is None:
        raise OSError(errno.EINVAL, f"there is no signal {name}")
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    return True


def _spawn_on_pipes(effect: Spawn) -> Child:
    child = subprocess.Popen(
        effect.argv,
        stdin=subprocess.PIPE if effect.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=effect.directory,
        env=effect.environ,
        start_new_session=True,
        bufsize=0,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    outputs = {os.dup(child.stdout.fileno()): "stdout", os.dup(child.stderr.fileno()): "stderr"}
    stdin = os.dup(child.stdin.fileno()) if child.stdin is not None else None
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    return Child(child.pid, outputs, stdin, child.wait)


def _spawn_on_terminal(effect: Spawn) -> Child:
    program = os.fsdecode(effect.argv[0])
    if "/" in program:
        program = os.path.join(effect.directory, program)
    if shutil.which(program, path=os.fsdecode(effect.environ.get(b"PATH", b"")) or os.defpath) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        pid = os.posix_spawn(
            b"/bin/sh",
            (*_IN_DIRECTORY, os.fsencode(effect.directory), *effect.argv),
            effect.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
            ],
            setsid=True,
        )
    except OSError:
        os.close(master)
        raise
    finally:
        os.close(slave)
    return Child(pid, {master: "stdout"}, None, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
