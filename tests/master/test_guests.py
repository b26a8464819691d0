"""Users that are no slaves: who tells of changes, and guests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    AnswerGuest,
    Change,
    ChangeAccount,
    ChangeReceived,
    Configure,
    GuestAccount,
    GuestCalled,
    MasterNotice,
)
from slaveproto.testing import CallRefused, ConnectionLost, MasterDriver, ScriptedSlave
from slaveproto.wire import Failure, Local, Remote, Value
from slaveproto.wire.banana import Encodable, encode
from tests.master.support import BOT1, configured, is_open, nothing_left
from tests.wire.support import LIMITS

CHANGE: Final = ChangeAccount("change", "changepw")
GUEST: Final = GuestAccount("guest", "guestpw", frozenset({"ask", "tell"}))
RECORDED: Final[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "changes.json").read_text())


def value_of(note: Any) -> Value:
    """Return what the notation of the recorded dictionaries means."""
    match note:
        case {"bytes": str(text)}:
            return text.encode("latin-1")
        case {"dict": list(pairs)}:
            return {value_of(key): value_of(value) for key, value in pairs}
        case list():
            return [value_of(item) for item in note]
        case _:
            plain: Value = note
            return plain


def teller(generation: str = "0.8.4") -> tuple[MasterDriver, ScriptedSlave]:
    driver = MasterDriver(configured(BOT1, CHANGE))
    # Who sends changes brings no mind.
    peer = driver.connect(generation, "change", "changepw", mind=False)
    assert peer.avatar is not None
    return driver, peer


def changes(driver: MasterDriver) -> list[Change]:
    return [event.change for event in driver.events_of(ChangeReceived)]


@pytest.mark.parametrize(
    ("name", "generation"), [(name, generation) for name, entry in RECORDED.items() for generation in entry["received"]]
)
def test_what_sendchange_says(name: str, generation: str) -> None:
    entry = RECORDED[name]
    driver, peer = teller()
    assert peer.call_avatar("addChange", value_of(entry["received"][generation])) is None
    (change,) = changes(driver)
    said = entry["said"]
    for field in ("who", "branch", "revision", "category", "comments", "repository", "project", "revlink", "codebase"):
        assert getattr(change, field) == said.get(field, ""), field
    assert list(change.files) == said.get("files", [])
    assert change.properties == said.get("properties", {})
    assert change.when == (float(said["when"]) if "when" in said else None)
    assert nothing_left(driver)


@pytest.mark.parametrize(
    ("told", "field", "read"),
    [
        ({b"who": b"me\xff"}, "who", "me\ufffd"),
        ({"author": "me"}, "who", "me"),
        ({"who": 5}, "who", "5"),
        ({"revision": 1234}, "revision", "1234"),
        ({"when_timestamp": 5}, "when", 5.0),
        ({"when": float("inf")}, "when", None),
        ({"when": float("nan")}, "when", None),
        ({"when": 2**400}, "when", float(2**400)),
        ({"when": "yesterday"}, "when", None),
        ({"files": (b"a", "b")}, "files", ("a", "b")),
        ({"files": "a"}, "files", ()),
        ({"files": None}, "files", ()),
        ({"properties": [1]}, "properties", {}),
        ({"comments": [b"a"]}, "comments", ""),
        ({"nonsense": 1, 5: 6, None: 7}, "who", ""),
        ({}, "files", ()),
    ],
)
def test_odd_changes(told: Value, field: str, read: object) -> None:
    driver, peer = teller()
    peer.call_avatar("addChange", told)
    assert getattr(changes(driver)[0], field) == read


@pytest.mark.parametrize("refused", [False, True])
def test_a_change_that_waits_until_the_program_has_it(refused: bool) -> None:
    """Its sender hears nothing before, and is not taken for silent."""
    driver = MasterDriver(configured(BOT1, ChangeAccount("change", "changepw", confirm=True)))
    peer = driver.connect("4.3", "change", "changepw", mind=False)
    assert peer.avatar is not None
    number = ask(peer, "addChange", {"who": "me"})
    (event,) = driver.events_of(ChangeReceived)
    assert event.change.who == "me"
    driver.advance(10_000)
    assert number in peer.unanswered
    assert event.call is not None
    answer = Failure("builtins.RuntimeError", "no room") if refused else None
    driver.handle(AnswerGuest(event.connection, event.call, answer))
    if refused:
        with pytest.raises(CallRefused, match="no room"):
            peer.answer_to(number)
    else:
        assert peer.answer_to(number) is None
    assert nothing_left(driver)


def test_a_text_that_is_endless() -> None:
    driver, peer = teller()
    value: Value = [b"x"]
    for _ in range(40):
        value = [value] * 10
    peer.call_avatar("addChange", {"who": value, "files": [value], "when": value})
    assert changes(driver)[0].who == ""


@pytest.mark.parametrize("key", [b"files", b"properties"])
def test_texts_that_are_sent_once_and_said_often(key: bytes) -> None:
    driver, peer = teller()
    assert peer.avatar is not None
    again: Encodable = [b"dereference", 1]
    texts: list[Encodable] = [[b"reference", 1, b"x" * 500_000], *([again] * 50)]
    pairs: list[Encodable] = [[b"%d" % number, text] for number, text in enumerate(texts)]
    value: Encodable = [b"list", *texts] if key == b"files" else [b"dictionary", *pairs]
    arguments: list[Encodable] = [[b"tuple", [b"dictionary", [key, value]]], [b"dictionary"]]
    call: Encodable = [b"message", 100, peer.avatar.luid, b"addChange", 1, *arguments]
    peer.forge(encode(call, vocabulary=True, limits=LIMITS))
    assert changes(driver) == []
    assert "more than fits into a message" in driver.events_of(MasterNotice)[0].text


@pytest.mark.parametrize("args", [(), (5,), (None,), ([],), ({}, {})])
def test_what_is_no_change(args: tuple[Value, ...]) -> None:
    driver, peer = teller()
    with pytest.raises(CallRefused, match="TypeError"):
        peer.call_avatar("addChange", *args)
    assert changes(driver) == []
    assert is_open(driver, peer)


@pytest.mark.parametrize("method", ["keepalive", "shutdown", "print", "detached"])
def test_other_methods(method: str) -> None:
    driver, peer = teller()
    with pytest.raises(CallRefused, match="NoSuchMethod"):
        peer.call_avatar(method)
    assert isinstance(driver.events[-1], MasterNotice)
    assert driver.events[-1].slave is None


def test_two_may_go_by_the_name_of_a_user_who_is_no_slave() -> None:
    driver, _ = teller()
    second = driver.connect("4.3", "change", "changepw", mind=False)
    assert second.avatar is not None
    assert nothing_left(driver)


def test_a_mind_that_nobody_needs_is_given_back_at_the_end() -> None:
    driver = MasterDriver(configured(CHANGE))
    peer = driver.connect("4.3", "change", "changepw")
    assert peer.avatar is not None
    assert peer.calls == []
    assert nothing_left(driver)


# -- guests


def visiting() -> tuple[MasterDriver, ScriptedSlave]:
    driver = MasterDriver(configured(BOT1, GUEST))
    peer = driver.connect("4.3", "guest", "guestpw", mind=False)
    assert peer.avatar is not None
    return driver, peer


def ask(peer: ScriptedSlave, method: str, *args: Value, **kwargs: Value) -> int:
    assert peer.avatar is not None
    return peer.ask(peer.avatar, method, *args, **kwargs)


@pytest.mark.parametrize("answer", [None, b"bytes", {"a": [1, "x"]}, Failure("a.B", "no")])
def test_a_guest_is_answered_by_the_program(answer: Value) -> None:
    driver, peer = visiting()
    number = ask(peer, "ask", b"x", key="y")
    (called,) = driver.events_of(GuestCalled)
    assert (called.name, called.method, called.args, called.kwargs) == ("guest", "ask", (b"x",), {"key": "y"})
    driver.handle(AnswerGuest(called.connection, called.call, answer))
    if isinstance(answer, Failure):
        with pytest.raises(CallRefused, match=r"a\.B: no"):
            peer.answer_to(number)
    else:
        assert peer.answer_to(number) == answer
    assert nothing_left(driver)


def test_answers_come_in_any_order() -> None:
    driver, peer = visiting()
    numbers = [ask(peer, "tell", n) for n in range(3)]
    for called in reversed(driver.events_of(GuestCalled)):
        driver.handle(AnswerGuest(called.connection, called.call, called.args[0]))
    assert [peer.answer_to(number) for number in numbers] == [0, 1, 2]


def test_what_a_guest_may_not_call() -> None:
    driver, peer = visiting()
    with pytest.raises(CallRefused, match="NoSuchMethod"):
        peer.call_avatar("addChange", {})
    assert driver.events_of(GuestCalled) == []


def test_wrong_answers_of_the_program_change_nothing() -> None:
    driver, peer = visiting()
    number = ask(peer, "ask")
    (called,) = driver.events_of(GuestCalled)
    for wrong in (
        AnswerGuest(called.connection, called.call + 1, None),
        AnswerGuest(called.connection, called.call, 2**448),
    ):
        with pytest.raises(LocalProtocolError):
            driver.handle(wrong)
    driver.handle(AnswerGuest(called.connection, called.call, 5))
    assert peer.answer_to(number) == 5
    with pytest.raises(LocalProtocolError):
        driver.handle(AnswerGuest(called.connection, called.call, 5))


def test_an_answer_for_a_guest_who_left_is_nothing() -> None:
    driver, peer = visiting()
    ask(peer, "ask")
    (called,) = driver.events_of(GuestCalled)
    driver.lose(peer)
    driver.handle(AnswerGuest(called.connection, called.call, None))
    assert nothing_left(driver)


def test_what_a_guest_hands_out_is_given_back() -> None:
    _, peer = visiting()
    ask(peer, "ask", Local("a"), [Local("b")])
    assert list(peer.connection.exported) == []


# -- leaving


def test_giving_the_perspective_back_is_leaving() -> None:
    """Twisted's garbage collection does so as soon as nobody holds it; there is nothing left that could be called."""
    driver, peer = teller()
    assert peer.avatar is not None
    peer.connection.release(peer.avatar)
    driver.settle()
    assert not is_open(driver, peer)
    assert nothing_left(driver)


def test_a_guest_who_leaves_gets_his_answers() -> None:
    driver, peer = visiting()
    number = ask(peer, "ask")
    assert isinstance(peer.avatar, Remote)
    peer.connection.release(peer.avatar)
    driver.settle()
    assert is_open(driver, peer)
    (called,) = driver.events_of(GuestCalled)
    driver.handle(AnswerGuest(called.connection, called.call, "last"))
    assert peer._outcomes[number] == "last"
    assert not is_open(driver, peer)
    assert nothing_left(driver)


@pytest.mark.parametrize("ask_for", [False, True])
def test_who_is_not_configured_any_more_has_to_go(ask_for: bool) -> None:
    driver = MasterDriver(configured(BOT1, CHANGE, GUEST))
    peers = [driver.connect(name=a.name, password=a.password, mind=False) for a in (CHANGE, GUEST)]
    driver.handle(Configure(configured(BOT1, GUEST, ask=ask_for)))
    # Whom only the program knows, only the program can send away.
    assert [peer.open for peer in peers] == [ask_for, True]
    with pytest.raises(ConnectionLost if not ask_for else CallRefused):
        peers[0].call_avatar("nonsense")
    assert nothing_left(driver)
