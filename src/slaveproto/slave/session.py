"""The session of a slave, without I/O: one door in, `handle`, and doors out that are looked at after it.

Rules for the owner of a session. `handle` an input; send `data_to_send()` whenever the data before it is sent; perform
every one of `requests()`, some of which wait while much is not sent; read `next_event()` until None; leave the
children's output unread while `congested`; wait for the next input, but no longer than until `deadline`; end when
`finished`.

How it works. A `SlaveSession` is a pure function of its constructor's arguments and of the inputs that `handle` was
given. The table LINK says where the link to the master is. The session commands its parts (the bot, its builders, their
commands) by methods; they report by values in one queue (`slave.reports`), which the session empties after each event
of the wire and at the end of each input. What an input costs does not depend on how many commands run.

Not here: the kind of a master (`slave.dialect`), and how a command runs (`slave.command`, `scripts`).

Source: manual page, sections "Connection" to "Building"; `bot.py` and `pbutil.py` of buildslave 0.8.4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import auto
from typing import Final, assert_never

from slaveproto.commands.registry import COMMANDS, Command
from slaveproto.effects import (
    CountUnacknowledged,
    ProcessClosed,
    ProcessExited,
    ProcessOutput,
    Request,
)
from slaveproto.errors import RemoteProtocolError
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.limits import Limits
from slaveproto.liveness import Liveness, Probe
from slaveproto.machine import Machine, Symbol
from slaveproto.scripts import TaskPool
from slaveproto.slave.backoff import LASTING, Backoff
from slaveproto.slave.bot import Bot
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.context import SlaveContext
from slaveproto.slave.events import (
    AskShutdown,
    Attached,
    AttachRefused,
    Connected,
    Connecting,
    Detached,
    Input,
    Leaving,
    LineBack,
    SlaveEvent,
    SlaveNotice,
    Start,
    Stopped,
    WaitingForMaster,
)
from slaveproto.slave.line import Line
from slaveproto.slave.reports import BuildBegun, BuildNotTaken, CommandEnded, ShutdownAsked
from slaveproto.slave.states import LINK, IntakeEvent, LinkEvent, LinkState
from slaveproto.timers import Timers
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
from slaveproto.wire.login import ClientLogin, LoggedIn
from slaveproto.wire.login import LoginRefused as Refusal
from slaveproto.wire.values import Remote

HIGH_WATER: Final = 512 * 1024
"""Bytes that may wait to be sent before the children's output is left unread."""

GRACE: Final = 30.0
"""Seconds without a command after which a slave goes by itself whose master refused to let it go."""

LAST_MOMENTS: Final = 10.0
"""Seconds that children have to die once the time for leaving is over."""

HUSH: Final = 3.0
"""Seconds that a master may take for its first word, until people are told what may be wrong."""


class _Timer(Symbol):
    CONNECT = auto()
    HUSH = auto()
    LOGIN = auto()
    KEEPALIVE = auto()
    SILENCE = auto()
    RETRY = auto()
    QUIET = auto()
    LEAVE = auto()


_OF_LINK: Final = (_Timer.CONNECT, _Timer.HUSH, _Timer.LOGIN, _Timer.KEEPALIVE, _Timer.SILENCE, _Timer.RETRY)


