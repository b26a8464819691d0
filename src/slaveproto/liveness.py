"""Signs of life of a peer, by which a dead one is told from a slow one.

Rules.

* Any byte of the peer's is a sign of life, also one of a message that is not complete.
* After a silence a session asks a question. As long as the peer's system goes on to acknowledge what was sent up to
  that question, it is under way, and that is a sign of life, too: on a slow link, megabytes may have to arrive first.
* What was sent behind the question does not count. A system acknowledges for a program that is frozen or hangs, as long
  as its buffers have room.
"""

from __future__ import annotations

from enum import auto
from typing import Final

from slaveproto.machine import Symbol

LOOKS: Final = 50
"""Looks at how far a question has come, in the time that its answer may take."""


class Probe(Symbol):
    """Things to do about a peer that says nothing: nothing yet, ask it, or look how far the question has come."""

    WAIT = auto()
    ASK = auto()
    LOOK = auto()


class Liveness:
    """Signs of life on one connection. Times are in seconds of the session's clock.

    Args:
        now: the time at which the connection began.
    """

    # A master has thousands.
    __slots__ = ("_arrived", "_before", "_end", "sign", "spoke", "taken")

    def __init__(self, now: float) -> None:
        self.sign = now
        """The time of the last sign of life."""
        self.spoke = now
        """The same, but for answers to questions: a peer that gives these could have given others before."""
        self.taken = 0
        """Bytes that the runner has taken to send them."""
        self._before = now
        self._end: int | None = None
        self._arrived = 0

    @property
    def asked(self) -> bool:
        """Whether a question was asked and nothing came since then."""
        return self._end is not None

    @property
    def under_way(self) -> bool:
        """Whether the question may not have arrived yet."""
        return self._end is not None and self._arrived < self._end

    def heard(self, now: float) -> None:
        """Note that bytes came."""
        self._before = self.spoke
        self.sign = self.spoke = now
        self._end = None

    def answered(self) -> None:
        """Note that what was heard last was the answer to the question."""
        self.spoke = self._before

    def probe(self, keepalive: float, silence: float, now: float) -> tuple[Probe, float]:
        """Return what to do now, and when to see to it again.

        Args:
            keepalive: seconds without a sign of life until a question is asked.
            silence: seconds that its answer may take.
            now: the time.
        """
        if not self.asked and self.sign + keepalive > now:
            return Probe.WAIT, self.sign + keepalive
        again = now + silence / LOOKS
        if not self.asked:
            return Probe.ASK, again
        return Probe.LOOK if self.under_way else Probe.WAIT, again

    def ask(self, unsent: int) -> None:
        """Note that a question is the last of `unsent` bytes that the runner has not taken yet."""
        self._end = self.taken + unsent
        self._arrived = -1

    def look(self, unacknowledged: int, now: float) -> None:
        """Note how many of the bytes that the runner has taken the peer's system has not acknowledged."""
        if self._end is None:
            return
        arrived = min(self.taken - unacknowledged, self._end)
        if arrived > self._arrived:
            self._arrived = arrived
            self.sign = self.spoke = now
