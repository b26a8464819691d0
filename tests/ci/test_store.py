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

from slaveproto.ci import store as store_module
from slaveproto.ci.errors import CannotStore, UsageError
from slaveproto.ci.properties import pack
from slaveproto.ci.scheduler import Wish
from slaveproto.ci.state_dir import lock
from slaveproto.ci.store import MOST_PRUNED, VERSION, BuildRow, Horizon, Store
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
    assert store.pending() == {Wish("b"): 0, Wish("a"): 0}
    build = store.begin_build("b", "ex", 4.0)
    assert store.pending() == {Wish("a"): 0}
    later = store.add_request("b", "trigger", 4.5)
    assert store.end_build(build, Result.FAILURE, 5.0, 1.5) == [one, two]
    assert store.pending() == {Wish("a"): 0, Wish("b"): 0}
    assert later not in (one, two)
    assert store.builds(5) == [BuildRow(build, "b", "ex", "trigger; change 1", 4.0, 5.0, 1.5, "failure", "")]


def test_a_build_that_is_to_be_tried_again_gives_its_requests_back(store: Store) -> None:
    request = store.add_request("b", "trigger", 1.0)
    first = store.begin_build("b", "ex", 2.0)
    assert store.end_build(first, Result.RETRY, 3.0, 1.0) == []
    assert store.pending() == {Wish("b"): 1}
    second = store.begin_build("b", "ex", 4.0)
    assert store.end_build(second, Result.SUCCESS, 5.0, 1.0) == [request]
    assert [(row.result, row.reason) for row in store.builds(5)] == [("success", "trigger"), ("retry", "trigger")]


def test_a_master_that_was_killed(tmp_path: Path) -> None:
    """The next one finds what was done, what waited, and what was under way."""
    store = Store(str(tmp_path))
    store.add_request("done", "trigger", 1.0)
    store.end_build(store.begin_build("done", "ex", 1.0), Result.SUCCESS, 2.0, 1.0)
    store.add_request("under way", "trigger", 1.0)
    build = store.begin_build("under way", "ex", 1.0)
    store.begin_step(build, 1, "step", 1.0)
    store.add_request("waits", "trigger", 1.0)
    # Without a close, as nobody closes anything who is killed.
    after = Store(str(tmp_path))
    assert after.recover(9.0, 2) == {build: ""}
    assert after.pending() == {Wish("under way"): 1, Wish("waits"): 0}
    assert [(row.builder, row.result, row.ended) for row in after.builds(5)] == [
        ("under way", "retry", 9.0), ("done", "success", 2.0)
    ]  # fmt: skip
    assert after.recover(10.0, 2) == {}
    store.close()
    after.close()


def test_a_build_that_ends_its_master_each_time(store: Store) -> None:
    """It is given up; that a slave was lost counts, that a master was stopped does not."""
    store.add_request("b", "trigger", 1.0)
    store.end_build(store.begin_build("b", "ex", 1.0), Result.RETRY, 2.0, 1.0)
    for _ in range(5):
        store.end_build(store.begin_build("b", "ex", 1.0), Result.RETRY, 2.0, 1.0, counted=False)
    assert store.pending() == {Wish("b"): 1}
    second = store.begin_build("b", "ex", 3.0)
    assert store.recover(4.0, 3) == {second: ""}
    assert store.pending() == {Wish("b"): 2}
    store.add_request("b", "trigger", 5.0)
    third = store.begin_build("b", "ex", 5.0)
    assert store.recover(6.0, 3) == {third: "given up after 3 tries: the master ended in it"}
    assert store.pending() == {}
    assert store.builds(1) == [
        BuildRow(
            third, "b", "ex", "trigger", 5.0, 6.0, None, "exception", "given up after 3 tries: the master ended in it"
        )
    ]


def built(store: Store, builder: str, ended: float, size: int = 10, result: Result = Result.SUCCESS) -> int:
    """Build something with a log of `size` bytes."""
    store.add_request(builder, "trigger", ended)
    build = store.begin_build(builder, "ex", ended)
    store.begin_step(build, 1, "x", ended)
    file, path = store.open_log(build, 1, "stdio")
    with file:
        file.write(b"x" * size)
    store.add_log(build, 1, "stdio", path)
    store.end_build(build, result, ended, 1.0)
    return build


