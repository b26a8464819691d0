"""A master whose state is locked by others or whose disk is full, the real program."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slaveproto.ci.errors import CannotStore, UsageError, of_path
from slaveproto.cli import main
from slaveproto.cli import master as master_command
from slaveproto.testing.conformance import wait_until
from tests.ci.test_master import BLOCKED, PROGRAM, QUICK, master

pytestmark = [pytest.mark.programs, pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")]

ON_A_SMALL_DISK = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"', "sh"]


def test_a_state_file_that_is_locked(tmp_path: Path) -> None:
    """Longer than SQLite waits by itself: the build goes on and ends, a request is taken when it is stored."""
    with master(tmp_path, QUICK + BLOCKED) as program:
        program.trigger("blocked")
        wait_until((tmp_path / "started").exists)
        state = tmp_path / ".slaveproto" / "state.sqlite"
        with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            (tmp_path / "go").touch()
            program.says("state.sqlite: another program holds it locked (database is locked); what runs goes on")
            command = [*PROGRAM, "trigger", str(program.file), "quick", "--wait"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
                assert asked.stderr is not None
                waits = asked.stderr.readline()
                time.sleep(1.5)
                assert program.process.poll() is None
                assert "build 2" not in program.log
                db.execute("ROLLBACK")
                out, _ = asked.communicate(timeout=20)
        assert out == "build 2 of quick on slave local: success\n"
        assert waits.startswith("slaveproto: the master waits until it can store the request: ")
        assert "build 1 of blocked on slave local: success\n" in program.log
        assert program.log.count("the state can be stored again, after") == 1
        program.stop()
        assert [build.result for build in program.builds()] == ["success", "success"]


def on_a_small_disk(folder: Path, size: str, text: str, until: str) -> str:
    """Run a master whose state is on a disk of its own, until its log has some words; return the log."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare")
    state, file, log = folder / "st", folder / "build.toml", folder / "log"
    state.mkdir()
    if subprocess.run([*ON_A_SMALL_DISK, size, state, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    file.write_text(f'[master]\nlisten = "127.0.0.1:0"\nstate_dir = "st"\n{text}')
    command = [*ON_A_SMALL_DISK, size, str(state), *PROGRAM, "master", str(file)]
    with log.open("wb") as stream, subprocess.Popen(command, stderr=stream, cwd=folder) as process:
        try:
            wait_until(lambda: until in log.read_text() or process.poll() is not None)
            # SIGTERM would let the builds end.
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0, log.read_text()
        finally:
            process.kill()
    assert until in log.read_text()
    return log.read_text()


def builder(name: str, every: float, *steps: str) -> str:
    return f'[[builder]]\nname = "{name}"\ntriggers = {{ every = {every} }}\n' + "".join(
        f"[[builder.step]]\nshell = '''{step}'''\n" for step in steps
    )


def test_a_log_that_fills_the_disk(tmp_path: Path) -> None:
    """It is cut, its build ends as it would, and others are built."""
    noisy = builder("noisy", 0.1, "head -c 4000000 /dev/zero | tr '\\0' 'x' | fold; sleep 100")
    log = on_a_small_disk(
        tmp_path, "2m", noisy + builder("quiet", 0.5, "echo quiet"), "of quiet on slave local: success"
    )
    assert "the log stdio of step 1 is cut after" in log
    assert f"bytes: {tmp_path}/st/logs/1/1-stdio.log: the master's disk: No space left on device\n" in log


def test_a_disk_that_is_full_in_a_build(tmp_path: Path) -> None:
    """The build goes on to its end, nothing else begins meanwhile, and then again."""
    fill = builder(
        "fill", 0.5, f"cat /dev/zero > {tmp_path}/st/filler; true", "sleep 1.5", "true", f"rm {tmp_path}/st/filler"
    )
    log = on_a_small_disk(
        tmp_path, "4m", fill + builder("other", 0.9, "echo other"), "of other on slave local: success"
    )
    full, again = log.index("disk is full"), log.index("the state can be stored again, after")
    assert "nothing new is begun" in log[full:again]
    assert "of other on slave local started" not in log[full:again]
    assert "build 1 of fill on slave local: success" in log


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, CannotStore), (errno.EDQUOT, CannotStore), (errno.EACCES, UsageError)]
)
def test_room_is_no_mistake_of_a_call(number: int, kind: type[Exception]) -> None:
    error = of_path(OSError(number, "words"), "/x", "cannot be locked: ")
    assert (type(error), str(error)) == (kind, "/x: cannot be locked: words")


def test_a_full_disk_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(options: object) -> int:
        raise CannotStore("/x/state.sqlite", "the disk is full", full=True)

    monkeypatch.setattr(master_command, "run", refuse)
    assert main(["master", "build.toml"]) == 75
    assert capfd.readouterr().err == "slaveproto: /x/state.sqlite: the disk is full\n"
