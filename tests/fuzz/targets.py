"""Targets: functions that take any bytes, feed them as those of a peer, and raise if a promise is broken.

The promises: nothing but `RemoteProtocolError` leaves a connection, and nothing at all a session; when the peer is
gone, nothing is left of it; a session that was stopped finishes.

The first byte of an input says in what pieces the rest arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from slaveproto.effects import CloseConnection, OpenConnection, ProcessOutput, Spawn
from slaveproto.errors import RemoteProtocolError
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.master import (
    Accepted,
    Account,
    AccountWanted,
    AnswerAccount,
    AnyStep,
    BuildLost,
    BuildRefused,
    BuildStarted,
    ChangeAccount,
    DownloadString,
    EndBuild,
    MasterConfig,
    MasterInput,
    MasterSession,
    Shell,
    SlaveAccount,
    StartBuild,
    StartStep,
    StatFile,
    StepFinished,
    StepSpoke,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.events import MasterEvent
from slaveproto.mend import Mender, Side
from slaveproto.mend.mender import MENDER_LIMITS
from slaveproto.resume import Arrived, PlainPeer, ResumingClient, ResumingServer, StreamOver
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import Connected, Input, Start
from slaveproto.slave.session import SlaveSession
from slaveproto.testing import MemoryHost
from slaveproto.wire import NEED_DATA, Call, Connection, Failure, Local, Opened, Remote, Role
from slaveproto.wire.banana import Decoder, Expression, encode

SIZES: Final = (1 << 20, 1, 2, 7, 64, 1000)
"""Bytes of a piece, by the first byte of an input."""

STREAM_SECRET: Final = b"s" * 32
STREAM_SEED: Final = b"c" * 32

CHALLENGE: Final = bytes(range(16))
BUILDER: Final = "linux"
BOT: Final = SlaveAccount("bot1", "secret", {BUILDER: "linux", "mac": "mac"})
CHANGES: Final = ChangeAccount("change", "changepw")
ACCOUNTS: Final[Mapping[str, Account]] = {BOT.name: BOT, CHANGES.name: CHANGES}

STEPS: Final[tuple[AnyStep, ...]] = (
    Shell(command=("make",)),
    DownloadString(data=b"text\n" * 30, dest="file"),
    UploadFile(src="file", dest="/m/file", max_size=1 << 20),
    UploadDirectory(src="tree", dest="/m/tree", compress="gz", max_size=1 << 20, unpack_limit=1 << 20),
    StatFile(file="file"),
    Shell(command="make test", timeout=None),
)
"""Steps of the build that the master of the target `master` runs."""


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut an input as its first byte says."""
    size = SIZES[data[0] % len(SIZES)] if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]


def connection_of_a_client(data: bytes) -> None:
    """Feed bytes of a server."""
    _connection(Connection(Role.CLIENT), data)


def connection_of_a_server(data: bytes) -> None:
    """Feed bytes of a client."""
    _connection(Connection(Role.SERVER, root=Local("root"), tags=frozenset({b"a.Copied"})), data)


def _connection(connection: Connection, data: bytes) -> None:
    calls = 0
    try:
        for piece in pieces(data):
            connection.receive_data(piece)
            while (event := connection.next_event()) is not NEED_DATA:
                if isinstance(event, Opened) and connection.role is Role.CLIENT:
                    # What a recorded peer answers has to have been asked.
                    for _ in range(50):
                        connection.call(connection.root, "hello")
                if isinstance(event, Call):
                    calls += 1
                    kept = [remote for remote in event.remotes if isinstance(remote, Remote)]
                    if calls % 2:
                        connection.answer(event.id, [Local("answer"), event.method])
                    else:
                        connection.fail(event.id, Failure("a.Failure", "no"))
                    for remote in kept * 3:
                        connection.call(remote, "hello", [1, "two", b"three"])
                    for remote in kept:
                        connection.release(remote)
                connection.data_to_send()
        connection.receive_eof()
        while connection.next_event() is not NEED_DATA:
            pass
    except RemoteProtocolError:
        pass
    connection.close()
    while connection.next_event() is not NEED_DATA:
        pass
    assert not connection.exported, "a closed connection says that its peer holds objects"


