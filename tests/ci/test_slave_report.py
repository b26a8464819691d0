"""Every event as a line."""

from __future__ import annotations

import typing

import pytest

from slaveproto.ci.show.console import one_line
from slaveproto.ci.show.slave_report import text_of
from slaveproto.slave import events
from slaveproto.slave.events import SlaveEvent

LINES: list[tuple[SlaveEvent, str]] = [
    (events.Connecting("::1", 9989), "connecting to ::1:9989"),
    (events.WaitingForMaster(), "connected; waiting for the master to speak"),
    (events.Attached(()), "attached, but the master listed no builders; if it should have, look into its log"),
    (events.Attached(("a",)), "attached; 1 builder: a"),
    (events.Attached(("a", "b")), "attached; 2 builders: a, b"),
    (events.AttachRefused("wrong", 2.0), "the master refused the login: wrong; trying again in 2.0 s"),
    (events.Detached("why", 1.23), "not connected: why; trying again in 1.2 s"),
    (events.Detached("why", None), "not connected: why; not trying again"),
    (events.LineLost("reset", 0), "link lost (reset); builds go on, 0 bytes wait"),
    (events.LineLost("reset", 2_340_000), "link lost (reset); builds go on, 2.3 MB wait"),
    (events.LineBack(4.2), "link back after 4 s"),
    (events.LineBack(240.0), "link back after 4 min"),
    (events.MasterSaid("hi", None), "message from master: hi"),
    (events.MasterSaid("hi", "b"), "message from master to b: hi"),
    (events.BuildersListed((), (), ()), "builders unchanged"),
    (
        events.BuildersListed(("a",), ("b", "c"), ("d",)),
        "new builders: a; removed builders: b, c; directories of no builder: d",
    ),
    (events.CommandStarted("b", "shell", "7"), "b: shell (command 7) started"),
    (events.CommandFinished("b", "shell", "7", 0, None, False), "b: shell (command 7) finished with exit code 0"),
    (events.CommandFinished("b", "mkdir", "7", None, None, False), "b: mkdir (command 7) finished"),
    (events.CommandFinished("b", "shell", "7", None, "Kind: text", False), "b: shell (command 7) failed: Kind: text"),
    (
        events.CommandFinished("b", "shell", "7", -1, None, True),
        "b: shell (command 7) ended, and the master does not hear of it",
    ),
    (events.Leaving("why", None), "leaving: why; no new builds, what runs may end"),
    (events.Leaving("why", 600.0), "leaving: why; no new builds, what runs may end within 600 s"),
    (events.SlaveNotice("note"), "note"),
    (events.Stopped("why", False), "stopping: why"),
    (events.Stopped("why", True), "giving up: why"),
]


@pytest.mark.parametrize(("event", "line"), LINES)
def test_lines(event: SlaveEvent, line: str) -> None:
    assert text_of(event) == line


def test_every_event_has_one() -> None:
    assert {type(event) for event, _ in LINES} == set(typing.get_args(SlaveEvent))


def test_what_cannot_be_printed_is_escaped() -> None:
    assert one_line("a\nb\r\x1b[0m\t\0\u2028é\udc80") == "a\\nb\\r\\x1b[0m\\t\\x00\\u2028é\\udc80"
