"""Interning of what slaves say of themselves, so that thousands of similar slaves share one copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slaveproto.master.events import SlaveInfo
from slaveproto.master.info import NOTHING_SAID, read_info
from slaveproto.wire.values import Value

MOST: Final = 4096
"""Texts that are known."""

LONGEST: Final = 256
"""Characters of a text that is worth it."""

_PLAIN: Final = frozenset({str, bytes, int, bool, type(None)})


class Interner:
    """Texts that slaves said before, as far as they fit. Some may belong to no slave any more."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._last = NOTHING_SAID

    def read(self, told: Value, commands: Value, version: Value) -> SlaveInfo:
        """Return what `read_info` returns, made of what is known already as far as that goes; raises as it does."""
        last = self._last
        info = read_info(told, commands, version, last)
        self._last = SlaveInfo(
            admin=self._text(info.admin),
            host=self._text(info.host),
            access_uri=self._text(info.access_uri),
            version=self._text(info.version),
            system=self._text(info.system),
            basedir=info.basedir,
            cpus=info.cpus,
            environ=self._mapping(info.environ, last.environ),
            commands=self._mapping(info.commands, last.commands),
            other=self._other(info.other, last.other),
        )
        return self._last

    def _mapping(self, texts: Mapping[str, str], last: Mapping[str, str]) -> Mapping[str, str]:
        if texts is last:
            return last
        return {self._text(name): self._text(text) for name, text in texts.items()}

    def _other(self, values: Mapping[str, Value], last: Mapping[str, Value]) -> Mapping[str, Value]:
        # What is equal need not be the same: 1, True and 1.0.
        if values == last and all(
            type(value) in _PLAIN and type(value) is type(last[name]) for name, value in values.items()
        ):
            return last
        return {
            self._text(name): self._text(value) if isinstance(value, str) else value for name, value in values.items()
        }

    def _text(self, text: str) -> str:
        if len(text) > LONGEST:
            return text
        if len(self._texts) == MOST:
            self._texts.clear()
        return self._texts.setdefault(text, text)
