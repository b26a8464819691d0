"""The broker: against the recorded reactions of both Twisteds, and rule by rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.limits import SIZE_LIMIT, Limits
from slaveproto.wire import (
    NEED_DATA,
    Answered,
    Call,
    CallLost,
    Closed,
    Connection,
    Event,
    Failed,
    Failure,
    Local,
    NotUnderstood,
    Opened,
    Refused,
    Released,
    Remote,
    Role,
    Value,
    remotes_in,
)
from slaveproto.wire.banana import Decoder, Expression
from slaveproto.wire.states import NegotiationState
from tests.wire.replay import TAGS, alike, challenges_in, split
from tests.wire.service import Service
from tests.wire.support import (
    GENERATORS,
    NEW,
    OLD,
    Vector,
    as_failure,
    cuts,
    describe,
    events,
    events_until_violation,
    expressions,
    failure_state,
    jelly_value,
    pb,
    rows,
    same_bits,
)

HELLO: Final = pb([b"pb", b"none"])
VERSION: Final = pb([b"version", 6])


def opened(role: Role, **options: Any) -> Connection:
    """Return an open connection whose handshake is over."""
    if role is Role.SERVER:
        options.setdefault("root", Local("root"))
    connection = Connection(role, **options)
    assert events(connection, HELLO if role is Role.CLIENT else b"\x02\x82pb") == [Opened("pb")]
    assert events(connection, VERSION) == []
    connection.data_to_send()
    return connection


def sent(connection: Connection) -> list[Expression]:
    return expressions(connection.data_to_send())


class Pair:
    """A client and a server that talk to each other in memory."""

    def __init__(self, **options: Any) -> None:
        self.root = Local("root")
        self.server = Connection(Role.SERVER, root=self.root, **options)
        self.client = Connection(Role.CLIENT, **options)
        assert self.pump() == ([Opened("pb")], [Opened("pb")])

    def pump(self) -> tuple[list[Event], list[Event]]:
        """Carry bytes until both are silent; return what happened to the client and to the server."""
        happened: tuple[list[Event], list[Event]] = ([], [])
        while self.client.unsent or self.server.unsent:
            happened[0].extend(events(self.client, self.server.data_to_send()))
            happened[1].extend(events(self.server, self.client.data_to_send()))
        return happened

    def call(self, *args: Value, **kwargs: Value) -> Call:
        """Let the client call the root, and return what reaches the server."""
        self.client.call(self.client.root, "method", args, kwargs)
        ((), (call,)) = self.pump()
        assert isinstance(call, Call)
        return call


# -- the vectors about negotiation


def negotiate(vector: Vector, *, by_byte: bool) -> list[object]:
    """Return in one list what a connection does with the steps of a vector."""
    role = Role.CLIENT if vector["state"] == "client_pre" else Role.SERVER
    connection = Connection(role, root=Local("root") if role is Role.SERVER else None)
    connection.data_to_send()
    out: list[object] = []
    for step in vector["steps"]:
        data = bytes.fromhex(step["in"])
        for chunk in cuts(data, range(len(data))) if by_byte else [data]:
            happened, violated = events_until_violation(connection, chunk)
            out += [("ready", event.profile) for event in happened if isinstance(event, Opened)]
            for expression in sent(connection):
                if expression != [b"version", 6]:
                    out.append(("writes", expression))
            if violated:
                return [*out, "closes"]
    return out


NEGOTIATION_DIFFERENCES: Final = {
    (OLD, "M:server_none_and_vocab"): [("ready", "none"), "closes"],
    (OLD, "M:server_unknown_then_pb_one_chunk"): ["closes"],
    (NEW, "M:server_unknown_then_pb_one_chunk"): ["closes"],
    (OLD, "M:client_refused_then_more"): ["closes"],
    (NEW, "M:client_refused_then_more"): ["closes"],
}


def recorded_negotiation(vector: Vector) -> list[object]:
    out: list[object] = []
    for step in vector["steps"]:
        out += [("ready", event["ready"]) for event in step.get("events", []) if "ready" in event]
        if "writes" in step:
            out.append(("writes", expressions(bytes.fromhex(step["writes"]))[0]))
        if "connection" in step:
            out.append("closes")
    return out


@pytest.mark.parametrize("by_byte", [False, True])
@pytest.mark.parametrize("generator", GENERATORS)
def test_negotiation(generator: str, by_byte: bool) -> None:
    different = {}
    for _, name, vector in rows("banana_malformed", [generator]):
        if vector["state"] in ("client_pre", "server_pre"):
            ours = negotiate(vector, by_byte=by_byte)
            if ours != recorded_negotiation(vector):
                different[generator, f"M:{name}"] = ours
    assert different == {key: ours for key, ours in NEGOTIATION_DIFFERENCES.items() if key[0] == generator}


# -- the vectors about servers


def brief(expression: Expression) -> str:
    """Return a message in a few words."""
    match expression:
        case [b"error", _, [b"twisted.spread.pb.CopyableFailure", _] as failure]:
            return as_failure(failure).kind.replace("exceptions.", "builtins.", 1)
        case [b"answer", _, value]:
            return repr(value)
        case _:
            return repr(expression)


class Reaction:
    """What a server of ours did with the chunks of a vector."""

    def __init__(self, generator: str, vector: Vector) -> None:
        root = Local("root")
        portal = "anonymous" if vector["service"].startswith("portal") else None
        connection = Connection(Role.SERVER, root=root, tags=TAGS)
        recorded = expressions(bytes.fromhex(vector["server_sends"]))
        service = Service(connection, root, old=generator == OLD, portal=portal, challenges=challenges_in(recorded))
        decoder = Decoder(Limits(), vocabulary=True)
        self.sent = split(connection.data_to_send(), decoder)
        self.rescued: list[Expression] = []
        self.closes = violated = False
        for chunk in vector["client_sends"]:
            connection.receive_data(bytes.fromhex(chunk))
            if vector["id"].startswith("half_close"):
                connection.receive_eof()
            while True:
                try:
                    event = connection.next_event()
                except RemoteProtocolError:
                    violated = True
                    continue
                if event is NEED_DATA:
                    break
                service.handle(event)
            out = split(connection.data_to_send(), decoder)
            self.closes = connection.state is NegotiationState.CLOSED
            if violated:
                # Twisted drops what it has not written when it closes.
                self.rescued = out
                break
            self.sent += out


def compare_reaction(generator: str, vector: Vector) -> str:
    """Return in what the server's reaction is not the recorded one."""
    ours = Reaction(generator, vector)
    recorded = expressions(bytes.fromhex(vector["server_sends"]))
    if ours.closes != vector["server_closes"]:
        return "closes" if ours.closes else "lives"
    if len(ours.sent) == len(recorded) and all(alike(a, b, set()) for a, b in zip(ours.sent, recorded, strict=True)):
        return ""
    mine, theirs = (sorted(map(repr, map(same_bits, e))) for e in (ours.sent, recorded))
    if mine == theirs:
        return "order"
    unlike = [
        f"{brief(a)} instead of {brief(b)}" for a, b in zip(ours.sent, recorded, strict=False) if not alike(a, b, set())
    ]
    return unlike[0] if unlike else f"also {[*map(brief, ours.sent[len(recorded) :])]}"


