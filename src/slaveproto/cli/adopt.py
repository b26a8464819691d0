"""The subcommand `adopt`: writes our file beside that of a slave of Buildbot's, from what that says."""

from __future__ import annotations

import argparse
import os

import attrs

from slaveproto.ci.errors import UsageError
from slaveproto.ci.show.console import STDOUT, say
from slaveproto.cli.create_slave import INFO, make_home
from slaveproto.cli.home import PID_FILE
from slaveproto.cli.settings import FILE_NAME, REQUIRED, SETTINGS, TAC, Settings, dump
from slaveproto.cli.tac import read_tac


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Write slaveproto.toml into BASEDIR, which buildslave or buildbot-worker made, from its buildbot.tac. "
        "Nothing in that file is run; what is not read or not obeyed is said. All else in the directory stays. "
        "`slaveproto slave BASEDIR` reads buildbot.tac by itself, too: adopt a slave to change its settings."
    )
    parser.add_argument("basedir", metavar="BASEDIR", help="made by `create-slave` or `create-worker`")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite another slaveproto.toml that is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Adopt the directory, and return 0.

    Raises:
        UsageError: there is nothing to adopt, or it cannot be.
    """
    basedir = os.path.abspath(options.basedir or ".")
    if not os.path.isfile(os.path.join(basedir, TAC)):
        raise UsageError(f"{options.basedir}: no {TAC} there")
    tac = read_tac(basedir, os.environ)
    settings = Settings(basedir=basedir, **tac.settings)
    kept = [f"info/{name}" for name in INFO if os.path.exists(os.path.join(basedir, "info", name))]
    try:
        done = make_home(basedir, dump(settings, "adopt").encode(), force=options.force)
    except UnicodeEncodeError:
        raise UsageError(f"{os.path.join(basedir, TAC)}: host, name or password is not UTF-8") from None
    except OSError as error:
        raise UsageError(f"{error.filename or basedir}: {error.strerror}") from None
    say(STDOUT, f"{options.basedir}: {FILE_NAME} {done}, for slave {settings.name} of {settings.host}:{settings.port}")
    for line in _changed(settings):
        say(STDOUT, f"  {line}")
    for remark in tac.remarks:
        say(STDOUT, remark)
    say(STDOUT, f"kept: {', '.join([TAC, *kept])} and all else; the log goes to standard error, not to twistd.log")
    if os.path.exists(os.path.join(basedir, PID_FILE)):
        say(STDOUT, f"stop the slave that runs there ({PID_FILE}) before `slaveproto slave {options.basedir}`")
    return 0


def _changed(settings: Settings) -> list[str]:
    """Return the settings that differ from the defaults, as the file shows them."""
    lines = []
    for field in attrs.fields(Settings):
        value = getattr(settings, field.name)
        if field.name in SETTINGS and field.name not in REQUIRED and value != field.default:
            lines.append(f"{field.name} = {SETTINGS[field.name].show(value)}")
    return lines
