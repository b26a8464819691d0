"""Whatever fails, and whenever the command is interrupted: the script ends, once, and leaves nothing behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

import pytest

from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import Abandon, HostEffect, Interrupted, ProcessOutput, Request, ScriptEvent, SendItem, Spawn
from slaveproto.errors import HostError
from slaveproto.slave.events import Completed, Input, Rejected
from slaveproto.testing import Ended, MemoryHost, ScriptRun
from tests.commands.support import BYTES, TEXT, WORKDIR

LOG = f"{WORKDIR}/a.log"
BROKEN = HostError(5, "Input/output error")


class Conversation:
    """A script and a host that let the command run through, with something in the way at one point.

    Each reply and each event is a point; `points` counts them.
    """

    def __init__(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        context: Any = TEXT,
        survives: frozenset[str] = frozenset(),
        hangs: bool = False,
    ) -> None:
        self.host = MemoryHost()
        self.host.survives = survives
        self.hangs = hangs
        self.script = make_script(name, arguments, context, COMMANDS)
        self.run = ScriptRun(self.script)
        self.happenings: deque[ScriptEvent] = deque()
        self.asked: list[HostEffect] = []
        self.points = 0

    def go(self, at: int, what: Callable[[Conversation], bool]) -> None:
        """Run to the end; at the point `at` first do `what`, which tells whether the point is used up."""
        while not self.run.done:
            assert self.points < 200, "no end in sight"
            used = self.points == at and what(self)
            self.points += 1
            if not used:
                self._step()

    def _step(self) -> None:
        if self.run.waits_for is not None:
            self._answer(self.run.waits_for)
        elif self.happenings:
            self.run.tell(self.happenings.popleft())
        elif not self.run.done:
            assert self.run.deadline is not None, "the script waits for nothing that will come"
            self.run.pass_time(self.run.deadline - self.run.now)

    def _answer(self, effect: HostEffect) -> None:
        self.asked.append(effect)
        for report in self.host.perform(Request(len(self.asked), effect)):
            match report:
                case Completed(result=result):
                    self.run.reply(result)
                case Rejected(error=error):
                    self.run.reject(error)
                case _:
                    self._happens(report)
        if len(self.asked) in self.host.children and isinstance(effect, Spawn):
            self._live(len(self.asked))

    def _live(self, child: int) -> None:
        self.host.write(LOG, b"log\n")
        self.happenings += [ProcessOutput(child, stream, b"a\n") for stream in ("stdout", "stderr", "stdout")]
        if not self.hangs:
            for report in self.host.end(child, 0):
                self._happens(report)

    def _happens(self, report: Input) -> None:
        assert not isinstance(report, (Completed, Rejected))
        self.happenings.append(report)  # type: ignore[arg-type]

    def check(self) -> None:
        """The script is at its end, and nothing is left of it."""
        assert self.run.done
        assert getgeneratorstate(self.script) == GEN_CLOSED
        assert [type(said) for said in self.run.said].count(Ended) == 1
        assert isinstance(self.run.said[-1], Ended)
        codes = [said for said in self.run.said if isinstance(said, SendItem) and said.key == "rc"]
        assert len(codes) + (self.run.said[-1].kind is not None) >= 1
        assert len(codes) <= 1
        said = len(self.run.said)
        self.run.tell(Interrupted("too late"))
        self.run.pass_time(10_000)
        assert len(self.run.said) == said
        assert self.run.deadline is None

    def check_children(self) -> None:
        """No child runs on without the script having given it up."""
        assert all(child.abandoned or not child.running for child in self.host.children.values())


def interrupt(conversation: Conversation) -> bool:
    conversation.run.tell(Interrupted("stop"))
    return False


def interrupt_twice(conversation: Conversation) -> bool:
    conversation.run.tell(Interrupted("stop"))
    conversation.run.tell(Interrupted("stop again"))
    return False


def break_effect(conversation: Conversation) -> bool:
    if conversation.run.waits_for is None:
        return False
    conversation.asked.append(conversation.run.waits_for)
    conversation.run.reject(BROKEN)
    return True


def break_everything_from_here(conversation: Conversation) -> bool:
    # Giving up a process cannot fail: it only lets go.
    conversation.host.refuses = lambda effect: None if isinstance(effect, Abandon) else BROKEN
    return False


def interrupt_and_break_everything(conversation: Conversation) -> bool:
    interrupt(conversation)
    return break_everything_from_here(conversation)


SHELL = {"workdir": "build", "command": ["make"]}
LIMITS = {"timeout": 3, "maxTime": 4, "logfiles": {"a": "a.log"}}
EVERYTHING = frozenset({"KILL", "TERM", "INT"})

CONVERSATIONS: dict[str, Callable[[], Conversation]] = {
    "mkdir": lambda: Conversation("mkdir", {"dir": "a"}),
    "plain": lambda: Conversation("shell", SHELL),
    "0.8": lambda: Conversation("shell", SHELL, context=BYTES),
    "logs": lambda: Conversation("shell", {**SHELL, **LIMITS}),
    "terminal": lambda: Conversation("shell", {**SHELL, "usePTY": True}),
    "silent": lambda: Conversation("shell", {**SHELL, **LIMITS}, hangs=True),
    "old": lambda: Conversation("shell", {**SHELL, "maxTime": 4}, hangs=True, context=BYTES),
    "lines": lambda: Conversation("shell", {**SHELL, "max_lines": 1}, hangs=True),
    "polite": lambda: Conversation("shell", {**SHELL, **LIMITS, "sigtermTime": 2}, hangs=True),
    "ignores TERM": lambda: Conversation(
        "shell", {**SHELL, **LIMITS, "sigtermTime": 2}, hangs=True, survives=frozenset({"TERM"})
    ),
    "no such signal": lambda: Conversation("shell", {**SHELL, **LIMITS, "interruptSignal": "FOO"}, hangs=True),
    "survivor": lambda: Conversation("shell", {**SHELL, **LIMITS}, hangs=True, survives=EVERYTHING),
    "survivor of INT": lambda: Conversation(
        "shell", {**SHELL, **LIMITS, "interruptSignal": "INT"}, hangs=True, survives=EVERYTHING
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_undisturbed(name: str) -> None:
    conversation = CONVERSATIONS[name]()
    conversation.go(-1, interrupt)
    conversation.check()
    conversation.check_children()


@pytest.mark.parametrize("what", [interrupt, interrupt_twice, break_everything_from_here])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_disturbed_at_every_point(name: str, what: Callable[[Conversation], bool]) -> None:
    undisturbed = CONVERSATIONS[name]()
    undisturbed.go(-1, what)
    for at in range(undisturbed.points + 1):
        conversation = CONVERSATIONS[name]()
        conversation.go(at, what)
        conversation.check()
        conversation.check_children()


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_each_effect_failing(name: str) -> None:
    undisturbed = CONVERSATIONS[name]()
    undisturbed.go(-1, break_effect)
    for at in range(undisturbed.points):
        conversation = CONVERSATIONS[name]()
        conversation.go(at, break_effect)
        conversation.check()
        # What could not be given up is nobody's any more.
        if not (conversation.asked and isinstance(conversation.asked[-1], Abandon)):
            conversation.check_children()


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_interrupted_on_a_broken_host(name: str) -> None:
    undisturbed = CONVERSATIONS[name]()
    undisturbed.go(-1, interrupt_and_break_everything)
    for at in range(undisturbed.points):
        conversation = CONVERSATIONS[name]()
        conversation.go(at, interrupt_and_break_everything)
        conversation.check()
        conversation.check_children()
