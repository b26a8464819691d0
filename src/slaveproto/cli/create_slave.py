"""The subcommand `create-slave`: makes a slave's base directory. Its options are rows of `slaveproto.cli.settings`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Any, Final

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.address import DEFAULT_PORT, parse_address
from slaveproto.ci.show.console import STDOUT, say
from slaveproto.cli.endpoints import parse_endpoint, proxy_of
from slaveproto.cli.passwords import read_password
from slaveproto.cli.settings import (
    FILE_NAME,
    NEEDS,
    PASSWORD_SOURCES,
    SETTINGS,
    Setting,
    Settings,
    default_of,
    dump,
)

INFO: Final = {
    "admin": "Your Name Here <admin@youraddress.invalid>\n",
    "host": "Please put a description of this build host here\n",
}


KEPT: Final = ("buildbot.tac", *(f"info/{name}" for name in INFO))
"""Files of a base directory that are never touched once they are there."""


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the subcommand's description and arguments."""
    parser.description = (
        "Make BASEDIR the home of a slave: a configuration file that only you can read, and info/ files "
        "for you to edit. Then run `slaveproto slave BASEDIR`."
    )
    parser.add_argument("basedir", metavar="BASEDIR", help="made if it is not there")
    parser.add_argument("master", metavar="MASTERHOST[:PORT]", help=f"the port is {DEFAULT_PORT} unless you say so")
    parser.add_argument("name", metavar="NAME", help="of the slave, as the master knows it")
    parser.add_argument(
        "password", metavar="PASSWORD", nargs="?",
        help="a lone - reads it from standard input, for what stands here can be seen in the list of processes; or an "
        "option says where the slave finds it at its start",
    )  # fmt: skip
    parser.add_argument("-f", "--force", action="store_true", help="overwrite another configuration that is there")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    for key, setting in SETTINGS.items():
        if setting.options:
            what: dict[str, Any] = (
                {"action": "store_true"}
                if setting.metavar is None
                else {"type": setting.argument, "metavar": setting.metavar}
            )
            meaning = f"{setting.meaning} [{_shown_default(key, setting)}]"
            parser.add_argument(*setting.options, dest=key, default=argparse.SUPPRESS, help=meaning, **what)
    same = parser.add_argument_group(
        "accepted for the sake of scripts written for buildslave and buildbot-worker",
        "They change nothing: the slave logs to standard error, which its supervisor may rotate, and its base "
        "directory can always be moved.",
    )
    same.add_argument("-r", "--relocatable", action="store_true")
    same.add_argument("-n", "--no-logrotate", action="store_true")
    same.add_argument("-s", "--log-size", type=_count, metavar="BYTES")
    same.add_argument("-l", "--log-count", type=_count_or_none, metavar="N")
    same.add_argument("--verbose", action="store_true")
    same.add_argument("--protocol", choices=("pb",), help="the only one that is spoken here")
    parser.add_argument(
        "--connection-string", metavar="ENDPOINT",
        help="where the master is, instead of MASTERHOST[:PORT], such as tcp:host=HOST:port=PORT or tls:HOST:PORT",
    )  # fmt: skip
    parser.add_argument(
        "--proxy-connection-string", metavar="ENDPOINT", help="the HTTP proxy, such as tcp:host=HOST:port=PORT"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the directory, and return 0.

    Raises:
        UsageError: it cannot be made as asked.
    """
    host, port = parse_address(options.master)
    chosen = {key: value for key, value in vars(options).items() if key in SETTINGS and SETTINGS[key].options}
    endpoint = _endpoints(options)
    if twice := [key for key in endpoint if key in chosen]:
        raise UsageError(f"{twice[0]} is given twice")
    chosen |= endpoint
    host, port = chosen.pop("host", host), chosen.pop("port", port)
    for what, text in (("BASEDIR", options.basedir), ("NAME", options.name)):
        if not text:
            raise UsageError(f"{what} is empty")
    # What is said of TLS is said because TLS is wanted.
    if any(NEEDS.get(key) == "tls" for key in chosen):
        chosen["tls"] = True
    if "tls_key" in chosen and "tls_cert" not in chosen:
        raise UsageError("--tls-key needs --tls-cert")
    places = [f"--{key.replace('_', '-')}" for key in PASSWORD_SOURCES if chosen.get(key) is not None]
    if options.password is not None:
        places.insert(0, "PASSWORD")
    if len(places) != 1:
        raise UsageError(f"{' and '.join(places)} cannot be given together" if places else "PASSWORD is missing")
    password = read_password() if options.password == "-" else options.password or ""
    settings = Settings(
        host=host, port=port, name=options.name, password=password, basedir=options.basedir, **chosen
    )  # fmt: skip
    try:
        text = dump(settings).encode()
    except UnicodeEncodeError:
        raise UsageError("MASTERHOST, NAME or PASSWORD is not UTF-8") from None
    try:
        kept = [name for name in KEPT if os.path.exists(os.path.join(options.basedir, name))]
        done = make_home(options.basedir, text, force=options.force)
    except OSError as error:
        raise UsageError(f"{error.filename or options.basedir}: {error.strerror}") from None
    if not options.quiet:
        where = options.basedir
        told = f"kept {', '.join(kept)}; now" if kept else "now edit info/admin and info/host, then"
        say(STDOUT, f"{where}: {done}; {told}: slaveproto slave {where}")
    return 0


def _endpoints(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options of create-worker say that name connections as Twisted does."""
    found: dict[str, Any] = {}
    try:
        if options.connection_string is not None:
            found |= parse_endpoint(options.connection_string)
        if options.proxy_connection_string is not None:
            found["proxy"] = proxy_of(parse_endpoint(options.proxy_connection_string))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return found


def make_home(basedir: str, text: bytes, *, force: bool) -> str:
    """Write our file into a base directory, and what `info/` lacks; return what was done, in a word.

    Raises:
        UsageError: there is such a file that says something else, and no `force`.
        OSError: it cannot be written.
    """
    info = os.path.join(basedir, "info")
    os.makedirs(info, exist_ok=True)
    for name, default in INFO.items():
        path = os.path.join(info, name)
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(default)
    path = os.path.join(basedir, FILE_NAME)
    if os.path.exists(path) and not force:
        with open(path, "rb") as old:
            if old.read() == text:
                return "unchanged"
        raise UsageError(f"{path} exists and says something else; --force overwrites it")
    # Written aside and renamed: never half a file, and never one that others can read.
    fresh = f"{path}.new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        if sys.platform != "win32":
            os.fchmod(file.fileno(), 0o600)
        file.write(text)
    os.replace(fresh, path)
    return "ready"


def _shown_default(key: str, setting: Setting) -> str:
    value = default_of(key)
    return setting.unset if value is None else setting.show(value).strip('"')


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _count_or_none(text: str) -> int | None:
    return None if text == "None" else _count(text)
