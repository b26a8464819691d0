"""Which commands there are. A registry: it only accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from slaveproto.commands.context import Context
from slaveproto.commands.fs import (
    copy_directory,
    find_files,
    list_directory,
    make_directory,
    remove_directories,
    remove_file,
    stat_file,
)
from slaveproto.commands.shell import shell
from slaveproto.commands.source.bk import BitKeeper
from slaveproto.commands.source.bzr import Bazaar
from slaveproto.commands.source.cvs import Cvs
from slaveproto.commands.source.darcs import Darcs
from slaveproto.commands.source.engine import source_command
from slaveproto.commands.source.git import Git
from slaveproto.commands.source.hg import Mercurial
from slaveproto.commands.source.mtn import Monotone
from slaveproto.commands.source.p4 import Perforce, PerforceSync
from slaveproto.commands.source.repo import Repo
from slaveproto.commands.source.svn import Subversion
from slaveproto.commands.transfer import download_file, upload_directory, upload_file
from slaveproto.effects import Script
from slaveproto.errors import CommandError
from slaveproto.wire.values import Value

Arguments: TypeAlias = Mapping[str, Value]

SLAVE_VERSION: Final = "2.16"
"""What `getCommands` says of every command: that of buildslave 0.8.14, the last with this interface."""

WORKER_VERSION: Final = "3.3"
"""What `getWorkerInfo` says of every command: that of buildbot-worker 4.3.0."""


@attrs.frozen
class Command:
    """A command that a master can start.

    Args:
        required: the arguments without which it is refused; a tuple holds names of which one is enough.
        script: makes the script of one run out of the arguments, whose names are text; may raise `CommandError`. The
            script sends `rc`, and 0 as that if all went well.
        version: what masters are told of it, numbers with dots between them; None for that of Buildbot's own commands.
    """

    required: tuple[str | tuple[str, ...], ...]
    script: Callable[[Arguments, Context], Script[None]]
    version: str | None = None


_UPLOAD: Final = ("workdir", ("workersrc", "slavesrc"), "writer", "blocksize")
_DOWNLOAD: Final = ("workdir", ("workerdest", "slavedest"), "reader", "blocksize")

COMMANDS: Final[Mapping[str, Command]] = {
    "shell": Command(("workdir", "command"), shell),
    "mkdir": Command(("dir",), make_directory),
    "rmdir": Command(("dir",), remove_directories),
    "cpdir": Command(("fromdir", "todir"), copy_directory),
    "stat": Command(("file",), stat_file),
    "glob": Command(("path",), find_files),
    "listdir": Command(("dir",), list_directory),
    "rmfile": Command(("path",), remove_file),
    "uploadFile": Command(_UPLOAD, upload_file),
    "uploadDirectory": Command(_UPLOAD, upload_directory),
    "downloadFile": Command(_DOWNLOAD, download_file),
    # The spellings that 4.x workers have besides.
    "upload_file": Command(_UPLOAD, upload_file),
    "upload_directory": Command(_UPLOAD, upload_directory),
    "download_file": Command(_DOWNLOAD, download_file),
    "svn": Command(("workdir", "svnurl"), source_command(Subversion)),
    "git": Command(("workdir", "repourl"), source_command(Git)),
    "cvs": Command(("workdir", "cvsroot", "cvsmodule"), source_command(Cvs)),
    "hg": Command(("workdir", "repourl"), source_command(Mercurial)),
    "bzr": Command(("workdir", "repourl"), source_command(Bazaar)),
    "darcs": Command(("workdir", "repourl"), source_command(Darcs)),
    "mtn": Command(("workdir", "repourl", "branch"), source_command(Monotone)),
    "repo": Command(("workdir", "manifest_url"), source_command(Repo)),
    "p4": Command(("workdir", "p4port", "p4client", "p4base"), source_command(Perforce)),
    "p4sync": Command(("workdir", "p4port"), source_command(PerforceSync)),
    "bk": Command(("workdir", "bkurl"), source_command(BitKeeper)),
}


def make_script(name: str, arguments: Arguments, context: Context, commands: Mapping[str, Command]) -> Script[None]:
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