_BOTH: Final[dict[str, str]] = {
    "S:args_string": "builtins.TypeError instead of [b'list', ",
    "S:deep_args": "closes",
    "S:half_close": "also [\"[b'version', 6]\"]",
    "S:half_close_after_echo": "also [\"[b'version', 6]\", '5']",
    "S:lcache_unknown": "InsecureJelly instead of builtins.KeyError",
    "S:message_on_cached_luid": "NoSuchMethod instead of [b'vectors.Feed', ",
    "S:obj_list": "twisted.spread.pb.Error instead of builtins.TypeError",
    "S:reference_across_args_kwargs": "builtins.ValueError instead of [b'list', ",
    "S:remote_in": "order",
    "S:remote_in_twice": "order",
    "S:remote_shared": "order",
    "S:remote_list_luid": "builtins.TypeError instead of [b'decref', [b'list']]",
    "S:undefined_dereference": "builtins.ValueError instead of builtins.TypeError",
    "S:undefined_dereference_nested": "builtins.ValueError instead of [b'list', [b'unpersistable', ",
}
SERVER_DIFFERENCES: Final[dict[tuple[str, str], str]] = {
    **{(generator, name): words for generator in GENERATORS for name, words in _BOTH.items()},
    (OLD, "S:command_float"): "closes",
    (OLD, "S:command_int"): "closes",
    (OLD, "S:command_list"): "closes",
    (NEW, "S:command_nonutf8"): "lives",
    (NEW, "S:failure_argument_empty"): "[b'list', [b'boolean', b'false']] instead of builtins.KeyError",
    (OLD, "S:kw_bytes"): "[[b'unicode', b'k'], 1]]] instead of",
    (OLD, "S:kw_bytes_nonascii"): "[[b'unicode', b'\\xc3\\xa9'], 1]]] instead of",
    (OLD, "S:kw_bytes_nonutf8"): "builtins.TypeError instead of",
    (NEW, "S:kw_bytes_nonutf8"): "builtins.TypeError instead of builtins.UnicodeDecodeError",
    (NEW, "S:kw_list"): "builtins.TypeError instead of builtins.AttributeError",
    (NEW, "S:kw_none"): "builtins.TypeError instead of builtins.AttributeError",
    (OLD, "S:kw_mixed"): "[[b'unicode', b'a'], 1], [[b'unicode', b'b'], 2]]] instead of",
    (NEW, "S:kw_mixed"): "[[b'unicode', b'a'], 1], [[b'unicode', b'b'], 2]]] instead of builtins.AttributeError",
    (OLD, "S:name_int"): "closes",
    (OLD, "S:name_unicode_list"): "closes",
    (NEW, "S:unknown_command_then_wait"): "lives",
    (NEW, "S:unknown_command_vocab_logged_in"): "lives",
    (NEW, "S:unknown_command_vocab_login"): "lives",
}
"""Where a server of ours reacts in another way. See docs/differences-wire.md."""


@pytest.mark.parametrize("generator", GENERATORS)
def test_server_reactions(generator: str) -> None:
    different = {}
    for _, name, vector in rows("server_reactions", [generator]):
        if result := compare_reaction(generator, vector):
            different[generator, f"S:{name}"] = result
    expected = {key: words for key, words in SERVER_DIFFERENCES.items() if key[0] == generator}
    assert different.keys() == expected.keys()
    for key, words in expected.items():
        assert words in different[key], key


def test_what_was_answered_before_a_violation_is_not_lost() -> None:
    for generator in GENERATORS:
        ((_, _, vector),) = (row for row in rows("server_reactions", [generator]) if "good_then_bad_same" in row[1])
        assert vector["server_closes"]
        reaction = Reaction(generator, vector)
        assert reaction.sent == expressions(bytes.fromhex(vector["server_sends"]))
        assert reaction.rescued == [[b"version", 6], [b"answer", 1, 5]]


# -- the vectors about clients


class ClientReaction:
    """What a client of ours makes of the bytes of a vector, after it has called `x` with an object of its own."""

    def __init__(self, vector: Vector) -> None:
        self.connection = connection = Connection(Role.CLIENT, tags=TAGS)
        self.own = Local("own")
        self.happened, self.closes = events_until_violation(connection, bytes.fromhex(vector["server_sends_first"]))
        if connection.is_open:
            assert connection.call(connection.root, "x", [self.own]) == 1
            after = vector["server_sends_after_the_call"] or ""
            happened, self.closes = events_until_violation(connection, bytes.fromhex(after))
            self.happened += happened
        for event in self.happened:
            if isinstance(event, Call):
                if connection.is_open:
                    connection.answer(event.id, list(event.args))
            elif isinstance(event, Answered):
                for remote in remotes_in(event.value):
                    connection.release(remote)
        decoder = Decoder(Limits(), vocabulary=True)
        self.sent = split(connection.data_to_send(), decoder)
        connection.receive_eof()
        self.happened += events(connection)

    def outcome(self) -> object:
        """Return how the call ended, in the words of `recorded_outcome`."""
        for event in self.happened:
            match event:
                case Answered(value=value) if value is self.own:
                    return "own object"
                case Answered(value=Remote() as remote):
                    return ("remote", remote.luid)
                case Answered(value=value):
                    return ("value", describe(value))
                case Failed(failure=failure):
                    return ("failure", failure.kind, failure.message)
                case CallLost():
                    return "lost"
                case _:
                    pass
        return "never called"


