"""The plan of every source command: make room, bring or update the tree, tell the revision, copy it, patch it.

Source: `commands/base.py` (SourceBaseCommand) of buildslave 0.8.4 and 0.8.14.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from slaveproto.commands.context import CommandContext
from slaveproto.commands.source.options import Arguments, Mode, Patch, options_of
from slaveproto.commands.source.workspace import Abandoned, Workspace
from slaveproto.effects import Script, SendItem
from slaveproto.errors import HostError
from slaveproto.wire.values import Value


class System(ABC):
    """A version control system, as one command meets it.

    Each of its scripts may raise `Abandoned`, with the return code that the command then has, or HostError.

    Args:
        given: the arguments; what is wrong with them is a CommandError.
        shop: where to work.
    """

    operation: ClassVar[str]
    """What the log calls the command."""

    sourcedata: str
    """What the tree is made of; kept in a file beside it, in the words of buildslave 0.8.4."""

    @abstractmethod
    def __init__(self, given: Arguments, shop: Workspace) -> None: ...

    def prepare(self) -> Script[None]:
        """Do what comes before everything else."""
        yield from ()

    @abstractmethod
    def is_updateable(self) -> Script[bool]:
        """Whether there is a tree of this system that an update can start from."""

    def matches(self, old: str | None) -> bool:
        """Whether a tree made of `old` can be updated to what is wanted; None if nothing tells what it is made of."""
        return old == self.sourcedata

    @abstractmethod
    def update(self) -> Script[int]:
        """Update the tree; the reply is the return code of the last program."""

    @abstractmethod
    def bring(self) -> Script[int]:
        """Bring a whole tree to where there is none; the reply is the return code of the last program."""

    def is_hopeless(self) -> bool:
        """Whether the update that has just failed would fail with a new tree, too."""
        return False

    def revision(self) -> Script[Value]:
        """Tell which revision the tree is now; None if that cannot be told."""
        yield from ()
        return None


def source_command(system: type[System]) -> Callable[[Mapping[str, Value], CommandContext], Script[None]]:
    """Return what makes the scripts of a source command."""

    def command(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
        given = Arguments(arguments, context)
        shop = Workspace(options_of(given), context)
        return _script(system(given, shop), shop)

    return command


def _script(system: System, shop: Workspace) -> Script[None]:
    try:
        yield from _all_of_it(system, shop)
    except Abandoned as end:
        yield from SendItem("rc", end.code)
    else:
        yield from SendItem("rc", 0)


def _all_of_it(system: System, shop: Workspace) -> Script[None]:
    wanted = shop.wanted
    yield from system.prepare()
    yield from shop.say(f"starting {system.operation}")
    yield from _adopt(shop)
    if wanted.mode is not Mode.UPDATE:
        yield from shop.remove(shop.tree())
    if (yield from system.is_updateable()) and system.matches((yield from shop.read(shop.sourcedata))):
        yield from _update(system, shop)
    else:
        if wanted.mode in (Mode.UPDATE, Mode.COPY):
            # In the other modes that is the tree, which is gone already.
            yield from shop.remove(shop.source())
        yield from _bring(system, shop)
    yield from SendItem("got_revision", (yield from system.revision()))
    yield from shop.write(shop.sourcedata, system.sourcedata)
    if wanted.mode is Mode.COPY:
        yield from shop.copy(shop.source(), shop.tree())
    if wanted.patch is not None:
        yield from _patch(wanted.patch, shop)


def _adopt(shop: Workspace) -> Script[None]:
    """Give the file about the tree its present name. Before 0.8.4 it lay in the tree, then beside all trees."""
    for old in (shop.source(".buildbot-sourcedata"), shop.at(".buildbot-sourcedata")):
        if (yield from shop.look(old)) is not None and (yield from shop.look(shop.sourcedata)) is None:
            yield from shop.rename(old, shop.sourcedata)


def _update(system: System, shop: Workspace) -> Script[None]:
    try:
        code = yield from system.update()
    except Abandoned as end:
        if end.final:
            raise
        code = end.code
    except HostError:
        code = 1
    if code == 0:
        return
    if system.is_hopeless():
        raise Abandoned(-1)
    yield from shop.say("update failed, clobbering and trying again")
    yield from shop.remove(shop.source())
    yield from shop.say("now retrying VC operation")
    yield from _bring(system, shop)


def _bring(system: System, shop: Workspace) -> Script[None]:
    retry = shop.wanted.retry
    for left in range(retry.times, -1, -1):
        try:
            code = yield from system.bring()
        except Abandoned as end:
            if end.final:
                raise
            code = end.code
        if code == 0:
            return
        if left == 0:
            raise Abandoned(code)
        yield from shop.say(f"update failed, trying {left} more times after {int(retry.delay)} seconds")
        yield from shop.wait(retry.delay)
        for path in dict.fromkeys((shop.tree(), shop.source())):
            yield from shop.remove(path)


def _patch(patch: Patch, shop: Workspace) -> Script[None]:
    # Whoever updates the tree has to know that it is not as it came.
    yield from shop.write(shop.tree(".buildbot-patched"), "patched\n")
    where = shop.tree(patch.root)
    diff = shop.tree(patch.root, ".buildbot-diff")
    options = (f"-p{patch.level}", "--remove-empty-files", "--force", "--forward", "-i", ".buildbot-diff")
    yield from shop.lend(diff, patch.diff, shop.must(shop.run("patch", *options, directory=where)))
