"""For tests: playbooks of scripts, a host in memory, and a scripted master for sessions. Nothing here waits.

`play` runs one script against a list of steps, in the order in which they happen:

    play(
        make_script("mkdir", {"dir": "a"}, context, COMMANDS),
        wants(MakeDirs("/slave/builder/a")),
        fails(HostError(13, "Permission denied")),
        sends_text("header", "mkdir: Permission denied: /slave/builder/a\\n"),
        sends("rc", 13),
        ends(),
    )

`SessionDriver` runs a whole `SlaveSession`: a `MemoryHost` performs its requests, and the master at the other end of
the connection is a `ScriptedMaster`, which makes the calls of a real one when you say so.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from slaveproto.commands.registry import COMMANDS, Command
from slaveproto.effects import (
    Abandon,
    CloseConnection,
    FileStamp,
    HostEffect,
    ListDir,
    MakeDirs,
    OpenConnection,
    ProcessClosed,
    ProcessExited,
    ProcessOutput,
    ReadDir,
    ReadFile,
    Request,
    Script,
    ScriptEvent,
    SendItem,
    SendText,
    Signal,
    Spawn,
    StatFile,
)
from slaveproto.errors import HostError
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import (
    Completed,
    Connected,
    Disconnected,
    Input,
    Received,
    Rejected,
    SlaveEvent,
    Start,
    Wakeup,
)
from slaveproto.slave.session import SlaveSession
from slaveproto.slave.tasks import Task
from slaveproto.updates import Dialect, UpdateBuffer
from slaveproto.wire.banana import NEED_DATA
from slaveproto.wire.connection import Connection, Role
from slaveproto.wire.events import Answered, Call, CallLost, Failed
from slaveproto.wire.login import UNAUTHORIZED, digest
from slaveproto.wire.values import Failure, Local, Remote, Value

# -- playbooks: what a script says


@attrs.frozen
class Ended:
    """The end of a script: without a failure, or with one.

    Args:
        kind: dotted name of the failure's class; None for an orderly end.
        message: its text; in a playbook, None for any.
    """

    kind: str | None = None
    message: str | None = None


Said: TypeAlias = HostEffect | SendText | SendItem | Ended


class ScriptRun:
    """One script, driven by hand, with a clock that stands still until `pass_time`.

    Args:
        script: the generator; it runs to its first wait at once.
        now: the time of its start.
    """

    def __init__(self, script: Script[Any], now: float = 0.0) -> None:
        self.now = now
        self.said: list[Said] = []
        """All that it said so far, in order."""
        self.waits_for: HostEffect | None = None
        """The effect that it waits for."""
        self._task = Task(script, _Recorder(self.said))
        self._after(self._task.start(now))

    @property
    def done(self) -> bool:
        """Whether it is at its end."""
        return self._task.done

    @property
    def deadline(self) -> float | None:
        """When its earliest timer is due; None while it does not wait for one."""
        return self._task.deadline

    def reply(self, value: object) -> None:
        """Perform the effect that it waits for."""
        assert self.waits_for is not None, "the script waits for no reply"
        self._after(self._task.reply(value, self.now))

    def reject(self, error: HostError) -> None:
        """Let the effect that it waits for fail."""
        assert self.waits_for is not None, "the script waits for no reply"
        self._after(self._task.reject(error, self.now))

    def tell(self, event: ScriptEvent) -> None:
        """Let something happen; the script takes it when it next asks."""
        effect = self._task.tell(event, self.now)
        if self.waits_for is None:
            self._after(effect)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; what is due on the way happens in its order and at its time."""
        end = self.now + seconds
        while (due := self._task.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self._after(self._task.look(self.now))
        self.now = end

    def _after(self, effect: HostEffect | None) -> None:
        self.waits_for = effect
        if effect is not None:
            self.said.append(effect)
        elif self._task.done and not (self.said and isinstance(self.said[-1], Ended)):
            failure = self._task.failure
            self.said.append(Ended() if failure is None else Ended(failure.kind, failure.message))


class _Recorder(UpdateBuffer):
    """Keeps what a script sends as it was said."""

    def __init__(self, said: list[Said]) -> None:
        super().__init__(Dialect.TEXT, "utf-8")
        self._said = said

    def add_text(self, stream: str, text: bytes | str, log: bytes | str, now: float) -> None:
        self._said.append(SendText(stream, text, log))

    def add_item(self, key: str, value: Value, now: float) -> None:
        self._said.append(SendItem(key, value))


# -- playbooks: their steps


@attrs.frozen
class _Expects:
    what: Said

    def line(self) -> str:
        return f"script: {self.what!r}"


@attrs.frozen
class _Does:
    what: str
    action: Callable[[ScriptRun], None]

    def line(self) -> str:
        return f"  test: {self.what}"


PlayStep: TypeAlias = _Expects | _Does


def wants(effect: HostEffect) -> PlayStep:
    """The script asks for an effect of the outer ring."""
    return _Expects(effect)


def sends_text(stream: str, text: bytes | str, log: bytes | str = "") -> PlayStep:
    """The script adds text to a stream, or to the log of that name."""
    return _Expects(SendText(stream, text, log))


def sends(key: str, value: Value) -> PlayStep:
    """The script sends an update that is no text."""
    return _Expects(SendItem(key, value))


def ends() -> PlayStep:
    """The script ends without a failure."""
    return _Expects(Ended())


def ends_with(kind: str, message: str | None = None) -> PlayStep:
    """The script ends with a failure of the class `kind`; its text counts if given."""
    return _Expects(Ended(kind, message))


def replies(value: object) -> PlayStep:
    """The effect that the script waits for is performed."""
    return _Does(f"replies {value!r}", lambda run: run.reply(value))


def fails(error: HostError) -> PlayStep:
    """The effect that the script waits for fails."""
    return _Does(f"fails with {error.errno} {error.strerror!r}", lambda run: run.reject(error))


def tells(event: ScriptEvent) -> PlayStep:
    """Something happens that the script may wait for."""
    return _Does(f"tells {event!r}", lambda run: run.tell(event))


def after(seconds: float) -> PlayStep:
    """Time passes."""
    return _Does(f"after {seconds:g} s", lambda run: run.pass_time(seconds))


def play(script: Script[Any], *steps: PlayStep, now: float = 0.0) -> ScriptRun:
    """Run a script against a playbook, and return the run for a closer look.

    Raises:
        AssertionError: the script said something else, or more, or less; the text shows the difference.
    """
    run = ScriptRun(script, now)
    lines: list[str] = []
    heard = 0
    for number, step in enumerate(steps):
        if isinstance(step, _Expects):
            if heard == len(run.said) or not _matches(step.what, run.said[heard]):
                _differ(lines, steps[number:], run.said[heard:])
            heard += 1
        else:
            if heard < len(run.said):
                _differ(lines, steps[number:], run.said[heard:])
            step.action(run)
        lines.append(step.line())
    if heard < len(run.said):
        _differ(lines, (), run.said[heard:])
    return run


def _matches(expected: Said, actual: Said) -> bool:
    if isinstance(expected, Ended) and isinstance(actual, Ended) and expected.message is None:
        return expected.kind == actual.kind
    return expected == actual


def _differ(before: list[str], expected: Sequence[PlayStep], actual: Sequence[Said]) -> None:
    """Show both conversations up to the next thing that the test would do."""
    turn = []
    for step in expected:
        if isinstance(step, _Does):
            break
        turn.append(step.line())
    difference = difflib.ndiff(before + turn, before + [_Expects(said).line() for said in actual])
    raise AssertionError("the script does not follow the playbook\n" + "\n".join(difference))


# -- a host in memory

SIGNAL_NUMBERS: Final[Mapping[str, int]] = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "USR1": 10, "TERM": 15}


