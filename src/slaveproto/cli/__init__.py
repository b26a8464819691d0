"""The program `slaveproto`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from slaveproto import __version__
from slaveproto.cli import create_slave, run_slave
from slaveproto.cli.errors import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 called wrongly, or what the subcommand documents."""
    parser = argparse.ArgumentParser(
        prog="slaveproto",
        description="A small Buildbot slave: it works for masters from 0.8.4p1 to 4.3, without Twisted.",
    )
    parser.add_argument("--version", action="version", version=f"slaveproto {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    create_slave.add_to(commands)
    run_slave.add_to(commands)
    options = parser.parse_args(argv)
    try:
        code: int = options.run(options)
    except UsageError as error:
        print(f"slaveproto: {error}", file=sys.stderr)
        return 2
    return code
