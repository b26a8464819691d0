"""Row 3, how time grows with the input: our Banana beside Twisted's.

Sizes double. Where Twisted's time is quadratic it takes part only as long as one can wait for it: a size is left out
after one that took longer than `PATIENCE`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import attrs
from twisted.internet.testing import StringTransport
from twisted.spread import banana

from benchmarks.figures import OURS, Comparison, Figure, Options, in_turns, short, times_less
from slaveproto.limits import Limits
from slaveproto.wire.banana import NEED_DATA, Decoder, Encodable, encode

TWISTED: Final = "Twisted"
LIMITS: Final = Limits()
PATIENCE: Final = 1.5
"""Seconds."""
SHORTEST: Final = 0.05
"""Seconds; whatever takes less is repeated."""
PIECE: Final = 65536
"""Bytes that Twisted's reactor reads from a socket at a time."""

_DICTIONARY: Final[Encodable] = [b"dictionary", [b"stdout", [b"unicode", b"8 bytes."]]]
_ARGUMENTS: Final[Encodable] = [b"tuple", [b"list", [b"list", _DICTIONARY, 0]]]
_SMALL: Final[Encodable] = [b"message", 1, 2, b"update", 1, _ARGUMENTS, [b"dictionary"]]


def _encode(expression: Encodable) -> bytes:
    return encode(expression, vocabulary=True, limits=LIMITS)


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def string(kilobytes: float) -> list[bytes]:
    """One string in segments of Ethernet's size."""
    return _cut(_encode(b"x" * int(kilobytes * 1000)), 1460)


def messages(megabytes: float) -> list[bytes]:
    """Update calls."""
    message = _encode(_SMALL)
    return [message * int(megabytes * 1e6 / len(message))]


def elements(count: float) -> list[bytes]:
    """Two lists of small integers in a third one, so many elements in all."""
    half = [number % 100 for number in range(int(count) // 2 - 1)]
    return [_encode([half, half])]


def in_pieces(make: Callable[[float], list[bytes]], size: float) -> list[bytes]:
    """The same as a socket would hand it over."""
    return [piece for data in make(size) for piece in _cut(data, PIECE)]


@attrs.frozen
class Case:
    """Something that grows.

    Args:
        name: for people.
        unit: of its size.
        largest: size.
        doublings: that lead there.
        make: makes the pieces that are fed.
        tiny: the largest size of a smoke run.
        goal: whether it is one of those that have a goal.
    """

    name: str
    unit: str
    largest: float
    doublings: int
    make: Callable[[float], list[bytes]]
    tiny: float
    goal: bool = True

    @property
    def sizes(self) -> list[float]:
        """From small to large."""
        return [self.largest / 2**step for step in range(self.doublings, -1, -1)]


CASES: Final = (
    Case("a string in segments of 1,460 bytes", "KB", 600, 2, string, 12),
    Case("small messages in one buffer", "MB", 100, 10, messages, 0.1),
    Case("two lists in one buffer", "elements", 1_000_000, 5, elements, 10_000),
    Case("small messages in pieces of 64 KiB", "MB", 2, 2, partial(in_pieces, messages), 0.1, goal=False),
    Case("two lists in pieces of 64 KiB", "elements", 1_000_000, 2, partial(in_pieces, elements), 10_000, goal=False),
)


def ours(pieces: Sequence[bytes]) -> int:
    """Decode; return how many expressions came out."""
    decoder = Decoder(LIMITS, vocabulary=True)
    count = 0
    for piece in pieces:
        decoder.feed(piece)
        while decoder.next_expression() is not NEED_DATA:
            count += 1
    return count


class _Counting(banana.Banana):  # type: ignore[misc]
    count = 0

    def expressionReceived(self, expression: object) -> None:
        self.count += 1


def twisted(pieces: Sequence[bytes]) -> int:
    """The same with Twisted."""
    end = _Counting(isClient=False)
    end.makeConnection(StringTransport())
    # Until the profile is chosen it knows no vocabulary.
    end.dataReceived(encode(b"pb", vocabulary=False, limits=LIMITS))
    for piece in pieces:
        end.dataReceived(piece)
    return end.count


def seconds(decode: Callable[[Sequence[bytes]], int], pieces: Sequence[bytes]) -> float:
    """Return the CPU time of one go."""
    start, count = time.process_time(), 0
    while (spent := time.process_time() - start) < SHORTEST:
        assert decode(pieces) > 0
        count += 1
    return spent / count


def rows(options: Options) -> Iterator[Figure]:
    """Row 3."""
    for whole in CASES:
        case = attrs.evolve(whole, largest=whole.tiny, doublings=2) if options.smoke else whole
        found: list[Figure] = []
        contestants = {OURS: ours, TWISTED: twisted}
        for size in case.sizes:
            pieces = case.make(size)
            assert len({decode(pieces) for decode in contestants.values()}) == 1
            runs = in_turns(options.runs, {who: partial(seconds, it, pieces) for who, it in contestants.items()})
            milliseconds = {who: [value * 1000 for value in values] for who, values in runs.items()}
            found.append(Figure(3, f"{short(size)} {case.unit}: {case.name}", "CPU ms", milliseconds, size=size))
            if TWISTED in runs and min(runs[TWISTED]) > PATIENCE:
                del contestants[TWISTED]
        last = max(number for number, figure in enumerate(found) if TWISTED in figure.runs)
        found[last] = attrs.evolve(found[last], comparisons=[times_less(TWISTED, 10 if case.goal else None)])
        yield from found
        yield _doublings(case, found)


def _doublings(case: Case, found: Sequence[Figure]) -> Figure:
    """The doubling that is furthest from twice the time; of the fastest runs, for other programs only make slower."""
    factors = {
        who: [
            min(more.runs[who]) / min(less.runs[who])
            for less, more in itertools.pairwise(found)
            if who in more.runs and who in less.runs
        ]
        for who in (OURS, TWISTED)
    }
    worst = {who: [max(values, key=lambda factor: abs(factor - 2))] for who, values in factors.items()}
    goals = [Comparison(OURS, None, 1.8, 2.2) if case.goal else Comparison(OURS, None)]
    return Figure(3, f"{case.name}: twice as much", "times the time, worst", worst, goals)
