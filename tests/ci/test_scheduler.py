"""The scheduler: each rule of its module, and all of them under random schedules in virtual time.

`python -m tests.ci.test_scheduler 100000` runs so many random schedules; the test runs a few thousand.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable

import pytest

from slaveproto.ci.scheduler import PATIENCE, RunStart, Scheduler, Wish, pause
from slaveproto.master.results import Result

SCHEDULES = 3_000


def started(scheduler: Scheduler, idle: dict[str, list[str]], now: float = 0.0) -> list[tuple[str, str, int]]:
    """Start what can be started; return builders, slaves and attempts."""
    return [(start.wish.builder, start.slave, start.attempt) for start in scheduler.start(idle, now)]


# -- rule by rule


def test_nothing_is_started_while_it_is_held() -> None:
    scheduler = Scheduler({})
    scheduler.want(Wish("a"), ["s"])
    scheduler.start({"s": ["a"]}, 0.0)
    scheduler.want(Wish("b"), ["s"])
    scheduler.hold(True)
    scheduler.over(1, None, 0.0)
    assert started(scheduler, {"s": ["a", "b"]}, 100.0) == []
    assert scheduler.deadline(0.0) is None
    assert list(scheduler.waiting) == [Wish("b"), Wish("a")]
    scheduler.hold(False)
    assert scheduler.deadline(0.0) == PATIENCE
    assert started(scheduler, {"s": ["a", "b"]}, 100.0) == [("b", "s", 1), ("a", "s", 2)]


def test_a_builder_is_wanted_once() -> None:
    scheduler = Scheduler({})
    scheduler.want(Wish("a"), ["one"])
    scheduler.want(Wish("b"), ["one"])
    scheduler.want(Wish("a"), ["two"])
    assert scheduler.waiting == {Wish("b"): ("one",), Wish("a"): ("two",)}
    scheduler.forget([Wish("b"), Wish("unknown")])
    assert scheduler.waiting == {Wish("a"): ("two",)}
    assert started(scheduler, {"two": ["a"]}) == [("a", "two", 1)]
    assert started(scheduler, {"two": ["a"]}) == []


def test_what_asks_for_something_else_is_built_for_itself() -> None:
    """Requests for two revisions are two builds, side by side if slaves allow, and requests for the same are one."""
    scheduler = Scheduler({})
    one, two = Wish("a", "revision 1"), Wish("a", "revision 2")
    for wish in (one, two, one):
        scheduler.want(wish, ["s", "t"])
    assert list(scheduler.waiting) == [two, one]
    assert [(start.wish, start.slave) for start in scheduler.start({"s": ["a"]}, 0.0)] == [(two, "s")]
    # The run of the other has not begun, and cannot take this one.
    assert [(start.wish, start.slave) for start in scheduler.start({"t": ["a"]}, 0.0)] == [(one, "t")]
    scheduler.want(two, ["s", "t", "u"])
    assert scheduler.start({"u": ["a"]}, 0.0) == []
    scheduler.over(1, None, 0.0)
    scheduler.over(2, Result.SUCCESS, 0.0)
    assert scheduler.waiting == {two: ("t", "u", "s")}
    assert [(start.wish, start.attempt) for start in scheduler.start({"t": ["a"]}, PATIENCE)] == [(two, 2)]


def test_builders_run_side_by_side_as_far_as_slaves_allow() -> None:
    scheduler = Scheduler({"one": 1, "two": None})
    for builder, slaves in (("a", ["one"]), ("b", ["one"]), ("c", ["two"]), ("d", ["one", "two"]), ("e", ["gone"])):
        scheduler.want(Wish(builder), slaves)
    idle = {"one": ["a", "b", "d"], "two": ["c", "d"]}
    assert started(scheduler, idle) == [("a", "one", 1), ("c", "two", 1), ("d", "two", 1)]
    assert scheduler.waiting == {Wish("b"): ("one",), Wish("e"): ("gone",)}
    scheduler.over(1, Result.SUCCESS, 1.0)
    assert started(scheduler, idle | {"gone": ["e"]}) == [("b", "one", 1), ("e", "gone", 1)]
    assert scheduler.finals == {"a": Result.SUCCESS}


def test_the_first_slave_on_which_the_builder_is_idle() -> None:
    scheduler = Scheduler({})
    scheduler.want(Wish("a"), ["away", "busy", "free", "other"])
    assert started(scheduler, {"busy": [], "free": ["a"], "other": ["a"]}) == [("a", "free", 1)]


def test_a_run_that_has_not_begun_may_still_take_what_is_wanted() -> None:
    scheduler = Scheduler({})
    idle = {"one": ["a"], "two": ["a"]}
    scheduler.want(Wish("a"), ["one", "two"])
    assert started(scheduler, idle) == [("a", "one", 1)]
    scheduler.want(Wish("a"), ["one", "two"])
    assert started(scheduler, idle) == []
    scheduler.begun(1)
    # Not beside itself on one slave, but on another.
    assert started(scheduler, idle) == [("a", "two", 1)]


def test_a_lost_slave_means_another_attempt_behind_what_waits() -> None:
    scheduler = Scheduler({"s": 1}, attempts=3)
    idle = {"s": ["a", "b"]}
    scheduler.want(Wish("a"), ["s"])
    scheduler.want(Wish("b"), ["s"])
    assert started(scheduler, idle) == [("a", "s", 1)]
    scheduler.over(1, Result.RETRY, 5.0)
    assert started(scheduler, idle, 5.5) == [("b", "s", 1)]
    scheduler.over(2, Result.FAILURE, 5.6)
    assert started(scheduler, idle, 5.9) == []
    assert started(scheduler, idle, 6.0) == [("a", "s", 2)]
    scheduler.over(3, Result.RETRY, 7.0)
    assert started(scheduler, idle, 8.9) == []
    assert started(scheduler, idle, 9.0) == [("a", "s", 3)]
    assert scheduler.is_last(4, Result.RETRY)
    assert not scheduler.is_last(4, Result.FAILURE)
    scheduler.over(4, Result.RETRY, 10.0)
    assert started(scheduler, idle, 999.0) == []
    assert scheduler.finals == {"a": Result.EXCEPTION, "b": Result.FAILURE}


def test_pauses_grow_and_have_a_limit() -> None:
    assert [pause(Result.RETRY, attempt) for attempt in (1, 2, 3, 9, 10, 5000)] == [1, 2, 4, 256, 300, 300]
    assert [pause(None, attempt) for attempt in (1, 2, 5, 6, 5000)] == [10, 20, 160, 300, 300]


def test_a_slave_that_takes_nothing_makes_room_for_others() -> None:
    """For other slaves of the same builder, and for other builders of the same slave."""
    scheduler = Scheduler({"bad": 1, "good": 1})
    idle = {"bad": ["a", "b"], "good": ["a"]}
    scheduler.want(Wish("a"), ["bad", "good"])
    scheduler.want(Wish("b"), ["bad"])
    assert started(scheduler, idle) == [("a", "bad", 1)]
    scheduler.over(1, None, 0.0)
    assert started(scheduler, idle) == [("b", "bad", 1)]
    scheduler.over(2, None, 0.0)
    assert started(scheduler, idle, PATIENCE) == [("a", "good", 2), ("b", "bad", 2)]


def test_a_request_in_a_pause_shortens_it_not() -> None:
    """Else one for every second would be a try for every second."""
    scheduler = Scheduler({}, attempts=3)
    idle = {"s": ["a"]}
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, idle) == [("a", "s", 1)]
    scheduler.over(1, None, 0.0)
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, idle, PATIENCE - 1) == []
    assert started(scheduler, idle, PATIENCE) == [("a", "s", 2)]


def test_what_another_master_tried_before() -> None:
    """A build that ends its master each time gets its pause, and others their turn."""
    scheduler = Scheduler({"s": 1}, attempts=5)
    scheduler.resume(Wish("poison"), ["s"], 3, 100.0)
    scheduler.resume(Wish("new"), ["s"], 0, 100.0)
    idle = {"s": ["poison", "new"]}
    assert started(scheduler, idle, 100.0) == [("new", "s", 1)]
    scheduler.over(1, Result.SUCCESS, 101.0)
    assert scheduler.deadline(101.0) == 104.0
    assert started(scheduler, idle, 104.0) == [("poison", "s", 4)]


def test_a_slave_that_does_not_take_a_build_is_asked_again_later() -> None:
    scheduler = Scheduler({}, attempts=2)
    idle = {"s": ["a"]}
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, idle) == [("a", "s", 1)]
    scheduler.over(1, None, 3.0)
    assert scheduler.deadline(3.0) == 3.0 + PATIENCE
    assert started(scheduler, idle, 3.0 + PATIENCE / 2) == []
    assert started(scheduler, idle, 3.0 + PATIENCE) == [("a", "s", 2)]
    assert scheduler.deadline(3.0 + PATIENCE) is None
    scheduler.over(2, None, 20.0)
    assert scheduler.finals == {"a": Result.EXCEPTION}


def test_drain_starts_nothing_and_waits_for_what_runs() -> None:
    scheduler = Scheduler({})
    idle = {"s": ["a", "b"], "t": ["a", "b"]}
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, idle) == [("a", "s", 1)]
    scheduler.want(Wish("b"), ["s"])
    assert not scheduler.drained(1.0)
    scheduler.drain(until=100.0)
    assert started(scheduler, idle, 1.0) == []
    assert (scheduler.drained(99.0), scheduler.deadline(99.0)) == (False, 100.0)
    assert scheduler.drained(100.0), "its time is over"
    # A lost slave means another try, by whatever runs next.
    scheduler.over(1, Result.RETRY, 50.0)
    assert started(scheduler, idle, 50.0) == []
    assert scheduler.drained(50.0), "nothing runs any more"
    scheduler.want(Wish("c"), ["s"])
    assert [*scheduler.waiting] == [Wish("b"), Wish("a"), Wish("c")]
    scheduler.stop(Result.RETRY)
    assert scheduler.finals == dict.fromkeys("abc", Result.RETRY)


def test_a_builder_that_is_wanted_anew_is_not_wanted_twice() -> None:
    scheduler = Scheduler({})
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, {"s": ["a"]}) == [("a", "s", 1)]
    scheduler.begun(1)
    scheduler.want(Wish("a"), ["s", "other"])
    scheduler.over(1, Result.RETRY, 1.0)
    assert scheduler.waiting == {Wish("a"): ("other", "s")}
    assert started(scheduler, {"s": ["a"]}, 1.0) == []
    assert started(scheduler, {"s": ["a"]}, 2.0) == [("a", "s", 2)]


def test_a_builder_that_is_wanted_anew_outlives_a_last_try() -> None:
    scheduler = Scheduler({}, attempts=1)
    scheduler.want(Wish("a"), ["s"])
    assert started(scheduler, {"s": ["a"]}) == [("a", "s", 1)]
    scheduler.begun(1)
    scheduler.want(Wish("a"), ["s"])
    scheduler.over(1, Result.RETRY, 1.0)
    assert started(scheduler, {"s": ["a"]}, 1.0) == [("a", "s", 1)]


def test_another_attempt_is_what_the_newest_rules_say() -> None:
    scheduler = Scheduler({})
    for builder in ("changed", "removed"):
        scheduler.want(Wish(builder), ["old"])
    assert len(started(scheduler, {"old": ["changed", "removed"]})) == 2
    scheduler.revise({"changed": ("new",)}, {"new": 1})
    scheduler.over(1, Result.RETRY, 1.0)
    scheduler.over(2, Result.RETRY, 1.0)
    assert scheduler.waiting == {Wish("changed"): ("new",)}
    assert scheduler.finals == {}
    assert started(scheduler, {"new": ["changed"]}, 2.0) == [("changed", "new", 2)]


def test_after_a_stop_nothing_starts() -> None:
    scheduler = Scheduler({})
    for builder in ("runs", "waits"):
        scheduler.want(Wish(builder), [builder])
    assert started(scheduler, {"runs": ["runs"]}) == [("runs", "runs", 1)]
    scheduler.stop(Result.CANCELLED)
    scheduler.want(Wish("late"), ["late"])
    assert scheduler.stopped
    assert started(scheduler, {"waits": ["waits"], "late": ["late"]}) == []
    scheduler.over(1, None, 1.0)
    assert scheduler.finals == dict.fromkeys(("runs", "waits", "late"), Result.CANCELLED)


# -- random schedules


class World:
    """A master's requests and its slaves in virtual time, as far as a schedule needs them.

    A run takes every request that asks for the same when it begins, and gives them back when it ends with RETRY.

    Args:
        chance: makes all choices.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.slaves = [f"s{n}" for n in range(chance.randint(1, 4))]
        self.builders = {
            f"b{n}": tuple(chance.sample(self.slaves, chance.randint(1, len(self.slaves))))
            for n in range(chance.randint(1, 5))
        }
        self.most = {name: chance.choice([None, 1, 2]) for name in self.slaves}
        self.attempts = chance.choice([None, 1, 3])
        self.scheduler = Scheduler(self.most, self.attempts)
        self.attached = set(self.slaves)
        self.requests: dict[int, Wish] = {}
        self.pending: dict[Wish, set[int]] = {}
        self.starting: dict[int, RunStart] = {}
        self.begun: dict[int, tuple[RunStart, set[int]]] = {}
        self.done: dict[int, Wish] = {}

    def runs(self) -> list[RunStart]:
        return [*self.starting.values(), *(start for start, _ in self.begun.values())]

    def request(self) -> None:
        wish = Wish(self.chance.choice(list(self.builders)), self.chance.choice(["", "", "r1", "r2"]))
        number = len(self.requests) + 1
        self.requests[number] = wish
        self.pending.setdefault(wish, set()).add(number)
        if not self.scheduler.wants(wish):
            self.scheduler.want(wish, self.builders[wish.builder])

    def schedule(self) -> None:
        busy = {(start.wish.builder, start.slave) for start in self.runs()}
        idle = {
            slave: [name for name, slaves in self.builders.items() if slave in slaves and (name, slave) not in busy]
            for slave in self.attached
        }
        for start in self.scheduler.start(idle, self.now):
            builder = start.wish.builder
            assert start.slave in self.builders[builder], "a slave that the builder may not run on"
            assert start.slave in self.attached
            assert (builder, start.slave) not in busy, "a builder twice on one slave"
            assert not any(other.wish == start.wish for other in self.starting.values()), "two that may take it"
            busy.add((builder, start.slave))
            self.starting[start.run] = start
        for slave, most in self.most.items():
            assert most is None or sum(start.slave == slave for start in self.runs()) <= most, "too many on a slave"
        assert {start.run for start in self.scheduler.running} == self.starting.keys() | self.begun.keys()

    def take(self, wish: Wish) -> set[int]:
        """Return the requests that a run which begins takes, as the store gives them."""
        return self.pending.pop(wish, set())

    def build(self, requests: set[int], wish: Wish) -> None:
        for request in requests:
            assert request not in self.done, "a request built twice"
            assert self.requests[request] == wish, "a request built as something else"
            self.done[request] = wish

    def begin(self) -> None:
        """Let a slave take a run, or not."""
        if self.starting:
            run = self.chance.choice(list(self.starting))
            start = self.starting.pop(run)
            if start.slave not in self.attached or self.chance.random() < 0.2:
                if self.scheduler.is_last(run, None):
                    # A build that says so takes the requests.
                    self.build(self.take(start.wish), start.wish)
                    self.scheduler.forget([start.wish])
                self.scheduler.over(run, None, self.now)
                return
            self.begun[run] = start, self.take(start.wish)
            self.scheduler.forget([start.wish])
            self.scheduler.begun(run)

    def end(self, result: Result | None = None) -> None:
        if self.begun:
            self.end_run(self.chance.choice(list(self.begun)), result or self.chance.choice([*Result]))

    def end_run(self, run: int, result: Result) -> None:
        start, taken = self.begun.pop(run)
        if result is Result.RETRY and not self.scheduler.is_last(run, result):
            self.pending.setdefault(start.wish, set()).update(taken)
        else:
            self.build(taken, start.wish)
        self.scheduler.over(run, result, self.now)

    def lose(self) -> None:
        """Lose a slave, with all that runs on it, or let one come."""
        slave = self.chance.choice(self.slaves)
        if slave not in self.attached:
            self.attached.add(slave)
            return
        self.attached.discard(slave)
        for run in [run for run, (start, _) in self.begun.items() if start.slave == slave]:
            self.end_run(run, Result.RETRY)

    def wait(self) -> None:
        deadline = self.scheduler.deadline(self.now)
        self.now = self.now + self.chance.random() if deadline is None else deadline

    def step(self) -> None:
        self.chance.choice([self.request, self.begin, self.begin, self.end, self.end, self.lose, self.wait])()
        self.schedule()

    def finish(self) -> None:
        """Let everything go well from now on, and check that nothing is left."""
        self.attached = set(self.slaves)
        for _ in range(1000):
            self.schedule()
            if not self.runs() and not self.scheduler.waiting:
                break
            while self.starting:
                self.begin()
            while self.begun:
                self.end(Result.SUCCESS)
            self.wait()
        assert not any(self.pending.values()), "requests that no build took"
        assert self.done == self.requests, "requests that got lost"
        assert self.scheduler.deadline(self.now) is None


