"""The list of builders, as a master changes it over the life of a slave."""

from __future__ import annotations

import pytest

from slaveproto.effects import ListDir, MakeDirs
from slaveproto.errors import HostError
from slaveproto.slave.events import BuildersListed, CommandFinished
from slaveproto.slave.states import LinkState
from slaveproto.testing import CallRefused
from slaveproto.wire import Local, Value
from tests.slave.support import (
    GENERATIONS,
    SHELL,
    attach,
    attached,
    build,
    check_commands,
    events_of,
    name,
    newest,
    state_of,
    tasks,
)


def labels(held: dict[Local, int]) -> list[str]:
    return sorted(local.label for local, count in held.items() for _ in range(count))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_survivor_is_the_same_object(generation: str) -> None:
    driver, master = attached(generation)
    before = {key: remote.luid for key, remote in master.builders.items()}
    master.set_builders([(key, "elsewhere") for key in reversed(list(before))])
    assert {key: remote.luid for key, remote in master.builders.items()} == before
    assert list(master.builders) == list(reversed(list(before)))
    assert events_of(driver, BuildersListed)[-1] == BuildersListed((), (), ("linux-dir", "mac"))


@pytest.mark.parametrize("names", [["linux", b"mac"], [b"linux", "mac"]])
def test_name_comes_back_in_the_kind_in_which_it_came(names: list[Value]) -> None:
    driver, master = attached("4.x")
    master.set_builders([(key, "dir") for key in names])
    assert list(master.builders) == names
    assert all(type(mine) is type(theirs) for mine, theirs in zip(master.builders, names, strict=True))
    assert events_of(driver, BuildersListed)[-1].removed == ()


def test_new_ones_join_and_old_ones_go() -> None:
    driver, master = attached()
    master.set_builders([("mac", "mac"), ("windows", "w")])
    assert events_of(driver, BuildersListed)[-1] == BuildersListed(("windows",), ("linux",), ("linux-dir",))
    assert "/slave/w" in driver.host.directories
    assert driver.session._bot.builder_names == ("mac", "windows")
    build(driver, master, "windows")


def test_moved_builder_works_in_its_new_directory() -> None:
    driver, master = attached()
    master.set_builders([("linux", "a/b"), ("mac", "/abs/olute")])
    build(driver, master, "linux")
    assert newest(driver).effect.directory == "/slave/a/b/build"
    build(driver, master, "mac")
    assert newest(driver).effect.directory == "/abs/olute/build"


def test_two_builders_may_share_a_directory() -> None:
    driver, master = attached()
    master.set_builders([("linux", "same"), ("mac", "same")])
    assert events_of(driver, BuildersListed)[-1].leftover == ("linux-dir", "mac")
    build(driver, master, "linux")
    build(driver, master, "mac")


def test_directory_whose_name_is_no_text() -> None:
    """The process has to land in the very directory that was made."""
    driver, master = attached("0.8")
    master.set_builders([(b"linux", b"caf\xe9")])
    assert driver.requests[-2].effect == MakeDirs("/slave/caf\udce9")
    build(driver, master, b"linux")
    assert newest(driver).effect.environ[b"PWD"] == b"/slave/caf\xe9/build"


def test_empty_list() -> None:
    driver, master = attached()
    assert master.set_builders([]) == {}
    assert driver.session._bot.builder_names == ()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_is_held_of_a_removed_builder(generation: str) -> None:
    driver, master = attached(generation)
    master.set_builders([])
    assert labels(dict(master.connection.exported)) == ["perspective"]
    # The master gave back its counts, too: nothing of the builders is left on our side but the bot.
    assert driver.session._connection is not None
    assert labels(dict(driver.session._connection.exported)) == ["bot"]


def test_builder_that_joins_again_is_another() -> None:
    _, master = attached()
    before = master.builders["linux"].luid
    master.set_builders([("mac", "mac")])
    master.set_builders([("mac", "mac"), ("linux", "linux")])
    assert master.builders["linux"].luid != before


def test_call_of_a_removed_builder_fails_in_peace() -> None:
    driver, master = attached()
    kept = master.builders["linux"]
    answer = master.call_bot("setBuilderList", [("mac", "mac")])
    assert isinstance(answer, dict)
    with pytest.raises(CallRefused, match="builder linux was removed"):
        master.call(kept, "startBuild")
    build(driver, master, "mac")


