"""A driver for slaves whose line to the master outlives its connections."""

from __future__ import annotations

from slaveproto.effects import CloseConnection, OpenConnection, Request
from slaveproto.inputs import Disconnected, Received, Wakeup
from slaveproto.resume import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    PlainCame,
    ResumingServer,
    StreamCame,
    StreamOver,
)
from slaveproto.slave.events import Connected
from slaveproto.slave.session import SlaveSession
from slaveproto.testing import SessionDriver
from slaveproto.testing.scripted_master import ScriptedMaster


class LastingDriver(SessionDriver):
    """A session and a scripted master, with a stream between them."""

    def __init__(self) -> None:
        super().__init__()
        self.session = SlaveSession(self.config, self.info, lambda most: most / 2, resume=b"r" * 32)
        self.server = ResumingServer(b"s" * 32)
        self.stream = 0
        self.connections = 0
        self.cut_after: int | None = None
        """Bytes of the slave's after which its connection is lost, once."""
        self.dead = False
        """Whether the connection carries nothing, and neither end is told."""

    def cut(self, why: str = "Connection reset by peer") -> None:
        """Let the connection be lost for both ends."""
        number, self._connection = self._connection, 0
        self.server.disconnected(number, why, self.now)
        self._heed()
        self.handle(Disconnected(number, why))

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [time for time in (self.session.deadline, self.server.deadline) if time is not None and time <= end]
            if not due:
                break
            self.now = max(self.now, min(due))
            self.server.wakeup(self.now)
            self._heed()
            self.handle(Wakeup())
        self.now = end

    def _pump(self) -> bool:
        if self._reports:
            self.feed(self._reports.popleft())
            return True
        if self.stream and self.masters and (said := self.master.connection.data_to_send()):
            self.server.send(self.stream, said)
            return True
        number = self._connection
        if not number or self.dead:
            return False
        if data := self.session.data_to_send():
            if self.cut_after is not None:
                if len(data) > self.cut_after:
                    self.server.receive(number, data[: self.cut_after], self.now)
                    self.cut_after = None
                    self._heed()
                    self._connection = 0
                    self.server.disconnected(number, "cut", self.now)
                    self._heed()
                    self._reports.append(Disconnected(number, "cut"))
                    return True
                self.cut_after -= len(data)
            self.server.receive(number, data, self.now)
            self._heed()
            self._reports.append(Wakeup())
            return True
        if data := self.server.data_to_send(number):
            self.to_slave(data)
            return True
        return False

    def _heed(self) -> None:
        while (event := self.server.next_event()) is not None:
            match event:
                case StreamCame(number):
                    self.stream = number
                    self.masters.append(ScriptedMaster(self.settle, self.config.password.encode()))
                case Arrived(number):
                    self.master.hear(self.server.take(number))
                case StreamOver():
                    self.stream = 0
                    self.master.end()
                case CarrierOver(number, why):
                    data = self.server.data_to_send(number)
                    if number == self._connection:
                        self._connection = 0
                        if data:
                            self._reports.append(Received(number, data))
                        self._reports.append(Disconnected(number, why))
                case CarrierLost() | CarrierBack():
                    pass
                case PlainCame():
                    raise AssertionError("the slave speaks plainly")

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection() if self.reachable:
                self._connection = request.id
                self.connections += 1
                self.server.accepted(request.id, self.now)
                self._reports.append(Connected(request.id))
            case CloseConnection(number, last):
                if number == self._connection:
                    self._connection = 0
                    if last and not self.dead:
                        self.server.receive(number, last, self.now)
                    if not self.dead:
                        self.server.disconnected(number, "", self.now)
                    self._heed()
            case _:
                super()._perform(request)
