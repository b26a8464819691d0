"""The service that stood behind the recorded transcripts, on top of `Connection`.

Methods have the names of the recorded service. What Twisted puts into failures on its own account, such as the text of
a `TypeError`, comes from Python here as there.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, TypeAlias

import attrs

from slaveproto.errors import LocalProtocolError
from slaveproto.wire import (
    Answered,
    Call,
    Connection,
    Copied,
    Event,
    Failed,
    Failure,
    Local,
    Released,
    Remote,
    Value,
    digest,
    remotes_in,
)

USERS: Final = {
    b"alice": b"sesame",
    "josé".encode(): "paßwörd".encode(),
    b"empty": b"",
    b"password": b"list",
    b"denied": b"x",
    b"crash": b"x",
}
UNAUTHORIZED: Final = Failure("twisted.cred.error.UnauthorizedLogin", "")


@attrs.frozen
class Raised(Exception):
    """A method failed in the way that it was written to fail."""

    failure: Failure


class Later:
    """The method answers in its own time."""


LATER: Final = Later()
Result: TypeAlias = "Value | Later"


def raised(kind: str, message: str) -> Raised:
    return Raised(Failure(kind, message))


class Service:
    """Answers the calls that arrive at one server.

    Args:
        connection: the server's connection.
        old: whether strings that a program writes plainly are bytes, as in Python 2.
        portal: None for the plain service; else a login server that takes passwords and maybe "anonymous".
        challenges: what `login` gives out.
    """

    def __init__(
        self,
        connection: Connection,
        root: Local,
        *,
        old: bool,
        portal: str | None = None,
        challenges: Iterator[bytes] = iter(()),  # noqa: B008  empty for ever
    ) -> None:
        self.connection = connection
        self.old = old
        self.challenges = challenges
        self.targets: dict[Local, Any] = {}
        self.kept: list[Remote] = []
        # What came with a call that failed hangs in its traceback until the garbage collector runs.
        self.stuck: list[Remote] = []
        self.pending: list[tuple[float, int, Value]] = []
        self.relayed: dict[int, int] = {}
        self.shared = self.object("counter", Counter())
        self.targets[root] = Root(self) if portal is None else Portal(self, anonymous=portal == "anonymous")

    def native(self, text: str) -> bytes | str:
        """Return a string as the program of that Python would have written it."""
        return text.encode() if self.old else text

    def object(self, label: str, methods: Any) -> Local:
        """Return a new object with these methods."""
        local = Local(label)
        self.targets[local] = methods
        return local

    def handle(self, event: Event) -> None:
        """Take one event of the connection."""
        if isinstance(event, Call):
            self._call(event)
        elif isinstance(event, Answered):
            if event.id in self.relayed:
                self.connection.answer(self.relayed.pop(event.id), event.value)
        elif isinstance(event, Released):
            self.targets[event.local]._released()
        elif isinstance(event, Failed):
            self.connection.fail(self.relayed.pop(event.id), event.failure)

    def advance(self) -> bool:
        """Let the time pass until the next answer is due; return whether there was one."""
        if not self.pending:
            return False
        self.pending.sort(key=lambda entry: entry[0])
        _, number, value = self.pending.pop(0)
        self._answer(number, value)
        return True

    def _call(self, call: Call) -> None:
        came = list(remotes_in(*call.args, *call.kwargs.values()))
        methods = self.targets[call.target]
        method = getattr(methods, call.method, None) if call.method.isidentifier() else None
        self.call = call
        try:
            if method is None or call.method.startswith("_"):
                raise methods._unknown(call.method)
            result: Result = method(*call.args, **call.kwargs)
        except (Raised, TypeError) as error:
            self.stuck += came
            failure = error.failure if isinstance(error, Raised) else Failure("builtins.TypeError", str(error))
            self.connection.fail(call.id, failure)
            return
        going_home = set() if isinstance(result, Later) else set(remotes_in(result))
        for remote in came:
            if remote not in going_home and remote not in self.kept and self.connection.owns(remote):
                self.connection.release(remote)
        if not isinstance(result, Later):
            self._answer(call.id, result)
        for remote in going_home:
            self.connection.release(remote)

    def _answer(self, number: int, value: Value) -> None:
        try:
            self.connection.answer(number, value)
        except LocalProtocolError as error:
            self.connection.fail(number, Failure("twisted.spread.pb.Error", str(error)))

    def relay(self, target: Value, method: str, args: tuple[Value, ...], kwargs: dict[str, Value]) -> Later:
        """Call the peer, give its object back and answer with what comes of it."""
        assert isinstance(target, Remote)
        self.relayed[self.connection.call(target, method, args, kwargs)] = self.call.id
        return LATER


class Methods:
    """What can be called on one object."""

    def _unknown(self, name: str) -> Raised:
        return raised("twisted.spread.flavors.NoSuchMethod", f"No such method: remote_{name}")

    def _released(self) -> None:
        """The peer holds the object no more."""


class Counter(Methods):
    def __init__(self) -> None:
        self._n = 0

    def inc(self, by: int = 1) -> Value:
        self._n += by
        return self._n


class View(Methods):
    def __init__(self, owner: Value) -> None:
        self._owner = owner

    def who(self, *args: Value, **kwargs: Value) -> Value:
        return [self._owner, list(args), dict(kwargs.items())]

    def _unknown(self, name: str) -> Raised:
        return raised("builtins.AttributeError", f"'View' object has no attribute 'view_{name}'")


class Root(Methods):
    """The root object of the service, and of the portal."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._view = service.object("view", View(None))

    # -- values

    def none(self) -> Value:
        return None

    def one(self, x: Value) -> Value:
        return x

    def echo(self, x: Value) -> Value:
        return x

    def echo_all(self, *args: Value, **kwargs: Value) -> Value:
        return [list(args), dict(kwargs.items())]

    def note(self, *args: Value) -> Value:
        return 5

    def is_none(self, *args: Value) -> Value:
        return [x is None for x in args]

    def gc(self) -> Value:
        for remote in self._service.stuck:
            self._service.connection.release(remote)
        return 0

    def values(self) -> Value:
        return [
            datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
            datetime.date(2026, 1, 2),
            datetime.time(1, 2, 3, 4),
            datetime.timedelta(1, 2, 3),
            Decimal("1.5"),
            {1},
            frozenset({2}),
        ]

    def point(self) -> Value:
        return self._point(3, "y")

    def two_points(self) -> Value:
        point = self._point(1, 2)
        return [point, point]

    def _point(self, x: Value, y: Value) -> Copied:
        native = self._service.native
        # Python 2 happens to iterate over this dictionary backwards.
        state: list[tuple[Value, Value]] = [(native("x"), x), (native("y"), y)]
        return Copied(b"vectors.Point", dict(state[::-1] if self._service.old else state))

    def takes_point(self, point: Value) -> Value:
        assert isinstance(point, Copied)
        if not isinstance(point.state, dict):
            kind = "TypeError" if self._service.old else "AttributeError"
            raise raised(f"builtins.{kind}", "the state is no dictionary")
        x = point.state.get("x", point.state.get(b"x"))
        return [self._service.native("RemotePoint"), x]

    def object(self) -> Value:
        return object()  # type: ignore[return-value]

    def function(self) -> Value:
        return len  # type: ignore[return-value]

    def unknown_copy(self) -> Value:
        return Copied(b"vectors.Unknown", {})

    # -- references

    def new(self) -> Value:
        return self._service.object("counter", Counter())

    def same(self) -> Value:
        return self._service.shared

    def same_twice(self) -> Value:
        return [self._service.shared, self._service.shared]

    def is_shared(self, x: Value) -> Value:
        return x is self._service.shared

    def hold(self, *refs: Remote) -> Value:
        self._service.kept += refs
        return len(self._service.kept)

    def release(self) -> Value:
        for remote in self._service.kept:
            self._service.connection.release(remote)
        self._service.kept.clear()
        return None

    def view(self) -> Value:
        return self._view

    def call_me(self, ref: Value, *args: Value, **kwargs: Value) -> Result:
        return self._service.relay(ref, "poke", args, kwargs)

    def call_method(self, ref: Value, name: Value) -> Result:
        return self._service.relay(ref, name.decode() if isinstance(name, bytes) else str(name), (), {})

    def call_me_no_answer(self, ref: Remote) -> Value:
        self._service.connection.call(ref, "poke", (1,), wants_answer=False)
        return None

    def stats(self) -> Value:
        connection = self._service.connection
        exports: list[Value] = [[export.luid, export.count] for export in connection._exports.by_luid.values()]
        root: list[Value] = [["name:root", 1]]
        # Python 2 happens to iterate over numbers before names.
        counts: list[Value] = [*exports, *root] if self._service.old else [*root, *exports]
        return [counts, connection._exports.last, len(connection._waiting), connection._last_call]

    # -- time

    def later(self, seconds: float, value: Value) -> Result:
        self._service.pending.append((seconds, self._service.call.id, value))
        return LATER

    def big_later(self, size: int) -> Result:
        return self.later(0.02, b"x" * size)

    def page(self, collector: Remote, data: bytes, size: int) -> Result:
        connection = self._service.connection
        self._service.kept.append(collector)
        wants_answer = self._service.old
        pages = [data[n : n + size] for n in range(0, len(data), size)]
        connection.call(collector, "gotPage", (pages[0],), wants_answer=wants_answer)
        connection.answer(self._service.call.id, None)
        for page in pages[1:]:
            connection.call(collector, "gotPage", (page,), wants_answer=wants_answer)
        connection.call(collector, "endedPaging", wants_answer=wants_answer)
        connection.release(collector)
        return LATER

    def drop(self) -> Result:
        self._service.pending.clear()
        self._service.connection.close()
        return LATER

    def drop_after_answer(self) -> Result:
        self._service.connection.answer(self._service.call.id, "bye")
        self._service.connection.close()
        return LATER

    # -- failures

    def boom(self) -> Value:
        raise raised("builtins.ValueError", "unexpected")

    def boom_text(self) -> Value:
        raise raised("builtins.ValueError", "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{EURO SIGN}")

    def boom_utf8(self) -> Value:
        message = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve"
        raise raised("builtins.ValueError", message if self._service.old else repr(message.encode()))

    def boom_big(self) -> Value:
        raise raised("builtins.ValueError", "too big")

    def deferred_boom(self) -> Value:
        raise raised("builtins.ValueError", "unexpected later")

    def inline_boom(self) -> Value:
        raise raised("builtins.ValueError", "after a yield")

    def pberror(self) -> Value:
        raise raised("twisted.spread.pb.Error", "expected problem")

    def pberror_sub(self) -> Value:
        raise raised("peer_common.ExpectedError", "('expected sub', 7)")


