"""What a slave brings and nobody takes: it is counted, and its connection alone is left unread."""

from __future__ import annotations

from slaveproto.effects import WriteFile
from slaveproto.master import (
    BuildStarted,
    EndBuild,
    LogFile,
    MasterConfig,
    Result,
    Shell,
    SlaveAccount,
    StartBuild,
    StartStep,
    StepSpoke,
    UploadFile,
)
from slaveproto.master.output import MOST_APART, OVERHEAD, Output, Spool, UnreadBytes
from slaveproto.master.peer import HIGH_WATER
from slaveproto.master.session import STALL
from slaveproto.testing import MasterDriver
from tests.master.running import BUILD, Building

SHELL = Shell(command="make", logfiles={"l": LogFile("l")})
BLOCK = 64 * 1024


def test_a_spool_counts_for_the_connection() -> None:
    unread = UnreadBytes()
    spools = [Spool(unread), Spool(unread)]
    assert spools[0].add(Output("stdio", "stdout", b"abc"))
    assert not spools[0].add(Output("stdio", "stdout", b""))
    assert spools[1].add(Output("stdio", "stdout", b"abc"))
    assert unread.size == 6 + 3 * OVERHEAD
    assert [piece.data for piece in spools[0].take()] == [b"abc", b""]
    assert unread.size == 3 + OVERHEAD
    assert spools[0].take() == []
    assert spools[0].add(Output("stdio", "stdout", b"abc"))
    spools[0].take()
    spools[1].take()
    assert unread.size == 0


def test_output_is_announced_once_until_it_is_taken() -> None:
    building = Building()
    building.driver.takes_output = False
    command = building.run(SHELL)
    for _ in range(3):
        command.update({"stdout": "x"})
    assert building.driver.events_of(StepSpoke) == [StepSpoke(1)]
    assert len(building.driver.session.output(1)) == 3
    assert building.driver.session.output(1) == []
    command.update({"stdout": "y"})
    assert building.driver.events_of(StepSpoke) == [StepSpoke(1)] * 2
    command.finish()
    assert [piece.data for piece in building.driver.session.output(1)][:1] == [b"y"]
    assert building.driver.session.output(1) == []


def test_a_connection_is_left_unread_and_read_again() -> None:
    building = Building("0.8.4")
    driver = building.driver
    driver.takes_output = False
    command = building.run(SHELL)
    link = driver.link_of(building.slave)
    sent = 0
    while not driver.session.paused(link.number):
        command.raw_update([[{b"stdout": bytes(BLOCK)}, 0]])
        sent += 1
        assert sent * BLOCK <= HIGH_WATER + 2 * BLOCK
    assert sent * (BLOCK + OVERHEAD) > HIGH_WATER
    late = command.raw_update([[{b"stdout": b"late"}, 0]])
    assert late in building.slave.unanswered
    driver.take_output()
    assert not driver.session.paused(link.number)
    assert building.unread == 0
    assert building.slave.answer_to(late) == 0
    assert len(building.text("stdout")) == sent * BLOCK + 4
    command.finish()
    assert building.outcome.result is Result.SUCCESS


