"""Every recorded conversation between Twisteds: replayed from both ends, and answered by a service of ours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import pytest

from slaveproto.errors import RemoteProtocolError, UnreadableValue
from slaveproto.limits import Limits
from slaveproto.wire import (
    NEED_DATA,
    Answered,
    CallLost,
    Connection,
    Failed,
    Local,
    Remote,
    Role,
    Value,
)
from slaveproto.wire.banana import Decoder, Expression, encode
from slaveproto.wire.jelly import Unjellier, jelly
from tests.wire.replay import (
    FAILURE_FORM,
    KEYWORD_NAMES,
    RELEASED_FIRST,
    TAGS,
    CannotReplay,
    Replay,
    alike,
    challenges_in,
    homecomings,
    split,
)
from tests.wire.service import Service
from tests.wire.support import NEW, OLD, NoObjects, Vector, describe, expressions, jelly_value, vectors

DEEP: Final = Limits(depth=900)

PAIRS: Final = {
    "11-11": OLD,
    "26-26": NEW,
    "11-26": f"client-{OLD}.server-{NEW}",
    "26-11": f"client-{NEW}.server-{OLD}",
}
"""Client's and server's Twisted -> the name in the file's name."""

EVERYWHERE: Final = tuple(PAIRS)

Event = tuple[str, Expression]


def rows() -> list[tuple[str, str]]:
    return [(pair, name) for pair, generator in PAIRS.items() for name in vectors("transcripts", generator)]


def transcript(pair: str, name: str) -> Vector:
    return vectors("transcripts", PAIRS[pair])[name]


@cache
def expressions_of(pair: str, name: str) -> list[Event]:
    """Return direction and expression of all that was recorded; `ELIDED` where only its beginning was."""
    out: list[Event] = []
    for event in transcript(pair, name)["events"]:
        if "hex" in event:
            (expression,) = expressions(bytes.fromhex(event["hex"]), limits=DEEP)
            out.append((event["dir"], expression))
        elif "dir" in event:
            out.append((event["dir"], ELIDED))
    return out


ELIDED: Final[Expression] = b"only the beginning was recorded"


@pytest.mark.parametrize(("pair", "name"), rows())
def test_bytes(pair: str, name: str) -> None:
    hexes = [event["hex"] for event in transcript(pair, name)["events"] if "hex" in event]
    assert hexes
    for data in map(bytes.fromhex, hexes):
        (expression,) = expressions(data, limits=DEEP)
        assert encode(expression, vocabulary=name != "profile_none", limits=DEEP) == data


UNREADABLE: Final = {
    "cacheable": {"vectors.Feed", "cached", "lcache"},
    "cacheable_close": {"vectors.Feed"},
    "cacheable_from_client": {"vectors.Feed"},
    "luid_series": {"vectors.Feed", "cached"},
    "function_argument": {"function"},
    "insecure_argument": {"class"},
    "return_function": {"function"},
    "unregistered_copy": {"vectors.Unknown"},
}
"""Transcripts with values that `Unjellier` refuses, and the atoms that it names."""


def values_in(expression: Expression) -> Iterator[Expression]:
    """Yield the jelly of one message."""
    match expression:
        case [b"answer" | b"error", _, value]:
            yield value
        case [b"message" | b"cachemessage", _, _, _, _, args, kwargs]:
            yield args
            yield kwargs
        case _:
            return


@pytest.mark.parametrize(("pair", "name"), rows())
def test_every_value_is_read(pair: str, name: str) -> None:
    refused = set()
    for _, expression in expressions_of(pair, name):
        for value in values_in(expression):
            try:
                again = jelly(Unjellier(NoObjects(), TAGS).read(value), NoObjects())
            except UnreadableValue as error:
                refused.add(str(error))
            else:
                assert isinstance(again, type(value))
    assert refused <= UNREADABLE.get(name, set())
    assert refused or name not in UNREADABLE or (pair, name) in NOTHING_SENT


NOTHING_SENT: Final = {
    ("26-26", "function_argument"),
    ("26-11", "function_argument"),
    ("26-26", "return_function"),
    ("11-26", "return_function"),
}
"""Twisted 26 cannot encode a function, and says nothing."""


