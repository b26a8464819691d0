"""Output without end: what masters have of it, and what it costs our slave.

    python benchmarks/output.py [--megabytes 1000] [--new-megabytes 100] [--master old new scripted]
                                [--runner threads trio] [--json]

A command prints a file that was made before: a million lines; one line without a newline of 1, 10, 100 and 1000 MB;
5 MB of characters of two to four bytes, of which nearly every read cuts one, as does the end; 5 MB of random bytes.
Three masters take it:

    old       Buildbot 0.8.4p1; its log has to be what was printed, byte by byte.
    new       Buildbot 4.3.0; its log has to be the same, with replacement characters for what is no UTF-8. It breaks
              lines up behind 4096 characters and makes newlines of carriage returns and backspaces, therefore none of
              these count, but among the million lines, where they do. As it makes newlines of cursor movements, too,
              there is no escape among the random bytes. It stores about 3 MB a second and keeps the rest in its memory,
              therefore the longest line for it is --new-megabytes.
    scripted  the master of slaveproto.testing.conformance; it keeps a digest only, but of every byte.

Memory is the resident set of the slave before, its peak until the end of the build, and the same of a real master. The
masters' logs and the file are on the disk together: up to four times --megabytes.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import hashlib
import itertools
import json
import os
import sqlite3
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, get_args

import attrs

sys.path.insert(0, str(Path(__file__).parent.parent))

from slaveproto.testing.conformance.socket_master import MasterSocket
from slaveproto.testing.peers import BuildResult, Kind, OurSlave, RealBuilder, RealMaster, Runner

MASTERS: Final = ("old", "new", "scripted")

PATIENCE: Final = 1800.0
"""Seconds that a build may take."""

LOST_BY_NEW: Final = b"\n\r\b"
"""Characters that 4.3.0 turns into newlines, and newlines, which it doubles."""


# -- what is printed


def lines(size: int) -> Iterator[bytes]:
    """Numbers, each on a line; `size` is their count."""
    for start in range(0, size, 100_000):
        yield b"".join(b"%d\n" % number for number in range(start, min(start + 100_000, size)))


def line(size: int) -> Iterator[bytes]:
    """Numbered pieces of a line that has no end."""
    piece = b"%012d" + b"." * 988
    for start in range(0, size, 1_000_000):
        yield b"".join(piece % number for number in range(start // 1000, start // 1000 + 1000))[: size - start]


def noise(size: int) -> Iterator[bytes]:
    """Random bytes, but no escape."""
    for start in range(0, size, 1_000_000):
        yield os.urandom(min(1_000_000, size - start)).replace(b"\033", b"\377")


def characters(size: int) -> Iterator[bytes]:
    """Characters of two to four bytes, the last one cut."""
    piece = "ä€☃\N{GRINNING FACE}".encode() * 80_000
    for start in range(0, size, len(piece)):
        yield piece[: size - start]


@attrs.frozen
class Case:
    """Something to print.

    Args:
        name: for people.
        size: bytes, or the number of lines.
        make: makes the bytes.
    """

    name: str
    size: int
    make: Callable[[int], Iterator[bytes]]

    @property
    def shown(self) -> str:
        """Name and size."""
        return f"{self.size:,} lines" if self.make is lines else f"{self.name}, {self.size / 1e6:g} MB"


@attrs.frozen
class Printed:
    """SHA-256 of what was printed, as the masters are to have it.

    Args:
        size: bytes.
        raw: byte by byte.
        text: in UTF-8, after what is none was replaced.
        flat: the same without what may be or become a newline.
    """

    size: int
    raw: str
    text: str
    flat: str


def write(case: Case, path: Path) -> Printed:
    """Make the file."""
    raw, text, flat = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for piece in itertools.chain(case.make(case.size), [b""]):
            file.write(piece)
            raw.update(piece)
            known = decoder.decode(piece, final=not piece).encode()
            text.update(known)
            flat.update(known.translate(None, LOST_BY_NEW))
    return Printed(path.stat().st_size, raw.hexdigest(), text.hexdigest(), flat.hexdigest())


# -- what the masters stored


def stored_by_old(master: RealMaster, build: BuildResult) -> hashlib._Hash:
    """Digest the output of a build: netstrings of a digit for the stream, 0 is standard output, and a piece."""
    found = hashlib.sha256()
    with open(master.directory / f"m_{build.builder}" / f"{build.number}-log-shell-stdio", "rb") as file:
        while length := b"".join(iter(lambda: file.read(1).rstrip(b":"), b"")):
            piece = file.read(int(length) + 1)
            if piece[:1] == b"0":
                found.update(piece[1:-1])
    return found


CHUNKS: Final = """
    SELECT content, compressed FROM logchunks
    JOIN logs ON logs.id = logid JOIN steps ON steps.id = stepid JOIN builds ON builds.id = buildid
    JOIN builders ON builders.id = builderid
    WHERE builders.name = ? AND builds.number = ? AND steps.name = 'shell' AND slug = 'stdio' ORDER BY first_line