def test_empty_pieces_are_not_free() -> None:
    building = Building()
    building.driver.takes_output = False
    command = building.run(SHELL)
    command.raw_update([[{"log": ("l", "x")}, 0]] * (HIGH_WATER // OVERHEAD + 1))
    assert building.driver.session.paused(1)


def test_blocks_that_are_not_written_yet_count_too() -> None:
    building = Building()
    building.hold(WriteFile)
    command = building.run(UploadFile(src="f", dest="/m/f"))
    writer = command.object("writer")
    for _ in range(HIGH_WATER // BLOCK + 2):
        building.slave.ask(writer, "write", bytes(BLOCK))
    assert building.driver.session.paused(1)
    building.driver.perform_held()
    assert not building.driver.session.paused(1)
    assert building.unread == 0
    building.slave.call(writer, "close")
    command.finish()
    assert len(building.host.read("/m/f")) == (HIGH_WATER // BLOCK + 2) * BLOCK


def test_nobody_else_is_held_up() -> None:
    accounts = {name: SlaveAccount(name, "secret", {"b": "b"}) for name in ("bot1", "bot2")}
    driver = MasterDriver(MasterConfig(accounts))
    slaves = [driver.connect(name=name) for name in accounts]
    for number, name in enumerate(accounts, 1):
        driver.handle(StartBuild(number, name, "b"))
        driver.handle(StartStep(number, number, SHELL))
    driver.takes_output = False
    slaves[0].command.raw_update([[{"stdout": "x" * (HIGH_WATER // 2)}, 0]] * 2)
    assert [driver.session.paused(driver.link_of(slave).number) for slave in slaves] == [True, False]
    slaves[1].command.finish()
    assert slaves[1].open
    # Whoever is not read is not taken for dead, either.
    driver.advance(10_000)
    assert slaves[0].open
    driver.take_output()
    slaves[0].command.finish()


def test_the_rest_of_a_lost_step_can_be_taken() -> None:
    building = Building()
    building.driver.takes_output = False
    command = building.run(SHELL)
    command.update({"stdout": "x"})
    building.driver.lose(building.slave)
    assert building.outcome.result is Result.RETRY
    assert [piece.data for piece in building.driver.session.output(building.step)] == [b"x"]
    assert building.driver.session.output(building.step) == []
    assert BUILD == 1


def flood(building: Building, size: int) -> None:
    """Let the first step say so much, as far as it is read."""
    for _ in range(size // BLOCK):
        building.slave.commands[0].raw_update([[{"stdout": "x" * BLOCK}, 0]])


def test_a_slow_reader_does_not_hold_up_the_other_builds_of_its_slave() -> None:
    building = Building()
    driver = building.driver
    driver.takes_output = False
    building.run(SHELL)
    flood(building, 2 * HIGH_WATER)
    assert driver.session.paused(1)
    # Alone on its slave, it waits for its reader for any time.
    driver.advance(100_000)
    assert driver.session.paused(1)
    driver.handle(StartBuild(2, "bot1", "mac"))
    assert BuildStarted(2) not in driver.events
    for number in range(2, 12):
        driver.advance(STALL)
        assert not driver.session.paused(1)
        assert BuildStarted(number) in driver.events
        driver.handle(StartStep(100 + number, number, SHELL))
        building.slave.command.update({"stdout": "quick\n"})
        building.slave.command.finish()
        assert next(piece.data for piece in driver.session.output(100 + number)) == b"quick\n"
        driver.handle(EndBuild(number))
        # The reader takes what there is, and is slow again.
        said = driver.session.output(1)
        assert sum(len(piece.data) for piece in said) % BLOCK == 0
        driver.handle(StartBuild(number + 1, "bot1", "mac"))
        flood(building, 2 * HIGH_WATER)
        assert driver.session.paused(1)
    driver.take_output()
    building.slave.commands[0].finish()
    assert not driver.session.paused(1)
    assert building.unread == 0


def test_what_is_set_apart_has_an_end_and_the_gap_is_told() -> None:
    building = Building()
    driver = building.driver
    driver.takes_output = False
    building.run(SHELL)
    driver.handle(StartBuild(2, "bot1", "mac"))
    flood(building, 2 * HIGH_WATER)
    driver.advance(STALL)
    flood(building, 2 * MOST_APART)
    assert not driver.session.paused(1)
    said = driver.session.output(1)
    kept = sum(len(piece.data) for piece in said[:-1])
    assert MOST_APART - 2 * BLOCK < kept <= MOST_APART
    left_out = 2 * HIGH_WATER + 2 * MOST_APART - kept
    gap = f"\n[{left_out} bytes are left out here: the output was not read in time]\n"
    assert said[-1] == Output("stdio", "header", gap.encode())
    # From now on its slave is slowed down again.
    flood(building, 2 * HIGH_WATER)
    assert driver.session.paused(1)
    driver.session.output(1)
    assert building.unread == 0


def test_the_largest_is_set_apart_also_when_its_step_is_over() -> None:
    building = Building()
    driver = building.driver
    driver.takes_output = False
    building.run(SHELL)
    driver.handle(StartBuild(2, "bot1", "mac"))
    driver.handle(StartStep(2, 2, SHELL))
    building.slave.command.update({"stdout": "little"})
    flood(building, HIGH_WATER - 2 * BLOCK)
    building.slave.commands[0].finish()
    building.slave.command.raw_update([[{"stdout": "x" * BLOCK}, 0]] * 2)
    assert driver.session.paused(1)
    driver.advance(STALL)
    assert not driver.session.paused(1)
    assert building.unread > 2 * BLOCK
    assert sum(len(piece.data) for piece in driver.session.output(1)) > HIGH_WATER - 3 * BLOCK
    driver.session.output(2)
    assert building.unread == 0
