"""Notices of builds that ended: when there is one, and what it says. Pure.

Rules. A build that will be tried again, or was cancelled, is no news. A change is one between good and bad: a success
and one with warnings are good. The first build of a builder is a change if it is bad.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

from slaveproto.master.results import Result

WHEN: Final = ("change", "failure", "always")

GOOD: Final = frozenset({Result.SUCCESS.word, Result.WARNINGS.word})
_BAD: Final = frozenset({Result.FAILURE.word, Result.EXCEPTION.word})


@attrs.frozen
class Notice:
    """A build that ended.

    Args:
        build: its number.
        builder: its name.
        slave: where it ran.
        result: its word.
        before: the result of the builder's last build that counted; None if there is none.
        why: the reason of the result; empty where a step has it.
        properties: without secrets.
    """

    build: int
    builder: str
    slave: str
    result: str
    before: str | None
    why: str
    properties: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def subject(self) -> str:
        """The news in a line."""
        changed = f", was {self.before}" if self.before is not None and self.before != self.result else ""
        return f"build {self.build} of {self.builder}: {self.result}{changed}"

    @property
    def body(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"event": "build-ended", **attrs.asdict(self)}

    def json(self) -> bytes:
        """Return the body as JSON."""
        return json.dumps(self.body, sort_keys=True).encode()


def counts(result: str) -> bool:
    """Whether a result says how a builder stands."""
    return result in GOOD or result in _BAD


def is_told(when: str, notice: Notice) -> bool:
    """Whether a notice is one for those who want to be told then.

    Args:
        when: one of `WHEN`.
        notice: the news.
    """
    if not counts(notice.result):
        return False
    bad = notice.result in _BAD
    if when == "change":
        return bad if notice.before is None else bad is (notice.before in GOOD)
    return bad or when == "always"
