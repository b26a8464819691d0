"""Translation of steps: the commands that a slave is asked to run, and their arguments.

Source: `process/buildstep.py`, `steps/` of Buildbot 0.8.4p1; `process/remotecommand.py`, `steps/` of 4.3.0. The facts
about what a slave of which version takes stand in their `slaveVersionIsOlderThan` and `workerVersionIsOlderThan` calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias, assert_never

import attrs

from slaveproto.errors import CommandError
from slaveproto.master.dialect import SlaveDialect
from slaveproto.master.events import SlaveInfo
from slaveproto.master.info import version_of
from slaveproto.master.steps import (
    LARGEST_BLOCK,
    AnyStep,
    CopyDirectory,
    DownloadFile,
    DownloadString,
    EnvValue,
    Glob,
    ListDirectory,
    MakeDirectory,
    RemoveDirectory,
    RemoveFile,
    Secret,
    Shell,
    StatFile,
    Step,
    UploadDirectory,
    UploadFile,
)
from slaveproto.paths import join_paths
from slaveproto.updates import Dialect, plain
from slaveproto.wire.values import Value

Env: TypeAlias = Mapping[str, EnvValue]

OF_WORKERS: Final = (3, 0)
"""The version of the commands since which their arguments speak of workers, and of text."""


@attrs.frozen
class CommandRequest:
    """One command.

    Args:
        command: its name.
        arguments: as the slave reads them, but for the object of a transfer.
        object_key: the argument that is the object of a transfer, None if there is none.
        notes: for the log: what the slave cannot do of what was asked.
    """

    command: str
    arguments: Mapping[Value, Value]
    object_key: str | None
    notes: tuple[str, ...]


@attrs.frozen
class _Translator:
    info: SlaveInfo
    dialect: SlaveDialect

    @property
    def posix(self) -> bool:
        return self.info.system != "nt"

    def version(self, command: str) -> tuple[int, ...]:
        """Return the version of a command; CommandError if the slave has none of that name."""
        version = version_of(self.info.commands, command)
        if version is None:
            raise CommandError("slaveproto.NoSuchCommand", f"the slave has no command {command!r}")
        return version

    def path(self, step: Step, path: str) -> str:
        """Return a path as the file system commands take it, relative to the builder's directory."""
        return join_paths(self.posix, step.workdir, path)

    def order(
        self,
        command: str,
        arguments: Mapping[str, Value],
        *,
        object_key: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> CommandRequest:
        for name, value in arguments.items():
            _require_sayable(name, value, self.dialect.text)
        readable = plain(dict(arguments.items()), self.dialect.text, "utf-8")
        assert isinstance(readable, dict)
        return CommandRequest(command, readable, object_key, notes)


def commands_for(step: AnyStep, env: Env, info: SlaveInfo, dialect: SlaveDialect) -> tuple[CommandRequest, ...]:
    """Return the commands that a slave has to run, one after the other, for a step.

    Args:
        step: what to do; a subclass of a step type is that step.
        env: the builder's variables; a step's own come over them.
        info: what the slave says of itself.
        dialect: how it is spoken to.

    Raises:
        CommandError: the slave cannot do that.
    """
    slave = _Translator(info, dialect)
    match step:
        case Shell():
            return (_shell(step, env, slave),)
        case MakeDirectory():
            return _make_directory(step, slave)
        case RemoveDirectory():
            return _remove_directory(step, slave)
        case CopyDirectory():
            return _copy_directory(step, slave)
        case RemoveFile():
            return _remove_file(step, slave)
        case StatFile():
            return _stat(step, slave)
        case Glob():
            return _glob(step, slave)
        case ListDirectory():
            return _list_directory(step, slave)
        case UploadFile():
            return _upload_file(step, slave)
        case UploadDirectory():
            return _upload_directory(step, slave)
        case DownloadFile() | DownloadString():
            return _download(step, slave)
        case _:
            assert_never(step)


def _shell(step: Shell, env: Env, slave: _Translator) -> CommandRequest:
    version = slave.version("shell")
    notes = []
    separator = ":" if slave.posix else ";"
    variables = {**env, **step.env}
    changes: dict[Value, Value] = {name: _variable(value, separator) for name, value in variables.items()}
    shows = step.log_environ
    if shows and any(isinstance(value, Secret) for value in variables.values()):
        shows = False
        notes.append("the environment is not shown, for it holds a secret")
    arguments: dict[str, Value] = {
        "command": _command(step, version, slave),
        "workdir": step.workdir,
        "env": changes or None,
        "want_stdout": int(step.want_stdout),
        "want_stderr": int(step.want_stderr),
        "timeout": step.timeout,
        "maxTime": step.max_time,
        "logEnviron": shows,
        "logfiles": {},
    }
    if version == (0,):
        arguments["dir"] = step.workdir
    if step.logfiles:
        if version < (2, 1):
            notes.append("the slave cannot read log files")
        else:
            arguments["logfiles"] = {
                name: {"filename": log.filename, "follow": True} if log.follow else log.filename
                for name, log in step.logfiles.items()
            }
    if version >= OF_WORKERS:
        arguments["usePTY"] = bool(step.use_pty)
        # Ours know it: what a process writes comes as it is. Workers pass over what they do not know, and make text.
        arguments["raw_output"] = True
        if step.kill_leftovers is not None:
            arguments["kill_leftovers"] = step.kill_leftovers
    else:
        if step.kill_leftovers is not None:
            notes.append("the slave knows no kill_leftovers")
        arguments["usePTY"] = "slave-config"
        if step.use_pty is not None:
            if version < (2, 7):
                notes.append("the slave does not let the master choose the terminal")
            else:
                arguments["usePTY"] = step.use_pty
    if step.initial_stdin is not None:
        arguments["initial_stdin"] = _data(step.initial_stdin)
    for key, value, default, since in (
        ("interruptSignal", step.interrupt_signal, "KILL", (2, 15)),
        ("sigtermTime", step.sigterm_time, None, (2, 16)),
        ("max_lines", step.max_lines, None, (3, 3)),
    ):
        if version >= since:
            arguments[key] = value
        elif value != default:
            notes.append(f"the slave knows no {key}")
    return slave.order("shell", arguments, notes=tuple(notes))


def _variable(value: EnvValue, separator: str) -> str | None:
    if isinstance(value, Secret):
        return value.real
    return separator.join(value) if isinstance(value, tuple) else value


def _data(data: bytes | Secret) -> bytes:
    return data.data if isinstance(data, Secret) else data


def _command(step: Shell, version: tuple[int, ...], slave: _Translator) -> Value:
    if isinstance(step.command, str):
        if slave.dialect.any_line or step.command.isascii() or not slave.posix:
            return step.command
        return ["/bin/sh", "-c", step.command]
    words: list[Value] = []
    for word in step.command:
        if isinstance(word, Secret):
            words.append(("obfuscated", word.real, word.shown) if version >= (2, 16) else word.real)
        else:
            words.append(word)
    return words


def _make_directory(step: MakeDirectory, slave: _Translator) -> tuple[CommandRequest, ...]:
    slave.version("mkdir")
    return (slave.order("mkdir", {"dir": slave.path(step, step.dir)}),)


def _remove_directory(step: RemoveDirectory, slave: _Translator) -> tuple[CommandRequest, ...]:
    version = slave.version("rmdir")
    paths = [slave.path(step, path) for path in step.dirs]
    more = _limits(step)
    if len(paths) > 1 and version >= (2, 14):
        return (slave.order("rmdir", {"dir": list(paths), **more}),)
    return tuple(slave.order("rmdir", {"dir": path, **more}) for path in paths)


def _copy_directory(step: CopyDirectory, slave: _Translator) -> tuple[CommandRequest, ...]:
    slave.version("cpdir")
    arguments: dict[str, Value] = {
        "fromdir": slave.path(step, step.source),
        "todir": slave.path(step, step.dest),
        **_limits(step),
    }
    return (slave.order("cpdir", arguments),)


def _limits(step: RemoveDirectory | CopyDirectory) -> dict[str, Value]:
    """Return the limits as the slave takes them; it is not told of one that real masters do not know."""
    return {"timeout": step.timeout, **({} if step.max_time is None else {"maxTime": step.max_time})}


def _remove_file(step: RemoveFile, slave: _Translator) -> tuple[CommandRequest, ...]:
    path = slave.path(step, step.path)
    if version_of(slave.info.commands, "rmfile") is None:
        slave.version("rmdir")
        return (slave.order("rmdir", {"dir": path}),)
    return (slave.order("rmfile", {"path": path}),)


def _stat(step: StatFile, slave: _Translator) -> tuple[CommandRequest, ...]:
    slave.version("stat")
    return (slave.order("stat", {"file": slave.path(step, step.file)}),)


def _glob(step: Glob, slave: _Translator) -> tuple[CommandRequest, ...]:
    slave.version("glob")
    return (slave.order("glob", {"path": slave.path(step, step.pattern)}),)


def _list_directory(step: ListDirectory, slave: _Translator) -> tuple[CommandRequest, ...]:
    slave.version("listdir")
    return (slave.order("listdir", {"dir": slave.path(step, step.dir)}),)


def _block_size(step: UploadFile | UploadDirectory | DownloadFile | DownloadString) -> int:
    # No block at all would look like the end of the file.
    return min(max(step.block_size, 1), LARGEST_BLOCK)


def _upload_file(step: UploadFile, slave: _Translator) -> tuple[CommandRequest, ...]:
    key = "workersrc" if slave.version("uploadFile") >= OF_WORKERS else "slavesrc"
    arguments: dict[str, Value] = {
        key: step.src,
        "workdir": step.workdir,
        "maxsize": step.max_size,
        "blocksize": _block_size(step),
        "keepstamp": step.keep_stamp,
    }
    return (slave.order("uploadFile", arguments, object_key="writer"),)


def _upload_directory(step: UploadDirectory, slave: _Translator) -> tuple[CommandRequest, ...]:
    key = "workersrc" if slave.version("uploadDirectory") >= OF_WORKERS else "slavesrc"
    arguments: dict[str, Value] = {
        key: step.src,
        "workdir": step.workdir,
        "maxsize": step.max_size,
        "blocksize": _block_size(step),
        "compress": step.compress or None,
    }
    return (slave.order("uploadDirectory", arguments, object_key="writer"),)


def _download(step: DownloadFile | DownloadString, slave: _Translator) -> tuple[CommandRequest, ...]:
    key = "workerdest" if slave.version("downloadFile") >= OF_WORKERS else "slavedest"
    arguments: dict[str, Value] = {
        key: step.dest,
        "workdir": step.workdir,
        "maxsize": step.max_size if isinstance(step, DownloadFile) else None,
        "blocksize": _block_size(step),
        "mode": step.mode,
    }
    return (slave.order("downloadFile", arguments, object_key="reader"),)


def _require_sayable(name: str, value: Value, dialect: Dialect) -> None:
    """Raise CommandError for text that would arrive as another one."""
    match value:
        case str():
            try:
                # Bytes that are no UTF-8 come as surrogates; a slave that reads bytes gets them back as they were.
                value.encode("utf-8", "strict" if dialect is Dialect.TEXT else "surrogateescape")
            except UnicodeEncodeError:
                raise CommandError("builtins.ValueError", f"{name} cannot be said in UTF-8") from None
        case bytes() if dialect is Dialect.TEXT:
            try:
                value.decode()
            except UnicodeDecodeError:
                raise CommandError(
                    "builtins.ValueError", f"{name} is not UTF-8, and the slave reads nothing else"
                ) from None
        case dict():
            for key, item in value.items():
                _require_sayable(name, key, dialect)
                _require_sayable(name, item, dialect)
        case list() | tuple():
            for item in value:
                _require_sayable(name, item, dialect)
        case _:
            pass
