"""One connection to the master, from the first byte to the last: negotiation, login, and who calls whom.

Source: manual page, section "Connection"; `pbmanager.py` of Buildbot 0.8.4p1, `twisted/spread/pb.py` and
`twisted/cred` for the login.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

import attrs

from slaveproto.effects import CloseConnection
from slaveproto.errors import CommandError, LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.machine import Machine
from slaveproto.master.config import Account
from slaveproto.master.context import MasterContext
from slaveproto.master.events import Accepted, LoginFailed, MasterNotice
from slaveproto.master.output import UnreadBytes
from slaveproto.master.states import PEER, PeerEvent
from slaveproto.master.states import PeerState as VisitState
from slaveproto.updates import Dialect
from slaveproto.wire.banana import NEED_DATA
from slaveproto.wire.connection import Connection, Role
from slaveproto.wire.events import (
    Answered,
    Call,
    CallLost,
    Closed,
    Event,
    Failed,
    NotUnderstood,
    Opened,
    Refused,
    Released,
)
from slaveproto.wire.login import UNAUTHORIZED, digest
from slaveproto.wire.serving import Servant, no_such_method, parameters
from slaveproto.wire.values import Failure, Local, Remote, Value

STRANGER: Final = Limits(
    string=64 * 1024,
    elements=1000,
    depth=16,
    message=128 * 1024,
    message_elements=2000,
    calls=10,
    references=20,
    unsent=256 * 1024,
)
"""What somebody who has not logged in can make us hold."""

HIGH_WATER: Final = 1024 * 1024
"""Bytes that a connection may have brought and nobody has taken, before it is left unread."""

MOST_TRIES: Final = 10
"""Logins that somebody may try over one connection."""

MOST_REFUSED: Final = 100
"""Calls of one connection that may fail because they make no sense, before it is closed."""

LOGIN: Final = "login"
INVALID_OBJECT: Final = "Invalid Object ID"

LONGEST_NAME: Final = 1000
"""Characters of a user name that are looked at."""

# Every connection has the same, and serves them by itself.
_ROOT: Final = Local("root")
_CHALLENGER: Final = Local("challenger")

Continuation: TypeAlias = Callable[["Value | Failure", float], None]


@attrs.frozen
class _Pending:
    """A call of ours that waits for its answer; what it means is told by `Peer.call`."""

    method: str
    then: Continuation | None
    timeout: float | None
    busy: Callable[[float], None] | None
    keep: bool


class Host(Protocol):
    """What a visit needs of the session."""

    def log_in(self, visit: Peer, name: str, now: float) -> None:
        """Somebody responded to the challenge; call `check` with the account, now or later."""

    def left(self, visit: Peer, why: str, now: float) -> None:
        """The visit is over."""


class Peer:
    """One connection.

    Args:
        accepted: who came.
        realm: the surroundings.
        host: the session.
        trusted: the limits after the login.
        timeout: seconds until the login has to be done.
        now: the time.
    """

    # A master has thousands.
    __slots__ = (
        "_challenge", "_challenges", "_given", "_host", "_leaving", "_login", "_login_until", "_machine", "_pending",
        "_perspective", "_realm", "_refused", "_response", "_serving", "_timeout", "_trusted", "connection", "dialect",
        "last_heard", "mind", "name", "number", "peer", "questions", "slave", "unread",
    )  # fmt: skip

    def __init__(
        self, accepted: Accepted, realm: MasterContext, host: Host, trusted: Limits, timeout: float, now: float
    ) -> None:
        self.number = accepted.connection
        self.peer = accepted.peer
        self.name: str | None = None
        """The user name: as the peer said it, from the login on as the account has it."""
        self.slave: str | None = None
        """The same, once it is a slave."""
        self.mind: Remote | None = None
        self.dialect = Dialect.TEXT
        self.unread = UnreadBytes()
        self.last_heard = now
        self._challenge = accepted.challenge
        self._challenges = 0
        self._realm = realm
        self._host = host
        self._trusted = trusted
        self._timeout = timeout
        self._login_until = now + timeout
        self._machine = Machine(PEER)
        if accepted.secure:
            self._machine.fire(PeerEvent.SECURED)
        self._given = b""
        self._response = b""
        self._login: int | None = None
        self._refused = 0
        self._serving: dict[Local, Servant] = {_ROOT: _Root(self), _CHALLENGER: _Challenger(self)}
        self.questions: dict[int, None] = {}
        """Calls of the peer that the program has not answered yet."""
        self._pending: dict[int, _Pending] = {}
        self._perspective: Local | None = None
        self._leaving = False
        self.connection = Connection(Role.SERVER, root=_ROOT, limits=STRANGER)
        self.touch()
        realm.timers.set((self.number, LOGIN), self._login_until)

    @property
    def state(self) -> VisitState:
        """Where the visit is."""
        return self._machine.state

    @property
    def gone(self) -> bool:
        """Whether it is over."""
        return self._machine.state is VisitState.GONE

    @property
    def paused(self) -> bool:
        """Whether the connection should be left unread."""
        return self.unread.size > HIGH_WATER

    def touch(self) -> None:
        """There may be something to send."""
        self._realm.touched[self.number] = None

    def data_to_send(self) -> bytes:
        """Return bytes for the peer and forget them."""
        if self._machine.state is VisitState.SECURING:
            return b""
        return self.connection.data_to_send()

    # -- what comes in

    def secured(self) -> None:
        """The handshake is done, and the greeting can go out.

        Raises:
            LocalProtocolError: there was none.
        """
        try:
            self._machine.fire(PeerEvent.SECURED)
        except LocalProtocolError as error:
            raise LocalProtocolError(f"no handshake of connection {self.number} is under way") from error
        self.touch()

    def received(self, data: bytes, now: float) -> None:
        """Take bytes.

        Raises:
            LocalProtocolError: the handshake is not done.
        """
        if self._machine.state is VisitState.SECURING:
            raise LocalProtocolError(f"the handshake of connection {self.number} is under way")
        self.last_heard = now
        self.touch()
        self.connection.receive_data(data)
        try:
            # What an event leads to may end the visit, and with it the reading.
            while not self.gone:
                event = self.connection.next_event()
                if event is NEED_DATA:
                    break
                self._on_event(event, now)
        except RemoteProtocolError as error:
            self.end(f"broke the protocol: {error}", now)

    def _on_event(self, event: Event, now: float) -> None:
        match event:
            case Opened():
                self._machine.fire(PeerEvent.OPENED)
            case Call():
                self._on_call(event, now)
            case Answered() | Failed():
                pending = self._pending.pop(event.id)
                if not self._pending:
                    # A dictionary that is emptied otherwise stays as large as it was.
                    self._pending.clear()
                self._realm.timers.cancel((self.number, event.id))
                outcome: Value | Failure = event.failure if isinstance(event, Failed) else event.value
                if pending.then is not None:
                    pending.then(outcome, now)
                if isinstance(event, Answered) and not pending.keep:
                    self.drop(event.remotes)
            case Refused():
                # Nobody who speaks this protocol calls an object that he was not given.
                if event.failure.message == INVALID_OBJECT:
                    raise RemoteProtocolError(f"called {event.method!r} of an object that it was not given")
                self._count_refusal(f"refused a call of {event.method!r}: {event.failure.message}")
            case NotUnderstood():
                who = "we do not understand its" if event.ours else "it does not understand our"
                self._count_refusal(f"{who} message {event.command!r}")
            case Released():
                self._serving.pop(event.local, None)
                if event.local is self._perspective:
                    self._leaving = True
                    self.leave_if_done(now)
            case CallLost() | Closed():
                pass

    def _on_call(self, call: Call, now: float) -> None:
        servant = self._serving.get(call.target)
        try:
            if servant is None:
                raise no_such_method(call)
            servant.handle(self.connection, call, now)
        except CommandError as error:
            self.connection.fail(call.id, Failure(error.kind, str(error)[:1000]))
            self._count_refusal(f"a call of {call.method[:200]!r} failed: {error}")
            self.drop(call.remotes)
            return
        except RemoteProtocolError as error:
            # It is told before the connection ends; for a slave that may be all that it can log.
            if self.connection.is_open:
                self.connection.fail(call.id, Failure("twisted.spread.pb.Error", str(error)[:1000]))
            raise
        self.drop(call.remotes)

    def _count_refusal(self, text: str) -> None:
        self._refused += 1
        if self._refused > MOST_REFUSED:
            raise RemoteProtocolError(f"more than {MOST_REFUSED} calls that make no sense")
        self.notice(text)

    def expired(self, what: str | int, now: float) -> None:
        """A deadline of this connection has come."""
        if what == LOGIN:
            if self._machine.state is VisitState.SECURING:
                self.end(f"TLS: no handshake within {self._timeout:g} s", now)
            else:
                self.end(f"did not log in within {self._timeout:g} s", now)
        elif isinstance(what, int) and what in self._pending:
            pending = self._pending[what]
            assert pending.timeout is not None
            # Whoever is not read, or has just said something, is not silent.
            heard = now if self.paused else self.last_heard
            if heard + pending.timeout <= now:
                self.end(f"did not answer {pending.method} within {pending.timeout:g} s", now)
            elif pending.busy is not None:
                pending.busy(now)
            else:
                self._realm.timers.set((self.number, what), heard + pending.timeout)

    # -- what goes out

    def call(
        self,
        target: Remote,
        method: str,
        args: Sequence[Value],
        *,
        then: Continuation | None,
        timeout: float | None = None,
        busy: Callable[[float], None] | None = None,
        keep: bool = False,
    ) -> None:
        """Call the peer.

        Args:
            target: its object.
            method: the name.
            args: the arguments.
            then: gets the answer.
            timeout: seconds after which a peer that has said nothing is taken for dead. One that has said something
                gets as many seconds from there.
            busy: is called once instead, when a peer has not answered in time but has said something.
            keep: whether `then` sees to the objects in the answer; else they are given back.

        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        number = self.connection.call(target, method, args)
        self.touch()
        self._pending[number] = _Pending(method, then, timeout, busy, keep)
        if timeout is not None:
            self._realm.timers.set((self.number, number), self._realm.now + timeout)

    def serve(self, local: Local, servant: Servant) -> None:
        """Let the peer call an object that it is about to be given."""
        self._serving[local] = servant

    def release(self, remote: Remote) -> None:
        """Give an object of the peer's back, unless that is done."""
        if self.connection.owns(remote):
            self.connection.release(remote)
            self.touch()

    def drop(self, remotes: Iterable[Remote]) -> None:
        """Give back objects of the peer's that nobody keeps."""
        for remote in remotes:
            if remote is not self.mind:
                self.release(remote)

    def notice(self, text: str) -> None:
        """Say something about this peer."""
        self._realm.announce(MasterNotice(f"{self.peer}: {text}", self.slave))

    # -- the login

    def challenge(self, call: Call) -> None:
        """Answer `login`: anybody gets a challenge."""
        (name,) = parameters(call, "username")
        if not isinstance(name, (bytes, str)):
            raise CommandError("builtins.TypeError", "the user name is a string")
        self._try(PeerEvent.LOGIN)
        name = name[: 4 * LONGEST_NAME]
        text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
        self.name = text[:LONGEST_NAME]
        seed = self._challenge + self._challenges.to_bytes(4, "big")
        self._given = hashlib.sha256(seed).digest()[:16]
        self._serving[_CHALLENGER] = _Challenger(self)
        self.connection.answer(call.id, (self._given, _CHALLENGER))

    def respond(self, call: Call, now: float) -> None:
        """Take the response; who it is, is looked up before it is looked at."""
        response, mind = parameters(call, "response", "mind")
        self._machine.fire(PeerEvent.RESPOND)
        # From here on it waits for us.
        self._realm.timers.cancel((self.number, LOGIN))
        self._login = call.id
        self.mind = mind if isinstance(mind, Remote) else None
        self._response = response if isinstance(response, bytes) else b""
        self._host.log_in(self, self.name or "", now)

    def check(self, account: Account | None) -> bool:
        """Whether the response is that of the account; takes as long without one."""
        password = (account.password if account is not None else "").encode("utf-8", "surrogateescape")
        right = hmac.compare_digest(digest(password, self._given), self._response)
        return right and account is not None

    def refuse(self, why: str, *, kind: str = UNAUTHORIZED, message: str = "") -> None:
        """Answer the login with a failure; the connection may try again until its time is over."""
        self._machine.fire(PeerEvent.REFUSE)
        self._report(why, credentials=kind == UNAUTHORIZED)
        self._realm.timers.set((self.number, LOGIN), self._login_until)
        self._answer_login(Failure(kind, message))
        if self.mind is not None:
            mind, self.mind = self.mind, None
            self.release(mind)

    def _answer_login(self, outcome: Value | Failure) -> None:
        call, self._login = self._login, None
        if call is not None:
            self.touch()
            if isinstance(outcome, Failure):
                self.connection.fail(call, outcome)
            else:
                self.connection.answer(call, outcome)

    def contend(self) -> None:
        """Somebody of that name is here already."""
        self._machine.fire(PeerEvent.CONTEND)

    def attach(self) -> None:
        """It is a slave, and may be called from now on."""
        self._machine.fire(PeerEvent.ATTACH)
        self.slave = self.name
        self.connection.set_limits(self._trusted)

    def admit(self, label: str, avatar: Servant) -> None:
        """Answer the login with a perspective."""
        self._machine.fire(PeerEvent.ADMIT)
        self.connection.set_limits(self._trusted)
        self._perspective = Local(label)
        self._serving[self._perspective] = avatar
        self._answer_login(self._perspective)

    def refuse_anonymous(self, call: Call) -> None:
        """Nobody is let in without a name."""
        self._try(PeerEvent.ANONYMOUS)
        self._report("anonymous logins are not allowed", credentials=True)
        text = "No checker for twisted.cred.credentials.IAnonymous"
        self.connection.fail(call.id, Failure("twisted.cred.error.UnhandledCredentials", text))

    def _try(self, how: PeerEvent) -> None:
        self._machine.fire(how)
        self._challenges += 1
        if self._challenges > MOST_TRIES:
            raise RemoteProtocolError(f"tried to log in more than {MOST_TRIES} times")

    def leave_if_done(self, now: float) -> None:
        """End the visit of somebody who gave his perspective back, once he has all his answers."""
        if self._leaving and not self.questions:
            self.end("logged out", now)

    def _report(self, why: str, *, credentials: bool = False) -> None:
        self._realm.announce(LoginFailed(self.number, self.peer, self.name, why, credentials))

    # -- the end

    def end(self, why: str, now: float, *, closed: bool = False) -> None:
        """End the visit. `closed` tells that the connection is not there any more."""
        if self.gone:
            return
        unknown = self.state not in (VisitState.ADMITTED, VisitState.REFUSED)
        last = self.data_to_send()
        self._machine.fire(PeerEvent.END)
        self.connection.close()
        if not closed:
            self._realm.tell(CloseConnection(self.number, last))
        for number in self._pending:
            self._realm.timers.cancel((self.number, number))
        self._pending.clear()
        self._serving.clear()
        self._realm.timers.cancel((self.number, LOGIN))
        if unknown:
            self._report(why)
        self._host.left(self, why, now)


class _Root:
    """What is published: the way in."""

    __slots__ = ("_visit",)

    def __init__(self, visit: Peer) -> None:
        self._visit = visit

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        match call.method:
            case "login":
                self._visit.challenge(call)
            case "loginAnonymous":
                self._visit.refuse_anonymous(call)
            case _:
                raise no_such_method(call)


class _Challenger:
    """Takes the response to a challenge. It lives on for the call that it serves, though the peer drops it at once."""

    __slots__ = ("_visit",)

    def __init__(self, visit: Peer) -> None:
        self._visit = visit

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        if call.method != "respond":
            raise no_such_method(call)
        self._visit.respond(call, now)
