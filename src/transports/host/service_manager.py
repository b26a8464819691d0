"""Messages to the service manager that started the program: readiness, state in words, signs of life.

They are datagrams of lines `NAME=value` to the socket that NOTIFY_SOCKET names. All of it is one `sendto`, so there is
no package for it; those that exist are not maintained. A message that cannot be delivered is dropped: a program must
not depend on its manager.

Source: manual pages sd_notify(3) and sd_watchdog_enabled(3) of systemd, which other managers follow.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
from collections.abc import Callable, MutableMapping


class Heartbeat:
    """Calls a function once in a while, for as long as a loop looks at it.

    Args:
        beat: what is called.
        interval: seconds between two calls.
    """

    def __init__(self, beat: Callable[[], None], interval: float) -> None:
        self._beat = beat
        self._interval = interval
        self._due = -math.inf

    def look(self, now: float) -> float:
        """Beat if it is time. Return the seconds until the next beat; `now` is of any clock that never goes back."""
        if now >= self._due:
            self._beat()
            self._due = now + self._interval
        return self._due - now


class ServiceManager:
    """The service manager, or none: then every message goes nowhere.

    Args:
        environ: the program's environment. What is for this program alone is taken out, so that no child has it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        interval = _seconds(environ.pop("WATCHDOG_USEC", ""))
        ours = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.heartbeat: Heartbeat | None = None
        """The signs of life, twice as often as the manager asks for; None if it asks for none."""
        if interval and ours and self._address is not None:
            self.heartbeat = Heartbeat(lambda: self._send("WATCHDOG=1"), interval / 2)

    def say(self, status: str) -> None:
        """Tell what the program does, in one line."""
        self._send(f"STATUS={status}")

    def ready(self, status: str) -> None:
        """Tell that the program does what it is for."""
        self._send("READY=1", f"STATUS={status}")

    def stopping(self, status: str, within: float | None = None) -> None:
        """Tell that the program is about to end.

        Args:
            status: why, in one line.
            within: seconds that it may take, so that the manager waits for longer than it would; None to leave that.
        """
        extension = () if within is None else (f"EXTEND_TIMEOUT_USEC={math.ceil(within * 1e6)}",)
        self._send("STOPPING=1", f"STATUS={status}", *extension)

    def _send(self, *lines: str) -> None:
        # Windows has no such sockets, and no such managers.
        if sys.platform != "win32" and self._address is not None:
            message = "\n".join(lines).encode("utf-8", "backslashreplace")
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                # A manager that does not read must not stop what it watches.
                sender.setblocking(False)
                sender.sendto(message, self._address)


def _address(name: str) -> str | None:
    if name.startswith("@"):
        # Of Linux: a name that is no file.
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None


def _seconds(microseconds: str) -> float:
    return int(microseconds) / 1e6 if microseconds.isascii() and microseconds.isdigit() else 0.0
