"""A slave that is attached and runs a build, for tests of what goes on in its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slaveproto.effects import Request
from slaveproto.errors import HostError
from slaveproto.master import AnyStep, BuildStarted, Outcome, StartBuild, StartStep, StepFinished
from slaveproto.testing import MasterDriver, ScriptedSlave
from slaveproto.testing.scripted_slave import SlaveCommand
from tests.master.support import configured

BUILD: Final = 1
GENERATIONS: Final = ("0.8.4", "0.8.14", "4.3")


class Building:
    """A master whose slave runs a build.

    Args:
        generation: of the slave.
        lacks: methods that it does not know.
        changes: to the configuration.
    """

    def __init__(self, generation: str = "4.3", lacks: frozenset[str] = frozenset(), **changes: object) -> None:
        self.driver = MasterDriver(configured(**changes))
        self.host = self.driver.host
        self.slave: ScriptedSlave = self.driver.connect(generation)
        self.slave.lacks |= lacks
        self.driver.handle(StartBuild(BUILD, "bot1", "linux"))
        assert self.driver.events[-1] == BuildStarted(BUILD)
        self._steps = 0

    def start(self, step: AnyStep) -> int:
        """Start a step and return its number."""
        self._steps += 1
        self.driver.handle(StartStep(self._steps, BUILD, step))
        return self._steps

    def run(self, step: AnyStep) -> SlaveCommand:
        """Start a step and return the command that the slave got."""
        before = len(self.slave.commands)
        self.start(step)
        assert len(self.slave.commands) == before + 1, "one command should have come"
        return self.slave.command

    @property
    def step(self) -> int:
        """The number of the newest step."""
        return self._steps

    def outcomes(self, step: int | None = None) -> list[Outcome]:
        """All ends of a step, of the newest by default."""
        number = step or self._steps
        return [event.outcome for event in self.driver.events_of(StepFinished) if event.step == number]

    @property
    def outcome(self) -> Outcome:
        """The one end of the newest step."""
        (outcome,) = self.outcomes()
        return outcome

    @property
    def running(self) -> bool:
        """Whether the newest step has not ended."""
        return not self.outcomes()

    def text(self, stream: str | None = None, log: str = "stdio") -> bytes:
        """What the newest step said."""
        return self.driver.text(self._steps, log, stream)

    @property
    def attached(self) -> bool:
        """Whether the connection is there."""
        return self.slave.open

    @property
    def unread(self) -> int:
        """Bytes that the connection brought and nobody has taken."""
        return self.driver.session.slaves["bot1"].peer.unread.size

    def hold(self, kind: type[object]) -> None:
        """Do not perform effects of a kind until `perform_held`."""
        self.driver.holds = lambda request: isinstance(request.effect, kind)

    def fail(self, kind: type[object], error: HostError) -> None:
        """Let effects of a kind fail."""
        self.host.refuses = lambda effect: error if isinstance(effect, kind) else None


def nth(number: int, kinds: tuple[type[object], ...]) -> Callable[[object], bool]:
    """Tell of the effects of these kinds which one is number `number`, from 0."""
    seen = 0

    def is_it(effect: object) -> bool:
        nonlocal seen
        if not isinstance(effect, kinds):
            return False
        seen += 1
        return seen == number + 1

    return is_it


def effects(requests: list[Request], kind: type[object]) -> int:
    """Count the requests of a kind."""
    return sum(isinstance(request.effect, kind) for request in requests)
