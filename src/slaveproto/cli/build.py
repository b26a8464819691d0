"""The subcommand `build`: builds once and shows the result."""

from __future__ import annotations

import argparse

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import BuilderEntry, BuildFile, load
from slaveproto.cli.asking import add_asked, asked_in
from slaveproto.cli.drain import add_drain
from slaveproto.cli.requirements import need_posix, need_trio


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Start a master, wait for its slaves, build the builders of FILE.toml, show what they write, and "
        "end. If the file names no slave, one inside the program is used. Ctrl-C, SIGTERM or SIGHUP begins no new "
        "build and ends what runs, after --drain SECONDS; a second one does not wait for it."
    )
    parser.epilog = (
        "exit codes: 0 all succeeded, 1 something did not, 2 called wrongly or a mistake in the file, "
        "130 interrupted by Ctrl-C, 143 by SIGTERM"
    )
    parser.add_argument("file", metavar="FILE.toml", help="what to build, and where: see docs/build-file.md")
    parser.add_argument("--builder", metavar="NAME", action="append", help="only this one; may be given repeatedly")
    parser.add_argument("--slave", metavar="NAME", help="only on this one")
    add_asked(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, and what happens on standard error")
    add_drain(parser, 0.0)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build and return the documented exit code.

    Raises:
        UsageError: the file or the options are wrong, or the program cannot listen where it should.
    """
    need_posix()
    file = load(options.file)
    chosen = choose(file, options.builder, options.slave)
    asked = asked_in(options)
    for entry in chosen:
        entry.check_asked(asked)
    need_trio()
    from slaveproto.ci.build_once import run_build

    return run_build(file, chosen, options.slave, asked, json=options.json, drain=options.drain)


def choose(file: BuildFile, names: list[str] | None, slave: str | None) -> list[BuilderEntry]:
    """Return the builders to build, in the file's order.

    Raises:
        UsageError: there is no such builder, or slave, or the slave does not build it.
    """
    for name in names or ():
        if name not in file.builders:
            raise UsageError(f"{file.path}: no builder {name!r}; there are {', '.join(file.builders)}")
    chosen = [entry for entry in file.builders.values() if not names or entry.name in names]
    if slave is None:
        return chosen
    there = dict.fromkeys(name for entry in file.builders.values() for name in entry.slaves)
    if slave not in there:
        raise UsageError(f"{file.path}: no builder is for slave {slave!r}; there are {', '.join(there)}")
    fitting = [entry for entry in chosen if slave in entry.slaves]
    for entry in chosen:
        if names and entry not in fitting:
            raise UsageError(
                f"{file.path}: builder {entry.name!r} is not for slave {slave!r}, but {', '.join(entry.slaves)}"
            )
    return fitting