def play(seed: int) -> int:
    """Run one random schedule; return the number of its requests."""
    world = World(random.Random(seed))
    for _ in range(world.chance.randint(1, 60)):
        world.step()
    world.finish()
    return len(world.requests)


def play_all(count: int) -> int:
    """Run the first random schedules; return the number of all requests."""
    return sum(play(seed) for seed in range(count))


def test_random_schedules() -> None:
    assert play_all(SCHEDULES) > SCHEDULES


@pytest.mark.parametrize("break_rule", ["limit", "twice", "lost", "merged"])
def test_a_scheduler_that_breaks_a_rule_is_found(break_rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The random schedules do fail: each of these mutants is caught."""
    original = Scheduler.over

    def over(self: Scheduler, run: int, result: Result | None, now: float) -> None:
        if break_rule == "lost" and result is Result.RETRY:
            original(self, run, Result.FAILURE, now)
        else:
            original(self, run, result, now)

    monkeypatch.setattr(Scheduler, "over", over)
    if break_rule == "limit":
        monkeypatch.setattr(Scheduler, "__init__", _forgets_limits)
    if break_rule == "twice":
        monkeypatch.setattr(Scheduler, "begun", lambda self, run: None)
        monkeypatch.setattr(Scheduler, "_slave_for", lambda self, wanted, idle, now: wanted.slaves[0])
    if break_rule == "merged":
        monkeypatch.setattr(Scheduler, "want", _merges)
    with pytest.raises((AssertionError, KeyError)):
        play_all(SCHEDULES)


_INIT = Scheduler.__init__


def _forgets_limits(self: Scheduler, most: object, attempts: int | None = None) -> None:
    _INIT(self, {}, attempts)


_WANT = Scheduler.want


def _merges(self: Scheduler, wish: Wish, slaves: Iterable[str]) -> None:
    _WANT(self, Wish(wish.builder), slaves)


if __name__ == "__main__":
    count, began = int(sys.argv[1]), time.monotonic()
    requests = play_all(count)
    print(f"{count} schedules, {requests} requests: every rule held ({time.monotonic() - began:.0f} s)")
