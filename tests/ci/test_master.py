"""`slaveproto master`, `trigger` and `builds`, the real programs."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from slaveproto.ci import control
from slaveproto.ci.builds import Run, RunBegan
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import BuilderEntry
from slaveproto.ci.masking import Vault
from slaveproto.ci.memory import Memory
from slaveproto.ci.record import Record
from slaveproto.ci.reserve import Reserve
from slaveproto.ci.store import BuildRow, Store
from slaveproto.cli import main
from slaveproto.master.steps import MakeDirectory
from slaveproto.testing.conformance import wait_until
from slaveproto.wire import Answered, ClientLogin, Connection, LoggedIn, NeedData, Opened, Role, Value

pytestmark = pytest.mark.programs

PROGRAM = [sys.executable, "-m", "slaveproto"]
QUICK = '[[builder]]\nname = "quick"\n[[builder.step]]\nname = "say"\nshell = "echo hello; echo there >&2"\n'
BLOCKED = (
    '[[builder]]\nname = "blocked"\n[[builder.step]]\nshell = "echo x >> ../../../../started; '
    'while ! test -e ../../../../go; do sleep 0.02; done"\n'
)


class Program:
    """A master that was started."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        self.file = folder / "build.toml"
        self.write(text)
        self._log = folder / "log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen([*PROGRAM, "master", str(self.file)], stderr=log, stdin=subprocess.DEVNULL)

    def write(self, text: str) -> None:
        """Replace the file."""
        self.file.write_text(f'[master]\nlisten = "127.0.0.1:0"\n{text}')

    @property
    def log(self) -> str:
        """What it said, without the times."""
        lines = self._log.read_text().splitlines()
        for line in lines:
            time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")
        return "".join(f"{line[20:]}\n" for line in lines)

    def says(self, words: str) -> None:
        """Wait until the log contains some words."""
        wait_until(lambda: words in self.log or self.process.poll() is not None)
        assert words in self.log

    def trigger(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "trigger", str(self.file), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def stop(self, code: int = 0, *, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(10) == code, self.log

    def builds(self) -> list[BuildRow]:
        store = Store(str(self.folder / ".slaveproto"), read_only=True)
        try:
            return store.builds(100)
        finally:
            store.close()


@contextlib.contextmanager
def master(folder: Path, text: str) -> Iterator[Program]:
    program = Program(folder, text)
    try:
        program.says("listening on 127.0.0.1:")
        yield program
    finally:
        program.process.kill()
        program.process.wait()


def test_a_build_is_triggered_and_remembered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with master(tmp_path, QUICK) as program:
        done = program.trigger("quick", "--wait")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "build 1 of quick on slave local: success\n"
        assert program.trigger("quick").stdout == "request 2 for quick is taken\n"
        program.says("build 2 of quick on slave local: success")
        logs = tmp_path / ".slaveproto" / "logs" / "1"
        assert sorted((logs / "1-stdio.log").read_text().splitlines()) == ["hello", "there"]
        assert "echo hello" in (logs / "1-header.log").read_text()
        assert stat.S_IMODE((tmp_path / ".slaveproto" / "master.sock").stat().st_mode) == 0o600
        program.stop()
        assert program.log.endswith("stopped\n")
    assert main(["builds", str(program.file), "-n", "1"]) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert "quick on local: success " in out
    assert out.endswith(" s (trigger)\n")


def test_what_does_not_succeed(tmp_path: Path) -> None:
    with master(tmp_path, '[[builder]]\nname = "b"\n[[builder.step]]\nshell = "exit 3"\n') as program:
        done = program.trigger("b", "--wait")
        assert (done.returncode, done.stdout) == (1, "build 1 of b on slave local: failure\n")
        assert "build 1 of b: step 1, exit 3: failure: exit code 3\n" in program.log
        done = program.trigger("nonesuch")
        assert done.returncode == 2
        assert done.stderr == f"slaveproto: {program.file}: no builder 'nonesuch'; there are b\n"
        command = [*PROGRAM, "master", str(program.file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        state = tmp_path / ".slaveproto"
        assert done.stderr == f"slaveproto: {state}: in use by another slaveproto, process {program.process.pid}\n"


@pytest.mark.parametrize("stale", [False, True])
def test_no_master(tmp_path: Path, stale: bool, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "build.toml").write_text(QUICK)
    state = tmp_path / ".slaveproto"
    if stale:
        state.mkdir()
        control.listen(str(state)).close()
    assert main(["trigger", str(tmp_path / "build.toml"), "quick"]) == 2
    assert capfd.readouterr().err == f"slaveproto: no master runs in {state}; start it with `slaveproto master`\n"
    assert main(["builds", str(tmp_path / "build.toml")]) == 2
    assert capfd.readouterr().err == f"slaveproto: no master has run in {state}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_restart_loses_nothing(tmp_path: Path, number: int) -> None:
    """Neither what is done, nor what waits, nor what was under way; whether the end was orderly or not."""
    with master(tmp_path, QUICK + BLOCKED) as program:
        assert program.trigger("quick", "--wait").returncode == 0
        program.trigger("blocked")
        wait_until((tmp_path / "started").exists)
        # While it is built, it is asked for again.
        program.trigger("blocked")
        program.stop(0 if number == signal.SIGINT else -number, number=number)
    (tmp_path / "go").touch()
    with master(tmp_path, QUICK + BLOCKED) as program:
        wait_until(lambda: len(program.builds()) == 3 and program.builds()[0].ended)
        program.stop()
    assert [(build.builder, build.result) for build in program.builds()] == [
        ("blocked", "success"), ("blocked", "retry"), ("quick", "success")
    ]  # fmt: skip


def test_a_build_that_ends_its_master_each_time(tmp_path: Path) -> None:
    """It is tried again after a pause, and given up in the end."""
    poison = 'max_tries = 2\n[[builder]]\nname = "poison"\n[[builder.step]]\nshell = "kill -9 $PPID"\n' + QUICK
    with master(tmp_path, poison) as program:
        program.trigger("poison")
        assert program.process.wait(20) == -signal.SIGKILL
    with master(tmp_path, poison) as program:
        program.says("build 1 did not end when the master did, and is built again")
        assert program.process.wait(20) == -signal.SIGKILL
    with master(tmp_path, poison) as program:
        program.says("build 2 did not end when the master did, and is given up after 2 tries: the master ended in it")
        wait_until(lambda: program.trigger("quick").returncode == 0)
        program.says("build 3 of quick on slave local: success")
        program.stop()
    assert [row.result for row in program.builds()] == ["success", "exception", "retry"]


def test_who_waits_is_told_of_the_end_of_the_master(tmp_path: Path) -> None:
    with master(tmp_path, BLOCKED) as program:
        command = [*PROGRAM, "trigger", str(program.file), "blocked", "--wait"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
            wait_until((tmp_path / "started").exists)
            program.stop(number=signal.SIGINT)
            err = waiting.communicate(timeout=10)[1]
        assert waiting.returncode == 1
    assert err == "slaveproto: the master ended before the build; it will be built when a master runs again\n"


def test_the_file_is_read_again(tmp_path: Path) -> None:
    with master(tmp_path, QUICK) as program:
        program.write(QUICK.replace("shell", "shel"))
        program.process.send_signal(signal.SIGHUP)
        program.says(f"the file stays as it was: {program.file}:7: unknown key 'shel'")
        assert program.trigger("quick", "--wait").returncode == 2
        program.write('[[slave]]\nname = "x"\npassword = "x"\n' + QUICK.replace('"\n[[', '"\nslaves = ["x"]\n[[', 1))
        program.process.send_signal(signal.SIGHUP)
        program.says("between a slave of its own and others only a restart can change")
        program.write(QUICK.replace("quick", "fast"))
        program.process.send_signal(signal.SIGHUP)
        program.says(f"read {program.file} again")
        assert program.trigger("fast", "--wait").stdout == "build 1 of fast on slave local: success\n"


def test_a_change_that_was_answered_is_kept_even_by_a_master_that_stops(tmp_path: Path) -> None:
    """It comes faster than it is stored: hundreds wait when the master is told to stop."""
    count = 300
    with master(tmp_path, QUICK) as program:
        port = int(re.findall(r"listening on 127.0.0.1:(\d+)", program.log)[0])
        tell_changes(port, count)
        program.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / ".slaveproto" / "state.sqlite")) as state, state:
        assert state.execute("select count(*) from changes").fetchone() == (count,)


def tell_changes(port: int, count: int) -> None:
    """Log in as `buildbot sendchange` does, and tell of changes until all are answered."""
    connection = Connection(Role.CLIENT)
    login: ClientLogin | None = None
    answered = 0
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while answered < count:
            sock.sendall(connection.data_to_send())
            match connection.next_event():
                case NeedData():
                    connection.receive_data(sock.recv(65536))
                case Opened():
                    login = ClientLogin(connection, b"change", b"changepw", None)
                case Answered() as event if login is not None and login.concerns(event):
                    outcome = login.handle(event)
                    if isinstance(outcome, LoggedIn):
                        for number in range(count):
                            change: Value = {"who": "me", "files": [], "comments": str(number)}
                            connection.call(outcome.avatar, "addChange", (change,))
                case Answered():
                    answered += 1
                case event:
                    raise AssertionError(event)


def test_a_schedule(tmp_path: Path) -> None:
    with master(tmp_path, QUICK.replace("\n[[", "\ntriggers = { every = 0.2 }\n[[", 1)) as program:
        program.says("build 3 of quick on slave local: success")
        program.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / ".slaveproto" / "state.sqlite")) as db:
        asked = [row[0] for row in db.execute("SELECT created FROM requests ORDER BY id")]
    assert all(later - earlier > 0.19 for earlier, later in itertools.pairwise(asked))
    assert {build.reason for build in program.builds()} == {"schedule"}


def test_old_builds_are_forgotten(tmp_path: Path) -> None:
    with master(
        tmp_path, "keep_builds = 1\n" + QUICK.replace("\n[[", "\ntriggers = { every = 0.2 }\n[[", 1)
    ) as program:
        program.says("build 3 of quick on slave local: success")
        wait_until(lambda: not (tmp_path / ".slaveproto" / "logs" / "2").exists())
        program.stop()
    assert program.builds()[-1].id > 2


def test_a_request_that_is_stored_while_a_build_begins(tmp_path: Path) -> None:
    """The build takes it, and so nothing is wanted any more."""
    wanted: list[str] = []

    async def request(memory: Memory, store: Store, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await memory.new(store.add_request, "b", "trigger", 1.0)
        wanted.append("b")

    async def both(store: Store) -> None:
        memory = Memory(store.check, Reserve(str(tmp_path)), print, lambda well: None)
        record = Record(store, memory, lambda text: None, lambda request, end: None, lambda: 0)
        record.on_start = lambda builder: wanted.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(memory.run)
            await nursery.start(request, memory, store)
            entry = BuilderEntry(name="b", slaves=("s",), builddir="b", steps=(MakeDirectory(dir="x"),))
            await record.handle(RunBegan(Run(entry, "s", 1, Vault())))
            nursery.cancel_scope.cancel()

    with contextlib.closing(Store(str(tmp_path))) as store:
        trio.run(both, store)
        assert (store.pending(), wanted) == ({}, [])


NONSENSE = (b"", b"\n", b"nonsense\n", b"[" * 60_000 + b"\n", b"x" * 100_000, b"[1]\n", b'{"trigger": 5}\n')


def test_nonsense_on_the_socket(tmp_path: Path) -> None:
    with master(tmp_path, QUICK) as program:
        for question in NONSENSE:
            with control.connect(str(tmp_path / ".slaveproto")) as client:
                with contextlib.suppress(OSError):
                    client.sendall(question)
                    client.shutdown(socket.SHUT_WR)
                client.settimeout(10)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    answer = client.recv(1000)
            answered: dict[str, Any] = json.loads(answer) if answer else {}
            assert answered == ({"error": "no builder 5; there are quick"} if b"trigger" in question else {})
        assert program.trigger("quick", "--wait").returncode == 0


def test_a_long_path(tmp_path: Path) -> None:
    """Longer than the address of a Unix socket may be."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with control.listen(str(folder)) as server, control.connect(str(folder)) as client:
        connection, _ = server.accept()
        connection.close()
        assert client.recv(1) == b""
    with pytest.raises(UsageError, match=r"No such"):
        control.listen(str(folder / "none"))


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    """It is told, and costs the log, not the build."""
    (tmp_path / ".slaveproto").mkdir()
    (tmp_path / ".slaveproto" / "logs").touch()
    with master(tmp_path, QUICK) as program:
        assert program.trigger("quick", "--wait").returncode == 0
        assert program.log.count("build 1: the log stdio of step 1 is lost: ") == 1


def test_a_log_that_is_too_large(tmp_path: Path) -> None:
    text = f"log_max_size = 1000\n{QUICK}"
    with master(tmp_path, re.sub("shell = .*", 'shell = "echo begin; seq 100000; echo end"', text)) as program:
        assert program.trigger("quick", "--wait").returncode == 0
    log = next((tmp_path / ".slaveproto" / "logs" / "1").glob("1-stdio*")).read_text()
    assert log.startswith("begin\n1\n2\n")
    assert log.endswith("\n100000\nend\n")
    assert "bytes are left out here: log_max_size is 1000]" in log
    assert len(log) < 1100


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process is set")
def test_a_master_without_descriptors(tmp_path: Path) -> None:
    """It is told in one line, and the master works on when there are some again."""
    with master(tmp_path, QUICK) as program:
        assert program.trigger("quick", "--wait").returncode == 0
        port = int(program.log.split("listening on 127.0.0.1:")[1].split("\n")[0])
        before = resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (40, before[1]))
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            wait_until(lambda: "Too many open files" in (tmp_path / "log").read_text())
            time.sleep(1.0)
        said = (tmp_path / "log").read_text()
        assert said.count("cannot accept a connection: Too many open files") == 1
        assert "Traceback" not in said
        resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, before)
        assert program.trigger("quick", "--wait").returncode == 0
