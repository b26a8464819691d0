"""The registry of the commands that a master can start.

A slave imports the module of a family of commands when its master first starts one of them: most slaves need only few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from slaveproto.commands.context import CommandContext
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.records import record
from slaveproto.wire.values import Value

Arguments: TypeAlias = Mapping[str, Value]

SLAVE_VERSION: Final = "2.16"
"""The version of every command in the answer to `getCommands`: that of buildslave 0.8.14, the last to know it."""

WORKER_VERSION: Final = "3.3"
"""The version of every command in the answer to `getWorkerInfo`: that of buildbot-worker 4.3.0."""


@record
class Command:
    """A command that a master can start.

    Args:
        required: the arguments without which it is refused; a tuple holds names of which one is enough.
        script: makes the script of one run out of the arguments, whose names are text; may raise `CommandError`. The
            script sends `rc`, and 0 as that if all went well.
        version: the version that masters are told, numbers with dots; None for that of Buildbot's own commands.
    """

    required: tuple[str | tuple[str, ...], ...]
    script: Callable[[Arguments, CommandContext], Script[None]]
    version: str | None = None


Scripts: TypeAlias = Mapping[str, Callable[[Arguments, CommandContext], Script[None]]]
"""The functions that make the scripts of one family of commands, by the commands' names."""


def _shell() -> Scripts:
    from slaveproto.commands.shell import SCRIPTS

    return SCRIPTS


def _fs() -> Scripts:
    from slaveproto.commands.fs import SCRIPTS

    return SCRIPTS


def _transfer() -> Scripts:
    from slaveproto.commands.transfer import SCRIPTS

    return SCRIPTS


def _source() -> Scripts:
    from slaveproto.commands.source.systems import SCRIPTS

    return SCRIPTS


def _own(family: Callable[[], Scripts], name: str, *required: str | tuple[str, ...]) -> Command:
    def script(arguments: Arguments, context: CommandContext) -> Script[None]:
        try:
            make = family()[name]
        except (ImportError, OSError) as error:
            # Such as too many open files. The next attempt may succeed.
            raise CommandError("builtins.ImportError", f"{name} cannot be loaded: {error}") from None
        return make(arguments, context)

    return Command(required, script)


_UPLOAD: Final = ("workdir", ("workersrc", "slavesrc"), "writer", "blocksize")
_UPLOAD_FILE: Final = _own(_transfer, "uploadFile", *_UPLOAD)
_UPLOAD_DIRECTORY: Final = _own(_transfer, "uploadDirectory", *_UPLOAD)
_DOWNLOAD_FILE: Final = _own(_transfer, "downloadFile", "workdir", ("workerdest", "slavedest"), "reader", "blocksize")

COMMANDS: Final[Mapping[str, Command]] = {
    "shell": _own(_shell, "shell", "workdir", "command"),
    "mkdir": _own(_fs, "mkdir", "dir"),
    "rmdir": _own(_fs, "rmdir", "dir"),
    "cpdir": _own(_fs, "cpdir", "fromdir", "todir"),
    "stat": _own(_fs, "stat", "file"),
    "glob": _own(_fs, "glob", "path"),
    "listdir": _own(_fs, "listdir", "dir"),
    "rmfile": _own(_fs, "rmfile", "path"),
    "uploadFile": _UPLOAD_FILE,
    "uploadDirectory": _UPLOAD_DIRECTORY,
    "downloadFile": _DOWNLOAD_FILE,
    # Further spellings, which 4.x workers know.
    "upload_file": _UPLOAD_FILE,
    "upload_directory": _UPLOAD_DIRECTORY,
    "download_file": _DOWNLOAD_FILE,
    "svn": _own(_source, "svn", "workdir", "svnurl"),
    "git": _own(_source, "git", "workdir", "repourl"),
    "cvs": _own(_source, "cvs", "workdir", "cvsroot", "cvsmodule"),
    "hg": _own(_source, "hg", "workdir", "repourl"),
    "bzr": _own(_source, "bzr", "workdir", "repourl"),
    "darcs": _own(_source, "darcs", "workdir", "repourl"),
    "mtn": _own(_source, "mtn", "workdir", "repourl", "branch"),
    "repo": _own(_source, "repo", "workdir", "manifest_url"),
    "p4": _own(_source, "p4", "workdir", "p4port", "p4client", "p4base"),
    "p4sync": _own(_source, "p4sync", "workdir", "p4port"),
    "bk": _own(_source, "bk", "workdir", "bkurl"),
}


def make_script(
    name: str, arguments: Arguments, context: CommandContext, commands: Mapping[str, Command]
) -> Script[None]:
    """Return the script of one run of the command `name`.

    Raises:
        CommandError: an argument is missing, or is not what it should be.
    """
    command = commands[name]
    missing = []
    for required in command.required:
        names = (required,) if isinstance(required, str) else required
        if not any(key in arguments for key in names):
            missing.append(" or ".join(names))
    if missing:
        raise CommandError("builtins.ValueError", f"{name} is missing args: {', '.join(missing)}")
    return command.script(arguments, context)
