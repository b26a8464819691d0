"""The other opinion: Twisted itself, in this process, without a network."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure as TwistedFailure
from twisted.spread import banana as twisted_banana
from twisted.spread import jelly as twisted_jelly
from twisted.spread import pb as twisted_pb

from slaveproto.errors import UnreadableValue
from slaveproto.limits import Limits
from slaveproto.wire import (
    NEED_DATA,
    Answered,
    Call,
    ClientLogin,
    Connection,
    Event,
    Failed,
    Failure,
    Local,
    LoggedIn,
    LoginRefused,
    Opened,
    Released,
    Remote,
    Role,
    ServerLogin,
    Unpersistable,
    Value,
    remotes_in,
)
from slaveproto.wire.banana import Expression, encode
from slaveproto.wire.jelly import Unjellier, jelly
from slaveproto.wire.login import UNAUTHORIZED
from slaveproto.wire.states import ServerLoginState
from tests.wire.support import LIMITS, NoObjects, cuts, describe, expressions, same_bits
from tests.wire.test_banana import BYTES_OF_BANANA, EXPRESSIONS, what_comes
from tests.wire.test_jelly import HASHABLE, SEEMINGLY_JELLY, values

# -- Banana


class Collector(twisted_banana.Banana):  # type: ignore[misc]  # Any
    """Twisted's Banana with a profile chosen, that keeps what it reads."""

    def __init__(self, profile: bytes) -> None:
        super().__init__()
        self.read: list[Any] = []
        self.connectionMade()
        self._selectDialect(profile)
        self.transport = StringTransport()

    def expressionReceived(self, expression: Any) -> None:
        self.read.append(expression)


def by_twisted(expression: Expression, profile: bytes) -> bytes:
    collector = Collector(profile)
    collector.sendEncoded(expression)
    return collector.transport.value()  # type: ignore[no-any-return]


@given(EXPRESSIONS, st.sampled_from([b"pb", b"none"]))
def test_banana_both_ways(expression: Expression, profile: bytes) -> None:
    data = encode(expression, vocabulary=profile == b"pb", limits=LIMITS)
    assert data == by_twisted(expression, profile)
    collector = Collector(profile)
    collector.dataReceived(data)
    assert [same_bits(e) for e in collector.read] == [same_bits(expression)]
    assert same_bits(expressions(data, vocabulary=profile == b"pb")) == same_bits([expression])


@given(BYTES_OF_BANANA, st.lists(st.integers(0, 300), max_size=5))
@settings(max_examples=300)
def test_garbage_means_the_same_to_twisted(data: bytes, places: list[int]) -> None:
    collector = Collector(b"pb")
    refused = False
    try:
        for chunk in filter(None, cuts(data, places)):
            collector.dataReceived(chunk)
    except (twisted_banana.BananaError, NotImplementedError, KeyError):
        refused = True
    items, trouble = what_comes([data], LIMITS)
    assert items == [same_bits(e) for e in collector.read]
    assert (trouble not in ("", "held")) == refused


# -- Jelly


def plain(value: Any) -> Any:
    """Return a value of Twisted's in our words: a placeholder is `Unpersistable`."""
    if isinstance(value, twisted_jelly.Unpersistable):
        reason = value.reason.removeprefix("Unpersistable data: ")
        return Unpersistable(reason[2:-1] if reason.startswith("b'") else reason)
    return value


JELLY_VALUES: Final = values().filter(lambda value: "Copied" not in repr(value) and "Unpersistable" not in repr(value))


@given(JELLY_VALUES)
@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_jelly_both_ways(value: Value) -> None:
    ours = jelly(value, NoObjects())
    theirs = twisted_jelly.jelly(value)
    assert same_bits(ours) == same_bits(theirs)
    assert describe(twisted_jelly.unjelly(theirs)) == describe(Unjellier(NoObjects()).read(ours))  # type: ignore[arg-type]


@given(SEEMINGLY_JELLY)
@settings(max_examples=300)
def test_what_we_read_twisted_reads_alike(expression: Any) -> None:
    text = repr(expression)
    if any(word in text for word in ("remote", "local", "CopyableFailure", "some.Tag", "unpersistable", "persistent")):
        return
    try:
        ours = Unjellier(NoObjects()).read(expression)
    except UnreadableValue:
        return
    try:
        theirs = twisted_jelly.unjelly(expression)
    except Exception as error:
        pytest.fail(f"we are kinder than Twisted: {expression} is {ours!r}, not {error!r}")
    if "crefutil" not in repr(theirs):
        assert describe(theirs) == describe(ours)


