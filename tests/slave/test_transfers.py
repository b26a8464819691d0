"""Transfers through a whole session: which answer belongs to which call, and how transfers end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, Command
from slaveproto.effects import (
    Begin,
    BeginCall,
    Cancel,
    CopyTree,
    Interrupted,
    NextEvent,
    ReadFile,
    RemoveTree,
    Script,
    SendItem,
    Spawn,
)
from slaveproto.inputs import Stop
from slaveproto.slave.events import SlaveNotice
from slaveproto.slave.session import HIGH_WATER
from slaveproto.testing import MasterCommand, ScriptedMaster, SessionDriver
from slaveproto.wire import Call, Failure, Local, Remote, Value
from tests.slave.support import CONFIG, GENERATIONS, INFO, attach, attached, check_commands, events_of, name, tasks

BUILD = "/slave/linux-dir/build"
BLOCK = 1000


class File:
    """A writer and reader of the master."""

    def __init__(self, master: ScriptedMaster, content: bytes = b"") -> None:
        self.local = Local("file")
        self.content = content
        self.written = b""
        self.methods: list[str] = []
        self.fails_at: int | None = None
        master.objects[self.local] = self.hear

    def hear(self, call: Call) -> Value:
        if self.fails_at == len(self.methods):
            return Failure("builtins.OSError", "disk full")
        self.methods.append(call.method)
        match call.method, call.args:
            case "read", (int() as size,):
                data, self.content = self.content[:size], self.content[size:]
                return data
            case "write", (bytes() as data,):
                self.written += data
        return None


def upload(master: ScriptedMaster, generation: str, file: File, source: str = "f") -> MasterCommand:
    src = "slavesrc" if generation == "0.8" else "workersrc"
    arguments: dict[str, Value] = {src: source, "workdir": "build", "writer": file.local, "blocksize": BLOCK}
    return master.start_command(name(generation, "linux"), "uploadFile", arguments)


def download(master: ScriptedMaster, generation: str, file: File) -> MasterCommand:
    dest = "slavedest" if generation == "0.8" else "workerdest"
    arguments: dict[str, Value] = {dest: "f", "workdir": "build", "reader": file.local, "blocksize": BLOCK}
    return master.start_command(name(generation, "linux"), "downloadFile", arguments)


def code_of(command: MasterCommand) -> Value:
    (code,) = [value for key, value in command.items() if key == "rc"]
    return code


@pytest.mark.parametrize("generation", GENERATIONS)
def test_up_and_down(generation: str) -> None:
    driver, master = attached(generation)
    content = bytes(range(256)) * 1000
    driver.host.write(f"{BUILD}/f", content)
    file = File(master)
    command = upload(master, generation, file)
    assert (code_of(command), command.ends) == (0, [None])
    assert file.written == content
    assert file.methods[-1] == "close"
    file = File(master, content[::-1])
    command = download(master, generation, file)
    assert (code_of(command), command.ends) == (0, [None])
    assert driver.host.read(f"{BUILD}/f") == content[::-1]
    assert file.local not in master.connection.exported
    check_commands(driver)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_failing_call_reaches_its_command_and_nobody_else(generation: str) -> None:
    driver, master = attached(generation)
    driver.host.write(f"{BUILD}/f", bytes(10 * BLOCK))
    file = File(master)
    file.fails_at = 3
    command = upload(master, generation, file)
    (end,) = command.ends
    assert isinstance(end, Failure)
    assert (end.kind, end.message) == ("builtins.OSError", "disk full")
    assert code_of(command) == 1
    assert not events_of(driver, SlaveNotice)


def begin_upload(generation: str) -> tuple[SessionDriver, ScriptedMaster, File, MasterCommand]:
    """An upload that has read its file, while the master's answers are on their way."""
    driver, master = attached(generation)
    driver.host.write(f"{BUILD}/f", bytes(10 * BLOCK))
    driver.holds = lambda request: isinstance(request.effect, ReadFile) and request.effect.offset > 0
    file = File(master)
    return driver, master, file, upload(master, generation, file)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_interrupted_while_the_host_reads(generation: str) -> None:
    driver, master, file, command = begin_upload(generation)
    assert not command.ends
    master.interrupt(name(generation, "linux"))
    assert (code_of(command), command.ends) == (1, [None])
    assert file.methods == ["write"] * 10 + ["close"]
    # What the host was asked for is called off, and its end concerns nobody.
    assert [request.effect for request in driver.requests if isinstance(request.effect, Cancel)] == [
        Cancel(driver.held[0].id)
    ]
    driver.perform_held()
    assert tasks(driver) == 0


