"""`slaveproto build`, the real program, mostly on the slave inside it."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slaveproto.cli import main
from slaveproto.cli.settings import Settings, dump
from slaveproto.testing.conformance import wait_until

pytestmark = pytest.mark.programs

CALL = [sys.executable, "-m", "slaveproto", "build"]
EXAMPLES = Path(__file__).parents[2] / "examples"


def write(folder: Path, text: str) -> Path:
    path = folder / "build.toml"
    path.write_text(text)
    # One that holds a password and that others may read is told.
    path.chmod(0o600)
    return path


def builder(name: str, *steps: str, head: str = "") -> str:
    return f'[[builder]]\nname = "{name}"\n{head}\n' + "".join(f"[[builder.step]]\n{step}\n" for step in steps)


def build(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CALL, str(path), *words], capture_output=True, text=True, timeout=30, check=False)


def build_json(path: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    done = build(path, "--json", *words)
    assert done.stdout.count("\n") == 1, done.stderr
    return done.returncode, json.loads(done.stdout)["builds"]


def test_the_example(tmp_path: Path) -> None:
    """Twice, for the second time finds what the first has left."""
    shutil.copy(EXAMPLES / "first_build.toml", tmp_path)
    ignored = shutil.ignore_patterns("artifacts", "__pycache__")
    shutil.copytree(EXAMPLES / "first_build", tmp_path / "first_build", ignore=ignored)
    for _ in range(2):
        done = build(tmp_path / "first_build.toml")
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^roman +local +success +9 steps +[0-9.]+ s$", done.stdout, re.MULTILINE)
        assert "roman | [5/9] test: success" in done.stdout
        assert "roman | unittest: OK\n" in done.stdout
        assert "\x1b" not in done.stdout
        assert done.stderr == ""
    artifacts = tmp_path / "first_build" / "artifacts"
    assert sorted(path.name for path in artifacts.iterdir()) == ["report", "roman.pyz"]
    result = subprocess.run([sys.executable, artifacts / "roman.pyz", "14"], capture_output=True, text=True, check=True)
    assert result.stdout == "XIV\n"


def test_json(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        builder(
            "good",
            r'''name = "talk"
shell = """printf 'one\\n'; printf 'two\\n' >&2; printf 'caf\\303\\251\\n'; echo logged > f"""
logfiles = { extra = "f" }''',
            'mkdir = "x"',
        )
        + builder(
            "bad", 'shell = "exit 3"\nhalt_on_failure = true', 'mkdir = "x"', 'shell = "true"\nalways_run = true'
        ),
    )
    code, builds = build_json(path)
    assert code == 1
    for one in builds:
        for step in one["steps"]:
            assert isinstance(step.pop("elapsed"), float)
    for one in builds:
        assert one.pop("properties") == {
            "buildnumber": "1", "buildername": one["builder"], "slavename": "local", "workername": "local"
        }  # fmt: skip
    nothing = {"stdio": ""}
    good, bad = builds
    assert sorted(good["steps"][0]["logs"].pop("stdio").splitlines()) == ["café", "one", "two"]
    assert good == {
        "builder": "good",
        "slave": "local",
        "result": "success",
        "steps": [
            {"name": "talk", "result": "success", "rc": 0, "logs": {"extra": "logged\n"}},
            {"name": "mkdir x", "result": "success", "rc": 0, "logs": nothing},
        ],
    }
    assert bad == {
        "builder": "bad",
        "slave": "local",
        "result": "failure",
        "steps": [
            {"name": "exit 3", "result": "failure", "rc": 3, "logs": nothing},
            {"name": "mkdir x", "result": "skipped", "rc": None, "logs": nothing},
            {"name": "true", "result": "success", "rc": 0, "logs": nothing},
        ],
    }


def test_some_builders_only(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(builder(name, 'shell = "true"') for name in ("a", "b", "c")))
    code, builds = build_json(path, "--builder", "c", "--builder", "a", "--slave", "local")
    assert code == 0
    assert [one["builder"] for one in builds] == ["a", "c"]


def test_what_a_failed_step_says(tmp_path: Path) -> None:
    """The slave's words about it, but not the long list at its beginning."""
    path = write(
        tmp_path,
        builder("b", 'shell = "echo x; sleep 60"\ntimeout = 0.2\nhalt_on_failure = false', 'shell = ["nonesuch"]'),
    )
    done = build(path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "b | x" in lines
    assert any(line.startswith("b | command timed out: 0.2 seconds without output") for line in lines)
    assert not any("using PTY" in line or "environment" in line for line in lines)
    assert any(line.startswith("b | [2/2] nonesuch: failure") for line in lines)


@pytest.mark.parametrize(
    ("more", "second"),
    [("", "skipped"), ("flunk_on_failure = false", "success"), ("halt_on_failure = false", "success")],
)
def test_a_failing_step_ends_the_build_unless_the_file_says_otherwise(more: str, second: str, tmp_path: Path) -> None:
    path = write(tmp_path, builder("b", f"shell = 'false'\n{more}", "shell = 'true'"))
    assert build_json(path)[1][0]["steps"][1]["result"] == second


def test_python_is_ours(tmp_path: Path) -> None:
    path = write(tmp_path, builder("b", "shell = ['python3', '-c', 'import sys; print(sys.prefix)']"))
    assert build_json(path)[1][0]["steps"][0]["logs"]["stdio"] == f"{sys.prefix}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--builder", "x"], "no builder 'x'; there are a, b"),
        (["--slave", "x"], "no builder is for slave 'x'; there are one, two"),
        (["--slave", "two", "--builder", "a"], "builder 'a' is not for slave 'two', but one"),
    ],
)
def test_what_is_not_in_the_file(
    tmp_path: Path, words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    slaves = "".join(f'[[slave]]\nname = "{name}"\npassword = "x"\n' for name in ("one", "two"))
    text = slaves + builder("a", 'mkdir = "x"', head='slaves = ["one"]')
    path = write(tmp_path, text + builder("b", 'mkdir = "x"', head='slaves = ["two", "one"]'))
    assert main(["build", str(path), *words]) == 2
    assert capfd.readouterr().err == f"slaveproto: {path}: {message}\n"


def test_a_mistake_in_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, builder("b", 'shell = "x"\ntimeuot = 5'))
    assert main(["build", str(path)]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"slaveproto: {path}:6: unknown key 'timeuot'; there are shell, env, max_lines, ")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = build(write(tmp_path, f'[master]\nlisten = "{address}"\n' + builder("b", 'mkdir = "x"')))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"slaveproto: cannot listen on {address}: Address already in use\n"


