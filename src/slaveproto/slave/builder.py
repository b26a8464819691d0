"""A slave builder: what the master calls to have commands run in one directory.

Source: manual page, section "slave-side SlaveBuilder methods"; `bot.py` of buildslave 0.8.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slaveproto.commands.registry import make_script
from slaveproto.effects import Interrupted
from slaveproto.errors import CallFailed, CommandError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.slave.command import RunningCommand
from slaveproto.slave.context import SlaveContext
from slaveproto.slave.dialect import UNKNOWN_COMMAND, UNKNOWN_COMMAND_PARENTS, is_python2, output_dialect
from slaveproto.slave.events import CommandStarted, MasterSaid, SlaveNotice
from slaveproto.slave.reports import BuildBegun, BuildNotTaken, ShutdownAsked
from slaveproto.slave.states import SLAVE_BUILDER, IntakeEvent, SlaveBuilderEvent
from slaveproto.updates import UpdateBuffer
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import method_of, parameters
from slaveproto.wire.values import Local, Remote, remotes_in


class SlaveBuilder:
    """A builder that the master named. It outlives connections.

    Args:
        name: as text.
        directory: absolute.
        context: the slave.
    """

    def __init__(self, name: str, directory: str, context: SlaveContext) -> None:
        self.name = name
        self.directory = directory
        self.local = Local(f"builder {name}")
        self._context = context
        self._machine = Machine(SLAVE_BUILDER)
        # The master's twin of this builder, held only so that its count stays above zero, as the master expects.
        self._master: tuple[Connection, Remote] | None = None
        self._command: RunningCommand | None = None

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Carry out a call of the master and answer it.

        Raises:
            CallFailed: it cannot be carried out, or is not possible in this state; nothing was answered.
        """
        try:
            method_of(_METHODS, call)(self, connection, call, now)
        except RemoteProtocolError as error:
            # A master that lost count is better served by a call that fails than by a lost slave.
            raise CallFailed("twisted.spread.pb.Error", str(error)) from None

    def detach(self) -> None:
        """Become free again, because the connection is over."""
        self._machine.fire(SlaveBuilderEvent.DETACH)
        self._release_master()
        self._command = None

    def unlist(self, now: float) -> None:
        """End, because the master removed the builder; a command that runs is told to end, and does complete."""
        self._machine.fire(SlaveBuilderEvent.UNLIST)
        self._release_master()
        if self._command is not None:
            self._interrupt(self._command, "the builder was removed", now)
        self._command = None

    def _set_master(self, connection: Connection, call: Call, now: float) -> None:
        (master,) = parameters(call, "master")
        self._machine.fire(SlaveBuilderEvent.SET_MASTER)
        self._release_master()
        if isinstance(master, Remote):
            self._master = connection, master
        connection.answer(call.id)

    def _release_master(self) -> None:
        if self._master is not None:
            connection, master = self._master
            connection.release(master)
            self._master = None

    def _print(self, connection: Connection, call: Call, now: float) -> None:
        (message,) = parameters(call, "message")
        self._machine.fire(SlaveBuilderEvent.PRINT)
        self._context.announce(MasterSaid(self._context.text(message), self.name))
        connection.answer(call.id)

    def _start_build(self, connection: Connection, call: Call, now: float) -> None:
        parameters(call)
        try:
            self._context.intake.fire(IntakeEvent.START_BUILD)
        except RemoteProtocolError:
            self._context.reports.append(BuildNotTaken())
            self._context.announce(SlaveNotice(f"{self.name}: refused a new build"))
            raise CallFailed("twisted.spread.pb.Error", "this slave is leaving and takes no new build") from None
        self._machine.fire(SlaveBuilderEvent.START_BUILD)
        connection.answer(call.id)
        self._context.reports.append(BuildBegun())

    def _start_command(self, connection: Connection, call: Call, now: float) -> None:
        listener, number, command, arguments = parameters(call, "stepref", "stepId", "command", "args")
        context = self._context
        command_id, name = context.text(number), context.text(command)
        if not isinstance(listener, Remote) or not isinstance(arguments, dict):
            raise CommandError("builtins.TypeError", "startCommand takes a reference, two texts and a dictionary")
        if name not in context.commands:
            kind, text = UNKNOWN_COMMAND[context.dialect]
            raise CommandError(kind, text.format(id=command_id, name=name), (kind, *UNKNOWN_COMMAND_PARENTS))
        named = {context.text(key): value for key, value in arguments.items()}
        surroundings = context.command_context(self.directory, python2=is_python2(arguments))
        script = make_script(name, named, surroundings, context.commands)
        self._machine.fire(SlaveBuilderEvent.START_COMMAND)
        self._drop("left over when the next command came", now)
        context.last_command += 1
        running = RunningCommand(
            number=context.last_command,
            builder=self.name,
            command=name,
            command_id=command_id,
            script=script,
            connection=connection,
            listener=listener,
            others=[remote for remote in remotes_in(*named.values()) if remote is not listener],
            updates=UpdateBuffer(output_dialect(named, context.dialect), context.config.encoding),
            calls=context.calls,
            announcements=context.announcements,
            reports=context.reports,
            now=now,
        )
        self._command = running
        connection.answer(call.id)
        context.announce(CommandStarted(self.name, name, command_id))
        context.pool.start(running, now)

    def _interrupt_command(self, connection: Connection, call: Call, now: float) -> None:
        _, why = parameters(call, "stepId", "why")
        self._machine.fire(SlaveBuilderEvent.INTERRUPT_COMMAND)
        connection.answer(call.id)
        if self._command is not None:
            self._interrupt(self._command, self._context.text(why), now)

    def _shutdown(self, connection: Connection, call: Call, now: float) -> None:
        parameters(call)
        connection.answer(call.id)
        self._context.reports.append(ShutdownAsked())

    def _interrupt(self, command: RunningCommand, why: str, now: float) -> None:
        command.interrupt()
        self._context.pool.tell(command, Interrupted(why), now)

    def _drop(self, why: str, now: float) -> None:
        command, self._command = self._command, None
        if command is not None:
            command.drop()
            self._context.pool.tell(command, Interrupted(why), now)

    def kept(self) -> list[Remote]:
        """Return the master's objects that are still needed here."""
        master = [self._master[1]] if self._master is not None else []
        return master + (self._command.references if self._command is not None else [])

    def command_ended(self, number: int) -> None:
        """Become free again if the command with this number, which is at its end, is the present one."""
        if self._command is not None and self._command.number == number:
            self._command = None
            self._machine.fire(SlaveBuilderEvent.COMPLETE)


_METHODS: Final[dict[str, Callable[[SlaveBuilder, Connection, Call, float], None]]] = {
    "setMaster": SlaveBuilder._set_master,
    "print": SlaveBuilder._print,
    "startBuild": SlaveBuilder._start_build,
    "startCommand": SlaveBuilder._start_command,
    "interruptCommand": SlaveBuilder._interrupt_command,
    "shutdown": SlaveBuilder._shutdown,
}
