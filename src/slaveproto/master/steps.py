"""Steps of a build, as values. What they mean to a slave of which generation is in `slaveproto.master.translate`.

Paths on the slave are relative to the step's `workdir`, that to the builder's directory; an absolute one wins. Paths on
the master are for the host's own functions: give absolute ones. Times are in seconds, sizes in bytes.

Source: manual page, section "Building"; `steps/` of Buildbot 0.8.4p1 and 4.3.0 for names and defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

BLOCK_SIZE: Final = 256 * 1024
"""Bytes of one block of a file."""

LARGEST_BLOCK: Final = 512 * 1024
"""Most bytes of one block, whatever a step says; a peer reads no string of more than 640 KiB."""

UNPACK_LIMIT: Final = 16 * 1024**3
UNPACK_ENTRIES: Final = 1_000_000


@attrs.frozen(kw_only=True)
class Step:
    """A step of a build; every step has these.

    Args:
        name: for people; empty for one made from what the step does.
        workdir: on the slave.
        halt_on_failure: whether a failure ends the build.
        flunk_on_failure: whether a failure makes the build one.
        warn_on_failure: whether a failure that does not make the build one leaves it with warnings.
        flunk_on_warnings: whether warnings make the build a failure.
        warn_on_warnings: whether warnings leave the build with warnings.
        always_run: whether it runs even when the build has been ended by a step before it.
        timeout: how long the slave may say nothing about it; None for ever.
        max_time: how long it may take; None for ever. Of a command the slave sees to both, else the master: a step that
            is beyond its limit is interrupted, and a FAILURE.
    """

    name: str = ""
    workdir: str = "build"
    halt_on_failure: bool = True
    flunk_on_failure: bool = True
    warn_on_failure: bool = False
    flunk_on_warnings: bool = False
    warn_on_warnings: bool = True
    always_run: bool = False
    timeout: float | None = None
    max_time: float | None = None

    @property
    def title(self) -> str:
        """The name, or one made from what the step does."""
        return self.name or self._default_name()

    def _default_name(self) -> str:
        return type(self).__name__


@attrs.frozen
class Secret:
    """A text that is not shown: a word of a command, a variable, what a command reads or a file holds.

    Slaves before 0.8.9 show a word nevertheless. No slave shows a variable, for a command that has a secret one is
    never asked to show its environment. On the slave's host, the words of a command stand in the list of processes.

    Args:
        real: what is sent and used.
        shown: what is shown instead.
    """

    real: str = attrs.field(repr=False)
    shown: str = "XXXX"

    @property
    def data(self) -> bytes:
        """The real text in UTF-8."""
        return self.real.encode()


@attrs.frozen
class LogFile:
    """A file that the slave reads while a command runs.

    Args:
        filename: relative to the workdir.
        follow: whether only what is appended counts.
    """

    filename: str
    follow: bool = False


Word: TypeAlias = "str | Secret"

EnvValue: TypeAlias = "str | tuple[str, ...] | Secret | None"
"""Value of a variable. A tuple is joined by the path separator; None removes the variable."""


@attrs.frozen(kw_only=True)
class Shell(Step):
    """Run a command.

    Args:
        command: a list of words, or one text for `/bin/sh`.
        env: variables to set or to remove.
        max_lines: how many lines it may write; None for any number (workers since 4.1.0).
        logfiles: files to read while it runs, by the name of the log.
        use_pty: whether it gets a pseudo-terminal; None leaves it to the slave.
        initial_stdin: what it reads; None for nothing.
        want_stdout: whether its output is sent.
        want_stderr: likewise.
        log_environ: whether the environment is shown; it never is where a variable is a `Secret`.
        interrupt_signal: what ends it, without SIG (slaves since 0.8.6).
        sigterm_time: how long it gets after a TERM before that; None for no TERM (slaves since 0.8.9).
        kill_leftovers: whether what it leaves running is killed when it ends by itself; None leaves it to the slave
            (ours; Buildbot's know no such thing).
        success_rc: exit codes that are a SUCCESS, those of `warnings_rc` are WARNINGS, any other is a FAILURE.
    """

    command: str | tuple[Word, ...]
    env: Mapping[str, EnvValue] = attrs.field(factory=dict)
    timeout: float | None = 1200
    max_lines: int | None = None
    logfiles: Mapping[str, LogFile] = attrs.field(factory=dict)
    use_pty: bool | None = None
    initial_stdin: bytes | Secret | None = None
    want_stdout: bool = True
    want_stderr: bool = True
    log_environ: bool = True
    interrupt_signal: str = "KILL"
    sigterm_time: float | None = None
    kill_leftovers: bool | None = None
    success_rc: tuple[int, ...] = (0,)
    warnings_rc: tuple[int, ...] = ()
    halt_on_failure: bool = False

    def _default_name(self) -> str:
        if isinstance(self.command, str):
            words = self.command.split()
        else:
            words = [word if isinstance(word, str) else word.shown for word in self.command]
        return " ".join(words[:2]) or "shell"


@attrs.frozen(kw_only=True)
class MakeDirectory(Step):
    """Create a directory and its parents."""

    dir: str

    def _default_name(self) -> str:
        return f"mkdir {self.dir}"


@attrs.frozen(kw_only=True)
class RemoveDirectory(Step):
    """Remove directories with all that is in them. Slaves before 0.8.5 are asked once for each.

    Args:
        dirs: the directories.
    """

    dirs: tuple[str, ...]
    timeout: float | None = 120

    def _default_name(self) -> str:
        return f"rmdir {' '.join(self.dirs)}"


@attrs.frozen(kw_only=True)
class CopyDirectory(Step):
    """Copy a directory.

    Args:
        source: the directory.
        dest: what the copy is called.
    """

    source: str
    dest: str
    timeout: float | None = 120

    def _default_name(self) -> str:
        return f"copy {self.source}"


@attrs.frozen(kw_only=True)
class RemoveFile(Step):
    """Remove a file (workers since 0.9.8; others remove it as they would a directory)."""

    path: str

    def _default_name(self) -> str:
        return f"rmfile {self.path}"


@attrs.frozen(kw_only=True)
class StatFile(Step):
    """Look at a file or directory; the outcome's item `stat` has the ten numbers."""

    file: str

    def _default_name(self) -> str:
        return f"stat {self.file}"


@attrs.frozen(kw_only=True)
class Glob(Step):
    """Find what matches a pattern (slaves since 0.8.9); the outcome's item `files` has the absolute paths."""

    pattern: str

    def _default_name(self) -> str:
        return f"glob {self.pattern}"


@attrs.frozen(kw_only=True)
class ListDirectory(Step):
    """Name what is in a directory (slaves since 0.8.9); the outcome's item `files` has the names."""

    dir: str

    def _default_name(self) -> str:
        return f"listdir {self.dir}"


@attrs.frozen(kw_only=True)
class UploadFile(Step):
    """Bring a file from the slave to the master. It appears there when it is complete.

    Args:
        src: on the slave.
        dest: on the master, absolute.
        max_size: a larger one is a failure; None for the master's `upload_max_size`.
        block_size: of one block.
        mode: permission bits; None for those of any new file.
        keep_stamp: whether it keeps its times.
    """

    src: str
    dest: str
    max_size: int | None = None
    block_size: int = BLOCK_SIZE
    mode: int | None = None
    keep_stamp: bool = False

    def _default_name(self) -> str:
        return f"upload {self.src}"


@attrs.frozen(kw_only=True)
class UploadDirectory(Step):
    """Bring what is in a directory from the slave to the master, over what is there.

    Args:
        src: on the slave.
        dest: on the master, absolute.
        compress: `gz`, `bz2` or empty.
        max_size: of the archive on its way; None for the master's `upload_max_size`.
        block_size: of one block.
        unpack_limit: of all files together.
        unpack_entries: most files, directories and links.
    """

    src: str
    dest: str
    compress: str = ""
    max_size: int | None = None
    block_size: int = BLOCK_SIZE
    unpack_limit: int = UNPACK_LIMIT
    unpack_entries: int = UNPACK_ENTRIES

    def _default_name(self) -> str:
        return f"upload_dir {self.src}"


@attrs.frozen(kw_only=True)
class DownloadFile(Step):
    """Bring a file from the master to the slave.

    Args:
        src: on the master, absolute.
        dest: on the slave.
        max_size: a larger one is a failure; None for any size.
        block_size: of one block.
        mode: permission bits; None leaves them to the slave.
    """

    src: str
    dest: str
    max_size: int | None = None
    block_size: int = BLOCK_SIZE
    mode: int | None = None

    def _default_name(self) -> str:
        return f"download {self.dest}"


@attrs.frozen(kw_only=True)
class DownloadString(Step):
    """Write a file on the slave.

    Args:
        data: what is in it.
        dest: on the slave.
        block_size: of one block.
        mode: permission bits; None leaves them to the slave.
    """

    data: bytes | Secret
    dest: str
    block_size: int = BLOCK_SIZE
    mode: int | None = None

    def _default_name(self) -> str:
        return f"download {self.dest}"


AnyStep: TypeAlias = (
    Shell
    | MakeDirectory
    | RemoveDirectory
    | CopyDirectory
    | RemoveFile
    | StatFile
    | Glob
    | ListDirectory
    | UploadFile
    | UploadDirectory
    | DownloadFile
    | DownloadString
)
