"""The memory of `slaveproto master`: one SQLite file, and a folder of logs.

A request waits until a build takes it; a build takes all that wait for its builder and ask for the same. A build that
ends with RETRY gives its requests back, and so does one that was still running when the master itself ended.

The file has the number of its format. Format 2, in which requests asked for nothing but what their change told, is
brought up to date when a master opens it, in one transaction; what only reads leaves it as it is, and reads it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, Final

import attrs

from slaveproto.ci.errors import CannotStore, UsageError
from slaveproto.ci.properties import OF_REQUESTS, asked_by, pack, told_together, unpack
from slaveproto.ci.scheduler import Wish
from slaveproto.master.changes import Change
from slaveproto.master.results import Result

FILE_NAME: Final = "state.sqlite"
VERSION: Final = 3
_BAD: Final = (Result.FAILURE, Result.EXCEPTION)
_BEFORE: Final = 2
LARGEST: Final = 2**63 - 1
_SCHEMA: Final = """
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received REAL NOT NULL, who TEXT NOT NULL, files TEXT NOT NULL,
    comments TEXT NOT NULL, revision TEXT NOT NULL, branch TEXT NOT NULL, repository TEXT NOT NULL,
    project TEXT NOT NULL, category TEXT NOT NULL, revlink TEXT NOT NULL, codebase TEXT NOT NULL, made REAL,
    properties TEXT NOT NULL
);
CREATE TABLE builds (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, slave TEXT NOT NULL, reason TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, elapsed REAL, result TEXT,
    why TEXT NOT NULL DEFAULT '', bytes INTEGER NOT NULL DEFAULT 0, properties TEXT NOT NULL DEFAULT ''
);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT, builder TEXT NOT NULL, reason TEXT NOT NULL,
    change INTEGER REFERENCES changes, created REAL NOT NULL, build INTEGER REFERENCES builds,
    tries INTEGER NOT NULL DEFAULT 0, asked TEXT NOT NULL DEFAULT ''
);
CREATE TABLE schedules (builder TEXT PRIMARY KEY, last REAL NOT NULL);
CREATE INDEX requests_of_builder ON requests (builder, build);
CREATE INDEX requests_of_build ON requests (build);
CREATE INDEX requests_of_change ON requests (change);
CREATE TABLE steps (
    build INTEGER NOT NULL REFERENCES builds, number INTEGER NOT NULL, name TEXT NOT NULL, started REAL,
    elapsed REAL, result TEXT, rc INTEGER, why TEXT NOT NULL DEFAULT '', PRIMARY KEY (build, number)
);
CREATE TABLE uploads (
    build INTEGER NOT NULL, step INTEGER NOT NULL, target BLOB NOT NULL, begun REAL NOT NULL, PRIMARY KEY (build, step)
);
CREATE TABLE logs (
    build INTEGER NOT NULL REFERENCES builds, step INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL,
    PRIMARY KEY (build, step, name)
);
"""
_PASSED: Final = """
WITH
    placed AS (
        SELECT id, ended, bytes, row_number() OVER (PARTITION BY builder ORDER BY id DESC) AS place
        FROM builds WHERE ended IS NOT NULL
    ),
    recent AS (
        SELECT id, place, sum(bytes) OVER (ORDER BY id DESC) AS bytes_since
        FROM placed WHERE place = 1 OR (place <= :builds AND ended >= :oldest)
    )
