"""The slave of the project and the slaves of the real Buildbot."""

import json
import shutil
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from tests.peers.install import HERE, install
from tests.peers.master import Master
from tests.peers.processes import Program, environment, processes_below, read_log, twistd


class Slave(Program):
    """A slave with its base directory, made for one master."""

    def __init__(self, directory: Path, master: Master, name: str, password: str | None = None) -> None:
        """Prepare `directory`; the password is the one the master knows unless it is given."""
        super().__init__(directory)
        self.master = master
        self.name = name
        self.password = master.slaves[name] if password is None else password
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


class OwnSlave(Slave):
    """The real slave of the master's own generation."""

    def create(self) -> None:
        self.directory.mkdir()
        shutil.copyfile(HERE / "inside" / self.master.kind / "slave.tac", self.directory / "buildbot.tac")
        conf = {"port": self.master.port, "name": self.name, "password": self.password}
        (self.directory / "peer.json").write_text(json.dumps(conf))

    def command(self) -> Sequence[str]:
        return twistd(install(self.master.kind))

    def log(self) -> str:
        return read_log(self.directory / "twistd.log") + read_log(self.directory / "stdio.log")


class OurSlave(Slave):
    """The slave program of this project."""

    def create(self) -> None:
        options = ["--maxdelay", "2"]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "slaveproto",
                "create-slave",
                *options,
                str(self.directory),
                f"127.0.0.1:{self.master.port}",
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
        return [sys.executable, "-m", "slaveproto", "slave", str(self.directory)]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")