"""


def stored_by_new(master: RealMaster, build: BuildResult, *, flat: bool) -> hashlib._Hash:
    """Digest the output of a build: chunks of lines, each with a letter for the stream, o is standard output."""
    found = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(master.directory / "state.sqlite")) as database:
        for content, compressed in database.execute(CHUNKS, (build.builder, build.number)):
            chunk = zlib.decompress(content) if compressed else content
            text = b"".join(line[1:] + b"\n" for line in chunk.split(b"\n") if line[:1] == b"o")
            found.update(text.translate(None, LOST_BY_NEW) if flat else text)
    return found


# -- measuring


@attrs.frozen
class Row:
    """One output.

    Args:
        master: "old", "new" or "scripted".
        runner: what our slave ran on.
        what: what was printed.
        size: bytes of it.
        seconds: of the build.
        before: megabytes of the slave's memory before.
        peak: the most of it meanwhile.
        master_peak: the same of the master; None for the scripted one.
        complete: whether the master has all of it.
    """

    master: str
    runner: Runner
    what: str
    size: int
    seconds: float
    before: float
    peak: float
    master_peak: float | None
    complete: bool


def cases(most: int) -> list[Case]:
    """Everything to print, with lines of `most` bytes at most."""
    sizes = [size for size in (10**6, 10**7, 10**8, 10**9) if size <= most]
    return [
        Case("lines", 10**6, lines),
        *(Case("one line", size, line) for size in sizes),
        Case("characters", 5 * 10**6, characters),
        Case("noise", 5 * 10**6, noise),
    ]


def with_real_master(kind: Kind, runners: list[Runner], folder: Path, most: int) -> Iterator[Row]:
    """Let a real master have it all; its disk is read when it has stopped."""
    builders = [RealBuilder(f"cat-{runner}", "cat", (runner,)) for runner in runners]
    found: list[tuple[Row, Callable[[], bool]]] = []
    slaves = {str(runner): "pw" for runner in runners}
    with RealMaster(kind, folder / "master", builders, slaves=slaves, tell_logs=False) as master:
        for runner in runners:
            with OurSlave(folder / runner, master, runner, runner=runner) as slave:
                master.wait_attached(runner)
                for case in cases(most):
                    printed = write(case, slave.directory / f"cat-{runner}" / "build" / "data")
                    before, _, start = slave.forget_peak(), master.forget_peak(), time.monotonic()
                    build = master.build(f"cat-{runner}", PATIENCE)
                    seconds = time.monotonic() - start
                    peaks = slave.peak_memory, master.peak_memory
                    good = build.result == "success"
                    row = Row(kind, runner, case.shown, printed.size, seconds, before, *peaks, good)
                    found.append((row, partial(_is_complete, master, build, case, printed)))
    for row, is_complete in found:
        yield attrs.evolve(row, complete=row.complete and is_complete())


def _is_complete(master: RealMaster, build: BuildResult, case: Case, printed: Printed) -> bool:
    if master.kind == "old":
        return stored_by_old(master, build).hexdigest() == printed.raw
    if case.make is lines:
        return stored_by_new(master, build, flat=False).hexdigest() == printed.text
    return stored_by_new(master, build, flat=True).hexdigest() == printed.flat


@attrs.frozen
class Door:
    """Where the slave of the scripted master logs in."""

    port: int
    host: str = "127.0.0.1"
    slaves: dict[str, str] = attrs.field(factory=lambda: {"ex": "secret"})


def with_scripted_master(runners: list[Runner], folder: Path, most: int) -> Iterator[Row]:
    """Let the scripted master have it all."""
    for runner in runners:
        with (
            MasterSocket() as listener,
            OurSlave(folder / runner, Door(listener.port), "ex", runner=runner) as slave,
            listener.attach("b") as master,
        ):
            for case in cases(most):
                printed = write(case, slave.directory / "b" / "data")
                before, start = slave.forget_peak(), time.monotonic()
                step = master.start("b", "cat data", keep=False)
                master.wait_for(lambda step=step: step.ends, PATIENCE)  # type: ignore[misc]
                seconds = time.monotonic() - start
                complete = step.rc == 0 and step.digests["stdout"].hexdigest() == printed.text
                yield Row(
                    "scripted", runner, case.shown, printed.size, seconds, before, slave.peak_memory, None, complete
                )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="the longest line (default: 1000)")
    parser.add_argument("--new-megabytes", type=int, default=100, help="the longest for 4.3.0 (default: 100)")
    parser.add_argument("--master", nargs="+", choices=MASTERS, default=MASTERS)
    parser.add_argument("--runner", nargs="+", choices=get_args(Runner), default=get_args(Runner))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    most = options.megabytes * 10**6
    if not options.json:
        print(f"{'master':>9}{'slave':>9}{'':>2}{'output':24}{'s':>9}{'slave, MB':>16}{'master, MB':>12}  complete")
    found: list[Row] = []
    for name in options.master:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if name == "scripted":
                rows = with_scripted_master(options.runner, folder, most)
            else:
                limit = min(most, options.new_megabytes * 10**6) if name == "new" else most
                rows = with_real_master(name, options.runner, folder, limit)
            for row in rows:
                found.append(row)
                if not options.json:
                    print(f"{row.master:>9}{row.runner:>9}  {row.what:24}{row.seconds:>9.2f}", end="")
                    print(f"{row.before:>8.1f}{row.peak:>8.1f}", end="")
                    print(f"{row.master_peak or 0:>12.0f}  {'yes' if row.complete else 'NO'}", flush=True)
    if options.json:
        print(json.dumps([attrs.asdict(row) for row in found]))
    return 0 if all(row.complete for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
