"""Driving scripts: mailbox, timers, failures, and the requests of many."""

from __future__ import annotations

import pytest

from slaveproto.effects import (
    Interrupted,
    MakeDirs,
    NextEvent,
    Now,
    ProcessOutput,
    ReadFile,
    Request,
    Script,
    SendItem,
    SetTimer,
    Spawn,
    TimerFired,
)
from slaveproto.errors import HostError, LocalProtocolError
from slaveproto.scripts import Task, TaskPool
from slaveproto.testing import PlayStep, after, ends, ends_with, fails, play, replies, sends, tells, wants


def listener(*timers: tuple[str, float]) -> Script[None]:
    for key, seconds in timers:
        yield from SetTimer(key, seconds)
    yield from MakeDirs("/")
    while True:
        event = yield from NextEvent()
        yield from SendItem("event", repr(event))
        if isinstance(event, Interrupted):
            return


def hears(event: object) -> PlayStep:
    return sends("event", repr(event))


def test_what_happened_comes_before_what_is_due() -> None:
    output = ProcessOutput(1, "stdout", b"x")
    play(
        listener(("a", 1.0)),
        wants(MakeDirs("/")),
        after(1.0),
        tells(output),
        replies(True),
        hears(output),
        hears(TimerFired("a")),
    )


def test_timers_fire_in_the_order_in_which_they_are_due_each_once() -> None:
    play(
        listener(("late", 3.0), ("soon", 1.0), ("also soon", 1.0)),
        wants(MakeDirs("/")),
        replies(True),
        after(5.0),
        hears(TimerFired("soon")),
        hears(TimerFired("also soon")),
        hears(TimerFired("late")),
        after(100.0),
        tells(Interrupted("")),
        hears(Interrupted("")),
        ends(),
    )


def test_timer_is_moved_or_called_off_by_its_name() -> None:
    def script() -> Script[None]:
        yield from SetTimer("a", 1.0)
        yield from SetTimer("b", 1.0)
        yield from SetTimer("a", 2.0)
        yield from SetTimer("b", None)
        yield from SetTimer("never set", None)
        yield from SendItem("event", repr((yield from NextEvent())))
        yield from SendItem("now", (yield from Now()))

    play(script(), after(10.0), hears(TimerFired("a")), sends("now", 2.0), ends())


def test_first_of_two_due_timers_may_call_off_the_second() -> None:
    def script() -> Script[None]:
        yield from SetTimer("a", 1.0)
        yield from SetTimer("b", 1.0)
        yield from SendItem("event", repr((yield from NextEvent())))
        yield from SetTimer("b", None)
        yield from SendItem("event", repr((yield from NextEvent())))

    play(script(), after(10.0), hears(TimerFired("a")), tells(Interrupted("")), hears(Interrupted("")), ends())


def test_failure_of_an_effect_is_raised_where_it_was_asked_for() -> None:
    def script() -> Script[None]:
        try:
            yield from MakeDirs("/")
        except HostError as error:
            yield from SendItem("errno", error.errno)
        yield from MakeDirs("/b")

    play(
        script(),
        wants(MakeDirs("/")),
        fails(HostError(13, "no")),
        sends("errno", 13),
        wants(MakeDirs("/b")),
        fails(HostError(28, "No space left on device")),
        ends_with("builtins.OSError", "[Errno 28] No space left on device"),
    )


def test_script_that_asks_for_what_there_is_not_is_told_so_itself() -> None:
    def script() -> Script[None]:
        try:
            yield "sleep"  # type: ignore[misc]
        except TypeError:
            # The last wish of a script may take the host's help.
            yield from MakeDirs("/last")
            raise

    play(script(), wants(MakeDirs("/last")), replies(True), ends_with("builtins.TypeError"))


def test_task_without_updates_may_not_send_any() -> None:
    def script() -> Script[None]:
        yield from SendItem("rc", 0)

    task = Task(script())
    assert task.start(0.0) is None
    assert task.done
    assert task.failure is not None
    assert task.failure.kind == "builtins.TypeError"


def test_result() -> None:
    def script() -> Script[int]:
        yield from Now()
        return 3

    task = Task(script())
    task.start(0.0)
    assert (task.done, task.result, task.failure) == (True, 3, None)


def test_waiting_output_is_counted() -> None:
    task = Task(listener())
    task.start(0.0)
    task.tell(ProcessOutput(1, "stdout", b"x" * 10), 0.0)
    task.tell(Interrupted(""), 0.0)
    assert task.waiting_bytes == 10


# -- the pool


def one(effect: MakeDirs | ReadFile | Spawn) -> Script[None]:
    yield from effect


def test_report_of_what_nobody_asked_for_is_the_runners_mistake() -> None:
    pool = TaskPool()
    pool.start(Task(one(MakeDirs("/"))), 0.0)
    for number in (0, 2, -1):
        with pytest.raises(LocalProtocolError):
            pool.complete(number, None, 0.0)
        with pytest.raises(LocalProtocolError):
            pool.reject(number, HostError(1, ""), 0.0)
    pool.complete(1, True, 0.0)
    assert not pool.tasks
    with pytest.raises(LocalProtocolError):
        pool.complete(1, True, 0.0)


def test_requests_that_make_more_data_wait_and_keep_their_order() -> None:
    pool = TaskPool()
    read = [ReadFile("/", offset, 1) for offset in range(2)]
    for effect in (read[0], MakeDirs("/a"), read[1], MakeDirs("/b")):
        pool.start(Task(one(effect)), 0.0)
    assert pool.take_requests(congested=True) == [Request(2, MakeDirs("/a")), Request(4, MakeDirs("/b"))]
    assert pool.take_requests(congested=True) == []
    assert pool.take_requests(congested=False) == [Request(1, read[0]), Request(3, read[1])]
    assert pool.take_requests(congested=False) == []


def test_reports_of_what_was_abandoned_are_nothing_but_only_once() -> None:
    pool = TaskPool()
    pool.start(Task(one(MakeDirs("/"))), 0.0)
    pool.abandon()
    assert not pool.tasks
    pool.complete(1, True, 0.0)
    with pytest.raises(LocalProtocolError):
        pool.complete(1, True, 0.0)


def test_events_of_a_process_that_nobody_owns_are_nothing() -> None:
    pool = TaskPool()
    pool.on_process(ProcessOutput(17, "stdout", b"x"), 0.0)
    assert pool.waiting_bytes == 0
