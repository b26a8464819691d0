"""The arguments of a source command, checked."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from slaveproto.commands.arguments import count, seconds
from slaveproto.commands.context import CommandContext
from slaveproto.errors import CommandError
from slaveproto.paths import join_paths
from slaveproto.records import record
from slaveproto.wire.values import Value

DEFAULT_TIMEOUT: Final = 120
"""Seconds that a program may be silent if the master names no limit."""


class Mode(Enum):
    """The treatment of a tree that is there already."""

    UPDATE = "update"
    COPY = "copy"
    CLOBBER = "clobber"
    EXPORT = "export"


@record
class Patch:
    """A change to make to the tree.

    Args:
        level: how many directories of the names in it do not count.
        diff: the change, as `patch` reads it.
        root: the directory that it is about, relative to the tree; empty for the tree itself.
    """

    level: int
    diff: bytes
    root: str


@record
class Retry:
    """The answer to a checkout that fails.

    Args:
        delay: seconds to wait.
        times: how often to try again.
    """

    delay: float
    times: int


@record
class SourceArguments:
    """The arguments of a source command as the master sent them, and ways to read them.

    Args:
        values: the arguments, by their names.
        context: the surroundings of the command.
    """

    values: Mapping[str, Value]
    context: CommandContext

    def text(self, name: str, default: str = "") -> str:
        """Return a text, or a number as one; `default` if it is missing or None.

        Raises:
            CommandError: it is something else.
        """
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.context.text(name, value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, empty if it is missing or None; raises as `text`."""
        value = self.values.get(name)
        if value is None:
            return ()
        if not isinstance(value, (list, tuple)):
            raise CommandError("builtins.TypeError", f"{name} should be a list of texts, not {type(value).__name__}")
        return tuple(self.context.text(f"what {name} holds", item) for item in value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return whether something is wanted."""
        return bool(self.values.get(name, default))


@record
class SourceOptions:
    """The options that all source commands have, checked. Times are in seconds.

    Args:
        workdir: where the tree is to be, relative to the builder's directory.
        mode: the treatment of a tree that is there already.
        revision: which one; empty for the newest.
        patch: a change to make.
        retry: the answer to a checkout that fails.
        silence: how long a program may write nothing.
        lifetime: how long a program may run.
        show_environ: whether the log lists the environment of each program.
    """

    workdir: str
    mode: Mode
    revision: str
    patch: Patch | None
    retry: Retry
    silence: float | None
    lifetime: float | None
    show_environ: bool


def options_of(args: SourceArguments) -> SourceOptions:
    """Read the arguments that all source commands have.

    Raises:
        CommandError: one of them is not what it should be.
    """
    get = args.values.get
    name = args.text("mode", Mode.UPDATE.value)
    mode = next((mode for mode in Mode if mode.value == name), None)
    if mode is None:
        raise CommandError("builtins.ValueError", f"there is no mode {name!r}")
    workdir = args.context.text("workdir", args.values["workdir"])
    return SourceOptions(
        workdir=workdir,
        mode=mode,
        revision=args.text("revision"),
        patch=_patch(get("patch"), workdir, args.context),
        retry=_retry(get("retry")),
        silence=seconds("timeout", get("timeout", DEFAULT_TIMEOUT)),
        lifetime=seconds("maxTime", get("maxTime")),
        show_environ=args.flag("logEnviron", True),
    )


def _patch(value: Value, workdir: str, context: CommandContext) -> Patch | None:
    match value:
        case None | []:
            return None
        case [int() as level, (bytes() | str()) as diff, *rest] if level >= 0 and len(rest) <= 1:
            root = context.text("the root of a patch", rest[0]) if rest and rest[0] is not None else ""
            tree = context.path(workdir)
            whole = join_paths(context.posix, tree, root)
            if whole != tree and not whole.startswith(tree + ("/" if context.posix else "\\")):
                raise CommandError("builtins.ValueError", f"the root of a patch leads out of the tree: {root!r}")
            return Patch(level, context.raw("a patch", diff), root)
        case _:
            raise CommandError("builtins.ValueError", "patch should be a level, a diff, and maybe a directory")


def _retry(value: Value) -> Retry:
    match value:
        case None | []:
            return Retry(0.0, 0)
        case [(int() | float()) as delay, times]:
            return Retry(seconds("the delay of retry", delay) or 0.0, count("the number of retry", times) or 0)
        case _:
            raise CommandError("builtins.ValueError", "retry should be a delay and a number")
