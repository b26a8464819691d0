"""Peers that do what nobody should: only their own connection ends, and the reason is told."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.limits import Limits
from slaveproto.master import (
    BuildLost,
    Configure,
    GuestAccount,
    LoginFailed,
    MasterNotice,
    MasterSession,
    Ping,
    Ponged,
    Shell,
    SlaveDetached,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.master.peer import MOST_REFUSED, SPEAKS_HTTP, STRANGER
from slaveproto.testing import CallRefused, ConnectionLost, MasterDriver, RawPeer, ScriptedSlave
from slaveproto.wire import Local, Value
from slaveproto.wire.banana import Encodable, encode
from tests.master.support import BOT1, BOT2, configured, holding, is_open, nothing_left
from tests.wire.support import LIMITS

NEGOTIATED: Final = encode(b"pb", vocabulary=False, limits=LIMITS)
GUEST: Final = GuestAccount("guest", "guestpw", frozenset({"ask"}))


def pb(*messages: Encodable) -> bytes:
    return b"".join(encode(message, vocabulary=True, limits=LIMITS) for message in messages)


def empty() -> list[Encodable]:
    return [b"tuple"]


def message(number: Encodable, target: Encodable, method: bytes, *args: Encodable) -> Encodable:
    return [b"message", number, target, method, 1, [b"tuple", *args], [b"dictionary"]]


def end_of(driver: MasterDriver, connection: int, slave: str = "bot1") -> str:
    """Why a connection ended, as the last event about it tells."""
    for event in reversed(driver.events):
        match event:
            case LoginFailed() if event.connection == connection:
                return event.why
            case SlaveDetached() if event.slave == slave:
                return event.why
            case _:
                pass
    raise AssertionError("nobody was told")


def beside() -> tuple[MasterDriver, ScriptedSlave]:
    """Return a master, and `bot2` that runs a step and should not notice anything."""
    driver = MasterDriver(configured(BOT1, BOT2, GUEST))
    slave = driver.connect(name="bot2")
    driver.handle(StartBuild(1, "bot2", "linux"))
    driver.handle(StartStep(1, 1, Shell(command=("make",))))
    return driver, slave


def unharmed(driver: MasterDriver, slave: ScriptedSlave) -> bool:
    slave.command.update({"stdout": "hello\n"})
    slave.command.finish()
    assert b"hello\n" in driver.text(1)
    assert len(driver.events_of(StepFinished)) == 1
    driver.handle(Ping("bot2"))
    assert driver.events[-1] == Ponged("bot2")
    return nothing_left(driver)


# -- before the login

GARBAGE: Final = {
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\nUser-Agent: a browser\r\nAccept: */*\r\n\r\n",
    "high bytes": b"\xff" * 100,
    "zeros": b"\0" * 100,
    "tls": bytes.fromhex("16030100c8010000c40303") + b"x" * 100,
    "an endless prefix": b"\0" * 100_000,
    "a huge string": b"\x7f\x7f\x7f\x7f\x07\x82",
    "a huge list": b"\x7f\x7f\x7f\x7f\x07\x80",
    "another profile": encode(b"ssh", vocabulary=False, limits=LIMITS),
    "a list for a profile": encode([b"pb"], vocabulary=False, limits=LIMITS),
    "a deep list": NEGOTIATED + b"\x01\x80" * 1000,
    "a big message": NEGOTIATED + pb([b"message", 1, [b"x" * 60_000] * 5]),
    "a wide message": NEGOTIATED + pb([[]] * 1001),
    "an empty message": NEGOTIATED + pb([]),
    "no message": NEGOTIATED + pb(b"hello"),
    "a message that is short": NEGOTIATED + pb([b"message", 1]),
    "another version": NEGOTIATED + pb([b"version", 7]),
    "a forged answer": NEGOTIATED + pb([b"answer", 1, b"x"]),
    "a forged error": NEGOTIATED + pb([b"error", 1, b"x"]),
    "a forged decref": NEGOTIATED + pb([b"decref", 1]),
    "a cache": NEGOTIATED + pb([b"decache", 1]),
    "a forged object": NEGOTIATED + pb(message(1, 1, b"respond", b"", b"")),
    "an unknown name": NEGOTIATED + pb(message(1, b"admin", b"login", b"")),
    "a name that is no name": NEGOTIATED + pb(message(1, [b"x"], b"login", b"")),
    "a long id": NEGOTIATED + pb(message([b"x" * 2000], b"root", b"login", b"bot1")),
    "many objects": NEGOTIATED + pb(message(1, b"root", b"login", *([b"remote", n] for n in range(21)))),
}


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"CONNECT", b"PRI"])
def test_a_peer_that_speaks_http_is_told_so(method: bytes, in_pieces: bool) -> None:
    driver = MasterDriver()
    peer = driver.connect_raw()
    data = method + b" / HTTP/1.1\r\n"
    for piece in [data[n : n + 1] for n in range(len(data))] if in_pieces else [data]:
        driver.send(peer, piece)
    assert [event.why for event in driver.events_of(LoginFailed)] == [f"broke the protocol: {SPEAKS_HTTP}"]
    assert nothing_left(driver)


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage(data: bytes, in_pieces: bool) -> None:
    driver, other = beside()
    peer = driver.connect_raw()
    if in_pieces:
        for n in range(min(len(data), 300)):
            driver.send(peer, data[n : n + 1])
        driver.send(peer, data[300:])
    else:
        driver.send(peer, data)
    assert not is_open(driver, peer)
    assert end_of(driver, 2).startswith("broke the protocol: ")
    assert unharmed(driver, other)


HARMLESS: Final = {
    "nothing": b"",
    "half a message": NEGOTIATED + pb([b"version", 6])[:-1],
    "another login": NEGOTIATED + pb(message(1, b"root", b"logMeIn", b"x")),
    "an object that is not there": NEGOTIATED + pb(message(1, b"root", b"login", [b"local", 99])),
    "a class": NEGOTIATED + pb(message(1, b"root", b"login", [b"class", b"os.system"])),
    "an instance": NEGOTIATED + pb(message(1, b"root", b"login", [b"os.system", [b"dictionary"]])),
    "an unknown message": NEGOTIATED + pb([b"hello", 1]),
    "what is not understood": NEGOTIATED + pb([b"didNotUnderstand", b"message"]),
    "a cached object": NEGOTIATED + pb([b"cachemessage", 1, 1, b"x", 1, empty(), [b"dictionary"]]),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_a_stranger_may_say_in_vain(data: bytes) -> None:
    driver, other = beside()
    peer = driver.connect_raw()
    driver.send(peer, data)
    assert is_open(driver, peer)
    driver.advance(31)
    assert not is_open(driver, peer)
    assert end_of(driver, 2) == "did not log in within 30 s"
    assert unharmed(driver, other)


@pytest.mark.parametrize("name", ["another login", "a class", "an unknown message", "what is not understood"])
def test_vain_things_have_an_end(name: str) -> None:
    driver, other = beside()
    peer = driver.connect_raw()
    driver.send(peer, HARMLESS[name] + HARMLESS[name][len(NEGOTIATED) :] * 10_000)
    assert not is_open(driver, peer)
    assert end_of(driver, 2).startswith(f"broke the protocol: more than {STRANGER.messages} ")
    assert len(driver.events_of(MasterNotice)) <= STRANGER.messages
    assert unharmed(driver, other)


def test_vain_calls_after_the_login_have_an_end() -> None:
    driver, other = beside()
    slave = driver.connect(name="bot1")
    assert slave.avatar is not None
    for _ in range(MOST_REFUSED):
        with pytest.raises(CallRefused):
            slave.call_avatar("nonsense")
    with pytest.raises(ConnectionLost):
        slave.call_avatar("nonsense")
    assert len(driver.events_of(MasterNotice)) == MOST_REFUSED
    assert unharmed(driver, other)


def test_a_stranger_who_does_not_read() -> None:
    driver, other = beside()
    peer = driver.connect_raw()
    driver.link_of(peer).listening = False
    driver.send(peer, NEGOTIATED)
    for _ in range(3000):
        driver.send(peer, pb([b"message", [b"x" * 900], b"root", b"?", 1, empty(), [b"dictionary"]]))
        if not peer.open:
            break
    assert not is_open(driver, peer)
    assert unharmed(driver, other)


# -- as a slave

Attack: TypeAlias = Callable[[ScriptedSlave], object]


def avatar_call(method: str, *args: Value) -> Attack:
    return lambda slave: slave.ask(slave.avatar, method, *args) if slave.avatar is not None else None


def update(updates: Value) -> Attack:
    return lambda slave: slave.command.raw_update(updates)


def forged(*messages: Encodable) -> Attack:
    return lambda slave: slave.forge(pb(*messages))


ATTACKS: Final[dict[str, Attack]] = {
    "no list": update(5),
    "a dictionary": update({"stdout": "x"}),
    "a list of dictionaries": update([{"stdout": "x"}]),
    "a pair that is none": update([[{"stdout": "x"}]]),
    "three": update([[{"stdout": "x"}, 0, 0]]),
    "a number that is none": update([[{"stdout": "x"}, "0"]]),
    "a list of lists": update([[["stdout", "x"], 0]]),
    "output that is no text": update([[{"stdout": 5}, 0]]),
    "a log without a name": update([[{"log": "text"}, 0]]),
    "a log with a number": update([[{"log": [5, "text"]}, 0]]),
    "an exit code that is text": update([[{"rc": "0"}, 0]]),
    "a failure that is none": lambda slave: slave.ask(slave.command.step, "complete", "x"),
    "garbage in the middle": lambda slave: slave.forge(b"\xff" * 200),
    "a forged object": forged(message(1000, 99, b"update", [b"list"])),
    "a number that nobody gave": forged([b"answer", 10_000, b"x"]),
    "an answer twice": forged([b"answer", 1, b"x"]),
    "a decref of nothing": forged([b"decref", 999]),
    "the login again": lambda slave: slave.ask(slave.connection.root, "login", b"bot2"),
    "no sense, again and again": lambda slave: [avatar_call("nonsense")(slave) for _ in range(MOST_REFUSED + 1)],
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_slave_that_breaks_the_rules(attack: Attack) -> None:
    driver, other = beside()
    slave = driver.connect(name="bot1")
    driver.handle(StartBuild(2, "bot1", "linux"))
    driver.handle(StartStep(2, 2, Shell(command=("make",))))
    try:
        attack(slave)
        driver.settle()
    except ConnectionLost:
        pass
    assert not is_open(driver, slave)
    assert end_of(driver, 2).startswith("broke the protocol: ")
    assert [event.build for event in driver.events_of(BuildLost)] == [2]
    assert [event.step for event in driver.events_of(StepFinished)] == [2]
    assert unharmed_after(driver, other)


def unharmed_after(driver: MasterDriver, slave: ScriptedSlave) -> bool:
    driver.events = [event for event in driver.events if not isinstance(event, StepFinished)]
    return unharmed(driver, slave)


TOLERATED: Final[dict[str, Attack]] = {
    "nothing": update([]),
    "an empty update": update([[{}, 0]]),
    "unknown things": update([[{"": None, "x": [1, {"y": b"z"}], 5: 6}, 0]]),
    "a pair as a tuple": update([({"stdout": "x"}, 7)]),
    "a log that nobody wants": update([[{"log": ("other", "text")}, 0]]),
    "objects in an update": update([[{"x": Local("x")}, 0]]),
    "an unknown method of a command": lambda slave: slave.ask(slave.command.step, "explode"),
    "the wrong arguments": lambda slave: slave.ask(slave.command.step, "update"),
    "an unknown method": avatar_call("explode", b"x" * 100_000),
}


@pytest.mark.parametrize("attack", TOLERATED.values(), ids=TOLERATED.keys())
def test_a_slave_that_says_odd_things(attack: Attack) -> None:
    driver, other = beside()
    slave = driver.connect(name="bot1")
    driver.handle(StartBuild(2, "bot1", "linux"))
    driver.handle(StartStep(2, 2, Shell(command=("make",))))
    attack(slave)
    driver.settle()
    assert is_open(driver, slave)
    slave.command.finish()
    assert [event.step for event in driver.events_of(StepFinished)] == [2]
    assert {local.label for local in slave.connection.exported} == {"bot", "builder linux", "builder mac"}
    assert unharmed_after(driver, other)


@pytest.mark.parametrize(
    "odd", [message(1000, b"root", b"login", [b"class", b"os.system"]), [b"hello"], [b"didNotUnderstand", b"message"]]
)
def test_what_is_only_worth_a_notice(odd: Encodable) -> None:
    driver, other = beside()
    slave = driver.connect(name="bot1")
    forged(odd)(slave)
    assert is_open(driver, slave)
    assert [notice.slave for notice in driver.events_of(MasterNotice)] == ["bot1"]
    assert unharmed(driver, other)


def test_what_belongs_to_others_cannot_be_named() -> None:
    """Numbers of objects count per connection."""
    driver, other = beside()
    slave = driver.connect(name="bot1")
    assert other.avatar is not None
    number = other.command.step.luid
    forged(message(500, number, b"complete", [b"None"]))(slave)
    assert not is_open(driver, slave)
    assert driver.events_of(StepFinished) == []
    assert unharmed(driver, other)


@pytest.mark.parametrize("other", [b"zz", b"mac"])
def test_an_object_that_is_handed_out_twice(other: bytes) -> None:
    """Two names for one object in one message: whoever gives one of them back would lose the other."""
    driver, bystander = beside()
    slave = driver.connect(name="bot1", prepare=holding("setBuilderList"))
    listing = slave.held[0].call.id
    first: Encodable = [[b"unicode", b"linux"], [b"reference", 1, [b"remote", 50]]]
    second: Encodable = [[b"unicode", other], [b"dereference", 1]]
    slave.forge(pb([b"answer", listing, [b"dictionary", first, second]]))
    driver.handle(Configure(configured(attrs.evolve(BOT1, builders={"linux": "linux-dir"}), BOT2, GUEST)))
    driver.handle(StartBuild(2, "bot1", "linux"))
    if slave.open:
        # The new list is not answered yet, the ping is.
        slave.forge(pb([b"answer", listing + 2, [b"None"]]))
    assert unharmed(driver, bystander)


def shared(value: Encodable, count: int) -> list[Encodable]:
    """A list in which something occurs many times that was sent once."""
    again: Encodable = [b"dereference", 1]
    return [b"list", [b"reference", 1, value], *([again] * (count - 1))]


@pytest.mark.parametrize(
    "update",
    [
        [b"stdout", [b"unicode", b"x" * 500_000]],
        [b"log", [b"list", b"x", b"x" * 500_000]],
        [b"x", [b"list", *([0] * 10_000)]],
        [[b"unicode", b"x" * 500_000], 0],
    ],
    ids=["output", "log", "items", "key"],
)
def test_updates_that_share_their_parts(update: Encodable) -> None:
    """What is short on the wire takes no more memory and time than what is as long as a message can be."""
    driver, other = beside()
    slave = driver.connect(name="bot1")
    driver.handle(StartBuild(2, "bot1", "linux"))
    driver.handle(StartStep(2, 2, Shell(command=("make",))))
    updates = shared([b"list", [b"dictionary", update], 0], 300)
    slave.forge(pb(message(1000, slave.command.step.luid, b"update", updates)))
    assert not is_open(driver, slave)
    assert "more than fits into a message" in end_of(driver, 2)
    assert unharmed_after(driver, other)


def test_a_slave_that_says_more_of_itself_than_it_sends() -> None:
    driver, other = beside()
    slave = driver.connect(name="bot1", prepare=holding("getWorkerInfo"))
    names: list[Encodable] = [[b"%d" % number, [b"dereference", 1]] for number in range(300)]
    environ: Encodable = [b"dictionary", [b"x", [b"reference", 1, b"x" * 500_000]], *names]
    slave.forge(pb([b"answer", slave.held[0].call.id, [b"dictionary", [b"environ", environ]]]))
    assert not is_open(driver, slave)
    assert "says more of itself than fits into a message" in end_of(driver, 2)
    assert unharmed(driver, other)


def test_a_slave_that_does_not_read() -> None:
    driver = MasterDriver(configured(BOT1, BOT2), session=MasterSession(configured(BOT1, BOT2), Limits(unsent=20_000)))
    other = driver.connect(name="bot2")
    slave = driver.connect()
    assert slave.avatar is not None
    driver.link_of(slave).listening = False
    for _ in range(10_000):
        if not slave.open:
            break
        avatar_call("keepalive")(slave)
    assert not is_open(driver, slave)
    assert "does not read" in end_of(driver, 2)
    driver.handle(Ping("bot2"))
    assert driver.events[-1] == Ponged("bot2")
    assert is_open(driver, other)
    assert nothing_left(driver)


def test_a_guest_with_too_many_questions() -> None:
    driver, other = beside()
    guest = driver.connect(name="guest", password="guestpw", mind=False)
    assert guest.avatar is not None
    for _ in range(1001):
        guest.connection.call(guest.avatar, "ask")
    driver.settle()
    assert not is_open(driver, guest)
    assert unharmed(driver, other)


def test_a_hundred_thousand_small_messages() -> None:
    """Those that are neither call nor answer count, too."""
    driver, other = beside()
    peer = driver.connect_raw()
    driver.send(peer, NEGOTIATED + pb([b"version", 6]) * 100_000)
    assert not is_open(driver, peer)
    assert end_of(driver, 2) == f"broke the protocol: more than {STRANGER.messages} messages that are not plain"
    assert unharmed(driver, other)


# -- at random


@functools.cache
def vocabulary() -> tuple[bytes, ...]:
    """Bytes that were said in earnest: half of an attack is true."""
    driver = MasterDriver()
    slave = driver.connect("0.8.4")
    driver.handle(StartBuild(1, "bot1", "linux"))
    driver.handle(StartStep(1, 1, Shell(command=("make",))))
    slave.command.finish()
    return tuple(data for sender, data in driver.links[1].flights if sender == "peer")


Words = st.one_of(st.integers(-5, 30), st.sampled_from([b"root", b"tuple", b"list", b"dictionary", b"None", b"remote"]))
Fields = st.recursive(Words, lambda part: st.lists(part, max_size=4), max_leaves=8)
Messages = st.lists(
    st.sampled_from(
        [b"message", b"answer", b"error", b"decref", b"cachemessage", b"version", b"didNotUnderstand", b"x"]
    ).flatmap(lambda command: st.lists(Fields, max_size=6).map(lambda fields: [command, *fields])),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_nothing_but_events_comes_of_any_bytes(data: st.DataObject) -> None:
    """Whatever a peer says at whatever point, others live on and nobody raises."""
    driver = MasterDriver(configured(BOT1, BOT2))
    other = driver.connect(name="bot2")
    peer: RawPeer | ScriptedSlave
    if data.draw(st.booleans(), label="is a slave"):
        slave = driver.connect(data.draw(st.sampled_from(["0.8.4", "4.3"])))
        driver.handle(StartBuild(1, "bot1", "linux"))
        driver.handle(StartStep(1, 1, Shell(command=("make",))))
        slave.forge(pb(*data.draw(Messages)) + data.draw(st.binary(max_size=20)))
        peer = slave
    else:
        peer = driver.connect_raw()
        for words in vocabulary()[: data.draw(st.integers(0, 4))]:
            driver.send(peer, words)
        driver.send(peer, pb(*data.draw(Messages)) if data.draw(st.booleans()) else data.draw(st.binary(max_size=50)))
    was_open = peer.open
    driver.advance(300)
    driver.handle(Ping("bot2"))
    assert driver.events[-1] == Ponged("bot2")
    assert is_open(driver, other)
    if not was_open:
        assert end_of(driver, 2)
    assert nothing_left(driver)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(1, 40))
def test_a_conversation_with_one_wrong_byte(place: int, wrong: int, size: int) -> None:
    driver = MasterDriver()
    conversation = b"".join(vocabulary())
    place %= len(conversation)
    spoiled = conversation[:place] + bytes([wrong]) + conversation[place + 1 :]
    peer = driver.connect_raw()
    for n in range(0, len(spoiled), size * 20):
        if peer.open:
            driver.send(peer, spoiled[n : n + size * 20])
    if not peer.open:
        assert end_of(driver, 1)
    assert nothing_left(driver)


def test_a_refusal_does_not_show_what_was_refused() -> None:
    driver, _ = beside()
    slave = driver.connect()
    with pytest.raises(CallRefused) as caught:
        slave.call_avatar("x" * 100_000)
    assert len(caught.value.failure.message) < 1000
    assert len(driver.events_of(MasterNotice)[-1].text) < 2000