def recorded_client_outcome(client: Vector) -> object:
    outcome = client["outcome"]
    if outcome is None:
        return "never called" if client.get("root_errback") else "never ends"
    answer, failure = outcome.get("answer"), outcome.get("failure")
    if answer is not None:
        if answer["t"] == "object":
            return "own object"
        if answer["t"] == "RemoteReference":
            return ("remote", answer["v"])
        return ("value", describe(jelly_value(answer)))
    if failure["type"] == "twisted.spread.pb.PBConnectionLost":
        return "lost"
    return ("failure", failure["type"], failure["value"])


def compare_client(vector: Vector) -> str:
    ours = ClientReaction(vector)
    client = vector["client"]
    said = []
    if ours.closes != vector["client_closes"]:
        said.append("closes" if ours.closes else "lives")
    if (mine := ours.outcome()) != (theirs := recorded_client_outcome(client)):
        said.append(f"{mine} instead of {theirs}")
    recorded = expressions(bytes.fromhex(vector["client_sent"]))
    if len(ours.sent) != len(recorded) or not all(alike(a, b, set()) for a, b in zip(ours.sent, recorded, strict=True)):
        said.append(f"sends {ours.sent[3:]} instead of {recorded[3:]}")
    return ", ".join(said)


_UNREADABLE: Final = "lives, ('failure', '{}', 'unreadable {}: {}') instead of never ends"
_CLIENT_BOTH: Final[dict[str, str]] = {
    "C:answer_bad_utf8": _UNREADABLE.format(
        "builtins.UnicodeDecodeError", "answer", "text is not UTF-8: invalid start byte"
    ),
    "C:answer_empty_list": _UNREADABLE.format("builtins.IndexError", "answer", "an empty list is no value"),
    "C:error_no_state": _UNREADABLE.format("builtins.IndexError", "failure", "a value is cut short"),
    "C:error_none": "lives, ('failure', '', '(NoneType)') instead of never ends",
    "C:error_copyable": "('failure', 'vectors.JellyError', '') instead of",
    "C:error_list": "('failure', '', '(list)') instead of",
    "C:error_no_type": "('failure', '', 'oops') instead of ('failure', '<no attribute type>', 'oops')",
    "C:error_no_value": "('failure', 'builtins.ValueError', '') instead of",
    "C:error_remote": "('failure', '', '(Remote)') instead of",
    "C:error_string": "('failure', '', 'oops') instead of",
    "C:error_text": "('failure', '', 'oops') instead of",
}
CLIENT_DIFFERENCES: Final[dict[tuple[str, str], str]] = {
    **{(generator, name): words for generator in GENERATORS for name, words in _CLIENT_BOTH.items()},
    (OLD, "C:error_empty_state"): "('failure', '', '') instead of ('failure', '<no attribute type>', ",
    (NEW, "C:error_empty_state"): "lives, ('failure', '', '') instead of never ends",
    (NEW, "C:error_full_bytes_keys"): "lives, ('failure', 'exceptions.ValueError', 'oops') instead of never ends",
}
"""Where a client of ours reacts in another way. See docs/differences-wire.md."""


@pytest.mark.parametrize("generator", GENERATORS)
def test_client_reactions(generator: str) -> None:
    different = {}
    for _, name, vector in rows("client_reactions", [generator]):
        if result := compare_client(vector):
            different[generator, f"C:{name}"] = result
    expected = {key: words for key, words in CLIENT_DIFFERENCES.items() if key[0] == generator}
    assert different.keys() == expected.keys()
    for key, words in expected.items():
        assert words in different[key], key


# -- opening


@pytest.mark.parametrize(("offer", "choice"), [([b"pb", b"none"], b"pb"), ([b"none", b"pb"], b"none"),
                                               ([b"x", b"none"], b"none"), ([[], 5, b"pb"], b"pb")])  # fmt: skip
def test_a_client_takes_the_first_profile_that_it_knows(offer: Expression, choice: bytes) -> None:
    client = Connection(Role.CLIENT)
    assert client.data_to_send() == b""
    assert (client.state, client.is_open) == (NegotiationState.START, False)
    assert events(client, pb(offer)) == [Opened(choice.decode())]
    assert client.is_open
    assert sent(client) == [choice, [b"version", 6]]


def test_a_server_speaks_first_and_answers_the_choice_with_its_version() -> None:
    server = Connection(Role.SERVER, root=Local("root"))
    assert server.state is NegotiationState.OFFERED
    assert sent(server) == [[b"pb", b"none"]]
    assert events(server, b"\x02\x82pb") == [Opened("pb")]
    assert sent(server) == [[b"version", 6]]


@pytest.mark.parametrize("profile", [b"pb", b"none"])
def test_words_are_abbreviated_in_profile_pb_only(profile: bytes) -> None:
    client = Connection(Role.CLIENT)
    events(client, pb([profile]))
    client.data_to_send()
    client.call(client.root, "list", (b"list",))
    assert (b"list" in client.data_to_send()) == (profile == b"none")


def test_neither_side_needs_the_version_of_the_other() -> None:
    pair = Pair()
    client = Connection(Role.CLIENT)
    events(client, HELLO)
    client.call(client.root, "x")
    assert events(client, pb([b"answer", 1, 5])) == [Answered(1, 5)]
    assert events(client, VERSION * 2 + pb([b"version", 6.0])) == []
    assert pair.client.is_open


