"""What strangers, impostors and broken peers do to the end that listens, and to the one that connects."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.errors import LocalProtocolError
from slaveproto.resume import CarrierLost, CarrierOver, ResumePolicy, ResumingClient, ResumingServer, StreamOver
from slaveproto.resume.events import ServerEvent
from slaveproto.resume.frames import Ack, Beat, Data, End, Frame, Hello, Position, Reset, write
from slaveproto.resume.greeting import CHOICE, offer

POLICY = ResumePolicy()


class Pair:
    """A client and a server, and the bytes that the client has said on each connection."""

    def __init__(self, key: bytes = b"", server_key: bytes | None = None) -> None:
        self.now = 0.0
        self.server = ResumingServer(b"s" * 32, key=key if server_key is None else server_key)
        self.client = ResumingClient(b"c" * 32, lambda most: most / 2, key=key)
        self.last = 0
        self.said: dict[int, bytes] = {}
        self.told: list[ServerEvent] = []
        self.names: tuple[str, ...] = ()

    def connect(self) -> int:
        """Open a connection of the client's, and let it do what it wants."""
        self.last += 1
        self.said[self.last] = b""
        self.server.accepted(self.last, self.now)
        if self.names:
            self.server.secured(self.last, self.names)
        self.client.connected(self.now)
        self.talk(self.last)
        return self.last

    def talk(self, number: int) -> None:
        """Carry bytes to and fro."""
        while True:
            down, up = self.server.data_to_send(number), b""
            if down:
                self.client.receive(down, self.now)
            up = self.client.data_to_send()
            if up:
                self.said[number] += up
                self.server.receive(number, up, self.now)
            if not up and not down:
                break
        self.listen()

    def listen(self) -> list[ServerEvent]:
        """What the server told since the last time."""
        found = []
        while (event := self.server.next_event()) is not None:
            found.append(event)
        self.told += found
        return found

    def stranger(self, *said: bytes, names: tuple[str, ...] = ()) -> tuple[bytes, list[ServerEvent]]:
        """Open a connection of another party; return what it hears, and what the server tells."""
        self.last += 1
        self.listen()
        self.server.accepted(self.last, self.now)
        if names:
            self.server.secured(self.last, names)
        heard = b""
        for data in said:
            heard += self.server.data_to_send(self.last)
            self.server.receive(self.last, data, self.now)
        told = self.listen()
        return heard + self.server.data_to_send(self.last), told

    def is_fine(self, number: int) -> bool:
        """Whether the stream still carries, both ways."""
        stream = next(iter(self.server.streams))
        self.client.send(b"up")
        self.server.send(stream, b"down")
        self.talk(number)
        return (self.client.take(), self.server.take(stream)) == (b"down", b"up")


def test_a_hello_that_is_replayed_opens_nothing() -> None:
    pair = Pair()
    first = pair.connect()
    heard, told = pair.stranger(pair.said[first])
    assert b"the proof is false" in heard
    assert told == [CarrierOver(2, "the proof is false", stranger=True)]
    assert len(pair.server.streams) == 1
    assert pair.is_fine(first)


def test_a_resuming_hello_that_is_replayed_resumes_nothing() -> None:
    pair = Pair()
    pair.server.disconnected(pair.connect(), "cut", 0.0)
    pair.client.disconnected("cut", 0.0)
    second = pair.connect()
    heard, told = pair.stranger(pair.said[second])
    assert b"the proof is false" in heard
    assert [type(event) for event in told] == [CarrierOver]
    assert pair.is_fine(second)


@pytest.mark.parametrize("place", range(5, 5 + 104))
def test_a_hello_with_a_byte_changed_is_refused(place: int) -> None:
    """Nonce, stream, number, position and proof are all proven."""
    pair = Pair()
    pair.server.disconnected(pair.connect(), "cut", 0.0)
    pair.listen()
    pair.client.disconnected("cut", 0.0)
    pair.last += 1
    pair.server.accepted(pair.last, 0.0)
    pair.client.connected(0.0)
    pair.client.receive(pair.server.data_to_send(pair.last), 0.0)
    pair.server.receive(pair.last, pair.client.data_to_send(), 0.0)
    pair.client.receive(pair.server.data_to_send(pair.last), 0.0)
    hello = bytearray(pair.client.data_to_send())
    hello[place] ^= 1
    pair.server.receive(pair.last, bytes(hello), 0.0)
    (over,) = pair.listen()
    assert isinstance(over, CarrierOver)
    assert over.stranger
    pair.client.disconnected("refused", 0.0)
    pair.client.wakeup(5.0)
    assert pair.is_fine(pair.connect())


