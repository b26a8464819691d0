"""Patience and bounds of a stream that outlives its carriers."""

from __future__ import annotations

from slaveproto.records import record


@record
class ResumePolicy:
    """Patience and bounds of one end. Each end has its own.

    Args:
        silence: seconds without a byte of the other end, its signs of life included, until a carrier is dead.
        patience: seconds that an absent other end is waited for.
        kept: bytes that are not acknowledged, beyond which the stream is congested.
        window: bytes that the other end may send before the owner takes them.
        handshake: seconds from the opening of a carrier until the other end has proven who it is.
    """

    silence: float = 30.0
    patience: float = 900.0
    kept: int = 32 * 1024 * 1024
    window: int = 4 * 1024 * 1024
    handshake: float = 10.0

    def impatient(self, keepalive: float, silence: float) -> ResumePolicy:
        """Return the same for an owner that takes a silent peer for dead sooner than this.

        Args:
            keepalive: seconds without a byte until the owner would ask for one; 0 for never.
            silence: seconds that the answer might take.
        """
        if not keepalive or keepalive + silence >= self.silence:
            return self
        return ResumePolicy(keepalive + silence, self.patience, self.kept, self.window, self.handshake)
