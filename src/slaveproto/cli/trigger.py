"""Subcommands of those who use a master: `trigger` asks for a build; `builds` and `log` show what it has done."""

from __future__ import annotations

import argparse

from slaveproto.cli.asking import add_asked
from slaveproto.cli.requirements import need_posix


def describe_trigger(parser: argparse.ArgumentParser) -> None:
    """Add the description and arguments of `trigger`."""
    parser.description = "Ask the master that runs for FILE.toml on this machine to build BUILDER."
    parser.epilog = (
        "exit codes: 0 the request is taken (with --wait: the build succeeded), 1 the build did not succeed, or "
        "the master ended before it, 2 called wrongly, or no master runs"
    )
    parser.add_argument("file", metavar="FILE.toml", help="the file that the master was started with")
    parser.add_argument("builder", metavar="BUILDER", help="what to build")
    add_asked(parser)
    parser.add_argument("--wait", action="store_true", help="until the build is over")
    parser.set_defaults(run=_run_trigger)


def describe_builds(parser: argparse.ArgumentParser) -> None:
    """Add the description and arguments of `builds`."""
    parser.description = (
        "List the last builds of the master of FILE.toml, whether it runs or not. Their logs are files in "
        "the folder logs/BUILD of its state directory."
    )
    parser.add_argument("file", metavar="FILE.toml", help="the file that the master is started with")
    parser.add_argument("-n", "--count", type=_count, default=20, metavar="N", help="how many at most [20]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run_builds)


def describe_log(parser: argparse.ArgumentParser) -> None:
    """Add the description and arguments of `log`."""
    parser.description = "Show what the steps of a build said, also of one that runs, whether its master runs or not."
    parser.add_argument("file", metavar="FILE.toml", help="the file that the master is started with")
    parser.add_argument("build", metavar="BUILD", type=_count, help="the number of the build, as `builds` lists it")
    parser.add_argument("step", metavar="STEP", nargs="?", help="number or name of a step; all of them by default")
    parser.add_argument("--log", metavar="NAME", default="stdio", help="another log of the step [stdio]")
    parser.add_argument("-f", "--follow", action="store_true", help="until the build has ended")
    parser.add_argument("--json", action="store_true", help="print steps, results and files as one JSON object")
    parser.set_defaults(run=_run_log)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _run_trigger(options: argparse.Namespace) -> int:
    need_posix()
    from slaveproto.cli.run_trigger import run_trigger

    return run_trigger(options)


def _run_log(options: argparse.Namespace) -> int:
    need_posix()
    from slaveproto.cli.run_log import run_log

    return run_log(options)


def _run_builds(options: argparse.Namespace) -> int:
    need_posix()
    from slaveproto.cli.run_trigger import run_builds

    return run_builds(options)