@pytest.mark.parametrize("version", [5, 7, -6, b"6", [], 6.5])
@pytest.mark.parametrize("role", Role)
def test_another_version_closes_at_any_time(role: Role, version: Expression) -> None:
    connection = opened(role)
    assert events_until_violation(connection, pb([b"version", version])) == ([Closed(clean=False)], True)


@pytest.mark.parametrize("role", Role)
def test_nothing_can_be_sent_before_the_opening(role: Role) -> None:
    connection = Connection(role)
    before = connection.data_to_send()
    for attempt in (
        lambda: connection.call(connection.root, "x"),
        lambda: connection.answer(1),
        lambda: connection.fail(1, Failure("a.B", "")),
    ):
        with pytest.raises(LocalProtocolError):
            attempt()
    assert connection.data_to_send() == b""
    assert (before == b"") == (role is Role.CLIENT)


# -- calls


def test_a_call_and_its_answer() -> None:
    pair = Pair()
    number = pair.client.call(pair.client.root, "method", (1, "a"), {"k": b"v"})
    ((), (call,)) = pair.pump()
    assert call == Call(1, pair.root, "method", (1, "a"), {"k": b"v"}, wants_answer=True)
    assert isinstance(call, Call)
    pair.server.answer(call.id, ["value"])
    assert pair.pump() == ([Answered(number, ["value"])], [])


def test_a_call_without_an_answer() -> None:
    pair = Pair()
    assert pair.client.call(pair.client.root, "method", wants_answer=False) == 1
    assert sent(pair.client) == [[b"message", 1, b"root", b"method", 0, [b"tuple"], [b"dictionary"]]]
    for reply in (pair.server.answer, lambda number: pair.server.fail(number, Failure("a.B", ""))):
        pair.client.call(pair.client.root, "again", wants_answer=False)
        ((), (call,)) = pair.pump()
        assert isinstance(call, Call)
        assert not call.wants_answer
        reply(call.id)
        assert pair.server.unsent == 0
        with pytest.raises(LocalProtocolError):
            reply(call.id)
    pair.client.receive_eof()
    assert events(pair.client) == [Closed(clean=True)]


def test_numbers_rise_by_one_with_every_call_in_each_direction() -> None:
    pair = Pair()
    object_of_client = Local("x")
    assert pair.client.call(pair.client.root, "a", (object_of_client,)) == 1
    assert pair.client.call(pair.client.root, "b", wants_answer=False) == 2
    assert pair.client.call(pair.client.root, "c") == 3
    happened = pair.pump()[1]
    assert [event.id for event in happened if isinstance(event, Call)] == [1, 2, 3]
    (remote,) = remotes_in(*happened[0].args)  # type: ignore[union-attr]
    assert pair.server.call(remote, "d") == 1


def test_answers_may_come_in_any_order() -> None:
    pair = Pair()
    numbers = [pair.client.call(pair.client.root, "m", (n,)) for n in range(5)]
    calls = pair.pump()[1]
    for n in (3, 0, 4, 1, 2):
        call = calls[n]
        assert isinstance(call, Call)
        pair.server.answer(call.id, n)
        assert pair.pump() == ([Answered(numbers[n], n)], [])


def test_a_call_is_answered_once() -> None:
    pair = Pair()
    call = pair.call()
    pair.server.answer(call.id, 1)
    data = pair.server.data_to_send()
    again: list[Callable[[], None]] = [
        lambda: pair.server.answer(call.id, 2),
        lambda: pair.server.fail(call.id, Failure("a.B", "")),
        lambda: pair.server.answer(99),
        lambda: pair.server.answer(0),
    ]
    for attempt in again:
        with pytest.raises(LocalProtocolError, match="does not exist or is answered"):
            attempt()
    assert pair.server.unsent == 0
    assert events(pair.client, data) == [Answered(1, 1)]


@pytest.mark.parametrize("wire_id", [0, -5, b"abc", [b"x", 1], 1.5, 2**70, [[[]]]])
def test_the_number_of_the_peer_is_echoed_whatever_it_is(wire_id: Expression) -> None:
    server = opened(Role.SERVER)
    message: Expression = [b"message", wire_id, b"root", b"m", 1, [b"tuple"], [b"dictionary"]]
    first, second = events(server, pb(message) * 2)
    assert isinstance(first, Call)
    assert isinstance(second, Call)
    assert first.id != second.id
    server.answer(second.id, 2)
    server.answer(first.id, 1)
    assert same_bits(sent(server)) == same_bits([[b"answer", wire_id, 2], [b"answer", wire_id, 1]])


def test_the_deepest_number_of_the_peer_can_be_echoed() -> None:
    server = opened(Role.SERVER)
    wire_id: Expression = []
    for _ in range(Limits().depth - 2):
        wire_id = [wire_id]
    for luid, event_type in ((b"root", Call), (99, Refused)):
        message: Expression = [b"message", wire_id, luid, b"m", 1, [b"tuple"], [b"dictionary"]]
        (event,) = events(server, pb(message))
        assert isinstance(event, event_type)
        if isinstance(event, Call):
            server.answer(event.id)
        ((command, number, _),) = sent(server)  # type: ignore[misc]
        assert (command, number) == (b"answer" if luid == b"root" else b"error", wire_id)


@pytest.mark.parametrize(("raw", "wants"), [(1, True), (-1, True), (b"no", True), (0.5, True),
                                            ([b"boolean", b"false"], True), (0, False), (b"", False), ([], False),
                                            (0.0, False)])  # fmt: skip
def test_the_wish_for_an_answer_is_a_raw_truth(raw: Expression, wants: bool) -> None:
    server = opened(Role.SERVER)
    (call,) = events(server, pb([b"message", 1, b"root", b"m", raw, [b"tuple"], [b"dictionary"]]))
    assert isinstance(call, Call)
    assert call.wants_answer is wants
    server.answer(call.id)
    assert bool(server.unsent) is wants


