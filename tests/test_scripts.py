"""Tests of scripts: mailbox, timers, failures, effects of one's own, and the requests of many."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from slaveproto.effects import (
    Abandon,
    Begin,
    Cancel,
    Effect,
    EffectDone,
    FileEffect,
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
    Signal,
    Spawn,
    TimerFired,
)
from slaveproto.errors import HostError, LocalProtocolError
from slaveproto.records import record
from slaveproto.scripts import WAIT, Answers, Task, TaskPool
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


def test_plain_task_may_not_send_updates() -> None:
    def script() -> Script[None]:
        yield from SendItem("rc", 0)

    task = Task(script())
    TaskPool().start(task, 0.0)
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
    pool = TaskPool()
    task = Task(listener())
    pool.start(task, 0.0)
    pool.tell(task, ProcessOutput(1, "stdout", b"x" * 10), 0.0)
    pool.tell(task, Interrupted(""), 0.0)
    assert (pool.waiting_bytes, pool.unsent_bytes) == (10, 0)
    pool.complete(1, True, 0.0)
    assert (pool.waiting_bytes, pool.unsent_bytes) == (0, 0)


# -- effects of one kind of task


@record
class Ask(Effect[str]):
    """Ask the test, which answers later."""

    question: str


@record
class Double(Effect[int]):
    """Answered at once, but for negative numbers."""

    number: int


class Asking(Task):
    """A task that knows two effects more."""

    def __init__(self, script: Script[Any]) -> None:
        super().__init__(script)
        self.asked: list[str] = []

    def _ask(self, effect: Ask, now: float) -> object:
        self.asked.append(effect.question)
        return WAIT

    def _double(self, effect: Double, now: float) -> int:
        if effect.number < 0:
            raise ValueError("negative")
        return effect.number * 2

    answers: ClassVar[Answers] = {**Task.answers, Ask: _ask, Double: _double}


def asking() -> Script[list[object]]:
    heard: list[object] = []
    for effect in (
        Double(2),
        Double(-1),
        Ask("why?"),
        Ask("and now?"),
        MakeDirs("/"),
        NextEvent(),
        Ask("still there?"),
    ):
        try:
            heard.append((yield from effect))
        except (ValueError, KeyError) as error:
            heard.append(str(error))
    return heard


def test_task_answers_effects_of_its_own_at_once_or_later() -> None:
    pool = TaskPool()
    task = Asking(asking())
    pool.start(task, 0.0)
    assert task.asked == ["why?"]
    pool.reply(task, "because", 1.0)
    assert task.asked == ["why?", "and now?"]
    pool.throw(task, KeyError("lost"), 2.0)
    (request,) = pool.take_requests(congested=False)
    assert request.effect == MakeDirs("/")
    # The script does not wait for the directory any more, and its end is no news to it.
    pool.throw(task, KeyError("hurry"), 3.0)
    pool.complete(request.id, True, 3.0)
    pool.throw(task, KeyError("wake up"), 4.0)
    pool.tell(task, Interrupted(""), 4.0)
    assert task.asked == ["why?", "and now?", "still there?"]
    assert pool.tasks
    pool.reply(task, "yes", 5.0)
    assert task.result == [4, "negative", "because", "'lost'", "'hurry'", "'wake up'", "yes"]
    assert not pool.tasks
    pool.throw(task, KeyError("too late"), 6.0)


def test_effects_of_a_task_are_unknown_to_others() -> None:
    task = Task(asking())
    TaskPool().start(task, 0.0)
    assert task.failure is not None
    assert task.failure.kind == "builtins.TypeError"


# -- the pool


def test_only_effects_on_files_can_be_begun() -> None:
    def script(effect: FileEffect) -> Script[int]:
        return (yield from Begin(effect))

    pool = TaskPool()
    task = Task(script(Abandon(1)))  # type: ignore[arg-type]
    pool.start(task, 0.0)
    assert task.failure is not None
    assert task.failure.kind == "builtins.TypeError"
    assert pool.take_requests(congested=False) == []


def test_what_a_script_left_under_way_ends_with_it() -> None:
    def script() -> Script[None]:
        done = yield from Begin(MakeDirs("/done"))
        yield from Begin(MakeDirs("/left"))
        process = yield from Spawn((b"sleep",), {}, "/", b"", False)
        abandoned = yield from Spawn((b"true",), {}, "/", b"", False)
        yield from Abandon(abandoned)
        assert (yield from NextEvent()) == EffectDone(done, True)
        raise ValueError(process)

    pool = TaskPool()
    task = Task(script())
    pool.start(task, 0.0)
    for _ in range(3):
        newest = pool.take_requests(congested=False)[-1].id
        pool.complete(newest, newest, 0.0)
    pool.complete(1, True, 0.0)
    assert task.failure is not None
    assert task.failure.message == "3"
    left = [request.effect for request in pool.take_requests(congested=False)]
    assert left == [Cancel(2), Signal(3, "KILL"), Abandon(3)]


def test_pool_knows_the_earliest_deadline_of_those_that_listen() -> None:
    pool = TaskPool()
    for seconds in (3.0, 1.0, 2.0):
        pool.start(Asking(one(NextEvent(), SetTimer("a", seconds))), 0.0)
    pool.start(Asking(one(MakeDirs("/"), SetTimer("a", 0.5))), 0.0)
    seen = []
    while (deadline := pool.deadline) is not None:
        seen.append(deadline)
        pool.look(deadline)
    assert seen == [1.0, 2.0, 3.0]
    assert len(pool.tasks) == 1


def one(effect: Effect[Any], first: SetTimer | None = None) -> Script[None]:
    if first is not None:
        yield from first
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
