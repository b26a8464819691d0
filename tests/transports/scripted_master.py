"""A small master over a real socket, for edge cases that no real master can be made to produce.

The test drives it from its own thread: nothing is read or answered unless the test waits for something. It says as
little as a master can.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from slaveproto.wire import Answered, Call, Closed, Connection, Event, Failed, Local, NeedData, Remote, Role, Value

DEADLINE = 20.0
"""Seconds after which something that does not happen has failed; long, for the machine may be busy."""


class Listener:
    """The port of a master."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(DEADLINE)
        self.port: int = self.socket.getsockname()[1]

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def accept_raw(self) -> socket.socket:
        """Wait for the slave and return the bare socket."""
        sock, _ = self.socket.accept()
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @contextlib.contextmanager
    def accept(self, spoil: Spoil | None = None) -> Iterator[Master]:
        """Wait for the slave and talk to it; the connection is closed in the end."""
        with self.accept_raw() as sock:
            yield Master(sock, spoil)

    @contextlib.contextmanager
    def attach(self, *builders: str, text: bool = True) -> Iterator[Master]:
        """Wait for the slave and let it log in."""
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
        """Send `data`, or what is left to send of it."""
        sock.sendall(data[: self._left])
        self._left -= len(data)
        if self._left < 0:
            # The slave may hang up while this is on its way.
            with contextlib.suppress(OSError):
                sock.sendall(self._garbage)
            sock.close()
            raise Spoiled


class Step:
    """A command that runs on the slave, and what it sent."""

    def __init__(self, keep: bool) -> None:
        self.local = Local("step")
        self.calls = 0
        self.updates: list[tuple[str, Value]] = []
        self.sizes: dict[str, int] = {}
        self.digests: dict[str, hashlib._Hash] = {}
        self.completed: list[Value] = []
        self.first_output: float | None = None
        self._keep = keep

    @property
    def rc(self) -> Value:
        """The return code."""
        return next((value for key, value in self.updates if key == "rc"), None)

    def text(self, stream: str) -> str:
        """All text of a stream."""
        return "".join(_str(value) for key, value in self.updates if key == stream)

    def take(self, updates: Value) -> None:
        """Keep what an update call brought."""
        self.calls += 1
        assert isinstance(updates, list)
        for entry in updates:
            assert isinstance(entry, list)
            assert isinstance(entry[0], dict)
            for key, value in entry[0].items():
                self._take_one(_str(key), value)

    def _take_one(self, key: str, value: Value) -> None:
        if key in ("stdout", "stderr"):
            if self.first_output is None:
                self.first_output = time.monotonic()
            data = value.encode() if isinstance(value, str) else value
            assert isinstance(data, bytes)
            self.sizes[key] = self.sizes.get(key, 0) + len(data)
            self.digests.setdefault(key, hashlib.sha256()).update(data)
            if not self._keep:
                return
        self.updates.append((key, value))


class Master:
    """One connection of a slave."""

    def __init__(self, sock: socket.socket, spoil: Spoil | None = None) -> None:
        self.socket = sock
        self.connection = Connection(Role.SERVER, root=Local("root"))
        self.sent = 0
        self.closed = False
        self.asked: list[str] = []
        self.mind: Remote | None = None
        self.builders: dict[str, Remote] = {}
        self._spoil = spoil
        self._text = True
        self._avatar = Local("avatar")
        self._challenger = Local("challenger")
        self._login_call = 0
        self._answers: dict[int, Answered | Failed] = {}
        self._steps: dict[Local, Step] = {}
        self.flush()

    # -- the wire

    def flush(self) -> None:
        """Send what the connection has to say."""
        data = self.connection.data_to_send()
        self.sent += len(data)
        if self._spoil is not None:
            self._spoil.send(self.socket, data)
        else:
            self.socket.sendall(data)

    def pump(self, timeout: float = DEADLINE) -> None:
        """Wait for bytes and answer what they ask."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(256 * 1024)
        except ConnectionError:
            data = b""
        self.socket.settimeout(DEADLINE)
        if data:
            self.connection.receive_data(data)
        else:
            self.connection.receive_eof()
        while not isinstance(event := self.connection.next_event(), NeedData):
            self._on_event(event)
        if not self.closed:
            self.flush()

    def wait_for(self, condition: Callable[[], object], timeout: float = DEADLINE) -> None:
        """Talk until `condition` holds."""
        limit = time.monotonic() + timeout
        while not condition():
            left = limit - time.monotonic()
            assert left > 0, "the slave did not do in time what the master waits for"
            assert not self.closed, "the slave closed the connection"
            with contextlib.suppress(TimeoutError):
                self.pump(left)

    def wait_closed(self) -> None:
        """Talk until the slave has closed the connection."""
        while not self.closed:
            self.pump()

    # -- what a master does

    def attach(self, *builders: str, text: bool = True) -> None:
        """Let the slave log in; `text` tells what kind of strings this master speaks."""
        self._text = text
        self.wait_for(lambda: self.mind)
        assert self.mind is not None
        if text:
            self.ask(self.mind, "getWorkerInfo")
        names = self.ask(self.mind, "setBuilderList", [(self.word(name), self.word(name)) for name in builders])
        assert isinstance(names, dict)
        for key, value in names.items():
            assert isinstance(value, Remote)
            self.builders[_str(key)] = value
        self.connection.answer(self._login_call, self._avatar)
        self.flush()

    def ask(self, target: Remote, method: str, *args: Value) -> Value:
        """Call and wait for the answer."""
        number = self.connection.call(target, method, args)
        self.flush()
        self.wait_for(lambda: number in self._answers)
        answer = self._answers.pop(number)
        assert isinstance(answer, Answered), answer
        return answer.value

    def start(self, builder: str, command: Any, *, keep: bool = True, **more: Any) -> Step:
        """Start a shell command and wait until the slave said that it does."""
        step = Step(keep)
        self._steps[step.local] = step
        arguments = {"workdir": ".", "command": command, "logEnviron": False, **more}
        remote = self.builders[builder]
        self.ask(remote, "startBuild")
        number, name = self.word("1"), self.word("shell")
        self.ask(remote, "startCommand", step.local, number, name, self._words(arguments))
        return step

    def interrupt(self, builder: str) -> None:
        """Interrupt what the builder does."""
        self.ask(self.builders[builder], "interruptCommand", self.word("1"), self.word("stop"))

    def finish(self, step: Step) -> Step:
        """Wait for the end of a step."""
        self.wait_for(lambda: step.completed)
        return step

    def run(self, builder: str, command: Any, **more: Any) -> Step:
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

    def _on_event(self, event: Event) -> None:
        match event:
            case Call(method="login"):
                self.connection.answer(event.id, (b"challenge", self._challenger))
            case Call(method="respond"):
                mind = event.args[1]
                assert isinstance(mind, Remote)
                self._login_call, self.mind = event.id, mind
            case Call(method="update"):
                self._steps[event.target].take(event.args[0])
                self.connection.answer(event.id)
            case Call(method="complete"):
                self._steps[event.target].completed.append(event.args[0])
                self.connection.answer(event.id)
            case Call():
                self.asked.append(event.method)
                self.connection.answer(event.id)
            case Answered() | Failed():
                self._answers[event.id] = event
            case Closed():
                self.closed = True
            case _:
                pass


def _str(value: Value) -> str:
    assert isinstance(value, (str, bytes))
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
