"""The workspace of a source command: its directories and files, and the programs that it runs."""

from __future__ import annotations

import stat
from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Final, TypeAlias, TypeVar

from slaveproto.commands.cancellable import EffectStopped, copy_tree, remove_tree
from slaveproto.commands.context import CommandContext
from slaveproto.commands.environ import shown_environ
from slaveproto.commands.process import ProcessEnd, ProcessSpec, run_process
from slaveproto.commands.source.options import Mode, SourceOptions
from slaveproto.effects import (
    CreateTemp,
    Interrupted,
    MakeDirs,
    NextEvent,
    PathInfo,
    PlaceFile,
    ReadFile,
    Script,
    SendText,
    SetTimer,
    StatPath,
    TimerFired,
    Unlink,
    WriteFile,
)
from slaveproto.errors import HostError
from slaveproto.records import record

LONGEST: Final = 1024 * 1024
"""Bytes that are read of a file of ours."""


BOTH: Final[Collection[str]] = ("stdout", "stderr")

T = TypeVar("T")


class SourceFailed(Exception):
    """The command cannot go on.

    Args:
        code: its return code.
        final: whether it makes no sense to try again.
    """

    def __init__(self, code: int, *, final: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.final = final


@record
class Hidden:
    """A word of a command that is not to be seen in the log."""

    real: str
    shown: str


Word: TypeAlias = str | Hidden


class Workspace:
    """The directories of one source command, and what can be done there.

    Args:
        options: the command's options.
        context: the surroundings of the command.
    """

    def __init__(self, options: SourceOptions, context: CommandContext) -> None:
        self.options = options
        self.context = context
        self.source_name = "source" if options.mode is Mode.COPY else options.workdir
        """The directory that the system works in, relative to the builder's: in the mode COPY one of its own."""
        self._programs: dict[str, str] = {}

    # -- places

    @property
    def base(self) -> str:
        """The builder's directory."""
        return self.context.directory

    @property
    def sourcedata(self) -> str:
        """The file that tells what the tree was made of. Its name is that of buildslave 0.8.4."""
        return self._data_about(self.source_name)

    def _data_about(self, directory: str) -> str:
        name = b64encode(self.context.raw("workdir", directory)).decode()
        return self.at(f".buildbot-sourcedata-{name}")

    def at(self, *parts: str) -> str:
        """Return a path in the builder's directory."""
        return self.context.path(*parts)

    def source(self, *parts: str) -> str:
        """Return a path in the directory that the system works in."""
        return self.at(self.source_name, *parts)

    def tree(self, *parts: str) -> str:
        """Return a path in the directory where the tree is to be."""
        return self.at(self.options.workdir, *parts)

    # -- files

    def look(self, path: str) -> Script[PathInfo | None]:
        """Return what is there; None if nothing can be seen."""
        try:
            return (yield from StatPath(path))
        except HostError:
            return None

    def is_directory(self, path: str) -> Script[bool]:
        """Whether there is a directory."""
        info = yield from self.look(path)
        return info is not None and stat.S_ISDIR(info.mode)

    def is_file(self, path: str) -> Script[bool]:
        """Whether there is a regular file."""
        info = yield from self.look(path)
        return info is not None and stat.S_ISREG(info.mode)

    def is_patched(self) -> Script[bool]:
        """Whether the tree was changed by a patch."""
        return (yield from self.look(self.tree(".buildbot-patched"))) is not None

    def read(self, path: str) -> Script[str | None]:
        """Return the text that is in a file; None if it cannot be read."""
        try:
            data = yield from ReadFile(path, 0, LONGEST)
        except HostError as error:
            if error.is_shortage:
                # The tree is as good as it was.
                raise
            return None
        text = self.context.text("a file", data)
        # Python 2 wrote text as Windows has it.
        return text if self.context.posix else text.replace("\r\n", "\n")

    def write(self, path: str, content: str | bytes) -> Script[None]:
        """Write a file, and the directories above it; raises HostError."""
        temp = yield from CreateTemp(path)
        try:
            yield from WriteFile(temp, 0, self.context.raw("a file", content))
            yield from PlaceFile(temp, path, None)
        except HostError:
            yield from self.discard(temp)
            raise

    def make(self, path: str) -> Script[None]:
        """Make a directory and those above it; raises HostError."""
        yield from MakeDirs(path)

    def discard(self, path: str) -> Script[None]:
        """Remove a file of ours, if that is possible."""
        try:
            yield from Unlink(path)
        except HostError:
            return

    def lend(self, path: str, content: str | bytes, script: Script[T]) -> Script[T]:
        """Write a file, run a script that needs it, and remove it however that ends; raises what they raise."""
        yield from self.write(path, content)
        # Not `finally`: a script that is dropped half-way must not ask for anything more.
        try:
            result = yield from script
        except Exception:
            yield from self.discard(path)
            raise
        yield from self.discard(path)
        return result

    def rename(self, path: str, target: str) -> Script[None]:
        """Give a file another name; raises HostError."""
        yield from PlaceFile(path, target, None)

    def remove(self, path: str, *, tell: bool = True) -> Script[None]:
        """Remove a directory with all that is in it, and say so unless told otherwise; raises SourceFailed."""
        try:
            code = yield from remove_tree(path, self.options.silence, self.options.lifetime, self.context, tell=tell)
        except EffectStopped as stop:
            raise SourceFailed(-1, final=stop.interrupted) from None
        if code:
            raise SourceFailed(code)

    def clear(self, directory: str) -> Script[None]:
        """Remove a tree, given relative to the builder's directory; raises SourceFailed or HostError.

        The file that tells what it was made of is gone meanwhile: half a tree is not taken for a whole one.
        """
        data = self._data_about(directory)
        origin = yield from self.read(data)
        yield from self.discard(data)
        yield from self.remove(self.at(directory))
        if origin is not None:
            yield from self.write(data, origin)

    def copy(self, source: str, target: str) -> Script[None]:
        """Copy a directory; raises SourceFailed."""
        try:
            code = yield from copy_tree(source, target, self.options.lifetime, self.context)
        except EffectStopped as stop:
            raise SourceFailed(-1, final=stop.interrupted) from None
        if code:
            raise SourceFailed(code)

    # -- words

    def say(self, text: str) -> Script[None]:
        """Add a line to what the log says of the command."""
        yield from SendText("header", f"{text}\n")

    # -- programs

    def find(self, name: str) -> Script[str]:
        """Return the path of a program; raises SourceFailed if there is none."""
        if name not in self._programs:
            environ = self.context.environ
            folders = environ.get("PATH", "")
            extensions = ("",) if self.context.posix else (".exe", ".cmd", ".bat", "")
            for folder in folders.split(self.context.path_separator):
                for extension in extensions:
                    path = self.context.joined(folder, name + extension)
                    info = yield from self.look(path)
                    if info is not None and stat.S_ISREG(info.mode) and (info.mode & 0o111 or not self.context.posix):
                        self._programs[name] = path
                        return path
            yield from SendText("stderr", f"could not find '{name}'\nPATH is '{folders}'\n")
            raise SourceFailed(-1, final=True)
        return self._programs[name]

    def run(
        self,
        *command: Word,
        directory: str = "",
        plain_words: bool = False,
        send: Collection[str] = BOTH,
        keep: Collection[str] = (),
        limits: Collection[str] = ("silence", "lifetime"),
        stdin: str | None = None,
        variables: Mapping[str, str] | None = None,
        without: Collection[str] = (),
    ) -> Script[ProcessEnd]:
        """Run a program, and tell the master about it.

        Args:
            command: the name of the program and its arguments.
            directory: where to run it; empty for the builder's directory.
            plain_words: whether its messages are to be in plain English, to be read by us.
            send: which of its outputs the master gets.
            keep: which of its outputs are to be returned.
            limits: which limits it has.
            stdin: what it reads.
            variables: environment variables to set.
            without: environment variables that it does not get.

        Raises:
            SourceFailed: there is no such program, or the command was interrupted.
            CommandError: the program cannot be run, or cannot be ended.
        """
        name, *words = command
        assert isinstance(name, str)
        program = yield from self.find(name)
        raw = self.context.raw
        directory = directory or self.base
        ours = {"PWD": directory, **(variables or {}), **({"LC_MESSAGES": "C"} if plain_words else {})}
        told = shown_environ(None, self.context)
        spec = ProcessSpec(
            command=[raw("a word", word.real if isinstance(word, Hidden) else word) for word in (program, *words)],
            shown=[raw("a word", word.shown if isinstance(word, Hidden) else word) for word in (program, *words)],
            workdir=directory,
            environ=_without(without, self.context.environ) | ours,
            streams=frozenset(send),
            stdin=None if stdin is None else self.context.raw("what a program reads", stdin),
            silence=self.options.silence if "silence" in limits else None,
            lifetime=self.options.lifetime if "lifetime" in limits else None,
            shown_environ=_without(without, told) | ours if self.options.show_environ else None,
            keep=frozenset(keep),
        )
        ended = yield from run_process(spec, self.context, send_rc=False)
        if ended.interrupted:
            raise SourceFailed(-1, final=True)
        return ended

    def ask(
        self, *command: Word, directory: str, send: Collection[str] = (), limits: Collection[str] = ("silence",)
    ) -> Script[str]:
        """Run a program for what it answers; return that. The master gets none of it unless `send` says so.

        Args:
            command, directory, send, limits: as for `run`, and raises what that does.
        """
        told = yield from self.run(
            *command, directory=directory, plain_words=True, send=send, keep=("stdout",), limits=limits
        )
        return self.output(told)

    def must(self, ended: Script[ProcessEnd]) -> Script[ProcessEnd]:
        """Run a program that has to succeed; raises SourceFailed with its code if it does not."""
        return self.require((yield from ended))

    def require(self, ended: ProcessEnd) -> ProcessEnd:
        """Return how a program ended; raises SourceFailed with its code if that is no success."""
        if ended.code:
            raise SourceFailed(ended.code)
        return ended

    def output(self, ended: ProcessEnd, stream: str = "stdout") -> str:
        """Return what a program wrote to a stream that was kept."""
        return self.context.text("output", ended.kept.get(stream, b""))

    # -- time

    def wait(self, duration: float) -> Script[None]:
        """Wait that many seconds; raises SourceFailed if the command is interrupted."""
        yield from SetTimer("wait", duration)
        while True:
            event = yield from NextEvent()
            if isinstance(event, Interrupted):
                yield from SetTimer("wait", None)
                yield from self.say("\ncommand interrupted")
                raise SourceFailed(-1, final=True)
            if isinstance(event, TimerFired) and event.key == "wait":
                return


def _without(names: Collection[str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in names}