def as_recorded(value: Value) -> Value:
    """Return `value` as the recording program described it: without sharing, and what is remote by its number."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(map(as_recorded, value))
    if isinstance(value, dict):
        return {as_recorded(k): as_recorded(v) for k, v in value.items()}
    return value


def seen(note: Vector) -> object:
    """Return what a client's program saw, in the form of `outcome`; None where the note says something else."""
    if note.get("t") == "RemoteReference":
        return ("remote", note["v"])
    if "t" in note and "Remote" not in str(note):
        return ("value", describe(jelly_value(note)))
    failure = note.get("failure")
    if failure is None:
        return None
    if failure["type"] == "twisted.spread.pb.PBConnectionLost":
        return ("lost",)
    if failure["failure_class"] == "CopiedFailure":
        return ("failure", failure["type"], failure["value"])
    return None


def outcome(event: object) -> object:
    match event:
        case Answered(value=Remote() as remote):
            return ("remote", remote.luid)
        case Answered(value=value):
            return ("value", describe(as_recorded(value)))
        case Failed(failure=failure):
            return ("failure", failure.kind, failure.message)
        case CallLost():
            return ("lost",)
        case _:
            return None


CLIENT_UNLIKE: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "args_kwargs": (KEYWORD_NAMES, ("11-11", "11-26")),
    "login_kwargs": (KEYWORD_NAMES, ("11-11", "11-26")),
    "login_view": (KEYWORD_NAMES, ("11-11", "11-26")),
    "ref_from_server": (KEYWORD_NAMES, ("11-11", "11-26")),
    "ref_to_server": (KEYWORD_NAMES, ("11-11", "11-26")),
    "error_in_client": (FAILURE_FORM, ("11-11", "26-26", "11-26")),
}
"""Where our client's bytes are not the recorded ones: transcript -> in which way, between whom."""

CLIENT_CANNOT: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "cacheable": ("no call has the number 1", EVERYWHERE),
    "cacheable_from_client": ("vectors.Feed", EVERYWHERE),
    "luid_series": ("nothing was sent instead of", EVERYWHERE),
    "deep_argument": ("lists nested deeper than 128", ("11-11", "11-26")),
    "function_argument": ("function", ("11-11", "11-26")),
    "insecure_argument": ("class", EVERYWHERE),
    "unknown_luid": ("object 99 is not held", EVERYWHERE),
}
"""What a client of ours does not do, or not at all: transcript -> what stops the replay, between whom."""

_FAILING: Final = (
    "deferred_unexpected", "inline_error", "insecure_argument", "login_anonymous_refused",
    "login_bad_password", "login_bad_response_type", "login_challenger_reuse", "login_crash", "login_denied",
    "login_retry", "login_root_methods", "method_empty", "no_such_method", "pb_error", "pb_error_sub",
    "unexpected", "unexpected_utf8", "unknown_luid", "unsafe_deferred", "viewable", "wrong_args",
)  # fmt: skip

SERVER_UNLIKE: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    **dict.fromkeys(_FAILING, (FAILURE_FORM, EVERYWHERE)),
    "error_in_client": (FAILURE_FORM, ("11-11", "26-26", "26-11")),
    "function_argument": (FAILURE_FORM, ("11-11", "11-26")),
    "login_kwargs": (FAILURE_FORM, ("11-26",)),
    "login_text_user": (FAILURE_FORM, ("26-26", "11-26")),
    "login_view": (FAILURE_FORM, ("11-26",)),
    "unexpected_text": (FAILURE_FORM, ("26-26", "11-26")),
    "ref_local": (RELEASED_FIRST, EVERYWHERE),
    "ref_to_server": (KEYWORD_NAMES, ("11-11",)),
}  # fmt: skip

