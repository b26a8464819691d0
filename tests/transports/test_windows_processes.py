"""Processes as on Windows, with the calls of Windows handed in: nobody here has run them there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from slaveproto.effects import ProcessExited, Spawn
from slaveproto.testing.conformance.harness import descriptors, need_proc
from transports.host.windows import jobs, processes
from transports.host.windows.jobs import Accounting, ExtendedLimits, Jobs, bind

PID = 4711
JOB = 0x1_0000_0014
CMD = "C:\\WINDOWS\\system32\\cmd.exe"


def refused(why: str) -> OSError:
    return OSError(errno.EACCES, why)


# -- jobs, with what the libraries would do


@attrs.define
class Function:
    """A function of a library."""

    name: str
    body: Callable[..., Any]
    restype: Any = None
    argtypes: Any = None

    def __call__(self, *arguments: Any) -> Any:
        assert self.argtypes is not None, "called before its types were told"
        assert len(arguments) == len(self.argtypes)
        return self.body(*arguments)


class Libraries:
    """As much of Windows as jobs need: handles, jobs, and one process that waits to run."""

    def __init__(self) -> None:
        self.handles: dict[int, object] = {}
        self.jobs: dict[int, list[int]] = {}
        self.flags: dict[int, int] = {}
        self.running = {PID: False}
        self.ended: dict[int, int] = {}
        self.breaks: list[tuple[int, int]] = []
        self.broken: set[str] = set()
        self.kernel32 = self
        self.ntdll = self

    def __getattr__(self, name: str) -> Function:
        body = getattr(type(self), f"_{name}")
        function = Function(name, lambda *arguments: 0 if name in self.broken else body(self, *arguments))
        setattr(self, name, function)
        return function

    def bound(self) -> Jobs:
        return bind(self, self, lambda: refused("that failed"))

    def _open(self, what: object) -> int:
        handle = 0x1_0000_0000 + 4 * (len(self.handles) + 5)
        self.handles[handle] = what
        return handle

    def _CreateJobObjectW(self, attributes: None, name: None) -> int:
        job = self._open("job")
        self.jobs[job] = []
        return job

    def _SetInformationJobObject(self, job: int, kind: int, pointer: Any, size: int) -> int:
        assert kind == 9
        assert isinstance(pointer._obj, ExtendedLimits)
        assert size == ctypes.sizeof(ExtendedLimits)
        self.flags[job] = pointer._obj.flags
        return 1

    def _QueryInformationJobObject(self, job: int, kind: int, pointer: Any, size: int, length: None) -> int:
        assert kind == 1
        assert size == ctypes.sizeof(Accounting)
        pointer._obj.active = sum(pid not in self.ended for pid in self.jobs[job])
        return 1

    def _OpenProcess(self, access: int, inherit: bool, pid: int) -> int:
        assert access == 0x0901
        assert not inherit
        return self._open(pid) if pid in self.running else 0

    def _AssignProcessToJobObject(self, job: int, process: int) -> int:
        pid = self.handles[process]
        assert isinstance(pid, int)
        assert not self.running[pid], "it may have started others before"
        self.jobs[job].append(pid)
        return 1

    def _NtResumeProcess(self, process: int) -> int:
        pid = self.handles[process]
        assert isinstance(pid, int)
        self.running[pid] = True
        return 0

    def _TerminateJobObject(self, job: int, code: int) -> int:
        self.ended |= dict.fromkeys(self.jobs[job], code)
        return 1

    def _GenerateConsoleCtrlEvent(self, event: int, group: int) -> int:
        self.breaks.append((event, group))
        return 1

    def _CloseHandle(self, handle: int) -> int:
        if self.handles.pop(handle) == "job" and self.flags.get(handle, 0) & 0x2000:
            self.ended |= dict.fromkeys(self.jobs[handle], 0)
        return 1


@pytest.fixture
def libraries() -> Libraries:
    return Libraries()


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the sizes are those of 64 bits")
def test_structures_are_as_large_as_windows_wants_them() -> None:
    assert ctypes.sizeof(Accounting) == 48
    assert Accounting.active.offset == 40
    assert ctypes.sizeof(ExtendedLimits) == 144
    assert ExtendedLimits.flags.offset == 16
    assert ExtendedLimits.io.offset == 64


def test_a_process_runs_once_it_is_in_its_job(libraries: Libraries) -> None:
    manager = libraries.bound()
    job = manager.create()
    assert manager.count(job) == 0
    manager.adopt(job, PID)
    assert libraries.jobs[job] == [PID]
    assert libraries.running[PID]
    assert manager.count(job) == 1
    # Its number is not needed any more, the job is.
    assert list(libraries.handles) == [job]


def test_handles_may_be_larger_than_an_int(libraries: Libraries) -> None:
    manager = libraries.bound()
    assert manager.create() > 1 << 32
    for function in (libraries.CreateJobObjectW, libraries.OpenProcess):
        assert function.restype is ctypes.c_void_p
    for function in (libraries.CloseHandle, libraries.TerminateJobObject, libraries.NtResumeProcess):
        assert function.argtypes[0] is ctypes.c_void_p


def test_terminating_ends_all(libraries: Libraries) -> None:
    manager = libraries.bound()
    job = manager.create()
    manager.adopt(job, PID)
    libraries.jobs[job].append(4712)
    assert manager.count(job) == 2
    manager.terminate(job)
    assert libraries.ended == {PID: 1, 4712: 1}
    assert manager.count(job) == 0


def test_what_is_in_a_job_dies_with_us_but_not_with_its_release(libraries: Libraries) -> None:
    manager = libraries.bound()
    lost, released = manager.create(), manager.create()
    manager.adopt(released, PID)
    manager.release(released)
    assert libraries.ended == {}
    libraries.jobs[lost].append(4712)
    libraries.CloseHandle(lost)
    assert libraries.ended == {4712: 0}


def test_the_break_is_for_one_group(libraries: Libraries) -> None:
    libraries.bound().send_break(PID)
    assert libraries.breaks == [(1, PID)]


@pytest.mark.parametrize(
    ("broken", "call"),
    [
        ("CreateJobObjectW", lambda manager: manager.create()),
        ("SetInformationJobObject", lambda manager: manager.create()),
        ("OpenProcess", lambda manager: manager.adopt(JOB, PID)),
        ("AssignProcessToJobObject", lambda manager: manager.adopt(JOB, PID)),
        ("QueryInformationJobObject", lambda manager: manager.count(JOB)),
        ("TerminateJobObject", lambda manager: manager.terminate(JOB)),
        ("GenerateConsoleCtrlEvent", lambda manager: manager.send_break(PID)),
    ],
)
def test_what_fails_is_told_and_leaves_no_handle(
    libraries: Libraries, broken: str, call: Callable[[Jobs], object]
) -> None:
    libraries.broken.add(broken)
    with pytest.raises(OSError, match="that failed"):
        call(libraries.bound())
    assert libraries.handles == {}


def test_a_process_that_cannot_be_resumed(libraries: Libraries) -> None:
    manager = libraries.bound()
    job = manager.create()
    libraries.NtResumeProcess.body = lambda process: -0x3FFFFFDE
    with pytest.raises(OSError, match="0xc0000022"):
        manager.adopt(job, PID)
    assert list(libraries.handles) == [job]


def test_a_release_that_fails_closes_all_the_same(libraries: Libraries) -> None:
    manager = libraries.bound()
    job = manager.create()
    libraries.broken.add("SetInformationJobObject")
    with pytest.raises(OSError, match="that failed"):
        manager.release(job)
    assert libraries.handles == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has jobs")
def test_only_windows_has_jobs() -> None:
    with pytest.raises(OSError, match="only Windows"):
        jobs.load()


# -- children


@attrs.define
class Started:
    """A process that `System` started."""

    pid: int
    line: str
    stdin: int
    stdout: int
    stderr: int
    cwd: str
    env: Mapping[str, str]
    creationflags: int
    code: int | None = None
    killed: bool = False

    def wait(self) -> int:
        assert self.code is not None, "it would not end"
        return self.code

    def kill(self) -> None:
        self.killed, self.code = True, 1


class System:
    """What `spawn` calls, and what became of it."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.active = 1
        self.broken: set[str] = set()
        self.started: Started | None = None
        self.script = b""
        self.jobs = Jobs(
            create=lambda: self._do(JOB, "create"),
            adopt=lambda job, pid: self._do(None, "adopt", job, pid),
            count=lambda job: self._do(self.active, "count", job),
            terminate=lambda job: self._do(None, "terminate", job),
            release=lambda job: self._do(None, "release", job),
            send_break=lambda group: self._do(None, "send_break", group),
        )

    def spawn(self, effect: Spawn, shell: str | None = CMD) -> processes.Child:
        return processes.spawn(effect, load_jobs=lambda: self._do(self.jobs, "load"), start=self._start, shell=shell)

    def _do(self, result: Any, *call: object) -> Any:
        self.done.append(call)
        if call[0] in self.broken:
            raise refused("that failed")
        return result

    def _start(self, command_line: str, **how: Any) -> Started:
        self._do(None, "start")
        self.started = Started(PID, command_line, **how)
        if ' /s /c ""' in command_line:
            self.script = Path(command_line.split('""')[1]).read_bytes()
        return self.started


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return System()


