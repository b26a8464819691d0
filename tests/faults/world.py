"""A whole world in virtual time: a master that builds, a slave that runs commands, and a network that fails.

Rules:

* Both ends are the project's own sessions, each with a host in memory. Time passes only when nothing else can happen.
* A carrier is one TCP connection. A `Fault` strikes when so many bytes, both directions together, have arrived over
  it. The next carrier has the next fault of the plan; after the last one nothing fails any more.
* The user of the master wants one build after the other, and builds again what lost its slave.
* The seed decides in what order and in what pieces bytes arrive; the same seed makes the same world.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from heapq import heappop, heappush
from typing import Final, assert_never

import attrs

from slaveproto.effects import CloseConnection, CountUnacknowledged, OpenConnection, ProcessOutput, Request, Spawn
from slaveproto.inputs import Completed, Disconnected, Received, Rejected, Stop, Wakeup
from slaveproto.master import (
    Accepted,
    AnyStep,
    BuildLost,
    BuildRefused,
    BuildStarted,
    DownloadString,
    EndBuild,
    MasterConfig,
    MasterEvent,
    MasterInput,
    MasterSession,
    Result,
    Shell,
    SlaveAccount,
    StartBuild,
    StartStep,
    StepFinished,
    StepSpoke,
    UploadFile,
)
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import CommandFinished, CommandStarted, Connected, Input, Start
from slaveproto.slave.session import SlaveSession
from slaveproto.slave.states import LinkState
from slaveproto.testing import MemoryHost

BUILDER: Final = "linux"
ACCOUNT: Final = SlaveAccount("bot1", "secret", {BUILDER: "linux"})
RESULT: Final = "/results/file"
CONTENT: Final = b"result\n" * 40
HELLO: Final = b"hello\n"

LASTS: Final = 0.2
"""Seconds that a child runs."""

FROZEN: Final = 50.0
"""Seconds of a stall: no reason to drop a peer."""

KERNEL: Final = 64 * 1024
"""Bytes on their way in one direction, beyond which a side has to wait."""


class Kind(Enum):
    """Things that happen to a carrier."""

    CUT = auto()
    """It ends for both sides; what was on its way is lost."""
    SLAVE_ONLY = auto()
    """It ends for the slave, which comes again, while the master is told nothing."""
    MASTER_ONLY = auto()
    """It ends for the master; the slave is told nothing."""
    BLACK_HOLE = auto()
    """Nothing arrives any more, and neither side is told."""
    DRAINED = auto()
    """It ends for both sides after what is on its way has arrived, as when a process in between ends in order."""
    STALL = auto()
    """Nothing arrives for a while, then everything does: no end."""


class Pieces(Enum):
    """Sizes of the pieces in which bytes arrive."""

    WHOLE = auto()
    BYTES = auto()
    MIXED = auto()


@attrs.frozen
class Fault:
    """A fault of one carrier.

    Args:
        kind: what happens.
        at: after so many bytes of both directions.
    """

    kind: Kind
    at: int


@attrs.define(eq=False)
class Carrier:
    """One connection.

    Args:
        number: the master's.
        request: the slave's.
        fault: that is still to come.
    """

    number: int
    request: int
    fault: Fault | None
    to_master: bytearray = attrs.field(factory=bytearray)
    to_slave: bytearray = attrs.field(factory=bytearray)
    arrived: int = 0
    master_has_it: bool = True
    slave_has_it: bool = True
    works: bool = True
    """Whether bytes arrive at all."""
    ends_when_empty: bool = False
    stalled_until: float = 0.0


class World:
    """The world.

    Args:
        seed: decides what chance decides.
        faults: of the carriers, in their order; None for a carrier without one.
        pieces: in which bytes arrive.
        builds: how many to build.
        lasting: whether both sides can speak over streams that outlive their carriers.
    """

    def __init__(
        self,
        seed: int,
        faults: Iterator[Fault | None],
        pieces: Pieces = Pieces.WHOLE,
        builds: int = 1,
        *,
        lasting: bool = False,
    ) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        secret = b"s" * 32 if lasting else None
        self.master = MasterSession(MasterConfig({ACCOUNT.name: ACCOUNT}), resume=secret)
        self.slave = SlaveSession(
            SlaveConfig("master", 9989, ACCOUNT.name, ACCOUNT.password, "/slave"),
            HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0"),
            lambda delay: delay * self.random.uniform(0.5, 1.0),
            resume=secret,
        )
        self.master_host = MemoryHost()
        self.slave_host = MemoryHost()
        self.user = User(self, builds)
        self.struck: Counter[Kind] = Counter()
        """Faults so far."""
        self.stalled = 0
        """Stalls of an attached slave."""
        self.opened = 0
        """Carriers so far."""
        self.carriers: list[Carrier] = []
        """Carriers that one side at least still has."""
        self.spawned: Counter[str] = Counter()
        """Times that the command of each step was run."""
        self.running = 0
        """Commands of the slave that began and did not end."""
        self._faults = faults
        self._pieces = pieces
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._last = 0
        self.tell_slave(Start())

    # -- the two sides

    def tell_master(self, item: MasterInput) -> None:
        """Hand an input to the master's session."""
        self.master.handle(item, now=self.now)
        for request in self.master.requests():
            match request.effect:
                case CloseConnection(number, last):
                    for carrier in self.carriers:
                        if carrier.number == number and carrier.master_has_it:
                            carrier.to_slave += last
                            carrier.master_has_it = False
                            carrier.ends_when_empty = True
                case CountUnacknowledged(number):
                    waiting = sum(len(carrier.to_slave) for carrier in self.carriers if carrier.number == number)
                    self.later(0.0, partial(self.tell_master, Completed(request.id, waiting)))
                case _:
                    for report in self.master_host.perform(request):
                        assert isinstance(report, (Completed, Rejected))
                        self.later(0.0, partial(self.tell_master, report))
        # Streams are fed by this; all carriers are asked for bytes anyway.
        self.master.connections_to_send()
        while (event := self.master.next_event()) is not None:
            self.user.on_event(event)

    def tell_slave(self, item: Input) -> None:
        """Hand an input to the slave's session."""
        self.slave.handle(item, now=self.now)
        for request in self.slave.requests():
            self._perform_for_slave(request)
        while (event := self.slave.next_event()) is not None:
            self.running += isinstance(event, CommandStarted) - isinstance(event, CommandFinished)

    def _perform_for_slave(self, request: Request) -> None:
        match request.effect:
            case OpenConnection():
                self.later(0.0, partial(self._open, request.id))
            case CloseConnection(number, last):
                for carrier in self.carriers:
                    if carrier.request == number and carrier.slave_has_it:
                        carrier.to_master += last
                        carrier.slave_has_it = False
                        carrier.ends_when_empty = True
            case CountUnacknowledged(number):
                waiting = sum(len(carrier.to_master) for carrier in self.carriers if carrier.request == number)
                self.later(0.0, partial(self.tell_slave, Completed(request.id, waiting)))
            case effect:
                for report in self.slave_host.perform(request):
                    self.later(0.0, partial(self.tell_slave, report))
                if isinstance(effect, Spawn):
                    word = effect.argv[-1]
                    self.spawned[word.decode() if isinstance(word, bytes) else word] += 1
                    self.later(LASTS / 2, partial(self._child_speaks, request.id))
                    self.later(LASTS, partial(self._child_ends, request.id))

    def _child_speaks(self, process: int) -> None:
        if self.slave_host.children[process].running:
            self.tell_slave(ProcessOutput(process, "stdout", HELLO))

    def _child_ends(self, process: int) -> None:
        if self.slave_host.children[process].running:
            for report in self.slave_host.end(process):
                self.tell_slave(report)

    # -- the network

    def _open(self, request: int) -> None:
        self.opened += 1
        self.carriers.append(Carrier(self.opened, request, next(self._faults, None)))
        self.tell_master(Accepted(self.opened, "the slave's host", self.opened.to_bytes(16, "big")))
        self.tell_slave(Connected(request))

    def _strike(self, carrier: Carrier, kind: Kind) -> None:
        self.struck[kind] += 1
        match kind:
            case Kind.CUT:
                carrier.works = False
                self._end(carrier, "Connection reset by peer")
            case Kind.SLAVE_ONLY:
                carrier.works = False
                self._end_for_slave(carrier, "Connection reset by peer")
            case Kind.MASTER_ONLY:
                carrier.works = False
                self._end_for_master(carrier, "Connection reset by peer")
            case Kind.BLACK_HOLE:
                carrier.works = False
            case Kind.DRAINED:
                carrier.ends_when_empty = True
            case Kind.STALL:
                self.stalled += self.slave.state is LinkState.ATTACHED
                carrier.stalled_until = self.now + FROZEN
                self.later(FROZEN, lambda: None)
            case _:
                assert_never(kind)

    def _end(self, carrier: Carrier, why: str) -> None:
        ends = [self._end_for_master, self._end_for_slave]
        self.random.shuffle(ends)
        for end in ends:
            end(carrier, why)

    def _end_for_master(self, carrier: Carrier, why: str) -> None:
        if carrier.master_has_it:
            carrier.master_has_it = False
            self.tell_master(Disconnected(carrier.number, why))

    def _end_for_slave(self, carrier: Carrier, why: str) -> None:
        if carrier.slave_has_it:
            carrier.slave_has_it = False
            self.tell_slave(Disconnected(carrier.request, why))

    def _move(self, carrier: Carrier) -> bool:
        """Let something arrive over a carrier; return whether anything happened."""
        if carrier.master_has_it and len(carrier.to_slave) < KERNEL:
            carrier.to_slave += self.master.data_to_send(carrier.number)
        if carrier.slave_has_it and len(carrier.to_master) < KERNEL:
            carrier.to_master += self.slave.data_to_send()
        if not carrier.slave_has_it:
            carrier.to_slave.clear()
        if not carrier.master_has_it:
            carrier.to_master.clear()
        if not carrier.works or carrier.stalled_until > self.now:
            return False
        if carrier.fault is not None and carrier.arrived >= carrier.fault.at:
            fault, carrier.fault = carrier.fault, None
            self._strike(carrier, fault.kind)
            return True
        ways = [carrier.to_slave] if carrier.to_slave else []
        if carrier.to_master and not self.master.paused(carrier.number):
            ways.append(carrier.to_master)
        if ways:
            self._arrive(carrier, self.random.choice(ways))
        elif carrier.ends_when_empty and not carrier.to_master:
            self._end(carrier, "")
        else:
            return False
        return True

    def _arrive(self, carrier: Carrier, way: bytearray) -> None:
        size = len(way)
        match self._pieces:
            case Pieces.WHOLE:
                pass
            case Pieces.BYTES:
                size = 1
            case Pieces.MIXED:
                size = min(size, self.random.choice((1, 2, 3, 10, 100, KERNEL)))
            case _:
                assert_never(self._pieces)
        if carrier.fault is not None:
            size = min(size, carrier.fault.at - carrier.arrived)
        data = bytes(way[:size])
        del way[:size]
        carrier.arrived += size
        if way is carrier.to_master:
            self.tell_master(Received(carrier.number, data))
        else:
            self.tell_slave(Received(carrier.request, data))

    # -- time

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something when so many seconds have passed; never at once."""
        self._last += 1
        heappush(self._later, (self.now + seconds, self._last, action))

    def settle(self) -> None:
        """Let everything happen that needs no time."""
        moved = True
        while moved:
            moved = False
            while self._later and self._later[0][0] <= self.now:
                heappop(self._later)[2]()
                moved = True
            for carrier in list(self.carriers):
                moved = self._move(carrier) or moved
            self.carriers = [carrier for carrier in self.carriers if carrier.master_has_it or carrier.slave_has_it]

    def run(self, until: Callable[[], bool], most: float) -> None:
        """Let time pass until something is so.

        Raises:
            AssertionError: it did not become so within `most` seconds.
        """
        end = self.now + most
        while True:
            self.settle()
            if until():
                return
            due = [time for time in (self.master.deadline, self.slave.deadline) if time is not None]
            due += [self._later[0][0]] if self._later else []
            assert due, "nothing will ever happen again"
            self.now = max(self.now, min(due))
            assert self.now <= end, f"not within {most:g} s"
            self.tell_master(Wakeup())
            self.tell_slave(Wakeup())

    def stop(self) -> None:
        """Stop both sides, and wait for all that is left of them to end."""
        self.tell_slave(Stop("over"))
        self.settle()
        self.tell_master(Stop("over"))
        self.run(lambda: self.slave.finished and not self.carriers and not self._later, 1000.0)


class User:
    """The user of the master: runs builds, and keeps account of what it is told.

    Args:
        world: its world.
        builds: how many are wanted.
    """

    def __init__(self, world: World, builds: int) -> None:
        self.wanted = builds
        self.succeeded = 0
        self.lost = 0
        """Builds that lost their slave."""
        self.wrong: list[str] = []
        """Broken promises, in words."""
        self.pending: set[int] = set()
        """Steps that began and are not finished."""
        self._world = world
        self._builds = 0
        # The present build, None between two; the number of steps so far; and which of the build's steps is next.
        self._build: int | None = None
        self._steps = 0
        self._next = 0
        self._said = b""
        self._looks = False

    @property
    def done(self) -> bool:
        """Whether all builds that are wanted succeeded."""
        return self.succeeded >= self.wanted and self._build is None

    def on_event(self, event: MasterEvent) -> None:
        """Take an announcement of the master. What is wanted then is told when all of them are taken."""
        match event:
            case BuildStarted():
                self._next = 0
                self._world.later(0.0, self._start_step)
            case BuildRefused():
                self._build = None
            case BuildLost():
                self.lost += 1
                self._world.later(0.0, self._end_build)
            case StepSpoke(step):
                self._listen(step)
            case StepFinished(step, outcome):
                self._listen(step)
                self._finished(step, outcome.result)
            case _:
                pass
        self._look()

    def _finished(self, step: int, result: Result) -> None:
        if step not in self.pending:
            self.wrong.append(f"step {step} finished, and had not begun or had finished before")
        self.pending.discard(step)
        if result is Result.SUCCESS:
            self._judge(step)
            self._next += 1
            self._world.later(0.0, self._start_step if self._next < len(STEPS) else self._succeed)
        elif result is not Result.RETRY:
            self.wrong.append(f"step {step} ended with {result}")

    def _judge(self, step: int) -> None:
        """Look whether a step that succeeded did what it should."""
        kind = STEPS[self._next]
        runs = self._world.spawned[name_of(step)]
        if kind is run_command and (runs != 1 or self._said != HELLO):
            self.wrong.append(f"step {step} ran {runs} times, and said {self._said!r}")
        if kind is fetch and self._world.master_host.read(RESULT) != CONTENT:
            self.wrong.append(f"step {step} fetched something else")

    def _listen(self, step: int) -> None:
        self._said += b"".join(o.data for o in self._world.master.output(step) if o.stream == "stdout")

    def _look(self) -> None:
        if self._build is None and not self._looks and self.succeeded < self.wanted:
            self._looks = True
            self._world.later(0.0, self._start_build)

    def _start_build(self) -> None:
        self._looks = False
        if BUILDER in self._world.master.idle_builders(ACCOUNT.name):
            self._builds += 1
            self._build = self._builds
            self._world.tell_master(StartBuild(self._build, ACCOUNT.name, BUILDER))

    def _start_step(self) -> None:
        if self._build is not None:
            self._steps += 1
            self._said = b""
            self.pending.add(self._steps)
            self._world.tell_master(StartStep(self._steps, self._build, STEPS[self._next](name_of(self._steps))))

    def _succeed(self) -> None:
        self.succeeded += 1
        self._end_build()

    def _end_build(self) -> None:
        if self._build is not None:
            build, self._build = self._build, None
            self._world.tell_master(EndBuild(build))
            self._look()


def name_of(step: int) -> str:
    """Return the word that a command is known by."""
    return f"step-{step}"


def give(name: str) -> AnyStep:
    """Return a step that writes a file on the slave."""
    return DownloadString(data=CONTENT, dest="file")


def run_command(name: str) -> AnyStep:
    """Return a step that runs a command of that name."""
    return Shell(command=("run", name), log_environ=False)


def fetch(name: str) -> AnyStep:
    """Return a step that brings the file to the master."""
    return UploadFile(src="file", dest=RESULT)


STEPS: Final[tuple[Callable[[str], AnyStep], ...]] = (give, run_command, fetch)
"""Steps of each build."""
