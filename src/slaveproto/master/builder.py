"""The master's twin of a slave builder: whether it is ready, the build that has it, and the step that runs.

Source: manual page, section "Setup" and "Building"; `process/slavebuilder.py` of Buildbot 0.8.4p1.
"""

from __future__ import annotations

from slaveproto.effects import Script
from slaveproto.errors import LocalProtocolError
from slaveproto.machine import Machine
from slaveproto.master.command import StepRun
from slaveproto.master.context import MasterContext
from slaveproto.master.events import BuildLost, BuildRefused, BuildStarted, SlaveInfo, StartStep
from slaveproto.master.happenings import BuildOver
from slaveproto.master.peer import Peer
from slaveproto.master.states import REMOTE_BUILDER, RemoteBuilderEvent, RemoteBuilderState
from slaveproto.master.tasks import Ask, MasterTask
from slaveproto.master.translate import commands_for
from slaveproto.wire.values import Failure, Remote


class RemoteBuilder:
    """A builder of one attached slave. It ends with the connection.

    Args:
        name: of the builder.
        directory: on the slave, as listed.
        peer: the connection.
        context: the surroundings.
    """

    # A master has thousands.
    __slots__ = ("_context", "_machine", "_peer", "build", "directory", "name", "remote", "step", "wanted")

    def __init__(self, name: str, directory: str, peer: Peer, context: MasterContext) -> None:
        self.name = name
        self.directory = directory
        self.wanted = True
        self.build: int | None = None
        self.step: StepRun | None = None
        self.remote: Remote | None = None
        self._peer = peer
        self._context = context
        self._machine = Machine(REMOTE_BUILDER)

    @property
    def connection(self) -> int:
        """The number of the connection."""
        return self._peer.number

    @property
    def state(self) -> RemoteBuilderState:
        """The state of the builder."""
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
    def idle(self) -> bool:
        """Whether a build can be started on it, if its slave is not leaving."""
        return self.wanted and self.state is RemoteBuilderState.IDLE

    @property
    def busy(self) -> bool:
        """Whether a build has it."""
        return self.build is not None

    # -- coming and going

    def found(self, remote: Remote) -> None:
        """Take the object that the slave handed out for it, for the first time or again."""
        if self.remote is not None:
            self._peer.release(self.remote)
        self.remote = remote
        self._machine.fire(RemoteBuilderEvent.FOUND)

    def be_ready(self) -> None:
        """Become usable."""
        self._machine.fire(RemoteBuilderEvent.READY)

    def unlist(self) -> None:
        """Go: the slave does not have it any more."""
        self._machine.fire(RemoteBuilderEvent.UNLIST)
        if self.remote is not None:
            self._peer.release(self.remote)
            self.remote = None

    def cut(self) -> None:
        """Refuse a build that has not started: the slave's line is cut, and may be for long."""
        before = self._machine.state
        build = self.build
        if self._machine.fire(RemoteBuilderEvent.CUT) is not before and build is not None:
            self._give_back()
            self._context.announce(BuildRefused(build, f"the link of slave {self._peer.slave} was lost"))

    def lose(self, why: str) -> None:
        """Go with the slave; what runs here ends."""
        self._machine.fire(RemoteBuilderEvent.LOSE)
        step, self.step = self.step, None
        if step is not None:
            step.lose(why)
        build = self.build
        if build is not None:
            self._give_back(lost=why)
            self._context.announce(BuildLost(build, why))

    def _want(self, event: RemoteBuilderEvent) -> None:
        """Move along an event of the program's; an illegal one is said in its words."""
        try:
            self._machine.fire(event)
        except LocalProtocolError as error:
            raise LocalProtocolError(self._why_not(event)) from error

    def _why_not(self, event: RemoteBuilderEvent) -> str:
        if event is RemoteBuilderEvent.PING:
            return f"builder {self.name!r} of slave {self._peer.slave!r} runs build {self.build} already"
        if self.step is None:
            return f"build {self.build} has not started yet"
        return f"build {self.build} runs step {self.step.number} already"

    def _remote(self) -> Remote:
        assert self.remote is not None
        return self.remote

    # -- builds

    def start_build(self, build: int, bot: Remote) -> None:
        """Begin a build: ping the slave, then call `startBuild`.

        Raises:
            LocalProtocolError: it is not idle.
        """
        self._want(RemoteBuilderEvent.PING)
        self.build = build
        self._context.start(MasterTask(self._peer.number, self._starting(build, bot)))

    def _starting(self, build: int, bot: Remote) -> Script[None]:
        timeout = self._context.config.ping_timeout
        (pong,) = yield from Ask(((bot, "print", ("ping",)),), timeout)
        # The build may have been given up meanwhile.
        if self.build != build:
            return
        if isinstance(pong, Failure):
            self._peer.end(f"the ping failed: {pong.kind}: {pong.message}")
            return
        self._machine.fire(RemoteBuilderEvent.PONG)
        (started,) = yield from Ask(((self._remote(), "startBuild", ()),), timeout)
        if self.build != build:
            return
        if isinstance(started, Failure):
            self._machine.fire(RemoteBuilderEvent.NOT_STARTED)
            self._give_back()
            self._context.announce(BuildRefused(build, f"startBuild failed: {started.kind}: {started.message}"))
        else:
            self._machine.fire(RemoteBuilderEvent.STARTED)
            self._context.announce(BuildStarted(build))

    def end_build(self) -> None:
        """End the build.

        Raises:
            LocalProtocolError: its step is not over.
        """
        self._want(RemoteBuilderEvent.END_BUILD)
        self._give_back()

    def _give_back(self, lost: str | None = None) -> None:
        assert self.build is not None
        self._context.report(BuildOver(self._peer.number, self.build, lost))
        self.build = None

    def start_step(self, start: StartStep, info: SlaveInfo) -> StepRun:
        """Run a step of the build.

        Raises:
            LocalProtocolError: the build has not started, or runs another step.
        """
        # Nothing that goes wrong in a translation may leave the builder in another state.
        try:
            requests = commands_for(start.what, start.env, info, self._peer.dialect)
            problem = ""
        except Exception as error:
            requests, problem = (), str(error) or type(error).__name__
        self._want(RemoteBuilderEvent.START_STEP)
        self.step = StepRun(start, self._peer, self._remote(), self._context)
        self.step.begin(requests, problem)
        return self.step

    def step_over(self, step: int) -> None:
        """Take note that a step is over. Where the slave is lost, so is the builder already."""
        if self.step is not None and self.step.number == step:
            self.step = None
            self._machine.fire(RemoteBuilderEvent.STEP_OVER)