def test_another_key_opens_nothing() -> None:
    pair = Pair(b"k" * 32, b"other" * 8)
    pair.connect()
    assert not pair.server.streams
    assert pair.client.stream.why == "the proof is false"
    assert pair.stranger(CHOICE)[1] == []


def test_a_client_with_a_key_takes_no_plain_server_and_no_server_without_it() -> None:
    client = ResumingClient(b"c" * 32, float, key=b"k" * 32)
    client.connected(0.0)
    client.receive(offer(plain=True).replace(b"resume", b"resumo"), 0.0)
    assert client.stream.over
    assert not client.data_to_send()


def test_another_certificate_resumes_nothing() -> None:
    pair = Pair()
    pair.names = ("one",)
    first = pair.connect()
    pair.client.disconnected("cut", 0.0)
    pair.names = ("two",)
    pair.connect()
    assert pair.client.stream.why == "the certificate is not the one of the stream"
    assert [held.carried for held in pair.server.streams.values()] == [True]
    assert first


def test_the_newer_of_two_connections_wins_and_the_older_is_refused() -> None:
    pair = Pair()
    first = pair.connect()
    pair.client.disconnected("cut", 0.0)
    second = pair.connect()
    kinds = [type(event) for event in pair.told]
    assert CarrierLost in kinds
    assert CarrierOver(first, "a newer connection took its place", stranger=False) in pair.told
    assert pair.is_fine(second)


def hello_of(pair: Pair, count: int) -> tuple[bytes, list[ServerEvent]]:
    """A hello of the client, made on a connection that is late, with its proof."""
    from slaveproto.resume.frames import hello_fields
    from slaveproto.resume.proof import derive, prove_client, resuming_key, stream_id

    pair.last += 1
    number = pair.last
    pair.server.accepted(number, 0.0)
    pair.server.receive(number, CHOICE, 0.0)
    nonce = pair.server.data_to_send(number)[-32:]
    key = resuming_key(b"", derive(b"s" * 32, b"token", 1))
    here = Position(0, 4096, 30.0)
    name = stream_id(b"s" * 32, 1)
    proof = prove_client(key, nonce, b"n" * 32, hello_fields(name, count, here))
    pair.listen()
    pair.server.receive(number, write(Hello(b"n" * 32, name, count, here, proof)), 0.0)
    told = pair.listen()
    return pair.server.data_to_send(number), told


def test_a_connection_that_comes_late_is_refused() -> None:
    pair = Pair()
    first = pair.connect()
    heard, told = hello_of(pair, 1)
    assert b"a newer connection carries the stream" in heard
    assert [type(event) for event in told] == [CarrierOver]
    assert pair.is_fine(first)


def test_an_unknown_stream_is_refused_at_once() -> None:
    pair = Pair()
    pair.connect()
    pair.server = ResumingServer(b"another" * 5)
    pair.client.disconnected("cut", 0.0)
    pair.connect()
    assert pair.client.stream.over
    assert "not known" in pair.client.stream.why


BROKEN: tuple[tuple[Frame, ...], ...] = (
    (Data(1, b"x"),),
    (Data(0, b"x"), Data(0, b"x")),
    (Data(0, b"x" * 200_000),) * 1 + tuple(Data(200_000 * n, b"x" * 200_000) for n in range(1, 30)),
    (Ack(1, 100),),
    (Ack(2**64 - 1, 100),),
    (End(5),),
    (End(0), End(0)),
    (End(0), End(1)),
    (End(0), Data(0, b"x")),
    (End(0), Data(1, b"x")),
    (Hello(b"n" * 32, b"", 1, Position(0, 1, 1.0), b"p" * 32),),
)