@attrs.define
class Child:
    """A process that a `MemoryHost` started.

    Args:
        number: its number, that of the request.
        effect: how it was started.
        survives: the names of the signals that do not end it.
    """

    number: int
    effect: Spawn
    survives: frozenset[str]
    signals: list[str] = attrs.field(factory=list)
    running: bool = True
    abandoned: bool = False


@attrs.define
class _File:
    data: bytes
    inode: int
    changed: int


class MemoryHost:
    """Performs effects on directories, files and processes that exist only here.

    Args:
        directories: those that are there from the beginning.
    """

    def __init__(self, directories: Iterable[str] = ()) -> None:
        self.directories: set[str] = set(directories)
        self.children: dict[int, Child] = {}
        self.survives: frozenset[str] = frozenset()
        """The names of the signals that do not end children which start from now on."""
        self.refuses: Callable[[HostEffect], HostError | None] = lambda effect: None
        """Is asked before each effect is performed; what it returns is how the effect fails."""
        self._files: dict[str, _File] = {}
        self._changes = 0

    def write(self, path: str, data: bytes) -> None:
        """Create a file, or replace what is in it."""
        self._changes += 1
        before = self._files.get(path)
        self._files[path] = _File(data, self._changes if before is None else before.inode, self._changes)

    def append(self, path: str, data: bytes) -> None:
        """Append to a file; it is created if need be."""
        before = self._files.get(path)
        self.write(path, data if before is None else before.data + data)

    def remove(self, path: str) -> None:
        """Remove a file."""
        del self._files[path]

    def perform(self, request: Request) -> list[Input]:
        """Return the reports of a request. Connections are none of this host's business."""
        error = self.refuses(request.effect)
        if error is not None:
            return [Rejected(request.id, error)]
        match request.effect:
            case OpenConnection() | CloseConnection():
                raise TypeError("this host has no network")
            case Spawn() as effect:
                self.children[request.id] = Child(request.id, effect, self.survives)
                return [Completed(request.id, request.id)]
            case Signal(process, name):
                child = self.children.get(process)
                if child is None:
                    return [Completed(request.id, False)]
                child.signals.append(name)
                done = Completed(request.id, child.running)
                if not child.running or name in child.survives:
                    return [done]
                if name not in SIGNAL_NUMBERS:
                    return [Rejected(request.id, HostError(22, f"there is no signal {name}"))]
                return [done, *self.end(process, signal=SIGNAL_NUMBERS[name])]
            case Abandon(process):
                if process in self.children:
                    self.children[process].abandoned = True
                return [Completed(request.id, None)]
            case effect:
                return [Completed(request.id, self.reply_to(effect))]

    def reply_to(self, effect: MakeDirs | ListDir | ReadDir | StatFile | ReadFile) -> object:
        """Return the reply to an effect on files."""
        match effect:
            case MakeDirs(path):
                new = path not in self.directories
                self.directories.add(path)
                return new
            case ListDir(path):
                inside = (directory.removeprefix(path + "/") for directory in self.directories - {path})
                return tuple(name for name in inside if "/" not in name)
            case ReadDir(path):
                names = {name: name.removeprefix(path + "/") for name in self._files}
                return {short: self._files[name].data for name, short in names.items() if "/" not in short}
            case StatFile(path):
                file = self._files.get(path)
                return file and FileStamp(file.inode, len(file.data), file.changed, file.changed)
            case ReadFile(path, offset, size):
                return self._files[path].data[offset : offset + size]

    def end(self, process: int, code: int = 0, signal: int | None = None) -> list[Input]:
        """End a process and return the reports of it."""
        self.children[process].running = False
        return [ProcessExited(process, code, signal), ProcessClosed(process)]


