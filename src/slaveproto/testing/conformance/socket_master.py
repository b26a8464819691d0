"""A `ScriptedMaster` over a real socket, for edge cases that no real master can be made to produce.

A test drives it from its own thread: nothing is read or answered unless the test waits for something. It says as little
as a master can.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from slaveproto.testing.scripted_master import MasterCommand, ScriptedMaster
from slaveproto.wire.events import Call
from slaveproto.wire.values import Remote, Value

DEADLINE = 20.0
"""Seconds after which something that does not happen has failed; long, for the machine may be busy."""

BLOCK = 256 * 1024

LAST_SHOWN = 200
"""Bytes of a connection that a failure shows; the latest."""


class MasterSocket:
    """The port of a master on this host.

    Args:
        ssl_context: for TLS; None for none.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(DEADLINE)
        self.port: int = self._socket.getsockname()[1]
        self.masters: list[SocketMaster] = []
        """The masters' ends of all connections that `accept` let in."""

    def __enter__(self) -> MasterSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def narrow(self) -> None:
        """Let the system keep little of what slaves send from now on and masters have not read."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

    def accept_raw(self) -> socket.socket:
        """Wait for a slave and return the bare socket."""
        sock, _ = self._socket.accept()
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is None:
            return sock
        with sock:
            # A slave that hangs up without the farewell of TLS is not to go unnoticed.
            return self._ssl_context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)

    @contextlib.contextmanager
    def accept(self) -> Iterator[SocketMaster]:
        """Wait for a slave and talk to it; the connection is closed in the end."""
        with self.accept_raw() as sock:
            master = SocketMaster(sock)
            self.masters.append(master)
            yield master

    @contextlib.contextmanager
    def attach(self, *builders: str, text: bool = True) -> Iterator[SocketMaster]:
        """Wait for a slave and let it log in."""
        with self.accept() as master:
            master.attach(*builders, text=text)
            yield master


class Spoiled(Exception):
    """The bytes went wrong as planned, and the connection is closed."""


class Spoil:
    """Lets the stream of a master end at a byte, with other bytes after it.

    Args:
        offset: how many bytes get through.
        garbage: what follows.
    """

    def __init__(self, offset: int, garbage: bytes) -> None:
        self._left = offset
        self._garbage = garbage

    def send(self, sock: socket.socket, data: bytes) -> None:
        """Send `data`, or what is left to send of it.

        Raises:
            Spoiled: that was all.
        """
        sock.sendall(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            # The slave may hang up while this is on its way.
            with contextlib.suppress(OSError):
                sock.sendall(self._garbage)
            sock.close()
            raise Spoiled


class SocketStep(MasterCommand):
    """A command that runs on the slave, and what it sent.

    Args:
        number: as for `MasterCommand`.
        keep: whether to keep the output and not only its size and digest.
    """

    def __init__(self, number: str, keep: bool) -> None:
        super().__init__(number)
        self.sizes: dict[str, int] = {}
        """Bytes of each output stream."""
        self.digests: dict[str, hashlib._Hash] = {}
        """SHA-256 of each output stream."""
        self.first_output: float | None = None
        """The time at which the first output came, None before."""
        self._keep = keep

    def hear(self, call: Call) -> None:
        """Take one call of the slave."""
        known = len(self.updates)
        super().hear(call)
        new, self.updates[known:] = self.updates[known:], []
        for update in new:
            kept = {key: value for key, value in update.items() if self._look(key, value)}
            if kept:
                self.updates.append(kept)

    def _look(self, key: Value, value: Value) -> bool:
        stream = key.decode() if isinstance(key, bytes) else str(key)
        if stream not in ("stdout", "stderr"):
            return True
        if self.first_output is None:
            self.first_output = time.monotonic()
        data = value.encode() if isinstance(value, str) else value
        assert isinstance(data, bytes)
        self.sizes[stream] = self.sizes.get(stream, 0) + len(data)
        self.digests.setdefault(stream, hashlib.sha256()).update(data)
        return self._keep

    @property
    def rc(self) -> Value:
        """The return code."""
        return next((value for key, value in self.items() if key == "rc"), None)

    def output(self, stream: str = "stdout") -> str:
        """All text of a stream."""
        text = self.text(stream)
        return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text

    @property
    def numbers(self) -> list[int]:
        """The numbers that it printed; of whole lines only."""
        return [int(word) for word in self.output().rpartition("\n")[0].split()]


class SocketMaster(ScriptedMaster):
    """The master's end of one connection, over a socket.

    Args:
        sock: connected; stays the caller's.
        spoil: what becomes of the bytes on their way.
        password: of the slave.
    """

    def __init__(self, sock: socket.socket, spoil: Spoil | None = None, password: str = "secret") -> None:
        super().__init__(self._exchange, password.encode())
        self.socket = sock
        self.sent = 0
        """Bytes sent so far."""
        self.received = 0
        """Bytes received so far."""
        self._last = b""
        self._spoil = spoil
        self._text = True
        self.flush()

    def flush(self) -> None:
        """Send what the connection has to say."""
        data = self.connection.data_to_send()
        self.sent += len(data)
        if self._spoil is not None:
            self._spoil.send(self.socket, data)
        else:
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
        self.wait_for(lambda: not (self.open and self.unanswered))

    def wait_for(self, condition: Callable[[], object], timeout: float = DEADLINE) -> None:
        """Talk until `condition` holds.

        Raises:
            AssertionError: it does not within `timeout` seconds, or the slave closed the connection before.
        """
        limit = time.monotonic() + timeout
        while not condition():
            left = limit - time.monotonic()
            if left <= 0 or not self.open:
                words = f"`{traceback.extract_stack(limit=2)[0].line}` within {timeout:g} s"
                assert self.open, f"{words}, but the slave has closed the connection"
                raise AssertionError(words)
            with contextlib.suppress(TimeoutError):
                self.pump(left)

    def describe(self) -> str:
        """Tell what came over it, for a failure."""
        state = "open" if self.open else "closed by the slave"
        return f"{state}; {self.sent} bytes sent, {self.received} received, the last of them {self._last!r}"

    def wait_closed(self) -> None:
        """Talk until the slave has closed the connection."""
        self.wait_for(lambda: not self.open)

    # -- what a master does

    def attach(self, *builders: str, text: bool = True) -> None:
        """Let the slave log in; `text` tells what kind of strings this master speaks."""
        self._text = text
        self.wait_for(lambda: self.bot)
        if text:
            self.call_bot("getWorkerInfo")
        self.set_builders([(self.word(name), self.word(name)) for name in builders])
        self.accept_login()

    def start(self, builder: str, command: Any, *, keep: bool = True, **more: Any) -> SocketStep:
        """Start a shell command and wait until the slave said that it does."""
        arguments = {"workdir": ".", "command": command, "logEnviron": False, **more}
        return self.begin(builder, "shell", arguments, keep=keep)

    def begin(self, builder: str, name: str, arguments: dict[str, Any], *, keep: bool = True) -> SocketStep:
        """Start any command and wait until the slave said that it does."""
        step = SocketStep(str(len(self.commands)), keep)
        words = {key: self._words(value) for key, value in arguments.items()}
        self.start_command(self.word(builder), self.word(name), words, command=step)
        return step

    def finish(self, step: SocketStep) -> SocketStep:
        """Wait for the end of a step."""
        self.wait_for(lambda: step.ends)
        return step

    def run(self, builder: str, command: Any, **more: Any) -> SocketStep:
        """Run a shell command to its end."""
        return self.finish(self.start(builder, command, **more))

    def word(self, text: str) -> str | bytes:
        """Return `text` in the kind of string that this master speaks."""
        return text if self._text else text.encode()

    def _words(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.word(value)
        if isinstance(value, dict):
            return {self._words(key): self._words(item) for key, item in value.items()}
        return [self._words(item) for item in value] if isinstance(value, list) else value


def say_without_pause(master: SocketMaster) -> None:
    """Send one message after the other, and read nothing, until that fails."""
    assert isinstance(master.bot, Remote)
    with contextlib.suppress(OSError):
        while True:
            master.connection.call(master.bot, "print", ("x" * 50_000,), wants_answer=False)
            master.flush()
