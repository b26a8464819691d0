"""Builds of the self-contained executable for a real master, in a root directory that has no Python."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from slaveproto.testing.peers import RealBuilder, RealMaster, SlaveProgram
from slaveproto.testing.peers.processes import environment, read_log
from tests.interop.available import give_up, require

pytestmark = pytest.mark.peers

BUILDER = Path(__file__).parents[2] / "examples" / "deploy" / "build_executable.py"
PROGRAMS = ("sh", "cat", "echo", "env", "grep", "sort", "uname")
"""Programs of the new root, for the commands of builds."""
CHROOT = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin") or "chroot"
MOST = 12_000_000
"""Bytes that the executable may have; what it is larger by than the zipapp is Python."""


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable, built; skips the tests where that is impossible."""
    if find_spec("PyInstaller") is None:
        give_up("PyInstaller is not installed")
    if shutil.which("objcopy") is None:
        give_up("there is no objcopy (binutils), which PyInstaller needs")
    file = tmp_path_factory.mktemp("executable") / "slaveproto"
    done = subprocess.run([sys.executable, BUILDER, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{file}: {file.stat().st_size} bytes; it needs no Python: {file} create-slave --help\n"
    assert list(file.parent.iterdir()) == [file]
    return file


@pytest.fixture(scope="module")
def root(executable: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root directory with the executable, a shell, some programs and the libraries of those."""
    if os.geteuid() != 0:
        pytest.skip("only root may change the root directory")
    root = tmp_path_factory.mktemp("root")
    for folder in ("tmp", "dev", "usr/local/bin", "usr/bin", "bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    # Devices cannot be made in each container, and a file does, too.
    (root / "dev/null").touch(0o666)
    shutil.copy(executable, root / "slaveproto")
    copied = [executable]
    for name in PROGRAMS:
        found = shutil.which(name, path="/bin:/usr/bin")
        assert found is not None, name
        shutil.copy(found, root / "bin" / name)
        copied.append(Path(found))
    for program in copied:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                place = root / word.removeprefix("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, place)
    # The C library's own parts, of which the packed Python needs more than its start.
    for library in Path(ldd_folder(executable)).glob("lib*.so.*"):
        if library.name.partition(".")[0] in ("libm", "libdl", "librt", "libutil", "libpthread", "libresolv"):
            shutil.copy(library, root / str(library).removeprefix("/"))
    yield root
    assert not list(root.rglob("*python*")), "there is no Python, before and after"


def ldd_folder(program: Path) -> str:
    """Return the folder of the C library."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    (path,) = (word for word in listed.split() if word.startswith("/") and "/libc.so" in word)
    return str(Path(path).parent)


class EnclosedSlave(SlaveProgram):
    """The executable in a root directory of its own, where its base directory is."""

    ready = "attached; "

    def __init__(self, root: Path, master: RealMaster, name: str) -> None:
        self.root = root
        super().__init__(root / name, master, name)

    def call(self, *words: str) -> list[str]:
        return [CHROOT, str(self.root), "/slaveproto", *words]

    def create(self) -> None:
        where = [f"/{self.name}", f"{self.master.host}:{self.master.port}", self.name, self.password]
        call = self.call("create-slave", "--maxdelay", "2", *where)
        done = subprocess.run(call, env=environment(self.root), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def command(self) -> Sequence[str]:
        return self.call("slave", f"/{self.name}")

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")


def test_builds_without_python(executable: Path, root: Path) -> None:
    """Commands see the environment that the slave was started with, and nothing of the packager's."""
    require("new")
    assert executable.stat().st_size < MOST
    builders = [RealBuilder(name, slaves=("our",)) for name in ("hello", "env")]
    with (
        RealMaster("new", root.parent / "master", builders, slaves={"our": "pw"}) as master,
        EnclosedSlave(root, master, "our") as slave,
    ):
        slave.wait_attached()
        found = master.build_all(["hello", "env"], 2, 120)
        slave.process.terminate()
        assert slave.wait_exit(30) == 0
    assert found["hello"].result == "success", slave.log()
    seen = "".join(step.logs["stdio"]["stdout"] for step in found["env"].steps if "stdio" in step.logs)
    assert "FOO=bar" in seen
    assert not re.findall("^(?:LD_LIBRARY_PATH|_PYI|_MEI).*", seen, re.MULTILINE)
    assert not list((root / "tmp").iterdir()), "what it unpacked is gone"


def test_what_it_lacks_it_says(executable: Path) -> None:
    for words, line in {
        ("build", "x"): "slaveproto: this file lacks `build`, ",
        ("slave", "--runner", "trio", "x"): "slaveproto: this needs trio, ",
        ("slave", ""): "slaveproto: BASEDIR is empty",
    }.items():
        done = subprocess.run([executable, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(line)


def test_a_service_manager_hears_of_it(executable: Path, tmp_path: Path) -> None:
    """It knows the number of the first process only, and is answered by the second one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        relay = f"exec {executable} relay --listen 127.0.0.1:0 --to 127.0.0.1:1"
        with subprocess.Popen(
            ["/bin/sh", "-c", f"WATCHDOG_PID=$$ {relay}"], env=env, stderr=subprocess.PIPE
        ) as process:
            heard = {manager.recv(4096).decode().partition("\n")[0] for _ in range(3)}
            process.terminate()
            assert process.wait(30) == 0
    assert {"READY=1", "WATCHDOG=1"} <= heard


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
def test_a_signal_comes_once(executable: Path, send: Callable[[int, int], None]) -> None:
    """To the first process, or to its group as from a terminal; a second one would give another exit code."""
    call = [str(executable), "relay", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"]
    with subprocess.Popen(call, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stderr is not None
        assert b"listening on" in process.stderr.readline()
        send(process.pid, signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read().count(b"received SIGTERM") == 1


def test_variables_of_the_caller_come_back(executable: Path, tmp_path: Path) -> None:
    """A library path that the host has set for its builds stays what it was."""
    program = (
        "import os, runpy, sys\nsys.modules['slaveproto.cli'] = type(sys)('x')\n"
        "sys.modules['slaveproto.cli'].main = lambda: print(dict(os.environ)) or 0\n"
        "runpy.run_path(sys.argv[1])"
    )
    start = BUILDER.with_name("executable.py")
    env = {"LD_LIBRARY_PATH": "/tmp/_MEI", "LD_LIBRARY_PATH_ORIG": "/opt/lib", "_PYI_ARCHIVE_FILE": "x", "HOME": "/"}
    done = subprocess.run([sys.executable, "-c", program, start], env=env, capture_output=True, text=True, check=True)
    assert "'LD_LIBRARY_PATH': '/opt/lib'" in done.stdout
    assert "_ORIG" not in done.stdout
    assert "_PYI" not in done.stdout


@pytest.mark.parametrize("words", [[], ["--help"], ["a", "b"], ["/"], ["/no/such/place"]])
def test_the_builder_is_called_wrongly(words: list[str]) -> None:
    done = subprocess.run([sys.executable, BUILDER, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
