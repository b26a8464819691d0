"""A small process that ends the commands of a slave which is killed, and so cannot do that itself. Linux only.

It is a shell that reads lines from a pipe: each line lists the commands that run. At the end of the pipe the slave is
gone, in whatever way; if its last line lists commands, the shell becomes a Python that kills them (`offspring`).

One watcher serves all slaves of a program. It starts with the first command and costs one small shell. It is in a
session of its own and not a child of the program, which may wait for any child. A watcher that was killed is replaced
with the next command.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Final

assert sys.platform != "win32"

# Only here, for type checkers that check for Windows find nothing in it.
from transports.host.posix import offspring  # noqa: E402
from transports.host.posix.offspring import Offspring  # noqa: E402

# A shell takes the input of what it puts into the background for nothing, unless that comes from another number.
_SCRIPT: Final = (
    'exec 3<&0; (trap "" HUP INT TERM; left=; while read -r line; do left=$line; done; '
    '[ -z "$left" ] || exec "$0" -I -S "$1" $left) <&3 3<&- >/dev/null 2>&1 &'
)


class SlaveWatcher:
    """Tells the watcher which commands run. For any thread."""

    def __init__(self) -> None:
        self._pipe: int | None = None
        self._running: dict[bytes, Offspring] = {}
        self._telling = threading.Lock()

    def add(self, command: Offspring) -> None:
        """Have a command killed should this process end; for a second time with its leader.

        Without a watcher, as for want of processes, the command runs all the same.
        """
        with self._telling:
            self._running[command.token] = command
            if self._pipe is None:
                with contextlib.suppress(OSError, ImportError):
                    self._pipe = _start()
            self._tell()

    def remove(self, command: Offspring) -> None:
        """Leave alone what a command left behind."""
        with self._telling:
            self._running.pop(command.token, None)
            self._tell()

    def _tell(self) -> None:
        if self._pipe is None:
            return
        line = " ".join(f"{one.token.decode()}:{one.leader}:{one.started}" for one in self._running.values())
        try:
            os.write(self._pipe, f"{line}\n".encode())
        except BlockingIOError:
            # It is stopped. To close the pipe would kill what runs once it goes on.
            pass
        except OSError:
            os.close(self._pipe)
            self._pipe = None


def _start() -> int:
    import subprocess

    # So that a slave around us finds it.
    mark = {offspring.MARK: os.environb[offspring.MARK]} if offspring.MARK in os.environb else {}
    read_end, write_end = os.pipe()
    try:
        subprocess.run(
            ["/bin/sh", "-c", _SCRIPT, sys.executable, os.path.abspath(offspring.__file__)],
            stdin=read_end,
            cwd="/",
            env={b"PATH": b"/usr/bin:/bin", **mark},
            start_new_session=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        os.close(write_end)
        raise OSError(0, f"no watcher: {error}") from None
    finally:
        os.close(read_end)
    os.set_blocking(write_end, False)
    return write_end