# -- a scripted master


class CallRefused(Exception):
    """A call of the scripted master failed on the slave.

    Args:
        failure: how.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.kind}: {failure.message}")
        self.failure = failure


class ConnectionLost(Exception):
    """The connection ended before a call of the scripted master was answered."""


class MasterCommand:
    """A command on the master's side: what it heard of it.

    Args:
        number: the master's number of it.
    """

    def __init__(self, number: str) -> None:
        self.number = number
        self.local = Local(f"command {number}")
        self.updates: list[dict[Value, Value]] = []
        """Each update in its order."""
        self.calls = 0
        """How many calls brought them."""
        self.ends: list[Value] = []
        """What `complete` was called with, once for each time."""
        self.late: list[str] = []
        """The calls that came after `complete`."""

    def hear(self, call: Call) -> None:
        """Take one call of the slave."""
        if self.ends:
            self.late.append(call.method)
        if call.method == "complete":
            self.ends += call.args
            return
        assert call.method == "update", call.method
        self.calls += 1
        (updates,) = call.args
        assert isinstance(updates, list)
        for pair in updates:
            match pair:
                case [dict() as update, 0]:
                    self.updates.append(update)
                case _:
                    raise AssertionError(f"no master reads the update {pair!r}")

    def text(self, stream: str) -> bytes | str:
        """Return the text of a stream as a whole, in the kind in which it came; empty text if there is none."""
        raw, text = b"", ""
        for key, value in self.items():
            if key == stream:
                assert isinstance(value, (bytes, str)), f"{key} is {value!r}"
                raw, text = (raw + value, text) if isinstance(value, bytes) else (raw, text + value)
        assert not raw or not text, f"{stream} came in both kinds"
        return raw or text

    def items(self) -> list[tuple[str, Value]]:
        """Return all updates as pairs of key and value."""
        return [(_text(key), value) for update in self.updates for key, value in update.items()]


class ScriptedMaster:
    """The master's end of one connection. Its methods do what a master does, and nothing else does it.

    Args:
        driver: is driven until every call has had its effects.
        password: of the slave.
    """

    def __init__(self, driver: SessionDriver, password: bytes) -> None:
        self._driver = driver
        self._password = password
        self._challenger = Local("challenger")
        self._login: int | None = None
        self.root = Local("root")
        self.avatar = Local("perspective")
        self.connection = Connection(Role.SERVER, root=self.root)
        self.login_name: Value = None
        """The name that the slave gave."""
        self.bot: Remote | None = None
        """The slave as a whole, known once it asked to log in."""
        self.builders: dict[Value, Remote] = {}
        """The slave's builders, by the names that it gave back."""
        self.commands: dict[Local, MasterCommand] = {}
        """All commands ever started here, by the object that listens."""
        self.wishes: list[str] = []
        """What the slave called on its perspective: `keepalive`, `shutdown`."""
        self.refuses_wishes: Failure | None = None
        """The failure that answers those calls."""
        self.open = True
        """Whether the connection is there."""
        self._outcomes: dict[int, Value] = {}

    # -- being called

    def hear(self, data: bytes) -> None:
        """Take bytes of the slave."""
        self.connection.receive_data(data)
        while (event := self.connection.next_event()) is not NEED_DATA:
            match event:
                case Call():
                    self._on_call(event)
                case Answered(number, value):
                    self._outcomes[number] = value
                case Failed(number, failure):
                    self._outcomes[number] = failure
                case _:
                    pass

    def end(self) -> None:
        """The connection is over."""
        self.open = False
        self.connection.receive_eof()
        while (event := self.connection.next_event()) is not NEED_DATA:
            if isinstance(event, CallLost):
                self._outcomes[event.id] = Failure("twisted.spread.pb.PBConnectionLost", "")

    def _on_call(self, call: Call) -> None:
        command = self.commands.get(call.target)
        answer: Value = None
        match call.target, call.method, call.args:
            case (_, "update" | "complete", _) if command is not None:
                command.hear(call)
                answer = 0 if call.method == "update" else None
            case self.root, "login", (name,):
                self.login_name = name
                answer = (b"0123456789abcdef", self._challenger)
            case self._challenger, "respond", (response, Remote() as mind):
                self.bot = mind
                self._login = call.id
                assert response == digest(self._password, b"0123456789abcdef"), "the wrong password"
                return
            case self.avatar, method, ():
                self.wishes.append(method)
                if self.refuses_wishes is not None:
                    self.connection.fail(call.id, self.refuses_wishes)
                    return
            case _:
                raise AssertionError(f"no master has {call.method} of {call.target} with {call.args}")
        self.connection.answer(call.id, answer)

    # -- calling

    def ask(self, target: Remote, method: str, *args: Value, **kwargs: Value) -> int:
        """Make a call without waiting for its answer; `answer_to` has it later."""
        if not self.open:
            raise ConnectionLost
        number = self.connection.call(target, method, args, kwargs)
        self._driver.settle()
        return number

    def answer_to(self, number: int) -> Value:
        """Return the answer to a call.

        Raises:
            CallRefused: it failed.
            ConnectionLost: it will never be answered.
            AssertionError: it is not answered yet.
        """
        assert number in self._outcomes, f"call {number} is not answered"
        outcome = self._outcomes[number]
        if isinstance(outcome, Failure):
            if not self.open:
                raise ConnectionLost
            raise CallRefused(outcome)
        return outcome

    def call(self, target: Remote, method: str, *args: Value, **kwargs: Value) -> Value:
        """Make a call and return its answer; raises as `answer_to`."""
        return self.answer_to(self.ask(target, method, *args, **kwargs))

    def call_bot(self, method: str, *args: Value, **kwargs: Value) -> Value:
        """Call the slave as a whole; raises as `answer_to`."""
        if self.bot is None:
            raise ConnectionLost
        return self.call(self.bot, method, *args, **kwargs)

    def set_builders(self, builders: Sequence[tuple[Value, Value]]) -> Mapping[Value, Remote]:
        """Name the builders and their directories; raises as `answer_to`."""
        answer = self.call_bot("setBuilderList", list(builders))
        assert isinstance(answer, dict)
        before, self.builders = self.builders, {}
        for name, builder in answer.items():
            assert isinstance(builder, Remote)
            self.builders[name] = builder
        for remote in before.values():
            self.connection.release(remote)
        self._driver.settle()
        return self.builders

    def accept_login(self) -> None:
        """Answer the login with a perspective."""
        self._end_login(lambda number: self.connection.answer(number, self.avatar))

    def refuse_login(self, kind: str = UNAUTHORIZED, message: str = "") -> None:
        """Answer the login with a failure, if no other is given that of a wrong password."""
        self._end_login(lambda number: self.connection.fail(number, Failure(kind, message)))

    def _end_login(self, answer: Callable[[int], None]) -> None:
        number, self._login = self._login, None
        if not self.open:
            raise ConnectionLost
        assert number is not None, "the slave did not ask to log in"
        answer(number)
        self._driver.settle()

    def attach_as_08(self, builders: Sequence[tuple[str, str]]) -> dict[str, Value]:
        """Make the calls of a 0.8.4 master up to the answer to the login; return the answers by the method.

        Raises:
            CallRefused: a call failed that the slave should know.
            ConnectionLost: the connection ended on the way.
        """
        answers = {"print": self.call_bot("print", b"attached")}
        for method in ("getSlaveInfo", "getVersion", "getCommands"):
            answers[method] = self.call_bot(method)
        listed = self.set_builders([(name.encode(), directory.encode()) for name, directory in builders])
        for remote in listed.values():
            self.call(remote, "setMaster", Local("builder of the master"))
            self.call(remote, "print", b"attached")
        self.accept_login()
        return answers

    def attach_as_4x(self, builders: Sequence[tuple[str, str]]) -> dict[str, Value]:
        """Make the calls of a 4.3 master up to the answer to the login; returns and raises as `attach_as_08`."""
        answers = {"print": self.call_bot("print", message="attached"), "getWorkerInfo": self.call_bot("getWorkerInfo")}
        for _ in self.set_builders(list(builders)):
            self.call_bot("print", message="attached")
        self.accept_login()
        return answers

    def start_command(
        self, builder: Value, name: Value, arguments: Mapping[str, Value], *, start_build: bool = True
    ) -> MasterCommand:
        """Start a command on a builder, the names of its arguments in the kind of the builder's name.

        Raises:
            CallRefused: the slave refused it.
            ConnectionLost: the connection ended on the way.
        """
        command = MasterCommand(str(len(self.commands)))
        self.commands[command.local] = command
        old = isinstance(builder, bytes)
        named: dict[Value, Value] = {key.encode() if old else key: value for key, value in arguments.items()}
        number = command.number.encode() if old else command.number
        if builder not in self.builders:
            raise ConnectionLost
        remote = self.builders[builder]
        if start_build:
            self.call(remote, "startBuild")
        self.call(remote, "startCommand", command.local, number, name, named)
        return command

    def interrupt(self, builder: Value, why: Value = "stop it") -> None:
        """Ask for the end of what runs on a builder; raises as `answer_to`."""
        self.call(self.builders[builder], "interruptCommand", "0", why)


