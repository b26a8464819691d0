"""The program `slaveproto`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from slaveproto import __version__
from slaveproto.cli import build, create_slave, master, run_slave, trigger
from slaveproto.cli.console import STDERR, say
from slaveproto.cli.errors import UsageError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 called wrongly, or what the subcommand documents."""
    _occupy_standard_streams()
    try:
        options = _parser().parse_args(argv)
        code: int = options.run(options)
    except UsageError as error:
        say(STDERR, f"slaveproto: {error}")
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _occupy_standard_streams() -> None:
    """Open what is closed of descriptors 0 to 2: else they become those of our files, and get error messages."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def __init__(self, **options: Any) -> None:
        # To find out how wide the terminal is, argparse loads half a megabyte, at each start.
        super().__init__(**options, formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="slaveproto",
        usage="slaveproto [-h] [--version] COMMAND ...",
        description="Builds without Twisted: a small slave for Buildbot masters from 0.8.4p1 to 4.3, and a small "
        "master for their slaves.",
        epilog="`slaveproto COMMAND --help` tells more.",
    )
    parser.add_argument("--version", action="version", version=f"slaveproto {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands", prog="slaveproto"
    )
    create_slave.add_to(commands)
    run_slave.add_to(commands)
    build.add_to(commands)
    master.add_to(commands)
    trigger.add_to(commands)
    return parser