class SlaveSession:
    """One slave: its link to the master, its builders, and what they run.

    Args:
        config: who the slave is.
        host: what the core cannot look up itself.
        jitter: draws a number between 0 and the one that it is given, each as likely as any other: when to try again.
        commands: what the master may start.
        limits: what the master may make us hold.
        resume: 32 bytes of randomness, other ones for each session, to let builds outlive the link where the other end
            can do that (`slaveproto.resume`); None to speak plainly.
    """

    def __init__(
        self,
        config: SlaveConfig,
        host: HostInfo,
        jitter: Callable[[float], float],
        commands: Mapping[str, Command] = COMMANDS,
        limits: Limits = Limits(calls=100),  # noqa: B008  frozen
        *,
        resume: bytes | None = None,
    ) -> None:
        self._config = config
        self._limits = limits
        self._events: deque[SlaveEvent] = deque()
        self._pool = TaskPool()
        self._context = SlaveContext(config, host, commands, self._pool, self._events)
        self._bot = Bot(self._context)
        self._link = Machine(LINK)
        self._backoff = Backoff(config.max_delay, jitter)
        self._timers: Timers[_Timer] = Timers()
        self._attached_at = 0.0
        self._jitter = jitter
        self._resume = resume
        self._lines = 0
        # The present line to the master, and what is spoken over it.
        self._line: Line | None = None
        # The same, unless it is known to be one plain connection.
        self._lasting: Line | None = None
        self._connection: Connection | None = None
        self._liveness = Liveness(0.0)
        # The request to count what is not acknowledged.
        self._look: int | None = None
        self._login: ClientLogin | None = None
        self._avatar: Remote | None = None
        self._shutdown_call: int | None = None
        self._builds = 0
        # The time of the last beginning of a build, end of a command, or refusal to let us go.
        self._quiet_since = 0.0

    # -- the doors out

    @property
    def state(self) -> LinkState:
        """The state of the link."""
        return self._link.state

    @property
    def deadline(self) -> float | None:
        """The time at which `handle(Wakeup(), ...)` is due, in the clock of `now`; None if not before another input."""
        if self.finished:
            return None
        own, line = self._timers.deadline, None if self._lasting is None else self._lasting.deadline
        if own is None or (line is not None and line < own):
            own = line
        scripts = self._pool.deadline
        if own is None or scripts is None:
            return scripts if own is None else own
        return min(own, scripts)

    @property
    def congested(self) -> bool:
        """Whether so much waits to be sent that the children's output should stay unread."""
        return self._unsent + self._pool.waiting_bytes > HIGH_WATER

    @property
    def _unsent(self) -> int:
        if self._connection is None:
            return 0
        return self._connection.unsent + (0 if self._lasting is None else self._lasting.waiting)

    @property
    def _master_is_slow(self) -> bool:
        # What waits for a script of ours is none of the master's fault.
        return self._unsent + self._pool.unsent_bytes > HIGH_WATER

    @property
    def finished(self) -> bool:
        """Whether the session is over and nothing of it runs any more."""
        return self._link.state is LinkState.STOPPED and not self._pool.tasks

    def data_to_send(self) -> bytes:
        """Return bytes for the present connection and forget them."""
        if self._lasting is None:
            return self._said()
        if self._lasting.lasts:
            self._lasting.send(self._said())
        return self._lasting.data_to_send()

    def _said(self) -> bytes:
        if self._connection is None:
            return b""
        data = self._connection.data_to_send()
        self._liveness.taken += len(data)
        return data

    def requests(self) -> list[Request]:
        """Return the effects to start now. What would make more data waits while the master is slow to take it."""
        # Output that waits for a script does not count here: the script may be waiting for this very data.
        return self._pool.take_requests(congested=self._master_is_slow)

    def next_event(self) -> SlaveEvent | None:
        """Return the next announcement, None if there is no more."""
        return self._events.popleft() if self._events else None

    # -- the door in

    def handle(self, item: Input, *, now: float) -> None:
        """Take one input at the time `now`, in seconds of any clock that never goes back.

        Raises:
            LocalProtocolError: `Start` for the second time, or the end of a request that was not made.
        """
        match item:
            case Start():
                self._link.fire(LinkEvent.START)
                self._connect(now)
                self._quiet_since = now
                if self._config.idle_exit is not None:
                    self._timers.set(_Timer.QUIET, now + self._config.idle_exit)
            case Connected() | Received() | Disconnected():
                if self._line is not None and item.connection == self._line.connection:
                    self._on_line(self._line, item, now)
            case Completed() if item.request == self._look:
                self._looked(item.result, now)
            case Completed():
                self._pool.complete(item.request, item.result, now)
            case Rejected() if item.request == self._look:
                self._look = None
            case Rejected():
                self._pool.reject(item.request, item.error, now)
            case ProcessOutput() | ProcessExited() | ProcessClosed():
                self._pool.on_process(item, now)
            case Stop():
                self._stop(item.why, now, gave_up=False)
            case AskShutdown():
                self._leave(item.why, item.within, now)
            case Wakeup():
                pass
            case _:
                assert_never(item)
        for timer in self._timers.pop_expired(now):
            self._on_timer(timer, now)
        if self._lasting is not None:
            self._look_at_line(self._lasting, now)
        self._pool.output_unread = self._master_is_slow
        self._pool.look(now)
        self._take_reports(now)

    def _take_reports(self, now: float) -> None:
        reports = self._context.reports
        while reports:
            match report := reports.popleft():
                case CommandEnded():
                    self._bot.command_ended(report)
                    self._quiet_since = now
                case BuildBegun():
                    self._quiet_since = now
                    self._builds += 1
                    if self._builds == self._config.max_builds:
                        self._leave(f"{self._builds} builds are enough", None, now)
                case BuildNotTaken():
                    # A 0.8 master looks whether it may let us go when it is asked, and when a build is over: not now.
                    self._call_shutdown()
                case ShutdownAsked():
                    self._stop("the master asked for it", now, gave_up=False)
                case _:
                    assert_never(report)

    def _on_timer(self, timer: _Timer, now: float) -> None:
        match timer:
            case _Timer.CONNECT:
                self._lose(f"no connection within {self._config.connect_timeout:g} s", now)
            case _Timer.HUSH:
                # A server of TLS waits for the client's first word, as we wait for the master's.
                text = f"connected, but the master has said nothing for {HUSH:g} s; does its port expect TLS?"
                self._events.append(SlaveNotice(f"{text} (then tls = true)"))
            case _Timer.LOGIN:
                what = "spoke no Perspective Broker" if self._link.state is LinkState.NEGOTIATING else "said nothing"
                self._lose(f"the master {what} for {self._config.login_silence:g} s", now)
            case _Timer.KEEPALIVE:
                self._keep_alive(now)
            case _Timer.SILENCE:
                self._miss_answer(now)
            case _Timer.RETRY:
                self._link.fire(LinkEvent.RETRY)
                self._connect(now)
            case _Timer.QUIET:
                self._on_quiet(now)
            case _Timer.LEAVE:
                self._timers.set(_Timer.LEAVE, now + LAST_MOMENTS)
                self._stop("the time for leaving is over", now, gave_up=False)
            case _:
                assert_never(timer)

    # -- the link

    def _connect(self, now: float) -> None:
        self._lines += 1
        self._line = Line(self._config, self._pool, self._resume, self._lines, self._jitter)
        self._lasting = None if self._line.plain else self._line
        self._timers.set(_Timer.CONNECT, now + self._config.connect_timeout)
        self._events.append(Connecting(self._config.host, self._config.port))

    def _on_line(self, line: Line, item: Connected | Received | Disconnected, now: float) -> None:
        match item:
            case Connected():
                if line.connected(now):
                    self._connected(item, now)
            case Received():
                data = line.receive(item.data, now)
                if line.plain:
                    self._lasting = None
                if self._connection is not None:
                    self._received(self._connection, data, now)
            case Disconnected():
                if line.disconnected(item.why, now):
                    self._disconnected(item.why, now)
            case _:
                assert_never(item)

    def _look_at_line(self, line: Line, now: float) -> None:
        """See to a line that outlives its connections: what it is to send, and what happened to it."""
        if line.lasts:
            # Not when the connection is ready for it: there may be none.
            line.send(self._said())
        due = line.deadline
        if due is not None and now >= due:
            line.wakeup(now)
        while line.notices:
            notice = line.notices.pop(0)
            self._events.append(notice)
            if isinstance(notice, LineBack):
                # What was asked before is none of the master's silence.
                self._liveness.heard(now)
        if line.over is not None and self._line is line:
            self._lose(line.over, now)

    def _connected(self, item: Connected, now: float) -> None:
        self._link.fire(LinkEvent.CONNECTED)
        self._timers.cancel(_Timer.CONNECT)
        self._timers.set(_Timer.LOGIN, now + self._config.login_silence)
        if not item.secure:
            self._timers.set(_Timer.HUSH, now + HUSH)
        self._connection = Connection(Role.CLIENT, limits=self._limits)
        self._liveness = Liveness(now)
        self._bot.attach()
        self._events.append(WaitingForMaster())

    def _received(self, connection: Connection, data: bytes, now: float) -> None:
        self._liveness.heard(now)
        if self._avatar is None:
            self._timers.set(_Timer.LOGIN, now + self._config.login_silence)
        connection.receive_data(data)
        try:
            # What an event leads to may end the connection, and with it the reading.
            while self._connection is connection:
                event = connection.next_event()
                if event is NEED_DATA:
                    break
                self._on_event(connection, event, now)
                self._take_reports(now)
        except RemoteProtocolError as error:
            self._lose(f"the master broke the protocol: {error}", now)

    def _on_event(self, connection: Connection, event: Event, now: float) -> None:
        match event:
            case Opened():
                self._link.fire(LinkEvent.OPENED)
                self._timers.cancel(_Timer.HUSH)
                name = self._config.name.encode("utf-8", "surrogateescape")
                password = self._config.password.encode("utf-8", "surrogateescape")
                self._login = ClientLogin(connection, name, password, self._bot.local)
            case Call():
                self._bot.handle(connection, event, now)
            case Answered() | Failed():
                if self._login is not None and self._login.concerns(event):
                    self._on_login(self._login, event, now)
                elif self._bot.take_answer(event, now):
                    pass
                elif isinstance(event, Failed):
                    what = "to let us go" if event.id == self._shutdown_call else f"call {event.id}"
                    failure = event.failure
                    self._events.append(SlaveNotice(f"the master refused {what}: {failure.kind}: {failure.message}"))
                    if event.id == self._shutdown_call:
                        self._link.fire(LinkEvent.REFUSED)
                        self._quiet_since = now
                        self._timers.set(_Timer.QUIET, now + GRACE)
                else:
                    for remote in event.remotes:
                        connection.release(remote)
            case Refused():
                self._events.append(SlaveNotice(f"refused a call of {event.method!r}: {event.failure.message}"))
            case NotUnderstood():
                who = "we do not understand the master's" if event.ours else "the master does not understand our"
                self._events.append(SlaveNotice(f"{who} message {event.command!r}"))
            case Released() | CallLost() | Closed():
                pass
            case _:
                assert_never(event)

    def _on_login(self, login: ClientLogin, event: Answered | Failed, now: float) -> None:
        outcome = login.handle(event)
        match outcome:
            case LoggedIn(avatar):
                state = self._link.fire(LinkEvent.ACCEPTED)
                self._login = None
                self._avatar = avatar
                self._backoff.failures = 0
                self._attached_at = now
                self._timers.cancel(_Timer.LOGIN)
                if self._config.keepalive:
                    self._timers.set(_Timer.KEEPALIVE, now + self._config.keepalive)
                self._events.append(Attached(self._bot.builder_names))
                if state is LinkState.LEAVING:
                    self._call_shutdown()
            case Refusal(failure):
                why = "wrong name or password" if outcome.unauthorized else f"{failure.kind}: {failure.message}"
                self._lose(why, now, refused=True)
            case None:
                pass
            case _:
                assert_never(outcome)

    def _keep_alive(self, now: float) -> None:
        """Ask for a sign of life unless there was one, or look how far the question has come."""
        connection, liveness, config, line = self._connection, self._liveness, self._config, self._line
        if connection is None or self._avatar is None or line is None:
            return
        if line.cut:
            # The line has its own patience.
            liveness.heard(now)
        probe, again = liveness.probe(config.keepalive, config.silence, now)
        match probe:
            case Probe.WAIT:
                pass
            case Probe.ASK:
                connection.call(self._avatar, "keepalive")
                liveness.ask(connection.unsent)
                self._timers.set(_Timer.SILENCE, now + config.silence)
            case Probe.LOOK:
                unacknowledged = line.unacknowledged
                if unacknowledged is not None:
                    liveness.look(unacknowledged, now)
                elif self._look is None and line.connection is not None:
                    self._look = self._pool.request(CountUnacknowledged(line.connection))
            case _:
                assert_never(probe)
        self._timers.set(_Timer.KEEPALIVE, again)

    def _looked(self, unacknowledged: object, now: float) -> None:
        self._look = None
        assert isinstance(unacknowledged, int)
        # Of another connection it would count for nothing: there nothing is asked yet.
        self._liveness.look(unacknowledged, now)

    def _miss_answer(self, now: float) -> None:
        if self._line is not None and self._line.cut:
            self._liveness.heard(now)
        due = self._liveness.sign + self._config.silence
        if not self._liveness.asked:
            return
        if due > now:
            self._timers.set(_Timer.SILENCE, due)
        else:
            self._lose(f"the master said nothing for {self._config.silence:g} s", now, late=True)

    def _disconnected(self, why: str, now: float) -> None:
        reason = why or "the master closed the connection"
        if not why and self._link.state is LinkState.NEGOTIATING:
            reason = "closed by a peer that never spoke Perspective Broker"
        self._lose(reason, now)

    def _lose(self, why: str, now: float, *, refused: bool = False, late: bool = False) -> None:
        """Give up the connection and all that belongs to it, and try again later; `late` if it may be long dead."""
        announcement = AttachRefused if refused else Detached
        # What was attached is no failed attempt.
        failed = self._avatar is None
        if not failed and now - self._attached_at >= LASTING:
            self._backoff.begin(late=late)
        if self._link.fire(LinkEvent.LOST) is LinkState.STOPPED:
            self._events.append(announcement(why, None))
            self._end("there is no master any more that could let us go", now, gave_up=False)
            return
        self._drop_connection(why, now)
        delay = self._backoff.failed(refused=refused, counts=failed)
        retries = self._config.max_retries
        if failed and retries is not None and self._backoff.failures >= retries:
            self._events.append(announcement(why, None))
            self._stop(f"gave up after {self._backoff.failures} attempts", now, gave_up=True)
        else:
            self._events.append(announcement(why, delay))
            self._timers.set(_Timer.RETRY, now + delay)

    def _drop_connection(self, why: str, now: float) -> None:
        last = self._said()
        line, self._line, self._lasting = self._line, None, None
        connection, self._connection = self._connection, None
        self._login = None
        self._avatar = None
        self._shutdown_call = None
        for timer in _OF_LINK:
            self._timers.cancel(timer)
        if connection is not None:
            connection.close()
        if line is not None:
            line.close(last, why)
        self._bot.detach(now)

    def _leave(self, why: str, within: float | None, now: float) -> None:
        """Take no new build and ask the master to let us go, as soon as there is a perspective; without one, stop."""
        before = self._link.state
        after = self._link.fire(LinkEvent.ASK_SHUTDOWN)
        if after is LinkState.STOPPED:
            if before is not after:
                self._end(f"{why}, with no master to ask first", now, gave_up=False)
            return
        self._context.intake.fire(IntakeEvent.CLOSE)
        if before is not after:
            self._timers.cancel(_Timer.QUIET)
        if within is not None:
            self._timers.set(_Timer.LEAVE, now + within)
        if before is not after or within is not None:
            self._events.append(Leaving(why, within))
        if after is LinkState.LEAVING:
            self._call_shutdown()

    def _call_shutdown(self) -> None:
        if self._connection is not None and self._avatar is not None:
            self._shutdown_call = self._connection.call(self._avatar, "shutdown")

    def _on_quiet(self, now: float) -> None:
        """Go if nothing ran for long enough; else look again when that may be so."""
        alone = self._link.state is LinkState.LEAVING_ALONE
        patience = GRACE if alone else self._config.idle_exit
        assert patience is not None
        if self._bot.busy:
            self._timers.set(_Timer.QUIET, now + patience)
        elif now < self._quiet_since + patience:
            self._timers.set(_Timer.QUIET, self._quiet_since + patience)
        elif alone:
            self._stop(f"no command for {GRACE:g} s, and the master does not let us go", now, gave_up=False)
        else:
            self._leave(f"nothing ran for {patience:g} s", None, now)

    def _stop(self, why: str, now: float, *, gave_up: bool) -> None:
        before = self._link.state
        if self._link.fire(LinkEvent.STOP) is before:
            # For the second time: what still runs is not waited for.
            self._pool.abandon()
        else:
            self._end(why, now, gave_up=gave_up)

    def _end(self, why: str, now: float, *, gave_up: bool) -> None:
        self._drop_connection(why, now)
        self._timers.cancel(_Timer.QUIET)
        if _Timer.LEAVE in self._timers:
            self._timers.set(_Timer.LEAVE, now + LAST_MOMENTS)
        self._events.append(Stopped(why, gave_up))
