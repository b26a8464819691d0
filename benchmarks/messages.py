"""Rows 1 and 2, work per message: our connection beside Twisted's broker, both in memory.

A slave calls `update` on the master's object. Three parts are timed on their own: sending the call, receiving and
answering it, taking in the answer. CPU time in microseconds per message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol

import attrs
import msgpack
from twisted.internet.testing import StringTransport
from twisted.spread import pb

from benchmarks.figures import OURS, Comparison, Figure, Options, in_turns, times_less
from slaveproto.wire import NEED_DATA, Answered, Call, Connection, Local, Opened, Remote, Role

TWISTED: Final = "Twisted"
MSGPACK: Final = "msgpack"

SMALL: Final = [[{"stdout": "x" * 40}, 0]]
LARGE: Final = [[{"stdout": "x" * 65536}, 0]]
ONE_CALL: Final = ["message", 1, 2, "update", 1, ["tuple", LARGE], ["dictionary"]]
"""The input of msgpack: an update call as on our wire, without the marks of types, which msgpack has built in."""


@attrs.frozen
class Parts:
    """Microseconds per message.

    Args:
        send: the call.
        receive: the call, and answer it.
        take_in: the answer.
    """

    send: float
    receive: float
    take_in: float


class Contestant(Protocol):
    """One implementation of both ends."""

    def run(self, count: int, payload: Any) -> Parts:
        """Send, answer and take in so many calls."""


class Ours:
    """Two connections of ours: a slave that holds a remote object of its master."""

    def __init__(self) -> None:
        self.master = Connection(Role.SERVER, root=Local("root"))
        self.slave = Connection(Role.CLIENT)
        self._move(self.master, self.slave)
        self._event(self.slave, Opened)
        self._move(self.slave, self.master)
        self._event(self.master, Opened)
        self._move(self.master, self.slave)
        # The master hands out its object in the answer to a call.
        self.slave.call(self.slave.root, "get")
        self._move(self.slave, self.master)
        self.master.answer(self._event(self.master, Call).id, Local("command"))
        self._move(self.master, self.slave)
        remote = self._event(self.slave, Answered).value
        assert isinstance(remote, Remote)
        self.remote = remote
        for end in (self.master, self.slave):
            assert end.next_event() is NEED_DATA

    def _move(self, source: Connection, target: Connection) -> None:
        target.receive_data(source.data_to_send())

    def _event(self, connection: Connection, kind: type[Any]) -> Any:
        event = connection.next_event()
        assert isinstance(event, kind)
        return event

    def run(self, count: int, payload: Any) -> Parts:
        slave, master, remote = self.slave, self.master, self.remote
        clock = time.process_time
        start = clock()
        calls = []
        for _ in range(count):
            slave.call(remote, "update", (payload,))
            calls.append(slave.data_to_send())
        sent = clock()
        answers = []
        for data in calls:
            master.receive_data(data)
            call = master.next_event()
            assert isinstance(call, Call)
            master.answer(call.id, 0)
            answers.append(master.data_to_send())
            assert master.next_event() is NEED_DATA
        answered = clock()
        for data in answers:
            slave.receive_data(data)
            assert isinstance(slave.next_event(), Answered)
            assert slave.next_event() is NEED_DATA
        return _parts(count, start, sent, answered, clock())


class _Target(pb.Referenceable):  # type: ignore[misc]
    def remote_update(self, updates: object) -> int:
        return 0


class _Root(pb.Root):  # type: ignore[misc]
    def remote_get(self) -> _Target:
        return _Target()


class Twisted:
    """The same with Twisted's brokers."""

    def __init__(self) -> None:
        self.server_pipe, self.client_pipe = StringTransport(), StringTransport()
        self.server = pb.PBServerFactory(_Root()).buildProtocol(None)
        factory = pb.PBClientFactory()
        self.client = factory.buildProtocol(None)
        self.server.makeConnection(self.server_pipe)
        self.client.makeConnection(self.client_pipe)
        self._carry()
        found: list[Any] = []
        factory.getRootObject().addCallback(found.append)
        found[0].callRemote("get").addCallback(found.append)
        self._carry()
        self.remote = found[1]

    def _carry(self) -> None:
        while self.server_pipe.value() or self.client_pipe.value():
            for pipe, other in ((self.server_pipe, self.client), (self.client_pipe, self.server)):
                if data := pipe.value():
                    pipe.clear()
                    other.dataReceived(data)

    def run(self, count: int, payload: Any) -> Parts:
        done: list[object] = []
        clock = time.process_time
        start = clock()
        calls = []
        for _ in range(count):
            self.remote.callRemote("update", payload).addCallback(done.append)
            calls.append(self.client_pipe.value())
            self.client_pipe.clear()
        sent = clock()
        answers = []
        for data in calls:
            self.server.dataReceived(data)
            answers.append(self.server_pipe.value())
            self.server_pipe.clear()
        answered = clock()
        for data in answers:
            self.client.dataReceived(data)
        end = clock()
        assert done == [0] * count
        return _parts(count, start, sent, answered, end)


class Msgpack:
    """msgpack's unpacker in C, which only reads: what no Python can beat."""

    def run(self, count: int, payload: Any) -> Parts:
        assert payload is LARGE
        data = msgpack.packb(ONE_CALL)
        unpacker = msgpack.Unpacker()
        clock = time.process_time
        start = clock()
        for _ in range(count):
            unpacker.feed(data)
            assert len(unpacker.unpack()) == len(ONE_CALL)
        return _parts(count, start, start, clock(), clock())


def _parts(count: int, start: float, sent: float, answered: float, end: float) -> Parts:
    return Parts(*(seconds * 1e6 / count for seconds in (sent - start, answered - sent, end - answered)))


def small(options: Options) -> Iterator[Figure]:
    """Row 1."""
    found = _measure(options, {OURS: Ours(), TWISTED: Twisted()}, 20 if options.smoke else 5000, SMALL)
    parts: tuple[tuple[str, Callable[[Parts], float]], ...] = (
        ("send", lambda parts: parts.send),
        ("receive and answer", lambda parts: parts.receive),
        ("take in the answer", lambda parts: parts.take_in),
    )
    for name, part in parts:
        runs = {who: [part(run) for run in theirs] for who, theirs in found.items()}
        yield Figure(1, f"80-byte update: {name}", "CPU µs", runs, [times_less(TWISTED, 10)])


def large(options: Options) -> Iterator[Figure]:
    """Row 2."""
    contestants: Mapping[str, Contestant] = {OURS: Ours(), TWISTED: Twisted(), MSGPACK: Msgpack()}
    found = _measure(options, contestants, 5 if options.smoke else 500, LARGE)
    runs = {who: [run.receive for run in theirs] for who, theirs in found.items()}
    goals = [times_less(TWISTED, 4), Comparison(OURS, MSGPACK, most=3)]
    yield Figure(2, "64 KiB update: receive and answer", "CPU µs", runs, goals)


def _measure(
    options: Options, contestants: Mapping[str, Contestant], count: int, payload: Any
) -> dict[str, list[Parts]]:
    for contestant in contestants.values():
        # What happens only once, or is learned.
        contestant.run(max(1, count // 10), payload)
    return in_turns(options.runs, {who: partial(it.run, count, payload) for who, it in contestants.items()})
