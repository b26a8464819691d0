"""The plan of every source command: make room, check out or update the tree, tell the revision, copy it, patch it.

Source: `commands/base.py` (SourceBaseCommand) of buildslave 0.8.4 and 0.8.14.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from slaveproto.commands.context import CommandContext
from slaveproto.commands.source.options import Mode, Patch, SourceArguments, options_of
from slaveproto.commands.source.workspace import SourceFailed, Workspace
from slaveproto.effects import Script, SendItem
from slaveproto.errors import HostError
from slaveproto.wire.values import Value


class System(ABC):
    """A version control system, as one command uses it.

    Each of its scripts may raise `SourceFailed`, with the return code that the command then has, or HostError.

    Args:
        args: the command's arguments; CommandError is raised for one that is wrong.
        ws: the directories to work in.
    """

    operation: ClassVar[str]
    """The name of the command in the log."""

    sourcedata: str
    """The origin of the tree; kept in a file beside it, in the words of buildslave 0.8.4."""

    @abstractmethod
    def __init__(self, args: SourceArguments, ws: Workspace) -> None: ...

    def prepare(self) -> Script[None]:
        """Do the work that comes before everything else."""
        yield from ()

    @abstractmethod
    def is_updateable(self) -> Script[bool]:
        """Whether there is a tree of this system that an update can start from."""

    def matches(self, old: str | None) -> bool:
        """Whether a tree of the origin `old`, which is None if it is unknown, can be updated to the wanted one."""
        return old == self.sourcedata

    @abstractmethod
    def update(self) -> Script[int]:
        """Update the tree; the reply is the return code of the last program."""

    @abstractmethod
    def check_out(self) -> Script[int]:
        """Check out a whole tree where there is none; the reply is the return code of the last program."""

    def is_hopeless(self) -> bool:
        """Whether the update that has just failed would fail with a new tree, too, or cannot be the tree's fault."""
        return False

    def is_reachable(self) -> Script[bool]:
        """Whether the repository answers, now that an update has failed: if not, a new tree cannot be had."""
        yield from ()
        return True

    def revision(self) -> Script[Value]:
        """Tell which revision the tree is now; None if that cannot be told."""
        yield from ()
        return None


def source_command(system: type[System]) -> Callable[[Mapping[str, Value], CommandContext], Script[None]]:
    """Return the function that makes the scripts of a source command."""

    def command(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
        args = SourceArguments(arguments, context)
        ws = Workspace(options_of(args), context)
        return _script(system(args, ws), ws)

    return command


def _script(system: System, ws: Workspace) -> Script[None]:
    try:
        yield from _all_of_it(system, ws)
    except SourceFailed as end:
        yield from SendItem("rc", end.code)
    else:
        yield from SendItem("rc", 0)


def _all_of_it(system: System, ws: Workspace) -> Script[None]:
    options = ws.options
    yield from system.prepare()
    yield from ws.say(f"starting {system.operation}")
    yield from _adopt(ws)
    if options.mode is not Mode.UPDATE:
        yield from ws.clear(options.workdir)
    if (yield from system.is_updateable()) and system.matches((yield from ws.read(ws.sourcedata))):
        yield from _update(system, ws)
    else:
        if options.mode in (Mode.UPDATE, Mode.COPY):
            # In the other modes that is the tree, which is gone already.
            yield from ws.clear(ws.source_name)
        yield from _check_out(system, ws)
    yield from SendItem("got_revision", (yield from system.revision()))
    yield from ws.write(ws.sourcedata, system.sourcedata)
    if options.mode is Mode.COPY:
        yield from ws.copy(ws.source(), ws.tree())
    if options.patch is not None:
        yield from _patch(options.patch, ws)


def _adopt(ws: Workspace) -> Script[None]:
    """Give the file about the tree its present name. Before 0.8.4 it lay in the tree, then beside all trees."""
    for old in (ws.source(".buildbot-sourcedata"), ws.at(".buildbot-sourcedata")):
        if (yield from ws.look(old)) is not None and (yield from ws.look(ws.sourcedata)) is None:
            yield from ws.rename(old, ws.sourcedata)


def _update(system: System, ws: Workspace) -> Script[None]:
    for left in range(ws.options.retry.times, -1, -1):
        try:
            code = yield from system.update()
        except SourceFailed as end:
            if end.final:
                raise
            code = end.code
        except HostError as error:
            if error.is_shortage:
                raise
            code = 1
        if code == 0:
            return
        if system.is_hopeless():
            raise SourceFailed(-1)
        if (yield from system.is_reachable()):
            break
        yield from ws.say("the repository does not answer; the tree stays as it is")
        yield from _pause(left, code, ws)
    yield from ws.say("update failed, clobbering and trying again")
    yield from ws.clear(ws.source_name)
    yield from ws.say("now retrying VC operation")
    yield from _check_out(system, ws)


def _check_out(system: System, ws: Workspace) -> Script[None]:
    for left in range(ws.options.retry.times, -1, -1):
        try:
            code = yield from system.check_out()
        except SourceFailed as end:
            if end.final:
                raise
            code = end.code
        if code == 0:
            return
        yield from _pause(left, code, ws)
        for directory in dict.fromkeys((ws.options.workdir, ws.source_name)):
            yield from ws.clear(directory)


def _pause(left: int, code: int, ws: Workspace) -> Script[None]:
    """Wait before the next try; raises SourceFailed if there is none `left`."""
    if left == 0:
        raise SourceFailed(code)
    delay = ws.options.retry.delay
    yield from ws.say(f"update failed, trying {left} more times after {int(delay)} seconds")
    yield from ws.wait(delay)


def _patch(patch: Patch, ws: Workspace) -> Script[None]:
    # The next update has to know that the tree is not as it was checked out.
    yield from ws.write(ws.tree(".buildbot-patched"), "patched\n")
    where = ws.tree(patch.root)
    diff = ws.tree(patch.root, ".buildbot-diff")
    options = (f"-p{patch.level}", "--remove-empty-files", "--force", "--forward", "-i", ".buildbot-diff")
    yield from ws.lend(diff, patch.diff, ws.must(ws.run("patch", *options, directory=where)))