REFUSALS: Final[list[tuple[Expression, Expression, Expression, str]]] = [
    (7, [b"tuple"], [b"dictionary"], "twisted.spread.pb.Error"),
    (b"other", [b"tuple"], [b"dictionary"], "twisted.spread.pb.Error"),
    (1.0, [b"tuple"], [b"dictionary"], "twisted.spread.pb.Error"),
    ([], [b"tuple"], [b"dictionary"], "twisted.spread.pb.Error"),
    (b"root", 5, [b"dictionary"], "builtins.TypeError"),
    (b"root", b"ab", [b"dictionary"], "builtins.TypeError"),
    (b"root", [b"unicode", b"ab"], [b"dictionary"], "builtins.TypeError"),
    (b"root", [b"tuple", [b"class", b"x.Y"]], [b"dictionary"], "twisted.spread.jelly.InsecureJelly"),
    (b"root", [b"tuple", [b"dereference", 1]], [b"dictionary"], "builtins.ValueError"),
    (b"root", [b"tuple"], [b"None"], "builtins.TypeError"),
    (b"root", [b"tuple"], [b"list"], "builtins.TypeError"),
    (b"root", [b"tuple"], [b"dictionary", [1, 2]], "builtins.TypeError"),
    (b"root", [b"tuple"], [b"dictionary", [b"\xff", 2]], "builtins.TypeError"),
    (b"root", [b"tuple"], [b"dictionary", [b"k", [b"os.system", 1]]], "twisted.spread.jelly.InsecureJelly"),
]


@pytest.mark.parametrize(("luid", "args", "kwargs", "kind"), REFUSALS)
@pytest.mark.parametrize("wants_answer", [0, 1])
def test_a_bad_call_is_answered_by_us(
    luid: Expression, args: Expression, kwargs: Expression, kind: str, wants_answer: int
) -> None:
    server = opened(Role.SERVER)
    (event,) = events(server, pb([b"message", 5, luid, b"m", wants_answer, args, kwargs]))
    assert isinstance(event, Refused)
    assert (event.method, event.failure.kind) == ("m", kind)
    if wants_answer:
        ((command, number, failure),) = sent(server)  # type: ignore[misc]
        assert (command, number) == (b"error", 5)
        assert as_failure(failure).kind == kind
    assert server.unsent == 0
    assert server.is_open
    with pytest.raises(LocalProtocolError):
        server.answer(1)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([b"tuple", 1, 2], (1, 2)),
        ([b"list", 1, 2], (1, 2)),
        ([b"set", 1], (1,)),
        ([b"frozenset", 1], (1,)),
        ([b"dictionary", [b"k", 1]], (b"k",)),
    ],
)
def test_positional_arguments_are_anything_with_members(args: Expression, expected: tuple[Value, ...]) -> None:
    (call,) = events(opened(Role.SERVER), pb([b"message", 5, b"root", b"m", 1, args, [b"dictionary"]]))
    assert isinstance(call, Call)
    assert call.args == expected


def test_keyword_names_are_bytes_or_text() -> None:
    kwargs: Expression = [b"dictionary", [b"\xc3\xa9", 1], [[b"unicode", b"k"], 2], [b"self", 3]]
    (call,) = events(opened(Role.SERVER), pb([b"message", 5, b"root", b"m", 1, [b"tuple"], kwargs]))
    assert isinstance(call, Call)
    assert call.kwargs == {"\N{LATIN SMALL LETTER E WITH ACUTE}": 1, "k": 2, "self": 3}


def test_a_client_has_no_root() -> None:
    client = opened(Role.CLIENT)
    (event,) = events(client, pb([b"message", 1, b"root", b"m", 1, [b"tuple"], [b"dictionary"]]))
    assert isinstance(event, Refused)
    assert event.failure.message == "Invalid Object ID"


def test_too_many_unanswered_calls() -> None:
    server = opened(Role.SERVER, limits=Limits(calls=3))
    message = pb([b"message", 1, b"root", b"m", 1, [b"tuple"], [b"dictionary"]])
    calls = events(server, message * 3)
    assert isinstance(calls[0], Call)
    server.answer(calls[0].id)
    assert len(events(server, message)) == 1
    assert events_until_violation(server, message) == ([Closed(clean=False)], True)


# -- failed sends

UNSENDABLE: Final[list[Callable[[Connection], Any]]] = [
    lambda connection: object(),
    lambda connection: b"x" * (SIZE_LIMIT + 1),
    lambda connection: "\ud800",
    lambda connection: 2**448,
    lambda connection: Remote(1),
    lambda connection: float,
]


@pytest.mark.parametrize("bad", UNSENDABLE)
@pytest.mark.parametrize("where", ["args", "kwargs"])
def test_a_call_that_cannot_be_sent_changes_nothing(bad: Callable[[Connection], Any], where: str) -> None:
    pair = Pair()
    known, new = Local("known"), Local("new")
    pair.client.call(pair.client.root, "m", (known,))
    pair.pump()
    value = bad(pair.client)
    args, kwargs = ((known, new, value), {}) if where == "args" else ((known, new), {"k": value})
    with pytest.raises(LocalProtocolError):
        pair.client.call(pair.client.root, "m", args, kwargs)
    assert pair.client.unsent == 0
    assert pair.client.exported == {known: 1}
    assert pair.client.call(pair.client.root, "m", (new,)) == 2
    assert sent(pair.client) == [
        [b"message", 2, b"root", b"m", 1, [b"tuple", [b"remote", 2]], [b"dictionary"]]
    ]  # fmt: skip
    pair.client.receive_eof()
    assert events(pair.client) == [CallLost(1), CallLost(2), Closed(clean=True)]


@pytest.mark.parametrize("bad", UNSENDABLE)
def test_an_answer_that_cannot_be_sent_can_be_replaced(bad: Callable[[Connection], Any]) -> None:
    pair = Pair()
    call = pair.call()
    new = Local("new")
    with pytest.raises(LocalProtocolError):
        pair.server.answer(call.id, [new, bad(pair.server)])
    assert pair.server.unsent == 0
    assert pair.server.exported == {}
    with pytest.raises(LocalProtocolError):
        pair.server.fail(call.id, Failure("a.B", "x" * (SIZE_LIMIT + 1)))
    pair.server.answer(call.id, new)
    assert sent(pair.server) == [[b"answer", 1, [b"remote", 1]]]