@pytest.mark.parametrize("frames", BROKEN, ids=range(len(BROKEN)))
def test_a_peer_that_breaks_the_protocol_loses_its_stream_and_no_other(frames: tuple[Frame, ...]) -> None:
    pair = Pair()
    first = pair.connect()
    other = ResumingClient(b"o" * 32, float)
    pair.client, fine = other, pair.client
    second = pair.connect()
    pair.server.receive(second, b"".join(map(write, frames)), 0.0)
    told = pair.listen()
    (over,) = [event for event in told if isinstance(event, StreamOver)]
    assert over.stream == second
    assert "broke the protocol" in over.why
    last = pair.server.data_to_send(second)
    assert write(Reset(over.why))[5:] in last
    pair.client = fine
    assert pair.is_fine(first)
    # The same, said by the server.
    client = ResumingClient(b"d" * 32, float)
    pair.client = client
    pair.connect()
    client.receive(b"".join(map(write, frames)), 0.0)
    assert client.stream.over
    assert "broke the protocol" in client.stream.why


def test_strangers_cost_little_and_go_after_a_while() -> None:
    """500 in each phase: silent, in the middle of the choice, challenged, in the middle of a hello."""
    pair = Pair()
    first = pair.connect()
    hello = write(Hello(b"n" * 32, b"", 1, Position(0, 1, 1.0), b"p" * 32))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for said in ((), (CHOICE[:5],), (CHOICE,), (CHOICE, hello[:100])):
            for _ in range(500):
                pair.stranger(*said)
        cost = (tracemalloc.get_traced_memory()[0] - before) / 2000
    finally:
        tracemalloc.stop()
    assert cost < 4096
    pair.server.wakeup(POLICY.handshake)
    gone = [event for event in pair.listen() if isinstance(event, CarrierOver)]
    assert len(gone) == 2000
    assert all(event.stranger for event in gone)
    for event in gone:
        pair.server.data_to_send(event.carrier)
    assert pair.is_fine(first)


@pytest.mark.parametrize(
    "data", [b"\x00" * 5000, b"GET / HTTP/1.1\r\n\r\n", CHOICE + b"\xff" * 5000, CHOICE + write(Beat())]
)
def test_strangers_that_speak_something_else(data: bytes) -> None:
    server = ResumingServer(b"s" * 32, plain=False)
    server.accepted(1, 0.0)
    server.receive(1, data, 0.0)
    event = server.next_event()
    assert isinstance(event, CarrierOver)
    assert event.stranger
    server.data_to_send(1)
    server.receive(1, data, 0.0)
    assert server.next_event() is None


@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
def test_any_bytes_of_a_client(pieces: list[bytes], proven: bool) -> None:
    pair = Pair()
    number = pair.connect() if proven else pair.last
    if not proven:
        pair.last = number = 1
        pair.server.accepted(1, 0.0)
        pair.server.receive(1, CHOICE, 0.0)
    for piece in pieces:
        pair.server.receive(number, piece, 0.0)
        pair.server.data_to_send(number)
    pair.server.wakeup(1000.0)
    pair.listen()


@given(st.lists(st.binary(max_size=80), max_size=8), st.integers(0, 3))
def test_any_bytes_of_a_server(pieces: list[bytes], phase: int) -> None:
    pair = Pair()
    if phase == 3:
        pair.connect()
    elif phase:
        pair.client.connected(0.0)
        pair.server.accepted(1, 0.0)
        for _ in range(phase):
            pair.client.receive(pair.server.data_to_send(1), 0.0)
            pair.server.receive(1, pair.client.data_to_send(), 0.0)
    for piece in pieces:
        pair.client.receive(piece, 0.0)
        pair.client.data_to_send()
    for now in (11.0, 40.0, 70.0, 1000.0):
        pair.client.wakeup(now)


def test_misuse_is_told() -> None:
    pair = Pair()
    pair.connect()
    pair.client.end()
    with pytest.raises(LocalProtocolError):
        pair.client.send(b"more")
    with pytest.raises(LocalProtocolError):
        pair.client.end()
