"""One slave, from the moment when its password was right to the end of its connection.

Source: manual page, sections "Setup" and "Bot methods"; `buildslave.py`, `process/slavebuilder.py` of Buildbot 0.8.4p1;
`worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.master.builder import RemoteBuilder
from slaveproto.master.config import MasterConfig, SlaveAccount
from slaveproto.master.context import MasterContext
from slaveproto.master.events import (
    BuildersChanged,
    BuildRefused,
    Ponged,
    ShutdownWanted,
    SlaveAttached,
    SlaveDetached,
    SlaveInfo,
    StartBuild,
)
from slaveproto.master.info import NOTHING_SAID, text_of
from slaveproto.master.peer import Peer
from slaveproto.master.states import (
    ATTACH,
    DEPARTURE,
    AttachEvent,
    AttachState,
    DepartureEvent,
    DepartureState,
    RemoteBuilderState,
)
from slaveproto.master.steps import AnyStep
from slaveproto.master.translate import CommandRequest, Env, commands_for
from slaveproto.updates import Dialect, plain
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import NO_SUCH_METHOD, no_such_method, parameters
from slaveproto.wire.values import Failure, Remote, Value, remotes_in

KEEPALIVE: Final = "keepalive"

DEPARTING: Final = "departing"

TWISTED_BUILDERS: Final = 1024
"""Most builders of a slave that rides on Twisted: it hands out no more objects."""


class Keeper(Protocol):
    """What a slave needs of the session."""

    config: MasterConfig

    def slave_attached(self, slave: BuildSlave) -> None:
        """The slave can be used from now on."""


class BuildSlave:
    """A slave that is being attached, or is.

    Args:
        account: who it is.
        visit: its connection.
        mind: its bot.
        realm: the surroundings.
        keeper: the session.
    """

    # A master has thousands.
    __slots__ = (
        "_attach", "_bot", "_departure", "_dismissed", "_info", "_introducing", "_keeper", "_listed", "_listing",
        "_realm", "_shown", "account", "builders", "visit",
    )  # fmt: skip

    def __init__(self, account: SlaveAccount, visit: Peer, mind: Remote, realm: MasterContext, keeper: Keeper) -> None:
        self.account = account
        self.visit = visit
        self.builders: dict[str, RemoteBuilder] = {}
        self._bot = mind
        self._realm = realm
        self._keeper = keeper
        self._attach = Machine(ATTACH)
        self._departure = Machine(DEPARTURE)
        self._info = NOTHING_SAID
        # What was last sent as the list of builders, and whether its answer is still to come.
        self._listed: Mapping[str, str] = {}
        self._listing = False
        self._introducing = 0
        self._shown: tuple[str, ...] = ()
        self._dismissed = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.account.name

    @property
    def info(self) -> SlaveInfo:
        """What it says of itself."""
        return self._info

    @property
    def attached(self) -> bool:
        """Whether it can be used."""
        return self._attach.state is AttachState.ATTACHED

    @property
    def leaving(self) -> bool:
        """Whether it gets no new builds."""
        return self._departure.state is not DepartureState.STAYING or bool(self._dismissed)

    @property
    def _busy(self) -> bool:
        return any(builder.busy for builder in self.builders.values())

    def _call(
        self,
        method: str,
        args: tuple[Value, ...],
        then: Callable[[Value | Failure, float], None],
        *,
        keep: bool = False,
    ) -> None:
        self.visit.call(self._bot, method, args, then=then, timeout=self._keeper.config.attach_timeout, keep=keep)

    def _give_up(self, what: str, failure: Failure, now: float) -> None:
        self.visit.end(f"{what} failed: {failure.kind}: {failure.message}", now)

    # -- attaching

    def attach(self) -> None:
        """Ask the slave about itself. Of which generation it is, shows by what it knows."""
        self.visit.call(self._bot, "print", ("attached",), then=None)
        self._call("getWorkerInfo", (), self._worker_info)

    def _worker_info(self, outcome: Value | Failure, now: float) -> None:
        if not isinstance(outcome, Failure):
            self._attach.fire(AttachEvent.WORKER_INFO)
            self._informed(outcome, None, None, now)
        elif outcome.is_a(NO_SUCH_METHOD):
            self._attach.fire(AttachEvent.NO_WORKER_INFO)
            self.visit.dialect = Dialect.BYTES
            self._ask_old()
        else:
            self._give_up("getWorkerInfo", outcome, now)

    def _ask_old(self) -> None:
        told: dict[str, Value] = {}

        def hear(method: str) -> Callable[[Value | Failure, float], None]:
            def answered(outcome: Value | Failure, now: float) -> None:
                if not isinstance(outcome, Failure):
                    told[method] = outcome
                elif outcome.is_a(NO_SUCH_METHOD):
                    told[method] = None
                else:
                    self._give_up(method, outcome, now)
                    return
                if len(told) == len(methods):
                    self._attach.fire(AttachEvent.SLAVE_INFO)
                    self._informed(told["getSlaveInfo"], told["getCommands"], told["getVersion"], now)

            return answered

        methods = ("getSlaveInfo", "getCommands", "getVersion")
        for method in methods:
            self._call(method, (), hear(method))

    def _informed(self, told: Value, commands: Value, version: Value, now: float) -> None:
        self._info = self._realm.sayings.read(told, commands, version)
        self._list_builders(now)

    def _introduced(self, now: float) -> None:
        for name in [name for name, builder in self.builders.items() if builder.state is RemoteBuilderState.GONE]:
            del self.builders[name]
        self._introducing -= 1
        if self._introducing:
            return
        if self._attach.state is AttachState.INTRODUCING:
            self._attach.fire(AttachEvent.INTRODUCED)
            self.visit.admit(f"perspective of {self.name}", self)
            self._shown = self.ready_builders()
            self._realm.announce(SlaveAttached(self.name, self.visit.peer, self._info, self._shown))
            self._keeper.slave_attached(self)
            self._set_keepalive(now + self._keeper.config.keepalive)
        self._show_builders()
        self._look(now)

    # -- the list of builders

    def ready_builders(self) -> tuple[str, ...]:
        """The names of the builders that can be used, sorted."""
        return tuple(sorted(name for name, builder in self.builders.items() if builder.ready))

    def idle_builders(self) -> tuple[str, ...]:
        """The names of the builders on which a build can be started, sorted."""
        if self.leaving:
            return ()
        return tuple(sorted(name for name, builder in self.builders.items() if builder.ready and not builder.busy))

    def _show_builders(self) -> None:
        ready = self.ready_builders()
        if self.attached and ready != self._shown:
            self._shown = ready
            self._realm.announce(BuildersChanged(self.name, ready))

    def configure(self, account: SlaveAccount, now: float) -> None:
        """Take a new list of builders; what is busy stays on it until its build is over."""
        self.account = account
        self._dismissed = ""
        for builder in self.builders.values():
            builder.wanted = builder.name in account.builders
        self._show_builders()
        if self.attached:
            self._set_keepalive(self.visit.last_heard + self._keeper.config.keepalive)
            self._look(now)

    def _wanted(self) -> Mapping[str, str]:
        # What is busy keeps its place and its directory: a slave says no more of a builder that it lost.
        busy = {name: builder.directory for name, builder in self.builders.items() if builder.busy}
        return {**self.account.builders, **busy} if busy else self.account.builders

    def _list_builders(self, now: float) -> None:
        wanted = self._wanted()
        for name in [name for name in self.builders if name not in wanted]:
            self.builders.pop(name).unlist()
        for name, directory in wanted.items():
            if name not in self.builders:
                self.builders[name] = RemoteBuilder(name, directory, self.visit, self._realm, self)
            self.builders[name].directory = directory
        self._listed = wanted
        self._listing = True
        pairs = plain(list(wanted.items()), self.visit.dialect, "utf-8")
        try:
            self._call("setBuilderList", (pairs,), self._listed_over_there, keep=True)
        except LocalProtocolError as error:
            self.visit.end(f"the list of builders cannot be sent: {error}", now)

    def _listed_over_there(self, outcome: Value | Failure, now: float) -> None:
        self._listing = False
        if isinstance(outcome, Failure):
            few = len(self._listed) <= TWISTED_BUILDERS
            hint = "" if few else f"; a slave on Twisted takes {TWISTED_BUILDERS}"
            self._give_up(f"setBuilderList with {len(self._listed)} builders{hint}", outcome, now)
            return
        if not isinstance(outcome, dict):
            raise RemoteProtocolError("the answer to setBuilderList is no dictionary")
        if self._attach.state is AttachState.LISTING:
            self._attach.fire(AttachEvent.LISTED)
        missing = set(self.builders)
        kept: set[Remote] = set()
        for key, remote in outcome.items():
            # In the kind in which the name was sent.
            name = text_of(key)
            if isinstance(remote, Remote) and name in self.builders:
                if remote in kept:
                    # Sent once for both; nobody could give back one of them.
                    raise RemoteProtocolError("the answer to setBuilderList has one object for two builders")
                kept.add(remote)
                self.builders[name].found(remote)
                missing.discard(name)
        for remote in remotes_in(outcome):
            if remote not in kept:
                self.visit.release(remote)
        # One more than there are, so that an empty list is introduced, too.
        self._introducing += 1
        for builder in list(self.builders.values()):
            if builder.name in missing:
                self.visit.notice(f"the slave has no builder {builder.name!r}")
                builder.wanted = False
                if not builder.busy:
                    self.builders.pop(builder.name).unlist()
            elif builder.state is RemoteBuilderState.INTRODUCED:
                if self.visit.dialect is Dialect.BYTES:
                    self._introducing += 1
                    builder.introduce(self._keeper.config.attach_timeout, self._introduced)
                else:
                    builder.be_ready()
        self._introduced(now)

    def build_over(self, now: float) -> None:
        """A build is over."""
        self._look(now)

    def _look(self, now: float) -> None:
        """A build is over, or the configuration is another one: is there something that had to wait for that?"""
        if self.visit.gone or not self.attached or self._listing or self._introducing:
            return
        if self._dismissed and not self._busy:
            self.visit.end(self._dismissed, now)
        elif self._departure.state is DepartureState.LEAVING and not self._busy:
            self._ask_to_go(now)
        elif self._wanted() != self._listed:
            self._list_builders(now)

    # -- signs of life

    def ping(self) -> None:
        """Ask for a sign of life, and say so when it came."""
        self._sign_of_life("ping", self._keeper.config.ping_timeout, lambda *_: self._realm.announce(Ponged(self.name)))

    def is_anybody_there(self, timeout: float, then: Callable[[float], None]) -> None:
        """Ask because somebody else came by the same name; `then` follows if anybody is.

        Who does not answer in time but says other things is somebody, too. Else the connection ends.
        """
        text = "master got a duplicate connection; keeping this one"
        self._sign_of_life(text, timeout, lambda _, now: then(now), then)

    def _sign_of_life(
        self,
        text: str,
        timeout: float,
        then: Callable[[Value, float], None],
        busy: Callable[[float], None] | None = None,
    ) -> None:
        def answered(outcome: Value | Failure, now: float) -> None:
            if isinstance(outcome, Failure):
                self._give_up("a ping", outcome, now)
            else:
                then(outcome, now)

        self.visit.call(self._bot, "print", (text,), then=answered, timeout=timeout, busy=busy)

    def keep_alive(self, now: float) -> None:
        """The time has come to ask, unless the slave has said something anyway."""
        due = self.visit.last_heard + self._keeper.config.keepalive
        if due <= now:
            self._sign_of_life("keepalive", self._keeper.config.silence, lambda *_: None)
            due = now + self._keeper.config.keepalive
        self._set_keepalive(due)

    def _set_keepalive(self, due: float) -> None:
        if self._keeper.config.keepalive:
            self._realm.timers.set((self.visit.number, KEEPALIVE), due)
        else:
            self._realm.timers.cancel((self.visit.number, KEEPALIVE))

    # -- builds

    def start_build(self, item: StartBuild) -> None:
        """Begin a build, or refuse it.

        Raises:
            LocalProtocolError: another build has the builder.
        """
        builder = self.builders.get(item.builder)
        if builder is None or not builder.ready:
            why = f"slave {self.name} has no builder {item.builder!r} that is ready"
            self._realm.announce(BuildRefused(item.build, why))
        elif self.leaving:
            self._realm.announce(BuildRefused(item.build, f"slave {self.name} is leaving"))
        else:
            builder.start_build(item.build, self._bot, self._keeper.config.ping_timeout)

    def orders(self, what: AnyStep, env: Env) -> tuple[CommandRequest, ...]:
        """Return what a step means to this slave."""
        return commands_for(what, env, self._info, self.visit.dialect)

    # -- the perspective

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Carry out a call of the slave on its perspective."""
        match call.method:
            case "keepalive":
                parameters(call)
                connection.answer(call.id)
            case "shutdown":
                parameters(call)
                connection.answer(call.id)
                self.let_go(now)
            case _:
                raise no_such_method(call, "perspective")

    # -- the end

    def let_go(self, now: float) -> None:
        """It gets no new build, and is shut down when it has none."""
        first = self._departure.state is DepartureState.STAYING
        self._departure.fire(DepartureEvent.WANT)
        if first:
            self._realm.announce(ShutdownWanted(self.name))
        self._look(now)

    def shut_down(self, now: float) -> None:
        """Shut it down at once."""
        self._departure.fire(DepartureEvent.WANT)
        if self._departure.state is DepartureState.LEAVING:
            self._ask_to_go(now)

    def _ask_to_go(self, now: float) -> None:
        def answered(outcome: Value | Failure, now: float) -> None:
            if isinstance(outcome, Failure) and outcome.is_a(NO_SUCH_METHOD):
                self._departure.fire(DepartureEvent.NO_METHOD)
                remotes = [builder.remote for builder in self.builders.values() if builder.remote is not None]
                if remotes:
                    # It ends at once, and so never answers.
                    self.visit.call(remotes[0], "shutdown", (), then=None)
                else:
                    self.visit.end("it cannot be shut down but through a builder, and has none", now)
            elif isinstance(outcome, Failure):
                self._give_up("shutdown", outcome, now)

        self._departure.fire(DepartureEvent.ASK)
        self._call("shutdown", (), answered)
        self._realm.timers.set((self.visit.number, DEPARTING), now + self._keeper.config.ping_timeout)

    def did_not_go(self, now: float) -> None:
        """It was shut down some time ago."""
        self.visit.end("it was shut down and did not go", now)

    def dismiss(self, why: str, now: float) -> None:
        """Close its connection when it runs no build."""
        self._dismissed = why
        if not self._busy:
            self.visit.end(why, now)

    def lost(self, why: str, now: float) -> None:
        """The connection is over: so is everything here."""
        was_attached = self.attached
        self._attach.fire(AttachEvent.END)
        self._realm.timers.cancel((self.visit.number, KEEPALIVE))
        self._realm.timers.cancel((self.visit.number, DEPARTING))
        for builder in self.builders.values():
            builder.lose(why, now)
        if was_attached:
            self._realm.announce(SlaveDetached(self.name, why))