def test_a_method_that_is_no_text() -> None:
    client = opened(Role.CLIENT)
    with pytest.raises(LocalProtocolError, match="UTF-8"):
        client.call(client.root, "\ud800")
    assert client.call(client.root, "\N{LATIN SMALL LETTER E WITH ACUTE}") == 1
    assert sent(client)[0][3] == b"\xc3\xa9"  # type: ignore[index]


def test_a_target_of_another_connection() -> None:
    pair, other = Pair(), Pair()
    for target in (other.client.root, Remote(1), pair.server.root):
        with pytest.raises(LocalProtocolError, match="not of this connection"):
            pair.client.call(target, "m")
    assert pair.client.call(pair.client.root, "m") == 1


# -- references


def test_the_life_of_a_reference() -> None:
    pair = Pair()
    thing = Local("thing")
    call = pair.call(thing, [thing])
    assert pair.client.exported == {thing: 2}
    first, second = call.args[0], call.args[1][0]  # type: ignore[index]
    assert isinstance(first, Remote)
    assert isinstance(second, Remote)
    assert (first.luid, second.luid) == (1, 1)
    assert pair.server.owns(first)

    pair.server.call(second, "hello", (first,))
    ((hello,), ()) = pair.pump()
    assert isinstance(hello, Call)
    assert (hello.target, hello.args) == (thing, (thing,))

    pair.server.release(first)
    assert pair.pump() == ([], [])
    assert pair.client.exported == {thing: 1}
    assert not pair.server.owns(first)
    with pytest.raises(LocalProtocolError):
        pair.server.release(first)
    with pytest.raises(LocalProtocolError):
        pair.server.call(first, "m")
    pair.server.release(second)
    assert pair.pump() == ([Released(thing)], [])
    assert pair.client.exported == {}
    again = pair.call(thing).args[0]
    assert isinstance(again, Remote)
    assert again.luid == 2


def test_numbers_of_objects_are_never_used_again() -> None:
    client = opened(Role.CLIENT)
    for luid in range(1, 6):
        client.call(client.root, "m", (Local("x"),), wants_answer=False)
        assert sent(client)[0][5] == [b"tuple", [b"remote", luid]]  # type: ignore[index]
        assert len(events(client, pb([b"decref", luid]))) == 1


def test_the_root_is_neither_counted_nor_released() -> None:
    pair = Pair()
    call = pair.call()
    pair.server.answer(call.id, pair.root)
    (answered,) = pair.pump()[0]
    assert isinstance(answered, Answered)
    assert isinstance(answered.value, Remote)
    # Given away, the root is an object like any other; under its name it is not.
    assert pair.server.exported == {pair.root: 1}
    with pytest.raises(LocalProtocolError):
        pair.client.release(pair.client.root)
    assert pair.call(pair.client.root, answered.value).args == (pair.root, pair.root)


@pytest.mark.parametrize("luid", [b"root", 1, 99, 0, -1, 1.0, []])
def test_a_decref_of_nothing_closes(luid: Expression) -> None:
    server = opened(Role.SERVER)
    assert events_until_violation(server, pb([b"decref", luid])) == ([Closed(clean=False)], True)


def test_one_decref_too_many_closes() -> None:
    client = opened(Role.CLIENT)
    thing = Local("x")
    client.call(client.root, "m", (thing, thing), wants_answer=False)
    happened, violated = events_until_violation(client, pb([b"decref", 1]) * 3)
    assert happened == [Released(thing), Closed(clean=False)]
    assert violated


def test_an_object_that_was_released_comes_home_as_none() -> None:
    client = opened(Role.CLIENT)
    thing = Local("x")
    client.call(client.root, "m", (thing,))
    assert events(client, pb([b"decref", 1]) + pb([b"answer", 1, [b"local", 1]])) == [
        Released(thing),
        Answered(1, None),
    ]


R5: Final[Expression] = [b"remote", 5]


@pytest.mark.parametrize(
    ("args", "kwargs", "lost"),
    [
        # refused as a whole
        ([b"tuple", R5, [b"class", b"x"]], [b"dictionary"], 1),
        ([b"tuple", R5], [b"None"], 1),
        ([b"tuple", R5], [b"dictionary", [b"k", R5], [b"l", [b"class", b"x"]]], 2),
        ([b"tuple", R5], [b"dictionary", [5, R5]], 2),
        (R5, [b"dictionary"], 1),
        ([b"tuple", R5], R5, 2),
        # accepted, but part of it has no place
        ([b"tuple", [b"dictionary", [b"k", R5], [b"k", 1]]], [b"dictionary"], 1),
        ([b"tuple"], [b"dictionary", [b"k", R5], [[b"unicode", b"k"], 1]], 1),
        ([b"dictionary", [b"k", R5]], [b"dictionary"], 1),
        ([b"tuple", [b"twisted.spread.pb.CopyableFailure", [b"dictionary", [b"x", R5]]]], [b"dictionary"], 1),
        ([b"tuple", R5, [b"dictionary", [1, R5], [1, R5]]], [b"dictionary"], 1),
        # accepted
        ([b"tuple", R5, [b"list", R5]], [b"dictionary", [b"k", R5]], 0),
        ([b"tuple", [b"set", R5, R5], [b"dictionary", [R5, 1]]], [b"dictionary"], 0),
    ],
)
def test_references_that_reach_nobody_are_released(args: Expression, kwargs: Expression, lost: int) -> None:
    server = opened(Role.SERVER)
    (event,) = events(server, pb([b"message", 1, b"root", b"m", 0, args, kwargs]))
    assert sent(server) == [[b"decref", 5]] * lost
    remotes = set(remotes_in(*event.args, *event.kwargs.values())) if isinstance(event, Call) else set()
    assert all(map(server.owns, remotes))
    for remote in remotes:
        server.release(remote)
    arrived = repr([args, kwargs]).count(repr(R5))
    assert len(sent(server)) == arrived - lost


