"""Commands on files and directories.

Source: manual page, section "File-system commands"; `commands/fs.py` of buildslave 0.8.14 and buildbot-worker 4.3.0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from slaveproto.commands.arguments import at_home, seconds
from slaveproto.commands.cancellable import EffectStopped, copy_tree, perform_cancellable, remove_tree
from slaveproto.commands.context import CommandContext
from slaveproto.effects import (
    Effect,
    ExpandGlob,
    ListNames,
    MakeDirs,
    PathInfo,
    Script,
    SendItem,
    SendText,
    StatPath,
    Unlink,
)
from slaveproto.errors import CommandError, HostError
from slaveproto.updates import Dialect
from slaveproto.wire.values import Value

REMOVE_TIMEOUT: Final = 120
"""Seconds that the removal of one directory may take if the master names no other limit."""

_NO_SUCH_FILE: Final = HostError(2, "No such file or directory")

T = TypeVar("T")


def make_directory(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`mkdir`: create a directory and its parents; one that is there already is fine."""
    path = context.path(arguments["dir"])
    return _short("mkdir", path, MakeDirs(path), _nothing)


def stat_file(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`stat`: tell what the system knows of a path, as ten whole numbers; links are followed."""
    path = context.path(arguments.get("workdir") or "", arguments["file"])
    return _short("stat", path, StatPath(path), _stat)


def list_directory(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`listdir`: name the entries of a directory, sorted."""
    path = context.path(arguments["dir"])
    return _short("listdir", path, ListNames(path), _files)


def remove_file(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`rmfile`: remove a file or link."""
    path = context.path(at_home(context.text("a path", arguments["path"]), context))
    return _short("rmfile", path, Unlink(path), _removed)


def _nothing(reply: object) -> Script[None]:
    yield from ()


def _stat(info: PathInfo) -> Script[None]:
    times = [nanoseconds // 10**9 for nanoseconds in (info.accessed, info.modified, info.changed)]
    owner = (info.mode, info.inode, info.device, info.links, info.uid, info.gid)
    yield from SendItem("stat", (*owner, info.size, *times))


def _files(names: tuple[str, ...]) -> Script[None]:
    yield from SendItem("files", list(names))


def _removed(was_there: bool) -> Script[None]:
    if not was_there:
        raise _NO_SUCH_FILE
    yield from ()


def _short(name: str, path: str, effect: Effect[T], report: Callable[[T], Script[None]]) -> Script[None]:
    """Perform one effect that does not take long, and tell how it went."""
    try:
        yield from report((yield from effect))
    except HostError as error:
        yield from _failed(name, path, error)
    else:
        yield from SendItem("rc", 0)


def _failed(name: str, path: str, error: HostError) -> Script[None]:
    if error.is_shortage:
        raise error
    yield from SendText("header", f"{name}: {error.strerror}: {path}\n")
    yield from SendItem("rc", error.errno or 1)


# -- what may take long


def find_files(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`glob`: find the paths that match a pattern, sorted; `**` goes down any number of directories for 4.x only."""
    # As it is: a slash at its end means directories only, and `..` behind a link leads to where that leads.
    pattern = context.joined(context.text("a path", arguments["path"]))

    def script() -> Script[None]:
        try:
            found = yield from perform_cancellable(
                ExpandGlob(pattern, context.dialect is Dialect.TEXT), None, None, context
            )
            yield from _files(found)
        except HostError as error:
            yield from _failed("glob", pattern, error)
        except EffectStopped:
            yield from SendItem("rc", -1)
        else:
            yield from SendItem("rc", 0)

    return script()


def remove_directories(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`rmdir`: remove a directory with all that is in it, or several of them one after the other.

    What is not there is fine. What cannot be removed does not keep the rest.
    """
    given = arguments["dir"]
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise CommandError("builtins.ValueError", "dir should name at least one directory")
    paths = [context.path(item) for item in listed]
    silence = seconds("timeout", arguments.get("timeout", REMOVE_TIMEOUT))
    lifetime = seconds("maxTime", arguments.get("maxTime"))

    def script() -> Script[None]:
        code = 0
        for path in paths:
            try:
                code = (yield from remove_tree(path, silence, lifetime, context)) or code
            except EffectStopped:
                code = -1
                break
        yield from SendItem("rc", code)

    return script()


def copy_directory(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """`cpdir`: copy a directory as `cp -R -P -p` does; what cannot be copied does not keep the rest."""
    source = context.path(arguments["fromdir"])
    target = context.path(arguments["todir"])
    seconds("timeout", arguments.get("timeout"))
    lifetime = seconds("maxTime", arguments.get("maxTime"))

    def script() -> Script[None]:
        try:
            code = yield from copy_tree(source, target, lifetime, context)
        except EffectStopped:
            code = -1
        yield from SendItem("rc", code)

    return script()


SCRIPTS: Final = {
    "mkdir": make_directory,
    "rmdir": remove_directories,
    "cpdir": copy_directory,
    "stat": stat_file,
    "glob": find_files,
    "listdir": list_directory,
    "rmfile": remove_file,
}
