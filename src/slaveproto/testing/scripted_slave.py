"""A slave at the wire: it answers a master's calls as one of its generation does, and speaks when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from slaveproto.testing.scripted_end import ScriptedEnd
from slaveproto.updates import Dialect, plain
from slaveproto.wire.banana import NEED_DATA
from slaveproto.wire.connection import Connection, Role
from slaveproto.wire.events import Answered, Call, CallLost, Event, Failed, Opened
from slaveproto.wire.login import ClientLogin, LoginOutcome, LoginRefused
from slaveproto.wire.serving import NO_SUCH_METHOD
from slaveproto.wire.values import Failure, Local, Remote, Value

MOST_OBJECTS: Final = 1024
"""Objects that a client on Twisted hands out besides its bot."""

_OLD_COMMANDS: Final = (
    "shell", "uploadFile", "uploadDirectory", "downloadFile", "mkdir", "rmdir", "cpdir", "stat",
    "svn", "bk", "cvs", "darcs", "git", "repo", "bzr", "hg", "p4", "mtn",
)  # fmt: skip
_NEW_COMMANDS: Final = (
    "shell", "uploadFile", "upload_file", "uploadDirectory", "upload_directory", "downloadFile", "download_file",
    "mkdir", "rmdir", "cpdir", "stat", "glob", "listdir", "rmfile",
)  # fmt: skip
_BOT: Final = frozenset({"print", "setBuilderList", "shutdown"})
_OLD_BOT: Final = _BOT | {"getSlaveInfo", "getCommands", "getVersion"}
_BUILDER: Final = frozenset({"setMaster", "print", "startBuild", "startCommand", "interruptCommand"})


@attrs.frozen
class Generation:
    """The knowledge of a slave of one release.

    Args:
        version: of the release.
        commands: its commands, with the version that it gives each.
        bot: the methods of the slave as a whole.
        builder: the methods of its builders.
        dialect: in which kind it sends text.
        most_objects: how many objects it can hand out besides its bot; None for any number.
    """

    version: str
    commands: Mapping[str, str]
    bot: frozenset[str]
    builder: frozenset[str]
    dialect: Dialect
    most_objects: int | None

    def info(self) -> dict[str, Value]:
        """Return what it says of itself, in text."""
        info: dict[str, Value] = {
            "admin": "A. Admin <admin@example.org>\n",
            "host": "a host\n",
            "environ": _value({"PATH": "/bin"}),
            "system": "posix",
            "basedir": "/slave",
        }
        if "getWorkerInfo" in self.bot:
            info |= {"numcpus": 2, "version": self.version, "worker_commands": _value(self.commands)}
        return info


GENERATIONS: Final[Mapping[str, Generation]] = {
    "0.8.4": Generation(
        "0.8.4",
        dict.fromkeys((*_OLD_COMMANDS, "p4sync"), "2.13"),
        _OLD_BOT,
        _BUILDER | {"shutdown"},
        Dialect.BYTES,
        MOST_OBJECTS,
    ),
    "0.8.14": Generation(
        "0.8.14",
        dict.fromkeys((*_OLD_COMMANDS, "glob", "listdir"), "2.16"),
        _OLD_BOT,
        _BUILDER | {"shutdown"},
        Dialect.BYTES,
        MOST_OBJECTS,
    ),
    "4.3": Generation(
        "4.3.0",
        dict.fromkeys(_NEW_COMMANDS, "3.3"),
        _BOT | {"getWorkerInfo"},
        _BUILDER,
        Dialect.TEXT,
        MOST_OBJECTS,
    ),
    "ours": Generation(
        "slaveproto 0.1",
        dict.fromkeys(_NEW_COMMANDS, "3.3"),
        _OLD_BOT | {"getWorkerInfo"},
        _BUILDER | {"shutdown"},
        Dialect.TEXT,
        None,
    ),
}
"""Releases by the names under which tests speak of them."""


@attrs.frozen(eq=False)
class HeardCall:
    """A call of the master.

    Args:
        target: `bot`, or the name of a builder.
        call: the call itself.
    """

    target: str
    call: Call

    @property
    def method(self) -> str:
        """The method."""
        return self.call.method

    @property
    def args(self) -> tuple[Value, ...]:
        """The positional arguments."""
        return self.call.args

    @property
    def said(self) -> str:
        """Target and method, as in `bot.print`; short for comparisons."""
        return f"{self.target}.{self.call.method}"


Answer: TypeAlias = "Value | Callable[[HeardCall], Value]"


class SlaveCommand:
    """A command that the master started.

    Args:
        slave: where.
        heard: the call that started it.
    """

    def __init__(self, slave: ScriptedSlave, heard: HeardCall) -> None:
        step, self.number, name, arguments = heard.args
        assert isinstance(step, Remote)
        assert isinstance(arguments, dict)
        self.builder = heard.target
        self.step = step
        """The master's object that listens to it."""
        self.name = _text(name)
        self.raw_arguments = arguments
        """The arguments as they came."""
        self.interrupts: list[str] = []
        """The reasons of all interrupts."""
        self._slave = slave

    @property
    def arguments(self) -> dict[str, Value]:
        """The arguments, their names as text."""
        return {_text(key): value for key, value in self.raw_arguments.items()}

    def object(self, name: str) -> Remote:
        """Return the argument that is an object of the master: a reader or a writer."""
        remote = self.arguments[name]
        assert isinstance(remote, Remote)
        return remote

    def update(self, *updates: Mapping[str, Value]) -> Value:
        """Call `update` with these, text in the kind of the slave; return the answer, or raise as `call`."""
        pairs = [[plain(_value(update), self._slave.generation.dialect, "utf-8"), 0] for update in updates]
        return self._slave.call(self.step, "update", list(pairs))

    def raw_update(self, updates: Value) -> int:
        """Call `update` with anything, and do not wait for the answer."""
        return self._slave.ask(self.step, "update", updates)

    def complete(self, failure: Value = None) -> Value:
        """Call `complete`; return the answer, or raise as `call`."""
        return self._slave.call(self.step, "complete", failure)

    def finish(self, rc: int = 0) -> None:
        """Say how it ended, as a command that went well does."""
        self.update({"rc": rc})
        self.update({"elapsed": 1.5})
        self.complete()


