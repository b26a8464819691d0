"""The program `slaveproto`: finds the subcommand and imports that one only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from slaveproto import __version__
from slaveproto.ci.errors import CannotStore, UsageError
from slaveproto.ci.show.console import STDERR, say

INTERRUPTED = 130
REPLACED: Final = (
    "the package `transports` is that of another project, which was installed over ours; install slaveproto in an "
    "environment of its own"
)
CANNOT_STORE = 75
"""EX_TEMPFAIL of `sysexits.h`: to be tried again later."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0 done, 2 called wrongly, or what the subcommand documents."""
    _occupy_standard_streams()
    try:
        arguments = sys.argv[1:] if argv is None else argv
        options = _parser(arguments).parse_args(arguments)
        if _replaced():
            raise UsageError(REPLACED)
        code: int = options.run(options)
    except UsageError as error:
        more = len(error.all()) - 1
        say(STDERR, f"slaveproto: {error}{f' (and {more} more: `slaveproto check`)' if more else ''}")
        return 2
    except ImportError as error:
        # What is imported there may be missing, and then it was not loaded.
        if not _replaced() and "transports" not in _modules_of(error):
            raise
        say(STDERR, f"slaveproto: {REPLACED}")
        return 2
    except CannotStore as error:
        say(STDERR, f"slaveproto: {error}")
        return CANNOT_STORE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _replaced() -> bool:
    """Whether the package `transports` was loaded and is another project's."""
    loaded = sys.modules.get("transports")
    return loaded is not None and not getattr(loaded, "OF_SLAVEPROTO", False)


def _modules_of(error: ImportError) -> set[str]:
    """Return the names of the modules that an error went through."""
    names = set()
    trace = error.__traceback__
    while trace is not None:
        names.add(str(trace.tb_frame.f_globals.get("__name__")))
        trace = trace.tb_next
    return names


def _occupy_standard_streams() -> None:
    """Open those of descriptors 0 to 2 that are closed; a file of ours could get the number, and error messages."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


class _Parser(argparse.ArgumentParser):
    """Parser that reports a mistake in one line."""

    def __init__(self, **options: Any) -> None:
        # To find out how wide the terminal is, argparse loads half a megabyte, at each start.
        super().__init__(**options, formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what is known. What is not known is a mistake here already, not one of the whole program's."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [word for word in unknown if word.startswith("-") and word != "-"]
            self.error(f"unknown option: {options[0]}" if options else f"too many arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
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
    for name, (help_text, describe) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        # The other subcommands are not imported, which keeps a slave small.
        if name in arguments:
            describe(command)
    return parser


def _create_slave(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import create_slave

    create_slave.describe(parser)


def _adopt(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import adopt

    adopt.describe(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import check

    check.describe(parser)


def _slave(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import run_slave

    run_slave.describe(parser)


def _build(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import build

    build.describe(parser)


def _master(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import master

    master.describe(parser)


def _relay(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import run_relay

    run_relay.describe(parser)


def _trigger(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import trigger

    trigger.describe_trigger(parser)


def _builds(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import trigger

    trigger.describe_builds(parser)


def _pack(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import pack

    pack.describe(parser)


def _log(parser: argparse.ArgumentParser) -> None:
    from slaveproto.cli import trigger

    trigger.describe_log(parser)


_Describe: TypeAlias = Callable[[argparse.ArgumentParser], None]

_COMMANDS: Final[Mapping[str, tuple[str, _Describe]]] = {
    "create-slave": ("make a base directory for a slave", _create_slave),
    "adopt": ("take over the base directory of a buildslave or worker", _adopt),
    "slave": ("run a slave in the foreground", _slave),
    "check": ("tell all mistakes of a file at once", _check),
    "build": ("build what a file says, once, and show it", _build),
    "master": ("run a master in the foreground", _master),
    "relay": ("join slaves and a master over links that may break", _relay),
    "trigger": ("make a master that runs build something", _trigger),
    "builds": ("list what a master has built", _builds),
    "log": ("show what the steps of a build said", _log),
    "pack": ("make one file of the slave, for hosts with nothing but a Python", _pack),
}
"""Subcommands: the line of help, and the function that adds description and arguments."""


def parser_of(commands: Sequence[str] = tuple(_COMMANDS)) -> argparse.ArgumentParser:
    """Return the program's parser, for manual pages and completion; the named subcommands have their arguments."""
    return _parser(commands)
