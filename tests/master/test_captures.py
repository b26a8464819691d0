"""Recorded clients of every generation log in to our master, and are attached by what they really answered."""

from __future__ import annotations

import gzip
import json
from typing import Any, Final

import pytest

from slaveproto.inputs import Received
from slaveproto.master import Accepted, ChangeAccount, ChangeReceived, MasterConfig, SlaveAccount, SlaveAttached
from slaveproto.master.session import MasterSession
from slaveproto.wire import digest
from slaveproto.wire.banana import NEED_DATA, Decoder, Expression, encode
from tests.wire.support import DATA, LIMITS, capture, captures

# All combinations of generations; the other recordings of each begin like these.
KINDS: Final = ("attach", "attach-many", "hello", "sendchange")
NAMES: Final = [name for name in captures() if name.partition("__")[2] in KINDS]


def header(name: str) -> dict[str, Any]:
    lines = gzip.decompress((DATA / "captures" / f"{name}.jsonl.gz").read_bytes()).splitlines()
    found: dict[str, Any] = json.loads(lines[0])
    return found


class Tape:
    """A recorded client: its login, and its answers by the method that was called.

    Args:
        name: of the recording.
    """

    def __init__(self, name: str) -> None:
        self.decoders = {"m2s": Decoder(LIMITS), "s2m": Decoder(LIMITS)}
        self.answers: dict[bytes, list[Expression]] = {}
        self.sent: list[list[Expression]] = []
        self.challenge = b""
        self.response = b""
        asked: dict[int, bytes] = {}
        for _, direction, data in (chunk[:3] for chunk in capture(name) if chunk[1] in self.decoders):
            decoder = self.decoders[direction]
            decoder.feed(bytes.fromhex(data))
            while (expression := decoder.next_expression()) is not NEED_DATA:
                if not isinstance(expression, list):
                    # The chosen profile.
                    for each in self.decoders.values():
                        each.vocabulary = True
                    continue
                match direction, expression:
                    case "m2s", [b"message", int() as number, _, bytes() as method, *_]:
                        asked[number] = method
                    case "m2s", [b"answer", 1, [b"tuple", bytes() as challenge, _]]:
                        self.challenge = challenge
                    case "s2m", [b"message", *_]:
                        self.sent.append(expression)
                    case "s2m", [(b"answer" | b"error"), int() as number, _]:
                        self.answers.setdefault(asked[number], expression)
                    case _:
                        pass


def said(data: bytes, decoder: Decoder) -> list[list[Expression]]:
    decoder.feed(data)
    found = []
    while (expression := decoder.next_expression()) is not NEED_DATA:
        decoder.vocabulary = True
        if isinstance(expression, list):
            found.append(expression)
    return found


def play(name: str) -> MasterSession:
    """Let the recorded client log in, answer what is called as it answered then, and make its call."""
    tape = Tape(name)
    # That of `change` is the default of every Buildbot.
    users = {"change": "changepw", **header(name)["credentials"]}
    accounts = {
        user: ChangeAccount(user, password) if user == "change" else SlaveAccount(user, password, {})
        for user, password in users.items()
    }
    session = MasterSession(MasterConfig(accounts))
    session.handle(Accepted(1, "recorded", b"c" * 16), now=0.0)
    decoder = Decoder(LIMITS)
    user = ""

    def hear(*messages: Any) -> list[list[Expression]]:
        data = b"".join(encode(message, vocabulary=True, limits=LIMITS) for message in messages)
        session.handle(Received(1, data), now=0.0)
        return said(session.data_to_send(1), decoder)

    said(session.data_to_send(1), decoder)
    session.handle(Received(1, encode(b"pb", vocabulary=False, limits=LIMITS)), now=0.0)
    todo: list[Any] = [[b"version", 6], *tape.sent[:2]]
    while todo:
        message: list[Any] = list(todo.pop(0))
        match message:
            case [b"message", _, b"root", b"login", _, [b"tuple", name_said], _]:
                user = name_said.decode()
            case [b"message", _, _, b"respond", _, [b"tuple", response, *rest], _]:
                # The same password, for our own challenge.
                password = users[user].encode()
                assert response == digest(password, tape.challenge), "the recorded client computes another digest"
                login = session._peers[1]._login
                assert login is not None
                message[5] = [b"tuple", digest(password, login.challenge), *rest]
            case _:
                pass
        for heard in hear(message):
            match heard:
                case [b"message", number, _, bytes() as method, *_] if method in tape.answers:
                    answer = tape.answers[method]
                    assert isinstance(answer, list)
                    todo.append([answer[0], number, answer[2]])
                case [b"message", number, _, bytes(), *_]:
                    # It was never asked that; a slave of that time says so.
                    missing = [b"unicode", b"twisted.spread.flavors.NoSuchMethod"]
                    state = [b"dictionary", [[b"unicode", b"type"], missing], [[b"unicode", b"value"], missing]]
                    todo.append([b"error", number, [b"twisted.spread.pb.CopyableFailure", state]])
                case _:
                    pass
    for message in tape.sent[2:]:
        if message[3] == b"addChange":
            exports = session._peers[1].connection._exports.by_luid.items()
            message[2] = next(luid for luid, export in exports if "perspective" in export.local.label)
            hear(message)
    return session


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_client_is_let_in(name: str) -> None:
    session = play(name)
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    if "sendchange" in name:
        assert [type(event) for event in events] == [ChangeReceived]
        return
    (attached,) = [event for event in events if isinstance(event, SlaveAttached)]
    # Which slave it was, stands in what it said of itself.
    slave = header(name)["slave"]
    assert attached.info.version
    assert attached.info.version in slave
    assert "shell" in attached.info.commands
    # A slave of 4.3 was not asked for the rest by a master of 0.8.
    if not name.startswith("old-new"):
        assert attached.info.admin == "Test Admin <admin@example.org>"
        assert attached.info.system == "posix"
