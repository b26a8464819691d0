"""A blocking slave with a command of its own, `checksum`.

    python examples/own_command.py HOST PORT NAME PASSWORD BASEDIR

The command is a script: a generator that asks for what it cannot do itself, and is told. It reads a file, sends a line
with its SHA-256 and `rc`, and can be interrupted. On a Buildbot 4.x master a step starts it with
`remotecommand.RemoteCommand("checksum", {"file": "build/out.bin"})`, on 0.8 with `LoggedRemoteCommand`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping

from slaveproto import HostError, SlaveConfig, SlaveSession
from slaveproto.commands import COMMANDS, Command, CommandContext
from slaveproto.effects import Begin, EffectDone, Interrupted, NextEvent, ReadFile, Script, SendItem, SendText
from slaveproto.wire import Value
from transports.host.describe import describe_host, jitter
from transports.threads.runner import Runner

BLOCK = 1024 * 1024


def checksum(arguments: Mapping[str, Value], context: CommandContext) -> Script[None]:
    """Check the arguments: a CommandError here refuses the command. What it returns is run."""
    return script(context.path(arguments["file"]))


def script(path: str) -> Script[None]:
    """Read a file block by block. While a block is read, the master may want the command to end."""
    digest = hashlib.sha256()
    offset = 0
    while True:
        yield from Begin(ReadFile(path, offset, BLOCK))
        event = yield from NextEvent()
        if isinstance(event, Interrupted):
            yield from SendText("header", "command interrupted\n")
            yield from SendItem("rc", -1)
            return
        assert isinstance(event, EffectDone)
        if isinstance(event.error, HostError):
            yield from SendText("stderr", f"{path}: {event.error.strerror}\n")
            yield from SendItem("rc", 1)
            return
        assert isinstance(event.result, bytes)
        digest.update(event.result)
        offset += len(event.result)
        if not event.result:
            break
    yield from SendText("stdout", f"{digest.hexdigest()}  {path}\n")
    yield from SendItem("rc", 0)


OWN_COMMANDS: Mapping[str, Command] = {**COMMANDS, "checksum": Command(("file",), checksum, version="1.0")}


def main() -> int:
    """Run the slave until its master, or Ctrl-C, ends it."""
    host, port, name, password, basedir = sys.argv[1:]
    config = SlaveConfig(host=host, port=int(port), name=name, password=password, basedir=basedir, max_delay=10.0)
    session = SlaveSession(config, describe_host("own_command 1.0"), jitter, OWN_COMMANDS)
    runner = Runner(session, lambda event: print(event, file=sys.stderr, flush=True))
    try:
        runner.run()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
