"""The subcommand `check`: reads a file as those do that use it, and tells every mistake at once."""

from __future__ import annotations

import argparse
import os

from slaveproto.ci.errors import UsageError
from slaveproto.ci.show.console import STDERR, STDOUT, say
from slaveproto.cli.settings import FILE_NAME


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Read FILE.toml, a build file or the slaveproto.toml of a slave, and tell all that is wrong with it, a line "
        "each. Nothing is built, and no connection is made."
    )
    parser.epilog = "exit codes: 0 there is no mistake, 2 there are some"
    parser.add_argument("file", metavar="FILE.toml", help="or the base directory of a slave")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tell the mistakes of a file, and return the exit code."""
    path: str = options.file
    try:
        what = _slave(path) if os.path.isdir(path) or os.path.basename(path) == FILE_NAME else _builds(path)
    except UsageError as error:
        for line in error.all():
            say(STDERR, line)
        return 2
    say(STDOUT, f"{path}: no mistakes; {what}")
    return 0


def _slave(path: str) -> str:
    from slaveproto.cli.home import settings_of

    settings = settings_of(os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path) or ".")).settings
    return f"slave {settings.name} of {settings.host}:{settings.port}"


def _builds(path: str) -> str:
    from slaveproto.cli.requirements import need_posix

    need_posix()
    from slaveproto.ci.file.build_file import load

    file = load(path)
    steps = sum(len(builder.steps) for builder in file.builders.values())
    slaves = len(file.slaves) or "the embedded"
    return f"{len(file.builders)} builders with {steps} steps, slaves: {slaves}"
