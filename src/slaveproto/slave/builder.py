"""A slave builder: what the master calls to have commands run in one directory.

Source: manual page, section "slave-side SlaveBuilder methods"; `bot.py` of buildslave 0.8.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from slaveproto.commands.registry import make_script
from slaveproto.effects import Interrupted
from slaveproto.errors import CommandError
from slaveproto.machine import Machine
from slaveproto.slave.command import RunningCommand
from slaveproto.slave.context import SlaveContext
from slaveproto.slave.events import CommandStarted, MasterSaid
from slaveproto.slave.states import SLAVE_BUILDER, SlaveBuilderEvent
from slaveproto.updates import Dialect, UpdateBuffer
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Call
from slaveproto.wire.serving import method_of, parameters
from slaveproto.wire.values import Local, Remote, remotes_in

_UNKNOWN_COMMAND: Final = {
    Dialect.BYTES: ("buildslave.bot.UnknownCommand", "unrecognized SlaveCommand {name!r}"),
    Dialect.TEXT: ("buildbot_worker.base.UnknownCommand", "(command {id}): unrecognized WorkerCommand {name!r}"),
}


class SlaveBuilder:
    """A builder that the master named. It outlives connections.

    Args:
        name: as text.
        directory: absolute.
        site: the slave.
    """

    def __init__(self, name: str, directory: str, site: SlaveContext) -> None:
        self.name = name
        self.directory = directory
        self.local = Local(f"builder {name}")
        self._site = site
        self._machine = Machine(SLAVE_BUILDER)
        # The master's twin of this builder, held only so that its count stays above zero, as the master expects.
        self._master: tuple[Connection, Remote] | None = None
        self._step: RunningCommand | None = None

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Carry out a call of the master and answer it.

        Raises:
            CommandError: it cannot be carried out; nothing was answered.
            RemoteProtocolError: it is not possible in this state; nothing was answered.
        """
        method_of(_METHODS, call)(self, connection, call, now)

    def detach(self) -> None:
        """The connection is over: the builder is free again."""
        self._machine.fire(SlaveBuilderEvent.DETACH)
        self._release_master()
        self._step = None

    def unlist(self, now: float) -> None:
        """The master does not want the builder any more. What runs is told to end, and does complete."""
        self._machine.fire(SlaveBuilderEvent.UNLIST)
        self._release_master()
        if self._step is not None:
            self._interrupt(self._step, "the builder was removed", now)
        self._step = None

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
        self._site.announce(MasterSaid(self._site.text(message), self.name))
        connection.answer(call.id)

    def _start_build(self, connection: Connection, call: Call, now: float) -> None:
        parameters(call)
        self._machine.fire(SlaveBuilderEvent.START_BUILD)
        connection.answer(call.id)

    def _start_command(self, connection: Connection, call: Call, now: float) -> None:
        listener, command_id, command, arguments = parameters(call, "stepref", "stepId", "command", "args")
        site = self._site
        number, name = site.text(command_id), site.text(command)
        if not isinstance(listener, Remote) or not isinstance(arguments, dict):
            raise CommandError("builtins.TypeError", "startCommand takes a reference, two texts and a dictionary")
        if name not in site.commands:
            kind, text = _UNKNOWN_COMMAND[site.dialect]
            raise CommandError(kind, text.format(id=number, name=name))
        named = {site.text(key): value for key, value in arguments.items()}
        script = make_script(name, named, site.context(self.directory), site.commands)
        # A master of ours takes the bytes of processes as they are.
        spoken = Dialect.BYTES if named.get("raw_output") is True else site.dialect
        self._machine.fire(SlaveBuilderEvent.START_COMMAND)
        self._drop("left over when the next command came", now)
        step = RunningCommand(
            owner=self,
            command=name,
            command_id=number,
            script=script,
            connection=connection,
            listener=listener,
            others=[remote for remote in remotes_in(*named.values()) if remote is not listener],
            updates=UpdateBuffer(spoken, site.config.encoding),
            announcements=site.announcements,
            now=now,
        )
        self._step = step
        connection.answer(call.id)
        site.announce(CommandStarted(self.name, name, number))
        site.pool.start(step, now)

    def _interrupt_command(self, connection: Connection, call: Call, now: float) -> None:
        _, why = parameters(call, "stepId", "why")
        self._machine.fire(SlaveBuilderEvent.INTERRUPT_COMMAND)
        connection.answer(call.id)
        if self._step is not None:
            self._interrupt(self._step, self._site.text(why), now)

    def _shutdown(self, connection: Connection, call: Call, now: float) -> None:
        parameters(call)
        connection.answer(call.id)
        self._site.told_to_stop = True

    def _interrupt(self, step: RunningCommand, why: str, now: float) -> None:
        step.interrupt()
        self._site.pool.tell(step, Interrupted(why), now)

    def _drop(self, why: str, now: float) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.drop()
            self._site.pool.tell(step, Interrupted(why), now)

    def kept(self) -> list[Remote]:
        """The master's objects that are still needed here."""
        master = [self._master[1]] if self._master is not None else []
        return master + (self._step.references if self._step is not None else [])

    def step_finished(self, step: RunningCommand) -> None:
        """A step is at its end; it may be one that we dropped before."""
        if self._step is step:
            self._step = None
            self._machine.fire(SlaveBuilderEvent.COMPLETE)


_METHODS: Final[dict[str, Callable[[SlaveBuilder, Connection, Call, float], None]]] = {
    "setMaster": SlaveBuilder._set_master,
    "print": SlaveBuilder._print,
    "startBuild": SlaveBuilder._start_build,
    "startCommand": SlaveBuilder._start_command,
    "interruptCommand": SlaveBuilder._interrupt_command,
    "shutdown": SlaveBuilder._shutdown,
}
