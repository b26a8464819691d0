"""Real Buildbot masters, driven through a control socket of their own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slaveproto.testing.peers.install import HERE, Kind, install
from slaveproto.testing.peers.processes import Program, environment, free_port, poll, read_log, twistd


@dataclass(frozen=True)
class RealBuilder:
    """A builder of the real master: its name, its steps, and the slaves that may build it."""

    name: str
    catalog: str = ""
    """Name of its steps in inside/peer_catalog.py; the builder's name if empty."""
    slaves: Sequence[str] = ()
    """The slaves it is pinned to; all of the master's if empty."""
    directory: str = ""
    """Its directory on the slave; the builder's name if empty."""


@dataclass(frozen=True)
class StepResult:
    """Record of one step, as the master stored it; `logs` maps log name to stream name to text, with ``tell_logs``."""

    name: str
    result: str | None
    text: str
    logs: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class BuildResult:
    """Record of one build, as the master stored it."""

    builder: str
    number: int
    slave: str | None
    result: str
    text: str
    started: float
    finished: float
    steps: Sequence[StepResult]


@dataclass(frozen=True)
class Running:
    """A build under way."""

    builder: str
    slave: str | None
    step: str | None


@dataclass(frozen=True)
class SlaveStatus:
    """A slave as its master sees it."""

    connected: bool
    admin: str | None
    host: str | None
    version: str | None


@dataclass(frozen=True)
class Status:
    """A snapshot of a master: slaves, the slaves attached to each builder, running builds."""

    slaves: Mapping[str, SlaveStatus]
    builders: Mapping[str, Sequence[str]]
    running: Sequence[Running]