class Portal(Methods):
    """The root object of a login server."""

    def __init__(self, service: Service, *, anonymous: bool) -> None:
        self._service = service
        self._anonymous = anonymous

    def login(self, username: Value) -> Value:
        challenge = next(self._service.challenges)
        challenger = self._service.object("challenger", Challenger(self._service, username, challenge))
        return (challenge, challenger)

    def loginAnonymous(self, mind: Value) -> Value:
        if not self._anonymous:
            raise raised(
                "twisted.cred.error.UnhandledCredentials",
                "No checker for twisted.cred.credentials.IAnonymous",
            )
        return self._service.object("avatar", Avatar(self._service, "anonymous", mind))


class Challenger(Methods):
    def __init__(self, service: Service, user: Value, challenge: bytes) -> None:
        self._service = service
        self._user = user
        self._challenge = challenge

    def respond(self, response: Value, mind: Value) -> Value:
        user = self._user
        if isinstance(user, str) and self._service.old:
            user = user.encode()
        hash(user)
        if not isinstance(user, bytes) or response != digest(USERS.get(user, b"?"), self._challenge):
            raise Raised(UNAUTHORIZED)
        if user == b"denied":
            raise raised("twisted.cred.error.LoginDenied", "realm refuses")
        if user == b"crash":
            raise raised("builtins.KeyError", "'realm crashed'")
        if isinstance(mind, Remote):
            self._service.kept.append(mind)
        return self._service.object("avatar", Avatar(self._service, user, mind))


class Avatar(Methods):
    """What a user calls."""

    def __init__(self, service: Service, name: bytes | str, mind: Value) -> None:
        self._service = service
        self._name = name
        self._mind = mind
        self._view = service.object("view", View(name))

    def whoami(self) -> Value:
        return self._name

    def args(self, *args: Value) -> Value:
        return list(args)

    def kw(self, **kwargs: Value) -> Value:
        return dict(kwargs.items())

    def view(self) -> Value:
        return self._view

    def poke_mind(self, *args: Value) -> Result:
        return self._service.relay(self._mind, "poke", args, {})

    def me(self) -> Value:
        return self  # type: ignore[return-value]

    def mind_type(self) -> Value:
        native = {int: "int", str: "str", type(None): "NoneType"}
        return self._service.native(native.get(type(self._mind), type(self._mind).__name__))

    def _released(self) -> None:
        if isinstance(self._mind, Remote):
            self._service.connection.release(self._mind)

    def _unknown(self, name: str) -> Raised:
        return raised("builtins.AttributeError", f"'Avatar' object has no attribute 'perspective_{name}'")