@pytest.mark.parametrize(
    ("command", "value", "event_type"),
    [
        (b"answer", [b"tuple", R5, [b"class", b"x"]], Failed),
        (b"answer", [b"dictionary", [1, R5], [1, 2]], Answered),
        (b"error", R5, Failed),
        (b"error", [b"list", R5], Failed),
        (b"error", [b"twisted.spread.pb.CopyableFailure", [b"dictionary", [b"x", R5]]], Failed),
    ],
)
def test_references_in_answers_that_reach_nobody_are_released(
    command: bytes, value: Expression, event_type: type
) -> None:
    client = opened(Role.CLIENT)
    client.call(client.root, "m")
    client.data_to_send()
    (event,) = events(client, pb([command, 1, value]))
    assert isinstance(event, event_type)
    assert sent(client) == [[b"decref", 5]]


@pytest.mark.parametrize("where", ["message", "answer"])
def test_too_many_references(where: str) -> None:
    connection = opened(Role.SERVER if where == "message" else Role.CLIENT, limits=Limits(references=3))
    if where == "answer":
        connection.call(connection.root, "m")
        message: Expression = [b"answer", 1, [b"list", R5, R5, R5, R5]]
    else:
        message = [b"message", 1, b"root", b"m", 1, [b"tuple", R5, R5, R5, R5], [b"dictionary"]]
    happened, violated = events_until_violation(connection, pb(message))
    assert violated
    # The call whose answer went too far ends like all others that were pending.
    assert happened == [*([CallLost(1)] if where == "answer" else []), Closed(clean=False)]


def test_released_references_make_room() -> None:
    server = opened(Role.SERVER, limits=Limits(references=2))
    for _ in range(5):
        (call,) = events(server, pb([b"message", 1, b"root", b"m", 0, [b"tuple", R5, R5], [b"dictionary"]]))
        assert isinstance(call, Call)
        for remote in remotes_in(*call.args):
            server.release(remote)


# -- failures


def test_a_failure_travels() -> None:
    pair = Pair()
    call = pair.call()
    pair.server.fail(call.id, Failure("builtins.KeyError", "'missing'", traceback="over there\n"))
    (event,) = pair.pump()[0]
    assert isinstance(event, Failed)
    assert (event.id, event.failure.kind, event.failure.message) == (1, "builtins.KeyError", "'missing'")
    assert event.failure.traceback == "over there\n"
    assert event.failure.is_a("builtins.KeyError")
    assert event.failure.is_a("exceptions.Exception")


@pytest.mark.parametrize(
    ("value", "failure"),
    [
        (b"oops", Failure("", "oops")),
        ([b"unicode", b"oops"], Failure("", "oops")),
        ([b"unpersistable", b"oops"], Failure("", "oops")),
        ([b"None"], Failure("", "(NoneType)")),
        (5, Failure("", "(int)")),
        ([b"vectors.JellyError", [b"dictionary"]], Failure("vectors.JellyError", "")),
        (failure_state("a.B", "m"), Failure("a.B", "m", ("a.B",))),
    ],
)
def test_an_error_may_be_anything(value: Expression, failure: Failure) -> None:
    client = opened(Role.CLIENT, tags=TAGS)
    client.call(client.root, "m")
    assert events(client, pb([b"error", 1, value])) == [Failed(1, failure)]


# -- violations

_MESSAGE: Final[list[Expression]] = [b"message", 1, b"root", b"m", 1, [b"tuple"], [b"dictionary"]]
VIOLATIONS: Final[list[Expression]] = [
    5, b"hello", b"message", 1.5, [], [5], [[b"list"]], [1.5],
    _MESSAGE[:-1], [*_MESSAGE, 1],
    [*_MESSAGE[:3], 5, *_MESSAGE[4:]], [*_MESSAGE[:3], b"\xff", *_MESSAGE[4:]],
    [*_MESSAGE[:3], [b"unicode", b"m"], *_MESSAGE[4:]],
    [b"version"], [b"version", 6, 6],
    [b"answer", 1], [b"answer", 1, 5, 5], [b"answer", 2, 5], [b"answer", b"1", 5], [b"answer", 1.0, 5],
    [b"answer", [], 5], [b"error", 1], [b"error", 9, b"x"],
    [b"decref"], [b"decref", 1, 1], [b"decache", 1], [b"uncache", 1], [b"decache"], [b"uncache", 1, 2],
    [b"cachemessage", 1], [b"didNotUnderstand"], [b"didNotUnderstand", b"x", b"y"],
]  # fmt: skip


@pytest.mark.parametrize("expression", VIOLATIONS)
@pytest.mark.parametrize("role", Role)
def test_violations_end_the_connection(role: Role, expression: Expression) -> None:
    connection = opened(role)
    connection.call(connection.root, "m")
    connection.call(connection.root, "n", wants_answer=False)
    connection.call(connection.root, "o")
    data = connection.data_to_send()
    assert len(expressions(data)) == 3
    happened, violated = events_until_violation(connection, pb(expression) + VERSION + b"\xff")
    assert violated
    assert happened == [CallLost(1), CallLost(3), Closed(clean=False)]
    assert connection.state is NegotiationState.CLOSED
    assert events(connection, pb(_MESSAGE)) == []
    connection.receive_eof()
    assert events(connection) == []


def test_what_came_before_a_violation_is_delivered_first() -> None:
    server = opened(Role.SERVER)
    server.receive_data(pb(_MESSAGE) + b"\xff")
    call = server.next_event()
    assert isinstance(call, Call)
    server.answer(call.id, 5)
    with pytest.raises(RemoteProtocolError):
        server.next_event()
    assert server.next_event() == Closed(clean=False)
    assert sent(server) == [[b"answer", 1, 5]]


@pytest.mark.parametrize("command", [b"foo", b"login", b"", b"\xff", b"Message"])
def test_an_unknown_command_is_answered_and_survived(command: bytes) -> None:
    server = opened(Role.SERVER)
    (event,) = events(server, pb([command, 1]))
    assert isinstance(event, NotUnderstood)
    assert event.ours
    assert sent(server) == [[b"didNotUnderstand", command]]
    assert isinstance(events(server, pb(_MESSAGE))[0], Call)


