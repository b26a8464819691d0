"""What is asked of a build, from end to end: `slaveproto trigger`, `master`, `builds` and `build`, the programs."""

from __future__ import annotations

import json
import signal
import sqlite3
from pathlib import Path

import pytest

from slaveproto.ci import control
from slaveproto.cli import main
from slaveproto.testing.conformance import wait_until
from tests.ci.test_master import master

pytestmark = pytest.mark.programs

SAY = """[[builder]]
name = "say"
env = { MINE = "<%(prop:k:-none)s>" }
[[builder.step]]
name = "say"
shell = ["echo", "%(revision)s on %(branch:-main)s, %(prop:k:-nothing)s, %(buildername)s %(buildnumber)s"]
[[builder.step]]
name = "variables"
shell = "echo $SLAVEPROTO_REVISION $SLAVEPROTO_PROP_K $MINE $SLAVEPROTO_BUILDNUMBER %(slavename)s"
[[builder.step]]
upload = { src = "../build/%(revision)s", dest = "up/%(buildnumber)s-%(revision)s.txt" }
"""
WRITE = '[[builder.step]]\nshell = ["touch", "%(revision)s"]\nhalt_on_failure = false\n'
SAY = SAY.replace("[[builder.step]]\nupload", f"{WRITE}[[builder.step]]\nupload")
BLOCKED = (
    '[[builder]]\nname = "blocked"\n[[builder.step]]\nshell = "echo %(prop:k:-)s >> ../../../../started; '
    'while ! test -e ../../../../go; do sleep 0.02; done"\n'
)


def log_of(folder: Path, build: int, step: int) -> str:
    return (folder / ".slaveproto" / "logs" / str(build) / f"{step}-stdio.log").read_text()


