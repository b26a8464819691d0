"""The subcommand `master`: builds on changes, on schedule or when asked, until it is stopped."""

from __future__ import annotations

import argparse
from typing import Final

from slaveproto.ci.file.build_file import load
from slaveproto.cli.drain import add_drain
from slaveproto.cli.requirements import need_posix, need_trio

DRAIN: Final = 600.0
"""Seconds that builds have to end after SIGTERM, unless the program is told otherwise."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Accept the slaves of FILE.toml and build on changes (`buildbot sendchange`), on schedule, or on "
        "`slaveproto trigger`, with a log on standard error. What was built, what waits and the logs are kept in the "
        "state directory. SIGHUP reads FILE.toml again. SIGTERM begins no new build and lets those that run end within "
        "--drain SECONDS; what waits is kept for the next master. SIGINT, and the end of that time, stops: what runs "
        "is interrupted, and built again by the next master. A second signal waits for nothing."
    )
    parser.epilog = (
        "exit codes: 0 stopped by a signal, 2 called wrongly, a mistake in the file, or no place for its "
        "state, 75 its state cannot be stored now: full disk, or locked by another program, 130 or 143 waited for "
        "nothing (128 and the first signal)"
    )
    parser.add_argument("file", metavar="FILE.toml", help="what to build, and where: see docs/build-file.md")
    add_drain(parser, DRAIN)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the master and return the documented exit code.

    Raises:
        UsageError: the file is wrong, the program cannot listen where it should, or its state directory is in use.
        CannotStore: there is no room for its state, or another program holds it.
    """
    need_posix()
    file = load(options.file)
    need_trio()
    from slaveproto.ci.service import run_master

    return run_master(file, options.drain)