# -- the broker


class Program(twisted_pb.Root):  # type: ignore[misc]  # Any
    """What both ends offer; this is Twisted's."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def remote_echo(self, *args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    def remote_fail(self) -> Any:
        raise twisted_pb.Error("on purpose")

    def remote_give(self) -> Any:
        return Program()

    def remote_keep(self, ref: Any) -> Any:
        self.kept.append(ref)
        return len(self.kept)

    def remote_drop(self) -> None:
        self.kept.clear()

    def remote_call(self, ref: Any, value: Any) -> Any:
        return ref.callRemote("echo", value)


class OurProgram:
    """The same, behind a `Connection`; and a caller that remembers what came of its calls."""

    def __init__(self, connection: Connection, root: Local) -> None:
        self.connection = connection
        self.root = root
        self.objects = {root}
        self.kept: list[Remote] = []
        self.relayed: dict[int, int] = {}
        self.ended: dict[int, Answered | Failed] = {}
        self.released: list[Local] = []

    def handle(self, event: Event) -> None:
        match event:
            case Answered(id=number, value=value) if number in self.relayed:
                self.connection.answer(self.relayed.pop(number), value)
            case Answered() | Failed():
                assert event.id not in self.ended
                self.ended[event.id] = event
            case Released(local=local):
                self.released.append(local)
            case Call():
                assert event.target in self.objects
                self._call(event)
            case _:
                assert event == Opened("pb")

    def _call(self, call: Call) -> None:
        connection = self.connection
        match call.method, call.args:
            case "echo", args:
                connection.answer(call.id, [list(args), dict(call.kwargs.items())])
            case "fail", ():
                connection.fail(call.id, Failure("twisted.spread.pb.Error", "on purpose"))
            case "give", ():
                given = Local("given")
                self.objects.add(given)
                connection.answer(call.id, given)
            case "keep", (Remote() as ref,):
                self.kept.append(ref)
                connection.answer(call.id, len(self.kept))
                return
            case "drop", ():
                for remote in self.kept:
                    connection.release(remote)
                self.kept.clear()
                connection.answer(call.id)
            case "call", (Remote() as ref, value):
                self.relayed[connection.call(ref, "echo", (value,))] = call.id
            case _:
                raise AssertionError(call)
        for remote in remotes_in(*call.args, *call.kwargs.values()):
            connection.release(remote)


class Memory(StringTransport):  # type: ignore[misc]  # Any
    """A transport that also takes what the garbage collector makes dead proxies write."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes) -> None:
        self.written += data

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = bytes(self.written)
        self.written.clear()
        return data


class Encounter:
    """A broker of Twisted and a connection of ours, with the bytes between them."""

    def __init__(self, role: Role, factory: Any = None) -> None:
        self.theirs = Program()
        root = Local("root")
        if factory is None:
            factory = twisted_pb.PBServerFactory(self.theirs) if role is Role.CLIENT else twisted_pb.PBClientFactory()
        self.connection = Connection(role, root=root if role is Role.SERVER else None)
        self.ours = OurProgram(self.connection, root)
        self.broker = factory.buildProtocol(None)
        self.transport = Memory()
        self.broker.makeConnection(self.transport)
        self.root: list[Any] = []
        self.events: list[Event] = []
        if role is Role.SERVER:
            factory.getRootObject().addCallback(self.root.append)
        self.pump()

    def pump(self) -> None:
        """Carry bytes until both are silent."""
        while True:
            mine, theirs = self.connection.data_to_send(), self.transport.take()
            if not mine and not theirs:
                return
            if mine:
                self.broker.dataReceived(mine)
            self.connection.receive_data(theirs)
            while (event := self.connection.next_event()) is not NEED_DATA:
                self.events.append(event)
                self.ours.handle(event)
            assert not self.transport.disconnecting

    def call(self, target: Remote, method: str, *args: Value, **kwargs: Value) -> Answered | Failed:
        """Call Twisted and return what came of it."""
        number = self.connection.call(target, method, args, kwargs)
        self.pump()
        return self.ours.ended.pop(number)

    def called_by_twisted(self, target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        """Let Twisted call us and return what came of it."""
        results: list[Any] = []
        target.callRemote(method, *args, **kwargs).addBoth(results.append)
        self.pump()
        (result,) = results
        return result

    def their_counts(self) -> dict[Any, int]:
        return {luid: local.refcount for luid, local in self.broker.localObjects.items() if luid != b"root"}

    def end(self) -> None:
        self.connection.receive_eof()
        while (event := self.connection.next_event()) is not NEED_DATA:
            self.events.append(event)
        self.broker.connectionLost(TwistedFailure(ConnectionDone()))


PLAIN: Final[st.SearchStrategy[Any]] = st.recursive(
    HASHABLE.filter(lambda value: "Unpersistable" not in repr(value)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("echo"), PLAIN),
        st.tuples(st.sampled_from(["fail", "give", "keep", "drop", "let go", "keep twice"]), st.none()),
        st.tuples(st.sampled_from(["call", "call given", "call kept"]), PLAIN),
    ),
    max_size=12,
)