class _Slave:
    """A slave session whose host is in memory; children say a word and end."""

    def __init__(self) -> None:
        info = HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0")
        config = SlaveConfig("master", 9989, "bot1", "secret", "/slave")
        self.session = SlaveSession(config, info, lambda delay: delay)
        self.host = MemoryHost({"/slave", "/slave/linux", "/slave/linux/build"})
        self.host.write("/slave/linux/build/file", b"text\n" * 30)
        self.now = 0.0
        self.connection: int | None = None
        self._reports: deque[Input] = deque()

    def tell(self, item: Input) -> None:
        """Hand an input to the session, and all that follows from it."""
        self._reports.append(item)
        while self._reports:
            self.session.handle(self._reports.popleft(), now=self.now)
            for request in self.session.requests():
                match request.effect:
                    case OpenConnection():
                        if self.connection is None:
                            self.connection = request.id
                            self._reports.append(Connected(request.id))
                    case CloseConnection():
                        self.connection = None
                    case effect:
                        self._reports.extend(self.host.perform(request))
                        if isinstance(effect, Spawn) and request.id % 3:
                            self._reports.append(ProcessOutput(request.id, "stdout", b"out \xe2\x82\xac\n"))
                            self._reports.extend(self.host.end(request.id, request.id % 2))
            while self.session.next_event() is not None:
                pass
            self.session.data_to_send()


def slave(data: bytes) -> None:
    """Feed bytes of a master to a slave session."""
    slave = _Slave()
    slave.tell(Start())
    connection = slave.connection
    assert connection is not None
    for piece in pieces(data):
        slave.now += 0.01
        slave.tell(Received(connection, piece))
        if slave.connection is None:
            break
    slave.tell(Stop("over"))
    for child in list(slave.host.children.values()):
        if child.running:
            for report in slave.host.end(child.number, 0):
                slave.tell(report)
    for _ in range(100):
        if slave.session.finished or slave.session.deadline is None:
            break
        slave.now = max(slave.now, slave.session.deadline)
        slave.tell(Wakeup())
    assert slave.session.finished, "a session that was stopped does not finish"


class FuzzedMaster:
    """A master session with one connection; it builds as soon as it can.

    Args:
        ask: whether it asks its program who may come.
        lasting: whether it offers streams.
    """

    def __init__(self, *, ask: bool = False, lasting: bool = False) -> None:
        config = MasterConfig({} if ask else ACCOUNTS, ask=ask)
        self.session = MasterSession(config, resume=STREAM_SECRET if lasting else None)
        self.host = MemoryHost({"/m"})
        self.now = 0.0
        self.sent = b""
        """Bytes for the peer."""
        self.finished = 0
        """Steps that ended."""
        self._asked = False
        self._wishes: deque[MasterInput] = deque()

    def tell(self, item: MasterInput) -> None:
        """Hand an input to the session, and all that follows from it."""
        self._wishes.append(item)
        while self._wishes:
            self.session.handle(self._wishes.popleft(), now=self.now)
            for request in self.session.requests():
                if not isinstance(request.effect, CloseConnection):
                    for report in self.host.perform(request):
                        assert isinstance(report, (Completed, Rejected))
                        self._wishes.append(report)
            while (event := self.session.next_event()) is not None:
                self._on_event(event)
            for number in self.session.connections_to_send():
                self.sent += self.session.data_to_send(number)
        if not self._asked and BUILDER in self.session.idle_builders(BOT.name):
            self._asked = True
            self.tell(StartBuild(1, BOT.name, BUILDER))

    def _on_event(self, event: MasterEvent) -> None:
        match event:
            case AccountWanted(connection, name):
                self._wishes.append(AnswerAccount(connection, ACCOUNTS.get(name)))
            case BuildStarted():
                self._wishes.append(StartStep(0, 1, STEPS[0]))
            case BuildRefused():
                self._asked = False
            case BuildLost(build):
                self._wishes.append(EndBuild(build))
            case StepSpoke(step):
                self.session.output(step)
            case StepFinished(step, outcome):
                self.session.output(step)
                self.finished += 1
                if outcome.result.name != "RETRY" and step + 1 < len(STEPS):
                    self._wishes.append(StartStep(step + 1, 1, STEPS[step + 1]))
                elif outcome.result.name != "RETRY":
                    self._wishes.append(EndBuild(1))
            case _:
                pass