ENDS: dict[str, Callable[[SessionDriver, ScriptedMaster], object]] = {
    "the connection is lost": lambda driver, master: driver.lose_connection(),
    "the slave is stopped": lambda driver, master: driver.handle(Stop("enough")),
    "the builder is removed": lambda driver, master: master.set_builders([]),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("generation", GENERATIONS)
def test_transfer_that_nobody_wants_any_more_ends(generation: str, how: str) -> None:
    driver, master, file, command = begin_upload(generation)
    ENDS[how](driver, master)
    assert tasks(driver) == 0
    driver.perform_held()
    assert ("close" in file.methods) == (how == "the builder is removed")
    assert len(command.ends) == (how == "the builder is removed")
    check_commands(driver)


def test_next_command_hears_nothing_of_the_one_left_over() -> None:
    driver, master, file, command = begin_upload("4.x")
    second = master.start_command("linux", "stat", {"file": "build/f"}, start_build=False)
    assert second.ends == [None]
    assert not command.ends
    driver.perform_held()
    assert "close" not in file.methods
    assert tasks(driver) == 0


@pytest.mark.parametrize("blocksize", [16 * 1024, 256 * 1024])
def test_slow_master_keeps_the_file_unread(blocksize: int) -> None:
    driver, master = attached()
    driver.host.write(f"{BUILD}/f", bytes(8_000_000))
    file = File(master)
    arguments: dict[Value, Value] = {"workersrc": "f", "workdir": "build", "writer": file.local, "blocksize": blocksize}
    command = MasterCommand("x")
    master.commands[command.local] = command
    driver.listening = False
    master.ask(master.builders["linux"], "startCommand", command.local, "x", "uploadFile", arguments)
    assert driver.session.congested
    assert HIGH_WATER < len(driver.session.data_to_send()) < HIGH_WATER + 600_000


def test_a_transfer_at_every_step_of_which_the_connection_is_lost() -> None:
    """The host's half, at every request; `test_every_point` has the rest."""
    for at in range(1, 12):
        driver, master = attached("4.x")
        content = bytes(3 * BLOCK)
        driver.host.write(f"{BUILD}/f", b"old")
        count = 0

        def hold(request: object, at: int = at) -> bool:
            nonlocal count
            count += 1
            return count == at

        driver.holds = hold
        download(master, "4.x", File(master, content))
        driver.lose_connection("reset")
        driver.perform_held()
        assert tasks(driver) == 0
        assert driver.host.paths == {f"{BUILD}/f"}
        assert driver.host.read(f"{BUILD}/f") in (b"old", content)
        check_commands(driver)


# -- scripts of other people


def probe(arguments: object, context: CommandContext) -> Script[None]:
    target = arguments["target"]  # type: ignore[index]

    def script() -> Script[None]:
        first = yield from BeginCall(target, "a", (1,))
        second = yield from BeginCall(target, "b", (2,))
        yield from SendItem("numbers", [first, second])
        while True:
            event = yield from NextEvent()
            yield from SendItem("event", repr(event))
            if isinstance(event, Interrupted):
                return

    return script()


def bad(arguments: object, context: CommandContext) -> Script[None]:
    def script() -> Script[None]:
        for effect in (BeginCall(Remote(99), "a"), Begin(Spawn((), {}, "", b"", False))):  # type: ignore[arg-type]
            try:
                yield from effect
            except Exception as error:
                yield from SendItem("error", type(error).__name__)
        yield from Begin(CopyTree("/a", "/b"))
        yield from Begin(RemoveTree("/a"))
        raise ValueError("and now?")

    return script()


def driver_with(script: Callable[..., Script[None]]) -> tuple[SessionDriver, ScriptedMaster]:
    driver = SessionDriver(CONFIG, INFO, commands={**COMMANDS, "mine": Command((), script)})
    master = driver.start()
    attach(master, "4.x")
    return driver, master


def test_answers_come_in_their_order_and_references_in_them_are_given_back() -> None:
    _, master = driver_with(probe)
    target, other = Local("target"), Local("other")
    master.objects[target] = lambda call: [other] if call.method == "a" else Failure("some.Error", "no")
    command = master.start_command("linux", "mine", {"target": target})
    master.interrupt("linux")
    numbers, *events = [value for key, value in command.items() if key in ("numbers", "event")]
    assert numbers == [1, 2]
    assert [str(event).partition("(")[0] for event in events] == ["CallDone", "CallDone", "Interrupted"]
    assert "some.Error" in str(events[1])
    assert other not in master.connection.exported
    assert target not in master.connection.exported


def test_what_a_script_begins_ends_with_it() -> None:
    driver, master = driver_with(bad)
    driver.holds = lambda request: isinstance(request.effect, (CopyTree, RemoveTree))
    command = master.start_command("linux", "mine", {})
    assert [value for key, value in command.items() if key == "error"] == ["LocalProtocolError", "TypeError"]
    (end,) = command.ends
    assert isinstance(end, Failure)
    assert end.kind == "builtins.ValueError"
    held = [request.id for request in driver.held]
    assert [r.effect for r in driver.requests if isinstance(r.effect, Cancel)] == [Cancel(number) for number in held]
    driver.perform_held()
    assert tasks(driver) == 0
