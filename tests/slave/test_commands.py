"""Commands as a master starts them, from `startBuild` to `complete`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import COMMANDS, Arguments, Command
from slaveproto.effects import Interrupted, MakeDirs, NextEvent, ReadFile, Script, SendItem, SendText, Spawn
from slaveproto.errors import HostError
from slaveproto.slave.events import CommandFinished, CommandStarted, MasterSaid
from slaveproto.slave.states import SlaveBuilderState
from slaveproto.testing import CallRefused, MasterCommand, ScriptedMaster, SessionDriver
from slaveproto.updates import FULL
from slaveproto.wire import Failure, Local, Value
from tests.slave.support import (
    BUILDERS,
    CONFIG,
    GENERATIONS,
    INFO,
    SHELL,
    attach,
    attached,
    build,
    check_commands,
    events_of,
    name,
    newest,
    tasks,
)


def only_finished(driver: SessionDriver) -> CommandFinished:
    (event,) = events_of(driver, CommandFinished)
    return event


# -- what goes well


@pytest.mark.parametrize("generation", GENERATIONS)
def test_updates_in_their_order(generation: str) -> None:
    driver, master = attached(generation)
    command = master.start_command(name(generation, "linux"), "shell", SHELL)
    child = newest(driver)
    driver.output(child, b"out\n")
    driver.output(child, b"err\n", "stderr")
    driver.advance(1.5)
    driver.output(child, b"more\n")
    driver.end(child, 3)
    kinds, kind = [key for key, _ in command.items()], str if generation == "4.x" else bytes
    assert kinds == ["header", "stdout", "stderr", "stdout", "rc", "header", "elapsed"]
    assert {type(value) for key, value in command.items() if key not in ("rc", "elapsed")} == {kind}
    assert {type(key) for update in command.updates for key in update} == {kind}
    assert command.items()[-3:] == [
        ("rc", 3),
        ("header", "elapsedTime=1.500000\n" if generation == "4.x" else b"elapsedTime=1.500000\n"),
        ("elapsed", 1.5),
    ]
    assert command.ends == [None]
    assert command.late == []
    assert events_of(driver, CommandStarted) == [CommandStarted("linux", "shell", "0")]
    assert only_finished(driver) == CommandFinished("linux", "shell", "0", 3, None, False)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_is_held_of_the_master_afterwards(generation: str) -> None:
    driver, master = attached(generation)
    before = dict(master.connection.exported)
    command = master.start_command(name(generation, "linux"), "shell", SHELL)
    assert master.connection.exported[command.local] == 1
    driver.end(newest(driver))
    assert dict(master.connection.exported) == before
    assert tasks(driver) == 0
    assert driver.session.deadline == CONFIG.keepalive


@pytest.mark.parametrize("generation", GENERATIONS)
def test_builder_does_one_after_the_other(generation: str) -> None:
    driver, master = attached(generation)
    for code in range(3):
        command = master.start_command(name(generation, "linux"), "mkdir", {"dir": "a"}, start_build=code == 0)
        assert command.items()[0] == ("rc", 0)
        assert command.ends == [None]
    check_commands(driver)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_builders_work_at_the_same_time(generation: str) -> None:
    driver, master = attached(generation)
    commands: list[MasterCommand] = []
    children = []
    for builder, _ in BUILDERS:
        commands.append(master.start_command(name(generation, builder), "shell", SHELL))
        children.append(newest(driver))
    for n, child in enumerate(children):
        driver.output(child, b"%d\n" % n)
    for child in reversed(children):
        driver.end(child)
    assert [command.text("stdout") for command in commands] in ([b"0\n", b"1\n"], ["0\n", "1\n"])
    assert [finished.builder for finished in events_of(driver, CommandFinished)] == ["mac", "linux"]
    check_commands(driver)


def test_output_leaves_while_the_command_runs() -> None:
    driver, master = attached()
    command = master.start_command("linux", "shell", SHELL)
    driver.advance(10)
    driver.output(newest(driver), b"soon\n")
    driver.advance(0.2)
    assert command.text("stdout") == "soon\n"
    driver.output(newest(driver), b"x" * FULL)
    assert command.text("stdout") == "soon\n" + "x" * FULL


def test_half_a_character_of_a_command_that_failed() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL"})
    command = master.start_command("linux", "shell", SHELL)
    driver.output(newest(driver), b"\xe2\x82")
    master.interrupt("linux")
    driver.advance(5.0)
    assert command.text("stdout") == "\ufffd"
    assert [type(end) for end in command.ends] == [Failure]


# -- what the master must not do, and does


@pytest.mark.parametrize("generation", GENERATIONS)
def test_leftover_command(generation: str) -> None:
    """The second of a master that lost count: the first is ended, and its listener hears no more."""
    driver, master = attached(generation)
    builder = name(generation, "linux")
    first = master.start_command(builder, "shell", SHELL)
    driver.advance(1.0)
    heard = len(first.updates)
    driver.host.survives = frozenset()
    child = newest(driver)
    second = build(driver, master, builder)
    assert child.signals == ["KILL"]
    assert (first.ends, len(first.updates)) == ([], heard)
    assert first.local not in master.connection.exported
    assert [(ev.id, ev.dropped) for ev in events_of(driver, CommandFinished)] == [("0", True), ("1", False)]
    assert second.ends == [None]
    check_commands(driver)


@pytest.mark.parametrize(
    ("generation", "kind", "text"),
    [
        ("0.8", "buildslave.bot.UnknownCommand", "unrecognized SlaveCommand 'make'"),
        ("4.x", "buildbot_worker.base.UnknownCommand", "(command 0): unrecognized WorkerCommand 'make'"),
    ],
)
def test_unknown_command(generation: str, kind: str, text: str) -> None:
    driver, master = attached(generation)
    before = dict(master.connection.exported)
    with pytest.raises(CallRefused) as caught:
        master.start_command(name(generation, "linux"), "make", {})
    assert (caught.value.failure.kind, caught.value.failure.message) == (kind, text)
    assert caught.value.failure.is_a("twisted.spread.pb.Error")
    assert dict(master.connection.exported) == before
    assert events_of(driver, CommandStarted) == []
    build(driver, master, name(generation, "linux"))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_command_that_is_refused_leaves_the_running_one_alone(generation: str) -> None:
    driver, master = attached(generation)
    running = master.start_command(name(generation, "linux"), "shell", SHELL)
    for bad in ("make", "shell"):
        with pytest.raises(CallRefused):
            master.start_command(name(generation, "linux"), bad, {})
    driver.end(newest(driver))
    assert running.ends == [None]


def test_missing_argument() -> None:
    driver, master = attached()
    with pytest.raises(CallRefused, match=r"^builtins\.ValueError: shell is missing args: workdir$"):
        master.start_command("linux", "shell", {"command": ["make"]})
    build(driver, master, "linux")


def test_failure_after_the_start_comes_with_complete() -> None:
    driver, master = attached()
    driver.host.refuses = lambda effect: HostError(13, "Permission denied") if isinstance(effect, MakeDirs) else None
    command = master.start_command("linux", "shell", SHELL)
    assert [key for key, _ in command.items()] == ["elapsed"]
    (failure,) = command.ends
    assert isinstance(failure, Failure)
    assert failure.kind == "builtins.OSError"
    assert failure.message == "[Errno 13] Permission denied: '/slave/linux-dir/build'"
    assert only_finished(driver).failure == f"builtins.OSError: {failure.message}"
    assert only_finished(driver).rc is None


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("setMaster", ()),
        ("setMaster", (1, 2)),
        ("print", ()),
        ("startBuild", (1,)),
        ("startCommand", ()),
        ("startCommand", (Local("x"), "0", "shell")),
        ("startCommand", (None, "0", "shell", {})),
        ("startCommand", ("ref", "0", "shell", {})),
        ("startCommand", (Local("x"), "0", "shell", [])),
        ("startCommand", (Local("x"), "0", "shell", None)),
        ("startCommand", (Local("x"), "0", "shell", {}, Local("y"))),
        ("startCommand", (Local("x"), "0", "mkdir", {"dir": Local("y")})),
        ("interruptCommand", ()),
        ("interruptCommand", ("0",)),
        ("interruptCommand", ("0", "why", "really")),
        ("shutdown", (1,)),
    ],
)
@pytest.mark.parametrize("busy", [False, True])
def test_wrong_parameters_end_only_their_call(method: str, args: tuple[Value, ...], busy: bool) -> None:
    driver, master = attached()
    running = master.start_command("linux", "shell", SHELL) if busy else None
    before = dict(master.connection.exported)
    with pytest.raises(CallRefused) as caught:
        master.call(master.builders["linux"], method, *args)
    assert caught.value.failure.kind == "builtins.TypeError"
    assert "\n" not in caught.value.failure.message
    assert dict(master.connection.exported) == before
    if running is not None:
        driver.end(newest(driver))
        assert running.ends == [None]
    build(driver, master, "linux")


def test_unknown_method_of_a_builder() -> None:
    driver, master = attached()
    with pytest.raises(CallRefused) as caught:
        master.call(master.builders["linux"], "remote_startBuild")
    assert caught.value.failure.kind == "twisted.spread.flavors.NoSuchMethod"
    build(driver, master, "linux")


@pytest.mark.parametrize("what", ["command", "id", "method", "signal"])
def test_failure_about_something_huge_can_still_be_sent(what: str) -> None:
    """What the master sent may be as large as it goes, and larger when it is quoted."""
    driver, master = attached()
    huge = "\n" * 600_000
    target, listener = master.builders["linux"], Local("listener")
    cases: dict[str, tuple[Value, ...]] = {
        "command": (listener, "0", huge, {}),
        "id": (listener, huge, "make" + huge[:100_000], {}),
        "method": (),
        "signal": (listener, "0", "shell", {"workdir": "a", "command": "a", "interruptSignal": huge}),
    }
    args = cases[what]
    with pytest.raises(CallRefused) as caught:
        master.call(target, huge if what == "method" else "startCommand", *args)
    assert len(caught.value.failure.message) < 10_000
    build(driver, master, "linux")


def test_failure_of_a_running_command_about_something_huge() -> None:
    driver, master = attached()
    command = master.start_command("linux", "shell", {**SHELL, "env": {"\n" * 600_000: 1}})
    (failure,) = command.ends
    assert isinstance(failure, Failure)
    assert failure.kind == "builtins.RuntimeError"
    assert len(failure.message) < 10_000
    build(driver, master, "linux")


# -- interrupts


@pytest.mark.parametrize("generation", GENERATIONS)
def test_interrupt(generation: str) -> None:
    driver, master = attached(generation)
    command = master.start_command(name(generation, "linux"), "shell", SHELL)
    driver.advance(2.0)
    master.interrupt(name(generation, "linux"))
    assert newest(driver).signals == ["KILL"]
    assert command.ends == [None]
    # A command that was interrupted does not tell how long it took.
    assert [key for key, _ in command.items()] == ["header", "header", "rc", "header"]
    assert only_finished(driver).rc == -1
    build(driver, master, name(generation, "linux"))


def test_second_interrupt_changes_nothing() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL"})
    command = master.start_command("linux", "shell", SHELL)
    master.interrupt("linux")
    master.interrupt("linux")
    assert newest(driver).signals == ["KILL"]
    driver.advance(5.0)
    assert [key for key, _ in command.items() if key == "rc"] == ["rc"]
    assert [type(end) for end in command.ends] == [Failure]
    assert newest(driver).abandoned


def test_id_of_an_interrupt_is_nobodys_business() -> None:
    driver, master = attached()
    command = master.start_command("linux", "shell", SHELL)
    assert master.call(master.builders["linux"], "interruptCommand", None, b"why \xff") is None
    assert command.ends == [None]
    assert only_finished(driver).id == "0"


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("begun", [False, True])
def test_interrupt_of_nothing(generation: str, begun: bool) -> None:
    driver, master = attached(generation)
    builder = name(generation, "linux")
    if begun:
        build(driver, master, builder)
    master.interrupt(builder)
    build(driver, master, builder)


def test_builder_is_busy_as_long_as_its_command_runs() -> None:
    driver, master = attached()
    builder = driver.session._bot._builders["linux"]
    command = master.start_command("linux", "shell", SHELL)
    assert [builder._machine.state] == [SlaveBuilderState.BUSY]
    driver.end(newest(driver))
    assert command.ends == [None]
    assert [builder._machine.state] == [SlaveBuilderState.READY]
    driver.lose_connection()
    assert [builder._machine.state] == [SlaveBuilderState.LISTED]


def test_interrupt_reaches_only_its_builder() -> None:
    driver, master = attached()
    master.start_command("linux", "shell", SHELL)
    child = newest(driver)
    master.start_command("mac", "shell", SHELL)
    master.interrupt("mac")
    assert child.running
    assert [event.builder for event in events_of(driver, CommandFinished)] == ["mac"]


# -- small things


def test_messages_to_a_builder() -> None:
    driver, master = attached("0.8")
    master.call(master.builders[b"linux"], "print", b"ping")
    assert driver.events[-1] == MasterSaid("ping", "linux")


def test_master_may_introduce_itself_again() -> None:
    _, master = attached("0.8")
    again = Local("again")
    master.call(master.builders[b"linux"], "setMaster", again)
    assert master.connection.exported[again] == 1
    assert sum(local.label == "builder of the master" for local in master.connection.exported) == 1
    master.call(master.builders[b"linux"], "setMaster", None)
    assert again not in master.connection.exported


def test_several_objects_in_one_call_are_given_back_one_by_one() -> None:
    driver, master = attached()
    listener = Local("listener")
    args: dict[Value, Value] = {"dir": "a", "writer": listener, "also": [listener, Local("other")]}
    before = dict(master.connection.exported)
    driver.holds = lambda request: True
    master.commands[listener] = MasterCommand("9")
    master.call(master.builders["linux"], "startCommand", listener, "9", "mkdir", args)
    assert master.connection.exported[listener] == 3
    driver.perform_held()
    assert master.commands[listener].ends == [None]
    assert dict(master.connection.exported) == before


# -- commands of somebody else


def attached_with(script: Callable[[Arguments, CommandContext], Script[None]]) -> tuple[SessionDriver, ScriptedMaster]:
    driver = SessionDriver(CONFIG, INFO, commands={**COMMANDS, "own": Command((), script)})
    master = driver.start()
    attach(master, "4.x")
    return driver, master


def test_command_that_is_done_at_once() -> None:
    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        yield from SendItem("rc", 0)

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    assert command.items() == [("rc", 0), ("elapsed", 0.0)]
    assert command.ends == [None]
    assert command.local not in master.connection.exported
    build(driver, master, "linux")


def test_command_with_a_mistake_in_it() -> None:
    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        yield from SendText("header", "so far\n")
        raise ZeroDivisionError("what a day")

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    assert command.text("header") == "so far\n"
    (failure,) = command.ends
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.message) == ("builtins.ZeroDivisionError", "what a day")
    build(driver, master, "linux")


@pytest.mark.parametrize("value", [object(), {"a": object()}, "x" * 700_000, 10**200], ids=range(4))
def test_command_that_sends_what_cannot_be_sent(value: object) -> None:
    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        yield from SendItem("files", value)  # type: ignore[arg-type]
        yield from SendItem("rc", 0)

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    (failure,) = command.ends
    assert isinstance(failure, Failure)
    assert "cannot be sent" in failure.message
    assert only_finished(driver).failure is not None
    build(driver, master, "linux")


def test_command_that_asks_for_what_there_is_not() -> None:
    closed: list[bool] = []

    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        try:
            yield "sleep"  # type: ignore[misc]
        finally:
            closed.append(True)

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    assert [type(end) for end in command.ends] == [Failure]
    assert closed == [True]
    build(driver, master, "linux")


def test_command_that_leaves_its_process_behind() -> None:
    """Nobody would read its output or learn of its end."""

    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        yield from Spawn((b"sleep",), {}, "/", b"", False)
        raise ZeroDivisionError

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    assert [type(end) for end in command.ends] == [Failure]
    assert newest(driver).signals == ["KILL"]
    assert newest(driver).abandoned


def test_command_that_takes_its_time_to_end() -> None:
    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        while not isinstance((yield from NextEvent()), Interrupted):
            pass
        yield from MakeDirs("/last")
        yield from SendItem("rc", 1)

    driver, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    driver.lose_connection()
    assert "/last" in driver.host.directories
    assert command.updates == []
    assert only_finished(driver).dropped
    assert tasks(driver) == 0


# -- back-pressure


def test_output_that_nobody_hears_is_not_kept() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL"})
    master.start_command("linux", "shell", SHELL)
    driver.lose_connection()
    for _ in range(20):
        driver.output(newest(driver), b"x" * 100_000)
    assert not driver.session.congested
    assert driver.session._pool.waiting_bytes == 0


def test_script_that_reads_a_log_is_not_held_up_by_output_that_waits_for_it() -> None:
    """What it has not taken yet makes the session congested, and only the script can take it."""
    driver, master = attached()
    command = master.start_command("linux", "shell", {**SHELL, "logfiles": {"a": "a.log"}})
    child = newest(driver)
    driver.holds = lambda request: isinstance(request.effect, ReadFile)
    driver.host.write("/slave/linux-dir/build/a.log", b"l" * 100_000)
    driver.advance(2.0)
    while not driver.session.congested:
        driver.output(child, b"x" * 50_000)
    driver.perform_held()
    driver.end(child)
    assert command.ends == [None]


def test_large_log_is_sent_whole_in_the_end() -> None:
    driver, master = attached()
    command = master.start_command("linux", "shell", {**SHELL, "logfiles": {"a": "a.log"}})
    driver.host.write("/slave/linux-dir/build/a.log", b"x" * 3_000_000)
    driver.end(newest(driver))
    logged = [value[1] for key, value in command.items() if key == "log" and isinstance(value, tuple)]
    assert sum(len(text) for text in logged if isinstance(text, str)) == 3_000_000
    assert command.ends == [None]


def test_what_makes_more_data_waits_while_the_master_is_slow() -> None:
    driver, master = attached()
    log = "/slave/linux-dir/build/a.log"
    command = master.start_command("linux", "shell", {**SHELL, "logfiles": {"a": "a.log"}})
    child = newest(driver)
    driver.listening = False
    while not driver.session.congested:
        driver.output(child, b"x" * 50_000)
    driver.host.write(log, b"log\n")
    driver.end(child)
    asked = len(driver.requests)
    driver.advance(50)
    assert not any(isinstance(request.effect, ReadFile) for request in driver.requests[asked:])
    assert command.ends == []
    driver.listening = True
    driver.handle()
    assert ("log", ("a", "log\n")) in command.items()
    assert command.ends == [None]


def test_slow_master_does_not_make_a_command_silent() -> None:
    driver, master = attached()
    command = master.start_command("linux", "shell", {**SHELL, "timeout": 20})
    child = newest(driver)
    driver.listening = False
    while not driver.session.congested:
        driver.output(child, b"x" * 50_000)
    driver.advance(50)
    assert child.signals == []
    driver.listening = True
    driver.handle()
    driver.advance(21)
    assert child.signals == ["KILL"]
    assert ("rc", -1) in command.items()


def test_half_a_character_of_a_command_without_a_return_code() -> None:
    def own(arguments: Arguments, context: CommandContext) -> Script[None]:
        yield from SendText("stdout", b"\xe2\x82")

    _, master = attached_with(own)
    command = master.start_command("linux", "own", {})
    assert command.text("stdout") == "\ufffd"
    assert command.ends == [None]


def test_logfiles_that_share_their_parts_are_not_printed() -> None:
    """Forty lists, each holding the one before twice: in print that would be a terabyte."""
    laughs: Value = []
    for _ in range(40):
        laughs = [laughs, laughs]
    _, master = attached()
    command = master.start_command(
        "linux", "shell", {**SHELL, "logfiles": {"a": {"filename": "a.log", "more": laughs}}}
    )
    (failure,) = command.ends
    assert isinstance(failure, Failure)
    assert failure.message == "logfiles should hold filenames and flags"


def test_log_is_not_read_for_a_master_that_is_gone() -> None:
    driver, master = attached()
    master.start_command("linux", "shell", {**SHELL, "logfiles": {"a": "a.log"}})
    driver.host.write("/slave/linux-dir/build/a.log", b"x" * 3_000_000)
    driver.lose_connection()
    assert not [request for request in driver.requests if isinstance(request.effect, ReadFile)]
    assert tasks(driver) == 0
