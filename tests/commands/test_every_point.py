"""Tests of failures and interruptions at every point: the script ends, once, and leaves nothing behind."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from slaveproto.effects import Abandon, Begin, BeginCall, CallDone, EffectDone, Interrupted, SendItem, Unlink
from slaveproto.errors import HostError
from slaveproto.updates import LEFT_OUT
from slaveproto.wire import Failure, Remote
from tests.commands.conversation import Conversation
from tests.commands.sources import CONVERSATIONS as SOURCES
from tests.commands.support import BYTES, TEXT, WORKDIR

pytestmark = pytest.mark.campaigns

BROKEN = HostError(5, "Input/output error")
REFUSED = Failure("exceptions.IOError", "disk full")


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
            if self.host.refuses(Unlink("")) is not None:
                # What cannot be removed cannot be removed.
                present = {path: data for path, data in present.items() if not path.endswith(".part")}
            assert present in (self.before, whole)
        codes = [said.value for said in self.run.said if isinstance(said, SendItem) and said.key == "rc"]
        if codes == [0] and "unpack" in self.peer.calls:
            with tarfile.open(fileobj=io.BytesIO(self.peer.written)) as archive:
                names = [member.name for member in archive.getmembers()]
            everything = ["", "0", "1", "2", "sub", "sub/file"]
            assert names == [name for name in everything if name in names]
            # What is not in it is told of.
            if not any(isinstance(said, SendItem) and said.key == LEFT_OUT for said in self.run.said):
                assert names == everything
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
    **SOURCES,
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
def test_dropped_at_every_point(name: str) -> None:
    """So ends every script when its slave stops: it may not want anything more."""
    undisturbed = CONVERSATIONS[name]()
    undisturbed.go(-1, interrupt)
    for at in range(undisturbed.points):
        conversation = CONVERSATIONS[name]()
        for _ in range(at):
            conversation.go_once()
        conversation.script.close()


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
