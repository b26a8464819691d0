"""Files on their way: windows of calls, failures at every point, and that nothing half appears or stays behind."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slaveproto.effects import (
    CreateTemp,
    HostEffect,
    PlaceFile,
    ReadFile,
    SetTimes,
    Unlink,
    UnpackTree,
    WriteFile,
)
from slaveproto.errors import HostError
from slaveproto.machine import Machine
from slaveproto.master import (
    AnyStep,
    DownloadFile,
    DownloadString,
    InterruptStep,
    Result,
    UploadDirectory,
    UploadFile,
)
from slaveproto.master.states import TRANSFER, TransferEvent, TransferState
from slaveproto.master.steps import LARGEST_BLOCK
from slaveproto.testing import CallRefused, ConnectionLost
from slaveproto.testing.scripted_slave import SlaveCommand
from slaveproto.wire.values import Failure, Value
from tests.master.running import Building, nth

UP: Final = UploadFile(src="f", dest="/m/f")
DOWN: Final = DownloadFile(src="/m/f", dest="f")
FULL_DISK: Final = HostError(28, "No space left on device")
DISK_EFFECTS: Final = (CreateTemp, WriteFile, PlaceFile, SetTimes, UnpackTree, ReadFile)


class Sending:
    """A slave that uploads; calls do not wait for each other's answers unless told."""

    def __init__(self, step: UploadFile | UploadDirectory = UP, generation: str = "4.3", **changes: object) -> None:
        self.building = Building(generation, frozenset(), **changes)
        self.command: SlaveCommand = self.building.run(step)
        self.writer = self.command.object("writer")

    def ask(self, method: str, *args: Value) -> int:
        return self.building.slave.ask(self.writer, method, *args)

    def call(self, method: str, *args: Value) -> Value:
        return self.building.slave.call(self.writer, method, *args)

    def write(self, *blocks: bytes) -> None:
        for block in blocks:
            self.ask("write", block)

    def end(self, rc: int = 0) -> None:
        self.command.update({"rc": rc})
        self.command.complete()

    def failures(self, *calls: int) -> list[str]:
        """How those of these calls failed that did."""
        found = []
        for call in calls:
            try:
                self.building.slave.answer_to(call)
            except CallRefused as error:
                found.append(str(error))
        return found

    @property
    def paths(self) -> set[str]:
        return self.building.host.paths

    @property
    def result(self) -> Result:
        return self.building.outcome.result


# -- the table

T, E = TransferState, TransferEvent
PATHS: Final[dict[TransferState, tuple[TransferEvent, ...]]] = {T.OPEN: (), T.CLOSED: (E.CLOSE,), T.BROKEN: (E.BREAK,)}
TARGETS: Final[dict[TransferState, dict[TransferEvent, TransferState]]] = {
    T.OPEN: {E.BLOCK: T.OPEN, E.CLOSE: T.CLOSED, E.BREAK: T.BROKEN},
    T.CLOSED: {E.STAMP: T.CLOSED, E.CLOSE: T.CLOSED, E.BREAK: T.BROKEN},
    T.BROKEN: {E.BLOCK: T.BROKEN, E.CLOSE: T.BROKEN, E.STAMP: T.BROKEN, E.BREAK: T.BROKEN},
}


@pytest.mark.parametrize("state", TransferState)
@pytest.mark.parametrize("event", TransferEvent)
def test_every_row_of_the_table(state: TransferState, event: TransferEvent) -> None:
    machine = Machine(TRANSFER)
    for step in PATHS[state]:
        machine.fire(step)
    target = TARGETS[state].get(event)
    if target is not None:
        assert machine.fire(event) is target


# -- uploads that go well


@pytest.mark.parametrize("generation", ["0.8.4", "0.8.14", "4.3"])
@pytest.mark.parametrize("blocks", [(), (b"",), (b"abc",), (b"a" * 10, b"", b"b" * 10), (bytes(5),) * 50])
def test_an_upload(blocks: tuple[bytes, ...], generation: str) -> None:
    sending = Sending(generation=generation)
    for block in blocks:
        assert sending.call("write", block) is None
        assert "/m/f" not in sending.paths
    assert sending.call("close") is None
    # The command has not ended well yet.
    assert "/m/f" not in sending.paths
    sending.end()
    assert sending.result is Result.SUCCESS
    assert sending.paths == {"/m/f"}
    assert sending.building.host.read("/m/f") == b"".join(blocks)
    assert sending.building.unread == 0