@contextlib.contextmanager
def running(system: System, effect: Spawn, **how: Any) -> Iterator[tuple[processes.Child, Started]]:
    """Spawn, and close our ends at the end."""
    child = system.spawn(effect, **how)
    assert system.started is not None
    try:
        yield child, system.started
    finally:
        for fd in (*child.outputs, *([] if child.stdin is None else [child.stdin])):
            os.close(fd)


MAKE = Spawn((b"C:\\bin\\make.exe", b"all"), {b"PATH": b"C:\\bin"}, "C:\\slave\\b", b"", False)
SCRIPT = attrs.evolve(MAKE, argv=(b"make all",), script=True)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ((b"C:\\bin\\make.exe",), "C:\\bin\\make.exe"),
        ((b"C:\\a b\\make.exe", b"-j2", b"a b"), '"C:\\a b\\make.exe" -j2 "a b"'),
        ((b"C:\\make.exe", b"", b'say "hi"', b"a b\\", b"%x&"), 'C:\\make.exe "" "say \\"hi\\"" "a b\\\\" %x&'),
        ((b"C:\\make.exe", b"caf\xc3\xa9"), "C:\\make.exe caf\xe9"),
        ((b"C:\\make.exe", b"caf\xe9"), "C:\\make.exe caf\udce9"),
    ],
)
def test_a_program_is_started_as_it_is(system: System, argv: tuple[bytes, ...], line: str) -> None:
    with running(system, attrs.evolve(MAKE, argv=argv)) as (_, started):
        assert started.line == line
        assert started.cwd == "C:\\slave\\b"
        assert started.env == {"PATH": "C:\\bin"}
        # CREATE_NEW_PROCESS_GROUP and CREATE_SUSPENDED.
        assert started.creationflags == 0x204
        assert started.stdin == subprocess.DEVNULL