class RealMaster(Program):
    """A real master of one generation; a context manager that is ready to build when entered."""

    host = "127.0.0.1"

    def __init__(
        self,
        kind: Kind,
        directory: Path,
        builders: Iterable[RealBuilder | str],
        *,
        slaves: Mapping[str, str] | None = None,
        keepalive: int = 3600,
        repositories: Path | None = None,
        tell_logs: bool = True,
        certificate: Path | None = None,
    ) -> None:
        """Make the base directory.

        `slaves` maps name to password, `keepalive` is in seconds, `repositories` is a folder of `make_repositories`.
        Without `tell_logs` the logs of a build are on the master's disk only. With a `certificate`, a file that holds
        its key, too, the port for slaves has TLS; of ``new`` only.
        """
        super().__init__(directory)
        self.repositories = repositories
        self.kind = kind
        self.tell_logs = tell_logs
        self.certificate = certificate
        self.slaves = dict(slaves or {"our": "pw-our"})
        self.keepalive = keepalive
        self.builders = _builders(builders)
        self.port = free_port()
        self._python = install(kind)
        directory.mkdir(parents=True)
        (directory / "results").mkdir()
        for folder in (HERE / "inside", HERE / "inside" / kind):
            for file in folder.glob("*.*"):
                shutil.copy(file, directory)
        self._write_configuration()
        # without log rotation a master in the foreground logs to its output
        create = "from buildbot.scripts.runner import run; run()"
        subprocess.run(
            [str(self._python), "-W", "ignore", "-c", create, "create-master", "--no-logrotate", str(directory)],
            env=environment(directory),
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str]:
        return twistd(self._python)

    def start(self) -> None:
        """Start the master, on the port it always has, and wait until it is ready."""
        before = len(self.log())
        super().start()

        def ready() -> bool:
            if not self.running:
                raise RuntimeError(f"the {self.kind} master did not start:\n{self.log()[before:][-3000:]}")
            try:
                self.status()
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except OSError:
                return False
            return self.kind == "old" or "BuildMaster is running" in self.log()[before:]

        poll(ready, 60, "the master is ready")

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")

    def reconfig(
        self, *, builders: Iterable[RealBuilder | str] | None = None, slaves: Mapping[str, str] | None = None
    ) -> None:
        """Give the running master another list of builders or slaves."""
        if builders is not None:
            self.builders = _builders(builders)
        if slaves is not None:
            self.slaves = dict(slaves)
        self._write_configuration()
        before = len(self.log())
        self.process.send_signal(signal.SIGHUP)

        def finished() -> bool:
            news = self.log()[before:]
            if any(text in news for text in ("Configuration Errors", "update aborted", "partially applied")):
                raise RuntimeError(f"reconfig failed:\n{news[-3000:]}")
            return "configuration update complete" in news or "configuration update finished" in news

        poll(finished, 30, "the new configuration is in use")

    def status(self) -> Status:
        """Return the master's present status."""
        answer = self._control("status")
        return Status(
            slaves={name: SlaveStatus(**slave) for name, slave in answer["slaves"].items()},
            builders=answer["builders"],
            running=[Running(**build) for build in answer["running"]],
        )

    def wait_attached(self, slave: str, builders: Iterable[str] | None = None, timeout: float = 30) -> None:
        """Wait until a slave serves `builders`, by default all that it may build."""
        if builders is None:
            builders = [b.name for b in self.builders if not b.slaves or slave in b.slaves]
        wanted = set(builders)

        def attached() -> bool:
            status = self.status()
            serves = {name for name, slaves in status.builders.items() if slave in slaves}
            return status.slaves[slave].connected and serves >= wanted

        poll(attached, timeout, f"slave {slave} is attached")

    def wait_detached(self, slave: str, timeout: float = 30) -> None:
        """Wait until the master has noticed that a slave is gone."""
        poll(lambda: not self.status().slaves[slave].connected, timeout, f"slave {slave} is detached")

    def force(self, builder: str) -> str:
        """Request a build; return the token that stands for it."""
        token = f"{builder}.{uuid.uuid4().hex}"
        self._control("force", builder=builder, reason=token)
        return token

    def result(self, token: str) -> BuildResult | None:
        """Return the result of a build if it is finished; a retried one is not."""
        for path in sorted((self.directory / "results").glob(f"{token}.*.json")):
            data = json.loads(path.read_text())
            if data["result"] != "retry":
                return BuildResult(**{**data, "steps": [StepResult(**step) for step in data["steps"]]})
        return None

    def wait(self, token: str, timeout: float = 60) -> BuildResult:
        """Return the result of a build when it is finished."""
        try:
            result = poll(lambda: self.result(token), timeout, f"build {token} is finished")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.status()}\n{self.log()[-3000:]}") from None
        assert result is not None
        return result

    def build(self, builder: str, timeout: float = 60) -> BuildResult:
        """Request a build and return its result."""
        return self.wait(self.force(builder), timeout)

    def build_all(self, builders: Iterable[str], at_once: int, timeout: float) -> dict[str, BuildResult]:
        """Build every builder, never more than `at_once` together; return results by builder."""
        waiting = list(builders)
        building: dict[str, str] = {}
        done: dict[str, BuildResult] = {}

        def advance() -> bool:
            while waiting and len(building) < at_once:
                builder = waiting.pop(0)
                building[builder] = self.force(builder)
            for builder, token in list(building.items()):
                if (result := self.result(token)) is not None:
                    done[builder] = result
                    del building[builder]
            return not waiting and not building

        try:
            poll(advance, timeout, "all builds are finished")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {sorted(building)} run, {waiting} wait\n{self.status()}") from None
        return done

    def wait_running(self, builder: str, timeout: float = 30) -> None:
        """Wait until a step of a builder runs."""
        poll(
            lambda: any(b.builder == builder and b.step for b in self.status().running),
            timeout,
            f"a step of {builder} runs",
        )

    def stop_build(self, builder: str) -> None:
        """Interrupt the running build of a builder."""
        self._control("stop", builder=builder)

    def ping(self, builder: str) -> bool:
        """Ping the slaves of a builder; return whether all answered."""
        return bool(self._control("ping", builder=builder))

    def graceful(self, slave: str) -> None:
        """Ask a slave to shut down when its builds are finished."""
        self._control("graceful", slave=slave)

    def _write_configuration(self) -> None:
        everyone = list(self.slaves)
        builders = [{**asdict(b), "slaves": b.slaves or everyone} for b in self.builders]
        conf = {
            "port": self.port,
            "slaves": self.slaves,
            "builders": builders,
            "keepalive": self.keepalive,
            "repositories": self.repositories and str(self.repositories),
            "tell_logs": self.tell_logs,
            "certificate": self.certificate and str(self.certificate),
        }
        (self.directory / "peer.json").write_text(json.dumps(conf))

    def _control(self, op: str, **arguments: str) -> Any:
        # the path of a UNIX socket is limited to about 100 bytes; this one is always short
        folder = os.open(self.directory, os.O_RDONLY)
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(30)
                control.connect(f"/proc/self/fd/{folder}/control.sock")
                control.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
                with control.makefile("rb") as stream:
                    line = stream.readline()
        finally:
            os.close(folder)
        if not line:
            raise ConnectionError("the master closed the control socket")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"master, {op}: {answer['error']}")
        return answer["result"]


def _builders(builders: Iterable[RealBuilder | str]) -> list[RealBuilder]:
    """Fill the gaps in a list of builders."""
    full = []
    for builder in builders:
        b = RealBuilder(builder) if isinstance(builder, str) else builder
        full.append(RealBuilder(b.name, b.catalog or b.name, b.slaves, b.directory or b.name))
    return full
