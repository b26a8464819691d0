"""What a master remembers."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from slaveproto.ci.errors import UsageError
from slaveproto.ci.state_dir import lock
from slaveproto.ci.store import VERSION, BuildRow, Store
from slaveproto.master.changes import Change
from slaveproto.master.results import Result

CHANGE = Change(
    "joe", ("a", "b"), "x\udce9", "r1", "main", "", "p", "", "", "", 5.0, {"k": b"\xff", "n": 2**70, "l": [[]]}
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path))
    yield store
    store.close()


def test_requests_wait_for_a_build(store: Store) -> None:
    one = store.add_request("b", "trigger", 1.0)
    store.add_request("a", "schedule", 2.0, scheduled=True)
    two = store.add_request("b", "change 1", 3.0)
    assert store.pending() == ["b", "a"]
    build = store.begin_build("b", "ex", 4.0)
    assert store.pending() == ["a"]
    later = store.add_request("b", "trigger", 4.5)
    assert store.end_build(build, Result.FAILURE, 5.0) == [one, two]
    assert store.pending() == ["a", "b"]
    assert later not in (one, two)
    assert store.builds(5) == [BuildRow(build, "b", "ex", "trigger; change 1", 4.0, 5.0, "failure")]


def test_a_build_that_is_to_be_tried_again_gives_its_requests_back(store: Store) -> None:
    request = store.add_request("b", "trigger", 1.0)
    first = store.begin_build("b", "ex", 2.0)
    assert store.end_build(first, Result.RETRY, 3.0) == []
    assert store.pending() == ["b"]
    second = store.begin_build("b", "ex", 4.0)
    assert store.end_build(second, Result.SUCCESS, 5.0) == [request]
    assert [(row.result, row.reason) for row in store.builds(5)] == [("success", "trigger"), ("retry", "trigger")]


def test_a_master_that_was_killed(tmp_path: Path) -> None:
    """The next one finds what was done, what waited, and what was under way."""
    store = Store(str(tmp_path))
    store.add_request("done", "trigger", 1.0)
    store.end_build(store.begin_build("done", "ex", 1.0), Result.SUCCESS, 2.0)
    store.add_request("under way", "trigger", 1.0)
    build = store.begin_build("under way", "ex", 1.0)
    store.begin_step(build, 1, "step", 1.0)
    store.add_request("waits", "trigger", 1.0)
    # Without a close, as nobody closes anything who is killed.
    after = Store(str(tmp_path))
    assert after.recover(9.0) == 1
    assert after.pending() == ["under way", "waits"]
    assert [(row.builder, row.result, row.ended) for row in after.builds(5)] == [
        ("under way", "retry", 9.0), ("done", "success", 2.0)
    ]  # fmt: skip
    assert after.recover(10.0) == 0
    store.close()
    after.close()


def test_many_reasons(store: Store) -> None:
    for number in range(12):
        store.add_request("b", f"r{number % 11}", 1.0)
    store.begin_build("b", "ex", 2.0)
    assert store.builds(1)[0].reason == "; ".join(f"r{number}" for number in range(10)) + "; and 2 more"


def test_changes(store: Store, tmp_path: Path) -> None:
    assert store.add_change(CHANGE, ["a", "b"], 7.0) == 1
    assert store.add_change(CHANGE, [], 8.0) == 2
    assert store.pending() == ["a", "b"]
    store.begin_build("a", "ex", 9.0)
    assert store.builds(1)[0].reason == "change 1 by joe"
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db, db:
        row = db.execute("SELECT files, comments, properties, made FROM changes WHERE id = 1").fetchone()
    db.close()
    assert (json.loads(row[0]), row[1], json.loads(row[2]), row[3]) == (
        ["a", "b"],
        "x\\udce9",
        {"k": "bytes", "n": 2**70, "l": "list"},
        5.0,
    )


def test_the_change_that_a_build_answers_is_the_last_one(store: Store) -> None:
    for revision in ("1", "2"):
        store.add_change(attrs.evolve(CHANGE, revision=revision, branch="main"), ["a"], 7.0)
    store.add_request("a", "trigger", 7.5)
    store.add_change(attrs.evolve(CHANGE, revision="3"), ["b"], 8.0)
    found = store.change_of(store.begin_build("a", "ex", 9.0))
    assert (found["revision"], found["branch"]) == ("2", "main")
    store.add_request("a", "trigger", 10.0)
    assert store.change_of(store.begin_build("a", "ex", 11.0)) == {}


def test_last_scheduled(store: Store) -> None:
    assert store.last_scheduled("b") is None
    store.add_request("b", "schedule", 5.0, scheduled=True)
    store.add_request("b", "trigger", 6.0)
    assert store.last_scheduled("b") == 5.0


def test_steps_and_logs(store: Store, tmp_path: Path) -> None:
    build = store.begin_build("b", "ex", 1.0)
    store.begin_step(build, 1, "make", 1.0)
    names = ["stdio", "a/b", "a_b", "../../etc"]
    for name in names:
        with store.open_log(build, 1, name) as file:
            file.write(name.encode())
    store.end_step(build, 1, Result.FAILURE, 2, "exit code 2", 0.5)
    store.skip_step(build, 2, "next")
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db, db:
        assert db.execute("SELECT number, name, result, rc, why, elapsed FROM steps").fetchall() == [
            (1, "make", "failure", 2, "exit code 2", 0.5), (2, "next", "skipped", None, "", None)
        ]  # fmt: skip
        files = dict(db.execute("SELECT name, file FROM logs").fetchall())
    db.close()
    assert sorted(files) == sorted(names)
    for name, file_name in files.items():
        path = tmp_path / file_name
        assert path.parent == tmp_path / "logs" / "1"
        assert path.read_text() == name


def test_an_exit_code_that_is_none(store: Store, tmp_path: Path) -> None:
    build = store.begin_build("b", "ex", 1.0)
    store.begin_step(build, 1, "x", 1.0)
    store.end_step(build, 1, Result.FAILURE, 2**400, "exit code ...", 0.5)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        assert db.execute("SELECT result, rc FROM steps").fetchall() == [("failure", None)]


def test_a_store_of_a_later_version(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db, db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(UsageError, match=r"state\.sqlite: written by a later version of slaveproto \(format 2\)"):
        Store(str(tmp_path))


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_text("something else entirely, and long enough to be looked at" * 10)
    with pytest.raises(UsageError, match=r"state\.sqlite: file is not a database"):
        Store(str(tmp_path))


def test_half_a_transaction_is_none(store: Store) -> None:
    store.add_request("b", "trigger", 1.0)
    build = store.begin_build("b", "ex", 1.0)
    store.skip_step(build, 1, "x")
    with pytest.raises(UsageError, match="UNIQUE"):
        store.skip_step(build, 1, "x")
    assert store.end_build(build, Result.SUCCESS, 2.0) == [1]


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told, and the next try is one of its own."""
    opened: list[sqlite3.Connection] = []

    def connect(*args: Any, **how: Any) -> sqlite3.Connection:
        opened.append(real(*args, **how))
        return opened[0]

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    with contextlib.closing(Store(str(tmp_path))) as store:
        opened[0].execute("PRAGMA max_page_count = 20")
        for _ in range(2):
            with pytest.raises(UsageError, match=r"state\.sqlite: database or disk is full$"):
                store.add_request("b", "x" * 1_000_000, 1.0)
        store.add_request("b", "trigger", 1.0)
        assert store.pending() == ["b"]


def test_a_state_directory_is_for_one(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "state")
    with lock(path):
        assert (tmp_path / "a" / "state" / ".gitignore").read_text() == "*\n"
        with pytest.raises(UsageError, match=r"in use by another slaveproto, process [0-9]+$"), lock(path):
            pass
    with lock(path):
        pass


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"Not a directory|File exists"), lock(str(tmp_path / "file" / "state")):
        pass


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    """As on a disk that is full."""
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(UsageError, match=rf"^{tmp_path}: cannot be locked: "), lock(str(tmp_path)):
        pass
