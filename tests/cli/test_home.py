"""One slave in a base directory; slaves without one; a package that has taken the place of ours."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from slaveproto.ci.errors import UsageError
from slaveproto.cli import main
from slaveproto.cli.home import occupied, passing_home
from slaveproto.testing.conformance import wait_until
from tests.cli.test_create_slave import complaint

HOLD = (
    "import sys; from slaveproto.cli.home import occupied\nwith occupied(sys.argv[1]): print('in', flush=True); input()"
)


@pytest.mark.programs
def test_two_slaves_are_not_in_one_base_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match="another slave of slaveproto runs there"), occupied(str(tmp_path)):
            pass
        other.communicate("\n")
    with occupied(str(tmp_path)):
        pass


@pytest.mark.programs
def test_a_slave_of_buildbots_that_runs_there_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "twistd"], stdin=subprocess.PIPE, text=True) as other:
        (tmp_path / "twistd.pid").write_text(f"{other.pid}\n")
        # Before it has begun, the system shows nothing of it.
        wait_until(lambda: b"twistd" in Path(f"/proc/{other.pid}/cmdline").read_bytes())
        told = rf"process {other.pid} \(twistd.pid\); stop it first"
        with pytest.raises(UsageError, match=told), occupied(str(tmp_path)):
            pass
        other.communicate("\n")
    with occupied(str(tmp_path)):
        pass


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "99999999999", "own", "1"])
def test_a_stale_number_keeps_none_out(text: str, tmp_path: Path) -> None:
    (tmp_path / "twistd.pid").write_text(str(os.getpid()) if text == "own" else text)
    with occupied(str(tmp_path)):
        pass


def test_a_slave_without_a_base_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BUILDMASTER", "BUILDMASTER_PORT", "WORKERNAME", "WORKERPASS"):
        monkeypatch.delenv(name, raising=False)
    with passing_home("m.example.org:1234", "bot", "pw") as home:
        found = home.settings
        assert (found.host, found.port, found.name, found.password) == ("m.example.org", 1234, "bot", "pw")
        assert Path(found.basedir).is_dir()
        (Path(found.basedir) / "left").write_text("x")
    assert not Path(found.basedir).exists()


@pytest.mark.parametrize(
    ("variables", "host", "port"),
    [
        ({"BUILDMASTER": "m"}, "m", 9989),
        ({"BUILDMASTER": "m", "BUILDMASTER_PORT": "1234"}, "m", 1234),
        ({"BUILDMASTER": "m:4321", "BUILDMASTER_PORT": "1234"}, "m", 4321),
        ({"BUILDMASTER": "[::1]", "BUILDMASTER_PORT": "1234"}, "::1", 1234),
    ],
)
def test_a_container_is_told_by_variables(
    variables: dict[str, str], host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORKERNAME": "bot", "WORKERPASS": "pw", **variables}.items():
        monkeypatch.setenv(name, value)
    with passing_home(None, None, None) as home:
        found = home.settings
        assert (found.host, found.port, found.name, found.password) == (host, port, "bot", "pw")
        assert "WORKERPASS" not in os.environ


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--once"], "MASTERHOST[:PORT] is missing, and the variable BUILDMASTER is not set"),
        (["--once", "h"], "NAME is missing, and the variable WORKERNAME is not set"),
        (["--once", "h", "n"], "PASSWORD is missing, and the variable WORKERPASS is not set"),
        (["--once", "h", "", "p"], "NAME is empty"),
        (["--once", "h:x", "n", "p"], "'x' is no port number"),
        (["d", "n"], "'n' is one argument too many without --once; see `slaveproto slave --help`"),
        ([], "BASEDIR is missing; see `slaveproto slave --help`"),
        ([""], "BASEDIR is empty"),
    ],
)
def test_what_a_slave_is_not_told(
    argv: list[str], words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BUILDMASTER", "BUILDMASTER_PORT", "WORKERNAME", "WORKERPASS"):
        monkeypatch.delenv(name, raising=False)
    assert words in complaint(capfd, "slave", *argv)


@pytest.mark.programs
def test_a_password_is_asked_for_without_an_echo(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "slaveproto", "create-slave", str(tmp_path / "s"), "h", "n", "-"]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as child:
        os.close(theirs)
        said = b""
        while b"Password: " not in said:
            said += os.read(ours, 1000)
        os.write(ours, b"hush hush\n")
        while b"ready" not in said:
            said += os.read(ours, 1000)
        assert child.wait() == 0
    os.close(ours)
    assert b"hush" not in said
    assert 'password = "hush hush"' in (tmp_path / "s/slaveproto.toml").read_text()


@pytest.mark.programs
@pytest.mark.parametrize("init", ["", "import no_such_dependency\n"])
def test_a_package_that_took_the_place_of_ours_is_told_of(init: str, tmp_path: Path) -> None:
    (tmp_path / "transports").mkdir()
    (tmp_path / "transports/__init__.py").write_text(init)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from slaveproto.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program, "slave", "x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("slaveproto: the package `transports` is that of another project")
    assert done.stderr.count("\n") == 1


def test_main_is_quiet_about_transports_of_ours(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["create-slave", "-q", str(tmp_path / "s"), "h", "n", "p"]) == 0
