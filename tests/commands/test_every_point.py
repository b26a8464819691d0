"""Whatever fails, and whenever the command is interrupted: the script ends, once, and leaves nothing behind."""

from __future__ import annotations

import io
import tarfile
from collections import deque
from collections.abc import Callable
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

import attrs
import pytest

from slaveproto.commands.registry import COMMANDS, make_script
from slaveproto.effects import (
    Abandon,
    Begin,
    BeginCall,
    CallDone,
    EffectDone,
    HostEffect,
    Interrupted,
    ProcessOutput,
    RemoveFile,
    Request,
    ScriptEvent,
    SendItem,
    Spawn,
)
from slaveproto.errors import HostError
from slaveproto.inputs import Completed, Rejected
from slaveproto.slave.events import Input
from slaveproto.testing import Ended, MemoryHost, ScriptRun
from slaveproto.wire import Failure, Remote, Value
from tests.commands.support import BYTES, TEXT, WORKDIR

LOG = f"{WORKDIR}/a.log"
BROKEN = HostError(5, "Input/output error")
REFUSED = Failure("exceptions.IOError", "disk full")


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
            assert self.points < 200, "no end in sight"
            used = self.points == at and what(self)
            self.points += 1
            if not used:
                self._step()

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
        self.asked.append(begun.effect)
        for report in self.host.perform(Request(len(self.asked), begun.effect)):
            match report:
                case Completed(result=result):
                    self.finish(EffectDone(number, result))
                case Rejected(error=error):
                    self.finish(EffectDone(number, None, error))
                case _:
                    raise AssertionError(report)

    def _step(self) -> None:
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
        match conversation.begun():
            case (number, Begin()):
                conversation.finish(EffectDone(number, None, BROKEN))
            case (number, BeginCall()):
                conversation.finish(CallDone(number, None, REFUSED))
            case _:
                return False
        return True
    conversation.asked.append(conversation.run.waits_for)
    conversation.run.reject(BROKEN)
    return True


def lose(conversation: Conversation) -> bool:
    conversation.lose()
    return False


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


class FileConversation(Conversation):
    """A conversation about files; afterwards none of them is half there."""

    def __init__(self, name: str, arguments: dict[str, Any], context: Any) -> None:
        super().__init__(name, arguments, context=context)
        self.name = name
        self.host.directories |= {"/slave", "/slave/linux", WORKDIR}
        for number in range(3):
            self.host.write(f"{WORKDIR}/tree/{number}", b"%d" % number * 5000)
        self.host.write(f"{WORKDIR}/tree/sub/file", b"")
        self.peer.content = b"new" * 10_000
        self.before = {path: self.host.read(path) for path in self.host.paths}

    def check(self) -> None:
        super().check()
        if self.name == "downloadFile":
            whole = {**self.before, f"{WORKDIR}/tree/1": self.peer.content}
            present = {path: self.host.read(path) for path in self.host.paths}
            if self.host.refuses(RemoveFile("")) is not None:
                # What cannot be removed cannot be removed.
                present = {path: data for path, data in present.items() if not path.endswith(".part")}
            assert present in (self.before, whole)
        codes = [said.value for said in self.run.said if isinstance(said, SendItem) and said.key == "rc"]
        if codes == [0] and "unpack" in self.peer.calls:
            with tarfile.open(fileobj=io.BytesIO(self.peer.written)) as archive:
                names = [member.name for member in archive.getmembers()]
            assert names == ["", "0", "1", "2", "sub", "sub/file"]
        if codes == [0] and "utime" in self.peer.calls:
            assert self.peer.written == self.before[f"{WORKDIR}/tree/1"]


PEER = Remote(1)
MOVES: dict[str, tuple[str, dict[str, Any]]] = {
    "upload": ("uploadFile", {"workersrc": "tree/1", "writer": PEER, "blocksize": 1000, "keepstamp": True}),
    "cut upload": ("uploadFile", {"workersrc": "tree/1", "writer": PEER, "blocksize": 1000, "maxsize": 3000}),
    "upload of nothing": ("uploadFile", {"workersrc": "none", "writer": PEER, "blocksize": 1000}),
    "directory": ("uploadDirectory", {"workersrc": "tree", "writer": PEER, "blocksize": 4096}),
    "directory in gz": (
        "uploadDirectory",
        {"workersrc": "tree", "writer": PEER, "blocksize": 100, "compress": "gz"},
    ),
    "cut directory": ("uploadDirectory", {"workersrc": "tree", "writer": PEER, "blocksize": 4096, "maxsize": 9000}),
    "download": ("downloadFile", {"workerdest": "tree/1", "reader": PEER, "blocksize": 2500}),
}
TREES: dict[str, tuple[str, dict[str, Any]]] = {
    "stat": ("stat", {"file": "build/tree/1"}),
    "listdir": ("listdir", {"dir": "build/tree"}),
    "rmfile": ("rmfile", {"path": "build/tree/1"}),
    "glob": ("glob", {"path": "build/**/1"}),
    "cpdir": ("cpdir", {"fromdir": "build/tree", "todir": "build/copy", "maxTime": 10}),
    "rmdir": ("rmdir", {"dir": "build/tree"}),
    "rmdir of a list": ("rmdir", {"dir": ["build/tree", "build/none", "build/tree/sub"], "timeout": 3, "maxTime": 2}),
}


def about_files(name: str, arguments: dict[str, Any], context: Any) -> Callable[[], Conversation]:
    return lambda: FileConversation(name, {"workdir": "build", **arguments}, context)


CONVERSATIONS: dict[str, Callable[[], Conversation]] = {
    **{name: about_files(*what, TEXT) for name, what in (*MOVES.items(), *TREES.items())},
    **{f"0.8 {name}": about_files(*what, BYTES) for name, what in (*MOVES.items(), *TREES.items())},
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


@pytest.mark.parametrize("what", [interrupt, interrupt_twice, lose, break_everything_from_here])
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