SELECT id FROM placed WHERE id NOT IN (SELECT id FROM recent WHERE place = 1 OR bytes_since <= :bytes)
ORDER BY id LIMIT :most
"""
"""Builds that the horizon has passed, the oldest first."""
_CHANGES_PASSED: Final = """
id <= (SELECT max(id) FROM changes) - :builds AND id NOT IN (SELECT change FROM requests WHERE change IS NOT NULL)
"""
MOST_PRUNED: Final = 100
"""Builds that are forgotten in one transaction."""
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
PATIENCE: Final = 1.0
"""Seconds that one call waits for another program to leave the file; a longer wait is the caller's affair."""
_FOR_A_WHILE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_LOCKED: "another program holds it locked",
    sqlite3.SQLITE_IOERR: "input or output fails, perhaps because the disk is full",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened, perhaps because the disk is full",
    sqlite3.SQLITE_READONLY: "the disk can only be read",
}
"""Errors that may pass, in words; the code is the lower byte of SQLite's."""
_NOT_AT_FIRST: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""Those that at the start of a program are a mistake in its call."""
_ROOM: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


@attrs.frozen
class BuildRow:
    """A build as it is remembered; what is not known yet is None.

    Args:
        id: its number.
        builder: what was built.
        slave: where.
        reason: why.
        started: seconds since 1970, by a clock that may have been wrong.
        ended: likewise.
        elapsed: seconds by a clock that only goes on; None if it did not see the end.
        result: its word.
        why: the reason of the result, where no step has it.
        properties: as they are shown.
    """

    id: int
    builder: str
    slave: str
    reason: str
    started: float
    ended: float | None
    elapsed: float | None
    result: str | None
    why: str
    properties: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class StepRow:
    """A step of a build as it is remembered; what is not known yet is None.

    Args:
        number: from 1.
        name: of the step.
        elapsed: seconds.
        result: its word.
        rc: the exit code, if there is one.
        why: the reason of the result.
        logs: files of its logs in the folder, by their names.
    """

    number: int
    name: str
    elapsed: float | None
    result: str | None
    rc: int | None
    why: str
    logs: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Horizon:
    """Limits of what is remembered: a build that is beyond one of them is forgotten, but for the last of its builder.

    Args:
        builds: how many of each builder; and how many changes that no build needed.
        seconds: since their end; None for any time.
        bytes: of the logs of all of them.
    """

    builds: int
    seconds: float | None
    bytes: int


class Store:
    """The file. Times are in seconds since 1970. One thread at a time may use it.

    Every method may raise `CannotStore`; nothing is changed then, and the call can be made again.

    Args:
        state_dir: the folder; it has to be there.
        read_only: whether nothing is to be changed, nor made.

    Raises:
        UsageError: the file is no such file, that of another version, or only to be read.
    """

    def __init__(self, state_dir: str, *, read_only: bool = False) -> None:
        self._folder = state_dir
        self._path = os.path.join(state_dir, FILE_NAME)
        with self._errors(_NOT_AT_FIRST):
            address = f"file:{_quoted(self._path)}?mode={'ro' if read_only else 'rwc'}"
            self._db = sqlite3.connect(
                address, uri=True, isolation_level=None, check_same_thread=False, timeout=PATIENCE
            )
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
        if version not in (0, _BEFORE, VERSION):
            raise UsageError(
                f"{self._path}: written by another version of slaveproto (format {version}, not {VERSION})"
            )
        if version == 0 and not read_only:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version == _BEFORE and not read_only:
            self._bring_up_to_date()
        self._has_properties = version != _BEFORE or not read_only

    def _bring_up_to_date(self) -> None:
        with self._write() as db:
            for table, column in (("builds", "properties"), ("requests", "asked")):
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
            changes = db.execute(f"SELECT id, {', '.join(OF_REQUESTS)} FROM changes").fetchall()
            packed = ((pack(dict(zip(OF_REQUESTS, texts, strict=True))), number) for number, *texts in changes)
            db.executemany("UPDATE requests SET asked = ? WHERE change = ?", packed)
            db.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _errors(self, mistakes: frozenset[int] = frozenset()) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # An interface that is used wrongly has no code.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _FOR_A_WHILE and code not in mistakes:
                raise CannotStore(self._path, f"{_FOR_A_WHILE[code]} ({error})", full=code in _ROOM) from None
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

    def check(self) -> None:
        """Write something that changes nothing."""
        with self._write() as db:
            db.execute(f"PRAGMA user_version = {VERSION}")

    def prune(self, horizon: Horizon, now: float) -> int:
        """Forget what is beyond the horizon, `MOST_PRUNED` builds at most, with their logs; returns how many builds.

        Numbers are not given again. Builds that run are not forgotten, nor is what waits.

        Raises:
            OSError: a log cannot be removed; its build is still known.
        """
        oldest = -math.inf if horizon.seconds is None else now - horizon.seconds
        limits = {"builds": horizon.builds, "oldest": oldest, "bytes": horizon.bytes, "most": MOST_PRUNED}
        with self._errors():
            passed = self._db.execute(_PASSED, limits).fetchall()
            query = f"SELECT EXISTS (SELECT 1 FROM changes WHERE {_CHANGES_PASSED})"
            (changes,) = self._db.execute(query, limits).fetchone()
        # The logs first: what is interrupted here is done again by the next call.
        for (build,) in passed:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._logs_of(build))
        if passed or changes:
            with self._write() as db:
                for table, column in (("logs", "build"), ("steps", "build"), ("requests", "build"), ("builds", "id")):
                    db.executemany(f"DELETE FROM {table} WHERE {column} = ?", passed)
                db.execute(f"DELETE FROM changes WHERE {_CHANGES_PASSED}", limits)
        return len(passed)

    def _logs_of(self, build: int) -> str:
        return os.path.join(self._folder, "logs", str(build))

    def _size_of(self, build: int) -> int:
        try:
            with os.scandir(self._logs_of(build)) as logs:
                return sum(log.stat().st_size for log in logs)
        except OSError:
            return 0

    def recover(self, now: float, attempts: int) -> dict[int, str]:
        """Give back the requests of builds that never ended, but for those that were tried `attempts` times.

        Returns the reason why a build is given up, or an empty text, for each such build.
        """
        with self._write() as db:
            query = (
                "SELECT id, (SELECT max(tries) FROM requests WHERE build = builds.id) FROM builds WHERE ended IS NULL"
            )
            lost = {}
            for build, tries in db.execute(query).fetchall():
                last = tries is not None and tries >= attempts
                lost[build] = f"given up after {tries} tries: the master ended in it" if last else ""
                self._end(db, build, Result.EXCEPTION if last else Result.RETRY, now, None, lost[build])
        return lost

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
                _add_request(db, builder, f"change {number} by {change.who}", now, pack(asked_by(change)), number)
        return number

    def add_request(self, builder: str, reason: str, now: float, asked: str = "", *, scheduled: bool = False) -> int:
        """Remember that a builder is to be built, and what is asked of it; returns the request's number."""
        with self._write() as db:
            if scheduled:
                db.execute("INSERT OR REPLACE INTO schedules (builder, last) VALUES (?, ?)", (builder, now))
            return _add_request(db, builder, reason, now, asked)

    def pending(self) -> dict[Wish, int]:
        """Return what requests wait for, the longest waiting first, and how often each was tried."""
        with self._errors():
            query = (
                "SELECT builder, asked, max(tries) FROM requests WHERE build IS NULL GROUP BY builder, asked "
                "ORDER BY min(id)"
            )
            return {Wish(builder, asked): tries for builder, asked, tries in self._db.execute(query)}

    def last_scheduled(self) -> dict[str, float]:
        """Return when each builder was last requested because it was time, for those that ever were."""
        with self._errors():
            return dict(self._db.execute("SELECT builder, last FROM schedules"))

    def begin_build(self, builder: str, slave: str, now: float, asked: str = "") -> int:
        """Remember that a build began, which takes all requests that ask for the same; returns its number."""
        with self._write() as db:
            query = "SELECT reason FROM requests WHERE builder = ? AND asked = ? AND build IS NULL ORDER BY id"
            reasons = [row[0] for row in db.execute(query, (builder, asked))]
            reason = "; ".join(dict.fromkeys(reasons[:MOST_REASONS]))
            if len(reasons) > MOST_REASONS:
                reason += f"; and {len(reasons) - MOST_REASONS} more"
            cursor = db.execute(
                "INSERT INTO builds (builder, slave, reason, started) VALUES (?, ?, ?, ?)",
                (builder, slave, reason, now),
            )
            build = cursor.lastrowid or 0
            query = "UPDATE requests SET build = ?, tries = tries + 1 WHERE builder = ? AND asked = ? AND build IS NULL"
            db.execute(query, (build, builder, asked))
        return build

    def set_properties(self, build: int, properties: Mapping[str, str]) -> None:
        """Remember what is shown of the properties of a build."""
        with self._write() as db:
            db.execute("UPDATE builds SET properties = ? WHERE id = ?", (pack(properties), build))

    def told_of(self, build: int) -> dict[str, str]:
        """Return the words `properties.ABOUT` of the changes that a build answers."""
        with self._errors():
            query = (
                "SELECT who, files FROM changes WHERE id IN (SELECT change FROM requests WHERE build = ?) ORDER BY id"
            )
            found = self._db.execute(query, (build,)).fetchall()
        return told_together((who, map(_text, json.loads(files))) for who, files in found)

    def end_build(
        self, build: int, result: Result, now: float, elapsed: float, why: str = "", *, counted: bool = True
    ) -> list[int]:
        """Remember how a build ended; returns the requests that are done with it.

        Args:
            build: its number.
            result: how it ended.
            now: seconds since 1970.
            elapsed: seconds that it took.
            why: the reason, where no step has it.
            counted: whether it counts among the tries of its requests.
        """
        with self._write() as db:
            if not counted:
                db.execute("UPDATE requests SET tries = tries - 1 WHERE build = ?", (build,))
            return self._end(db, build, result, now, elapsed, why)

    def _end(
        self, db: sqlite3.Connection, build: int, result: Result, now: float, elapsed: float | None, why: str
    ) -> list[int]:
        query = "UPDATE builds SET result = ?, ended = ?, elapsed = ?, why = ?, bytes = ? WHERE id = ?"
        db.execute(query, (result.word, now, elapsed, _text(why), self._size_of(build), build))
        if result is Result.RETRY:
            db.execute("UPDATE requests SET build = NULL WHERE build = ?", (build,))
            return []
        return [row[0] for row in db.execute("SELECT id FROM requests WHERE build = ?", (build,))]

    def begin_step(self, build: int, number: int, name: str, now: float, target: str | None = None) -> None:
        """Remember that a step began, and the path on the master that it writes to, until it ends."""
        with self._write() as db:
            if target is not None:
                query = "INSERT INTO uploads (build, step, target, begun) VALUES (?, ?, ?, ?)"
                db.execute(query, (build, number, os.fsencode(target), now))
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
            db.execute("DELETE FROM uploads WHERE build = ? AND step = ?", (build, number))
            db.execute(
                "UPDATE steps SET result = ?, rc = ?, why = ?, elapsed = ? WHERE build = ? AND number = ?",
                (result.word, rc, _text(why), elapsed, build, number),
            )

    def uploads(self) -> list[tuple[str, float]]:
        """Return the targets of the steps that did not end, and when these began."""
        with self._errors():
            found = self._db.execute("SELECT target, begun FROM uploads ORDER BY build, step")
            return [(os.fsdecode(target), begun) for target, begun in found]

    def forget_uploads(self) -> None:
        """Forget those targets: nothing of them is left."""
        with self._write() as db:
            db.execute("DELETE FROM uploads")

    def skip_step(self, build: int, number: int, name: str) -> None:
        """Remember a step that was not run."""
        with self._write() as db:
            db.execute(
                "INSERT INTO steps (build, number, name, result) VALUES (?, ?, ?, ?)",
                (build, number, _text(name), Result.SKIPPED.word),
            )

    def open_log(self, build: int, step: int, name: str) -> tuple[BinaryIO, str]:
        """Make the file of a log, and return it with its path in the folder. Any thread may do so.

        Raises:
            OSError: it cannot be made.
        """
        folder = os.path.join("logs", str(build))
        short = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]
        os.makedirs(os.path.join(self._folder, folder), exist_ok=True)
        for number in range(1, 1000):
            path = os.path.join(folder, f"{step}-{short}{f'-{number}' if number > 1 else ''}.log")
            try:
                return open(os.path.join(self._folder, path), "xb", buffering=0), path
            except FileExistsError:
                continue
        raise FileExistsError(f"{path} and many like it")

    def add_log(self, build: int, step: int, name: str, path: str) -> None:
        """Remember the log that is in a file of the folder."""
        with self._write() as db:
            db.execute(
                "INSERT OR REPLACE INTO logs (build, step, name, file) VALUES (?, ?, ?, ?)",
                (build, step, _text(name), path),
            )

    def builds(self, count: int) -> list[BuildRow]:
        """Return the last builds, the newest first."""
        with self._errors():
            *names, properties = attrs.fields_dict(BuildRow)
            columns = ", ".join((*names, properties if self._has_properties else "''"))
            found = self._db.execute(f"SELECT {columns} FROM builds ORDER BY id DESC LIMIT ?", (count,))
            return [attrs.evolve(BuildRow(*row), properties=unpack(packed)) for *row, packed in found]

    def last_results(self) -> dict[str, str]:
        """Return how each builder stands: the result of its last build that counts."""
        with self._errors():
            counting = ", ".join(repr(result.word) for result in (Result.SUCCESS, Result.WARNINGS, *_BAD))
            query = f"SELECT builder, result, max(id) FROM builds WHERE result IN ({counting}) GROUP BY builder"
            return {builder: result for builder, result, _ in self._db.execute(query)}

    def is_running(self, build: int) -> bool | None:
        """Return whether a build has no end yet; None if it is not remembered."""
        with self._errors():
            found = self._db.execute("SELECT ended IS NULL FROM builds WHERE id = ?", (build,)).fetchone()
        return None if found is None else bool(found[0])

    def steps(self, build: int) -> list[StepRow]:
        """Return the steps of a build that began or were skipped, in their order."""
        with self._errors():
            query = "SELECT number, name, elapsed, result, rc, why FROM steps WHERE build = ? ORDER BY number"
            steps = [StepRow(*row) for row in self._db.execute(query, (build,))]
            query = "SELECT step, name, file FROM logs WHERE build = ? ORDER BY step, rowid"
            logs: dict[int, dict[str, str]] = {}
            for step, name, file in self._db.execute(query, (build,)):
                logs.setdefault(step, {})[name] = file
        return [attrs.evolve(step, logs=logs.get(step.number, {})) for step in steps]


def _add_request(
    db: sqlite3.Connection, builder: str, reason: str, now: float, asked: str, change: int | None = None
) -> int:
    cursor = db.execute(
        "INSERT INTO requests (builder, reason, change, created, asked) VALUES (?, ?, ?, ?, ?)",
        (builder, _text(reason), change, now, asked),
    )
    return cursor.lastrowid or 0


def _text(text: str) -> str:
    """Return a text that SQLite takes: what is no Unicode, it does not."""
    return text.encode("utf-8", "backslashreplace").decode()


def _simple(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else type(value).__name__


def _quoted(path: str) -> str:
    return re.sub(r"[%?#]", lambda match: f"%{ord(match[0]):02x}", path)
