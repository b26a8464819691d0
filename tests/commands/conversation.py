"""A command and its host, in memory, for the tests of whole scripts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

import attrs

from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import (
    Begin,
    BeginCall,
    CallDone,
    EffectDone,
    FileEffect,
    HostEffect,
    Interrupted,
    ProcessOutput,
    Request,
    ScriptEvent,
    SendItem,
    Spawn,
)
from slaveproto.inputs import Completed, Rejected
from slaveproto.slave.events import Input
from slaveproto.testing import Ended, MemoryHost, ScriptRun
from slaveproto.wire import Failure, Value
from tests.commands.support import TEXT, WORKDIR

LOG = f"{WORKDIR}/a.log"


@attrs.define
class Peer:
    """The master's reader or writer.

    Args:
        content: what there is to read.
    """

    content: bytes = b""
    written: bytes = b""
    calls: list[str] = attrs.field(factory=list)
    _offset: int = 0

    def check(self, call: BeginCall, later: int) -> None:
        """Whatever is the last comes after the answers to all others, and nothing of its kind after it."""
        if call.method in ("close", "unpack", "utime"):
            assert later == 0
            assert call.method not in self.calls
        else:
            assert not {"close", "unpack", "utime"} & set(self.calls)

    def answer(self, call: BeginCall) -> tuple[Value, Failure | None]:
        """Carry out a call as a real master's object does."""
        self.calls.append(call.method)
        match call.method, call.args:
            case "write", (bytes() as data,):
                self.written += data
            case "read", (int() as size,):
                data = self.content[self._offset : self._offset + size]
                self._offset += len(data)
                return data, None
            case ("close" | "unpack", ()) | ("utime", ((float(), float()),)):
                pass
            case _:
                raise AssertionError(call)
        return None, None


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
        self.peer = Peer()
        self.lost = False
        self._served = 0

    def go(self, at: int, what: Callable[[Conversation], bool]) -> None:
        """Run to the end; at the point `at` first do `what`, which tells whether the point is used up."""
        while not self.run.done:
            assert self.points < 500, "no end in sight"
            used = self.points == at and what(self)
            self.points += 1
            if not used:
                self.go_once()

    def begun(self) -> tuple[int, Begin | BeginCall] | None:
        """The first that it began and that is not done yet."""
        number = self._served + 1
        return (number, self.run.begun[number]) if number in self.run.begun else None

    def finish(self, event: EffectDone | CallDone) -> None:
        """Let the first that it began be over."""
        self._served += 1
        self.run.tell(event)

    def lose(self) -> None:
        """The connection ends: every call that waits is lost, and every later one."""
        self.lost = True
        while (begun := self.begun()) is not None and isinstance(begun[1], BeginCall):
            self.finish(CallDone(begun[0], None, lost=True))
        self.run.tell(Interrupted("lost"))

    def _serve(self, number: int, begun: Begin | BeginCall) -> None:
        if isinstance(begun, BeginCall):
            if self.lost:
                self.finish(CallDone(number, None, lost=True))
            else:
                self.peer.check(begun, len(self.run.begun) - number)
                self.finish(CallDone(number, *self.peer.answer(begun)))
            return
        assert isinstance(begun.effect, FileEffect)
        self.asked.append(begun.effect)
        for report in self.host.perform(Request(len(self.asked), begun.effect)):
            match report:
                case Completed(result=result):
                    self.finish(EffectDone(number, result))
                case Rejected(error=error):
                    self.finish(EffectDone(number, None, error))
                case _:
                    raise AssertionError(report)

    def go_once(self) -> None:
        """Let the next thing happen."""
        if self.run.waits_for is not None:
            self._answer(self.run.waits_for)
        elif (begun := self.begun()) is not None:
            self._serve(*begun)
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
                    self.happens(report)
        if len(self.asked) in self.host.children and isinstance(effect, Spawn):
            self.live(len(self.asked), effect)

    def live(self, child: int, effect: Spawn) -> None:
        """Let a process write something, and end."""
        self.host.write(LOG, b"log\n")
        self.happenings += [ProcessOutput(child, stream, b"a\n") for stream in ("stdout", "stderr", "stdout")]
        if not self.hangs:
            for report in self.host.end(child, 0):
                self.happens(report)

    def happens(self, report: Input) -> None:
        """Let something be told later."""
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