def same(ours: Any, theirs: Any) -> bool:
    return describe(ours) == describe(theirs)


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_our_client_and_twisteds_server(steps: list[tuple[str, Any]]) -> None:
    encounter = Encounter(Role.CLIENT)
    connection, root = encounter.connection, encounter.connection.root
    own = Local("own")
    encounter.ours.objects.add(own)
    given: list[Remote] = []
    kept = 0
    for what, value in steps:
        if what == "echo":
            result = encounter.call(root, "echo", value, 1, k=value)
            assert isinstance(result, Answered)
            assert same(result.value, [[value, 1], {"k": deepcopy(value)}])
        elif what == "fail":
            result = encounter.call(root, "fail")
            assert isinstance(result, Failed)
            assert (result.failure.kind, result.failure.message) == ("twisted.spread.pb.Error", "on purpose")
            assert result.failure.is_a("builtins.Exception")
        elif what == "give":
            result = encounter.call(root, "give")
            assert isinstance(result, Answered)
            assert isinstance(result.value, Remote)
            given.append(result.value)
        elif what == "keep":
            kept += 1
            assert encounter.call(root, "keep", own) == Answered(encounter.connection._last_call, kept)
        elif what == "keep twice":
            result = encounter.call(root, "keep", [own, own])
            assert isinstance(result, Answered)
            kept += 1
        elif what == "drop":
            encounter.call(root, "drop")
            kept = 0
            assert connection.exported == {}
        elif what == "let go" and given:
            connection.release(given.pop())
            encounter.pump()
        elif what == "call":
            result = encounter.call(root, "call", own, value)
            assert isinstance(result, Answered)
            assert same(result.value, [[value], {}])
        elif what == "call given" and given:
            result = encounter.call(given[0], "echo", value)
            assert isinstance(result, Answered)
            assert same(result.value, [[value], {}])
        elif what == "call kept" and encounter.theirs.kept:
            ref = encounter.theirs.kept[0]
            answer = encounter.called_by_twisted(ref[0] if isinstance(ref, list) else ref, "echo", value)
            assert same([[value], {}], answer)
            del ref
        assert encounter.their_counts() == {remote.luid: 1 for remote in given}
    for remote in given:
        connection.release(remote)
    encounter.call(root, "drop")
    assert encounter.their_counts() == {}
    assert connection.exported == {}
    assert not connection._held
    encounter.end()


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_our_server_and_twisteds_client(steps: list[tuple[str, Any]]) -> None:
    encounter = Encounter(Role.SERVER)
    connection = encounter.connection
    (root,) = encounter.root
    given: list[Any] = []
    for what, value in steps:
        if what == "echo":
            assert same(
                [[value, 1], {"k": deepcopy(value)}], encounter.called_by_twisted(root, "echo", value, 1, k=value)
            )
        elif what == "fail":
            failure = encounter.called_by_twisted(root, "fail")
            assert failure.check(twisted_pb.Error)
            assert failure.check("builtins.Exception")
            assert failure.getErrorMessage() == "on purpose"
            assert failure.getTraceback() == "Traceback from remote host -- twisted.spread.pb.Error: on purpose\n"
            assert failure.traceback == "Traceback unavailable\n"
        elif what == "give":
            given.append(encounter.called_by_twisted(root, "give"))
        elif what in ("keep", "keep twice"):
            for _ in range(1 if what == "keep" else 2):
                count = len(encounter.ours.kept) + 1
                assert encounter.called_by_twisted(root, "keep", encounter.theirs) == count
        elif what == "drop":
            encounter.called_by_twisted(root, "drop")
            assert encounter.their_counts() == {}
        elif what == "let go" and given:
            given.pop()
            encounter.pump()
        elif what == "call":
            assert same([[value], {}], encounter.called_by_twisted(root, "call", Program(), value))
        elif what == "call given" and given:
            assert same([[value], {}], encounter.called_by_twisted(given[0], "echo", value))
        elif what == "call kept" and encounter.ours.kept:
            result = encounter.call(encounter.ours.kept[0], "echo", value)
            assert isinstance(result, Answered)
            assert same(result.value, [[value], {}])
        assert sum(connection.exported.values()) == len(given)
        assert sum(encounter.their_counts().values()) == len(encounter.ours.kept)
    given.clear()
    encounter.called_by_twisted(root, "drop")
    assert connection.exported == {}
    assert encounter.their_counts() == {}
    assert not connection._held
    encounter.end()


