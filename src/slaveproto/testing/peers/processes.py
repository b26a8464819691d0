"""Programs under test: start, watch and end them."""

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self, TypeVar

T = TypeVar("T")


def poll(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Return the first true value of `condition`; TimeoutError names `what` was awaited."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(0.05)
    return value


def environment(directory: Path, programs: Path | None = None) -> dict[str, str]:
    """Return the environment of every master and slave: nothing of the calling machine."""
    folders = [] if programs is None else [str(programs)]
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": ":".join([*folders, "/usr/local/bin", "/usr/bin", "/bin"]), "HOME": str(home), "LANG": "C.UTF-8"}


def twistd(python: Path) -> list[str]:
    """Return the command that runs the buildbot.tac of the current directory in the foreground."""
    # not bin/twistd: its #! line has a length limit
    code = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
    return [str(python), "-W", "ignore", "-c", code, "--nodaemon", "--no_save", "--pidfile=", "--python=buildbot.tac"]


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Program(ABC):
    """One program, run in its base directory; a context manager that ends it."""

    output_file = "stdio.log"
    """Name of the file that takes its standard output; standard error goes to ``stdio.log``."""
    ending: ClassVar[signal.Signals] = signal.SIGTERM
    """The signal that ends it and does not wait for builds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs: Path | None = None
        """A folder of programs that come before those of the system."""
        self.variables: dict[str, str] = {}
        """Variables of its environment beside the usual ones."""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the command line."""

    @abstractmethod
    def log(self) -> str:
        """Return the text of the program's log."""

    def start(self) -> None:
        """Start the program, without waiting until it is of use."""
        with (
            open(self.directory / self.output_file, "ab") as out,
            open(self.directory / "stdio.log", "ab") as err,
        ):
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={**environment(self.directory, self.programs), **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def peak_memory(self) -> float:
        """Peak of the resident memory since its start, or since `forget_peak`, in megabytes (Linux)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    def forget_peak(self) -> float:
        """Reset the peak; return the resident memory, in megabytes (Linux)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.peak_memory

    def wait_exit(self, timeout: float) -> int:
        """Return the exit status; TimeoutError if the program does not end."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.directory.name} still runs after {timeout} s") from None

    def stop(self, timeout: float = 15) -> None:
        """End the program with the signal for that, or SIGKILL when that does not help."""
        if self.running:
            self.process.send_signal(self.ending)
            self.thaw()
            try:
                self.wait_exit(timeout)
            except TimeoutError:
                self.kill()

    def kill(self) -> None:
        """End the program with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Freeze the program: it answers nothing, and its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen program go on."""
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def read_log(path: Path) -> str:
    """Return the text of a log that may not exist yet."""
    return path.read_text(errors="replace") if path.exists() else ""


def processes_below(directory: Path) -> dict[int, str]:
    """Return the processes (id, command line) whose working directory is below `directory`."""
    found = {}
    prefix = f"{directory.resolve()}/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd").startswith(prefix):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    found[int(entry.name)] = b" ".join(words).decode(errors="replace").strip()
            except OSError:
                continue  # ended meanwhile, or another user's
    return found
