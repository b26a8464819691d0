"""Slaves: the program of this project, and those of Buildbot."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, Literal, Protocol

from slaveproto.testing.peers.install import HERE, SlaveKind, install
from slaveproto.testing.peers.master import RealMaster
from slaveproto.testing.peers.processes import Program, environment, poll, processes_below, read_log, twistd

Runner = Literal["threads", "trio"]
Shutdown = Literal["signal", "file"]

TAC: Final[Mapping[SlaveKind, str]] = {
    "old": "old",
    "mid": "old",
    "new": "new",
    "worker-0.9.0": "python2-worker",
    "worker-2.10.5": "python2-worker",
}
"""Folder of inside/ with the slave.tac of each generation."""


class Attachable(Protocol):
    """A place to log in at: a master, real or ours, or an `Address`."""

    @property
    def host(self) -> str:
        """The host that it listens on."""

    @property
    def port(self) -> int:
        """The port that it listens on."""

    @property
    def slaves(self) -> Mapping[str, str]:
        """Names of its slaves to their passwords."""


class SlaveProgram(Program):
    """A slave with its base directory, made for one master.

    Args:
        directory: the base directory, to be made.
        master: where it logs in.
        name: its user name there.
        password: by default the one that the master knows.
        allow_shutdown: how it can be made to ask the master for its shutdown: SIGHUP, or the file ``shutdown.stamp``.
        keepalive: seconds between two keepalive calls.
    """

    ready: ClassVar[str]
    """Pattern that its log has once for each attachment."""

    def __init__(
        self,
        directory: Path,
        master: Attachable,
        name: str,
        password: str | None = None,
        *,
        allow_shutdown: Shutdown | None = None,
        keepalive: int = 600,
    ) -> None:
        super().__init__(directory)
        self.master = master
        self.name = name
        self.password = master.slaves[name] if password is None else password
        self.allow_shutdown = allow_shutdown
        self.keepalive = keepalive
        self.create()
        (directory / "info").mkdir(exist_ok=True)
        (directory / "info" / "admin").write_text("Test Admin <admin@example.org>\n")
        (directory / "info" / "host").write_text("a test host\n")

    @abstractmethod
    def create(self) -> None:
        """Make the base directory."""

    def step_processes(self) -> dict[int, str]:
        """Return the processes of running steps: id and command line."""
        return processes_below(self.directory)

    @property
    def attachments(self) -> int:
        """Number of its attachments, by its own log."""
        return len(re.findall(self.ready, self.log()))

    def wait_attached(self, times: int = 1, timeout: float = 30) -> None:
        """Wait until the slave's log says that it was attached so many times."""

        def attached() -> bool:
            if not self.running:
                raise RuntimeError(f"slave {self.name} has ended:\n{self.log()[-3000:]}")
            return self.attachments >= times

        try:
            poll(attached, timeout, f"slave {self.name} is attached")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-3000:]}") from None

    def wait_log(self, text: str, timeout: float = 30) -> None:
        """Wait until the slave's log contains `text`."""
        poll(lambda: text in self.log(), timeout, f"slave {self.name} logs {text!r}")

    def ask_shutdown(self) -> None:
        """Make the slave ask its master for a graceful shutdown, in the way that it allows."""
        assert self.allow_shutdown is not None, "made without allow_shutdown"
        if self.allow_shutdown == "signal":
            self.process.send_signal(signal.SIGHUP)
        else:
            (self.directory / "shutdown.stamp").touch()

    def end_steps(self) -> None:
        """Kill the processes of steps; a slave that was killed leaves them behind."""
        for pid in self.step_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        poll(lambda: not self.step_processes(), 10, "the processes of steps are gone")

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self.end_steps()


class RealSlave(SlaveProgram):
    """The real slave of one generation.

    Args:
        kind: the generation.
        trust_roots: folder with the authorities of a master with TLS; None for plain TCP. Of ``new`` only.
        arguments, options: as for any `SlaveProgram`.
    """

    ready = r"Connected to .*; (?:slave|worker) is ready"

    def __init__(
        self,
        directory: Path,
        master: Attachable,
        name: str,
        password: str | None = None,
        *,
        kind: SlaveKind,
        trust_roots: Path | None = None,
        allow_shutdown: Shutdown | None = None,
        keepalive: int = 600,
    ) -> None:
        self.kind = kind
        self.trust_roots = trust_roots
        super().__init__(directory, master, name, password, allow_shutdown=allow_shutdown, keepalive=keepalive)

    def create(self) -> None:
        self.directory.mkdir(parents=True)
        shutil.copyfile(HERE / "inside" / TAC[self.kind] / "slave.tac", self.directory / "buildbot.tac")
        conf = {
            "host": self.master.host,
            "port": self.master.port,
            "name": self.name,
            "password": self.password,
            "keepalive": self.keepalive,
            "allow_shutdown": self.allow_shutdown,
            "trust_roots": self.trust_roots and str(self.trust_roots),
        }
        (self.directory / "peer.json").write_text(json.dumps(conf))

    def command(self) -> Sequence[str]:
        return twistd(install(self.kind))

    def log(self) -> str:
        return read_log(self.directory / "twistd.log") + read_log(self.directory / "stdio.log")


class MatchingSlave(RealSlave):
    """The real slave of a real master's own generation."""

    def __init__(self, directory: Path, master: RealMaster, name: str, password: str | None = None) -> None:
        super().__init__(directory, master, name, password, kind=master.kind)


class OurSlave(SlaveProgram):
    """The slave program of this project.

    Args:
        program: command line of the program; by default the one that is installed with this module.
        runner: the runner that drives it; by default the program's own choice.
        more: more options of ``create-slave``.
        options: further options of `slaveproto slave`.
        arguments: as for any `SlaveProgram`.
    """

    ready = "attached; "
    ending = signal.SIGINT

    def __init__(
        self,
        directory: Path,
        master: Attachable,
        name: str,
        password: str | None = None,
        *,
        program: Sequence[str] = (sys.executable, "-m", "slaveproto"),
        runner: Runner | None = None,
        more: Sequence[str] = (),
        options: Sequence[str] = (),
        allow_shutdown: Shutdown | None = None,
        keepalive: int = 600,
    ) -> None:
        self.program = program
        self.runner = runner
        self.more = more
        self.options = options
        super().__init__(directory, master, name, password, allow_shutdown=allow_shutdown, keepalive=keepalive)

    def create(self) -> None:
        options = ["--maxdelay", "2", "--keepalive", str(self.keepalive), *self.more]
        if self.allow_shutdown is not None:
            options += ["--allow-shutdown", self.allow_shutdown]
        done = subprocess.run(
            [
                *self.program,
                "create-slave",
                *options,
                str(self.directory),
                f"{self.master.host}:{self.master.port}",
                self.name,
                self.password,
            ],
            env=environment(self.directory.parent),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"create-slave: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def command(self) -> Sequence[str]:
        options = [] if self.runner is None else ["--runner", self.runner]
        return [*self.program, "slave", *options, *self.options, str(self.directory)]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")