@pytest.mark.parametrize(
    ("horizon", "kept"),
    [
        (Horizon(100, None, 1000), [1, 2, 3, 4, 5]),
        (Horizon(2, None, 1000), [3, 4, 5]),
        (Horizon(1, None, 1000), [4, 5]),
        (Horizon(100, 6.0, 1000), [3, 4, 5]),
        # The last one of each builder stays.
        (Horizon(100, 0.5, 1000), [4, 5]),
        (Horizon(100, None, 30), [3, 4, 5]),
        (Horizon(100, None, 1), [4, 5]),
    ],
)
def test_what_is_beyond_the_horizon(store: Store, tmp_path: Path, horizon: Horizon, kept: list[int]) -> None:
    """Builds 1 to 3 and 5 of one builder, 4 of another, and one that runs."""
    for ended, builder in ((1.0, "a"), (2.0, "a"), (5.0, "a"), (6.0, "b"), (9.0, "a")):
        built(store, builder, ended)
    store.add_request("a", "trigger", 9.5)
    running = store.begin_build("a", "ex", 9.5)
    store.begin_step(running, 1, "x", 9.5)
    store.add_request("b", "trigger", 9.6)
    assert store.prune(horizon, 10.0) == 5 - len(kept)
    assert store.prune(horizon, 10.0) == 0
    assert [build.id for build in reversed(store.builds(99))] == [*kept, running]
    assert sorted(int(folder.name) for folder in (tmp_path / "logs").iterdir()) == kept
    assert store.pending() == {Wish("b"): 0}
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        for table in ("logs", "steps", "requests"):
            found = db.execute(f"SELECT build FROM {table} WHERE build < {running} ORDER BY build").fetchall()
            assert [row[0] for row in found] == kept


def test_numbers_are_not_given_again(store: Store) -> None:
    horizon = Horizon(1, None, 1000)
    for _ in range(3):
        store.add_change(CHANGE, [], 1.0)
        built(store, "a", 1.0)
    assert store.prune(horizon, 2.0) == 2
    assert store.add_change(CHANGE, ["a"], 1.0) == 4
    assert built(store, "a", 3.0) == 4
    assert store.prune(horizon, 2.0) == 1


def test_pruning_that_is_interrupted(store: Store, tmp_path: Path) -> None:
    """After the logs, before the rest: it is done again."""
    for _ in range(3):
        built(store, "a", 1.0)
    horizon = Horizon(1, None, 1000)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(CannotStore, match="locked"):
            store.prune(horizon, 2.0)
        db.execute("ROLLBACK")
    assert [folder.name for folder in (tmp_path / "logs").iterdir()] == ["3"]
    assert len(store.builds(9)) == 3
    assert store.prune(horizon, 2.0) == 2
    assert len(store.builds(9)) == 1


def test_many_builds_are_pruned_in_parts(store: Store) -> None:
    for _ in range(MOST_PRUNED + 5):
        store.end_build(store.begin_build("a", "ex", 1.0), Result.SUCCESS, 1.0, 1.0)
    horizon = Horizon(1, None, 1000)
    assert [store.prune(horizon, 2.0) for _ in range(3)] == [MOST_PRUNED, 4, 0]


def test_many_reasons(store: Store) -> None:
    for number in range(12):
        store.add_request("b", f"r{number % 11}", 1.0)
    store.begin_build("b", "ex", 2.0)
    assert store.builds(1)[0].reason == "; ".join(f"r{number}" for number in range(10)) + "; and 2 more"


def test_changes(store: Store, tmp_path: Path) -> None:
    assert store.add_change(CHANGE, ["a", "b"], 7.0) == 1
    assert store.add_change(CHANGE, [], 8.0) == 2
    asked = pack({"revision": "r1", "branch": "main", "project": "p", "n": str(2**70)})
    assert store.pending() == {Wish("a", asked): 0, Wish("b", asked): 0}
    store.begin_build("a", "ex", 9.0, asked)
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


def test_requests_that_ask_for_something_else_wait_for_a_build_of_their_own(store: Store) -> None:
    one, other = (pack({"revision": revision}) for revision in ("1", "2"))
    requests = [store.add_request("b", "trigger", 1.0, asked) for asked in (one, other, one, "")]
    assert store.pending() == {Wish("b", one): 0, Wish("b", other): 0, Wish("b"): 0}
    build = store.begin_build("b", "ex", 2.0, one)
    assert store.pending() == {Wish("b", other): 0, Wish("b"): 0}
    assert store.end_build(build, Result.RETRY, 3.0, 1.0) == []
    assert store.pending() == {Wish("b", one): 1, Wish("b", other): 0, Wish("b"): 0}
    build = store.begin_build("b", "ex", 4.0, one)
    assert store.end_build(build, Result.SUCCESS, 5.0, 1.0) == [requests[0], requests[2]]


