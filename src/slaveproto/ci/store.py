"""The memory of `slaveproto master`: one SQLite file, and a folder of logs.

A request waits until a build takes it; a build takes all that wait for its builder. A build that ends with RETRY gives
its requests back, and so does one that was still running when the master itself ended.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

import attrs

from slaveproto.ci.errors import UsageError
from slaveproto.ci.schedule import TOLD
from slaveproto.master.changes import Change
from slaveproto.master.results import Result

FILE_NAME: Final = "state.sqlite"
VERSION: Final = 1
LARGEST: Final = 2**63 - 1
_SCHEMA: Final = """
CREATE TABLE changes (
    id INTEGER PRIMARY KEY, received REAL NOT NULL, who TEXT NOT NULL, files TEXT NOT NULL, comments TEXT NOT NULL,
    revision TEXT NOT NULL, branch TEXT NOT NULL, repository TEXT NOT NULL, project TEXT NOT NULL,
    category TEXT NOT NULL, revlink TEXT NOT NULL, codebase TEXT NOT NULL, made REAL, properties TEXT NOT NULL
);
CREATE TABLE builds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, slave TEXT NOT NULL, reason TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, result TEXT
);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, reason TEXT NOT NULL, scheduled INTEGER NOT NULL,
    change INTEGER REFERENCES changes, created REAL NOT NULL, build INTEGER REFERENCES builds
);
CREATE INDEX requests_of_builder ON requests (builder, build);
CREATE INDEX requests_of_build ON requests (build);
CREATE TABLE steps (
    build INTEGER NOT NULL REFERENCES builds, number INTEGER NOT NULL, name TEXT NOT NULL, started REAL,
    elapsed REAL, result TEXT, rc INTEGER, why TEXT NOT NULL DEFAULT '', PRIMARY KEY (build, number)
);
CREATE TABLE logs (
    build INTEGER NOT NULL REFERENCES builds, step INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
    PRIMARY KEY (build, step, name)
);
"""
_CHANGE_TEXTS: Final = (
    "who",
    "comments",
    "revision",
    "branch",
    "repository",
    "project",
    "category",
    "revlink",
    "codebase",
)
MOST_REASONS: Final = 10


@attrs.frozen
class BuildRow:
    """A build as it is remembered; `ended` and `result` are None while it runs."""

    id: int
    builder: str
    slave: str
    reason: str
    started: float
    ended: float | None
    result: str | None


class Store:
    """The file. Times are in seconds since 1970. One thread at a time may use it.

    Args:
        state_dir: the folder; it has to be there.
        read_only: whether nothing is to be changed, nor made.

    Raises:
        UsageError: the file is no such file, or that of a later version.
    """

    def __init__(self, state_dir: str, *, read_only: bool = False) -> None:
        self._folder = state_dir
        self._path = os.path.join(state_dir, FILE_NAME)
        with self._errors():
            address = f"file:{_quoted(self._path)}?mode={'ro' if read_only else 'rwc'}"
            self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
            try:
                self._set_up(read_only)
            except BaseException:
                self._db.close()
                raise

    def _set_up(self, read_only: bool) -> None:
        if not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            # A build that was told as finished stays so even if the machine stops.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise UsageError(f"{self._path}: written by a later version of slaveproto (format {version})")
        if version == 0 and not read_only:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UsageError(f"{self._path}: {error}") from None

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it happens, or nothing."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk may have ended it already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def recover(self, now: float) -> int:
        """Give back the requests of builds that never ended; returns how many builds that were."""
        with self._write() as db:
            lost = [row[0] for row in db.execute("SELECT id FROM builds WHERE ended IS NULL")]
            for build in lost:
                _end(db, build, Result.RETRY, now)
        return len(lost)

    def add_change(self, change: Change, builders: Sequence[str], now: float) -> int:
        """Remember a change, and a request for each of the builders; returns the change's number."""
        with self._write() as db:
            texts = {key: _text(getattr(change, key)) for key in _CHANGE_TEXTS}
            row = {
                "received": now,
                **texts,
                "files": json.dumps(change.files),
                "made": change.when,
                # Of what has parts, the kind only: parts that are shared can be of any length when written out.
                "properties": json.dumps({name: _simple(value) for name, value in change.properties.items()}),
            }
            columns, places = ", ".join(row), ", ".join("?" * len(row))
            cursor = db.execute(f"INSERT INTO changes ({columns}) VALUES ({places})", tuple(row.values()))
            number = cursor.lastrowid or 0
            for builder in builders:
                _add_request(db, builder, f"change {number} by {change.who}", now, change=number)
        return number

    def add_request(self, builder: str, reason: str, now: float, *, scheduled: bool = False) -> int:
        """Remember that a builder is to be built; returns the request's number."""
        with self._write() as db:
            return _add_request(db, builder, reason, now, scheduled=scheduled)

    def pending(self) -> list[str]:
        """Return the builders that requests wait for, the longest waiting first."""
        with self._errors():
            found = self._db.execute(
                "SELECT builder FROM requests WHERE build IS NULL GROUP BY builder ORDER BY min(id)"
            )
            return [row[0] for row in found]

    def last_scheduled(self, builder: str) -> float | None:
        """Return when a builder was last requested because it was time."""
        with self._errors():
            query = "SELECT max(created) FROM requests WHERE builder = ? AND scheduled"
            (when,) = self._db.execute(query, (builder,)).fetchone()
        return None if when is None else float(when)

    def begin_build(self, builder: str, slave: str, now: float) -> int:
        """Remember that a build began, which takes all requests for its builder; returns its number."""
        with self._write() as db:
            query = "SELECT reason FROM requests WHERE builder = ? AND build IS NULL ORDER BY id"
            reasons = [row[0] for row in db.execute(query, (builder,))]
            reason = "; ".join(dict.fromkeys(reasons[:MOST_REASONS]))
            if len(reasons) > MOST_REASONS:
                reason += f"; and {len(reasons) - MOST_REASONS} more"
            cursor = db.execute(
                "INSERT INTO builds (builder, slave, reason, started) VALUES (?, ?, ?, ?)",
                (builder, slave, reason, now),
            )
            build = cursor.lastrowid or 0
            db.execute("UPDATE requests SET build = ? WHERE builder = ? AND build IS NULL", (build, builder))
        return build

    def change_of(self, build: int) -> dict[str, str]:
        """Return the texts `TOLD` of the last change that a build answers; empty if it answers none."""
        with self._errors():
            last = "SELECT max(change) FROM requests WHERE build = ?"
            query = f"SELECT {', '.join(TOLD)} FROM changes WHERE id = ({last})"
            found = self._db.execute(query, (build,)).fetchone()
        return {} if found is None else dict(zip(TOLD, found, strict=True))

    def end_build(self, build: int, result: Result, now: float) -> list[int]:
        """Remember how a build ended; returns the requests that are done with it."""
        with self._write() as db:
            return _end(db, build, result, now)

    def begin_step(self, build: int, number: int, name: str, now: float) -> None:
        """Remember that a step began."""
        with self._write() as db:
            db.execute(
                "INSERT INTO steps (build, number, name, started) VALUES (?, ?, ?, ?)",
                (build, number, _text(name), now),
            )

    def end_step(self, build: int, number: int, result: Result, rc: int | None, why: str, elapsed: float) -> None:
        """Remember how a step ended that began."""
        if rc is not None and not -LARGEST <= rc <= LARGEST:
            # What a slave says may be larger than what SQLite knows; the reason has it.
            rc = None
        with self._write() as db:
            db.execute(
                "UPDATE steps SET result = ?, rc = ?, why = ?, elapsed = ? WHERE build = ? AND number = ?",
                (result.word, rc, _text(why), elapsed, build, number),
            )

    def skip_step(self, build: int, number: int, name: str) -> None:
        """Remember a step that was not run."""
        with self._write() as db:
            db.execute(
                "INSERT INTO steps (build, number, name, result) VALUES (?, ?, ?, ?)",
                (build, number, _text(name), Result.SKIPPED.word),
            )

    def open_log(self, build: int, step: int, name: str) -> BinaryIO:
        """Make the file of a log.

        Raises:
            OSError: it cannot be made.
        """
        folder = os.path.join("logs", str(build))
        short = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
        os.makedirs(os.path.join(self._folder, folder), exist_ok=True)
        for number in range(1, 1000):
            path = os.path.join(folder, f"{step}-{short}{f'-{number}' if number > 1 else ''}.log")
            try:
                file = open(os.path.join(self._folder, path), "xb", buffering=0)  # noqa: SIM115
            except FileExistsError:
                continue
            with self._write() as db:
                db.execute(
                    "INSERT OR REPLACE INTO logs (build, step, name, file) VALUES (?, ?, ?, ?)",
                    (build, step, _text(name), path),
                )
            return file
        raise FileExistsError(f"{path} and many like it")

    def builds(self, count: int) -> list[BuildRow]:
        """Return the last builds, the newest first."""
        with self._errors():
            query = "SELECT id, builder, slave, reason, started, ended, result FROM builds ORDER BY id DESC LIMIT ?"
            return [BuildRow(*row) for row in self._db.execute(query, (count,))]


def _add_request(
    db: sqlite3.Connection, builder: str, reason: str, now: float, *, scheduled: bool = False, change: int | None = None
) -> int:
    cursor = db.execute(
        "INSERT INTO requests (builder, reason, scheduled, change, created) VALUES (?, ?, ?, ?, ?)",
        (builder, _text(reason), scheduled, change, now),
    )
    return cursor.lastrowid or 0


def _end(db: sqlite3.Connection, build: int, result: Result, now: float) -> list[int]:
    db.execute("UPDATE builds SET result = ?, ended = ? WHERE id = ?", (result.word, now, build))
    if result is Result.RETRY:
        db.execute("UPDATE requests SET build = NULL WHERE build = ?", (build,))
        return []
    return [row[0] for row in db.execute("SELECT id FROM requests WHERE build = ?", (build,))]


def _text(text: str) -> str:
    """Return a text that SQLite takes: what is no Unicode, it does not."""
    return text.encode("utf-8", "backslashreplace").decode()


def _simple(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def _quoted(path: str) -> str:
    return re.sub(r"[%?#]", lambda match: f"%{ord(match[0]):02x}", path)
