"""The surroundings that the bot, its builders and their commands share."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping

import attrs

from slaveproto.commands.context import CommandContext
from slaveproto.commands.registry import Command
from slaveproto.effects import Script
from slaveproto.machine import Machine
from slaveproto.scripts import Task, TaskPool
from slaveproto.slave.command import RunningCommand
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.dialect import FIRST
from slaveproto.slave.events import SlaveEvent
from slaveproto.slave.reports import Report
from slaveproto.slave.states import INTAKE, IntakeEvent, IntakeState
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
        reports: where the session is told what happens.
        calls: the commands that wait for an answer of the master, by the connection's number of the call.
        dialect: how the present master reads text.
        last_command: the number of the newest command.
        unlisted: names of the environment's variables that the master is not told.
        intake: whether new builds are taken.
    """

    config: SlaveConfig
    host: HostInfo
    commands: Mapping[str, Command]
    pool: TaskPool
    announcements: deque[SlaveEvent]
    reports: deque[Report] = attrs.field(factory=deque)
    calls: dict[int, RunningCommand] = attrs.field(factory=dict)
    dialect: Dialect = FIRST
    last_command: int = 0
    intake: Machine[IntakeState, IntakeEvent] = attrs.field(factory=lambda: Machine(INTAKE))
    unlisted: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.unlisted = frozenset(name for name in self.host.environ if not self.config.tells(name))

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

    def command_context(self, directory: str, *, python2: bool = False) -> CommandContext:
        """Return what a command in `directory` needs to know.

        Args:
            directory: absolute.
            python2: whether the master runs on Python 2.
        """
        config = self.config
        return CommandContext(
            directory,
            self.host.environ,
            self.dialect,
            config.encoding,
            config.use_pty,
            self.posix,
            python2,
            self.unlisted,
            config.kill_leftovers,
        )


class ServingTask(Task):
    """A call of the master whose answer takes the host's help."""

    def __init__(self, script: Script[Value], connection: Connection, call_id: int) -> None:
        super().__init__(script)
        self._connection = connection
        self._call_id = call_id

    def finished(self, now: float) -> None:
        """Answer, if the connection is still there."""
        if self._connection.is_open:
            answer(self._connection, self._call_id, self.result if self.failure is None else self.failure)


def serve(
    context: SlaveContext, connection: Connection, call: Call, outcome: Value | Script[Value], now: float
) -> None:
    """Answer a call, at once or when its script is done."""
    if isinstance(outcome, Generator):
        context.pool.start(ServingTask(outcome, connection, call.id), now)
    else:
        answer(connection, call.id, outcome)