def test_references_come_home() -> None:
    encounter = Encounter(Role.SERVER)
    (root,) = encounter.root
    (args, _) = encounter.called_by_twisted(root, "echo", encounter.theirs, [encounter.theirs], root)
    assert args[0] is encounter.theirs
    assert args[1][0] is encounter.theirs
    assert encounter.their_counts() == {}
    # The root that went home comes back as an object with a number.
    assert list(encounter.connection.exported) == [encounter.ours.root]
    assert same([[5], {}], encounter.called_by_twisted(args[2], "echo", 5))


def test_pending_calls_of_twisted_end_with_the_connection() -> None:
    encounter = Encounter(Role.SERVER)
    (root,) = encounter.root
    results: list[Any] = []
    call: Callable[..., Deferred[Any]] = root.callRemote
    call("echo").addErrback(results.append)
    encounter.end()
    assert results[0].check(twisted_pb.PBConnectionLost)


@pytest.mark.parametrize("command", [b"nonsense", b"didNotUnderstand"])
def test_a_violation_of_ours_is_one_for_twisted(command: bytes) -> None:
    """The broker that the other tests talk to does complain."""
    encounter = Encounter(Role.CLIENT)
    with pytest.raises(Exception, match=r"Banana|positional argument"):
        encounter.broker.dataReceived(encode([command], vocabulary=True, limits=Limits()))


# -- login


class Avatar(twisted_pb.Avatar):  # type: ignore[misc]  # Any
    def __init__(self, name: bytes, mind: Any) -> None:
        self.name = name
        self.mind = mind
        self.logged_out = 0

    def perspective_whoami(self, suffix: str) -> Any:
        return [self.name, suffix]

    def perspective_poke(self, value: Any) -> Any:
        return self.mind.callRemote("echo", value)

    def logout(self) -> None:
        self.logged_out += 1
        self.mind = None


class Realm:
    """Gives out avatars and remembers them."""

    def __init__(self) -> None:
        self.avatars: list[Avatar] = []

    def requestAvatar(self, name: bytes, mind: Any, *interfaces: Any) -> Any:
        assert interfaces == (twisted_pb.IPerspective,)
        avatar = Avatar(name, mind)
        self.avatars.append(avatar)
        return twisted_pb.IPerspective, avatar, avatar.logout


class Visit(Encounter):
    """A client of ours at a login server of Twisted."""

    def __init__(self, users: dict[bytes, bytes]) -> None:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name, password in users.items():
            checker.addUser(name, password)
        self.realm = Realm()
        super().__init__(Role.CLIENT, twisted_pb.PBServerFactory(Portal(self.realm, [checker])))
        self.mind = Local("mind")
        self.ours.objects.add(self.mind)

    def log_in(self, name: bytes, password: bytes, mind: Local | None) -> LoggedIn | LoginRefused:
        login = ClientLogin(self.connection, name, password, mind)
        while True:
            self.pump()
            ((_, event),) = self.ours.ended.items()
            self.ours.ended.clear()
            assert login.concerns(event)
            outcome = login.handle(event)
            if outcome is not None:
                return outcome


USER_NAMES: Final = st.one_of(st.sampled_from([b"alice", b"password", b"list", b""]), st.binary(max_size=8))


