"""Knowledge of the two ends: what they let see of their generation. Until it shows, it is not known.

Rules. A master of 0.9 or later asks for `getWorkerInfo`, one before that for `getSlaveInfo` without having done so. A
name that is a byte string comes from Python 2, a text from Python 3. A slave is what answers; the version of its
command `shell` tells releases apart. Nothing else is concluded.

Source: `bot.py` of buildslave 0.8.4 to 0.8.14, `base.py` and `pb.py` of buildbot-worker 0.9.0 to 4.3.0; `buildslave.py`
of Buildbot 0.8.4p1, `worker/protocols/pb.py` of 4.3.0.
"""

from __future__ import annotations

from typing import Final

from slaveproto.mend.events import Side
from slaveproto.mend.jellied import has_byte_keys, has_text_keys, in_utf8, is_text, item, items, said, valid
from slaveproto.wire.banana import Expression

OF_WORKERS: Final = (3, 0)
"""Version of the commands since which their arguments speak of workers."""

TEXT_INSIDE: Final = (3, 1)
"""Version of the commands since which a worker on Python 2, too, makes text of all that it is sent."""

_STREAMS: Final = (b"stdout", b"stderr", b"header")
_MOST_TAILS: Final = 1000
_LONGEST_NAME: Final = 1000


class Known:
    """Knowledge of a slave and its master."""

    __slots__ = ("asked_slave_info", "asked_worker_info", "commands", "posix", "python3", "tails")

    def __init__(self) -> None:
        self.python3: dict[Side, bool] = {}
        self.asked_worker_info = False
        self.asked_slave_info = False
        # The version of the slave's `shell`; empty until it told.
        self.commands: tuple[int, ...] = ()
        self.posix = True
        # Beginnings of characters at the end of what a command wrote, by its object and stream.
        self.tails: dict[tuple[int, bytes], bytes] = {}

    @property
    def old_master(self) -> bool:
        """Whether the master is one before 0.9."""
        return self.asked_slave_info and not self.asked_worker_info

    @property
    def worker(self) -> bool:
        """Whether the slave is a worker, of 0.9 or later."""
        return self.commands >= OF_WORKERS

    @property
    def reads_bytes(self) -> bool:
        """Whether the slave is one that may not be sent text: any before 0.9, and 0.9.0 on Python 2."""
        return self.python3.get(Side.SLAVE) is False and () < self.commands < TEXT_INSIDE

    def hear_call(self, side: Side, method: bytes, arguments: Expression, keywords: Expression) -> None:
        """Learn from a call."""
        if side is not Side.MASTER:
            return
        if method == b"getWorkerInfo":
            self.asked_worker_info = True
        elif method == b"getSlaveInfo":
            self.asked_slave_info = True
        elif method == b"print" and type(arguments) is list:
            words = (*arguments[1:], *[key for key, _ in items(keywords)])
            if any(is_text(word) for word in words):
                self.python3[side] = True
            elif any(type(word) is bytes for word in words):
                self.python3[side] = False

    def hear_answer(self, side: Side, method: bytes, value: Expression) -> None:
        """Learn from the answer to a call."""
        if side is not Side.SLAVE:
            return
        if method in (b"getSlaveInfo", b"getWorkerInfo", b"getCommands"):
            if has_byte_keys(value):
                self.python3[side] = False
            elif has_text_keys(value):
                self.python3[side] = True
            system = item(value, b"system")
            if system is not None:
                self.posix = said(system) != b"nt"
            commands = value if method == b"getCommands" else item(value, b"worker_commands")
            version = None if commands is None else item(commands, b"shell")
            self.commands = _numbers(said(version) if version is not None else None) or self.commands

    def hear_failure(self, side: Side, state: Expression) -> None:
        """Learn from a failure, unless more is known than it can tell: its keys may be those of another Python."""
        if side not in self.python3 and (has_byte_keys(state) or has_text_keys(state)):
            self.python3[side] = not has_byte_keys(state)

    def readable_updates(self, luid: int, updates: Expression) -> Expression:
        """Return the argument of `update` with all words in UTF-8.

        A character whose bytes come in two updates is kept together: the beginning waits for the rest.
        """
        if type(updates) is not list:
            return updates
        out: list[Expression] = [updates[0]]
        for update in updates[1:]:
            data = update[1] if type(update) is list and len(update) > 1 else None
            if type(update) is list and type(data) is list and data[:1] == [b"dictionary"]:
                pairs = [
                    self._readable_pair(luid, pair) if type(pair) is list and len(pair) == 2 else pair
                    for pair in data[1:]
                ]
                out.append([update[0], [b"dictionary", *pairs], *update[2:]])
            else:
                out.append(in_utf8(update))
        return out

    def _readable_pair(self, luid: int, pair: list[Expression]) -> list[Expression]:
        key, value = pair
        name = said(key)
        if name in _STREAMS and name is not None and type(value) is bytes:
            return [key, self._joined(luid, name, value)]
        if name == b"log" and type(value) is list and len(value) == 3 and value[0] in (b"tuple", b"list"):
            log = said(value[1])
            if log is not None and len(log) <= _LONGEST_NAME and type(value[2]) is bytes:
                return [key, [value[0], in_utf8(value[1]), self._joined(luid, b"log " + log, value[2])]]
        return [in_utf8(key), in_utf8(value)]

    def _joined(self, luid: int, stream: bytes, data: bytes) -> bytes:
        data = self.tails.pop((luid, stream), b"") + data
        cut = _begun(data)
        if cut and len(self.tails) < _MOST_TAILS:
            self.tails[luid, stream] = data[-cut:]
            data = data[:-cut]
        return valid(data)

    def forget(self, luid: Expression) -> None:
        """Forget the beginnings of characters of a command whose object was released."""
        for key in [key for key in self.tails if key[0] == luid]:
            del self.tails[key]

    def left_over(self, luid: int) -> list[Expression]:
        """Return updates with the beginnings of characters that were never completed, and forget them."""
        names = [stream for number, stream in self.tails if number == luid]
        updates: list[Expression] = []
        for name in names:
            data = valid(self.tails.pop((luid, name)))
            log = name.removeprefix(b"log ")
            pair: Expression = [name, data] if name in _STREAMS else [b"log", [b"tuple", log, data]]
            updates.append([b"list", [b"dictionary", pair], 0])
        return updates


def _begun(data: bytes) -> int:
    """Return how many bytes at the end begin a character that more bytes would complete; 0 if none does."""
    for size in range(1, min(3, len(data)) + 1):
        byte = data[-size]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return size if size < needed and byte < 0xF5 else 0
        if byte < 0x80:
            return 0
    return 0


def _numbers(version: bytes | None) -> tuple[int, ...]:
    if version is None or len(version) > 100:
        return ()
    try:
        return tuple([int(part) for part in version.split(b".")])
    except ValueError:
        return ()
