"""Starting, signalling and reaping child processes."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs

from slaveproto.effects import Holder, ProcessExited, Spawn
from transports.host.windows import jobs
from transports.host.windows.jobs import Jobs

CREATE_SUSPENDED: Final = 0x0004
CREATE_NEW_PROCESS_GROUP: Final = 0x0200

# What a program may heed is that Ctrl-Break was pressed; Ctrl-C does not reach a group.
_POLITE: Final = frozenset({"TERM", "INT", "BREAK"})

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")

_load_jobs: Final = functools.cache(jobs.load)


class ProcessHandle(Protocol):
    """The part of `subprocess.Popen` that is needed."""

    pid: int

    def wait(self) -> int: ...
    def kill(self) -> None: ...


class StartProcess(Protocol):
    """The way to start a process: `subprocess.Popen`, and no more of it than this."""

    def __call__(
        self,
        command_line: str,
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        cwd: str,
        env: Mapping[str, str],
        creationflags: int,
    ) -> ProcessHandle: ...


def _start(
    command_line: str,
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    cwd: str,
    env: Mapping[str, str],
    creationflags: int,
) -> ProcessHandle:
    return subprocess.Popen(
        command_line, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, creationflags=creationflags
    )


@attrs.define
class Child:
    """A process that was started, with all that it started, and its streams by descriptor.

    Args:
        outputs: descriptors to read, with the names of their streams.
        stdin: descriptor to write, None for none.
    """

    outputs: dict[int, str]
    stdin: int | None
    _process: ProcessHandle
    _job: int
    _jobs: Jobs
    _script: str | None

    @property
    def pid(self) -> int:
        """The number of the process, and of the group that Ctrl-Break reaches."""
        return self._process.pid

    def wait(self, process: int) -> ProcessExited:
        """Wait for the end and return the report of it."""
        return ProcessExited(process, signed(self._process.wait()), None)

    def reap(self) -> int:
        """Wait for the end and return the code. What the process left behind runs on; nothing reaches it any more."""
        code = signed(self._process.wait())
        with contextlib.suppress(OSError):
            self._jobs.release(self._job)
        _remove(self._script)
        return code

    def discard(self) -> None:
        """Kill it and leave nothing of it, for it cannot be looked after."""
        self.send_signal("KILL")
        self.reap()
        for fd in (*self.outputs, *([] if self.stdin is None else [self.stdin])):
            os.close(fd)

    def find_holders(self) -> tuple[Holder, ...]:
        """Return nothing: here no one tells who has a pipe open."""
        return ()

    def send_signal(self, name: str) -> bool:
        """End the process and all that it started at once if `name` is `KILL`, or ask them to end by Ctrl-Break.

        Returns:
            False if it is empty.

        Raises:
            OSError: there is no such signal, or it cannot be sent. Without a console there is no Ctrl-Break.
        """
        if not self._jobs.count(self._job):
            return False
        if name == "KILL":
            self._jobs.terminate(self._job)
        elif name in _POLITE:
            self._jobs.send_break(self._process.pid)
        else:
            raise OSError(errno.EINVAL, f"there is no signal {name} on Windows")
        return True


def signed(code: int) -> int:
    """Return an exit code as Buildbot's own slaves do: 32 bits, of which the first is a sign."""
    code &= 0xFFFFFFFF
    return code - (1 << 32) if code >> 31 else code


def spawn(
    effect: Spawn,
    *,
    load_jobs: Callable[[], Jobs] = _load_jobs,
    start: StartProcess = _start,
    shell: str | None = None,
) -> Child:
    """Start a process in a job and in a process group of its own.

    Args:
        effect: how.
        load_jobs: returns what can be done with jobs.
        start: starts a process.
        shell: the beginning of the command line of `cmd.exe`; None for what COMSPEC says.

    Raises:
        OSError: it cannot be started.
        ValueError: it cannot even be tried, such as with a null byte in a word.
    """
    if effect.use_pty:
        raise OSError(errno.ENOSYS, "there are no pseudo-terminals on Windows")
    with contextlib.ExitStack() as on_error, contextlib.ExitStack() as theirs:
        # All that can fail has to fail before the process is there.
        out, their_out = _pipe(on_error, theirs)
        err, their_err = _pipe(on_error, theirs)
        their_in, stdin = _pipe(theirs, on_error) if effect.stdin else (subprocess.DEVNULL, None)
        script = _write_script(effect.argv[0]) if effect.script else None
        on_error.callback(_remove, script)
        manager = load_jobs()
        job = manager.create()
        on_error.callback(manager.release, job)
        process = start(
            _command_line(effect, script, shell),
            stdin=their_in,
            stdout=their_out,
            stderr=their_err,
            cwd=effect.directory,
            env={_text(name, effect): _text(value, effect) for name, value in effect.environ.items()},
            # It runs only once it is in the job: whatever it starts is in there, too.
            creationflags=CREATE_NEW_PROCESS_GROUP | CREATE_SUSPENDED,
        )
        try:
            manager.adopt(job, process.pid)
        except OSError:
            process.kill()
            process.wait()
            raise
        on_error.pop_all()
    return Child({out: "stdout", err: "stderr"}, stdin, process, job, manager, script)


def _pipe(of_read_end: contextlib.ExitStack, of_write_end: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    of_read_end.callback(os.close, read_end)
    of_write_end.callback(os.close, write_end)
    return read_end, write_end


def _command_line(effect: Spawn, script: str | None, shell: str | None) -> str:
    if script is None:
        return subprocess.list2cmdline([_text(word, effect) for word in effect.argv])
    # With /s, the outer quotes go, and nothing else.
    return f'{shell or os.environ.get("COMSPEC") or "cmd.exe"} /s /c ""{script}""'


def _text(raw: bytes, effect: Spawn) -> str:
    return raw.decode(effect.encoding, "surrogateescape")


def _write_script(text: bytes) -> str:
    descriptor, path = tempfile.mkstemp(".bat", "slaveproto-")
    with open(descriptor, "wb") as file:
        file.write(b"@echo off\r\n" + _LINE_END.sub(b"\r\n", text) + b"\r\n")
    return path


def _remove(script: str | None) -> None:
    if script is not None:
        with contextlib.suppress(OSError):
            os.unlink(script)