@given(USER_NAMES, st.binary(max_size=80), st.booleans())
@settings(max_examples=40, deadline=None)
def test_login_accepted(name: bytes, password: bytes, with_mind: bool) -> None:
    visit = Visit({name: password, b"somebody else": b"x"})
    outcome = visit.log_in(name, password, visit.mind if with_mind else None)
    assert isinstance(outcome, LoggedIn)
    (avatar,) = visit.realm.avatars
    result = visit.call(outcome.avatar, "whoami", "!")
    assert isinstance(result, Answered)
    assert result.value == [name, "!"]
    if with_mind:
        result = visit.call(outcome.avatar, "poke", [1])
        assert isinstance(result, Answered)
        assert result.value == [[[1]], {}]
        assert visit.connection.exported == {visit.mind: 1}
    # The challenger is gone, the avatar is what is left.
    assert list(visit.their_counts().values()) == [1]
    visit.connection.release(outcome.avatar)
    visit.pump()
    assert avatar.logged_out == 1
    assert visit.their_counts() == {}
    visit.end()
    assert avatar.logged_out == 1


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"alice", b"wrong"), (b"alice", b""), (b"bob", b"sesame"), (b"", b""), (b"Alice", b"sesame")],
)
def test_login_refused(name: bytes, password: bytes) -> None:
    visit = Visit({b"alice": b"sesame"})
    outcome = visit.log_in(name, password, visit.mind)
    assert isinstance(outcome, LoginRefused)
    assert outcome.unauthorized
    assert visit.realm.avatars == []
    # The connection can be used for another attempt.
    assert isinstance(visit.log_in(b"alice", b"sesame", visit.mind), LoggedIn)


def test_logout_at_the_end_of_the_connection() -> None:
    visit = Visit({b"alice": b"sesame"})
    assert isinstance(visit.log_in(b"alice", b"sesame", visit.mind), LoggedIn)
    visit.end()
    assert [avatar.logged_out for avatar in visit.realm.avatars] == [1]


class Guest(Encounter):
    """A client of Twisted at a login server of ours, which knows one user, and guests."""

    USERS: Final = {"alice": b"sesame", "jos\xe9": "pa\xdfw\xf6rd".encode()}

    def __init__(self) -> None:
        self.factory = twisted_pb.PBClientFactory()
        super().__init__(Role.SERVER, self.factory)
        self.perspective = Local("perspective")
        self.ours.objects.add(self.perspective)
        (root,) = [local for local in self.ours.objects if local.label == "root"]
        self.login = ServerLogin(self.connection, root, b"random")
        self.minds: list[Remote | None] = []
        handle = self.ours.handle
        self.ours.handle = lambda event: self.on_event(event, handle)  # type: ignore[method-assign]

    def on_event(self, event: Event, handle: Callable[[Event], None]) -> None:
        if not (isinstance(event, Call) and self.login.concerns(event)):
            handle(event)
            return
        credentials = self.login.handle(event)
        if credentials is None:
            return
        self.minds.append(credentials.mind)
        known = credentials.name is None or self.login.check(self.USERS.get(credentials.name))
        if known:
            self.login.accept(self.perspective)
        else:
            self.login.refuse(Failure(UNAUTHORIZED, ""))

    def log_in(self, credentials: Any, mind: Any = None) -> Any:
        results: list[Any] = []
        self.factory.login(credentials, mind).addBoth(results.append)
        self.pump()
        (result,) = results
        return result


@pytest.mark.parametrize("name", Guest.USERS)
@pytest.mark.parametrize("with_mind", [False, True])
def test_twisteds_client_logs_in_at_our_server(name: str, with_mind: bool) -> None:
    guest = Guest()
    mind = Program() if with_mind else None
    avatar = guest.log_in(UsernamePassword(name.encode(), Guest.USERS[name]), mind)
    assert isinstance(avatar, twisted_pb.RemoteReference)
    assert guest.login.state is ServerLoginState.IN
    assert guest.login.name == name
    assert isinstance(guest.minds[0], Remote) is with_mind
    assert same([[1], {}], guest.called_by_twisted(avatar, "echo", 1))
    # The challenger is gone, the perspective is what is left.
    assert guest.connection.exported == {guest.perspective: 1}


@pytest.mark.parametrize(("name", "password"), [(b"alice", b"wrong"), (b"bob", b"sesame"), (b"", b""), (b"\xff", b"")])
def test_twisteds_client_is_refused_and_may_try_again(name: bytes, password: bytes) -> None:
    guest = Guest()
    failure = guest.log_in(UsernamePassword(name, password), Program())
    assert failure.check(UNAUTHORIZED)
    # Its mind was given back.
    assert guest.their_counts() == {}
    assert isinstance(guest.log_in(UsernamePassword(b"alice", b"sesame")), twisted_pb.RemoteReference)


def test_twisteds_client_comes_without_a_name() -> None:
    guest = Guest()
    assert isinstance(guest.log_in(Anonymous()), twisted_pb.RemoteReference)
    assert guest.login.name is None
    assert guest.login.state is ServerLoginState.IN