def test_text_is_in_the_encoding_of_the_slave(system: System) -> None:
    effect = attrs.evolve(MAKE, argv=(b"C:\\make.exe", b"caf\x82"), environ={b"\x82": b"\x84"}, encoding="cp850")
    with running(system, effect) as (_, started):
        assert started.line == "C:\\make.exe caf\xe9"
        assert started.env == {"\xe9": "\xe4"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (b"make all", b"make all"),
        (b"", b""),
        (b"echo 1\necho 2\r\necho 3\rexit 4\n", b"echo 1\r\necho 2\r\necho 3\r\nexit 4\r\n"),
        (b"echo caf\x82 %PATH%", b"echo caf\x82 %PATH%"),
    ],
)
def test_the_shell_gets_a_batch_file(system: System, tmp_path: Path, text: bytes, written: bytes) -> None:
    with running(system, attrs.evolve(SCRIPT, argv=(text,))) as (child, started):
        (path,) = tmp_path.iterdir()
        assert path.suffix == ".bat"
        assert started.line == f'{CMD} /s /c ""{path}""'
        assert system.script == b"@echo off\r\n" + written + b"\r\n"
        started.code = 0
        assert child.wait(1) == ProcessExited(1, 0, None)
        # What it started may still read it.
        assert path.exists()
        assert child.reap() == 0
        assert not path.exists()


