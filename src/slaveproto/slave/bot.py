"""The bot: the object that a master calls about the slave as a whole; in a login it is the slave's mind.

Source: manual page, section "Bot methods"; `bot.py` of buildslave 0.8.4 and `base.py` of buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from slaveproto.commands.registry import SLAVE_VERSION, WORKER_VERSION
from slaveproto.effects import Interrupted, ListDir, MakeDirs, ReadDir, RemoveTree, Script
from slaveproto.errors import CallFailed, CommandError, HostError
from slaveproto.paths import folded
from slaveproto.scripts import failure_of
from slaveproto.slave.builder import SlaveBuilder
from slaveproto.slave.command import RunningCommand
from slaveproto.slave.context import SlaveContext, serve
from slaveproto.slave.dialect import DIALECTS, FIRST
from slaveproto.slave.events import BuildersListed, MasterSaid, SlaveNotice
from slaveproto.slave.reports import CommandEnded, ShutdownAsked
from slaveproto.updates import Dialect
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Answered, Call, Failed
from slaveproto.wire.serving import method_of, parameters
from slaveproto.wire.values import Local, Remote, Value

INFO_DIRECTORY: Final = "info"

LARGEST_INFO: Final = 100_000
"""Bytes of an info file that always fit into one string, whatever becomes of them as text."""


class Bot:
    """The slave as the master sees it. It outlives connections, as its builders do."""

    def __init__(self, context: SlaveContext) -> None:
        self.local = Local("bot")
        self._context = context
        self._builders: dict[str, SlaveBuilder] = {}
        self._by_local: dict[Local, SlaveBuilder] = {}
        self._listed = False
        self._leftover: tuple[str, ...] = ()
        # What does not change of what masters ask, for each kind of master.
        self._known: dict[tuple[str, Dialect], dict[Value, Value]] = {}

    @property
    def builder_names(self) -> tuple[str, ...]:
        """The names of the builders that the present master listed, sorted."""
        return tuple(sorted(self._builders)) if self._listed else ()

    @property
    def busy(self) -> bool:
        """Whether a command runs."""
        return any(isinstance(task, RunningCommand) for task in self._context.pool.tasks)

    def attach(self) -> None:
        """Forget what the last master listed, and its kind: those of the new one will show."""
        self._context.dialect = FIRST
        self._listed = False

    def detach(self, now: float) -> None:
        """Put every builder back, and drop every command."""
        for builder in self._builders.values():
            builder.detach()
        # Not only the builders' present commands: one whose builder was removed may still be on its way to `complete`.
        for task in list(self._context.pool.tasks):
            if isinstance(task, RunningCommand) and task.audible:
                task.drop()
                self._context.pool.tell(task, Interrupted("the connection to the master is lost"), now)

    def handle(self, connection: Connection, call: Call, now: float) -> None:
        """Carry out a call of the master. Each gets exactly one answer, now or when its script is done."""
        kept: list[Remote] = []
        try:
            if call.target is self.local:
                outcome = method_of(_METHODS, call)(self, call, now)
                serve(self._context, connection, call, outcome, now)
            else:
                builder = self._by_local.get(call.target)
                if builder is None:
                    raise CommandError("twisted.spread.pb.Error", f"{call.target.label} was removed")
                builder.handle(connection, call, now)
                kept = builder.kept()
        except CallFailed as error:
            connection.fail(call.id, failure_of(error.kind, str(error), error.parents))
        for remote in call.remotes:
            if remote not in kept and connection.owns(remote):
                connection.release(remote)

    def take_answer(self, event: Answered | Failed, now: float) -> bool:
        """Give the answer to a call of a command to its script; return whether there is such a command."""
        command = self._context.calls.get(event.id)
        if command is None:
            return False
        self._context.pool.tell(command, command.outcome_of(event), now)
        return True

    def command_ended(self, report: CommandEnded) -> None:
        """Pass the end of a command on to its builder, unless that was removed."""
        builder = self._builders.get(report.builder)
        if builder is not None:
            builder.command_ended(report.number)

    def _print(self, call: Call, now: float) -> _Outcome:
        (message,) = parameters(call, "message")
        self._context.announce(MasterSaid(self._context.text(message), None))
        return None

    def _get_version(self, call: Call, now: float) -> _Outcome:
        parameters(call)
        return self._context.plain(self._context.host.version)

    def _get_commands(self, call: Call, now: float) -> _Outcome:
        parameters(call)
        return self._context.plain(self._versions(SLAVE_VERSION))

    def _versions(self, own: str) -> dict[Value, Value]:
        return {name: command.version or own for name, command in self._context.commands.items()}

    def _get_slave_info(self, call: Call, now: float) -> _Outcome:
        parameters(call)
        return self._info(call.method, dict)

    def _get_worker_info(self, call: Call, now: float) -> _Outcome:
        parameters(call)
        self._context.dialect = DIALECTS[call.method]
        return self._info(call.method, self._about_worker)

    def _about_worker(self) -> dict[Value, Value]:
        host = self._context.host
        return {
            **{f"os_{key.lower()}": value for key, value in host.release.items()},
            "numcpus": self._context.config.numcpus or host.cpus,
            "version": host.version,
            "worker_commands": self._versions(WORKER_VERSION),
            "delete_leftover_dirs": self._context.config.delete_leftover_dirs,
        }

    def _info(self, method: str, more: Callable[[], dict[Value, Value]]) -> Script[Value]:
        context = self._context
        try:
            files = yield from ReadDir(self._path(INFO_DIRECTORY))
        except HostError:
            files = {}
        info: dict[Value, Value] = {}
        for name, contents in files.items():
            if len(contents) > LARGEST_INFO:
                context.announce(SlaveNotice(f"{INFO_DIRECTORY}/{name} is too large for the master, left out"))
            else:
                info[context.plain(name)] = context.plain(contents)
        key = method, context.dialect
        if key not in self._known:
            own = context.host.environ
            environ: Value = {name: value for name, value in own.items() if name not in context.unlisted}
            if context.unlisted and not self._known:
                told = (
                    f"the master is told {len(own) - len(context.unlisted)} of {len(own)} variables of the environment"
                )
                context.announce(SlaveNotice(f"{told}; send_environment in the configuration changes that"))
            about = {"environ": environ, "system": context.host.system, "basedir": context.config.basedir, **more()}
            self._known[key] = {context.plain(name): context.plain(value) for name, value in about.items()}
        return info | self._known[key]

    def _set_builder_list(self, call: Call, now: float) -> _Outcome:
        (wanted,) = parameters(call, "wanted")
        if not isinstance(wanted, (list, tuple)):
            raise CommandError("builtins.TypeError", "setBuilderList takes a list")
        listed: dict[str, tuple[Value, str]] = {}
        for entry in wanted:
            match entry:
                case ((bytes() | str()) as name, (bytes() | str()) as directory):
                    # The key goes back in the very kind in which it came: masters look for it by that.
                    text = self._context.command_context("").text("the name of a builder", name)
                    if text in listed:
                        raise CommandError("builtins.ValueError", f"builder {text!r} is listed twice")
                    listed[text] = (name, self._path(directory))
                case _:
                    raise CommandError("builtins.TypeError", "setBuilderList takes pairs of name and directory")
        return self._list_builders(listed, now)

    def _list_builders(self, listed: dict[str, tuple[Value, str]], now: float) -> Script[Value]:
        self._listed = True
        removed = [name for name in self._builders if name not in listed]
        for name in removed:
            builder = self._builders.pop(name)
            del self._by_local[builder.local]
            builder.unlist(now)
        added = [name for name in listed if name not in self._builders]
        for name, (_, directory) in listed.items():
            if name in self._builders:
                self._builders[name].directory = directory
            else:
                builder = SlaveBuilder(name, directory, self._context)
                self._builders[name] = self._by_local[builder.local] = builder
        answer: dict[Value, Value] = {key: self._builders[name].local for name, (key, _) in listed.items()}
        return self._make_directories([directory for _, directory in listed.values()], added, removed, answer)

    def _make_directories(
        self, directories: list[str], added: list[str], removed: list[str], answer: dict[Value, Value]
    ) -> Script[Value]:
        for directory in directories:
            try:
                yield from MakeDirs(directory)
            except HostError as error:
                text = f"the directory {directory} of a builder cannot be made: {error.strerror}"
                self._context.announce(SlaveNotice(f"{text}; the master cannot use this slave"))
                raise
        posix = self._context.posix
        separator = "/" if posix else "\\"
        # One may lie deeper: what is above it belongs to it.
        known = {f"{folded(posix, path)}{separator}" for path in (self._path(INFO_DIRECTORY), *directories)}
        try:
            entries = yield from ListDir(self._context.config.basedir)
        except HostError:
            entries = ()
        places = {name: f"{folded(posix, self._path(name))}{separator}" for name in sorted(entries)}
        leftover = tuple(name for name in places if not any(path.startswith(places[name]) for path in known))
        if added or removed or leftover != self._leftover:
            self._leftover = leftover
            self._context.announce(BuildersListed(tuple(added), tuple(removed), leftover))
        if self._context.config.delete_leftover_dirs:
            for name in leftover:
                yield from self._remove(name)
        return answer

    def _remove(self, leftover: str) -> Script[None]:
        try:
            problems = yield from RemoveTree(self._path(leftover))
        except HostError as error:
            problems = (error.strerror,)
        said = f": {problems[0]}" if problems else ""
        self._context.announce(SlaveNotice(f"the directory {leftover} of no builder is removed{said}"))

    def _shutdown(self, call: Call, now: float) -> _Outcome:
        parameters(call)
        self._context.reports.append(ShutdownAsked())
        return None

    def _path(self, directory: Value) -> str:
        return self._context.command_context(self._context.config.basedir).path(directory)


_Outcome: TypeAlias = "Value | Script[Value]"

_METHODS: Final[dict[str, Callable[[Bot, Call, float], _Outcome]]] = {
    "print": Bot._print,
    "getVersion": Bot._get_version,
    "getCommands": Bot._get_commands,
    "getSlaveInfo": Bot._get_slave_info,
    "getWorkerInfo": Bot._get_worker_info,
    "setBuilderList": Bot._set_builder_list,
    "shutdown": Bot._shutdown,
}
