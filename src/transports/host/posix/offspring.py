"""Processes that a command started, wherever they went. Linux only: there the system tells of all of them.

Rules.

* A process belongs to a command if it is its first process, or in the session of that, or has the command's mark in its
  environment, or was started by one that belongs to it. What was found once belongs to it for good.
* A process is its number and the time of its start. Both are compared once more while a descriptor holds the process
  fast, right before a signal is sent: its number may be another's by then.
* This module imports only what Python itself brings: as a program it ends the commands of a slave that was killed, and
  runs then without the slave's packages (`slave_watcher`).

Not found: a process that has lost its environment (by `env -i`, or by writing its title over it), its session and every
parent before it was looked for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

assert sys.platform != "win32"

MARK: Final = b"SLAVEPROTO_COMMAND"
"""The variable that every process of a command inherits. Its value has one word for each slave around it."""

ROUNDS: Final = 100
"""Most times that new processes are looked for while a command is killed; what starts faster than that wins."""

_DEAD: Final = (b"Z", b"X")


class Sighting(NamedTuple):
    """A process as it was seen. `started` is in ticks of the system since it started itself."""

    pid: int
    started: int
    parent: int
    group: int
    session: int
    state: bytes


def look_at(pid: int) -> Sighting | None:
    """Return what the system tells of a process, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return None
    # The name before the parenthesis may hold anything.
    words = data[data.rindex(b")") + 1 :].split()
    return Sighting(pid, int(words[19]), int(words[1]), int(words[2]), int(words[3]), words[0])


def look_around() -> dict[int, Sighting]:
    """Return every process that the system tells of, by its number."""
    try:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    return {pid: seen for pid in numbers if (seen := look_at(pid)) is not None}


def marked(environ: Mapping[bytes, bytes], token: bytes) -> dict[bytes, bytes]:
    """Return an environment with the mark of one more command."""
    return {**environ, MARK: b" ".join((*environ.get(MARK, b"").split(), token))}


class Offspring:
    """All processes of one command.

    Args:
        token: its word of the mark, unique; empty if there is none.
        leader: the number of its first process, which leads a session; 0 if it is not known.
        started: when that was started, as `Sighting` has it.
    """

    def __init__(self, token: bytes, leader: int, started: int) -> None:
        self.token = token
        self.leader = leader
        self.started = started
        self._known: set[tuple[int, int]] = set()

    def find(self) -> set[Sighting]:
        """Return those that run at present."""
        seen = look_around()
        leader = seen.get(self.leader)
        # As long as a session has members, no new process gets its number.
        session = self.leader if leader is None or leader.started == self.started else 0
        children: dict[int, list[Sighting]] = {}
        todo = []
        for one in seen.values():
            children.setdefault(one.parent, []).append(one)
            if (one.pid, one.started) in self._known or (
                one.started >= self.started and ((session and one.session == session) or self._is_marked(one.pid))
            ):
                todo.append(one)
        found: set[Sighting] = set()
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += (child for child in children.get(one.pid, ()) if child.started >= one.started)
        self._known |= {(one.pid, one.started) for one in found}
        return {one for one in found if one.state not in _DEAD and one.pid != os.getpid()}

    def kill(self) -> None:
        """Kill those that run, and look for more until there is none."""
        sent: set[tuple[int, int]] = set()
        for _ in range(ROUNDS):
            new = {(one.pid, one.started) for one in self.find()} - sent
            if not new:
                return
            for pid, started in new:
                send(pid, started, signal.SIGKILL)
            sent |= new

    def _is_marked(self, pid: int) -> bool:
        if not self.token:
            return False
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environ = file.read()
        except OSError:
            # Another user's, or gone.
            return False
        at = (b"\0" + environ).find(b"\0" + MARK + b"=")
        return at >= 0 and self.token in environ[at:].partition(b"\0")[0].partition(b"=")[2].split()


def send(pid: int, started: int, number: int) -> bool:
    """Send a signal to a process if it is still the one that was started then; return whether it got it."""
    to: Callable[[], None] = lambda: os.kill(pid, number)  # noqa: E731
    fd = -1
    if sys.platform == "linux":
        try:
            fd = held = os.pidfd_open(pid)
            to = lambda: signal.pidfd_send_signal(held, number)  # noqa: E731
        except ProcessLookupError:
            return False
        except OSError:
            # Too many descriptors, or an old kernel: then nothing holds the number between the look and the signal.
            pass
    try:
        seen = look_at(pid)
        if seen is None or seen.started != started:
            return False
        to()
    except OSError:
        # Gone, or another user's.
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def holders(names: frozenset[str]) -> list[tuple[int, str]]:
    """Return number and name of each process but this one that has one of some pipes or terminals open.

    Args:
        names: as in `/proc/PID/fd`: `pipe:[NUMBER]`, or a path.
    """
    found = []
    for pid in look_around():
        if pid != os.getpid() and any(name in names for name in _open_in(pid)):
            try:
                with open(f"/proc/{pid}/comm", "rb") as file:
                    name = file.read().strip().decode("ascii", "replace")
            except OSError:
                continue
            found.append((pid, "".join(char if char.isprintable() else "?" for char in name)))
    return found


def _open_in(pid: int) -> Iterator[str]:
    # Another user's, or gone.
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                yield os.readlink(f"/proc/{pid}/fd/{fd}")


def main(arguments: list[str]) -> None:
    """Kill commands; each argument is `TOKEN:LEADER:STARTED`."""
    for argument in arguments:
        token, leader, started = argument.split(":")
        Offspring(token.encode(), int(leader), int(started)).kill()


if __name__ == "__main__":
    main(sys.argv[1:])