def test_the_old_file_stays_until_the_new_one_is_whole() -> None:
    sending = Sending()
    sending.building.host.write("/m/f", b"old")
    sending.write(b"new")
    sending.ask("close")
    assert sending.building.host.read("/m/f") == b"old"
    sending.end()
    assert sending.building.host.read("/m/f") == b"new"
    assert sending.paths == {"/m/f"}


def test_mode_and_times() -> None:
    forms: list[Value] = [(5.0, 7.5), [5, 7.5]]
    for times in forms:
        sending = Sending(UploadFile(src="f", dest="/m/f", mode=0o640, keep_stamp=True))
        sending.write(b"x")
        sending.ask("close")
        assert sending.call("utime", times) is None
        sending.end()
        assert sending.building.host.mode("/m/f") == 0o640
        (done,) = [r.effect for r in sending.building.driver.requests if isinstance(r.effect, SetTimes)]
        assert done == SetTimes("/m/f", 5.0, 7.5)


@pytest.mark.parametrize("times", [None, (1.0,), (1.0, 2.0, 3.0), ("a", "b"), 7])
def test_times_that_are_none(times: Value) -> None:
    sending = Sending()
    sending.ask("close")
    with pytest.raises(CallRefused):
        sending.call("utime", times)
    sending.end()
    assert sending.result is Result.SUCCESS


@pytest.mark.parametrize("held", [CreateTemp, WriteFile])
def test_a_window_of_calls(held: type[object]) -> None:
    """A slave of ours has many blocks under way; they are written one at a time and in order."""
    sending = Sending()
    sending.building.hold(held)
    blocks = [bytes([n]) * (n + 1) for n in range(20)]
    calls = [sending.ask("write", block) for block in blocks]
    calls.append(sending.ask("close"))
    assert sending.building.unread == sum(map(len, blocks))
    assert len(sending.building.driver.held) == 1
    assert set(calls) <= sending.building.slave.unanswered
    sending.building.driver.perform_held()
    assert not sending.building.slave.unanswered
    assert sending.building.unread == 0
    sending.end()
    assert sending.building.host.read("/m/f") == b"".join(blocks)


def test_a_command_may_end_before_its_blocks_are_written() -> None:
    sending = Sending()
    sending.building.hold(WriteFile)
    sending.write(b"abc", b"def")
    sending.ask("close")
    sending.end()
    assert sending.building.running
    sending.building.driver.perform_held()
    assert sending.result is Result.SUCCESS
    assert sending.building.host.read("/m/f") == b"abcdef"


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            file.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


@pytest.mark.parametrize("close", ["unpack", "close"])
def test_a_directory(close: str) -> None:
    sending = Sending(UploadDirectory(src="d", dest="/m/d"))
    data = archive("x", "y/z")
    for start in range(0, len(data), 1000):
        sending.write(data[start : start + 1000])
    sending.ask(close)
    assert not any(path.startswith("/m/d/") for path in sending.paths)
    sending.end()
    assert sending.result is Result.SUCCESS
    assert sending.paths == {"/m/d/x", "/m/d/y/z"}


@pytest.mark.parametrize("data", [b"no archive", archive("../x"), archive("/x")])
def test_an_archive_that_cannot_be_unpacked(data: bytes) -> None:
    sending = Sending(UploadDirectory(src="d", dest="/m/d"))
    sending.write(data)
    sending.ask("unpack")
    sending.end()
    assert sending.result is Result.FAILURE
    assert sending.building.outcome.why
    assert sending.paths == set()


