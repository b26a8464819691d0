"""Starting, signalling and reaping child processes.

On Linux a signal reaches all that a command started, wherever it went, and what a command that was signalled leaves
behind is killed (`offspring`); elsewhere the process group is all that can be reached.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable

import attrs

from slaveproto.effects import Holder, ProcessExited, Spawn

assert sys.platform != "win32"

# Only here, for type checkers that check for Windows find nothing in them.
from transports.host.posix.offspring import Offspring, Sighting, holders, look_at, marked, send  # noqa: E402
from transports.host.posix.slave_watcher import SlaveWatcher  # noqa: E402

# Only Linux tells of every process.
_TELLS_ALL = sys.platform == "linux"

# The new session's first open of a terminal makes that its controlling terminal. On macOS the session is only new after
# the files were opened, so the shell opens the terminal once more. And only a shell can set the directory; it passes on
# no variable whose name it could not have itself.
_IN_DIRECTORY = (b"/bin/sh", b"-c", b'cd "$0" && : <"$1" && shift && unset OLDPWD && exec "$@"')

# There a group of which only the zombie of its leader is left cannot be signalled.
_ZOMBIES_REFUSE = sys.platform == "darwin"

# `subprocess` hands down neither these, which Python ignores, nor a descriptor that it was not told of; `posix_spawn`
# does both.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_WATCHER = SlaveWatcher()


@attrs.define
class Child:
    """A process that was started, and its streams by descriptor.

    Args:
        pid: of the process, and of the group that it leads.
        outputs: descriptors to read, with the names of their streams.
        stdin: descriptor to write, None for none.
    """

    pid: int
    outputs: dict[int, str]
    stdin: int | None
    _collect: Callable[[], int]
    # The outputs as the system names them where others have them open.
    _names: frozenset[str]
    _offspring: Offspring | None
    # Whether what is left of the command ends with its first process.
    _ends_whole: bool
    _ended: bool = attrs.field(default=False, init=False)
    # Where waiting is reaping, two threads may be at it.
    _reaping: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _code: int | None = attrs.field(default=None, init=False)

    def wait(self, process: int) -> ProcessExited:
        """Wait for the end and return the report of it, if possible without giving up the number of the group.

        Python for macOS cannot wait without that before its version 3.13.
        """
        if hasattr(os, "waitid"):
            status = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            if status is not None:
                self._ended = True
                self._end_whole()
                exited = status.si_code == os.CLD_EXITED
                code, signal_number = (status.si_status, None) if exited else (0, status.si_status)
                return ProcessExited(process, code, signal_number)
        code = self.reap()
        return ProcessExited(process, max(code, 0), -code if code < 0 else None)

    def reap(self) -> int:
        """Wait for the end and return the code, negative for a signal.

        From then on the number of the process may belong to another one; nothing may be sent to it any more.
        """
        with self._reaping:
            if self._code is None:
                self._code = self._collect()
                self._end_whole()
                if self._offspring is not None:
                    _WATCHER.remove(self._offspring)
            return self._code

    def _end_whole(self) -> None:
        if self._ends_whole and self._offspring is not None:
            self._offspring.kill()

    def send_signal(self, name: str) -> bool:
        """Send `SIG<name>` to all of the command; False if nothing is left of it.

        What is left when the first process has ended is then killed.

        Raises:
            OSError: there is no such signal, or no permission.
        """
        number = getattr(signal.Signals, f"SIG{name}", None)
        if number is None:
            raise OSError(errno.EINVAL, f"there is no signal {name}")
        self._ends_whole = True
        # Before the group: what loses its parents by that would not be found any more.
        others = [one for one in self._found() if one.group != self.pid]
        reached = [send(one.pid, one.started, number) for one in others]
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return any(reached)
        except PermissionError:
            if not (_ZOMBIES_REFUSE and self._ended):
                raise
            return False
        if number == signal.SIGKILL:
            self._end_whole()
        return True

    def discard(self) -> None:
        """Kill it and leave nothing of it, for it cannot be looked after."""
        self.send_signal("KILL")
        self.reap()
        for fd in (*self.outputs, *([] if self.stdin is None else [self.stdin])):
            os.close(fd)

    def find_holders(self) -> tuple[Holder, ...]:
        """Return those that hold its outputs open (Linux), without those of other users unless this is root."""
        return tuple(Holder(pid, name) for pid, name in holders(self._names))

    def _found(self) -> set[Sighting]:
        return set() if self._offspring is None else self._offspring.find()


def spawn(effect: Spawn) -> Child:
    """Start a process in a session of its own.

    Raises:
        OSError: it cannot be started.
    """
    start = _spawn_on_terminal if effect.use_pty else _spawn_on_pipes
    if not _TELLS_ALL:
        return start(effect, None)
    offspring = Offspring(os.urandom(8).hex().encode(), 0, 0)
    _WATCHER.add(offspring)
    try:
        child = start(attrs.evolve(effect, environ=marked(effect.environ, offspring.token)), offspring)
    except BaseException:
        _WATCHER.remove(offspring)
        raise
    seen = look_at(child.pid)
    if seen is not None:
        offspring.leader, offspring.started = seen.pid, seen.started
        _WATCHER.add(offspring)
    return child


def open_exit(child: Child) -> int:
    """Return a descriptor that is readable once a child has ended (Linux). If there is none, the child is killed.

    Raises:
        OSError: there are too many descriptors; nothing is left of the child.
    """
    try:
        return _pidfd(child.pid)
    except OSError:
        child.discard()
        raise


def _pidfd(pid: int) -> int:
    if sys.platform == "linux":
        return os.pidfd_open(pid)
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _spawn_on_pipes(effect: Spawn, offspring: Offspring | None) -> Child:
    # Only now, for a slave that waits for work is to be small.
    try:
        import subprocess
    except ImportError as error:
        # What Python itself brings is not found only for want of descriptors.
        raise OSError(errno.EMFILE, str(error)) from None

    # Not `subprocess.PIPE`: all that can fail has to fail before the process is there.
    with contextlib.ExitStack() as on_error, contextlib.ExitStack() as theirs:
        out, their_out = _pipe(on_error, theirs)
        err, their_err = _pipe(on_error, theirs)
        their_in, stdin = _pipe(theirs, on_error) if effect.stdin else (subprocess.DEVNULL, None)
        child = subprocess.Popen(
            effect.argv,
            stdin=their_in,
            stdout=their_out,
            stderr=their_err,
            cwd=effect.directory,
            env=effect.environ,
            start_new_session=True,
        )
        on_error.pop_all()
    outputs = {out: "stdout", err: "stderr"}
    names = frozenset(f"pipe:[{os.fstat(fd).st_ino}]" for fd in outputs)
    return Child(child.pid, outputs, stdin, child.wait, names, offspring, effect.kill_leftovers)


def _pipe(of_read_end: contextlib.ExitStack, of_write_end: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    of_read_end.callback(os.close, read_end)
    of_write_end.callback(os.close, write_end)
    return read_end, write_end


def _spawn_on_terminal(effect: Spawn, offspring: Offspring | None) -> Child:
    if not _is_there(os.fsdecode(effect.argv[0]), effect):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    try:
        master, slave = os.openpty()
    except OSError as error:
        # Python's words for whatever it was, and no reason that a command could have.
        raise OSError(errno.EAGAIN, f"no pseudo-terminal: {error.strerror or error}") from None
    try:
        name = os.ttyname(slave)
        pid = os.posix_spawn(
            b"/bin/sh",
            (*_IN_DIRECTORY, os.fsencode(effect.directory), os.fsencode(name), *effect.argv),
            effect.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, name, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                (os.POSIX_SPAWN_DUP2, 0, 2),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()),
            ],
            setsid=True,
            setsigdef=_IGNORED_BY_PYTHON,
        )
    except NotImplementedError as error:
        os.close(master)
        raise OSError(errno.ENOSYS, f"no command can have a terminal here: {error}") from None
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)

    def collect() -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return Child(pid, {master: "stdout"}, None, collect, frozenset({name}), offspring, effect.kill_leftovers)


def _is_there(program: str, effect: Spawn) -> bool:
    folders = os.fsdecode(effect.environ.get(b"PATH", b"")) or os.defpath
    places = [program] if "/" in program else [os.path.join(folder, program) for folder in folders.split(os.pathsep)]
    paths = [os.path.join(effect.directory, place) for place in places]
    return any(os.path.isfile(path) and os.access(path, os.X_OK) for path in paths)


def _inheritable() -> list[int]:
    """Return the descriptors that the parent of this program left open."""
    found = []
    for fd in map(int, os.listdir("/dev/fd")):
        # The one that lists them is gone by now.
        with contextlib.suppress(OSError):
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
    return found
