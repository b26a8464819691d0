"""The update stream of one command: it joins, splits and decodes, and says when updates leave.

Rules. The order of streams is kept. No value exceeds what a peer reads. To a master that reads text, no character is
ever split between two updates and every value is valid; to one that reads bytes, the bytes are the process's own.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from slaveproto.wire.values import Value

FULL: Final = 64 * 1024
"""Bytes of pending text that leave at once."""

LARGEST: Final = FULL + 1024
"""Most bytes of one value, text in UTF-8. What is read at once is one value.

A 4.3 master cuts off the end of a line of which more than 64 KiB are left when it is compressed. The longest line that
it makes of one value are these bytes behind 4096 characters of the value before.
"""

DELAY: Final = 0.1
"""Seconds that the first piece of output waits for company."""

INTERVAL: Final = 1.0
"""Seconds per update call that a command may use in the long run, beyond full ones."""

BURST: Final = 5
"""Update calls that a command may use at once after a pause."""


LEFT_OUT: Final = "left_out"
"""The update, of our slave to our master, with the number of entries that an uploaded directory is without."""


class Dialect(Enum):
    """The kind of text that a peer reads: 0.8 takes bytes as they are, later ones die of invalid UTF-8."""

    BYTES = auto()
    TEXT = auto()


def encoded(text: str, encoding: str) -> bytes:
    """Return the bytes of text that is shown to people; what `encoding` cannot express is replaced."""
    try:
        return text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError:
        return text.encode(encoding, "replace")


def plain(value: Value, dialect: Dialect, encoding: str) -> Value:
    """Return `value` with every string in the kind that `dialect` reads; characters that fail are replaced."""
    if isinstance(value, str):
        raw = encoded(value, encoding)
        return raw if dialect is Dialect.BYTES else raw.decode(encoding, "replace")
    if isinstance(value, bytes):
        return value if dialect is Dialect.BYTES else value.decode(encoding, "replace")
    if isinstance(value, dict):
        return {plain(k, dialect, encoding): plain(v, dialect, encoding) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(item, dialect, encoding) for item in value]
    if isinstance(value, tuple):
        return tuple(plain(item, dialect, encoding) for item in value)
    return value


class UpdateBuffer:
    """Collects the updates of one command until they are due.

    Args:
        dialect: how the master reads text.
        encoding: of what processes write.
    """

    def __init__(self, dialect: Dialect, encoding: str) -> None:
        self._dialect = dialect
        self._encoding = encoding
        self._decoders: dict[tuple[str, bytes | str], codecs.IncrementalDecoder] = {}
        # Pending updates in order: the stream and its pieces, or a finished dictionary.
        self._pending: list[tuple[tuple[str, bytes | str], list[bytes] | list[str]] | dict[Value, Value]] = []
        self._size = 0
        self._since: float | None = None
        self._muted = False
        # When the last of the calls made so far is paid for, at one per INTERVAL; full ones are free.
        self._paid_until = float("-inf")

    @property
    def size(self) -> int:
        """Bytes of pending text, roughly."""
        return self._size

    @property
    def deadline(self) -> float | None:
        """The time when the pending updates are to leave; None if nothing is pending."""
        if self._since is None:
            return None
        if self._size >= FULL:
            return self._since
        return max(self._since + DELAY, self._paid_until - (BURST - 1) * INTERVAL)

    def discard(self) -> None:
        """Forget what is pending and what will come: the master does not listen any more."""
        self._muted = True
        self.take(0.0)

    def add_text(self, stream: str, text: bytes | str, log: bytes | str, now: float) -> None:
        """Append text to a stream."""
        if self._muted:
            return
        key = (stream, log)
        piece: bytes | str
        if self._dialect is Dialect.BYTES:
            piece = text if isinstance(text, bytes) else encoded(text, self._encoding)
        elif isinstance(text, bytes):
            piece = self._decoder(key).decode(text)
        else:
            piece = encoded(text, self._encoding).decode(self._encoding, "replace")
        self._append(key, piece, now)

    def add_item(self, key: str, value: Value, now: float) -> None:
        """Append an update that is no text. A return code ends all streams."""
        if self._muted:
            return
        if key == "rc":
            self.end_streams(now)
        self._pending.append({self._word(key): plain(value, self._dialect, self._encoding)})
        self._since = now if self._since is None else self._since

    def end_streams(self, now: float) -> None:
        """End all streams: the rest of a character that was cut does not come any more."""
        for stream, decoder in self._decoders.items():
            self._append(stream, decoder.decode(b"", final=True), now)
        self._decoders.clear()

    def take(self, now: float) -> list[dict[Value, Value]]:
        """Return the pending updates, each a dictionary of one key, and forget them."""
        updates: list[dict[Value, Value]] = []
        for entry in self._pending:
            if isinstance(entry, dict):
                updates.append(entry)
                continue
            (stream, log), pieces = entry
            whole = pieces[0][:0].join(pieces)  # type: ignore[arg-type]
            for part in _parts(whole):
                updates.append({self._word(stream): (log, part) if stream == "log" else part})
        if updates and self._size < FULL:
            self._paid_until = max(self._paid_until, now) + INTERVAL
        self._pending.clear()
        self._size = 0
        self._since = None
        return updates

    def _append(self, key: tuple[str, bytes | str], piece: bytes | str, now: float) -> None:
        if not piece:
            return
        last = self._pending[-1] if self._pending else None
        if isinstance(last, tuple) and last[0] == key:
            last[1].append(piece)  # type: ignore[arg-type]
        else:
            self._pending.append((key, [piece]))  # type: ignore[arg-type]
        self._size += len(piece)
        self._since = now if self._since is None else self._since

    def _decoder(self, key: tuple[str, bytes | str]) -> codecs.IncrementalDecoder:
        if key not in self._decoders:
            self._decoders[key] = codecs.getincrementaldecoder(self._encoding)("replace")
        return self._decoders[key]

    def _word(self, word: str) -> bytes | str:
        return word.encode() if self._dialect is Dialect.BYTES else word


def _parts(whole: bytes | str) -> Iterator[bytes | str]:
    """Cut what is too large for one value, but no character."""
    if 4 * len(whole) <= LARGEST:
        yield whole
        return
    raw = whole if isinstance(whole, bytes) else whole.encode("utf-8", "surrogatepass")
    start = 0
    while start < len(raw):
        stop = start + LARGEST
        if isinstance(whole, str):
            while stop < len(raw) and raw[stop] & 0xC0 == 0x80:
                stop -= 1
            yield raw[start:stop].decode("utf-8", "surrogatepass")
        else:
            yield raw[start:stop]
        start = stop
