"""The real ``buildbot sendchange`` of both generations: what it sends, and that it makes our master build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slaveproto.testing.peers import ChangeServer, Kind, OurMaster, OurSlave, SentChange, poll, sendchange
from slaveproto.wire import Failure, Value

pytestmark = pytest.mark.peers

CASES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "changes.json").read_text(encoding="utf-8"))

FILE = """
[master]
listen = "127.0.0.1:9989"

[[slave]]
name = "ex"
password = "pw"

[[builder]]
name = "stable"
slaves = ["ex"]
triggers = { change = { branch = "stable" } }

[[builder.step]]
shell = 'echo "$SLAVEPROTO_REVISION of $SLAVEPROTO_BRANCH" > built'

[[builder.step]]
shell = ["sh", "-c", 'echo "$@" > words', "sh", "%(who)s", "%(files)s", "%(prop:owner)s"]

[[builder.step]]
upload = { src = "words", dest = "%(branch)s-%(revision)s.words" }

[[builder.step]]
upload = { src = "built", dest = "stable.built" }

[[builder]]
name = "every"
slaves = ["ex"]
triggers = { change = true }

[[builder.step]]
download_string = { text = "built", dest = "built" }

[[builder.step]]
upload = { src = "built", dest = "every.built" }
"""


def plain(data: Any) -> Value:
    """Return a value that changes.json has."""
    match data:
        case {"bytes": str() as text}:
            return text.encode("latin-1")
        case {"dict": list() as items}:
            return {plain(key): plain(value) for key, value in items}
        case list():
            return [plain(item) for item in data]
        case None | str() | int() | float():
            return data
    raise ValueError(f"no value: {data!r}")


def typed(value: Value) -> str:
    """Return a value as text in which bytes and text differ, and the order of a dictionary does not matter."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{typed(key)}: {typed(each)}' for key, each in value.items()))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(typed, value))}]"
    return repr(value)


@pytest.mark.parametrize(
    ("kind", "case"), [(kind, case) for case in CASES for kind in CASES[case]["received"]], indirect=["kind"]
)
def test_what_it_sends(kind: Kind, case: str, tmp_path: Path) -> None:
    with ChangeServer() as server:
        done = sendchange(kind, server.port, SentChange(**CASES[case]["said"]), tmp_path)
    assert (done.returncode, done.stdout) == (0, "change sent successfully\n")
    assert (server.names, server.minds) == ([b"change"], [None])
    (call,) = server.calls
    assert (call.method, len(call.args), dict(call.kwargs)) == ("addChange", 1, {})
    assert typed(call.args[0]) == typed(plain(CASES[case]["received"][kind]))


def test_what_it_says_when_it_is_refused(kind: Kind, tmp_path: Path) -> None:
    with ChangeServer() as server:
        done = sendchange(kind, server.port, SentChange("me"), tmp_path, auth="change:wrong")
    assert done.returncode == 1
    assert ("UnauthorizedLogin" if kind == "old" else "RemoteError") in done.stdout
    assert not server.calls


def test_what_it_says_when_the_change_is_refused(kind: Kind, tmp_path: Path) -> None:
    with ChangeServer(Failure("builtins.ValueError", "no such branch")) as server:
        done = sendchange(kind, server.port, SentChange("me"), tmp_path)
    assert done.returncode == 1
    assert "no such branch" in done.stdout


@pytest.fixture
def our_master(tmp_path: Path) -> Iterator[OurMaster]:
    """Our master with an attached slave."""
    with OurMaster(tmp_path / "master", FILE) as master, OurSlave(tmp_path / "slave", master, "ex") as slave:
        slave.wait_attached()
        yield master


def test_a_change_makes_our_master_build(kind: Kind, our_master: OurMaster, tmp_path: Path) -> None:
    stable, every = (our_master.directory / f"{name}.built" for name in ("stable", "every"))
    done = sendchange(kind, our_master.port, SentChange("me", ["a.c"], branch="other"), tmp_path / "home")
    assert (done.returncode, done.stdout) == (0, "change sent successfully\n")
    poll(every.exists, 20, "a build of the builder for all branches")
    assert not stable.exists()
    texts = {"branch": "stable", "revision": "1f2é", "comments": "☃"}
    change = SentChange("Zoë", ["ä.c"], **texts, properties={"schlüssel": "wört", "owner": "Jörg $X"})
    done = sendchange(kind, our_master.port, change, tmp_path / "home")
    assert (done.returncode, done.stdout) == (0, "change sent successfully\n")
    poll(stable.exists, 20, "a build of the builder for that branch")
    assert stable.read_text() == "1f2é of stable\n"
    assert (our_master.directory / "stable-1f2é.words").read_text() == "Zoë ä.c Jörg $X\n"
    our_master.wait_log("builds are not told of the properties 'schlüssel'")


ODD = (
    SentChange("plain", ["dir with space/b.c"], branch="master", revision="abc"),
    SentChange("J\udcf6rg", ["J\udcf6rg.c"], comments="J\udcf6rg \udce9"),
    SentChange("nofiles"),
    SentChange("Jörg", ["ü.c"], branch="feature/ü", comments="Umläute ☃", properties={"owner": "Jörg"}),
)
"""Changes as real clients send them; the second one in Latin-1."""


def test_odd_changes_make_a_build_each(our_master: OurMaster, tmp_path: Path) -> None:
    built = our_master.directory / "every.built"
    for change in ODD:
        built.unlink(missing_ok=True)
        done = sendchange("old", our_master.port, change, tmp_path / "home")
        assert (done.returncode, done.stdout) == (0, "change sent successfully\n")
        poll(built.exists, 20, "a build of the builder for all branches")


def test_our_master_refuses_a_wrong_password(kind: Kind, our_master: OurMaster, tmp_path: Path) -> None:
    done = sendchange(kind, our_master.port, SentChange("me"), tmp_path / "home", auth="change:wrong")
    assert done.returncode == 1
    assert ("UnauthorizedLogin" if kind == "old" else "RemoteError") in done.stdout
    assert not list(our_master.directory.glob("*.built"))