@pytest.mark.parametrize(("command", "text"), [(b"foo", "foo"), (5, "?"), (b"\xff", "\\xff")])
def test_not_being_understood_is_only_reported(command: Expression, text: str) -> None:
    client = opened(Role.CLIENT)
    client.call(client.root, "m")
    assert events(client, pb([b"didNotUnderstand", command])) == [NotUnderstood(text, ours=False)]
    assert events(client, pb([b"answer", 1, 5])) == [Answered(1, 5)]


def test_cache_messages_are_refused() -> None:
    server = opened(Role.SERVER)
    (event,) = events(server, pb([b"cachemessage", 7, 1, b"setN", 1, [b"tuple"], [b"dictionary"]]))
    assert isinstance(event, Refused)
    ((command, number, failure),) = sent(server)  # type: ignore[misc]
    assert (command, number, as_failure(failure).kind) == (b"error", 7, "builtins.KeyError")
    events(server, pb([b"cachemessage", 7, 1, b"setN", 0, [b"tuple"], [b"dictionary"]]))
    assert server.unsent == 0


# -- the end


def test_the_end_of_the_stream() -> None:
    pair = Pair()
    thing = Local("x")
    call = pair.call(thing)
    (remote,) = remotes_in(*call.args)
    pair.server.call(remote, "a")
    pair.server.call(remote, "b")
    pair.server.receive_eof()
    pair.server.receive_eof()
    assert pair.server.is_open
    assert events(pair.server) == [CallLost(1), CallLost(2), Closed(clean=True)]
    assert pair.server.state is NegotiationState.CLOSED
    assert pair.server.exported == {}
    assert not pair.server._waiting
    assert not pair.server._incoming
    for attempt in (lambda: pair.server.answer(call.id), lambda: pair.server.call(remote, "m")):
        with pytest.raises(LocalProtocolError, match="CLOSED"):
            attempt()
    before = pair.server.data_to_send()
    assert len(expressions(before)) == 2
    pair.server.release(remote)
    assert pair.server.unsent == 0
    with pytest.raises(LocalProtocolError):
        pair.server.release(remote)


def test_what_came_before_the_end_is_delivered_first() -> None:
    server = opened(Role.SERVER)
    server.receive_data(pb(_MESSAGE) * 2)
    server.receive_eof()
    first = server.next_event()
    assert isinstance(first, Call)
    server.answer(first.id, 5)
    assert isinstance(server.next_event(), Call)
    assert server.next_event() == Closed(clean=True)
    assert sent(server) == [[b"answer", 1, 5]]


@pytest.mark.parametrize("left", [1, 5, -1])
def test_an_end_inside_a_message_is_not_clean(left: int) -> None:
    server = opened(Role.SERVER)
    server.receive_data(pb(_MESSAGE)[:left])
    server.receive_eof()
    assert events(server) == [Closed(clean=False)]


@pytest.mark.parametrize("role", Role)
def test_an_end_before_the_opening(role: Role) -> None:
    connection = Connection(role)
    connection.receive_eof()
    assert events(connection) == [Closed(clean=True)]


def test_closing_ends_what_is_pending_and_reads_no_more() -> None:
    client = opened(Role.CLIENT)
    client.call(client.root, "m")
    client.receive_data(pb([b"answer", 1, 5]))
    client.close()
    client.close()
    client.receive_data(pb([b"answer", 1, 5]))
    assert events(client) == [CallLost(1), Closed(clean=True)]
    assert len(expressions(client.data_to_send())) == 1


def test_bytes_to_send_are_counted_and_given_once() -> None:
    client = opened(Role.CLIENT)
    client.call(client.root, "m")
    unsent = client.unsent
    data = client.data_to_send()
    assert len(data) == unsent > 0
    assert (client.data_to_send(), client.unsent) == (b"", 0)


def test_limits_of_bytes_end_the_connection() -> None:
    server = opened(Role.SERVER, limits=Limits(string=50))
    assert events_until_violation(server, b"\x01\x80\x33\x82") == ([Closed(clean=False)], True)


def test_a_connection_has_no_memory_of_ended_calls() -> None:
    pair = Pair()
    for _ in range(50):
        call = pair.call(Local("x"))
        for remote in remotes_in(*call.args):
            pair.server.release(remote)
        pair.server.answer(call.id)
        pair.pump()
    for connection in (pair.client, pair.server):
        assert not connection.exported
        assert not connection._waiting
        assert not connection._incoming
        assert not connection._held
        assert not connection._exports.by_luid
        assert not connection._exports.by_local


def call_of(wire_id: Expression, args: Expression) -> bytes:
    return pb([b"message", wire_id, b"root", b"x", 1, args, [b"dictionary"]])


def test_a_refusal_about_something_huge_can_be_sent() -> None:
    server = opened(Role.SERVER, root=Local("root"))
    name = b"n" * 600_000
    twice: Expression = [b"tuple", [b"reference", name, [b"list"]], [b"reference", name, [b"list"]]]
    (event,) = events(server, call_of(1, twice))
    assert isinstance(event, Refused)
    assert server.is_open


def test_the_id_of_a_call_is_echoed_only_if_it_is_short() -> None:
    server = opened(Role.SERVER, root=Local("root"), limits=Limits(call_id=100))
    (event,) = events(server, call_of(b"x" * 90, [b"tuple"]))
    assert isinstance(event, Call)
    server.receive_data(call_of(b"x" * 100, [b"tuple"]))
    with pytest.raises(RemoteProtocolError, match="the id of a call has 102 bytes"):
        server.next_event()


def test_a_peer_that_calls_and_does_not_read_is_cut_off() -> None:
    server = opened(Role.SERVER, root=Local("root"), limits=Limits(unsent=1000))
    bad = call_of(1, [b"class", b"os.system"])
    with pytest.raises(RemoteProtocolError, match="does not read"):
        events(server, bad * 100)
    assert server.unsent < 2000
