"""A master that makes the calls of a real one when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from slaveproto.testing.scripted_end import ConnectionLost, ScriptedEnd
from slaveproto.wire.banana import NEED_DATA
from slaveproto.wire.connection import Connection, Role
from slaveproto.wire.events import Answered, Call, CallLost, Failed
from slaveproto.wire.login import UNAUTHORIZED, ServerLogin
from slaveproto.wire.states import ServerLoginState
from slaveproto.wire.values import Failure, Local, Remote, Value


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
        """The number of calls that brought them."""
        self.ends: list[Value] = []
        """The arguments of `complete`, once for each time."""
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


class ScriptedMaster(ScriptedEnd):
    """The master's end of one connection. Its methods do what a master does, and nothing else does it.

    Args:
        settle: drives both ends until every call has had its effects.
        password: of the slave.
    """

    def __init__(self, settle: Callable[[], None], password: bytes) -> None:
        self.root = Local("root")
        super().__init__(Connection(Role.SERVER, root=self.root), settle)
        self._password = password
        self._login = ServerLogin(self.connection, self.root, b"a seed")
        self.avatar = Local("perspective")
        self.login_name: str | None = None
        """The name that the slave gave."""
        self.bot: Remote | None = None
        """The slave as a whole, known once it asked to log in."""
        self.builders: dict[Value, Remote] = {}
        """The slave's builders, by the names that it gave back."""
        self.commands: dict[Local, MasterCommand] = {}
        """All commands ever started here, by the object that listens."""
        self.wishes: list[str] = []
        """Methods that the slave called on its perspective: `keepalive`, `shutdown`."""
        self.refuses_wishes: Failure | None = None
        """The failure that answers those calls."""
        self.objects: dict[Local, Callable[[Call], Value]] = {}
        """Further objects that the slave may call, such as writers; each returns its answer, or a `Failure`."""

    # -- being called

    def hear(self, data: bytes) -> None:
        """Take bytes of the slave."""
        self.connection.receive_data(data)
        while (event := self.connection.next_event()) is not NEED_DATA:
            match event:
                case Call():
                    self._on_call(event)
                case Answered(number, value):
                    self._end_call(number, value)
                case Failed(number, failure):
                    self._end_call(number, failure)
                case _:
                    pass

    def end(self) -> None:
        """The connection is over."""
        self.open = False
        self.connection.receive_eof()
        while (event := self.connection.next_event()) is not NEED_DATA:
            if isinstance(event, CallLost):
                self._end_call(event.id, Failure("twisted.spread.pb.PBConnectionLost", ""))

    def _end_call(self, number: int, outcome: Value) -> None:
        self.unanswered.discard(number)
        self._outcomes[number] = outcome

    def _on_call(self, call: Call) -> None:
        if self._login.concerns(call):
            self._on_login(call)
            return
        command = self.commands.get(call.target)
        answer: Value = None
        match call.target, call.method, call.args:
            case (_, "update" | "complete", _) if command is not None:
                command.hear(call)
                answer = 0 if call.method == "update" else None
            case self.avatar, method, ():
                self.wishes.append(method)
                if self.refuses_wishes is not None:
                    self.connection.fail(call.id, self.refuses_wishes)
                    return
            case target, _, _ if target in self.objects:
                answer = self.objects[target](call)
                if isinstance(answer, Failure):
                    self.connection.fail(call.id, answer)
                    return
            case _:
                raise AssertionError(f"no master has {call.method} of {call.target} with {call.args}")
        self.connection.answer(call.id, answer)

    def _on_login(self, call: Call) -> None:
        credentials = self._login.handle(call)
        self.login_name = self._login.name
        if credentials is not None:
            assert credentials.mind is not None, "a slave has a mind"
            assert self._login.check(self._password), "the wrong password"
            self.bot = credentials.mind

    # -- calling

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
        self._settle()
        return self.builders

    def accept_login(self) -> None:
        """Answer the login with a perspective."""
        self._end_login(lambda: self._login.accept(self.avatar))

    def refuse_login(self, kind: str = UNAUTHORIZED, message: str = "") -> None:
        """Answer the login with a failure, if no other is given that of a wrong password."""
        self._end_login(lambda: self._login.refuse(Failure(kind, message)))

    def _end_login(self, answer: Callable[[], None]) -> None:
        if not self.open:
            raise ConnectionLost
        assert self._login.state is ServerLoginState.CHECKING, "the slave did not ask to log in"
        answer()
        self._settle()

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
        self,
        builder: Value,
        name: Value,
        arguments: Mapping[str, Value],
        *,
        start_build: bool = True,
        command: MasterCommand | None = None,
    ) -> MasterCommand:
        """Start a command on a builder, the names of its arguments in the kind of the builder's name.

        `command` is what listens to it, if it is not to be a plain one.

        Raises:
            CallRefused: the slave refused it.
            ConnectionLost: the connection ended on the way.
        """
        command = command or MasterCommand(str(len(self.commands)))
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


def _text(value: Value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
