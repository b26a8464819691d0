"""One slave, from the moment when its password was right to the end of its connection.

Rules.

* It is attached by a script: who it is (`getWorkerInfo`, or what slaves before 0.9 know), then its first list of
  builders; only then its login is answered. Any failure ends its connection.
* What has to wait (another list of builders, a departure, a dismissal) is looked at whenever a build is over, a list is
  settled, or the configuration is another one (`look`).
* A slave that is asked for a sign of life and says anything else instead is alive.
* What a slave is asked again and again is its version: all know it, and none writes a line into its log about it, as
  they do about `print`.

Source: manual page, sections "Setup" and "Bot methods"; `buildslave.py`, `process/slavebuilder.py` of Buildbot 0.8.4p1;
`worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from slaveproto.effects import CountUnacknowledged, Script
from slaveproto.errors import HostError
from slaveproto.liveness import Probe
from slaveproto.machine import Machine
from slaveproto.master.builder import RemoteBuilder
from slaveproto.master.config import SlaveAccount
from slaveproto.master.context import Alarm, MasterContext
from slaveproto.master.dialect import SLAVE, worker_dialect
from slaveproto.master.events import (
    BuildersChanged,
    BuildRefused,
    Ponged,
    ShutdownWanted,
    SlaveAttached,
    SlaveBack,
    SlaveCut,
    SlaveDetached,
    SlaveInfo,
    StartBuild,
)
from slaveproto.master.happenings import HolderAlive, SlaveReady
from slaveproto.master.info import NOTHING_SAID, version_of
from slaveproto.master.listing import BuilderList
from slaveproto.master.peer import Peer
from slaveproto.master.states import ATTACH, DEPARTURE, AttachEvent, AttachState, DepartureEvent, DepartureState
from slaveproto.master.tasks import Ask, MasterTask
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import NO_SUCH_METHOD, no_such_method, parameters
from slaveproto.wire.values import Failure, Remote, Value

DISMISSED: Final = "it is not configured any more"


class BuildSlave:
    """A slave that is being attached, or is.

    Args:
        account: the slave's.
        peer: its connection.
        mind: its bot.
        context: the surroundings.
    """

    # A master has thousands.
    __slots__ = ("_attach", "_bot", "_context", "_departure", "_info", "_list", "_shown", "account", "peer")

    def __init__(self, account: SlaveAccount, peer: Peer, mind: Remote, context: MasterContext) -> None:
        self.account = account
        self.peer = peer
        self._bot = mind
        self._context = context
        self._attach = Machine(ATTACH)
        self._departure = Machine(DEPARTURE)
        self._list = BuilderList(account.builders, mind, peer, context)
        self._info = NOTHING_SAID
        self._shown: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name."""
        return self.account.name

    @property
    def info(self) -> SlaveInfo:
        """Its description of itself."""
        return self._info

    @property
    def builders(self) -> Mapping[str, RemoteBuilder]:
        """Its builders, by name."""
        return self._list.builders

    @property
    def attached(self) -> bool:
        """Whether it can be used."""
        return self._attach.state is AttachState.ATTACHED

    @property
    def leaving(self) -> bool:
        """Whether it gets no new builds."""
        return self._departure.state is not DepartureState.STAYING

    def ready_builders(self) -> tuple[str, ...]:
        """Return the names of the builders that can be used, busy ones included, sorted."""
        return self._list.ready()

    def idle_builders(self) -> tuple[str, ...]:
        """Return the names of the builders on which a build can be started now, sorted."""
        if self.leaving or self.peer.cut:
            return ()
        return tuple(sorted(name for name, builder in self._list.builders.items() if builder.idle))

    def _start(self, script: Script[None]) -> None:
        self._context.start(MasterTask(self.peer.number, script))

    def _give_up(self, what: str, failure: Failure) -> None:
        self.peer.end(f"{what} failed: {failure.kind}: {failure.message}")

    # -- attaching

    def attach(self) -> None:
        """Begin to attach it."""
        self.peer.call(self._bot, "print", ("attached",))
        self._start(self._attaching())

    def _attaching(self) -> Script[None]:
        if not (yield from self._ask_about_itself()) or not (yield from self._list.send()):
            return
        self._attach.fire(AttachEvent.LISTED)
        self.peer.admit(f"perspective of {self.name}", self)
        self._shown = self._list.ready()
        self._context.announce(SlaveAttached(self.name, self.peer.peer, self._info, self._shown))
        self._context.report(SlaveReady(self.peer.number))
        self._set_keepalive(self._context.now + self._context.config.keepalive)
        self.look()

    def _ask_about_itself(self) -> Script[bool]:
        """Learn what it says of itself, and its dialect; False if its connection ends for it."""
        timeout = self._context.config.attach_timeout
        (told,) = yield from Ask(((self._bot, "getWorkerInfo", ()),), timeout)
        if not isinstance(told, Failure):
            self._attach.fire(AttachEvent.WORKER_INFO)
            self._info = self._context.interner.read(told, None, None)
            byte_keys = isinstance(told, dict) and any(isinstance(key, bytes) for key in told)
            shell = version_of(self._info.commands, "shell")
            self.peer.dialect = worker_dialect(byte_keys=byte_keys, shell=shell)
            return True
        if not told.is_a(NO_SUCH_METHOD):
            self._give_up("getWorkerInfo", told)
            return False
        self._attach.fire(AttachEvent.NO_WORKER_INFO)
        self.peer.dialect = SLAVE
        methods = ("getSlaveInfo", "getCommands", "getVersion")
        answers = yield from Ask(tuple((self._bot, method, ()) for method in methods), timeout)
        said: list[Value] = []
        for method, answer in zip(methods, answers, strict=True):
            if isinstance(answer, Failure) and not answer.is_a(NO_SUCH_METHOD):
                self._give_up(method, answer)
                return False
            said.append(None if isinstance(answer, Failure) else answer)
        self._attach.fire(AttachEvent.SLAVE_INFO)
        self._info = self._context.interner.read(*said)
        return True

    # -- the list of builders

    def _show_builders(self) -> None:
        ready = self._list.ready()
        if self.attached and ready != self._shown:
            self._shown = ready
            self._context.announce(BuildersChanged(self.name, ready))

    def configure(self, account: SlaveAccount) -> None:
        """Take a new list of builders; a builder that is busy stays on it until its build is over."""
        self.account = account
        self._departure.fire(DepartureEvent.RECALL)
        self._list.want(account.builders)
        self._show_builders()
        if self.attached:
            self._set_keepalive(self.peer.liveness.sign + self._context.config.keepalive)
            self.look()

    def _send_list(self) -> Script[None]:
        if (yield from self._list.send()):
            self._show_builders()
            self.look()

    def look(self) -> None:
        """Do what had to wait for the end of a build, or of a list."""
        if self.peer.gone or not self.attached or not self._list.settled:
            return
        state = self._departure.state
        if state in (DepartureState.DISMISSED, DepartureState.LEAVING_DISMISSED) and not self._list.busy:
            self.peer.end(DISMISSED)
        elif state is DepartureState.LEAVING and not self._list.busy:
            self._ask_to_go()
        elif self._list.stale:
            self._start(self._send_list())

    def print(self, text: str) -> None:
        """Write a line into its log."""
        self.peer.call(self._bot, "print", (text,))

    # -- signs of life

    def ping(self) -> None:
        """Ask for a sign of life, and announce it."""
        self._start(self._pinging())

    def _pinging(self) -> Script[None]:
        if (yield from self._sign_of_life("ping", self._context.config.ping_timeout)):
            self._context.announce(Ponged(self.name))

    def arbitrate(self) -> None:
        """Ask for a sign of life because another connection came by the same name; report it.

        A slave that is late with this answer but sends other bytes counts as alive. Else its connection ends.
        """
        self._start(self._arbitrating())

    def _arbitrating(self) -> Script[None]:
        text = "master got a duplicate connection; keeping this one"
        if (yield from self._sign_of_life(text, self._context.config.silence, lenient=True)):
            self._context.report(HolderAlive(self.peer.number))

    def _sign_of_life(self, text: str, timeout: float, *, lenient: bool = False) -> Script[bool]:
        answers = yield from Ask(((self._bot, "print", (text,)),), timeout, lenient)
        for answer in answers:
            if isinstance(answer, Failure):
                self._give_up("a ping", answer)
                return False
        return True

    def keep_alive(self) -> None:
        """Ask for a sign of life unless there was one, or look how far the question has come."""
        now, config, liveness = self._context.now, self._context.config, self.peer.liveness
        if self.peer.paused and not liveness.asked:
            # One that is not read is not silent.
            self._set_keepalive(now + config.keepalive)
            return
        probe, again = liveness.probe(config.keepalive, config.silence, now)
        match probe:
            case Probe.WAIT:
                pass
            case Probe.ASK:
                self._start(self._keeping_alive())
            case Probe.LOOK:
                self._start(self._looking())
            case _:
                assert_never(probe)
        self._set_keepalive(again)

    def _keeping_alive(self) -> Script[None]:
        # Whatever it answers, it answers.
        yield from Ask(((self._bot, "getVersion", ()),), self._context.config.silence, probing=True)

    def _looking(self) -> Script[None]:
        try:
            unacknowledged = yield from CountUnacknowledged(self.peer.number)
        except HostError:
            return
        self.peer.liveness.look(unacknowledged, self._context.now)

    def _set_keepalive(self, due: float) -> None:
        key = (self.peer.number, Alarm.KEEPALIVE, 0)
        if self._context.config.keepalive and not self.peer.lasts:
            self._context.timers.set(key, due)
        else:
            self._context.timers.cancel(key)

    # -- builds

    def start_build(self, item: StartBuild) -> RemoteBuilder | None:
        """Begin a build and return its builder, or refuse it.

        Raises:
            LocalProtocolError: another build has the builder.
        """
        builder = self._list.builders.get(item.builder)
        if builder is None or not builder.ready:
            why = f"slave {self.name} has no builder {item.builder!r} that is ready"
            self._context.announce(BuildRefused(item.build, why))
        elif self.leaving:
            self._context.announce(BuildRefused(item.build, f"slave {self.name} is leaving"))
        elif self.peer.cut:
            self._context.announce(BuildRefused(item.build, f"the link of slave {self.name} is lost"))
        else:
            builder.start_build(item.build, self._bot)
            return builder
        return None

    # -- the perspective

    def handle(self, connection: Connection, call: Call) -> None:
        """Carry out a call of the slave on its perspective."""
        match call.method:
            case "keepalive":
                parameters(call)
                connection.answer(call.id)
            case "shutdown":
                parameters(call)
                connection.answer(call.id)
                self.let_go()
            case _:
                raise no_such_method(call, "perspective")

    # -- the line

    def lose_link(self, why: str, waiting: int) -> None:
        """Go on without a link; builds that have not begun yet begin elsewhere."""
        for builder in self._list.builders.values():
            builder.cut()
        if self.attached:
            self._context.announce(SlaveCut(self.name, why, waiting))

    def link_back(self, seconds: float) -> None:
        """Go on with a link."""
        if self.attached:
            self._context.announce(SlaveBack(self.name, self.peer.peer, seconds))

    # -- the end

    def let_go(self) -> None:
        """Give it no new build, and shut it down when it has none."""
        before = self._departure.state
        self._departure.fire(DepartureEvent.WANT)
        if before in (DepartureState.STAYING, DepartureState.DISMISSED):
            self._context.announce(ShutdownWanted(self.name))
        self.look()

    def shut_down(self) -> None:
        """Shut it down at once."""
        state = self._departure.fire(DepartureEvent.WANT)
        if state in (DepartureState.LEAVING, DepartureState.LEAVING_DISMISSED):
            self._ask_to_go()

    def _ask_to_go(self) -> None:
        self._departure.fire(DepartureEvent.ASK)
        due = self._context.now + self._context.config.ping_timeout + self.peer.slack
        self._context.timers.set((self.peer.number, Alarm.DEPARTURE, 0), due)
        self._start(self._asking_to_go())

    def _asking_to_go(self) -> Script[None]:
        (answer,) = yield from Ask(((self._bot, "shutdown", ()),), self._context.config.attach_timeout)
        if not isinstance(answer, Failure):
            return
        if not answer.is_a(NO_SUCH_METHOD):
            self._give_up("shutdown", answer)
            return
        self._departure.fire(DepartureEvent.NO_METHOD)
        remotes = [builder.remote for builder in self._list.builders.values() if builder.remote is not None]
        if remotes:
            # It ends at once, and so never answers.
            self.peer.call(remotes[0], "shutdown", ())
        else:
            self.peer.end("it cannot be shut down but through a builder, and has none")

    def did_not_go(self) -> None:
        """End the connection of a slave that was shut down some time ago."""
        self.peer.end("it was shut down and did not go")

    def dismiss(self) -> None:
        """Close its connection when it runs no build."""
        self._departure.fire(DepartureEvent.DISMISS)
        if not self._list.busy:
            self.peer.end(DISMISSED)

    def lost(self, why: str) -> None:
        """End everything here with the connection."""
        was_attached = self.attached
        self._attach.fire(AttachEvent.END)
        self._context.timers.cancel((self.peer.number, Alarm.KEEPALIVE, 0))
        self._context.timers.cancel((self.peer.number, Alarm.DEPARTURE, 0))
        for builder in self._list.builders.values():
            builder.lose(why)
        if was_attached:
            self._context.announce(SlaveDetached(self.name, why))
