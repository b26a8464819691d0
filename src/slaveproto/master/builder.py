"""The master's twin of a slave builder: whether it is ready, which build has it, and what that runs.

Source: manual page, sections "Setup" and "Building"; `process/slavebuilder.py` of Buildbot 0.8.4p1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from slaveproto.errors import LocalProtocolError
from slaveproto.machine import Machine
from slaveproto.master.command import RemoteCommand, StepRun
from slaveproto.master.context import Abandoned, MasterContext
from slaveproto.master.events import BuildLost, BuildRefused, BuildStarted, StartStep
from slaveproto.master.peer import Peer
from slaveproto.master.states import REMOTE_BUILDER, RemoteBuilderEvent, RemoteBuilderState
from slaveproto.master.steps import AnyStep
from slaveproto.master.translate import CommandRequest, Env
from slaveproto.updates import plain
from slaveproto.wire.serving import Servant
from slaveproto.wire.values import Failure, Local, Remote, Value


class Owner(Protocol):
    """What a builder needs of its slave."""

    def orders(self, what: AnyStep, env: Env) -> tuple[CommandRequest, ...]:
        """Return what a step means to the slave."""

    def build_over(self, now: float) -> None:
        """A build is over."""


class RemoteBuilder:
    """A builder of one attached slave. It ends with the connection.

    Args:
        name: of the builder.
        directory: on the slave, as listed.
        visit: the connection.
        realm: the surroundings.
        owner: the slave.
    """

    # A master has thousands.
    __slots__ = (
        "_machine", "_owner", "_realm", "_visit", "build", "directory", "name", "remote", "step", "wanted",
    )  # fmt: skip

    def __init__(self, name: str, directory: str, visit: Peer, realm: MasterContext, owner: Owner) -> None:
        self.name = name
        self.directory = directory
        self.wanted = True
        self.build: int | None = None
        self.step: StepRun | None = None
        self.remote: Remote | None = None
        self._visit = visit
        self._realm = realm
        self._owner = owner
        self._machine = Machine(REMOTE_BUILDER)

    @property
    def state(self) -> RemoteBuilderState:
        """Where it is."""
        return self._machine.state

    @property
    def ready(self) -> bool:
        """Whether it was introduced, and is wanted."""
        return self.wanted and self.state not in (
            RemoteBuilderState.LISTED,
            RemoteBuilderState.INTRODUCED,
            RemoteBuilderState.GONE,
        )

    @property
    def busy(self) -> bool:
        """Whether a build has it."""
        return self.build is not None

    # -- coming and going

    def found(self, remote: Remote) -> None:
        """The slave handed it out, or handed it out again."""
        if self.remote is not None:
            self._visit.release(self.remote)
        self.remote = remote
        if self._machine.can(RemoteBuilderEvent.FOUND):
            self._machine.fire(RemoteBuilderEvent.FOUND)

    def introduce(self, timeout: float, then: Callable[[float], None]) -> None:
        """Say who we are, to a slave of 0.8; `then` follows when it knows, or not."""

        outcomes: list[Value | Failure] = []

        def told(outcome: Value | Failure, now: float) -> None:
            outcomes.append(outcome)
            if len(outcomes) < len(calls):
                return
            failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
            if failures:
                why = f"{failures[0].kind}: {failures[0].message}"
                self._visit.notice(f"builder {self.name!r} is not usable: {why}")
                self.unlist()
            else:
                self.be_ready()
            then(now)

        twin = Local(f"builder {self.name} of the master")
        calls: tuple[tuple[str, Value], ...] = (("setMaster", twin), ("print", "attached"))
        for method, argument in calls:
            self._visit.call(self._remote(), method, (argument,), then=told, timeout=timeout)

    def be_ready(self) -> None:
        """It can be used from now on."""
        self._machine.fire(RemoteBuilderEvent.READY)

    def unlist(self) -> None:
        """The slave does not have it any more."""
        self._machine.fire(RemoteBuilderEvent.UNLIST)
        if self.remote is not None:
            self._visit.release(self.remote)
            self.remote = None

    def lose(self, why: str, now: float) -> None:
        """The slave is gone; what runs here ends."""
        self._machine.fire(RemoteBuilderEvent.LOSE)
        step, self.step = self.step, None
        if step is not None:
            step.lose(why, now)
        build = self.build
        self._give_back()
        if build is not None:
            self._realm.lost[build] = why
            self._realm.announce(BuildLost(build, why))

    def _want(self, event: RemoteBuilderEvent) -> None:
        """Move along an event of the program's; an illegal one is said in its words."""
        try:
            self._machine.fire(event)
        except LocalProtocolError as error:
            raise LocalProtocolError(self._why_not(event)) from error

    def _why_not(self, event: RemoteBuilderEvent) -> str:
        if event is RemoteBuilderEvent.PING:
            return f"builder {self.name!r} of slave {self._visit.slave!r} runs build {self.build} already"
        if self.step is None:
            return f"build {self.build} has not started yet"
        return f"build {self.build} runs step {self.step.number} already"

    def _remote(self) -> Remote:
        assert self.remote is not None
        return self.remote

    # -- builds

    def start_build(self, build: int, bot: Remote, timeout: float) -> None:
        """Ping the slave, then call `startBuild`.

        Raises:
            LocalProtocolError: it is not idle.
        """
        self._want(RemoteBuilderEvent.PING)
        self._take(build)

        def answered(outcome: Value | Failure, now: float) -> None:
            # The build may have been given up meanwhile.
            if self.build != build:
                return
            if isinstance(outcome, Failure):
                self._visit.end(f"the ping failed: {outcome.kind}: {outcome.message}", now)
            else:
                self._machine.fire(RemoteBuilderEvent.PONG)
                self._visit.call(self._remote(), "startBuild", (), then=started, timeout=timeout)

        def started(outcome: Value | Failure, now: float) -> None:
            if self.build != build:
                return
            if isinstance(outcome, Failure):
                self._machine.fire(RemoteBuilderEvent.NOT_STARTED)
                self._give_back()
                self._realm.announce(BuildRefused(build, f"startBuild failed: {outcome.kind}: {outcome.message}"))
                self._owner.build_over(now)
            else:
                self._machine.fire(RemoteBuilderEvent.STARTED)
                self._realm.announce(BuildStarted(build))

        self._visit.call(bot, "print", ("ping",), then=answered, timeout=timeout)

    def end_build(self, now: float) -> None:
        """The build is over.

        Raises:
            LocalProtocolError: its step is not.
        """
        self._want(RemoteBuilderEvent.END_BUILD)
        self._give_back()
        self._owner.build_over(now)

    def _take(self, build: int) -> None:
        self.build = build
        self._realm.builds[build] = self

    def _give_back(self) -> None:
        if self.build is not None:
            del self._realm.builds[self.build]
            self.build = None

    def start_step(self, start: StartStep, now: float) -> None:
        """Run a step.

        Raises:
            LocalProtocolError: the build has not started, or runs another one.
        """
        self._want(RemoteBuilderEvent.START_STEP)
        self.step = StepRun(start, self, self._realm, self._visit.unread, now)
        self.step.begin(lambda: self._owner.orders(start.what, start.env), now)

    # -- the way to the slave, for a step

    def start_command(self, command: RemoteCommand, arguments: dict[Value, Value], now: float) -> None:
        """Call `startCommand`; raises LocalProtocolError if the arguments cannot be sent."""
        head = plain((command.number, command.order.command), self._visit.dialect, "utf-8")
        assert isinstance(head, tuple)
        self._visit.call(self._remote(), "startCommand", (command.local, *head, arguments), then=command.started)

    def set_patience(self, step: StepRun, until: float) -> None:
        """End the connection if a step is not over by then."""
        self._realm.timers.set((self._visit.number, Abandoned(step.number)), until)

    def interrupt_command(self, command: RemoteCommand, why: str, now: float) -> None:
        """Call `interruptCommand`; a slave that knows nothing of the command may say so."""
        arguments = plain((command.number, why), self._visit.dialect, "utf-8")
        assert isinstance(arguments, tuple)
        self._visit.call(self._remote(), "interruptCommand", arguments, then=None)

    def serve(self, local: Local, servant: Servant) -> None:
        """Let the slave call an object."""
        self._visit.serve(local, servant)

    def touch(self) -> None:
        """There may be something to send."""
        self._visit.touch()

    def step_over(self, step: StepRun, now: float) -> None:
        """The step is at its end. Where the slave is lost, so is the builder already."""
        self._realm.timers.cancel((self._visit.number, Abandoned(step.number)))
        if self.step is step:
            self.step = None
            self._machine.fire(RemoteBuilderEvent.STEP_OVER)