def test_a_host_that_is_none(tmp_path: Path) -> None:
    done = build(write(tmp_path, '[master]\nlisten = "a..b:99"\n[[slave]]\nname = "s"\npassword = "p"\n'
                                 + builder("b", 'mkdir = "x"', head='slaves = ["s"]')))  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("slaveproto: cannot listen on a..b:99: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_state_directory_in_use(tmp_path: Path, number: signal.Signals) -> None:
    path = write(tmp_path, builder("b", 'shell = "echo $$ > ../../../../started; sleep 60"'))
    with subprocess.Popen([*CALL, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_until((tmp_path / "started").exists)
        done = build(path)
        first.send_signal(number)
        assert first.wait(10) == 128 + number
    assert not Path(f"/proc/{(tmp_path / 'started').read_text().strip()}").exists()
    assert done.returncode == 2
    assert done.stderr == f"slaveproto: {tmp_path}/.slaveproto: in use by another slaveproto, process {first.pid}\n"


@pytest.mark.parametrize("program", ["build", "master"])
def test_no_place_for_the_slave_inside(tmp_path: Path, program: str) -> None:
    path = write(tmp_path, '[master]\nlisten = "127.0.0.1:0"\n' + builder("b", 'mkdir = "x"'))
    (tmp_path / ".slaveproto").mkdir()
    (tmp_path / ".slaveproto" / "slave").touch()
    call = [sys.executable, "-m", "slaveproto", program, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"slaveproto: {tmp_path}/.slaveproto/slave: File exists"
    assert "Traceback" not in done.stderr


def test_a_slave_inside_that_cannot_be_attached(tmp_path: Path) -> None:
    """Nobody can come to its help, and so nobody waits for it."""
    (tmp_path / ".slaveproto" / "slave").mkdir(parents=True)
    (tmp_path / ".slaveproto" / "slave" / "b").touch()
    done = build(write(tmp_path, builder("b", 'mkdir = "x"')))
    assert done.returncode == 1
    assert "setBuilderList with 1 builders failed: builtins.OSError: [Errno 17] File exists" in done.stdout
    assert done.stdout.splitlines()[-1].split()[:3] == ["b", "-", "exception"]


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c(tmp_path: Path, presses: int) -> None:
    """What runs is ended, `always_run` or not; the second one does not wait even for that."""
    path = write(tmp_path, builder("b", "shell = \"trap '' TERM; echo $$ > ../../../../started; sleep 60\"",
                                   'shell = "touch ../../../../ran"\nalways_run = true'))  # fmt: skip
    with subprocess.Popen([*CALL, str(path), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert not (tmp_path / "ran").exists()
    assert b"Traceback" not in err
    wait_until(lambda: not Path(f"/proc/{(tmp_path / 'started').read_text().strip()}").exists())
    if presses == 1:
        [one] = json.loads(out)["builds"]
        assert one["result"] == "cancelled"
        assert [step["result"] for step in one["steps"]] == ["cancelled", "skipped"]


def test_without_trio(tmp_path: Path) -> None:
    code = "import sys; sys.modules['trio'] = None; from slaveproto.cli import main; sys.exit(main())"
    path = write(tmp_path, builder("b", 'mkdir = "x"'))
    done = subprocess.run(
        [sys.executable, "-c", code, "build", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "slaveproto: this needs trio, which is not installed: pip install 'slaveproto[trio]'\n"


def test_on_a_terminal(tmp_path: Path) -> None:
    """Colours, and a line that says what runs."""
    path = write(tmp_path, builder("b", 'name = "look"\nshell = "sleep 1.05; echo done"'))
    ours, theirs = pty.openpty()
    environ = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen([*CALL, str(path)], stdout=theirs, env=environ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                text += os.read(ours, 4096)
            except OSError:
                break
        assert process.wait(10) == 0
    os.close(ours)
    assert b"\x1b[36mb | \x1b[0mdone\r\n" in text
    assert b"\x1b[2mb [1/1] look 1 s\x1b[0m" in text
    assert b"\x1b[32m" in text


def test_a_slave_of_ones_own(tmp_path: Path) -> None:
    """It is waited for, and so is one that has a wrong password, of which is told once."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    slaves = "".join(f'[[slave]]\nname = "{name}"\npassword = "right"\n' for name in ("one", "two"))
    path = write(tmp_path, f'[master]\nlisten = "127.0.0.1:{port}"\n{slaves}'
                 + builder("b", 'shell = "echo from the slave"', head='slaves = ["one"]'))  # fmt: skip
    processes = []
    with (tmp_path / "out").open("w") as out:
        master = subprocess.Popen([*CALL, str(path)], stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "waiting: b for slave one\n" in (tmp_path / "out").read_text())
            for name, password in (("two", "wrong"), ("one", "right")):
                settings = Settings(
                    "127.0.0.1", port, name, password, str(tmp_path / name), max_delay=0.1, max_retries=3
                )
                (tmp_path / name).mkdir()
                (tmp_path / name / "slaveproto.toml").write_text(dump(settings))
                command = [sys.executable, "-m", "slaveproto", "slave", str(tmp_path / name)]
                with (tmp_path / f"{name}.log").open("w") as log:
                    processes.append(subprocess.Popen(command, stderr=log))
                if name == "two":
                    # One that went on trying could be about to log in when the master ends, which is told, too.
                    assert processes[0].wait(20) == 3
                    assert (tmp_path / "two.log").read_text().count("refused the login") > 2
            assert master.wait(20) == 0
        finally:
            for process in (*processes, master):
                process.kill()
                process.wait()
    text = (tmp_path / "out").read_text()
    assert text.count("login as 'two'") == 1
    assert "b | from the slave\n" in text
    assert re.search(r"^slave one attached from 127\.0\.0\.1:", text, re.MULTILINE)
