"""The master, without I/O: every connection to one port, and the slaves and users that come over them.

`MasterSession` is a pure function of its constructor's arguments and of the inputs that `handle` was given. To drive
it: `handle` an input; perform every one of `requests()`; for each of `connections_to_send()` send
`data_to_send(connection)` whenever the data before it is sent, until there is none; read `next_event()` until None;
take `output(step)` of every step that spoke or finished; leave a connection unread while it is `paused`; wait for the
next input, but no longer than until `deadline`.

Rules.

* The session owns its connections (`Peer`), the slaves that they belong to (`BuildSlave`), and the registries of builds
  and steps. Children know no parent: they report by values (`happenings`), and `_settle` carries those out one by one,
  before the next event of a connection is taken.
* A peer has the number of its connection, or of the first one if its line is a stream that outlives its connections. A
  connection that is to go on with a stream is a stranger until it has proven that it may; then it is no peer any more.
* One name, one seat: who comes under a name that is taken is the contender, and the holder has as long to show that it
  is alive as after any question (`MasterConfig.silence`). A newer contender takes the older one's place. A holder whose
  line is cut has to go at once: if it were there, it would go on with its stream.
* A connection is left unread while too much of what it brought is not taken. If that holds up other builds of its slave
  for `STALL` seconds, the output that is not taken is set apart: see `slaveproto.master.output`. What a stream brought
  waits in the stream meanwhile, and its connection is read.
* What the program wants is refused with `LocalProtocolError`, and then nothing has changed. What happened a moment ago,
  and the program has not read yet, is no fault of the program: it refuses a build, and ends a step.

Source: manual page, sections "Connection" to "Building"; `pbmanager.py`, `process/botmaster.py` of Buildbot 0.8.4p1,
`worker/manager.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from slaveproto.effects import CloseConnection, Request
from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.limits import Limits
from slaveproto.machine import Machine
from slaveproto.master.builder import RemoteBuilder
from slaveproto.master.buildslave import DISMISSED, BuildSlave
from slaveproto.master.changes import read_change
from slaveproto.master.command import UNENDED, StepRun
from slaveproto.master.config import Account, ChangeAccount, GuestAccount, MasterConfig, SlaveAccount
from slaveproto.master.context import Alarm, MasterContext
from slaveproto.master.events import (
    AbandonStep,
    Accepted,
    AccountWanted,
    AnswerAccount,
    AnswerGuest,
    BuildRefused,
    ChangeReceived,
    Configure,
    Disconnect,
    EndBuild,
    GuestCalled,
    InterruptStep,
    LoginFailed,
    MasterEvent,
    MasterInput,
    Outcome,
    Ping,
    Print,
    Secured,
    ShutDownSlave,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.master.happenings import (
    AnswersCame,
    Asked,
    BuildOver,
    CommandOver,
    Happening,
    HolderAlive,
    LoginWanted,
    PeerBroke,
    PeerLeft,
    SlaveReady,
    SourceFound,
    StepOver,
    TransferOver,
)
from slaveproto.master.output import Output
from slaveproto.master.peer import HIGH_WATER, Peer
from slaveproto.master.results import Result
from slaveproto.master.states import SEAT, PeerState, SeatEvent, SeatState
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    PlainCame,
    ServerEvent,
    StreamCame,
    StreamOver,
)
from slaveproto.resume.policy import ResumePolicy
from slaveproto.resume.server import ResumingServer
from slaveproto.strangers import Strangers, group_of
from slaveproto.wire.banana import NEED_DATA
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import no_such_method
from slaveproto.wire.values import Failure

STALL: Final = 2.0
"""Seconds for which a step whose output is not taken may hold up other builds of its slave."""

DUPLICATE: Final = "builtins.RuntimeError"

MOST_STREAMS: Final = 1_000_000
"""Streams at a time. Peers are counted before they open one: that is no limit of its own."""

OTHER_CERTIFICATE: Final = "builtins.PermissionError"

CLOSED: Final = "closed the connection"

_EXCUSED: Final = frozenset({Alarm.ANSWER, Alarm.DEPARTURE, Alarm.STEP, Alarm.OVERDUE})
"""Alarms that do not count while a line is cut."""

UNHANDLED: Final = "twisted.cred.error.UnhandledCredentials"


class _Seat:
    """The seat of one slave name."""

    __slots__ = ("contender", "holder", "machine")

    def __init__(self) -> None:
        self.machine = Machine(SEAT)
        self.holder: BuildSlave | None = None
        self.contender: tuple[Peer, SlaveAccount] | None = None


class MasterSession:
    """One master.

    Args:
        config: who may log in, and the master's patience.
        limits: what a peer that has logged in can make us hold.
        resume: 32 bytes of randomness, to offer streams besides Perspective Broker, over which slaves that can do so
            outlive the loss of their links (see `slaveproto.resume`). None to offer none.
    """

    def __init__(
        self,
        config: MasterConfig = MasterConfig(),  # noqa: B008  frozen
        limits: Limits = Limits(calls=1000, references=100_000),  # noqa: B008  frozen
        *,
        resume: bytes | None = None,
    ) -> None:
        self._limits = limits
        self._context = MasterContext(config)
        self._peers: dict[int, Peer] = {}
        self._strangers = Strangers()
        self._seats: dict[str, _Seat] = {}
        self._slaves: dict[str, BuildSlave] = {}
        # The builders that builds have, and why other builds have none any more that are not ended yet.
        self._builds: dict[int, RemoteBuilder] = {}
        self._lost: dict[int, str] = {}
        # Steps whose output can be taken.
        self._steps: dict[int, StepRun] = {}
        self._streams: ResumingServer | None = None
        self._noticed: float | None = None
        if resume is not None and config.patience:
            policy = ResumePolicy(patience=config.patience, handshake=config.login_timeout)
            policy = policy.impatient(config.keepalive, config.silence)
            self._streams = ResumingServer(resume, policy, streams=MOST_STREAMS)
            self._noticed = policy.silence
        # Streams that are over and brought something that is not taken yet, and why they are over.
        self._ended: dict[int, str] = {}
        # Peers that are paused, and whose stream brought more.
        self._untaken: dict[int, None] = {}
        # Peers whose stream is congested.
        self._held_back: dict[int, None] = {}

    @property
    def config(self) -> MasterConfig:
        """The present configuration."""
        return self._context.config

    # -- the doors out

    @property
    def deadline(self) -> float | None:
        """The time when `handle(Wakeup(), ...)` is due, in the clock of `now`; None for not before another input."""
        due = self._context.timers.deadline
        streams = None if self._streams is None else self._streams.deadline
        return due if streams is None else streams if due is None else min(due, streams)

    def requests(self) -> list[Request]:
        """Return the effects to start now: `FileEffect`, `CloseConnection`, `CountUnacknowledged`.

        The latter two name your number of the connection.
        """
        return self._context.take_requests()

    def connections_to_send(self) -> list[int]:
        """Return the connections that may have something to send since the last time, each once."""
        touched, self._context.touched = self._context.touched, {}
        peers, streams = self._peers, self._streams
        if streams is None:
            return [number for number in touched if number in peers]
        if self._held_back:
            touched |= self._held_back
            self._held_back.clear()
        plain = []
        for number in touched:
            peer = peers.get(number)
            if peer is None:
                pass
            elif peer.plain:
                plain.append(number)
            elif peer.lasts:
                self._feed_stream(streams, peer)
        return plain + streams.carriers_to_send()

    def _feed_stream(self, streams: ResumingServer, peer: Peer) -> None:
        stream = streams.stream(peer.number)
        if stream is not None and stream.congested:
            self._held_back[peer.number] = None
        elif data := peer.data_to_send():
            streams.send(peer.number, data)

    def data_to_send(self, connection: int) -> bytes:
        """Return bytes for a connection and forget them; none for one that is over."""
        peer = self._peers.get(connection)
        if self._streams is not None and (peer is None or not peer.plain):
            return self._streams.data_to_send(connection)
        return peer.data_to_send() if peer is not None else b""

    def paused(self, connection: int) -> bool:
        """Whether a connection is to be left unread, because what it brought is not taken or not written yet."""
        peer = self._peers.get(connection)
        return peer is not None and peer.plain and peer.paused

    def next_event(self) -> MasterEvent | None:
        """Return the next announcement, None if there is no more."""
        events = self._context.events
        return events.popleft() if events else None

    def output(self, step: int) -> list[Output]:
        """Return what a step said and forget it; nothing for one that is over and whose output was taken."""
        run = self._steps.get(step)
        if run is None:
            return []
        if run.over:
            del self._steps[step]
        output = run.spool.take()
        if run.connection in self._untaken and not self._peers[run.connection].paused:
            # What the stream brought meanwhile can be taken as soon as the session is driven again.
            self._context.timers.set((run.connection, Alarm.UNTAKEN, 0), self._context.now)
        return output

    # -- what there is

    @property
    def slaves(self) -> Mapping[str, BuildSlave]:
        """The slaves that are attached, by name; only to be looked at."""
        return self._slaves

    def idle_builders(self, slave: str) -> tuple[str, ...]:
        """Return the names of a slave's builders on which a build can be started now, sorted.

        This is the one answer to that question. A slave that is not attached, or is leaving, has none. The answer
        changes with your own inputs (`StartBuild`, `EndBuild`, `Configure`, ...), and with `SlaveAttached`,
        `SlaveDetached`, `BuildersChanged`, `BuildRefused`, `BuildLost` and `ShutdownWanted`.
        """
        found = self._slaves.get(slave)
        return found.idle_builders() if found is not None else ()

    @property
    def census(self) -> Mapping[str, int]:
        """The number of everything that comes and goes, for tests: without connections all of it is 0.

        Builds count until they are ended, lost ones too; steps until their output is taken; requests until they are
        replied to.
        """
        return {
            "connections": len(self._peers),
            "strangers": len(self._strangers),
            "seats": len(self._seats),
            "slaves": len(self._slaves),
            "builds": len(self._builds) + len(self._lost),
            "steps": len(self._steps),
            "timers": len(self._context.timers),
            "requests": len(self._context.waiting),
            "streams": 0 if self._streams is None else len(self._streams.streams),
        }

    # -- the door in

    def handle(self, item: MasterInput, *, now: float) -> None:
        """Take one input at the time `now`, in seconds of any clock that never goes back.

        Raises:
            LocalProtocolError: what you want is not possible as things are; nothing changed.
        """
        context = self._context
        context.now = now
        if isinstance(item, Received):
            # Nearly all inputs.
            self._hear(item)
        else:
            self._take(item)
        if context.happenings:
            self._settle()
        for number, alarm, what in context.timers.pop_expired(now):
            peer = self._peers.get(number)
            if peer is not None:
                self._expired(peer, alarm, what)
                self._settle()
        if self._streams is not None:
            self._see_to_streams(self._streams, now)

    def _see_to_streams(self, streams: ResumingServer, now: float) -> None:
        if (due := streams.deadline) is not None and due <= now:
            streams.wakeup(now)
        self._heed_all(streams)
        for number in list(self._untaken):
            del self._untaken[number]
            if number in self._peers:
                self._take_arrived(streams, self._peers[number])
                self._settle()
        self._heed_all(streams)

    def _heed_all(self, streams: ResumingServer) -> None:
        while (event := streams.next_event()) is not None:
            self._heed(streams, event)
            self._settle()

    def _hear(self, item: Received) -> None:
        peer = self._peers.get(item.connection)
        if peer is not None and peer.plain:
            self._receive(peer, item.data)
        elif self._streams is not None:
            if peer is not None:
                peer.check_secured()
            self._streams.receive(item.connection, item.data, self._context.now)
            self._heed_all(self._streams)

    def _receive(self, peer: Peer, data: bytes) -> None:
        happenings, connection, machine = self._context.happenings, peer.connection, peer.machine
        if not peer.receive(data):
            return
        try:
            while (event := connection.next_event()) is not NEED_DATA:
                peer.on_event(event)
                if happenings:
                    # What an event led to may have ended the connection, and with it the reading; that is reported.
                    self._settle()
                    if machine.state is PeerState.GONE:
                        break
        except RemoteProtocolError as error:
            peer.end(f"broke the protocol: {error}")
        if peer.unread.size > HIGH_WATER and machine.state is not PeerState.GONE:
            self._watch(peer.number)

    def _take(self, item: MasterInput) -> None:
        match item:
            case Completed():
                self._context.reply(item.request, item.result)
            case Rejected():
                self._context.reply(item.request, item.error)
            case Wakeup():
                pass
            case Accepted():
                self._accept(item)
            case Secured(number, names):
                if number in self._peers:
                    self._peers[number].secured(names)
                    self._offer(number, names)
            case Received():
                self._hear(item)
            case Disconnected(number, why):
                self._disconnected(number, why)
            case Configure():
                self._configure(item.config)
            case AnswerAccount():
                self._answer_account(item)
            case AnswerGuest():
                self._answer_guest(item)
            case Ping():
                self._slave(item.slave).ping()
            case Print():
                self._slave(item.slave).print(item.text)
            case ShutDownSlave():
                slave = self._slave(item.slave)
                if item.graceful:
                    slave.let_go()
                else:
                    slave.shut_down()
            case Disconnect():
                self._slave(item.slave).peer.end(item.why)
            case StartBuild() | StartStep() | InterruptStep() | AbandonStep() | EndBuild():
                self._take_order(item)
            case Stop():
                for peer in list(self._peers.values()):
                    peer.end(item.why)
            case _:
                assert_never(item)

    def _take_order(self, item: StartBuild | StartStep | InterruptStep | AbandonStep | EndBuild) -> None:
        """Take an input that is about a build or a step."""
        match item:
            case StartBuild():
                self._start_build(item)
            case StartStep():
                self._start_step(item)
            case InterruptStep():
                if item.step in self._steps:
                    self._steps[item.step].interrupt(item.why)
            case AbandonStep():
                if item.step in self._steps:
                    self._steps[item.step].abandon(item.patience)
                    self._forget_step(item.step)
            case EndBuild():
                self._end_build(item)
            case _:
                assert_never(item)

    def _expired(self, peer: Peer, alarm: Alarm, number: int) -> None:
        if alarm in _EXCUSED and (calm := peer.calm_until) is not None:
            self._context.timers.set((peer.number, alarm, number), calm)
            return
        match alarm:
            case Alarm.LOGIN | Alarm.HANDSHAKE | Alarm.ANSWER:
                peer.expired(alarm, number)
            case Alarm.KEEPALIVE:
                self._expect_holder(peer).keep_alive()
            case Alarm.DEPARTURE:
                self._expect_holder(peer).did_not_go()
            case Alarm.STEP:
                peer.end(UNENDED)
            case Alarm.OVERDUE:
                if number in self._steps:
                    self._steps[number].look()
            case Alarm.STALLED:
                if peer.paused:
                    self._unstall(peer)
            case Alarm.UNTAKEN:
                # That is seen to whatever happens.
                pass
            case _:
                assert_never(alarm)

    # -- lines

    def _offer(self, connection: int, names: tuple[str, ...]) -> None:
        """Offer a stream over a connection that may be spoken to."""
        if self._streams is not None:
            self._streams.accepted(connection, self._context.now)
            self._streams.secured(connection, names)

    def _disconnected(self, connection: int, why: str) -> None:
        peer = self._peers.get(connection)
        if self._streams is not None:
            self._streams.disconnected(connection, why, self._context.now)
            self._heed_all(self._streams)
        if peer is not None and not peer.lasts:
            peer.end(why or CLOSED, closed=True)

    def _heed(self, streams: ResumingServer, event: ServerEvent) -> None:
        """Take what the streams announce. A peer may be over by then."""
        match event:
            case PlainCame(connection, data, unsent):
                peer = self._peers[connection]
                peer.choose_plain(greeted=not unsent)
                self._receive(peer, data)
            case StreamCame(number):
                self._peers[number].choose_stream()
            case Arrived(number):
                if number in self._peers:
                    self._take_arrived(streams, self._peers[number])
            case CarrierOver(connection, why):
                if connection in self._peers and self._peers[connection].undecided:
                    self._peers[connection].end(why)
                else:
                    self._close(connection, streams.data_to_send(connection))
            case CarrierLost(number, why, waiting):
                if number in self._peers:
                    self._link_lost(self._peers[number], why, waiting)
            case CarrierBack(number, connection, seconds):
                self._link_back(number, connection, seconds)
            case StreamOver(number, why):
                if number in self._peers:
                    self._ended[number] = why or CLOSED
                    self._take_arrived(streams, self._peers[number])
            case _:
                assert_never(event)

    def _take_arrived(self, streams: ResumingServer, peer: Peer) -> None:
        """Take what a stream brought, unless too much is not taken from the peer itself."""
        number = peer.number
        while not peer.paused:
            data = streams.take(number)
            if not data:
                stream = streams.stream(number)
                if number in self._ended:
                    peer.end(self._ended.pop(number), closed=True)
                elif stream is not None and stream.peer_ended:
                    peer.end(CLOSED)
                return
            self._receive(peer, data)
        self._untaken[number] = None

    def _link_lost(self, peer: Peer, why: str, waiting: int) -> None:
        peer.lose_link()
        seat = self._seats.get(peer.name or "")
        if seat is None or seat.holder is None or seat.holder.peer is not peer:
            return
        if seat.contender is not None:
            peer.end(f"{why}, and another slave of its name came")
        else:
            seat.holder.lose_link(why, waiting)

    def _link_back(self, number: int, connection: int, seconds: float) -> None:
        joined = self._peers.pop(connection)
        joined.join()
        self._strangers.leave(connection)
        if number not in self._peers:
            return
        peer = self._peers[number]
        peer.resume(joined.peer)
        for run in self._steps.values():
            if run.connection == number:
                run.link_back()
        seat = self._seats.get(peer.name or "")
        if seat is not None and seat.holder is not None and seat.holder.peer is peer:
            seat.holder.link_back(seconds)

    def _close(self, connection: int, last: bytes) -> None:
        self._context.request(CloseConnection(connection, last))

    def _close_line(self, peer: Peer, why: str, last: bytes) -> None:
        """Have the line of a peer end that is over."""
        streams, number = self._streams, peer.number
        if streams is None or peer.plain:
            self._close(number, last)
        elif peer.undecided:
            self._close(number, streams.data_to_send(number))
            streams.disconnected(number, why, self._context.now)
        else:
            # Its connection is closed as the streams announce it.
            streams.close(number, last, why)
            streams.take(number)

    # -- what children report

    def _settle(self) -> None:
        happenings = self._context.happenings
        while happenings:
            self._carry_out(happenings.popleft())

    def _carry_out(self, happening: Happening) -> None:
        match happening:
            case Asked(task, ask):
                peer = self._peers.get(task.connection)
                if peer is not None:
                    try:
                        peer.ask(task, ask)
                    except LocalProtocolError as error:
                        self._context.answer(task, error)
            case AnswersCame(task, answers):
                if task.connection in self._peers:
                    self._context.answer(task, answers)
            case CommandOver():
                if happening.step in self._steps:
                    self._steps[happening.step].command_over(happening)
            case TransferOver():
                if happening.step in self._steps:
                    self._steps[happening.step].transfer_over(happening)
            case SourceFound():
                if happening.step in self._steps:
                    self._steps[happening.step].source_found(happening)
            case StepOver():
                if happening.build in self._builds:
                    self._builds[happening.build].step_over(happening.step)
                self._forget_step(happening.step)
            case BuildOver():
                self._build_over(happening)
            case LoginWanted():
                self._log_in(self._peers[happening.connection], happening.credentials.name)
            case SlaveReady():
                holder = self._expect_holder(self._peers[happening.connection])
                self._slaves[holder.name] = holder
            case HolderAlive():
                self._holder_alive(happening.connection)
            case PeerBroke():
                if happening.connection in self._peers:
                    self._peers[happening.connection].end(f"broke the protocol: {happening.why}")
            case PeerLeft():
                self._left(happening)
            case _:
                assert_never(happening)

    # -- builds and steps

    def _start_build(self, item: StartBuild) -> None:
        if item.build in self._builds or item.build in self._lost:
            raise LocalProtocolError(f"there is a build {item.build} already")
        slave = self._slaves.get(item.slave)
        if slave is None:
            self._context.announce(BuildRefused(item.build, f"slave {item.slave!r} is not attached"))
            return
        builder = slave.start_build(item)
        if builder is not None:
            self._builds[item.build] = builder

    def _start_step(self, item: StartStep) -> None:
        if item.step in self._steps:
            raise LocalProtocolError(f"there is a step {item.step} already")
        builder = self._builds.get(item.build)
        if builder is not None:
            holder = self._expect_holder(self._peers[builder.connection])
            self._steps[item.step] = builder.start_step(item, holder.info)
        elif item.build in self._lost:
            outcome = Outcome(Result.RETRY, None, self._lost[item.build], {}, 0.0)
            self._context.announce(StepFinished(item.step, outcome))
        else:
            raise LocalProtocolError(f"there is no build {item.build}")

    def _end_build(self, item: EndBuild) -> None:
        self._lost.pop(item.build, None)
        builder = self._builds.get(item.build)
        if builder is not None:
            builder.end_build()

    def _build_over(self, happening: BuildOver) -> None:
        self._builds.pop(happening.build, None)
        if happening.lost is not None:
            self._lost[happening.build] = happening.lost
        peer = self._peers.get(happening.connection)
        if peer is not None:
            self._expect_holder(peer).look()

    def _forget_step(self, step: int) -> None:
        """Forget a step that is over and was abandoned: its output is not asked for any more."""
        if step in self._steps and self._steps[step].forgotten:
            del self._steps[step]

    def _watch(self, connection: int) -> None:
        """See to it in a while that a connection does not stay unread for ever."""
        timers, key = self._context.timers, (connection, Alarm.STALLED, 0)
        if key not in timers:
            timers.set(key, self._context.now + STALL)

    def _unstall(self, peer: Peer) -> None:
        """Set apart what keeps a connection unread, the largest first, if several builds need it."""
        holder = self._expect_holder(peer)
        if sum(builder.busy for builder in holder.builders.values()) > 1:
            runs = [run for run in self._steps.values() if run.connection == peer.number]
            for run in sorted(runs, key=lambda run: run.spool.size, reverse=True):
                run.spool.set_apart()
                if not peer.paused:
                    return
        self._watch(peer.number)

    def _slave(self, name: str) -> BuildSlave:
        slave = self._slaves.get(name)
        if slave is None:
            raise LocalProtocolError(f"slave {name!r} is not attached")
        return slave

    # -- logins

    def _accept(self, item: Accepted) -> None:
        if item.connection in self._peers:
            raise LocalProtocolError(f"there is a connection {item.connection} already")
        context, config, strangers = self._context, self.config, self._strangers
        group = group_of(item.host)
        if not strangers.may_come(group, context.now):
            why = "too many connections from its address came to nothing"
            context.announce(LoginFailed(item.connection, item.peer, None, why))
            self._close(item.connection, b"")
            return
        self._peers[item.connection] = Peer(item, group, context, self._limits, self._noticed)
        if item.secure:
            self._offer(item.connection, ())
        share = config.visitors_per_address
        leaves = strangers.come(
            item.connection, group, context.now, most=config.visitors, share=share, silent=self._is_silent
        )
        if leaves is not None:
            strangers.leave(leaves)
            count = len(strangers)
            self._peers[leaves].end(f"it made room for another one: there are {count} that have not logged in")

    def _is_silent(self, connection: int) -> bool:
        return self._peers[connection].state in (PeerState.SECURING, PeerState.NEGOTIATING)

    def _log_in(self, peer: Peer, name: str | None) -> None:
        """Find out who a client is that responded to the challenge."""
        if name is None:
            text = "No checker for twisted.cred.credentials.IAnonymous"
            peer.refuse("anonymous logins are not allowed", kind=UNHANDLED, message=text, credentials=True)
            return
        if not self._strangers.may_try(peer.group, name, self._context.now):
            peer.refuse("too many wrong passwords from its address: this one was not looked at", credentials=False)
            return
        account = self.config.accounts.get(name)
        if account is None and self.config.ask:
            self._context.announce(AccountWanted(peer.number, name))
        else:
            self._decide(peer, account)

    def _answer_account(self, item: AnswerAccount) -> None:
        peer = self._peers.get(item.connection)
        if peer is None:
            # It did not wait.
            return
        if peer.state is not PeerState.CHECKING:
            raise LocalProtocolError(f"connection {item.connection} does not wait for an account")
        self._decide(peer, item.account)

    def _decide(self, peer: Peer, account: Account | None) -> None:
        if not peer.check(None if account is None else account.password) or account is None:
            self._strangers.was_wrong(peer.group, peer.name or "", self._context.now)
            peer.refuse("wrong name or password")
            return
        # The program may know users by other names than their own.
        peer.name = account.name
        match account:
            case SlaveAccount():
                if account.certificate is not None and account.certificate not in peer.names:
                    shown = ", ".join(peer.names) or "none"
                    why = f"needs the certificate of {account.certificate}, and showed that of {shown}"
                    peer.refuse(why, kind=OTHER_CERTIFICATE, message=f"{account.name} {why}", credentials=True)
                    return
                self._take_seat(peer, account)
            case ChangeAccount():
                peer.admit(f"perspective of {account.name}", _ChangePerspective(account, peer, self._context))
                self._strangers.leave(peer.number)
            case GuestAccount():
                peer.admit(f"perspective of {account.name}", _GuestPerspective(account, peer, self._context))
                self._strangers.leave(peer.number)
            case _:
                assert_never(account)

    # -- one of a name

    def _take_seat(self, peer: Peer, account: SlaveAccount) -> None:
        if peer.mind is None:
            peer.refuse("a slave without a mind", kind="builtins.ValueError", message="a slave needs a mind")
            return
        seat = self._seats.setdefault(account.name, _Seat())
        holder = seat.holder
        if holder is None:
            seat.machine.fire(SeatEvent.CLAIM)
            self._attach(seat, peer, account)
            return
        contested = seat.machine.state is SeatState.CONTESTED
        seat.machine.fire(SeatEvent.CONTEND)
        peer.contend()
        # Its password was right.
        self._strangers.leave(peer.number)
        rival, seat.contender = seat.contender, (peer, account)
        if rival is not None:
            rival[0].refuse("a newer connection took its place", kind=DUPLICATE, message="rejecting duplicate slave")
        if holder.peer.cut:
            holder.peer.end("its link was lost, and another slave of its name came")
        elif not contested:
            holder.arbitrate()

    def _holder_alive(self, connection: int) -> None:
        holder = self._peers.get(connection)
        seat = self._seats.get(holder.name or "") if holder is not None else None
        # The contender may have given up by now.
        if holder is not None and seat is not None and seat.contender is not None:
            seat.machine.fire(SeatEvent.ALIVE)
            (peer, _), seat.contender = seat.contender, None
            why = f"{holder.name} is connected from {holder.peer}, and alive"
            peer.refuse(why, kind=DUPLICATE, message="rejecting duplicate slave")

    def _expect_holder(self, peer: Peer) -> BuildSlave:
        """Return the slave of a connection that has the seat of its name."""
        holder = self._seats[peer.name or ""].holder
        assert holder is not None
        return holder

    def _attach(self, seat: _Seat, peer: Peer, account: SlaveAccount) -> None:
        assert peer.mind is not None
        self._strangers.attach(peer.number, peer.group)
        peer.attach()
        seat.holder = BuildSlave(account, peer, peer.mind, self._context)
        seat.holder.attach()

    def _left(self, happening: PeerLeft) -> None:
        """Forget a connection that is over. A contender for its name gets the seat."""
        peer = self._peers.pop(happening.connection)
        self._ended.pop(peer.number, None)
        self._untaken.pop(peer.number, None)
        self._held_back.pop(peer.number, None)
        self._context.timers.cancel((peer.number, Alarm.UNTAKEN, 0))
        if happening.last is not None:
            self._close_line(peer, happening.why, happening.last)
        self._strangers.fail(peer.number, self._context.now)
        self._context.timers.cancel((peer.number, Alarm.STALLED, 0))
        seat = self._seats.get(peer.name or "")
        if seat is None:
            return
        if seat.contender is not None and seat.contender[0] is peer:
            seat.machine.fire(SeatEvent.WITHDRAW)
            seat.contender = None
        elif seat.holder is not None and seat.holder.peer is peer:
            holder, seat.holder = seat.holder, None
            self._slaves.pop(holder.name, None)
            holder.lost(happening.why)
            if seat.contender is not None and seat.contender[0].gone:
                seat.machine.fire(SeatEvent.WITHDRAW)
                seat.contender = None
            seat.machine.fire(SeatEvent.LEAVE)
            contender, seat.contender = seat.contender, None
            if contender is None:
                del self._seats[holder.name]
            else:
                self._attach(seat, *contender)

    def _configure(self, config: MasterConfig) -> None:
        self._context.config = config
        for peer in list(self._peers.values()):
            account = config.accounts.get(peer.name or "")
            if peer.state is not PeerState.ADMITTED or peer.slave is not None or (account is None and config.ask):
                continue
            if account is None or isinstance(account, SlaveAccount):
                peer.end(DISMISSED)
        for name, seat in list(self._seats.items()):
            account = config.accounts.get(name)
            if account is None and config.ask:
                continue
            # The contender first: it may get the seat of a holder that has to go.
            if seat.contender is not None:
                peer, _ = seat.contender
                if isinstance(account, SlaveAccount):
                    seat.contender = (peer, account)
                else:
                    seat.machine.fire(SeatEvent.WITHDRAW)
                    seat.contender = None
                    peer.refuse(DISMISSED)
            if seat.holder is not None:
                if isinstance(account, SlaveAccount):
                    seat.holder.configure(account)
                else:
                    seat.holder.dismiss()

    # -- guests

    def _answer_guest(self, item: AnswerGuest) -> None:
        peer = self._peers.get(item.connection)
        if peer is None:
            # It did not wait.
            return
        if item.call not in peer.questions:
            raise LocalProtocolError(f"connection {item.connection} does not wait for the answer to a call {item.call}")
        if isinstance(item.value, Failure):
            peer.connection.fail(item.call, item.value)
        else:
            peer.connection.answer(item.call, item.value)
        del peer.questions[item.call]
        peer.touch()
        peer.leave_if_done()


class _ChangePerspective:
    """The perspective of a user that tells of changes."""

    def __init__(self, account: ChangeAccount, peer: Peer, context: MasterContext) -> None:
        self._account = account
        self._peer = peer
        self._context = context

    def handle(self, connection: Connection, call: Call) -> None:
        if call.method != "addChange":
            raise no_such_method(call, "perspective")
        change = read_change(call)
        waits = self._account.confirm
        if waits:
            self._peer.questions[call.id] = None
        else:
            connection.answer(call.id)
        number = call.id if waits else None
        self._context.announce(ChangeReceived(self._account.name, change, self._peer.number, number))


class _GuestPerspective:
    """The perspective of a guest: the methods that the program lets it call."""

    def __init__(self, account: GuestAccount, peer: Peer, context: MasterContext) -> None:
        self._account = account
        self._peer = peer
        self._context = context

    def handle(self, connection: Connection, call: Call) -> None:
        if call.method not in self._account.methods:
            raise no_such_method(call, "perspective")
        self._peer.questions[call.id] = None
        event = GuestCalled(self._peer.number, call.id, self._account.name, call.method, call.args, call.kwargs)
        self._context.announce(event)