def test_changes_that_ask_for_the_same_are_told_together(store: Store) -> None:
    for who, files in (("ada", ("a", "b")), ("joe", ("b", "c d")), ("ada", ())):
        store.add_change(attrs.evolve(CHANGE, who=who, files=files), ["a"], 7.0)
    store.add_change(attrs.evolve(CHANGE, who="eve", revision="3"), ["a"], 7.0)
    [first, second] = store.pending()
    assert store.told_of(store.begin_build("a", "ex", 9.0, first.asked)) == {"who": "ada, joe", "files": "a b c d"}
    assert store.told_of(store.begin_build("a", "ex", 9.0, second.asked)) == {"who": "eve", "files": "a b"}
    assert store.told_of(store.begin_build("a", "ex", 9.0)) == {"who": "", "files": ""}


def test_properties_of_a_build(store: Store) -> None:
    build = store.begin_build("b", "ex", 1.0)
    assert store.builds(1)[0].properties == {}
    store.set_properties(build, {"revision": "1", "branch": "", "k": "", "n": "ä\udce9"})
    assert store.builds(1)[0].properties == {"revision": "1", "k": "", "n": "ä\udce9"}


OLD = (Path(__file__).parent.parent / "data" / "state-2.sql").read_text()
"""State of format 2, as the program wrote it: a build that did not end, of a change, and two requests that wait."""


def test_state_of_format_2(tmp_path: Path) -> None:
    """It can be read as it is, and a master that opens it finds what was asked for; what it wrote is not lost."""
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        db.executescript(OLD)
    with contextlib.closing(Store(str(tmp_path), read_only=True)) as store:
        assert [(row.id, row.result, row.properties) for row in store.builds(9)] == [(2, None, {}), (1, "success", {})]
    with contextlib.closing(Store(str(tmp_path))) as store:
        assert store.recover(9.0, 5) == {2: ""}
        asked = pack({"revision": "1f2e", "branch": "feature-7", "project": "p"})
        assert store.pending() == {Wish("b", asked): 1, Wish("b"): 0, Wish("a", asked): 0}
        build = store.begin_build("b", "ex", 9.0, asked)
        assert store.told_of(build) == {"who": "ada", "files": "x.c"}
        store.set_properties(build, {"k": "v"})
    with contextlib.closing(Store(str(tmp_path))) as store:
        assert [row.properties for row in store.builds(9)] == [{"k": "v"}, {}, {}]


def test_state_of_format_2_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be brought up to date stays as it was."""
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        db.executescript(OLD)
    monkeypatch.setattr(store_module, "pack", _no_room)
    with pytest.raises(CannotStore, match="the disk is full"):
        Store(str(tmp_path))
    monkeypatch.undo()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    with contextlib.closing(Store(str(tmp_path))) as store:
        assert len(store.pending()) == 2


def _no_room(properties: object) -> str:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


def test_last_scheduled(store: Store) -> None:
    assert store.last_scheduled() == {}
    store.add_request("b", "schedule", 5.0, scheduled=True)
    store.add_request("b", "trigger", 6.0)
    assert store.last_scheduled() == {"b": 5.0}


def test_steps_and_logs(store: Store, tmp_path: Path) -> None:
    build = store.begin_build("b", "ex", 1.0)
    store.begin_step(build, 1, "make", 1.0)
    names = ["stdio", "a/b", "a_b", "../../etc"]
    for name in names:
        file, path = store.open_log(build, 1, name)
        with file:
            file.write(name.encode())
        store.add_log(build, 1, name, path)
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


@pytest.mark.parametrize("version", [1, VERSION + 1])
def test_a_store_of_another_version(tmp_path: Path, version: int) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.sqlite")) as db, db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(
        UsageError, match=rf"state\.sqlite: written by another version of slaveproto \(format {version}, "
    ):
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
    assert store.end_build(build, Result.SUCCESS, 2.0, 1.0) == [1]


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
            with pytest.raises(
                CannotStore, match=r"state\.sqlite: the disk is full \(database or disk is full\)$"
            ) as told:
                store.add_request("b", "x" * 1_000_000, 1.0)
            assert told.value.full
        store.add_request("b", "trigger", 1.0)
        assert store.pending() == {Wish("b"): 0}


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
    (tmp_path / "lock").symlink_to("/dev/full")
    with pytest.raises(UsageError, match=rf"^{tmp_path}: cannot be locked: "), lock(str(tmp_path)):
        pass
