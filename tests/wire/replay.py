"""Replays one side of a recorded conversation through `Connection`: the peer's expressions are fed, ours are made.

What the recorded side sent is translated into calls of the API with the same values; the bytes that the connection
then wants to send have to be the recorded ones, expression for expression.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from slaveproto.errors import LocalProtocolError, RemoteProtocolError, UnreadableValue
from slaveproto.limits import Limits
from slaveproto.wire import (
    NEED_DATA,
    Answered,
    Call,
    Connection,
    Event,
    Failure,
    Local,
    Refused,
    Remote,
    Role,
    Value,
    remotes_in,
)
from slaveproto.wire.banana import Decoder, Expression, encode
from slaveproto.wire.jelly import Unjellier
from slaveproto.wire.values import FAILURE_TAG
from tests.wire.support import as_failure, same_bits

TAGS: Final = frozenset({b"vectors.Point", b"vectors.JellyError"})

FAILURE_FORM: Final = "the form of a failure"
KEYWORD_NAMES: Final = "keyword names are text"
WORDED_DIFFERENTLY: Final = {
    "builtins.TypeError",
    "builtins.AttributeError",
    "builtins.IndexError",
    "twisted.spread.jelly.InsecureJelly",
}
"""Even the two generations do not agree in the words of these failures."""

RELEASED_FIRST: Final = "released before it is sent home"


class CannotReplay(Exception):
    """The recorded side did something that the API does not offer, or that we refuse."""


def split(data: bytes, decoder: Decoder) -> list[Expression]:
    """Feed `data` and return the expressions that became complete."""
    decoder.feed(data)
    out: list[Expression] = []
    while (expression := decoder.next_expression()) is not NEED_DATA:
        out.append(expression)
    return out


class Replay:
    """One side of a conversation.

    `unlike` collects in which of the known ways our bytes were not the recorded ones; `events` everything that
    happened.

    Args:
        role: the side to replay.
        going_home: numbers of the peer's objects that this side sends home although it has released them before.
    """

    def __init__(self, role: Role, going_home: Iterable[int] = ()) -> None:
        self.root = Local("root")
        root = self.root if role is Role.SERVER else None
        self.connection = Connection(role, root=root, tags=TAGS)
        self.unlike: set[str] = set()
        self.going_home = frozenset(going_home)
        self.events: list[Event] = []
        self.violation: RemoteProtocolError | None = None
        self.sent: deque[Expression] = deque()
        self.matched = 0
        self._decoder = Decoder(Limits(), vocabulary=True)
        self.theirs: dict[int, Local] = {}
        self._held: defaultdict[int | bytes, list[Remote]] = defaultdict(list)
        self._late: list[int | bytes] = []
        self._calls: defaultdict[str, deque[int]] = defaultdict(deque)
        self._refused: set[str] = set()
        self._wire_ids: dict[int, str] = {}
        self._incoming = 0
        self._last_call = 0
        self._vocabulary = False
        self._collect()

    # -- their side

    def receive(self, expression: Expression) -> None:
        """Feed one expression of the peer."""
        is_message = isinstance(expression, list) and expression[:1] == [b"message"] and len(expression) == 7
        wire_id = ""
        if is_message or (isinstance(expression, list) and expression[:1] == [b"cachemessage"]):
            self._incoming += 1
            wire_id = repr(expression[1])  # type: ignore[index]
        self.connection.receive_data(encode(expression, vocabulary=self._vocabulary, limits=Limits(depth=900)))
        if expression == b"pb":
            self._vocabulary = True
        self._take(wire_id)

    def end(self) -> None:
        """Tell that the peer closed."""
        self.connection.receive_eof()
        self._take("")

    def _take(self, wire_id: str) -> None:
        while True:
            try:
                event = self.connection.next_event()
            except RemoteProtocolError as error:
                self.violation = error
                continue
            if event is NEED_DATA:
                break
            self.events.append(event)
            match event:
                case Call(args=args, kwargs=kwargs, wants_answer=wants_answer, id=number):
                    assert number == self._incoming
                    self._keep(*args, *kwargs.values())
                    if wants_answer:
                        self._calls[wire_id].append(number)
                    else:
                        before = self.connection.unsent
                        self.connection.answer(number, 5)
                        assert self.connection.unsent == before
                case Refused():
                    self._refused.add(wire_id)
                case Answered(value=value):
                    self._keep(value)
                case _:
                    pass
        self._collect()

    def _keep(self, *values: Value) -> None:
        for remote in remotes_in(*values):
            self._held[remote.luid].append(remote)

    def _collect(self) -> None:
        for expression in split(self.connection.data_to_send(), self._decoder):
            self.sent.append(expression)
            if expression == b"pb":
                self._vocabulary = True

    # -- our side

    def send(self, expression: Expression) -> None:
        """Make the connection send what was recorded, and compare."""
        if isinstance(expression, list) and expression:
            match expression:
                case [b"message", int() as number, luid, bytes() as method, wants_answer, args, kwargs]:
                    expression = self._call(number, luid, method, bool(wants_answer), args, kwargs)
                case [b"answer" | b"error" as command, wire_id, value]:
                    self._reply(command, repr(wire_id), value)
                case [b"decref", int() | bytes() as luid]:
                    if self._is_needed_later(luid):
                        return
                    self._release(luid)
                case _:
                    pass
        self._collect()
        if not self.sent:
            raise CannotReplay(f"nothing was sent instead of {expression!r:.200}")
        ours = self.sent.popleft()
        if not alike(ours, expression, self.unlike):
            raise CannotReplay(f"{ours!r:.300} instead of {expression!r:.300}")
        self.matched += 1
        while self._late and self._held[self._late[0]]:
            self._release(self._late.pop(0))
            self._collect()
            self.sent.pop()

    def _call(
        self, number: int, luid: Expression, method: bytes, wants_answer: bool, args: Expression, kwargs: Expression
    ) -> Expression:
        target = self.connection.root if luid == b"root" else self._remote(luid)
        while self._last_call + 1 < number:
            # Twisted uses up a number when sending fails.
            self._last_call = self.connection.call(target, "skipped", wants_answer=False)
            self.connection.data_to_send()
        positional, keywords = self._read(args), self._read(kwargs)
        if not isinstance(positional, tuple) or not isinstance(keywords, dict):
            raise CannotReplay("arguments are no tuple or no dictionary")
        names = {key.decode() if isinstance(key, bytes) else key: value for key, value in keywords.items()}
        if any(isinstance(key, bytes) for key in keywords):
            self.unlike.add(KEYWORD_NAMES)
            assert isinstance(kwargs, list)
            kwargs = [kwargs[0], *([[b"unicode", pair[0]], pair[1]] for pair in kwargs[1:] if isinstance(pair, list))]
        try:
            self._last_call = self.connection.call(
                target,
                method.decode(),
                positional,
                names,  # type: ignore[arg-type]
                wants_answer=wants_answer,
            )
        except LocalProtocolError as error:
            raise CannotReplay(str(error)) from None
        return [b"message", number, luid, method, int(wants_answer), args, kwargs]

    def _reply(self, command: bytes, wire_id: str, value: Expression) -> None:
        if wire_id in self._refused and command == b"error":
            self._refused.discard(wire_id)
            return
        if not self._calls[wire_id]:
            raise CannotReplay(f"no call has the number {wire_id}")
        content = self._read(value)
        number = self._calls[wire_id].popleft()
        if not self.connection.is_open:
            raise CannotReplay("the connection is over")
        if command == b"answer":
            self.connection.answer(number, content)
        elif isinstance(content, Failure):
            self.connection.fail(number, content)
        else:
            raise CannotReplay("an error that is no failure")

    def _release(self, luid: int | bytes) -> None:
        if not self._held[luid]:
            raise CannotReplay(f"{luid!r} is not held")
        self.connection.release(self._held[luid].pop(0))

    def _is_needed_later(self, luid: int | bytes) -> bool:
        if luid in self.going_home and len(self._held[luid]) == 1:
            self.unlike.add(RELEASED_FIRST)
            self._late.append(luid)
            return True
        return False

    # -- values of our side

    def _read(self, expression: Expression) -> Value:
        try:
            return Unjellier(self, TAGS).read(expression)
        except UnreadableValue as error:
            raise CannotReplay(f"{error.kind}: {error}") from None

    def remote(self, luid: int | bytes) -> Any:
        """What is remote for the peer is ours (for `Unjellier`)."""
        assert isinstance(luid, int)
        known = {local: number for number, local in self.theirs.items()}
        if luid not in self.theirs or self.theirs[luid] not in self.connection.exported:
            assert luid not in known.values(), "a dead number lives again"
            self.theirs[luid] = Local(f"object {luid}")
        return self.theirs[luid]

    def local(self, luid: int | bytes) -> Any:
        """What is local for the peer is theirs (for `Unjellier`)."""
        return self.connection.root if luid == b"root" else self._remote(luid)

    def _remote(self, luid: Expression) -> Remote:
        if not isinstance(luid, int) or not self._held[luid]:
            raise CannotReplay(f"object {luid!r} is not held")
        return self._held[luid][-1]


def alike(ours: Expression, recorded: Expression, unlike: set[str]) -> bool:
    """Whether two expressions are equal, or differ only in how a failure is put; then that is added to `unlike`."""
    if same_bits(ours) == same_bits(recorded):
        return True
    if not isinstance(ours, list) or not isinstance(recorded, list) or len(ours) != len(recorded):
        return False
    if ours[:1] == recorded[:1] == [FAILURE_TAG]:
        unlike.add(FAILURE_FORM)
        return _meaning(ours) == _meaning(recorded)
    return all(alike(mine, theirs, unlike) for mine, theirs in zip(ours, recorded, strict=True))


def _meaning(expression: Expression) -> tuple[str, str]:
    value = as_failure(expression)
    kind = value.kind.replace("exceptions.", "builtins.", 1)
    if kind in WORDED_DIFFERENTLY:
        return kind, ""
    message = value.message.encode("ascii", "backslashreplace").decode()
    # Twisted 26 prints the name of an atom as bytes.
    return kind, message.removeprefix("b'").removesuffix("'")


def homecomings(own: Iterable[Expression]) -> set[int]:
    """Return the numbers in `[local n]` that come after their `[decref n]` in what one side sent."""
    released: set[int] = set()
    found: set[int] = set()

    def walk(expression: Expression) -> None:
        match expression:
            case [b"local", int() as luid] if luid in released:
                found.add(luid)
            case list():
                for element in expression:
                    walk(element)

    for expression in own:
        match expression:
            case [b"decref", int() as luid]:
                released.add(luid)
            case [b"answer" | b"message", *rest]:
                walk(rest)
    return found


def challenges_in(sent: Iterable[Expression]) -> Iterator[bytes]:
    """Yield the challenges that a recorded login server gave out."""
    for expression in sent:
        match expression:
            case [b"answer", _, [b"tuple", bytes() as challenge, [b"remote", _]]]:
                yield challenge
