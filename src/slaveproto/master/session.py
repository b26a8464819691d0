"""The master, without I/O: every connection to one port, and everybody who comes over them.

`MasterSession` is a pure function of its constructor's arguments and of the inputs that `handle` was given. The order
for whoever drives it: `handle` an input; perform every one of `requests()`; for each of `connections_to_send()` send
`data_to_send(connection)` whenever the data before it is sent; read `next_event()` until None; take `output(step)` of
every step that spoke or finished; leave a connection unread while it is `paused`; wait for the next input, but no
longer than until `deadline`.

Source: manual page, sections "Connection" to "Building"; `pbmanager.py`, `process/botmaster.py` of Buildbot 0.8.4p1,
`worker/manager.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from slaveproto.effects import CloseConnection, Request
from slaveproto.errors import LocalProtocolError
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.limits import Limits
from slaveproto.machine import Machine
from slaveproto.master.buildslave import DEPARTING, KEEPALIVE, BuildSlave
from slaveproto.master.changes import read_change
from slaveproto.master.config import Account, ChangeAccount, GuestAccount, MasterConfig, SlaveAccount
from slaveproto.master.context import Abandoned, MasterContext
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
    Secured,
    ShutDownSlave,
    StartBuild,
    StartStep,
    StepFinished,
)
from slaveproto.master.output import Output
from slaveproto.master.peer import Peer
from slaveproto.master.results import Result
from slaveproto.master.states import SEAT, SeatEvent, SeatState
from slaveproto.master.states import PeerState as Visits
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import no_such_method
from slaveproto.wire.values import Failure

ARBITRATION: Final = 10.0
"""Seconds that the holder of a name has to answer when somebody else comes by the same name."""

DUPLICATE: Final = "builtins.RuntimeError"


class _Place:
    """The seat of one slave name."""

    __slots__ = ("contender", "holder", "machine")

    def __init__(self) -> None:
        self.machine = Machine(SEAT)
        self.holder: BuildSlave | None = None
        self.contender: tuple[Peer, SlaveAccount] | None = None


class MasterSession:
    """One master.

    Args:
        config: who may come, and how long who is waited for.
        limits: what somebody who has logged in can make us hold.
    """

    def __init__(
        self,
        config: MasterConfig = MasterConfig(),  # noqa: B008  frozen
        limits: Limits = Limits(calls=1000, references=100_000),  # noqa: B008  frozen
    ) -> None:
        self.config = config
        self._limits = limits
        self._realm = MasterContext()
        self._visits: dict[int, Peer] = {}
        # Those of them that have not logged in.
        self._strangers: set[int] = set()
        self._places: dict[str, _Place] = {}
        self._slaves: dict[str, BuildSlave] = {}

    # -- the doors out

    @property
    def deadline(self) -> float | None:
        """When `handle(Wakeup(), ...)` is due, in the clock of `now`; None for not before another input."""
        return self._realm.timers.deadline

    def requests(self) -> list[Request]:
        """Return the effects to start now: `FileEffect`, and `CloseConnection` with your number of the connection."""
        return self._realm.take_requests()

    def connections_to_send(self) -> list[int]:
        """Return the connections that may have something to send since the last time, each once."""
        touched, self._realm.touched = self._realm.touched, {}
        return [number for number in touched if number in self._visits]

    def data_to_send(self, connection: int) -> bytes:
        """Return bytes for a connection and forget them; nothing for one that is over."""
        visit = self._visits.get(connection)
        return visit.data_to_send() if visit is not None else b""

    def paused(self, connection: int) -> bool:
        """Whether a connection is to be left unread, because what it brought is not taken or not written yet."""
        visit = self._visits.get(connection)
        return visit is not None and visit.paused

    def next_event(self) -> MasterEvent | None:
        """Return the next announcement, None if there is no more."""
        events = self._realm.events
        return events.popleft() if events else None

    def output(self, step: int) -> list[Output]:
        """Return what a step said and forget it; nothing for one that is over and has said all."""
        run = self._realm.steps.get(step)
        if run is None:
            return []
        if run.over:
            del self._realm.steps[step]
        return run.spool.take()

    # -- what there is

    @property
    def slaves(self) -> Mapping[str, BuildSlave]:
        """The slaves that are attached, by name; only to be looked at."""
        return self._slaves

    def idle_builders(self, slave: str) -> tuple[str, ...]:
        """Return the builders of a slave on which a build can be started now, sorted.

        None of a slave that is not attached, or is leaving. It changes with your own inputs (`StartBuild`, `EndBuild`,
        `Configure`, ...), and with `SlaveAttached`, `SlaveDetached`, `BuildersChanged`, `BuildRefused`, `BuildLost` and
        `ShutdownWanted`.
        """
        there = self._slaves.get(slave)
        return there.idle_builders() if there is not None else ()

    @property
    def census(self) -> Mapping[str, int]:
        """How much there is of everything that comes and goes, for tests: without connections all of it is 0.

        Builds count until they are ended, lost ones too; steps until their output is taken; requests until they are
        replied to.
        """
        realm = self._realm
        return {
            "connections": len(self._visits),
            "strangers": len(self._strangers),
            "seats": len(self._places),
            "slaves": len(self._slaves),
            "builds": len(realm.builds) + len(realm.lost),
            "steps": len(realm.steps),
            "timers": len(realm.timers),
            "requests": realm.waiting,
        }

    # -- the door in

    def handle(self, item: MasterInput, *, now: float) -> None:
        """Take one input at the time `now`, in seconds of any clock that never goes back.

        Raises:
            LocalProtocolError: what you want is not possible as things are; nothing changed.
        """
        realm = self._realm
        realm.now = now
        match item:
            case Received():
                visit = self._visits.get(item.connection)
                if visit is not None:
                    visit.received(item.data, now)
            case Completed():
                realm.reply(item.request, item.result, now)
            case Rejected():
                realm.reply(item.request, item.error, now)
            case Wakeup():
                pass
            case Accepted():
                self._accept(item, now)
            case Secured():
                visit = self._visits.get(item.connection)
                if visit is not None:
                    visit.secured()
            case Disconnected():
                visit = self._visits.get(item.connection)
                if visit is not None:
                    visit.end(item.why or "closed the connection", now, closed=True)
            case Configure():
                self._configure(item.config, now)
            case AnswerAccount():
                self._answer_account(item, now)
            case AnswerGuest():
                self._answer_guest(item, now)
            case Ping():
                self._slave(item.slave).ping()
            case StartBuild():
                self._start_build(item)
            case StartStep():
                self._start_step(item, now)
            case InterruptStep():
                run = realm.steps.get(item.step)
                if run is not None:
                    run.interrupt(item.why, now)
            case AbandonStep():
                run = realm.steps.get(item.step)
                if run is not None:
                    run.abandon(item.patience, now)
                    if run.over:
                        self.output(item.step)
            case EndBuild():
                realm.lost.pop(item.build, None)
                if item.build in realm.builds:
                    realm.builds[item.build].end_build(now)
            case ShutDownSlave():
                slave = self._slave(item.slave)
                if item.graceful:
                    slave.let_go(now)
                else:
                    slave.shut_down(now)
            case Disconnect():
                self._slave(item.slave).visit.end(item.why, now)
            case Stop():
                for visit in list(self._visits.values()):
                    visit.end(item.why, now)
            case _:
                assert_never(item)
        for number, what in realm.timers.pop_expired(now):
            visit = self._visits.get(number)
            if visit is not None:
                self._expired(visit, what, now)

    # What happened a moment ago, and is not read yet, is nobody's fault: it refuses a build and ends a step.

    def _start_build(self, item: StartBuild) -> None:
        if item.build in self._realm.builds or item.build in self._realm.lost:
            raise LocalProtocolError(f"there is a build {item.build} already")
        slave = self._slaves.get(item.slave)
        if slave is None:
            self._realm.announce(BuildRefused(item.build, f"slave {item.slave!r} is not attached"))
        else:
            slave.start_build(item)

    def _start_step(self, item: StartStep, now: float) -> None:
        realm = self._realm
        if item.step in realm.steps:
            raise LocalProtocolError(f"there is a step {item.step} already")
        if item.build in realm.builds:
            realm.builds[item.build].start_step(item, now)
        elif item.build in realm.lost:
            outcome = Outcome(Result.RETRY, None, realm.lost[item.build], {}, 0.0)
            realm.announce(StepFinished(item.step, outcome))
        else:
            raise LocalProtocolError(f"there is no build {item.build}")

    def _slave(self, name: str) -> BuildSlave:
        slave = self._slaves.get(name)
        if slave is None:
            raise LocalProtocolError(f"slave {name!r} is not attached")
        return slave

    def _expired(self, visit: Peer, what: str | int | Abandoned, now: float) -> None:
        slave = self._slaves.get(visit.slave or "")
        if slave is not None and what == KEEPALIVE:
            slave.keep_alive(now)
        elif slave is not None and what == DEPARTING:
            slave.did_not_go(now)
        elif isinstance(what, Abandoned):
            visit.end("it did not end an interrupted step", now)
        else:
            visit.expired(what, now)

    # -- who comes

    def _accept(self, item: Accepted, now: float) -> None:
        if item.connection in self._visits:
            raise LocalProtocolError(f"there is a connection {item.connection} already")
        if len(self._strangers) >= self.config.visitors:
            why = f"there are {len(self._strangers)} others already that have not logged in"
            self._realm.announce(LoginFailed(item.connection, item.peer, None, why))
            self._realm.tell(CloseConnection(item.connection, b""))
            return
        self._strangers.add(item.connection)
        self._visits[item.connection] = Peer(item, self._realm, self, self._limits, self.config.login_timeout, now)

    def log_in(self, visit: Peer, name: str, now: float) -> None:
        """Find out who somebody is that responded to the challenge."""
        account = self.config.accounts.get(name)
        if account is None and self.config.ask:
            self._realm.announce(AccountWanted(visit.number, name))
        else:
            self._decide(visit, account, now)

    def _answer_account(self, item: AnswerAccount, now: float) -> None:
        visit = self._visits.get(item.connection)
        if visit is None:
            # It did not wait.
            return
        if visit.state is not Visits.CHECKING:
            raise LocalProtocolError(f"connection {item.connection} does not wait for an account")
        self._decide(visit, item.account, now)

    def _decide(self, visit: Peer, account: Account | None, now: float) -> None:
        if not visit.check(account) or account is None:
            visit.refuse("wrong name or password")
            return
        # The program may know users by other names than their own.
        visit.name = account.name
        if isinstance(account, SlaveAccount):
            self._seat(visit, account)
        else:
            perspective = (
                _ChangePerspective(account, self._realm)
                if isinstance(account, ChangeAccount)
                else _GuestPerspective(account, visit, self._realm)
            )
            visit.admit(f"perspective of {account.name}", perspective)
            self._strangers.discard(visit.number)

    # -- one of a name

    def _seat(self, visit: Peer, account: SlaveAccount) -> None:
        if visit.mind is None:
            visit.refuse("a slave without a mind", kind="builtins.ValueError", message="a slave needs a mind")
            return
        place = self._places.setdefault(account.name, _Place())
        holder = place.holder
        if holder is None:
            self._attach(place, visit, account)
            return
        contested = place.machine.state is SeatState.CONTESTED
        place.machine.fire(SeatEvent.CONTEND)
        visit.contend()
        rival, place.contender = place.contender, (visit, account)
        if rival is not None:
            rival[0].refuse("a newer connection took its place", kind=DUPLICATE, message="rejecting duplicate slave")
        if not contested:
            holder.is_anybody_there(ARBITRATION, lambda _: self._is_alive(place, holder))

    def _is_alive(self, place: _Place, holder: BuildSlave) -> None:
        # The contender may have given up by now. A holder who is gone answers nothing.
        if place.contender is not None:
            place.machine.fire(SeatEvent.ALIVE)
            (visit, _), place.contender = place.contender, None
            why = f"{holder.name} is connected from {holder.visit.peer}, and alive"
            visit.refuse(why, kind=DUPLICATE, message="rejecting duplicate slave")

    def _attach(self, place: _Place, visit: Peer, account: SlaveAccount) -> None:
        assert visit.mind is not None
        if place.machine.can(SeatEvent.CLAIM):
            place.machine.fire(SeatEvent.CLAIM)
        self._strangers.discard(visit.number)
        visit.attach()
        place.holder = BuildSlave(account, visit, visit.mind, self._realm, self)
        place.holder.attach()

    def slave_attached(self, slave: BuildSlave) -> None:
        """A slave can be used from now on."""
        self._slaves[slave.name] = slave

    def left(self, visit: Peer, why: str, now: float) -> None:
        """A connection is over. If somebody waits for the name, it is his."""
        del self._visits[visit.number]
        self._strangers.discard(visit.number)
        place = self._places.get(visit.name or "")
        if place is None:
            return
        if place.contender is not None and place.contender[0] is visit:
            place.machine.fire(SeatEvent.WITHDRAW)
            place.contender = None
        elif place.holder is not None and place.holder.visit is visit:
            holder, place.holder = place.holder, None
            self._slaves.pop(holder.name, None)
            holder.lost(why, now)
            place.machine.fire(SeatEvent.LEAVE)
            contender, place.contender = place.contender, None
            if contender is None:
                del self._places[holder.name]
            else:
                self._attach(place, *contender)

    def _configure(self, config: MasterConfig, now: float) -> None:
        self.config = config
        why = "it is not configured any more"
        for visit in list(self._visits.values()):
            account = config.accounts.get(visit.name or "")
            if visit.state is not Visits.ADMITTED or visit.slave is not None or (account is None and config.ask):
                continue
            if account is None or isinstance(account, SlaveAccount):
                visit.end(why, now)
        for name, place in list(self._places.items()):
            account = config.accounts.get(name)
            if account is None and config.ask:
                continue
            # The contender first: it may get the seat of a holder that has to go.
            if place.contender is not None:
                visit, _ = place.contender
                if isinstance(account, SlaveAccount):
                    place.contender = (visit, account)
                else:
                    place.machine.fire(SeatEvent.WITHDRAW)
                    place.contender = None
                    visit.refuse(why)
            if place.holder is not None:
                if isinstance(account, SlaveAccount):
                    place.holder.configure(account, now)
                else:
                    place.holder.dismiss(why, now)

    # -- guests

    def _answer_guest(self, item: AnswerGuest, now: float) -> None:
        visit = self._visits.get(item.connection)
        if visit is None:
            # It did not wait.
            return
        if item.call not in visit.questions:
            raise LocalProtocolError(f"connection {item.connection} does not wait for the answer to a call {item.call}")
        if isinstance(item.value, Failure):
            visit.connection.fail(item.call, item.value)
        else:
            visit.connection.answer(item.call, item.value)
        del visit.questions[item.call]
        visit.touch()
        visit.leave_if_done(now)


class _ChangePerspective:
    """What somebody sees who tells of changes."""

    def __init__(self, account: ChangeAccount, realm: MasterContext) -> None:
        self._account = account
        self._realm = realm

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        if call.method != "addChange":
            raise no_such_method(call, "perspective")
        change = read_change(call)
        connection.answer(call.id)
        self._realm.announce(ChangeReceived(self._account.name, change))


class _GuestPerspective:
    """What a guest sees: what the program lets him see."""

    def __init__(self, account: GuestAccount, visit: Peer, realm: MasterContext) -> None:
        self._account = account
        self._visit = visit
        self._realm = realm

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        if call.method not in self._account.methods:
            raise no_such_method(call, "perspective")
        self._visit.questions[call.id] = None
        event = GuestCalled(self._visit.number, call.id, self._account.name, call.method, call.args, call.kwargs)
        self._realm.announce(event)