def test_the_shell_is_the_one_that_the_environment_names(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMSPEC", "D:\\other shell.exe /q")
    with running(system, SCRIPT, shell=None) as (_, started):
        assert started.line.startswith('D:\\other shell.exe /q /s /c ""')
    monkeypatch.delenv("COMSPEC")
    with running(system, SCRIPT, shell=None) as (_, started):
        assert started.line.startswith('cmd.exe /s /c ""')


def test_the_process_has_the_other_ends_of_its_pipes(system: System) -> None:
    written: list[int] = []

    def start(command_line: str, **how: Any) -> Started:
        written.extend((os.write(how["stdout"], b"out"), os.write(how["stderr"], b"err")))
        system.started = Started(PID, command_line, **{**how, "stdin": os.dup(how["stdin"])})
        return system.started

    system._start = start  # type: ignore[method-assign]
    with running(system, attrs.evolve(MAKE, stdin=b"x")) as (child, started):
        # That nobody else holds them shows at their end.
        assert {name: os.read(fd, 10) + os.read(fd, 10) for fd, name in child.outputs.items()} == {
            "stdout": b"out",
            "stderr": b"err",
        }
        assert child.stdin is not None
        os.write(child.stdin, b"x")
        assert os.read(started.stdin, 10) == b"x"
        os.close(started.stdin)


def test_it_is_in_a_job_from_its_start_to_its_reaping(system: System) -> None:
    with running(system, MAKE) as (child, started):
        assert child.pid == PID
        assert system.done == [("load",), ("create",), ("start",), ("adopt", JOB, PID)]
        started.code = 0
        child.wait(1)
        assert system.done[4:] == []
        child.reap()
        assert system.done[4:] == [("release", JOB)]


@pytest.mark.parametrize("effect", [MAKE, SCRIPT, attrs.evolve(MAKE, stdin=b"x")])
@pytest.mark.parametrize("broken", ["load", "create", "start", "adopt"])
def test_what_cannot_be_started_leaves_nothing(system: System, tmp_path: Path, broken: str, effect: Spawn) -> None:
    need_proc()
    system.broken.add(broken)
    before = descriptors()
    with pytest.raises(OSError, match="that failed"):
        system.spawn(effect)
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []
    created = ("create",) in system.done and broken != "create"
    assert (("release", JOB) in system.done) == created
    if broken == "adopt":
        assert system.started is not None
        assert system.started.killed


def test_what_python_does_not_hand_to_the_system_leaves_nothing(system: System) -> None:
    need_proc()
    before = descriptors()

    def start(command_line: str, **how: Any) -> Started:
        raise ValueError("embedded null character")

    system._start = start  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="null"):
        system.spawn(attrs.evolve(MAKE, argv=(b"a\0",)))
    assert descriptors() == before
    assert system.done[-1] == ("release", JOB)


def test_there_are_no_terminals(system: System) -> None:
    with pytest.raises(OSError, match="no pseudo-terminals"):
        system.spawn(attrs.evolve(MAKE, use_pty=True))
    assert system.done == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, 0),
        (1, 1),
        (255, 255),
        (259, 259),
        (0x7FFFFFFF, 0x7FFFFFFF),
        # Ended by Ctrl-Break, by a wrong address, by exit(-1).
        (0xC000013A, -1073741510),
        (0xC0000005, -1073741819),
        (0xFFFFFFFF, -1),
        (-1, -1),
    ],
)
def test_exit_code(system: System, code: int, told: int) -> None:
    with running(system, MAKE) as (child, started):
        started.code = code
        assert child.wait(3) == ProcessExited(3, told, None)
        assert child.reap() == told


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("KILL", ("terminate", JOB)),
        ("TERM", ("send_break", PID)),
        ("INT", ("send_break", PID)),
        ("BREAK", ("send_break", PID)),
    ],
)
def test_signal(system: System, name: str, call: tuple[object, ...]) -> None:
    with running(system, MAKE) as (child, _):
        system.done.clear()
        assert child.send_signal(name)
        assert system.done == [("count", JOB), call]
        system.active = 0
        system.done.clear()
        assert not child.send_signal(name)
        assert system.done == [("count", JOB)]


@pytest.mark.parametrize("name", ["USR1", "HUP", "NONSENSE"])
def test_there_are_few_signals(system: System, name: str) -> None:
    with running(system, MAKE) as (child, _):
        system.done.clear()
        with pytest.raises(OSError, match=f"no signal {name} on Windows") as caught:
            child.send_signal(name)
        assert caught.value.errno == errno.EINVAL
        assert system.done == [("count", JOB)]


@pytest.mark.parametrize(("name", "broken"), [("KILL", "terminate"), ("TERM", "send_break"), ("KILL", "count")])
def test_a_signal_that_cannot_be_sent_says_why(system: System, name: str, broken: str) -> None:
    with running(system, MAKE) as (child, _):
        system.broken.add(broken)
        with pytest.raises(OSError, match="that failed"):
            child.send_signal(name)


def test_a_job_that_cannot_be_released_holds_up_nobody(system: System, tmp_path: Path) -> None:
    with running(system, SCRIPT) as (child, started):
        started.code = 0
        system.broken.add("release")
        assert child.reap() == 0
        assert list(tmp_path.iterdir()) == []
