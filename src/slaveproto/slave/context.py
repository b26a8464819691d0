"""What the bot and its builders share: whom they work for, and with what."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import Command
from slaveproto.effects import Script
from slaveproto.scripts import Task, TaskPool
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import SlaveEvent
from slaveproto.updates import Dialect, plain
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import answer
from slaveproto.wire.values import Value


@attrs.define
class SlaveContext:
    """The surroundings of one slave.

    Args:
        config: who the slave is.
        host: what it runs on.
        commands: what the master may start.
        pool: runs the scripts.
        announcements: where people are told what happens.
        dialect: how the present master reads text.
        told_to_stop: whether the master asked the slave to go.
    """

    config: SlaveConfig
    host: HostInfo
    commands: Mapping[str, Command]
    pool: TaskPool
    announcements: deque[SlaveEvent]
    dialect: Dialect = Dialect.BYTES
    told_to_stop: bool = False

    @property
    def posix(self) -> bool:
        """Whether the host is POSIX."""
        return self.host.system != "nt"

    def announce(self, event: SlaveEvent) -> None:
        """Tell people."""
        self.announcements.append(event)

    def plain(self, value: Value) -> Value:
        """Return `value` with its strings in the kind that the master reads."""
        return plain(value, self.dialect, self.config.encoding)

    def text(self, value: Value) -> str:
        """Return what people read of a value that should be text."""
        if isinstance(value, bytes):
            return value.decode(self.config.encoding, "backslashreplace")
        return value if isinstance(value, str) else f"({type(value).__name__})"

    def context(self, directory: str) -> CommandContext:
        """Return what a command in `directory` needs to know."""
        config = self.config
        return CommandContext(directory, self.host.environ, self.dialect, config.encoding, config.use_pty, self.posix)


class Serving(Task):
    """A call of the master whose answer takes the host's help."""

    def __init__(self, script: Script[Value], connection: Connection, call_id: int) -> None:
        super().__init__(script)
        self._connection = connection
        self._call_id = call_id

    def finished(self, now: float) -> None:
        """Answer, if anybody still waits."""
        if self._connection.is_open:
            answer(self._connection, self._call_id, self.result if self.failure is None else self.failure)


def serve(site: SlaveContext, connection: Connection, call: Call, outcome: Value | Script[Value], now: float) -> None:
    """Answer a call, at once or when its script is done."""
    if isinstance(outcome, Generator):
        site.pool.start(Serving(outcome, connection, call.id), now)
    else:
        answer(connection, call.id, outcome)