class ScriptedSlave(ScriptedEnd):
    """The slave's end of one connection. It asks to log in as soon as it can, and answers what it is asked.

    Args:
        settle: drives both ends until every call has had its effects.
        name: of the user.
        password: of the user.
        generation: of `GENERATIONS`.
        mind: whether it hands out its bot when it logs in.
        login: whether it logs in by itself.
    """

    def __init__(
        self,
        settle: Callable[[], None],
        name: bytes = b"bot1",
        password: bytes = b"secret",
        generation: str = "4.3",
        *,
        mind: bool = True,
        login: bool = True,
    ) -> None:
        super().__init__(Connection(Role.CLIENT), settle)
        self.generation = GENERATIONS[generation]
        self.name = name
        self.password = password
        self.bot = Local("bot")
        self.outcome: LoginOutcome | None = None
        """The end of the last login; None while it waits."""
        self.calls: list[HeardCall] = []
        """All calls of the master."""
        self.events: list[Event] = []
        """All that the connection announced."""
        self.holds: Callable[[HeardCall], bool] = lambda heard: False
        """Tells which calls go to `held` instead of being answered."""
        self.held: list[HeardCall] = []
        self.answers: dict[str, Answer] = {}
        """Answers that replace the usual ones, by method; a `Failure` fails, a function is called."""
        self.lacks: set[str] = set()
        """Methods that it does not know, though its generation does."""
        self.builders: dict[str, Local] = {}
        """Its builders, by name."""
        self.directories: dict[str, str] = {}
        """The builders' directories."""
        self.commands: list[SlaveCommand] = []
        """All commands that were started."""
        self._mind = mind
        self._login_at_once = login
        self._login: ClientLogin | None = None
        self._forging = False
        self._forged = b""

    # -- looking

    @property
    def avatar(self) -> Remote | None:
        """The perspective, None before the login."""
        return self.outcome.avatar if self.outcome is not None and not isinstance(self.outcome, LoginRefused) else None

    @property
    def refused(self) -> Failure | None:
        """The failure of the last login, None if there was none."""
        return self.outcome.failure if isinstance(self.outcome, LoginRefused) else None

    @property
    def said(self) -> list[str]:
        """All calls of the master in short."""
        return [heard.said for heard in self.calls]

    @property
    def command(self) -> SlaveCommand:
        """The newest command."""
        return self.commands[-1]

    # -- the wire

    def hear(self, data: bytes) -> None:
        """Take bytes of the master."""
        if not self._forging:
            self.connection.receive_data(data)
            self._read()

    def data_to_send(self) -> bytes:
        """Return bytes for the master and forget them."""
        forged, self._forged = self._forged, b""
        return self.connection.data_to_send() + forged

    def forge(self, data: bytes) -> None:
        """Send bytes of which its end of the connection knows nothing; what it hears from now on is lost on it."""
        self._forging = True
        self._forged += data
        self._settle()

    def end(self) -> None:
        """The connection is over."""
        self.open = False
        self.connection.receive_eof()
        self._read()

    def _read(self) -> None:
        while (event := self.connection.next_event()) is not NEED_DATA:
            self.events.append(event)
            match event:
                case Opened() if self._login_at_once:
                    self.begin_login()
                case Answered() | Failed() if self._login is not None and self._login.concerns(event):
                    self.outcome = self._login.handle(event) or self.outcome
                case Answered(number, value):
                    self._end_call(number, value)
                case Failed(number, failure):
                    self._end_call(number, failure)
                case CallLost(number):
                    self._end_call(number, Failure("twisted.spread.pb.PBConnectionLost", ""))
                case Call():
                    self._on_call(event)
                case _:
                    pass

    def _end_call(self, number: int, outcome: Value) -> None:
        self.unanswered.discard(number)
        self._outcomes[number] = outcome

    # -- logging in

    def begin_login(self, name: bytes | None = None, password: bytes | None = None) -> None:
        """Ask to log in, perhaps by another name."""
        self.outcome = None
        self.name = self.name if name is None else name
        self.password = self.password if password is None else password
        self._login = ClientLogin(self.connection, self.name, self.password, self.bot if self._mind else None)

    def log_in(self, name: bytes | None = None, password: bytes | None = None) -> LoginOutcome | None:
        """Ask to log in and let everything follow from that; return how it ended, None if it waits."""
        self.begin_login(name, password)
        self._settle()
        return self.outcome

    # -- being called

    def _on_call(self, call: Call) -> None:
        names = {local: name for name, local in self.builders.items()}
        heard = HeardCall("bot" if call.target is self.bot else names.get(call.target, "a removed builder"), call)
        self.calls.append(heard)
        if self.holds(heard):
            self.held.append(heard)
        else:
            self._answer(heard)

    def answer_held(self) -> None:
        """Answer the calls that were held back, and hold none from now on."""
        self.holds = lambda heard: False
        held, self.held = self.held, []
        for heard in held:
            if self.open:
                self._answer(heard)
        self._settle()

    def _answer(self, heard: HeardCall) -> None:
        answer: Answer
        methods = self.generation.bot if heard.target == "bot" else self.generation.builder
        if heard.method not in methods or heard.method in self.lacks:
            answer = Failure(NO_SUCH_METHOD, f"No such method: remote_{heard.method}")
        elif heard.method in self.answers:
            answer = self.answers[heard.method]
        else:
            answer = self._usual_answer(heard)
        outcome = answer(heard) if callable(answer) else answer
        if isinstance(outcome, Failure):
            self.connection.fail(heard.call.id, outcome)
        else:
            self.connection.answer(heard.call.id, outcome)

    def _usual_answer(self, heard: HeardCall) -> Value:
        generation = self.generation
        match heard.method:
            case "getWorkerInfo" | "getSlaveInfo":
                return plain(_value(generation.info()), generation.dialect, "utf-8")
            case "getCommands":
                return plain(_value(generation.commands), generation.dialect, "utf-8")
            case "getVersion":
                return plain(generation.version, generation.dialect, "utf-8")
            case "setBuilderList":
                return self._set_builders(heard.args[0])
            case "startCommand":
                self.commands.append(SlaveCommand(self, heard))
            case "interruptCommand":
                for command in self.commands:
                    if command.builder == heard.target:
                        command.interrupts.append(_text(heard.args[1]))
            case _:
                pass
        return None

    def _set_builders(self, pairs: Value) -> Value:
        assert isinstance(pairs, list)
        listed: dict[Value, Value] = {}
        before, self.builders = self.builders, {}
        self.directories = {}
        most = self.generation.most_objects
        if most is not None and len(pairs) > most:
            return Failure("twisted.spread.pb.Error", "Maximum PB reference count exceeded.")
        for pair in pairs:
            assert isinstance(pair, tuple)
            name, directory = pair
            text = _text(name)
            self.builders[text] = before.get(text) or Local(f"builder {text}")
            self.directories[text] = _text(directory)
            # Under the very name that came.
            listed[name] = self.builders[text]
        return listed

    # -- calling

    def call_avatar(self, method: str, *args: Value) -> Value:
        """Call the perspective: `keepalive`, `shutdown`, `addChange`, ...; raises as `answer_to`."""
        assert self.avatar is not None, "it is not logged in"
        return self.call(self.avatar, method, *args)


def _value(mapping: Mapping[str, Value]) -> Value:
    return dict(mapping.items())


def _text(value: Value) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