def test_what_a_trigger_asks_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with master(tmp_path, SAY) as program:
        asked = ("--branch", "feature/7", "--revision", "1f2e", "--property", "k=v w=x", "--wait")
        done = program.trigger("say", *asked)
        assert (done.returncode, done.stdout) == (0, "build 1 of say on slave local: success\n")
        assert log_of(tmp_path, 1, 1) == "1f2e on feature/7, v w=x, say 1\n"
        assert log_of(tmp_path, 1, 2) == "1f2e v w=x <v w=x> 1 local\n"
        assert (tmp_path / "up" / "1-1f2e.txt").exists()
        done = program.trigger("say", "--wait")
        assert done.returncode == 1, "a path needs a value"
        assert log_of(tmp_path, 2, 1) == " on main, nothing, say 2\n"
        why = "%(revision)s: the value is empty, which may not stand in a path"
        program.says(f"build 2 of say: step 4, upload ../build/%(revision)s: exception: {why}\n")
        program.stop()
    capfd.readouterr()
    assert main(["builds", str(program.file)]) == 0
    second, first = capfd.readouterr().out.splitlines()
    assert first.endswith(" s (trigger) revision=1f2e branch=feature/7 k=v w=x")
    assert second.endswith(" s (trigger)")
    assert main(["builds", "--json", "-n", "1", str(program.file)]) == 0
    [build] = json.loads(capfd.readouterr().out)["builds"]
    assert (build["id"], build["result"], build["reason"]) == (2, "exception", "trigger")
    assert build["properties"] == {
        "buildnumber": "2", "buildername": "say", "slavename": "local", "workername": "local"
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_asked_for_survives_a_restart(tmp_path: Path, number: int) -> None:
    """Requests for the same are one build, others are their own, before and after."""
    with master(tmp_path, BLOCKED) as program:
        program.trigger("blocked", "--property", "k=first")
        wait_until((tmp_path / "started").exists)
        for value in ("second", "third", "second", "first"):
            assert program.trigger("blocked", "--property", f"k={value}").returncode == 0
        program.stop(0 if number == signal.SIGINT else -number, number=number)
    (tmp_path / "go").touch()
    with master(tmp_path, BLOCKED) as program:
        wait_until(lambda: len(program.builds()) == 4 and all(row.ended for row in program.builds()))
        program.stop()
    rows = program.builds()[::-1]
    assert [row.result for row in rows] == ["retry", "success", "success", "success"]
    assert rows[0].properties["k"] == "first"
    assert sorted(row.properties["k"] for row in rows[1:]) == ["first", "second", "third"]
    assert sorted((tmp_path / "started").read_text().split()) == ["first", "first", "second", "third"]
    assert {row.reason for row in rows} == {"trigger"}


def test_a_secret_is_not_shown_as_a_property(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("canary-1\n")
    text = (
        '[secret.token]\nfile = "token"\n[[builder]]\nname = "b"\nenv = { T = { secret = "token" } }\n'
        '[[builder.step]]\nname = "%(prop:k)s"\nshell = "echo %(prop:k)s"\n[[builder.step]]\nrmdir = "x/%(prop:p)s"\n'
    )
    with master(tmp_path, text) as program:
        program.trigger("b", "--wait", "--property", "k=canary-1", "--property", "p=/canary-1")
        program.stop()
    assert "rmdir x/%(prop:p)s: exception: %(prop:p)s: the value is an absolute path" in program.log
    assert "canary-1" not in program.log
    assert log_of(tmp_path, 1, 1) == "<token>\n"
    main(["builds", str(program.file)])
    main(["builds", "--json", str(program.file)])
    out = capfd.readouterr().out
    assert "k=<token> p=/<token>" in out
    assert "canary-1" not in out
    main(["build", "--json", "--property", "k=canary-1", "--property", "p=x", str(program.file)])
    out, err = capfd.readouterr()
    assert json.loads(out)["builds"][0]["properties"]["k"] == "<token>"
    assert "canary-1" not in out + err


def test_build_asks_for_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "build.toml").write_text(SAY)
    assert main(["build", "--json", "--revision", "5", "--property", "k=v", str(tmp_path / "build.toml")]) == 0
    [build] = json.loads(capfd.readouterr().out)["builds"]
    assert build["steps"][0]["logs"]["stdio"] == "5 on main, v, say 1\n"
    assert build["properties"] == {
        "revision": "5", "k": "v", "buildnumber": "1", "buildername": "say", "slavename": "local", "workername": "local"
    }  # fmt: skip
    assert (tmp_path / "up" / "1-5.txt").exists()


def test_a_property_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (
        '[[builder]]\nname = "b"\nenv = { A = "%(prop:k)s" }\n[[builder.step]]\nmkdir = "x"\n'
        '[[builder.step]]\nname = "say"\nshell = "true"\n[[builder.step]]\nmkdir = "y"\n'
    )
    (tmp_path / "build.toml").write_text(text)
    assert main(["build", str(tmp_path / "build.toml")]) == 1
    out = capfd.readouterr().out
    assert "[1/3] mkdir x: success" in out
    assert "[2/3] say: exception, %(prop:k)s: the build has no property k, " in out
    assert "[3/3] mkdir y: skipped" in out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--property", "k"], "--property k: should be NAME=VALUE, the name of letters, digits and _.-"),
        (["--property", "a b=c"], "--property a b=c: should be NAME=VALUE"),
        (["--property", "buildnumber=5"], "--property buildnumber=5: buildnumber is what the master says itself"),
        (["--property", "who=x"], "--property who=x: who is what the master says itself"),
        (["--property", "k=1", "--property", "k=1"], "--property k=1: k comes twice"),
        (["--revision", "1", "--property", "revision=2"], "--property revision=2: revision comes twice"),
        (["--property", "k=" + "x" * 16385], "the property k has more than 16384 characters"),
        ([f"--property=k{n}={'x' * 16000}" for n in range(5)], "builder and properties have more than 65536 bytes"),
        ([f"--property=k{n}=x" for n in range(101)], "more than 100 properties"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build.toml").write_text(SAY)
    assert main(["trigger", str(tmp_path / "build.toml"), "say", *words]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"slaveproto: {why}")
    assert err.count("\n") == 1


def test_what_a_builder_of_a_matrix_has_itself(tmp_path: Path) -> None:
    with master(
        tmp_path, SAY.replace("[[builder.step]]", 'matrix = { k = ["x", "y"] }\n[[builder.step]]', 1)
    ) as program:
        assert program.trigger("say-y", "--wait", "--revision", "5").returncode == 0
        assert log_of(tmp_path, 1, 2) == "5 y <y> 1 local\n"
        done = program.trigger("say-y", "--property", "k=x")
        assert (done.returncode, done.stderr) == (
            2,
            f"slaveproto: {program.file}: builder 'say-y' has its own k: 'y'\n",
        )
        program.stop()


def test_the_master_judges_itself(tmp_path: Path) -> None:
    """The socket is for the same user, and still nothing odd is stored."""
    with master(tmp_path, SAY) as program:
        for asked in (5, {"k": 5}, {"buildnumber": "5"}, {"a b": "x"}, {"k": "x" * 16385}, {"k": "\udc00"}):
            with control.connect(str(tmp_path / ".slaveproto")) as client:
                client.sendall(json.dumps({"trigger": "say", "properties": asked}).encode() + b"\n")
                answer = json.loads(client.makefile().readline())
            assert answer == {"error": "the properties are no table of texts with names that are free"}
        program.stop()
    with sqlite3.connect(tmp_path / ".slaveproto" / "state.sqlite") as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (0,)
    db.close()