def test_directory_that_cannot_be_made() -> None:
    driver, master = attached()
    driver.host.refuses = lambda effect: (
        HostError(28, "No space left on device") if effect == MakeDirs("/slave/full") else None
    )
    with pytest.raises(CallRefused) as caught:
        master.set_builders([("linux", "full"), ("windows", "w")])
    assert caught.value.failure.kind == "builtins.OSError"
    assert "No space left on device" in caught.value.failure.message
    driver.host.refuses = lambda effect: None
    master.set_builders([("linux", "full"), ("windows", "w")])
    build(driver, master, "linux")
    build(driver, master, "windows")


def test_base_directory_that_cannot_be_listed_is_no_trouble() -> None:
    driver, master = attached()
    driver.host.refuses = lambda effect: HostError(13, "no") if isinstance(effect, ListDir) else None
    master.set_builders([("linux", "linux-dir")])
    assert events_of(driver, BuildersListed)[-1] == BuildersListed((), ("mac",), ())


@pytest.mark.parametrize("generation", GENERATIONS)
def test_command_of_a_removed_builder_is_ended_and_completes(generation: str) -> None:
    driver, master = attached(generation)
    command = master.start_command(name(generation, "linux"), "shell", SHELL)
    master.set_builders([(name(generation, "mac"), name(generation, "mac"))])
    assert newest(driver).signals == ["KILL"]
    assert command.ends == [None]
    assert events_of(driver, CommandFinished)[-1].rc == -1
    assert not events_of(driver, CommandFinished)[-1].dropped
    assert tasks(driver) == 0
    assert command.local not in master.connection.exported
    check_commands(driver)


def test_command_of_a_removed_builder_that_outlives_the_connection() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL"})
    command = master.start_command("linux", "shell", SHELL)
    master.set_builders([("mac", "mac")])
    driver.lose_connection()
    driver.end(newest(driver))
    assert command.ends == []
    assert events_of(driver, CommandFinished)[-1].dropped
    assert tasks(driver) == 0
    attach(driver.reconnect(), "4.x")
    assert state_of(driver) is LinkState.ATTACHED


def test_removed_builder_that_joins_again_while_its_old_command_dies() -> None:
    driver, master = attached()
    driver.host.survives = frozenset({"KILL"})
    old = master.start_command("linux", "shell", SHELL)
    child = newest(driver)
    master.set_builders([])
    master.set_builders([("linux", "linux")])
    driver.host.survives = frozenset()
    build(driver, master, "linux")
    assert old.ends == []
    driver.end(child)
    assert old.ends == [None]
    check_commands(driver)


def test_lists_may_overtake_each_other() -> None:
    """The second comes while the directories of the first are still being made."""
    driver, master = attached()
    driver.holds = lambda request: isinstance(request.effect, MakeDirs)
    assert master.bot is not None
    first = master.ask(master.bot, "setBuilderList", [("a", "a")])
    second = master.ask(master.bot, "setBuilderList", [("a", "a"), ("b", "b")])
    driver.perform_held()
    one, two = master.answer_to(first), master.answer_to(second)
    assert isinstance(one, dict)
    assert isinstance(two, dict)
    assert list(one) == ["a"]
    assert list(two) == ["a", "b"]
    assert driver.session._bot.builder_names == ("a", "b")


def test_list_whose_directories_are_made_after_the_connection_is_lost() -> None:
    driver, master = attached()
    driver.holds = lambda request: isinstance(request.effect, MakeDirs)
    assert master.bot is not None
    master.ask(master.bot, "setBuilderList", [("a", "a")])
    driver.lose_connection()
    driver.perform_held()
    assert tasks(driver) == 0
    attach(driver.reconnect(), "0.8")
    build(driver, driver.master, b"linux")


def test_builder_listed_twice() -> None:
    _, master = attached()
    for first, second in (("twin", "twin"), (b"twin", "twin")):
        with pytest.raises(CallRefused, match="listed twice"):
            master.set_builders([(first, "a"), (second, "b")])


def test_names_that_are_no_text_stay_apart() -> None:
    _, master = attached("0.8")
    answer = master.set_builders([(b"\xff", b"a"), (b"\\xff", b"b")])
    assert set(answer) == {b"\xff", b"\\xff"}
