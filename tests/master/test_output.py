"""What a slave brings and nobody takes: it is counted, and its connection alone is left unread."""

from __future__ import annotations

from slaveproto.effects import WriteFile
from slaveproto.master import (
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
from slaveproto.master.output import OVERHEAD, Output, Spool, UnreadBytes
from slaveproto.master.peer import HIGH_WATER
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