@pytest.mark.parametrize("lines", [(), ("'a': odd", "'b\udce9': odd, too")])
@pytest.mark.parametrize("told", [None, 2])
@pytest.mark.parametrize("rc", [0, 1])
def test_a_directory_that_is_not_whole(
    lines: tuple[str, ...], told: int | None, rc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either side may have left something out; only a success becomes less of one."""
    sending = Sending(UploadDirectory(src="d", dest="/m/d"))
    reply_to = sending.building.host.reply_to
    monkeypatch.setattr(
        sending.building.host,
        "reply_to",
        lambda effect: lines if isinstance(effect, UnpackTree) else reply_to(effect),
    )
    sending.write(archive("x"))
    sending.ask("unpack")
    if told is not None:
        sending.command.update({"left_out": told})
    sending.end(rc)
    if rc:
        assert sending.result is Result.FAILURE
        return
    assert sending.result is (Result.WARNINGS if lines or told else Result.SUCCESS)
    if lines:
        assert b"left out: 'a': odd\nleft out: 'b\\udce9': odd, too\n" in sending.building.text("header")


# -- uploads that do not

Deed = tuple[str, *tuple[Value, ...]]

CASES: Final[dict[str, tuple[list[Deed], Result, bool]]] = {
    # What happens, how the step ends, and whether the connection is there afterwards.
    "no close": ([("write", b"x"), ("end", 0)], Result.FAILURE, True),
    "nothing at all": ([("end", 0)], Result.FAILURE, True),
    "an exit code": ([("write", b"x"), ("close",), ("end", 1)], Result.FAILURE, True),
    "a failure": (
        [("write", b"x"), ("close",), ("end", 0, Failure("builtins.OSError", "x"))],
        Result.EXCEPTION,
        True,
    ),
    "closed twice": ([("write", b"x"), ("close",), ("close",), ("end", 0)], Result.SUCCESS, True),
    "a block after the end": ([("write", b"x"), ("close",), ("write", b"y")], Result.RETRY, False),
    "times before the end": ([("write", b"x"), ("utime", (1.0, 2.0))], Result.RETRY, False),
    "a block that is text": (
        [("write", b"x"), ("write", "text"), ("write", b"y"), ("close",), ("end", 0)],
        Result.FAILURE,
        True,
    ),
    "another method": ([("write", b"x"), ("read", 5), ("close",), ("end", 0)], Result.SUCCESS, True),
    "other parameters": (
        [("write", b"x"), ("write",), ("close", 1), ("close",), ("end", 0)],
        Result.SUCCESS,
        True,
    ),
    "lost": ([("write", b"x"), ("lose",)], Result.RETRY, False),
    "lost when closed": ([("write", b"x"), ("close",), ("lose",)], Result.RETRY, False),
    "interrupted": ([("write", b"x"), ("interrupt",), ("close",), ("end", 1)], Result.CANCELLED, True),
    "interrupted, and whole all the same": (
        [("write", b"x"), ("close",), ("interrupt",), ("end", 0)],
        Result.CANCELLED,
        True,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_slaves_do(case: str) -> None:
    deeds, result, there = CASES[case]
    sending = Sending()
    for deed, *args in deeds:
        match deed:
            case "end":
                sending.command.update({"rc": args[0]})
                sending.command.complete(args[1] if len(args) > 1 else None)
            case "lose":
                sending.building.driver.lose(sending.building.slave)
            case "interrupt":
                sending.building.driver.handle(InterruptStep(sending.building.step, "stop it"))
            case _:
                sending.ask(deed, *args)
    assert sending.building.attached is there
    assert sending.result is result
    assert sending.paths == ({"/m/f"} if result is Result.SUCCESS else set())
    if there:
        assert sending.building.unread == 0
        assert not sending.building.slave.unanswered


def test_calls_after_the_command_are_answered() -> None:
    sending = Sending()
    sending.write(b"x")
    sending.end(1)
    assert sending.paths == set()
    late = [sending.ask("write", b"y"), sending.ask("close"), sending.ask("utime", (1.0, 2.0))]
    assert len(sending.failures(*late)) == 3
    assert sending.paths == set()
    assert sending.building.unread == 0


@pytest.mark.parametrize(("limit", "blocks", "fits"), [(0, 0, True), (6, 2, True), (5, 2, False), (0, 1, False)])
@pytest.mark.parametrize("step", [UploadFile, UploadDirectory])
def test_a_limit(step: Callable[..., UploadFile | UploadDirectory], limit: int, blocks: int, fits: bool) -> None:
    sending = Sending(step(src="f", dest="/m/f", max_size=limit))
    calls = [sending.ask("write", b"abc") for _ in range(blocks)]
    calls.append(sending.ask("close"))
    failures = sending.failures(*calls)
    assert all(f"larger than {limit} bytes" in failure for failure in failures)
    assert bool(failures) is not fits
    sending.end()
    if not fits:
        assert (sending.result, sending.building.outcome.why) == (Result.FAILURE, f"larger than {limit} bytes")
    assert sending.paths == ({"/m/f"} if fits and step is UploadFile else set())
    assert sending.building.unread == 0


@pytest.mark.parametrize(("most", "fits"), [(6, True), (5, False), (0, True)])
def test_a_limit_of_the_master(most: int, fits: bool) -> None:
    """It holds for a step that has none of its own; 0 is none."""
    sending = Sending(UploadFile(src="f", dest="/m/f"), upload_max_size=most)
    sending.write(b"abc", b"abc")
    sending.ask("close")
    sending.end()
    assert sending.result is (Result.SUCCESS if fits else Result.FAILURE)
    assert sending.building.outcome.why == ("" if fits else f"larger than {most} bytes")


def test_a_limit_ends_the_writing() -> None:
    sending = Sending(UploadFile(src="f", dest="/m/f", max_size=10))
    sending.write(*[bytes(8)] * 100)
    assert sum(isinstance(request.effect, WriteFile) for request in sending.building.driver.requests) <= 1
    sending.end()
    assert sending.paths == set()


STEPS: Final[dict[str, UploadFile | UploadDirectory]] = {
    "file": UploadFile(src="f", dest="/m/f", keep_stamp=True),
    "directory": UploadDirectory(src="f", dest="/m/f"),
}


def upload(building: Building, step: UploadFile | UploadDirectory, *, wait: bool) -> None:
    """A whole upload, of calls that wait for each other or not; a slave whose call fails says so in the end."""
    building.start(step)
    command = building.slave.command
    data = archive("x")
    calls: list[int] = []
    plan: list[tuple[Any, ...]] = [("write", data[:1000]), ("write", data[1000:2000]), ("write", data[2000:])]
    if isinstance(step, UploadFile):
        plan += [("close",), ("utime", (1.0, 2.0))]
    else:
        plan += [("unpack",)]
    failed = False
    for method, *args in plan:
        if wait and failed and method == "write":
            continue
        try:
            calls.append(building.slave.ask(command.object("writer"), method, *args))
            if wait:
                building.slave.answer_to(calls[-1])
        except CallRefused:
            failed = True
    command.update({"rc": 0})
    command.complete(Failure("builtins.OSError", "x") if failed else None)


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_an_effect_that_fails_at_every_point(name: str, wait: bool) -> None:
    whole = Building()
    upload(whole, STEPS[name], wait=wait)
    assert whole.outcome.result is Result.SUCCESS
    count = sum(isinstance(request.effect, DISK_EFFECTS) for request in whole.driver.requests)
    assert count == (6 if name == "file" else 5)
    for point in range(count):
        building = Building()
        fails = nth(point, DISK_EFFECTS)
        building.host.refuses = lambda effect, fails=fails: FULL_DISK if fails(effect) else None  # type: ignore[misc]
        upload(building, STEPS[name], wait=wait)
        assert building.attached
        assert building.outcomes()[0].result in (Result.FAILURE, Result.EXCEPTION)
        assert f"{STEPS[name].dest} on the master: No space left on device" in building.outcome.why
        # Only the times are set on a file that is in its place.
        assert building.host.paths == ({"/m/f"} if name == "file" and point == count - 1 else set())
        assert building.unread == 0
        assert not building.slave.unanswered
        upload(building, STEPS[name], wait=wait)
        assert building.outcome.result is Result.SUCCESS


@pytest.mark.parametrize("end", ["lost", "lost at once", "interrupted"])
@pytest.mark.parametrize("name", STEPS)
def test_an_end_while_an_effect_is_under_way(name: str, end: str) -> None:
    """Each effect in turn takes so long that something else comes between."""
    for point in range(6 if name == "file" else 5):
        building = Building()
        slow = nth(point, DISK_EFFECTS)
        building.driver.holds = lambda request, slow=slow: slow(request.effect)  # type: ignore[misc]
        upload(building, STEPS[name], wait=False)
        assert building.running
        assert len(building.driver.held) == 1
        if end == "interrupted":
            building.driver.handle(InterruptStep(building.step, "stop it"))
            assert building.running
        else:
            building.driver.lose(building.slave)
            assert building.outcome.result is Result.RETRY
        building.driver.perform_held()
        assert len(building.outcomes()) == 1
        whole = {"/m/f"} if name == "file" else {"/m/f/x"}
        if end == "interrupted":
            # The command was over; nothing could be stopped any more.
            assert building.outcome.result is Result.SUCCESS
            assert building.host.paths == whole
            assert building.unread == 0
        else:
            assert building.host.paths in (set(), whole)
            assert building.host.paths == set() or point >= 4


def test_a_temporary_file_that_cannot_be_removed_ends_nothing() -> None:
    sending = Sending()
    sending.building.fail(Unlink, FULL_DISK)
    sending.write(b"x")
    sending.end(1)
    assert sending.result is Result.FAILURE
    assert sending.building.attached


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["write", "close", "utime", "hold", "perform", "interrupt", "rc", "lose"]), max_size=12),
    st.integers(0, 12),
    st.sampled_from(["file", "directory"]),
)
def test_nothing_half_stays(plan: list[str], fail_at: int, name: str) -> None:
    sending = Sending(STEPS[name])
    building = sending.building
    fails = nth(fail_at, DISK_EFFECTS)
    building.host.refuses = lambda effect: FULL_DISK if fails(effect) else None
    written = b""
    for word in plan:
        if not building.attached:
            break
        match word:
            case "write":
                written += b"abc"
                sending.write(b"abc")
            case "close" | "utime":
                sending.ask(word, *([(1.0, 2.0)] if word == "utime" else []))
            case "hold":
                building.hold(WriteFile)
            case "perform":
                building.driver.perform_held()
            case "interrupt":
                building.driver.handle(InterruptStep(1, "stop it"))
            case "rc":
                sending.command.update({"rc": 0})
            case "lose":
                building.driver.lose(building.slave)
        assert not {path for path in sending.paths if path.startswith("/m/f")}
    if building.attached:
        sending.command.complete()
    building.driver.perform_held()
    assert sending.paths <= {"/m/f"}
    if sending.result is Result.SUCCESS:
        assert building.host.read("/m/f") == written
    if building.attached:
        assert building.unread == 0
        assert not building.slave.unanswered


# -- downloads


class Fetching:
    """A slave that downloads."""

    def __init__(self, step: AnyStep, files: dict[str, bytes] | None = None) -> None:
        self.building = Building()
        for path, data in (files or {}).items():
            self.building.host.write(path, data)
        self.command: SlaveCommand = self.building.run(step)
        self.reader = self.command.object("reader")

    def ask(self, method: str, *args: Value) -> int:
        return self.building.slave.ask(self.reader, method, *args)

    def read(self, size: int) -> bytes:
        data = self.building.slave.call(self.reader, "read", size)
        assert isinstance(data, bytes)
        return data

    def read_all(self, size: int) -> bytes:
        whole = b""
        while block := self.read(size):
            whole += block
        self.building.slave.call(self.reader, "close")
        return whole

    @property
    def result(self) -> Result:
        return self.building.outcome.result


CONTENTS: Final = [b"", b"a", b"x" * 9, b"x" * 10, b"x" * 11, b"x" * 20, bytes(range(256)) * 9]


@pytest.mark.parametrize("data", CONTENTS, ids=len)
@pytest.mark.parametrize("kind", ["file", "text"])
def test_a_download(kind: str, data: bytes) -> None:
    step = DOWN if kind == "file" else DownloadString(data=data, dest="f")
    fetching = Fetching(step, {"/m/f": data})
    assert fetching.read_all(10) == data
    # At the end it stays at the end.
    assert fetching.read(10) == b""
    fetching.command.finish()
    assert fetching.result is Result.SUCCESS
    assert fetching.building.host.paths == {"/m/f"}


def test_no_block_is_larger_than_a_peer_reads() -> None:
    fetching = Fetching(DOWN, {"/m/f": bytes(LARGEST_BLOCK + 5)})
    assert [len(fetching.read(2**40)) for _ in range(3)] == [LARGEST_BLOCK, 5, 0]
    fetching = Fetching(DownloadString(data=bytes(LARGEST_BLOCK + 5), dest="f"))
    assert [len(fetching.read(2**40)) for _ in range(3)] == [LARGEST_BLOCK, 5, 0]


@pytest.mark.parametrize("size", [0, -1, None, "10", 1.5, True])
def test_a_size_that_is_none(size: Value) -> None:
    fetching = Fetching(DOWN, {"/m/f": b"abc"})
    call = fetching.ask("read", size)
    with pytest.raises(CallRefused):
        fetching.building.slave.answer_to(call)
    with pytest.raises(CallRefused):
        fetching.building.slave.call(fetching.reader, "write", b"x")
    assert fetching.read_all(10) == b"abc"
    fetching.command.finish()
    assert fetching.result is Result.SUCCESS


def test_a_window_of_reads() -> None:
    fetching = Fetching(DOWN, {"/m/f": bytes(range(100))})
    fetching.building.hold(ReadFile)
    calls = [fetching.ask("read", 9) for _ in range(15)]
    calls.append(fetching.ask("close"))
    assert len(fetching.building.driver.held) == 1
    fetching.building.driver.perform_held()
    blocks = [fetching.building.slave.answer_to(call) for call in calls[:-1]]
    assert b"".join(block for block in blocks if isinstance(block, bytes)) == bytes(range(100))
    fetching.command.finish()
    assert fetching.result is Result.SUCCESS


@pytest.mark.parametrize("done", [0, 5, 9])
def test_a_slave_that_stops_too_early(done: int) -> None:
    fetching = Fetching(DOWN, {"/m/f": b"0123456789"})
    if done:
        fetching.read(done)
    fetching.command.finish()
    assert (fetching.result, fetching.building.outcome.why) == (Result.FAILURE, f"the slave read {done} of 10 bytes")


def test_a_source_that_shrinks() -> None:
    fetching = Fetching(DOWN, {"/m/f": b"0123456789"})
    fetching.read(5)
    fetching.building.host.write("/m/f", b"0123")
    assert fetching.read(5) == b""
    fetching.command.finish()
    assert (fetching.result, fetching.building.outcome.why) == (Result.FAILURE, "the slave read 5 of 10 bytes")


def test_a_source_that_grows() -> None:
    fetching = Fetching(DOWN, {"/m/f": b"0123456789"})
    fetching.building.host.append("/m/f", b"abc")
    assert fetching.read_all(5) == b"0123456789abc"
    fetching.command.finish()
    assert fetching.result is Result.SUCCESS


@pytest.mark.parametrize("point", range(3))
def test_a_source_that_cannot_be_read(point: int) -> None:
    fetching = Fetching(DOWN, {"/m/f": b"0123456789"})
    fails = nth(point, (ReadFile,))
    fetching.building.host.refuses = lambda effect: HostError(5, "I/O error") if fails(effect) else None
    for _ in range(point):
        fetching.read(5)
    calls = [fetching.ask("read", 5), fetching.ask("read", 5), fetching.ask("close")]
    for call in calls:
        with pytest.raises(CallRefused, match="I/O error"):
            fetching.building.slave.answer_to(call)
    fetching.command.finish()
    assert (fetching.result, fetching.building.outcome.why) == (Result.FAILURE, "I/O error")


@pytest.mark.parametrize("how", ["complete", "lost"])
def test_an_end_while_a_block_is_read(how: str) -> None:
    fetching = Fetching(DOWN, {"/m/f": b"0123456789"})
    building = fetching.building
    building.hold(ReadFile)
    calls = [fetching.ask("read", 5), fetching.ask("read", 5)]
    if how == "complete":
        fetching.command.finish(1)
        assert fetching.result is Result.FAILURE
        # They are answered: a slave that ends early again and again would use up its calls.
        assert not building.slave.unanswered
        late = fetching.ask("read", 5)
        building.driver.perform_held()
        for call in [*calls, late]:
            with pytest.raises(CallRefused):
                building.slave.answer_to(call)
    else:
        building.driver.lose(building.slave)
        assert fetching.result is Result.RETRY
        building.driver.perform_held()
        for call in calls:
            with pytest.raises(ConnectionLost):
                building.slave.answer_to(call)
    assert len(building.outcomes()) == 1


def test_what_is_over_is_read_no_more() -> None:
    fetching = Fetching(DownloadString(data=b"secret", dest="f"))
    assert fetching.read_all(10) == b"secret"
    fetching.command.finish()
    with pytest.raises(CallRefused, match="the command is over"):
        fetching.read(10)
    assert fetching.building.attached


def test_effects_are_all_that_a_transfer_asks_for() -> None:
    building = Building()
    upload(building, STEPS["file"], wait=True)
    kinds: list[type[HostEffect]] = [type(request.effect) for request in building.driver.requests]
    assert kinds == [CreateTemp, WriteFile, WriteFile, WriteFile, PlaceFile, SetTimes]
