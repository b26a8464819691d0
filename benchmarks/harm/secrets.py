"""Promise 8, secrets stay home: what is planted in a slave's environment and in a step, and where it is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.harm.rows import KINDS, Row, Side
from slaveproto.testing.peers import MatchingSlave, OurMaster, OurSlave, RealMaster, SlaveProgram

CANARY: Final = "s3cret-dummy"
"""Word that the builder `obfuscated` of the real masters hides, and prints."""

FILE: Final = f"""
[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "bot"
password = "pw"
[[builder]]
name = "hello"
slaves = ["bot"]
[[builder.step]]
shell = "echo hello"
[secret.word]
command = ["echo", "{CANARY}"]
[[builder]]
name = "obfuscated"
slaves = ["bot"]
[[builder.step]]
shell = ["echo", "plain", {{ secret = "word" }}]
"""


@contextmanager
def _slave_at(master: OurMaster | RealMaster, folder: Path) -> Iterator[SlaveProgram]:
    """Run master and slave of one side; the slave's environment holds the canary."""
    slave: SlaveProgram
    if isinstance(master, OurMaster):
        slave = OurSlave(folder / "slave", master, "bot")
    else:
        slave = MatchingSlave(folder / "slave", master, "bot")
    slave.variables["DEPLOY_TOKEN"] = CANARY
    with master, slave:
        slave.wait_attached()
        yield slave


def _master(side: Side, folder: Path) -> OurMaster | RealMaster:
    if side is Side.OURS:
        return OurMaster(folder / "master", FILE)
    slaves = {"bot": "pw"}
    return RealMaster(KINDS[side], folder / "master", ["hello", "obfuscated"], slaves=slaves)


def _built(master: OurMaster | RealMaster, builder: str) -> Sequence[str]:
    """Build once; return the logs and files of the master, but for its configuration, in which the canary is."""
    if isinstance(master, RealMaster):
        master.wait_attached("bot")
        # Its logs are stored in a form of its own, so it is asked for them.
        steps = master.build(builder).steps
        found = [
            f"log {log} of step {step.name}" for step in steps for log, text in step.logs.items() if CANARY in str(text)
        ]
        files = [master.directory / "stdio.log"]
    else:
        call = [sys.executable, "-m", "slaveproto", "trigger", str(master.file), builder, "--wait"]
        subprocess.run(call, check=True, capture_output=True, timeout=60)
        found = []
        files = [path for path in master.directory.rglob("*") if path.is_file() and path != master.file]
    return [*found, *sorted(path.name for path in files if CANARY.encode() in path.read_bytes())]


def variable_of_the_slave(side: Side, folder: Path) -> str:
    """Build once; return how many files of the master hold a variable of the slave's environment."""
    master = _master(side, folder)
    with _slave_at(master, folder):
        return _counted(_built(master, "hello"))


def printed_word(side: Side, folder: Path) -> str:
    """Hide a word of a command by the means of that side, let the command print it; return where it is found."""
    master = _master(side, folder)
    with _slave_at(master, folder) as slave:
        slave.stop()
        slave.variables.clear()
        slave.start()
        slave.wait_attached(2)
        return _counted(_built(master, "obfuscated"))


def readable_configuration(side: Side, folder: Path) -> str:
    """Let others read the files with passwords; return what master and slave say about it."""
    master = _master(side, folder)
    slave_files = [folder / "slave" / name for name in ("slaveproto.toml", "buildbot.tac")]
    with _slave_at(master, folder) as slave:
        slave.stop()
        for path in slave_files:
            if path.exists():
                path.chmod(0o644)
        slave.start()
        slave.wait_attached(2)
        lines = f"{master.log()}\n{slave.log()}".splitlines()
    told = [line for line in lines if any(word in line for word in ("may read", "readable", "chmod", "0644"))]
    return f"{len(told)} lines" if told else "not a word"


def _counted(places: Sequence[str]) -> str:
    return f"in {len(places)} places: {', '.join(places)}" if places else "nowhere"


ROWS: Final = (
    Row(8, "variable of the slave's environment, one build: where the master has it", variable_of_the_slave),
    Row(8, "hidden word of a command that prints it: where the master has it", printed_word),
    Row(8, "files with passwords that others may read: what is said of it", readable_configuration),
)
