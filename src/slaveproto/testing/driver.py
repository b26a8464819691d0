"""A driver for sessions of slaves, with a host in memory and a scripted master at the other end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from slaveproto.commands.registry import COMMANDS, Command
from slaveproto.effects import (
    CloseConnection,
    CountUnacknowledged,
    OpenConnection,
    ProcessOutput,
    Request,
)
from slaveproto.inputs import Completed, Disconnected, Received, Wakeup
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import Connected, Input, SlaveEvent, Start
from slaveproto.slave.session import SlaveSession
from slaveproto.testing.memory_host import MemoryChild, MemoryHost
from slaveproto.testing.scripted_master import ScriptedMaster
from slaveproto.testing.settling import Settling


class SessionDriver(Settling):
    """A `SlaveSession` with a host in memory and a master at the other end. Time passes only in `advance`.

    Args:
        config: who the slave is.
        info: what its host is.
        commands: what the master may start.
        jitter: as for the session; none by default.
        host: performs its requests.
    """

    def __init__(
        self,
        config: SlaveConfig | None = None,
        info: HostInfo | None = None,
        *,
        commands: Mapping[str, Command] = COMMANDS,
        jitter: Callable[[float], float] = lambda delay: delay,
        host: MemoryHost | None = None,
    ) -> None:
        super().__init__()
        self.config = config or SlaveConfig("master", 9989, "bot1", "secret", "/slave")
        self.info = info or HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0")
        self.session = SlaveSession(self.config, self.info, jitter, commands)
        self.host = host or MemoryHost()
        self.inputs: list[tuple[float, Input]] = []
        """Every input of the session with its time: enough to repeat it."""
        self.events: list[SlaveEvent] = []
        """Everything that it announced."""
        self.reachable: bool | None = True
        """Whether a new connection comes about: True, False if it fails at once, None if there is never an answer."""
        self.listening = True
        """Whether the master reads; if not, what the session sends waits."""
        self.unacknowledged = 0
        """Bytes that the master's system has not acknowledged of what the session sent."""
        self.masters: list[ScriptedMaster] = []
        """Every connection so far."""
        self._connection = 0
        self._reports: deque[Input] = deque()

    @property
    def master(self) -> ScriptedMaster:
        """The newest connection."""
        return self.masters[-1]

    def start(self) -> ScriptedMaster:
        """Start the session; return the master that it connects to."""
        self.handle(Start())
        return self.master

    def handle(self, *items: Input) -> None:
        """Hand inputs to the session, and let everything follow that they lead to."""
        self._reports.extend(items)
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the session at each of its deadlines on the way."""
        end = self.now + seconds
        while (due := self.session.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.handle(Wakeup())
        self.now = end

    def reconnect(self) -> ScriptedMaster:
        """Let time pass until the session tried again; return the new master."""
        count = len(self.masters)
        while len(self.masters) == count:
            assert self.session.deadline is not None, "the session will not try again"
            self.advance(self.session.deadline - self.now)
        return self.master

    def lose_connection(self, why: str = "") -> None:
        """Let the connection end; `why` is the operating system's reason, empty for an orderly end."""
        number, self._connection = self._connection, 0
        self.master.end()
        self.handle(Disconnected(number, why))

    def output(self, child: MemoryChild, data: bytes, stream: str = "stdout") -> None:
        """Let a child write."""
        self.handle(ProcessOutput(child.number, stream, data))

    def end(self, child: MemoryChild, code: int = 0, signal: int | None = None) -> None:
        """Let a child end by itself, with its streams."""
        self.handle(*self.host.end(child.number, code, signal))

    def _pump(self) -> bool:
        if self._reports:
            self.feed(self._reports.popleft())
            return True
        if not self._connection:
            return False
        sent = self.session.data_to_send() if self.listening else b""
        if sent:
            self.to_master(sent)
            self._reports.append(Wakeup())
            return True
        received = self.master.connection.data_to_send()
        if received:
            self.to_slave(received)
        return bool(received)

    def feed(self, item: Input) -> None:
        """Hand one input to the session and look at all of its doors."""
        self.inputs.append((self.now, item))
        self.session.handle(item, now=self.now)
        self._start(self.session.requests())
        while (event := self.session.next_event()) is not None:
            self.events.append(event)

    def to_slave(self, data: bytes) -> None:
        """Bytes of the master arrive."""
        self._reports.append(Received(self._connection, data))

    def to_master(self, data: bytes) -> None:
        """Bytes of the slave arrive."""
        self.master.hear(data)

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection():
                if self.reachable is None:
                    return
                if not self.reachable:
                    self._reports.append(Disconnected(request.id, "connection refused"))
                    return
                self._connection = request.id
                self.masters.append(ScriptedMaster(self.settle, self.config.password.encode()))
                self._reports.append(Connected(request.id))
            case CloseConnection(connection, last):
                if connection == self._connection:
                    self._connection = 0
                    self.to_master(last)
                    self.master.end()
            case CountUnacknowledged():
                self._reports.append(Completed(request.id, self.unacknowledged))
            case _:
                self._reports.extend(self.host.perform(request))