SERVER_CANNOT: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "cacheable": ("vectors.Feed", EVERYWHERE),
    "cacheable_close": ("vectors.Feed", EVERYWHERE),
    "cacheable_from_client": ("no call has the number 1", EVERYWHERE),
    "luid_series": ("vectors.Feed", EVERYWHERE),
    "deep_argument": ("no call has the number 1", ("11-11", "11-26")),
    "jelly_error": ("an error that is no failure", EVERYWHERE),
    "deferred_jelly_error": ("an error that is no failure", EVERYWHERE),
    "profile_none": ("instead of", EVERYWHERE),
    "return_function": ("function", ("11-11", "26-11")),
    "unregistered_copy": ("vectors.Unknown", EVERYWHERE),
    "unsafe_unexpected": ("only the beginning was recorded", EVERYWHERE),
}

ALSO_SENT: Final = {
    ("26-26", "return_function"), ("11-26", "return_function"), ("11-11", "unexpected_text"),
    ("26-11", "unexpected_text"),
    *((pair, "error_big") for pair in PAIRS),
}  # fmt: skip
"""The recorded server died of its own answer, and its version, not yet written, with it."""


def lookup(table: dict[str, tuple[str, tuple[str, ...]]], pair: str, name: str) -> str | None:
    words, pairs = table.get(name, ("", ()))
    return words if pair in pairs else None


def used(*tables: dict[str, tuple[str, tuple[str, ...]]]) -> set[tuple[str, str]]:
    return {(pair, name) for table in tables for name, (_, pairs) in table.items() for pair in pairs}


@pytest.mark.parametrize(("pair", "name"), rows())
@pytest.mark.parametrize("role", Role)
def test_replay(role: Role, pair: str, name: str) -> None:
    own = "c2s" if role is Role.CLIENT else "s2c"
    unlike, cannot = (CLIENT_UNLIKE, CLIENT_CANNOT) if role is Role.CLIENT else (SERVER_UNLIKE, SERVER_CANNOT)
    session = expressions_of(pair, name)
    replay = Replay(role, homecomings(expression for way, expression in session if way == own))
    try:
        for way, expression in session:
            if way == own:
                replay.send(expression)
            elif expression is not ELIDED:
                replay.receive(expression)
        stopped = ""
    except CannotReplay as error:
        stopped = str(error)
    words = lookup(cannot, pair, name)
    if words or stopped:
        assert words
        assert words in stopped
        return
    expected = lookup(unlike, pair, name)
    assert replay.unlike == (set() if expected is None else {expected})
    assert replay.violation is None
    assert [*replay.sent] == ([[b"version", 6]] if role is Role.SERVER and (pair, name) in ALSO_SENT else [])
    if role is Role.CLIENT:
        replay.end()
        outcomes = [outcome(event) for event in replay.events]
        for event in transcript(pair, name)["events"]:
            recorded = seen(event["client_sees"]) if "client_sees" in event else None
            if recorded is not None and all(expression is not ELIDED for _, expression in session):
                assert recorded in outcomes
                outcomes.remove(recorded)


# -- the service


class Conversation:
    """A server of ours and the service behind it."""

    def __init__(self, pair: str, name: str, vector: Vector) -> None:
        root = Local("root")
        portal = None
        if vector["service"].startswith("portal"):
            portal = "anonymous" if "anonymous" in vector["service"] else "passwords"
        self.connection = Connection(Role.SERVER, root=root, tags=TAGS)
        self.service = Service(
            self.connection,
            root,
            old=pair.endswith("11"),
            portal=portal,
            challenges=challenges_in(expression for _, expression in expressions_of(pair, name)),
        )
        self.decoder = Decoder(DEEP, vocabulary=True)
        self.vocabulary = False
        self.sent: list[Expression] = []

    def receive(self, expression: Expression) -> None:
        self.connection.receive_data(encode(expression, vocabulary=self.vocabulary, limits=DEEP))
        self.vocabulary = self.vocabulary or expression == b"pb"
        while (event := self.connection.next_event()) is not NEED_DATA:
            self.service.handle(event)

    def next_sent(self) -> Expression | None:
        """Return what the server sent next, if need be after some time; None if there is nothing more."""
        while True:
            self.sent += split(self.connection.data_to_send(), self.decoder)
            if self.sent:
                return self.sent.pop(0)
            if not self.service.advance():
                return None


