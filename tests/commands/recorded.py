"""The `shell` commands of real slaves, out of the recorded sessions."""

from __future__ import annotations

import gzip
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.limits import Limits
from slaveproto.updates import Dialect
from slaveproto.wire import NEED_DATA, Local, Remote, Value
from slaveproto.wire.banana import Decoder, Expression
from slaveproto.wire.jelly import Unjellier


@attrs.define
class RecordedRun:
    """One command: what the master asked for, where it ran, and what the slave sent of it."""

    name: str
    arguments: dict[str, Value]
    context: CommandContext
    updates: list[tuple[str, Value]] = attrs.field(factory=list)

    def header(self) -> str:
        """All of the stream `header`."""
        return "".join(text(value) for key, value in self.updates if key == "header")


def recorded_runs(name: str) -> list[RecordedRun]:
    """Return every command of a recorded session."""
    slave = name.partition("__")[0].partition("-")[2]
    dialect = Dialect.TEXT if slave.startswith("new") else Dialect.BYTES
    calls: dict[Expression, str] = {}
    info: dict[str, Value] = {}
    directories: dict[str, str] = {}
    builders: dict[int | bytes, str] = {}
    runs: dict[int | bytes, RecordedRun] = {}
    for direction, message in _messages(name):
        match direction, message:
            case "m2s", [b"message", int() as number, luid, bytes() as method, _, args, _]:
                calls[number] = method.decode()
                if method == b"setBuilderList":
                    (listed,) = _values(args)
                    assert isinstance(listed, list)
                    directories = {text(name): text(path) for name, path in map(_pair, listed)}
                elif method == b"startCommand":
                    listener, _, command, arguments = _values(args)
                    assert isinstance(listener, Remote)
                    assert isinstance(arguments, dict)
                    assert isinstance(luid, int)
                    base = posixpath.join(text(info["basedir"]), directories[builders[luid]])
                    environ = info["environ"]
                    assert isinstance(environ, dict)
                    own = {text(key): text(value) for key, value in environ.items()}
                    context = CommandContext(base, own, dialect, "utf-8", use_pty=False, posix=True)
                    named = {text(key): value for key, value in arguments.items()}
                    runs[listener.luid] = RecordedRun(text(command), named, context)
            case "s2m", [b"answer", int() as number, answer] if calls.get(number) in _TOLD:
                (value,) = _values([b"tuple", answer])
                assert isinstance(value, dict)
                if calls[number] == "setBuilderList":
                    builders = {r.luid: text(key) for key, r in value.items() if isinstance(r, Remote)}
                else:
                    info = {text(key): item for key, item in value.items()}
            case "s2m", [b"message", _, int() as luid, b"update", _, args, _]:
                (updates,) = _values(args)
                assert isinstance(updates, list)
                for pair in updates:
                    assert isinstance(pair, list)
                    assert isinstance(pair[0], dict)
                    runs[luid].updates += [(text(key), item) for key, item in pair[0].items()]
            case _:
                pass
    return list(runs.values())


_CAPTURES: Final = Path(__file__).parents[1] / "data" / "captures"
_TOLD: Final = ("setBuilderList", "getSlaveInfo", "getWorkerInfo")


def _messages(name: str) -> Iterator[tuple[str, Expression]]:
    decoders = {"m2s": Decoder(Limits(), vocabulary=True), "s2m": Decoder(Limits(), vocabulary=True)}
    lines = gzip.decompress((_CAPTURES / f"{name}.jsonl.gz").read_bytes()).splitlines()
    for line in lines[1:]:
        _, direction, data, *_ = json.loads(line)
        decoder = decoders[direction]
        decoder.feed(bytes.fromhex(data))
        while (expression := decoder.next_expression()) is not NEED_DATA:
            yield direction, expression


class _Objects:
    """Every object is the peer's."""

    def remote(self, luid: int | bytes) -> Remote:
        return Remote(luid)

    def local(self, luid: int | bytes) -> Local | None:
        return None


def _values(args: Expression) -> tuple[Value, ...]:
    value = Unjellier(_Objects()).read(args)
    assert isinstance(value, tuple)
    return value


def _pair(value: Value) -> tuple[Value, ...]:
    assert isinstance(value, tuple)
    return value


def text(value: Value) -> str:
    """Return text of either kind."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    assert isinstance(value, str), value
    return value
