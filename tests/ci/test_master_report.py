"""What people read of a master's events."""

from __future__ import annotations

import pytest

from slaveproto.ci.show.master_report import INTERVAL, MOST_LINES, MOST_REMEMBERED, MasterReport
from slaveproto.master.changes import Change
from slaveproto.master.events import (
    BuildersChanged,
    BuildStarted,
    ChangeReceived,
    LoginFailed,
    MasterEvent,
    MasterNotice,
    ShutdownWanted,
    SlaveAttached,
    SlaveDetached,
    SlaveInfo,
)

INFO = SlaveInfo("", "", "", "0.8.14", "posix", "/b", 2, {}, {}, {})


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (SlaveAttached("ex", "1.2.3.4:5", INFO, ("a", "b")),
         "slave ex attached from 1.2.3.4:5, 0.8.14; builders: a, b"),
        (SlaveDetached("ex", "lost"), "slave ex detached: lost"),
        (BuildersChanged("ex", ()), "slave ex has other builders: none"),
        (ShutdownWanted("ex"), "slave ex wants to be shut down"),
        (MasterNotice("x"), "x"),
        (MasterNotice("x", "ex"), "slave ex: x"),
        (BuildStarted(1), None),
        (ChangeReceived("change", Change("joe", (), "", "r1", "", "", "p", "", "", "", None, {}), 1, None),
         "change by joe; revision r1; project p"),
    ],
)  # fmt: skip
def test_words(event: MasterEvent, text: str | None) -> None:
    assert MasterReport().text_of(event, 0.0) == text


def wrong(name: str, port: int = 1) -> LoginFailed:
    return LoginFailed(1, f"1.2.3.4:{port}", name, "no", credentials=True)


def test_wrong_passwords_are_told_once_a_minute_for_each_name() -> None:
    report = MasterReport()
    assert report.text_of(wrong("a"), 100.0) == "login as 'a' from 1.2.3.4:1 failed: no"
    assert report.text_of(wrong("a", 2), 100.1) is None
    assert report.text_of(wrong("b", 3), 100.2) == "login as 'b' from 1.2.3.4:3 failed: no"
    assert report.text_of(wrong("a", 4), 100 + INTERVAL - 0.1) is None
    assert report.text_of(wrong("a", 5), 100 + INTERVAL) == (
        "login as 'a' from 1.2.3.4:5 failed: no (2 more since the last time it was told)"
    )


def test_nonsense_is_told_once_a_minute_for_each_address_and_reason() -> None:
    """A probe of the port does not hide a client that breaks the protocol."""
    report = MasterReport()
    assert report.text_of(LoginFailed(1, "1.2.3.4:5", None, "nonsense"), 0.0) == (
        "login from 1.2.3.4:5 failed: nonsense"
    )
    assert report.text_of(LoginFailed(2, "1.2.3.4:6", None, "nonsense"), 1.0) is None
    assert report.text_of(LoginFailed(2, "1.2.3.4:7", None, "other nonsense"), 1.0) is not None
    assert report.text_of(LoginFailed(3, "1.2.3.5:5", "x", "nonsense"), 2.0) is not None


@pytest.mark.parametrize("why", ["called 'method{}' of it", 'called "it\'s {}"', "byte {}", "called 'a\\'{}'"])
def test_a_client_cannot_make_up_new_reasons(why: str) -> None:
    report = MasterReport()
    told = [report.text_of(LoginFailed(1, "1.2.3.4:5", None, why.format(n)), 1.0) for n in range(10)]
    assert [text is not None for text in told] == [True] + [False] * 9


def test_the_memory_is_bounded() -> None:
    report = MasterReport()
    for number in range(MOST_REMEMBERED + 1):
        now = number / MOST_LINES
        assert report.text_of(wrong(f"n{number}"), now) is not None
        assert report.text_of(wrong(f"n{number}"), now) is None
    assert "more" not in (report.text_of(wrong("n0"), now + INTERVAL) or "")
    assert "1 more" in (report.text_of(wrong(f"n{MOST_REMEMBERED}"), now + INTERVAL) or "")


def test_a_remark_is_told_once_a_minute() -> None:
    report = MasterReport()
    told = [
        report.text_of(MasterNotice(f"1.2.3.4:{number}: refused a call of 'x{number}'", "ex"), number / 10)
        for number in range(100)
    ]
    assert [text for text in told if text is not None] == ["slave ex: 1.2.3.4:0: refused a call of 'x0'"]
    assert report.text_of(MasterNotice("1.2.3.4:5: refused a call of 'x'", "other"), 10.0) is not None
    again = report.text_of(MasterNotice("1.2.3.4:5: refused a call of 'x'", "ex"), INTERVAL)
    assert again is not None
    assert again.endswith("(99 more since the last time it was told)")


def test_strangers_cause_ten_lines_a_second_altogether() -> None:
    """Names, addresses and reasons that are made up do not fill the log."""
    report = MasterReport()
    told = [
        text
        for number in range(60_000)
        for event in (
            LoginFailed(number, f"10.{number % 250}.{number % 249}.1:1", f"name {number}", "no", credentials=True),
            MasterNotice(f"we do not understand {chr(0x4E00 + number % 9999)}"),
        )
        if (text := report.text_of(event, number / 2000)) is not None
    ]
    assert MOST_LINES * 29 <= len(told) <= MOST_LINES * 32
    assert "other lines like this were left out" in told[-1]