def master(data: bytes) -> None:
    """Feed bytes of a slave, or of a teller of changes, to a master session that builds."""
    _master(FuzzedMaster(), data)


def lasting_master(data: bytes) -> None:
    """Feed bytes of a slave that speaks over a stream to a master session that offers them, and builds."""
    _master(FuzzedMaster(lasting=True), data)


def login(data: bytes) -> None:
    """Feed bytes of a stranger to a master session that asks its program who may come."""
    _master(FuzzedMaster(ask=True), data)


def feed(master: FuzzedMaster, data: bytes) -> None:
    """Let a stranger come, and say what an input says."""
    master.tell(Accepted(1, "a stranger", CHALLENGE))
    for piece in pieces(data):
        master.now += 0.01
        master.tell(Received(1, piece))


def _master(master: FuzzedMaster, data: bytes) -> None:
    feed(master, data)
    master.now += 1.0
    master.tell(Disconnected(1, "reset"))
    # A stream is waited for as long as this.
    master.now += 1000.0
    master.tell(Wakeup())
    left = {name: number for name, number in master.session.census.items() if number}
    assert left == {}, f"the peer is gone, and left {left}"


def mender(data: bytes) -> None:
    """Feed bytes of a slave, which knows what masters of both generations ask, to a mender; its master says them back.

    Whatever comes out is Banana and whole, and nothing but `RemoteProtocolError` ends it.
    """
    for asked in (b"getWorkerInfo", b"getSlaveInfo"):
        mender = Mender()
        mender.receive(Side.MASTER, encode([b"pb", b"none"], vocabulary=False, limits=MENDER_LIMITS))
        mender.receive(Side.SLAVE, encode(b"pb", vocabulary=False, limits=MENDER_LIMITS))
        heard = Decoder(MENDER_LIMITS, vocabulary=True)
        for number, method in enumerate((asked, b"getCommands", b"getVersion", b"setBuilderList"), 1):
            call: list[Expression] = [b"message", number, 1, method, 1, [b"tuple"], [b"dictionary"]]
            mender.receive(Side.MASTER, encode(call, vocabulary=True, limits=MENDER_LIMITS))
        for piece in pieces(data):
            try:
                mender.receive(Side.SLAVE, piece)
                mender.receive(Side.MASTER, mender.data_to_send(Side.SLAVE))
            except RemoteProtocolError:
                break
            finally:
                heard.feed(mender.data_to_send(Side.MASTER))
                while heard.next_expression() is not NEED_DATA:
                    pass
        assert not heard.pending, "half an expression came out"


def stream_server(data: bytes) -> None:
    """Feed bytes of a client to the listening end of streams, which says back what it hears."""
    server = ResumingServer(STREAM_SECRET)
    server.accepted(1, 0.0)
    for piece in pieces(data):
        server.receive(1, piece, 0.0)
        while (event := server.next_event()) is not None:
            if isinstance(event, Arrived):
                server.send(event.stream, server.take(event.stream))
        server.data_to_send(1)
    server.disconnected(1, "reset", 1.0)
    server.wakeup(1000.0)
    while (event := server.next_event()) is not None:
        if isinstance(event, StreamOver):
            server.take(event.stream)
    assert not server.streams, "the client is gone for long, and its stream is left"
    assert server.deadline is None, "something is waited for, and nothing is there"


def stream_client(data: bytes) -> None:
    """Feed bytes of a server to the connecting end of a stream, which says back what it hears."""
    client = ResumingClient(STREAM_SEED, lambda most: most)
    client.connected(0.0)
    for piece in pieces(data):
        client.receive(piece, 0.0)
        while (event := client.next_event()) is not None:
            if isinstance(event, Arrived):
                client.send(client.take())
            if isinstance(event, PlainPeer):
                return
        client.data_to_send()
    client.disconnected("reset", 1.0)
    client.wakeup(1000.0)
    assert client.stream.over, "the server is gone for long, and its stream is left"
    assert client.deadline is None, "something is waited for, and nothing is there"


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "client": connection_of_a_client,
    "server": connection_of_a_server,
    "slave": slave,
    "master": master,
    "lasting_master": lasting_master,
    "login": login,
    "mender": mender,
    "stream_client": stream_client,
    "stream_server": stream_server,
}
