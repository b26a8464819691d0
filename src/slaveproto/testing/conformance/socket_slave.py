"""A `ScriptedSlave` over a real socket, for what no real slave can be made to do.

A check drives it from its own thread: nothing is read or answered unless the check waits for something.
"""

from __future__ import annotations

import contextlib
import socket
import time
import traceback
from collections.abc import Callable

from slaveproto.testing.conformance.socket_master import BLOCK, DEADLINE, LAST_SHOWN
from slaveproto.testing.scripted_slave import ScriptedSlave
from slaveproto.wire.values import Value


class SocketSlave(ScriptedSlave):
    """The slave's end of one connection, over a socket.

    Args:
        sock: connected; becomes ours.
        name: of the user; the password is `secret`.
        login: whether it logs in by itself.
    """

    def __init__(self, sock: socket.socket, name: str = "bot", *, password: str = "secret", login: bool = True) -> None:
        super().__init__(self._exchange, name.encode(), password.encode(), login=login)
        self.socket = sock
        self.sent = 0
        """Bytes sent so far."""
        self.received = 0
        """Bytes received so far."""
        self._last = b""
        sock.settimeout(DEADLINE)
        self.flush()

    def __enter__(self) -> SocketSlave:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def describe(self) -> str:
        """Tell what came over it, for a failure."""
        state = "open" if self.open else "closed by the master"
        said = ", ".join(self.said) or "nothing"
        return (
            f"{self.name.decode()}, {state}; {self.sent} bytes sent, {self.received} received, the last of them "
            f"{self._last!r}; the master called {said}"
        )

    def flush(self) -> None:
        """Send what the connection has to say."""
        data = self.data_to_send()
        self.sent += len(data)
        # Why a master no longer reads is told by what is read.
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def pump(self, timeout: float = DEADLINE) -> None:
        """Wait for bytes and answer what they ask.

        Raises:
            TimeoutError: nothing came within `timeout` seconds.
        """
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(BLOCK)
        except ConnectionError:
            data = b""
        finally:
            self.socket.settimeout(DEADLINE)
        self.received += len(data)
        self._last = (self._last + data)[-LAST_SHOWN:]
        if data:
            self.hear(data)
            self.flush()
        else:
            self.end()

    def _exchange(self) -> None:
        self.flush()
        self.wait_for(lambda: not (self.open and self.unanswered), "the master answers")

    def wait_for(self, condition: Callable[[], object], expected: str = "", timeout: float = DEADLINE) -> None:
        """Talk until `condition` holds.

        Raises:
            AssertionError: it does not within `timeout` seconds, or the master closed the connection before.
        """
        limit = time.monotonic() + timeout
        while not condition():
            left = limit - time.monotonic()
            if left <= 0 or not self.open:
                words = f"{expected or f'`{traceback.extract_stack(limit=2)[0].line}`'} within {timeout:g} s"
                assert self.open, f"{words}, but the master has closed the connection"
                raise AssertionError(words)
            with contextlib.suppress(TimeoutError):
                self.pump(min(left, 0.05))

    def wait_closed(self, timeout: float = DEADLINE) -> None:
        """Talk until the master has closed the connection."""
        self.wait_for(lambda: not self.open, "the master closes the connection", timeout)

    def wait_command(self) -> None:
        """Talk until a command has been started."""
        self.wait_for(lambda: self.commands, "the master starts a command")

    def write(self, text: str) -> None:
        """Send output of the newest command without waiting for the answer."""
        updates: list[Value] = [[{"stdout": text}, 0]]
        self.unanswered.add(self.connection.call(self.command.step, "update", (updates,), {}))
        self.flush()
