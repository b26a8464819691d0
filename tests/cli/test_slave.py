"""The program `slaveproto slave` as a process: signals, files, logs, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slaveproto.cli import main, run_slave
from slaveproto.cli.settings import Settings, dump
from slaveproto.testing.conformance import MasterSocket, SocketMaster, wait_until
from slaveproto.testing.conformance.commands import ESCAPES, escaped
from slaveproto.testing.conformance.harness import is_alive
from slaveproto.testing.conformance.socket_master import DEADLINE
from slaveproto.testing.peers.processes import free_port

pytestmark = pytest.mark.programs

Log = Callable[[], str]
CALL = [sys.executable, "-m", "slaveproto", "slave"]
# Looks at the file every moment, not every ten seconds.
HURRIED = [sys.executable, "-c", "import sys, slaveproto.cli.run_slave as m; m.STAMP_INTERVAL = 0.02; "
           "from slaveproto.cli import main; sys.exit(main())", "slave"]  # fmt: skip


@pytest.fixture
def listener() -> Iterator[MasterSocket]:
    with MasterSocket() as listener:
        yield listener


@pytest.fixture(params=["threads", "trio"])
def runner(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Program:
    """A slave that was started."""

    def __init__(
        self, basedir: Path, port: int, call: list[str] = CALL, *, runner: str = "threads", **settings: Any
    ) -> None:
        basedir.mkdir(exist_ok=True)
        all_settings = Settings("127.0.0.1", port, "bot", "secret", "/", **settings)
        (basedir / "slaveproto.toml").touch(0o600)
        (basedir / "slaveproto.toml").write_text(dump(all_settings))
        self.file = basedir.with_suffix(".log")
        with self.file.open("wb") as log:
            self.process = subprocess.Popen(
                [*call, "--runner", runner, str(basedir)], stderr=log, stdin=subprocess.DEVNULL
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """Lines of its log, without the times."""
        lines = self.file.read_text().splitlines()
        for line in lines:
            time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")
        return "".join(f"{line[20:]}\n" for line in lines)

    def says(self, words: str) -> None:
        """Wait until the log contains some words."""
        wait_until(lambda: words in self.log)

    def ends(self, code: int, *, within: float = DEADLINE) -> None:
        """Wait for the end."""
        assert self.process.wait(within) == code, self.file.read_text()


def pids_of(master: SocketMaster, script: str, count: int, **more: Any) -> list[int]:
    step = master.start("b", script, **more)
    master.wait_for(lambda: len(step.numbers) == count)
    return step.numbers


def test_a_slave_that_is_killed_leaves_nothing_behind(tmp_path: Path, listener: MasterSocket, runner: str) -> None:
    with Program(tmp_path / "slave", listener.port, runner=runner) as program, listener.attach("b") as master:
        master.run("b", "true")
        master.start("b", "".join(f"{line}\n" for line in ESCAPES.values()) + "sleep 1000")
        wait_until(lambda: escaped(tmp_path / "slave" / "b"))
        pids = escaped(tmp_path / "slave" / "b").values()
        program.process.kill()
        wait_until(lambda: not any(map(is_alive, pids)))


# -- how it begins


@pytest.mark.parametrize("name", ["none", "file", "", "empty", "foreign"])
def test_a_directory_that_is_no_slave(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "buildbot.tac").write_text("")
    assert main(["slave", str(tmp_path / name) if name else ""]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("slaveproto: ")
    assert err.count("\n") == 1


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(["sh", "-c", 'rmdir "$0"; exec "$@"', str(tmp_path / "gone"), *CALL, "."],
                          cwd=tmp_path / "gone", capture_output=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (2, b"slaveproto: the working directory: No such file or directory\n")


@pytest.mark.parametrize(
    "argv", [[], ["slave"], ["slave", "a", "b"], ["frobnicate"], ["--frob"], ["slave", "--frob", "a"]]
)
def test_calls_that_are_wrong(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("slaveproto: ")
    assert err.count("\n") == 1
    assert "--help`" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["usage: slaveproto [-h] [--version] COMMAND", "create-slave", "run a slave in the foreground"]),
        (["create-slave"], ["BASEDIR MASTERHOST[:PORT] NAME [PASSWORD]", "9989", "[6]", "standard input", "umask"]),
        (["slave"], ["slave [-h] [--once] [--runner {threads,trio}]", "--drain SECONDS", "--max-builds N",
                     "--idle-exit SECONDS",
                     "BASEDIR", "shutdown.stamp", "exit codes: 0 ", "3 gave up", "143"]),
    ],
)  # fmt: skip
def test_help(argv: list[str], words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*argv, "--help"])
    assert caught.value.code == 0
    out = " ".join(capfd.readouterr().out.split())
    assert [word for word in words if word not in out] == []


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capfd.readouterr().out == "slaveproto 0.1.0\n"


WITHOUT_TRIO = [sys.executable, "-c", "import sys; sys.modules['trio'] = None; "
                "from slaveproto.cli import main; sys.exit(main())", "slave"]  # fmt: skip


def test_the_trio_runner_without_trio(tmp_path: Path) -> None:
    with Program(tmp_path / "slave", 1, WITHOUT_TRIO, runner="trio") as slave:
        slave.ends(2)
        words = "slaveproto: this needs trio, which is not installed: pip install 'slaveproto[trio]'\n"
        assert slave.file.read_text() == words


def test_the_threads_runner_without_trio(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, WITHOUT_TRIO), listener.attach("b") as master:
        assert master.run("b", "echo fine").output() == "fine\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["slave", "--runner", "trio", "base"],
        ["build", "file.toml"],
        ["master", "file.toml"],
        ["trigger", "file.toml", "builder"],
        ["builds", "file.toml"],
    ],
)
def test_what_windows_cannot_do(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert main(argv) == 2
    error = capfd.readouterr().err
    assert error.startswith("slaveproto: this needs a POSIX system")
    assert error.count("\n") == 1


def test_a_hangup_that_windows_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_slave, "_HANG_UP", ())
    (tmp_path / "slaveproto.toml").write_text(dump(Settings("127.0.0.1", 1, "bot", "x", "/", allow_shutdown="signal")))
    assert main(["slave", str(tmp_path)]) == 2
    assert '"file" works' in capfd.readouterr().err


def test_a_runner_that_does_not_exist(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["slave", "--runner", "twisted", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert "invalid choice: 'twisted'" in err
    assert err.count("\n") == 1


# -- a day of a slave


def test_a_build_and_its_log(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with (
        Program(tmp_path / "slave", listener.port, runner=runner, send_environment="all") as slave,
        listener.attach("b", "c") as master,
    ):
        assert master.run("b", "echo hello").output() == "hello\n"
        command_line = Path(f"/proc/{slave.process.pid}/cmdline")
        assert not command_line.exists() or b"secret" not in command_line.read_bytes().split(b"\0")
        slave.says("finished")
        slave.process.terminate()
        master.wait_for(lambda: master.wishes == ["shutdown"])
        assert master.call_bot("shutdown") is None
        slave.ends(0)
        assert slave.log.splitlines() == [
            f"connecting to 127.0.0.1:{listener.port}",
            "connected; waiting for the master to speak",
            "new builders: b, c",
            "attached; 2 builders: b, c",
            "b: shell (command 0) started",
            "b: shell (command 0) finished with exit code 0",
            "leaving: received SIGTERM; no new builds, what runs may end within 600 s",
            "stopping: the master asked for it",
        ]


def test_a_file_that_others_can_read_is_told(listener: MasterSocket, tmp_path: Path) -> None:
    (tmp_path / "slave").mkdir()
    (tmp_path / "slave" / "slaveproto.toml").touch(0o644)
    with Program(tmp_path / "slave", listener.port) as slave, listener.attach("b"):
        slave.says("attached; ")
        words = (
            "slaveproto.toml holds a password or a key, and other users may read or change it (mode 0644); chmod 600"
        )
        assert words in slave.log.splitlines()[0]


def test_what_the_master_says_stays_in_its_line(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port) as slave, listener.attach("b") as master:
        master.call_bot("print", "one\n2026-01-01 00:00:00 two\x1b[31m\udc80".replace("\udc80", "é"))
        slave.says("message from master: one\\n2026-01-01 00:00:00 two\\x1b[31mé\n")


def test_the_umask_is_that_of_commands(listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, umask=0o027), listener.attach("b") as master:
        assert master.run("b", "umask; touch file").output() == "0027\n"
        assert (tmp_path / "slave/b/file").stat().st_mode & 0o777 == 0o640
        assert (tmp_path / "slave/b").stat().st_mode & 0o777 == 0o750


def test_a_terminal_by_configuration(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, use_pty=True, runner=runner), listener.attach("b") as master:
        assert master.run("b", "tty").output().startswith("/dev/")
        assert master.run("b", "tty", usePTY=False).output() == "not a tty\n"


def test_giving_up(runner: str, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", 1, max_retries=2, max_delay=0.1, runner=runner) as slave:
        slave.ends(3)
        assert slave.log.splitlines()[-2:] == [
            "not connected: Connection refused; not trying again",
            "giving up: gave up after 2 attempts",
        ]


def test_the_master_sends_it_away(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, runner=runner) as slave, listener.attach("b") as master:
        assert master.call_bot("shutdown") is None
        slave.ends(0)
        assert slave.log.endswith("stopping: the master asked for it\n")


# -- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_it_and_what_it_runs(
    runner: str, number: signal.Signals, listener: MasterSocket, tmp_path: Path
) -> None:
    with Program(tmp_path / "slave", listener.port, runner=runner, drain=0) as slave, listener.attach("b") as master:
        pids = pids_of(master, "sleep 60 & echo $!; echo $$; wait", 2)
        slave.process.send_signal(number)
        slave.ends(0)
        assert f"stopping: received {number.name}\n" in slave.log
        wait_until(lambda: not any(map(is_alive, pids)))


def test_a_second_signal_does_not_wait(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, runner=runner) as slave, listener.attach("b") as master:
        pids = pids_of(master, "trap '' TERM; echo $$; while :; do sleep 1; done", 1, sigtermTime=1000)
        slave.process.send_signal(signal.SIGINT)
        slave.says("stopping: received SIGINT")
        with pytest.raises(subprocess.TimeoutExpired):
            slave.process.wait(0.3)
        slave.process.send_signal(signal.SIGINT)
        slave.ends(130)
        wait_until(lambda: not any(map(is_alive, pids)))


def test_hangup_asks_the_master(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", listener.port, allow_shutdown="signal", runner=runner) as slave:
        with listener.attach("b") as master:
            slave.says("attached")
            slave.process.send_signal(signal.SIGHUP)
            master.wait_for(lambda: master.wishes == ["shutdown"])
            assert slave.process.poll() is None
        slave.says("not connected")
        # Without a master there is no one to ask.
        slave.process.send_signal(signal.SIGHUP)
        slave.ends(0)


def test_hangup_is_ignored_if_it_was(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    call = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *CALL]
    with Program(tmp_path / "slave", listener.port, call, runner=runner) as slave, listener.attach("b") as master:
        slave.says("attached")
        slave.process.send_signal(signal.SIGHUP)
        assert master.run("b", "echo fine").output() == "fine\n"


def test_children_are_waited_for_even_if_the_caller_ignored_them(
    runner: str, listener: MasterSocket, tmp_path: Path
) -> None:
    call = [sys.executable, "-c", "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
            "os.execv(sys.argv[1], sys.argv[1:])", *CALL]  # fmt: skip
    with Program(tmp_path / "slave", listener.port, call, runner=runner), listener.attach("b") as master:
        assert master.run("b", "exit 7").rc == 7


def test_the_stamp_asks_the_master(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    basedir = tmp_path / "slave"
    basedir.mkdir()
    stamp = basedir / "shutdown.stamp"
    stamp.touch()
    with (
        Program(basedir, listener.port, HURRIED, allow_shutdown="file", runner=runner) as slave,
        listener.attach("b") as master,
    ):
        slave.says("attached")
        assert master.run("b", "sleep 0.1").rc == 0
        assert master.wishes == [], "what was there at the start does not count"
        os.utime(stamp, (time.time() + 10, time.time() + 10))
        master.wait_for(lambda: master.wishes == ["shutdown"])
        slave.says("leaving: shutdown.stamp was touched; no new builds, what runs may end\n")
        assert master.call_bot("shutdown") is None
        slave.ends(0)


def test_the_stamp_without_permission(listener: MasterSocket, tmp_path: Path) -> None:
    basedir = tmp_path / "slave"
    with Program(basedir, listener.port, HURRIED) as slave, listener.attach("b") as master:
        slave.says("attached")
        (basedir / "shutdown.stamp").touch()
        assert master.run("b", "sleep 0.2").rc == 0
        assert master.wishes == []


# -- where it writes


def test_without_standard_streams(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    call = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *CALL]
    with Program(tmp_path / "slave", listener.port, call, runner=runner) as slave, listener.attach("b") as master:
        step = master.run("b", "cat; echo out; echo err >&2")
        assert (step.output(), step.output("stderr"), step.rc) == ("out\n", "err\n", 0)
        slave.process.send_signal(signal.SIGINT)
        slave.ends(0)
        assert slave.log == ""


def test_a_log_that_has_lost_its_reader(listener: MasterSocket, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    call = ["sh", "-c", f'exec "$@" 2>/dev/fd/{writing}', "sh", *CALL]
    os.set_inheritable(writing, True)
    (tmp_path / "slave").mkdir()
    settings = Settings(host="127.0.0.1", port=listener.port, name="bot", password="secret", basedir="/")
    (tmp_path / "slave/slaveproto.toml").write_text(dump(settings))
    with subprocess.Popen([*call, str(tmp_path / "slave")], pass_fds=[writing]) as process:
        os.close(writing)
        with listener.accept() as master:
            os.close(reading)
            master.attach("b")
            assert master.run("b", "echo fine").output() == "fine\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_log_on_a_full_disk(listener: MasterSocket, tmp_path: Path) -> None:
    call = ["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *CALL]
    with Program(tmp_path / "slave", listener.port, call) as slave, listener.attach("b") as master:
        assert master.run("b", "echo fine").output() == "fine\n"
        slave.process.send_signal(signal.SIGINT)
        slave.ends(0)


def test_an_end_that_does_not_wait_for_a_dead_file_system(runner: str, listener: MasterSocket, tmp_path: Path) -> None:
    patch = (
        "import sys, time, transports.host.files as files; perform = files.perform; "
        "dead = lambda effect: effect.path.endswith('dead') and time.sleep(1000); "
        "files.perform = lambda effect, *more: dead(effect) or perform(effect, *more); "
        "from slaveproto.cli import main; sys.exit(main())"
    )
    call = [sys.executable, "-c", patch, "slave"]
    with Program(tmp_path / "slave", listener.port, call, runner=runner) as slave, listener.attach("b") as master:
        master.start("b", "true", workdir="dead")
        slave.process.send_signal(signal.SIGINT)
        slave.says("stopping")
        slave.process.send_signal(signal.SIGINT)
        slave.ends(130, within=5)


# -- what it costs


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks into /proc")
def test_what_it_costs(listener: MasterSocket, tmp_path: Path) -> None:
    """Wide limits: a doubling is to be noticed, not another build of Python."""
    with Program(tmp_path / "slave", listener.port) as slave, listener.attach("b"):
        slave.says("attached")
        pid = slave.process.pid
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        cpu = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

        def status(what: str) -> int:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith(what)).split()[1])

        resident = status("VmRSS") / 1000
        print(f"attached after {cpu:.2f} s CPU, {resident:.1f} MB resident, {status('Threads')} threads")
        assert cpu < 1.0
        assert resident < 40
        # Main, streams and log: what read and made directories ends by itself.
        wait_until(lambda: status("Threads") == 3)


# Tells in the end what it has imported.
TELLING = [sys.executable, "-c", "import sys; from slaveproto.cli import main; code = main(); "
           "open(sys.argv[-1] + '/modules', 'w').write(' '.join(sys.modules)); sys.exit(code)", "slave"]  # fmt: skip

NOT_NEEDED_TO_WAIT = {
    "asyncio", "base64", "bz2", "concurrent", "glob", "gzip", "json", "logging", "lzma", "multiprocessing", "pathlib",
    "random", "secrets", "shlex", "shutil", "sqlite3", "ssl", "subprocess", "tarfile", "tempfile", "trio", "urllib",
    "xml", "zipfile", "zlib",
    "slaveproto.ci.file.build_file", "slaveproto.cli.create_slave", "slaveproto.commands.archive",
    "slaveproto.commands.fs", "slaveproto.commands.process", "slaveproto.commands.shell",
    "slaveproto.commands.source", "slaveproto.commands.transfer", "slaveproto.master", "slaveproto.testing",
    "transports.host.archives", "transports.host.trees", "transports.trio",
}  # fmt: skip


def test_a_slave_that_waits_for_work_has_imported_little(listener: MasterSocket, tmp_path: Path) -> None:
    folder = tmp_path / "slave"
    with Program(folder, listener.port, TELLING) as slave, listener.attach("b"):
        slave.says("attached")
        slave.process.send_signal(signal.SIGINT)
        slave.ends(0)
    imported = set((folder / "modules").read_text().split())
    assert {"slaveproto.slave.session", "transports.threads.runner"} <= imported
    assert imported & NOT_NEEDED_TO_WAIT == set()


def test_a_reader_of_the_log_that_is_stuck_costs_only_lines(listener: MasterSocket, tmp_path: Path) -> None:
    Program(tmp_path / "slave", listener.port).__exit__()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    process = subprocess.Popen([*CALL, str(tmp_path / "slave")], stderr=writer, stdin=subprocess.DEVNULL)
    try:
        with listener.attach("b") as master:
            assert master.run("b", "echo fine").output() == "fine\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.02])
def test_a_second_signal_at_the_very_end_changes_no_more_than_the_code(runner: str, gap: float, tmp_path: Path) -> None:
    with Program(tmp_path / "slave", 1, runner=runner) as slave:
        slave.says("trying again")
        slave.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            slave.process.wait(gap)
        slave.process.terminate()
        assert slave.process.wait(DEADLINE) in (0, 143)


@pytest.mark.programs
def test_the_log_as_json(tmp_path: Path) -> None:
    master = f"127.0.0.1:{free_port()}"
    assert main(["create-slave", "-q", "--maxretries=1", str(tmp_path / "s"), master, "n", "p"]) == 0
    (tmp_path / "s/slaveproto.toml").chmod(0o644)
    program = [sys.executable, "-m", "slaveproto", "slave", "--log-json", str(tmp_path / "s")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=30)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["note", "connecting", "detached", "stopped"]
    assert "may read" in lines[0]["text"] or "others" in lines[0]["text"]
    assert lines[1]["text"].startswith("connecting to 127.0.0.1:")
    assert abs(lines[1]["time"] - time.time()) < 60
