"""Tests of the playbook: it has to notice everything."""

from __future__ import annotations

import pytest

from slaveproto.effects import (
    Begin,
    BeginCall,
    EffectDone,
    Interrupted,
    MakeDirs,
    NextEvent,
    Now,
    Script,
    SendItem,
    SendText,
    SetTimer,
    TimerFired,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.testing import (
    PlayStep,
    after,
    ends,
    ends_with,
    fails,
    play,
    replies,
    sends,
    sends_text,
    tells,
    wants,
)
from slaveproto.wire import Remote


def talker() -> Script[None]:
    new = yield from MakeDirs("/a")
    yield from SendText("header", f"{new}\n")
    yield from SetTimer("late", 2.0)
    yield from SetTimer("soon", 1.0)
    while True:
        event = yield from NextEvent()
        yield from SendItem("event", repr(event))
        if isinstance(event, Interrupted):
            raise CommandError("builtins.ValueError", event.why)
        if event == TimerFired("late"):
            break
    yield from SendItem("now", (yield from Now()))


WELL: tuple[PlayStep, ...] = (
    wants(MakeDirs("/a")),
    replies(True),
    sends_text("header", "True\n"),
    after(1.5),
    sends("event", "TimerFired(key='soon')"),
    after(0.5),
    sends("event", "TimerFired(key='late')"),
    sends("now", 2.0),
    ends(),
)

ILL: tuple[PlayStep, ...] = (
    *WELL[:3],
    tells(Interrupted("enough")),
    sends("event", "Interrupted(why='enough')"),
    ends_with("builtins.ValueError", "enough"),
)


@pytest.mark.parametrize("steps", [WELL, ILL, (*ILL[:-1], ends_with("builtins.ValueError"))])
def test_follows(steps: tuple[PlayStep, ...]) -> None:
    assert play(talker(), *steps).done


@pytest.mark.parametrize("steps", [WELL, ILL])
def test_notices_each_missing_step(steps: tuple[PlayStep, ...]) -> None:
    for n in range(len(steps)):
        with pytest.raises(AssertionError):
            play(talker(), *steps[:n], *steps[n + 1 :])


@pytest.mark.parametrize("steps", [WELL, ILL])
def test_notices_each_step_too_many(steps: tuple[PlayStep, ...]) -> None:
    for n in range(len(steps) + 1):
        for other in (sends("rc", 1), wants(MakeDirs("/b")), replies(None), ends(), ends_with("builtins.OSError")):
            with pytest.raises(AssertionError):
                play(talker(), *steps[:n], other, *steps[n:])


def test_notices_another_failure() -> None:
    with pytest.raises(AssertionError):
        play(talker(), *ILL[:-1], ends_with("builtins.ValueError", "other"))


def test_shows_the_difference() -> None:
    with pytest.raises(AssertionError) as caught:
        play(talker(), wants(MakeDirs("/a")), fails(HostError(13, "no")), sends("rc", 13))
    assert [line for line in str(caught.value).splitlines() if not line.startswith("?")] == [
        "the script does not follow the playbook",
        "  script: MakeDirs(path='/a')",
        "    test: fails with 13 'no'",
        "- script: SendItem(key='rc', value=13)",
        "+ script: Ended(kind='builtins.OSError', message='[Errno 13] no')",
    ]


def test_time_stands_still_unless_passed() -> None:
    run = play(talker(), *WELL[:3])
    assert run.deadline == 1.0
    run.pass_time(0.9)
    assert not run.done
    assert len(run.said) == 2


def test_what_a_script_begins_is_numbered_and_not_waited_for() -> None:
    target = Remote(1)

    def script() -> Script[None]:
        first = yield from Begin(MakeDirs("/a"))
        second = yield from BeginCall(target, "close")
        yield from SendItem("numbers", [first, second])
        yield from SendItem("event", repr((yield from NextEvent())))

    done = EffectDone(1, True)
    play(
        script(),
        wants(Begin(MakeDirs("/a"))),
        wants(BeginCall(target, "close")),
        sends("numbers", [1, 2]),
        tells(done),
        sends("event", repr(done)),
        ends(),
    )
    with pytest.raises(AssertionError, match="does not follow the playbook"):
        play(script(), wants(Begin(MakeDirs("/b"))))
