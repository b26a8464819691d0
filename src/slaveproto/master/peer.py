"""One connection to the master, from the first byte to the last: negotiation, login, and the calls of both sides.

Rules.

* The peer is a stranger until its login is accepted. Until then its limits are those of `STRANGER`, and its time is
  counted from the moment when it was accepted, however much it says.
* After the login, silence is counted from the last sign of life (`liveness`): on a slow link an answer may well wait
  behind a large message, and so may a question. A peer that is not read is not silent.
* `receive` takes bytes; the session takes their events one by one, and has `on_event` carry each out, so that whatever
  an event led to is done before the next.
* What carries the peer's bytes is its line: one connection, or a stream that outlives its connections. The other end
  of a stream lives as long as the stream has a connection, so it is asked for no sign of life. Nothing is due while
  it has none, nor right after it has one again. What has to come in time may come later by the time in which a dead
  connection is noticed.
* Every object of the peer that arrives is given back, unless a receiver keeps it.

Not in the table: challenge and response, which are those of `wire.login.ServerLogin`; the seat of a slave's name, and
who may log in, which are the session's.

Source: manual page, section "Connection"; `pbmanager.py` of Buildbot 0.8.4p1, `twisted/spread/pb.py` and `twisted/cred`
for the login.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, assert_never

import attrs

from slaveproto.errors import CallFailed, LocalProtocolError, RemoteProtocolError
from slaveproto.limits import Limits
from slaveproto.liveness import Liveness
from slaveproto.machine import Machine
from slaveproto.master.context import Alarm, MasterContext
from slaveproto.master.dialect import SLAVE, SlaveDialect
from slaveproto.master.events import Accepted, LoginFailed, MasterNotice
from slaveproto.master.happenings import AnswersCame, LoginWanted, PeerLeft
from slaveproto.master.output import UnreadBytes
from slaveproto.master.states import LINE, PEER, LineEvent, LineState, PeerEvent, PeerState
from slaveproto.master.tasks import Answer, Ask, MasterTask
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
    RefusalReason,
    Refused,
    Released,
)
from slaveproto.wire.login import LOGIN_METHODS, UNAUTHORIZED, ServerLogin
from slaveproto.wire.serving import PB_ERROR, Servant, no_such_method
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
    messages=40,
)
"""Limits of a peer that has not logged in."""

HIGH_WATER: Final = 1024 * 1024
"""Bytes that a connection may have brought and that are not taken, before it is left unread."""

MOST_REFUSED: Final = 100
"""Calls of one connection that may fail after its login because they make no sense, before it is closed."""

SPEAKS_HTTP: Final = "it speaks HTTP, as a browser, a proxy, or a worker with protocol=msgpack_..."

SPEAKS_TLS: Final = "it speaks TLS, and this port is plain (tls_cert)"

_HTTP: Final = re.compile(rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI) ")
_TLS: Final = b"\x16\x03"
_LONGEST_FIRST: Final = 8

PATIENCE_FOR_TLS: Final = 3.0
"""Seconds without a handshake until people are told what may be wrong."""

AFTER_CUT: Final = 10.0
"""Seconds in which what has waited for a link can come, before anything is due."""

# Every connection has the same.
_ROOT: Final = Local("root")


@attrs.define(eq=False)
class _Asked:
    """An `Ask` that waits for its answers; without a task they are dropped."""

    task: MasterTask | None
    lenient: bool
    keep: bool
    probing: bool
    answers: list[Answer | None]
    left: int


@attrs.frozen
class _Pending:
    """A call of ours that waits for its answer, which is the `place`th of what was asked."""

    method: str
    timeout: float | None
    asked: _Asked | None
    place: int = 0


_NOT_ASKED: Final = _Pending("", None, None)


class Peer:
    """The other end of one connection.

    Args:
        accepted: the connection.
        group: of its address.
        context: the surroundings.
        trusted: the limits after the login.
        noticed: seconds in which a dead connection of a stream is noticed; None if no streams are offered.
    """

    # A master has thousands.
    __slots__ = (
        "_calm_until", "_context", "_first", "_leaving", "_line", "_login", "_login_until", "_noticed", "_pending",
        "_perspective", "_refused", "_serving", "_timeout", "_trusted", "connection", "dialect", "group", "liveness",
        "machine", "mind", "name", "names", "number", "peer", "questions", "slave", "unread",
    )  # fmt: skip

    def __init__(
        self, accepted: Accepted, group: str, context: MasterContext, trusted: Limits, noticed: float | None
    ) -> None:
        self.number = accepted.connection
        self.peer = accepted.peer
        """Its address."""
        self.group = group
        """See `slaveproto.strangers`."""
        self.name: str | None = None
        """The user name: as the peer said it, from the login on as the account has it."""
        self.slave: str | None = None
        """The same, once it is a slave."""
        self.names: tuple[str, ...] = ()
        """Names of its certificate; none without one that was verified."""
        self.mind: Remote | None = None
        self.dialect: SlaveDialect = SLAVE
        self.unread = UnreadBytes()
        self.liveness = Liveness(context.now)
        self.questions: dict[int, None] = {}
        """Calls of the peer that the program has not answered yet."""
        self._context = context
        self._trusted = trusted
        self._timeout = context.config.login_timeout
        self._login_until = context.now + self._timeout
        self.machine = Machine(PEER)
        self._line = Machine(LINE)
        self._noticed = noticed or 0.0
        self._calm_until = 0.0
        if noticed is None:
            self._line.fire(LineEvent.CHOOSE_PLAIN)
        self._refused = 0
        self._first = b""
        self._serving: dict[Local, Servant] = {}
        self._pending: dict[int, _Pending] = {}
        self._perspective: Local | None = None
        self._leaving = False
        self.connection = Connection(Role.SERVER, root=_ROOT, limits=STRANGER)
        self._login: ServerLogin | None = ServerLogin(self.connection, _ROOT, accepted.challenge)
        context.timers.set((self.number, Alarm.LOGIN, 0), self._login_until)
        if accepted.secure:
            self.secured()
        else:
            context.timers.set((self.number, Alarm.HANDSHAKE, 0), context.now + PATIENCE_FOR_TLS)

    @property
    def state(self) -> PeerState:
        """The state of the connection."""
        return self.machine.state

    @property
    def gone(self) -> bool:
        """Whether it is over."""
        return self.machine.state is PeerState.GONE

    @property
    def paused(self) -> bool:
        """Whether no more should be taken of what it says."""
        return self.unread.size > HIGH_WATER

    @property
    def undecided(self) -> bool:
        """Whether it has not chosen yet what its line is to be."""
        return self._line.state is LineState.OFFERED

    @property
    def plain(self) -> bool:
        """Whether its line is one connection."""
        return self._line.state is LineState.PLAIN

    @property
    def lasts(self) -> bool:
        """Whether its line is a stream."""
        return self._line.state in (LineState.CARRIED, LineState.CUT)

    @property
    def cut(self) -> bool:
        """Whether its line is a stream without a connection."""
        return self._line.state is LineState.CUT

    @property
    def slack(self) -> float:
        """Seconds that anything it has to do may take longer."""
        return self._noticed if self.lasts else 0.0

    @property
    def calm_until(self) -> float | None:
        """The time before which nothing is due of it; None if things are due as ever."""
        if self.cut:
            return self._context.now + AFTER_CUT
        return self._calm_until if self._context.now < self._calm_until else None

    def touch(self) -> None:
        """Note that there may be something to send."""
        self._context.touched[self.number] = None

    def data_to_send(self) -> bytes:
        """Return bytes for its line and forget them; none while it is not known what that is."""
        if self.machine.state is PeerState.SECURING or self.undecided:
            return b""
        data = self.connection.data_to_send()
        self.liveness.taken += len(data)
        return data

    # -- the line

    def choose_plain(self, *, greeted: bool) -> None:
        """Let the line be this one connection. `greeted` tells whether the peer was offered the dialects already."""
        self._line.fire(LineEvent.CHOOSE_PLAIN)
        if greeted:
            self.connection.data_to_send()
        self.touch()

    def choose_stream(self) -> None:
        """Let the line be a stream, of which this connection is the first."""
        self._line.fire(LineEvent.CHOOSE_STREAM)
        self.touch()

    def lose_link(self) -> None:
        """Note that the stream has no connection."""
        self._line.fire(LineEvent.LOSE)

    def resume(self, peer: str) -> None:
        """Note that the stream has a connection again, from an address."""
        self._line.fire(LineEvent.RESUME)
        self.peer = peer
        self.liveness.heard(self._context.now)
        self._calm_until = self._context.now + AFTER_CUT

    def join(self) -> None:
        """End, for the connection goes on with the line of another peer."""
        self.machine.fire(PeerEvent.JOIN)
        self._end_connection()

    # -- incoming

    def secured(self, names: tuple[str, ...] = ()) -> None:
        """Begin to speak: the handshake of TLS is done, or there is none.

        Args:
            names: of the certificate that the peer showed.

        Raises:
            LocalProtocolError: no handshake is under way.
        """
        if self.machine.state is not PeerState.SECURING:
            raise LocalProtocolError(f"no handshake of connection {self.number} is under way")
        self.machine.fire(PeerEvent.SECURED)
        self.names = names
        self._context.timers.cancel((self.number, Alarm.HANDSHAKE, 0))
        self.touch()

    def check_secured(self) -> None:
        """Check that bytes may come.

        Raises:
            LocalProtocolError: the handshake of TLS is not done.
        """
        if self.machine.state is PeerState.SECURING:
            raise LocalProtocolError(f"the handshake of connection {self.number} is under way")

    def receive(self, data: bytes) -> bool:
        """Take bytes, whose events come from `connection`; False if they are of HTTP or TLS, which ends the connection.

        Raises:
            LocalProtocolError: the handshake of TLS is not done.
        """
        context = self._context
        self.check_secured()
        self.liveness.heard(context.now)
        context.touched[self.number] = None
        if self.machine.state is PeerState.NEGOTIATING:
            self._first += data[: _LONGEST_FIRST - len(self._first)]
            if _HTTP.match(self._first) or self._first.startswith(_TLS):
                self.end(f"broke the protocol: {SPEAKS_TLS if self._first.startswith(_TLS) else SPEAKS_HTTP}")
                return False
        self.connection.receive_data(data)
        return True

    def on_event(self, event: Event) -> None:
        """Take one event of the connection."""
        match event:
            case Call():
                self._on_call(event)
            case Answered(number, value):
                pending = self._take_pending(number)
                self._answered(pending, value)
                if pending.asked is None or not pending.asked.keep:
                    self.drop(event.remotes)
            case Failed(number, failure):
                self._answered(self._take_pending(number), failure)
            case Opened():
                self.machine.fire(PeerEvent.OPENED)
                self._first = b""
            case Refused():
                if event.reason is RefusalReason.UNKNOWN_OBJECT:
                    # No client that speaks this protocol calls an object that it was not given.
                    raise RemoteProtocolError(f"called {event.method!r} of an object that it was not given")
                self._count_refusal(f"refused a call of {event.method!r}: {event.failure.message}")
            case NotUnderstood():
                subject = "we do not understand its" if event.ours else "it does not understand our"
                self._count_refusal(f"{subject} message {event.command!r}")
            case Released():
                self._serving.pop(event.local, None)
                if event.local is self._perspective:
                    self._leaving = True
                    self.leave_if_done()
            case CallLost() | Closed():
                pass
            case _:
                assert_never(event)

    def _on_call(self, call: Call) -> None:
        try:
            servant = self._serving.get(call.target)
            if servant is not None:
                servant.handle(self.connection, call)
            elif self._login is not None and self._login.concerns(call):
                self._on_login(self._login, call)
            elif call.target is _ROOT:
                raise RemoteProtocolError(f"called {call.method!r} of the root object after its login")
            else:
                raise no_such_method(call)
        except CallFailed as error:
            self.connection.fail(call.id, Failure(error.kind, str(error)[:1000], error.parents))
            self._count_refusal(f"a call of {call.method[:200]!r} failed: {error}")
        except RemoteProtocolError as error:
            # It is told before the connection ends; for a slave that may be all that it can log.
            if self.connection.is_open:
                self.connection.fail(call.id, Failure(PB_ERROR, str(error)[:1000]))
            raise
        if call.remotes:
            self.drop(call.remotes)

    def _count_refusal(self, text: str) -> None:
        self._refused += 1
        most = MOST_REFUSED if self._login is None else STRANGER.messages
        if self._refused > most:
            raise RemoteProtocolError(f"more than {most} calls that make no sense")
        self.notice(text)

    def _take_pending(self, number: int) -> _Pending:
        pending = self._pending.pop(number)
        if not self._pending:
            # A dictionary that is emptied otherwise stays as large as it was.
            self._pending.clear()
        self._context.timers.cancel((self.number, Alarm.ANSWER, number))
        return pending

    def _answered(self, pending: _Pending, answer: Answer) -> None:
        asked = pending.asked
        if asked is None:
            return
        if asked.probing:
            self.liveness.answered()
        asked.answers[pending.place] = answer
        asked.left -= 1
        if not asked.left and asked.task is not None:
            self._context.report(AnswersCame(asked.task, tuple(asked.answers)))

    def expired(self, alarm: Alarm, number: int) -> None:
        """Take a deadline of this connection that has come."""
        if alarm is Alarm.LOGIN:
            secured = self.machine.state is not PeerState.SECURING
            what = "did not log in" if secured else "TLS: no handshake"
            self.end(f"{what} within {self._timeout:g} s")
        elif alarm is Alarm.HANDSHAKE:
            # A slave without TLS waits for our first word, as we wait for its.
            self.notice(f"no TLS for {PATIENCE_FOR_TLS:g} s: a slave that was not told to speak it? (tls = true)")
        elif alarm is Alarm.ANSWER and number in self._pending:
            pending = self._pending[number]
            asked, liveness = pending.asked, self.liveness
            assert pending.timeout is not None
            assert asked is not None
            sign = liveness.sign if asked.lenient else liveness.spoke
            if self.paused:
                # A peer that is not read is not silent.
                sign = self._context.now
            if sign + pending.timeout <= self._context.now:
                self.end(f"did not answer {pending.method} within {pending.timeout:g} s")
            elif asked.lenient and asked.task is not None and not liveness.asked:
                task, asked.task = asked.task, None
                self._context.report(AnswersCame(task, ()))
            else:
                self._context.timers.set((self.number, Alarm.ANSWER, number), sign + pending.timeout)

    # -- outgoing

    def ask(self, task: MasterTask, ask: Ask) -> None:
        """Make the calls of a script; their answers are reported when all of them are there.

        Raises:
            LocalProtocolError: the arguments of one cannot be sent.
        """
        count = len(ask.calls)
        asked = _Asked(task, ask.lenient, ask.keep, ask.probing, [None] * count, count)
        timeout = None if ask.timeout is None else ask.timeout + self.slack
        self.touch()
        for place, (target, method, args) in enumerate(ask.calls):
            number = self.connection.call(target, method, args)
            self._pending[number] = _Pending(method, timeout, asked, place)
            if timeout is not None:
                self._context.timers.set((self.number, Alarm.ANSWER, number), self._context.now + timeout)
        if ask.probing:
            self.liveness.ask(self.connection.unsent)

    def call(self, target: Remote, method: str, args: tuple[Value, ...]) -> None:
        """Call the peer; its answer does not matter.

        Raises:
            LocalProtocolError: the arguments cannot be sent.
        """
        self._pending[self.connection.call(target, method, args)] = _NOT_ASKED
        self.touch()

    def serve(self, local: Local, servant: Servant) -> None:
        """Let the peer call an object that it is about to be given."""
        self._serving[local] = servant

    def release(self, remote: Remote) -> None:
        """Give an object of the peer's back, unless that is done."""
        if self.connection.owns(remote):
            self.connection.release(remote)
            self.touch()

    def drop(self, remotes: Iterable[Remote]) -> None:
        """Give back objects of the peer's that no receiver keeps."""
        for remote in remotes:
            if remote is not self.mind:
                self.release(remote)

    def notice(self, text: str) -> None:
        """Announce something about this peer."""
        self._context.announce(MasterNotice(f"{self.peer}: {text}", self.slave))

    # -- the login

    def _on_login(self, login: ServerLogin, call: Call) -> None:
        if call.method in LOGIN_METHODS:
            self.machine.fire(PeerEvent.TRY)
        credentials = login.handle(call)
        self.name = login.name
        if credentials is None:
            return
        self.machine.fire(PeerEvent.CHECK)
        # From here on it waits for us.
        self._context.timers.cancel((self.number, Alarm.LOGIN, 0))
        self.mind = credentials.mind
        self._context.report(LoginWanted(self.number, credentials))

    def check(self, password: str | None) -> bool:
        """Whether the response is that of a password; None, for a user that does not exist, takes as long."""
        assert self._login is not None
        return self._login.check(None if password is None else password.encode("utf-8", "surrogateescape"))

    def refuse(self, why: str, *, kind: str = UNAUTHORIZED, message: str = "", credentials: bool | None = None) -> None:
        """Answer the login with a failure; the peer may try again until its time is over.

        Args:
            why: for people.
            kind: of the failure.
            message: of the failure.
            credentials: whether name or password were the reason; None for what `kind` says.
        """
        assert self._login is not None
        self.machine.fire(PeerEvent.REFUSE)
        self._report(why, credentials=kind == UNAUTHORIZED if credentials is None else credentials)
        self._context.timers.set((self.number, Alarm.LOGIN, 0), self._login_until)
        self.mind = None
        self._login.refuse(Failure(kind, message))
        self.touch()

    def contend(self) -> None:
        """Wait for a name that another connection has."""
        self.machine.fire(PeerEvent.CONTEND)

    def attach(self) -> None:
        """Become a slave that may be called from now on."""
        self.machine.fire(PeerEvent.ATTACH)
        self.slave = self.name
        self.connection.set_limits(self._trusted)

    def admit(self, label: str, avatar: Servant) -> None:
        """Answer the login with a perspective."""
        login, self._login = self._login, None
        assert login is not None
        self.machine.fire(PeerEvent.ADMIT)
        self.connection.set_limits(self._trusted)
        self._perspective = Local(label)
        self._serving[self._perspective] = avatar
        login.accept(self._perspective)
        self.touch()

    def leave_if_done(self) -> None:
        """End the connection of a peer that gave its perspective back, once it has all its answers."""
        if self._leaving and not self.questions:
            self.end("logged out")

    def _report(self, why: str, *, credentials: bool = False) -> None:
        self._context.announce(LoginFailed(self.number, self.peer, self.name, why, credentials))

    # -- the end

    def end(self, why: str, *, closed: bool = False) -> None:
        """End the line. `closed` tells that there is no connection any more."""
        if self.gone:
            return
        unknown = self.state not in (PeerState.ADMITTED, PeerState.REFUSED)
        last = self.data_to_send()
        self.machine.fire(PeerEvent.END)
        self._end_connection()
        if unknown:
            self._report(why)
        self._context.report(PeerLeft(self.number, why, None if closed else last))

    def _end_connection(self) -> None:
        self.connection.close()
        for number in self._pending:
            self._context.timers.cancel((self.number, Alarm.ANSWER, number))
        self._pending.clear()
        self._serving.clear()
        self._context.timers.cancel((self.number, Alarm.LOGIN, 0))
        self._context.timers.cancel((self.number, Alarm.HANDSHAKE, 0))