class SessionDriver:
    """A `SlaveSession` with a host in memory and a master at the other end. Time passes only in `advance`.

    Args:
        config: who the slave is.
        info: what its host is.
        commands: what the master may start.
        jitter: as for the session; none by default.
        host: performs its requests.
    """

    def __init__(
        self,
        config: SlaveConfig | None = None,
        info: HostInfo | None = None,
        *,
        commands: Mapping[str, Command] = COMMANDS,
        jitter: Callable[[float], float] = lambda delay: delay,
        host: MemoryHost | None = None,
    ) -> None:
        self.config = config or SlaveConfig("master", 9989, "bot1", "secret", "/slave")
        self.info = info or HostInfo({"PATH": "/bin"}, "posix", 2, {"ID": "debian"}, "1.0")
        self.session = SlaveSession(self.config, self.info, jitter, commands)
        self.host = host or MemoryHost()
        self.now = 0.0
        self.inputs: list[tuple[float, Input]] = []
        """All that the session was handed: enough to repeat it."""
        self.requests: list[Request] = []
        """All that it asked for."""
        self.events: list[SlaveEvent] = []
        """All that it announced."""
        self.reachable: bool | None = True
        """Whether a new connection comes about: True, False if it fails at once, None if nobody ever answers."""
        self.listening = True
        """Whether the master reads; if not, what the session sends waits."""
        self.holds: Callable[[Request], bool] = lambda request: False
        """Tells which requests go to `held` instead of being performed."""
        self.held: list[Request] = []
        self.masters: list[ScriptedMaster] = []
        """Every connection so far."""
        self._connection = 0
        self._reports: deque[Input] = deque()
        self._settling = False

    @property
    def master(self) -> ScriptedMaster:
        """The newest connection."""
        return self.masters[-1]

    def start(self) -> ScriptedMaster:
        """Start the session; return the master that it connects to."""
        self.handle(Start())
        return self.master

    def handle(self, *items: Input) -> None:
        """Hand inputs to the session, and let everything follow that they lead to."""
        self._reports.extend(items)
        self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass, waking the session at each of its deadlines on the way."""
        end = self.now + seconds
        while (due := self.session.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.handle(Wakeup())
        self.now = end

    def reconnect(self) -> ScriptedMaster:
        """Let time pass until the session tried again; return the new master."""
        count = len(self.masters)
        while len(self.masters) == count:
            assert self.session.deadline is not None, "the session will not try again"
            self.advance(self.session.deadline - self.now)
        return self.master

    def lose_connection(self, why: str = "") -> None:
        """Let the connection end; `why` is the operating system's reason, empty for an orderly end."""
        number, self._connection = self._connection, 0
        self.master.end()
        self.handle(Disconnected(number, why))

    def output(self, child: Child, data: bytes, stream: str = "stdout") -> None:
        """Let a child write."""
        self.handle(ProcessOutput(child.number, stream, data))

    def end(self, child: Child, code: int = 0, signal: int | None = None) -> None:
        """Let a child end by itself, with its streams."""
        self.handle(*self.host.end(child.number, code, signal))

    def perform_held(self) -> None:
        """Perform the requests that were held back, and hold none from now on."""
        self.holds = lambda request: False
        held, self.held = self.held, []
        for request in held:
            self._perform(request)
        self.settle()

    def settle(self) -> None:
        """Carry data and reports to and fro until nothing moves any more."""
        if self._settling:
            return
        self._settling = True
        try:
            while self._pump():
                pass
        finally:
            self._settling = False

    def _pump(self) -> bool:
        if self._reports:
            self.feed(self._reports.popleft())
            return True
        if not self._connection:
            return False
        sent = self.session.data_to_send() if self.listening else b""
        if sent:
            self.to_master(sent)
            self._reports.append(Wakeup())
            return True
        received = self.master.connection.data_to_send()
        if received:
            self.to_slave(received)
        return bool(received)

    def feed(self, item: Input) -> None:
        """Hand one input to the session and look at all of its doors."""
        self.inputs.append((self.now, item))
        self.session.handle(item, now=self.now)
        for request in self.session.requests():
            self.requests.append(request)
            if self.holds(request):
                self.held.append(request)
            else:
                self._perform(request)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)

    def to_slave(self, data: bytes) -> None:
        """Bytes of the master arrive."""
        self._reports.append(Received(self._connection, data))

    def to_master(self, data: bytes) -> None:
        """Bytes of the slave arrive."""
        self.master.hear(data)

    def _perform(self, request: Request) -> None:
        match request.effect:
            case OpenConnection():
                if self.reachable is None:
                    return
                if not self.reachable:
                    self._reports.append(Disconnected(request.id, "connection refused"))
                    return
                self._connection = request.id
                self.masters.append(ScriptedMaster(self, self.config.password.encode()))
                self._reports.append(Connected(request.id))
            case CloseConnection(connection, last):
                if connection == self._connection:
                    self._connection = 0
                    self.to_master(last)
                    self.master.end()
            case _:
                self._reports.extend(self.host.perform(request))


def _text(value: Value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
