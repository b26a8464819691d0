"""The master programs of this project: ``slaveproto build`` and ``slaveproto master``."""

from __future__ import annotations

import json
import signal
import socket
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from slaveproto.testing.peers.processes import Program, free_port, poll, read_log

EXAMPLE_LISTEN = 'listen = "127.0.0.1:9989"'


@dataclass(frozen=True)
class OurStep:
    """Record of a step, as ``--json`` writes it."""

    name: str
    result: str
    rc: int | None
    elapsed: float | None
    logs: Mapping[str, str]


@dataclass(frozen=True)
class OurBuild:
    """Record of a build, as ``--json`` writes it."""

    builder: str
    slave: str | None
    properties: Mapping[str, str]
    result: str
    steps: Sequence[OurStep]

    def step(self, name: str) -> OurStep:
        """Return the only step of that name."""
        (step,) = (step for step in self.steps if step.name == name)
        return step


class _OurProgram(Program):
    """One of our two programs that read a file.

    Args:
        directory: its working directory; made if it is missing.
        text: of the file. Where it listens as in the README's example it gets a port of its own.
        arguments: more words for the command line.
    """

    subcommand: ClassVar[str]
    host = "127.0.0.1"
    ending = signal.SIGINT

    def __init__(self, directory: Path, text: str, *arguments: str) -> None:
        super().__init__(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.arguments = arguments
        self.file = directory / "master.toml"
        self.slaves: dict[str, str] = {}
        self.write(text)

    def write(self, text: str) -> None:
        """Write the file anew, for the same port."""
        assert EXAMPLE_LISTEN in text
        text = text.replace(EXAMPLE_LISTEN, f'listen = "{self.host}:{self.port}"')
        self.slaves = {slave["name"]: slave["password"] for slave in tomllib.loads(text).get("slave", [])}
        self.file.write_text(text, encoding="utf-8")
        self.file.chmod(0o600)

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "slaveproto", self.subcommand, self.file.name, *self.arguments]

    def log(self) -> str:
        return read_log(self.directory / "stdio.log")

    def start(self) -> None:
        """Start the program; if it expects slaves, wait until it listens."""
        super().start()
        if self.slaves:
            poll(self._listens, 30, f"slaveproto {self.subcommand} listens")

    def _listens(self) -> bool:
        if not self.running:
            raise RuntimeError(f"slaveproto {self.subcommand} did not start:\n{self.log()[-3000:]}")
        try:
            socket.create_connection((self.host, self.port), 5).close()
        except OSError:
            return False
        return True

    def wait_log(self, text: str, timeout: float = 30) -> None:
        """Wait until the program's log contains `text`."""
        try:
            poll(lambda: text in self.log(), timeout, f"slaveproto {self.subcommand} logs {text!r}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-3000:]}") from None

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


class OurBuilds(_OurProgram):
    """``slaveproto build FILE --json``; ends by itself."""

    subcommand = "build"
    output_file = "builds.json"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--json"]

    def wait(self, timeout: float = 120) -> tuple[int, Mapping[str, OurBuild]]:
        """Return the exit code and the builds, by their builders, when the program has ended."""
        try:
            code = self.wait_exit(timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.log()[-3000:]}") from None
        text = (self.directory / self.output_file).read_text(encoding="utf-8")
        assert text, f"exit code {code} and no word:\n{self.log()[-3000:]}"
        return code, {build.builder: build for build in map(_build, json.loads(text)["builds"])}


class OurMaster(_OurProgram):
    """``slaveproto master FILE``; a context manager that listens when entered."""

    subcommand = "master"

    def reread(self, text: str) -> None:
        """Give the running master another file."""
        self.write(text)
        self.process.send_signal(signal.SIGHUP)


def _build(data: Mapping[str, Any]) -> OurBuild:
    return OurBuild(**{**data, "steps": [OurStep(**step) for step in data["steps"]]})
