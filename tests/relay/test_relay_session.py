"""The relay in virtual time: what goes where, cuts, half-closed ends, back-pressure, strangers, the end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.inputs import Stop
from slaveproto.limits import Limits
from slaveproto.relay.config import Place
from slaveproto.relay.events import Drain, Draining, LinkBack, LinkLost, PairMended, PairOpened, PairOver, TurnedAway
from slaveproto.relay.states import PAIR, WRITING
from slaveproto.wire.banana import Expression, encode
from slaveproto.wire.values import FAILURE_TAG
from tests.relay.network import GREETING, PB, Network, Pipe, Relay


def taken(line: Pipe) -> bytes:
    data = bytes(line.arrived)
    line.arrived.clear()
    return data


def joined(network: Network, entrance: Relay) -> tuple[Pipe, Pipe]:
    """A slave and a master that are joined, and have picked their dialect."""
    slave = entrance.accept()
    network.settle()
    taken(slave)
    slave.send(PB)
    network.settle()
    assert taken(network.masters[-1]) == PB
    return slave, network.masters[-1]


def is_empty(*relays: Relay) -> bool:
    return all(not any(relay.session.census.values()) for relay in relays)


@pytest.mark.parametrize("table", [PAIR, WRITING])
def test_tables_are_sound(table: object) -> None:
    assert table.problems() == []  # type: ignore[attr-defined]


# -- beside a master, plain


def test_a_plain_slave_hears_one_greeting() -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER)
    slave = relay.accept()
    network.settle()
    assert taken(slave).startswith(b"\x03\x80\x02\x82pb\x04\x82none")
    slave.send(PB + b"more")
    network.most = 1
    network.settle()
    (master,) = network.masters
    assert taken(master) == PB + b"more"
    master.send(b"answer")
    network.settle()
    assert taken(slave) == b"answer"


def test_a_master_that_does_not_speak_pb() -> None:
    network = Network()
    network.greeting = b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 5000
    relay = network.relay(Place.BESIDE_MASTER)
    slave = relay.accept()
    slave.send(PB)
    network.settle()
    assert slave.hung_up()
    assert isinstance(relay.events[-1], PairOver)
    assert "does not speak Perspective Broker" in relay.events[-1].why
    assert is_empty(relay)


def test_a_master_that_cannot_be_reached() -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER)
    relay.reachable = False
    slave = relay.accept()
    slave.send(PB)
    network.settle()
    assert slave.hung_up()
    assert relay.events == [PairOver(1, "10.0.0.1:1", "the master: Connection refused")]
    assert is_empty(relay)


def test_a_master_that_says_nothing() -> None:
    network = Network()
    network.greeting = b""
    relay = network.relay(Place.BESIDE_MASTER, reach=20.0)
    slave = relay.accept()
    slave.send(PB)
    network.pass_time(19)
    assert not slave.hung_up()
    network.pass_time(1)
    assert slave.hung_up()
    assert relay.events == [PairOver(1, "10.0.0.1:1", "nothing was reached within 20 s")]
    assert is_empty(relay)


# -- both forms


@pytest.fixture(params=["plain", "pair"])
def form(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def relays(network: Network, form: str) -> tuple[Relay, ...]:
    """The relays between a slave and a master; the first one is the entrance."""
    return (network.relay(Place.BESIDE_MASTER),) if form == "plain" else network.pair()


@given(
    pieces=st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=300)), max_size=30),
    most=st.integers(1, 400),
    plain=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_all_bytes_arrive_in_order(pieces: list[tuple[bool, bytes]], most: int, plain: bool) -> None:
    network = Network()
    slave, master = joined(network, relays(network, "plain" if plain else "pair")[0])
    network.most = most
    said = {True: b"", False: b""}
    for upwards, data in pieces:
        (slave if upwards else master).send(data)
        said[upwards] += data
    network.settle()
    assert taken(master) == said[True]
    assert taken(slave) == said[False]


def test_half_closed_ends_are_carried(form: str) -> None:
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    slave.send(b"last words")
    slave.shut()
    network.settle()
    assert taken(master) == b"last words"
    assert master.hung_up()
    assert not slave.hung_up()
    master.send(b"a long answer")
    network.settle()
    assert taken(slave) == b"a long answer"
    master.shut()
    network.pass_time(1)
    assert slave.hung_up()
    assert is_empty(*path)
    assert [event.why for relay in path for event in relay.events if isinstance(event, PairOver)] == [""] * len(path)


@pytest.mark.parametrize("lost", ["slave", "master"])
def test_a_leg_that_is_lost_ends_its_partner(form: str, lost: str) -> None:
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    gone, left = (slave, master) if lost == "slave" else (master, slave)
    gone.send(b"last words")
    network.settle()
    gone.break_down()
    network.pass_time(1)
    assert left.hung_up()
    assert taken(left) == b"last words"
    assert is_empty(*path)
    reasons = [event.why for relay in path for event in relay.events if isinstance(event, PairOver)]
    assert len(reasons) == len(path)
    assert all(f"the {lost}: Connection reset by peer" in why for why in reasons)


def test_what_is_not_taken_is_not_read(form: str) -> None:
    """A master that reads nothing stops the slave, end to end, and nothing is lost."""
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    # The line to the master is full: no runner asks for its next batch.
    number = next(number for number, line in path[-1].pipes.items() if line.peer is master)
    full = path[-1].pipes.pop(number)
    block = bytes(range(256)) * 1024
    sent = 0
    while not path[0].session.paused(1):
        slave.send(block)
        network.settle()
        sent += len(block)
        assert sent < 20_000_000, "without an end"
    assert sent >= len(block)
    path[-1].pipes[number] = full
    for _ in range(200):
        data = path[-1].session.data_to_send(number)
        full.send(data)
        network.settle()
        network.pass_time(0.1)
    assert len(master.arrived) == sent
    assert taken(master) == block * (sent // len(block))


def test_a_stop_ends_everything(form: str) -> None:
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    path[0].handle(Stop("received SIGINT"))
    network.pass_time(1)
    assert slave.hung_up()
    assert master.hung_up()
    assert is_empty(*path)
    assert path[0].session.finished


def test_draining_lets_go_on_what_is_there(form: str) -> None:
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    path[-1].handle(Drain("received SIGTERM", 60.0))
    assert path[-1].events[-1] == Draining("received SIGTERM", 1, 60.0)
    late = path[0].accept()
    late.send(PB)
    network.settle()
    assert late.hung_up()
    assert len(network.masters) == 1
    slave.send(b"goes on")
    network.settle()
    assert taken(master) == b"goes on"
    assert not path[-1].session.finished
    slave.shut()
    master.shut()
    network.pass_time(1)
    assert path[-1].session.finished


def test_draining_has_an_end(form: str) -> None:
    network = Network()
    path = relays(network, form)
    slave, _ = joined(network, path[0])
    path[-1].handle(Drain("received SIGTERM", 60.0))
    network.pass_time(59)
    assert not slave.hung_up()
    network.pass_time(2)
    assert slave.hung_up()
    assert path[-1].session.finished


# -- streams


def test_a_cut_loses_nothing() -> None:
    network = Network()
    near, far = network.pair()
    slave, master = joined(network, near)
    slave.send(b"before")
    network.settle()
    near.reachable = False
    network.links[-1].break_down()
    network.settle()
    slave.send(b" while it is cut")
    master.send(b"downwards")
    network.pass_time(240)
    near.reachable = True
    network.pass_time(31)
    assert taken(master) == b"before while it is cut"
    assert taken(slave) == b"downwards"
    for relay in (near, far):
        assert [type(event) for event in relay.events] == [PairOpened, LinkLost, LinkBack]
        back = relay.events[-1]
        assert isinstance(back, LinkBack)
        assert 239 < back.seconds < 272
    assert far.session.census["strangers"] <= 1, "a link that is back is no stranger's"


def test_a_link_that_stays_away_ends_both_sides() -> None:
    network = Network()
    near, far = network.pair()
    slave, master = joined(network, near)
    near.reachable = False
    network.links[-1].break_down()
    network.pass_time(899)
    assert not slave.hung_up()
    assert not master.hung_up()
    network.pass_time(2)
    assert slave.hung_up()
    assert master.hung_up()
    assert is_empty(near, far)


@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 3000), max_size=8), most=st.integers(30, 2000))
@settings(max_examples=30, deadline=None)
def test_cuts_at_any_moment_lose_nothing(seed: int, cuts: list[int], most: int) -> None:
    network = Network(seed)
    near, far = network.pair()
    slave, master = joined(network, near)
    network.most = most
    upwards = network.random.randbytes(3000)
    downwards = network.random.randbytes(3000)
    slave.send(upwards)
    master.send(downwards)
    for cut in sorted(cuts):
        for _ in range(cut % 50):
            near.read(most)
            far.read(most)
        # Whatever is under way is lost with it.
        network.links[-1].arrived.clear()
        network.links[-1].peer.arrived.clear()
        network.links[-1].break_down()
        network.pass_time(network.random.random() * 40)
    network.pass_time(60)
    assert taken(master) == upwards
    assert taken(slave) == downwards


def test_without_a_key_a_plain_other_end_is_taken() -> None:
    network = Network()
    near = network.relay(Place.BESIDE_SLAVES)
    slave = near.accept()
    network.settle()
    assert taken(slave) == GREETING
    slave.send(PB)
    network.settle()
    assert taken(network.masters[0]) == PB
    assert near.events == [PairOpened(1, "10.0.0.1:1", False)]


def test_with_a_key_a_plain_other_end_is_not_taken() -> None:
    network = Network()
    near = network.relay(Place.BESIDE_SLAVES, key=b"k" * 32)
    slave = near.accept()
    network.settle()
    assert slave.hung_up()
    assert taken(slave) == b""
    assert isinstance(near.events[-1], PairOver)
    assert is_empty(near)


@pytest.mark.parametrize("settings", [{"plain": False}, {"key": b"k" * 32}])
def test_where_plain_slaves_may_not_come(settings: dict[str, object]) -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER, **settings)
    slave = relay.accept()
    network.settle()
    assert b"\x02\x82pb" not in taken(slave)
    slave.send(PB)
    network.pass_time(11)
    assert slave.hung_up()
    assert not network.masters
    assert isinstance(relay.events[-1], TurnedAway)
    assert is_empty(relay)


def test_another_key_opens_nothing() -> None:
    network = Network()
    near, far = network.relay(Place.BESIDE_SLAVES, key=b"a" * 32), network.relay(Place.BESIDE_MASTER, key=b"b" * 32)
    near.leads_to = far
    slave = near.accept()
    network.pass_time(1)
    assert slave.hung_up()
    assert not network.masters
    assert is_empty(near, far)


# -- mending


@pytest.mark.parametrize("form", ["plain", "beside slaves", "pair"])
def test_an_old_failure_is_mended_for_a_new_master(form: str) -> None:
    """In each place; a relay that does not mend passes it on as it is."""
    name = b"twisted.spread.flavors.NoSuchMethod"
    state: Expression = [b"dictionary", [b"type", name], [b"value", b"no"], [b"parents", [b"list", name]]]
    failure: Expression = [b"error", 1, [FAILURE_TAG, state]]
    for mend in (False, True):
        network = Network()
        if form == "plain":
            path = [network.relay(Place.BESIDE_MASTER, mend=mend)]
        else:
            path = [network.relay(Place.BESIDE_SLAVES, mend=mend)]
            path[0].leads_to = network.relay(Place.BESIDE_MASTER, mend=mend and form == "pair")
        slave, master = joined(network, path[0])
        for line in (master, slave):
            line.send(encode([b"version", 6], vocabulary=True, limits=Limits()))
        network.settle()
        taken(master)
        slave.send(encode(failure, vocabulary=True, limits=Limits()))
        network.settle()
        assert (taken(master) == encode(failure, vocabulary=True, limits=Limits())) is not mend
        told = [event for event in path[0].events if isinstance(event, PairMended)]
        assert [(event.row, event.side) for event in told] == ([("failures", "master")] if mend else [])


# -- strangers


def test_strangers_hold_nothing(form: str) -> None:
    """500 come, and 100 of them say something: who talks to the master stays, and the next slave gets in."""
    network = Network()
    path = relays(network, form)
    slave, master = joined(network, path[0])
    slave.send(b"x" * 2000)
    master.send(b"y" * 2000)
    network.settle()
    crowd = [path[-1].accept(f"10.1.{n // 100}.{n % 100}") for n in range(500)]
    for line in crowd[:100]:
        line.send(b"\x01")
    network.settle()
    network.pass_time(2)
    late, _ = joined(network, path[0])
    assert not slave.hung_up()
    assert not late.hung_up()
    network.pass_time(9)
    assert all(line.hung_up() for line in crowd[100:])
    assert not late.hung_up()


@pytest.mark.parametrize("words", [b"\x01", b"GET / HTTP/1.1\r\n", b"\x02\x82px", b"\x13\x82slaveproto-resume/2"])
def test_the_master_hears_of_no_stranger_that_speaks_something_else(words: bytes) -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER)
    for size in (1, len(words)):
        line = relay.accept()
        for start in range(0, len(words), size):
            line.send(words[start : start + size])
            network.settle()
        assert line.hung_up()
    assert network.masters == []
    assert is_empty(relay)


def test_strangers_do_not_fill_the_log() -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER)
    for n in range(1000):
        relay.accept(f"10.{n % 7}.0.1").send(b"\x00" * 5000)
        network.settle()
    network.pass_time(10)
    for n in range(1000):
        relay.accept(f"10.{n % 7}.0.1")
    network.pass_time(20)
    assert sum(isinstance(event, TurnedAway) for event in relay.events) <= 120
    assert len(network.links) == 0


def test_there_is_an_end_of_connections() -> None:
    network = Network()
    relay = network.relay(Place.BESIDE_MASTER, connections=3)
    lines = [relay.accept() for _ in range(4)]
    assert [line.hung_up() for line in lines] == [False, False, False, True]
    assert relay.events == [TurnedAway("10.0.0.1:4", "3 connections are here already")]
