"""The store for tasks, on a disk that fills up and with a file that others lock, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from slaveproto.ci.errors import CannotStore
from slaveproto.ci.memory import LAST_PATIENCE, PAUSE, Memory
from slaveproto.ci.reserve import LARGEST, Reserve
from transports.trio.nurseries import open_nursery

RESERVE = 10


class Disk(Reserve):
    """A disk with some room and a lock, what was written on it, and what its memory told."""

    def __init__(self, room: int = 100) -> None:
        super().__init__("/state")
        self.room = room
        self.locked = False
        self.reserved = 0
        self.written: list[str] = []
        self.told: list[str] = []
        self.memory = Memory(self.check, self, self.told.append, lambda well: self.told.append(f"well: {well}"))

    def keep(self) -> None:
        if not self.reserved:
            if self.room < 2 * RESERVE:
                raise CannotStore("/state/reserve", "full", full=True)
            self.room -= RESERVE
            self.reserved = RESERVE

    def spend(self) -> bool:
        self.room += self.reserved
        had, self.reserved = self.reserved > 0, 0
        return had

    def check(self) -> None:
        self.write("", 0)

    def write(self, what: str, size: int = 1) -> int:
        """Write something; returns how much has been written."""
        if self.locked:
            raise CannotStore("/state/file", "locked", full=False)
        if self.room < size:
            raise CannotStore("/state/file", "full", full=True)
        self.room -= size
        if what:
            self.written.append(what)
        return len(self.written)


def play(disk: Disk, script: Callable[[Disk, trio.Nursery], Awaitable[None]]) -> None:
    """Run a memory, and a script beside it."""

    async def both() -> None:
        async with open_nursery() as nursery:
            nursery.start_soon(disk.memory.run)
            await script(disk, nursery)
            nursery.cancel_scope.cancel()

    # The threads take no time, but they are not the clock's affair: it waits a little for them.
    trio.run(both, clock=MockClock(autojump_threshold=0.02))


def test_a_file_that_is_locked_for_a_while() -> None:
    """What runs goes on, what is new waits, and all is written in its order."""

    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        assert await disk.memory.new(disk.write, "request") == 1
        disk.locked = True
        disk.memory.later(disk.write, "step")
        nursery.start_soon(disk.memory.new, disk.write, "new")
        await trio.sleep(5 * PAUSE)
        disk.memory.later(disk.write, "next step")
        assert disk.written == ["request"]
        assert disk.memory.trouble == "/state/file: locked"
        assert not disk.memory.full
        disk.locked = False
        assert await disk.memory(disk.write, "end") == 4
        await trio.sleep(2 * PAUSE)
        assert disk.written == ["request", "step", "next step", "end", "new"]
        assert disk.memory.trouble == ""

    disk = Disk()
    play(disk, script)
    assert disk.told[:2] == [
        "/state/file: locked; what runs goes on, and nothing new is begun until it can be written", "well: False",
    ]  # fmt: skip
    assert disk.told[2].startswith("the state can be stored again, after ")
    assert disk.told[3:] == ["well: True"]


def test_a_disk_that_is_full() -> None:
    """The end of what runs is stored in the reserve, at once; nothing new is, before there is room for another one."""

    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        await disk.memory(disk.write, "begin")
        disk.room = 0
        before = trio.current_time()
        assert await disk.memory(disk.write, "end") == 2
        assert trio.current_time() - before < PAUSE
        assert disk.memory.full
        nursery.start_soon(disk.memory.new, disk.write, "request")
        await trio.sleep(20 * PAUSE)
        assert disk.written == ["begin", "end"]
        disk.room = 3 * RESERVE
        await trio.sleep(2 * PAUSE)
        assert disk.written == ["begin", "end", "request"]
        assert disk.reserved
        assert not disk.memory.full

    disk = Disk()
    play(disk, script)
    assert [text for text in disk.told if text.startswith("well")] == ["well: False", "well: True"]


def test_a_new_thing_that_is_too_large_does_not_use_the_reserve() -> None:
    """While it waits nothing is said twice, and what runs is stored."""

    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        nursery.start_soon(disk.memory.new, disk.write, "large", 95)
        await trio.sleep(20 * PAUSE)
        assert disk.reserved
        assert await disk.memory(disk.write, "step") == 1
        disk.room = 200
        await trio.sleep(2 * PAUSE)
        assert disk.written == ["step", "large"]

    disk = Disk()
    play(disk, script)
    assert len(disk.told) == 4


def test_a_disk_that_is_full_at_the_start() -> None:
    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        await trio.sleep(5 * PAUSE)
        assert disk.told[1:] == ["well: False"]
        assert await disk.memory(disk.write, "recovered") == 1

    play(Disk(room=5), script)


def test_a_master_that_stops_does_not_wait_for_ever() -> None:
    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        await trio.sleep(1)
        disk.locked = True
        disk.memory.later(disk.write, "end")
        await trio.sleep(100)
        assert disk.written == []
        disk.memory.stop()
        await trio.sleep(LAST_PATIENCE + 2 * PAUSE)
        pytest.fail("it still waits")

    with pytest.raises(CannotStore, match="locked"):
        play(Disk(), script)


def test_a_mistake_is_the_callers_or_ends_all() -> None:
    async def script(disk: Disk, nursery: trio.Nursery) -> None:
        with pytest.raises(ValueError, match="int"):
            await disk.memory(int, "x")
        disk.memory.later(int, "y")
        await trio.sleep(1)

    with pytest.raises(ValueError, match="'y'"):
        play(Disk(), script)


def test_the_reserve_is_a_file(tmp_path: Path) -> None:
    reserve = Reserve(str(tmp_path))
    for _ in range(2):
        reserve.keep()
        assert (tmp_path / "reserve").stat().st_size == LARGEST
    assert reserve.spend()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.spend()
    with pytest.raises(CannotStore, match=r"none/reserve: No such file"):
        Reserve(str(tmp_path / "none")).keep()