OLD_OLD: Final = ("11-11",)
OLD_NEW: Final = ("11-26",)
OLD_SERVER: Final = ("11-11", "26-11")
NEW_SERVER: Final = ("26-26", "11-26")

SERVICE_UNLIKE: Final[dict[tuple[str, tuple[str, ...]], str]] = {
    ("args_kwargs", OLD_OLD): "instead of [b'answer', 3, [b'list', [b'list'], [b'dictionary', [b'name', b'v']]]]",
    ("cacheable", EVERYWHERE): "NoSuchMethod",
    ("cacheable_close", EVERYWHERE): "NoSuchMethod",
    ("cacheable_from_client", EVERYWHERE): "InsecureJelly",
    ("luid_series", EVERYWHERE): "NoSuchMethod",
    ("deep_argument", ("11-11", "11-26")): "violation: lists nested deeper than 128",
    ("jelly_error", EVERYWHERE): "NoSuchMethod",
    ("deferred_jelly_error", EVERYWHERE): "NoSuchMethod",
    ("error_big", EVERYWHERE): "also [b'version', 6]",
    ("unexpected_text", OLD_SERVER): "also [b'version', 6]",
    ("return_function", NEW_SERVER): "also [b'version', 6]",
    ("return_function", OLD_SERVER): "instead of [b'answer', 1, [b'function', b'json.dumps']]",
    ("error_in_client", ("26-11",)): "[b'message', 1, 1, b'boom', 1, [b'tuple'], [b'dictionary']] instead of",
    ("error_in_client", OLD_NEW): "also [b'error', 1, ",
    ("login_kwargs", OLD_OLD): "instead of [b'answer', 3, [b'dictionary', [b'name', b'v']]]",
    ("login_kwargs", OLD_NEW): "[b'answer', 3, [b'dictionary', [[b'unicode', b'name'], b'v']]] instead of",
    ("login_view", OLD_OLD): "instead of [b'answer', 5, [b'list', b'alice', [b'list'], [b'dictionary', [b'name'",
    ("login_view", OLD_NEW): "[b'answer', 5, ",
    ("login_self", EVERYWHERE): "instead of [b'answer', 3, [b'unpersistable', ",
    ("unpersistable", EVERYWHERE): "instead of [b'answer', 1, [b'unpersistable', ",
    ("oversize_answer_later", EVERYWHERE): "also [b'error', 1, ",
    ("profile_none", EVERYWHERE): "[b'pb', b'none'] instead of [b'none']",
    ("ref_local", EVERYWHERE): "[b'answer', 3, [b'local', 1]] instead of [b'decref', 1]",
    ("ref_to_server", OLD_OLD): "instead of [b'message', 1, 1, b'poke', 1, ",
    ("unsafe_unexpected", EVERYWHERE): "elided",
}
"""Where our service does not send what was recorded, for other reasons than the form of failures."""


@pytest.mark.parametrize(("pair", "name"), rows())
def test_service(pair: str, name: str) -> None:
    session = expressions_of(pair, name)
    conversation = Conversation(pair, name, transcript(pair, name))
    unlike: set[str] = set()
    result = ""
    for way, expression in session:
        if way == "c2s":
            try:
                conversation.receive(expression)
            except RemoteProtocolError as error:
                result = result or f"violation: {error}"
        elif expression is ELIDED:
            result = result or "elided"
        else:
            ours = conversation.next_sent()
            if ours is None or not alike(ours, expression, unlike):
                result = result or f"{ours!r:.150} instead of {expression!r:.150}"
    if not result and (more := conversation.next_sent()):
        result = f"also {more!r:.150}"
    words = [words for (row, pairs), words in SERVICE_UNLIKE.items() if row == name and pair in pairs]
    if words:
        assert result
        assert words[0] in result
    else:
        assert result == ""


def test_no_row_without_a_transcript() -> None:
    service = {(pair, name) for name, pairs in SERVICE_UNLIKE for pair in pairs}
    tables = used(CLIENT_UNLIKE, CLIENT_CANNOT, SERVER_UNLIKE, SERVER_CANNOT)
    assert service | tables | ALSO_SENT | NOTHING_SENT <= set(rows())
