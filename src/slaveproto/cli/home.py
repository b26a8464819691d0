"""The home of a slave: its settings, wherever they stand, and that one slave is at home there.

Rules. A base directory has a file of ours, or one of Buildbot's, which is read and never run; ours counts. With --once
there is none: the directory is made for one run, and removed after it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.address import parse_address
from slaveproto.cli.passwords import read_password
from slaveproto.cli.settings import FILE_NAME, TAC, Settings, load
from slaveproto.records import record

PID_FILE: Final = "twistd.pid"

VARIABLES: Final = ("BUILDMASTER", "BUILDMASTER_PORT", "WORKERNAME", "WORKERPASS")
"""Variables by which containers are told of master, name and password, as those of Buildbot's own images are."""


@record
class Home:
    """A slave's settings.

    Args:
        settings: what they are.
        remarks: lines for the log.
    """

    settings: Settings
    remarks: tuple[str, ...] = ()


def settings_of(basedir: str) -> Home:
    """Read the settings of a base directory.

    Args:
        basedir: an absolute path.

    Raises:
        UsageError: there are none, or they are wrong.
    """
    if os.path.exists(os.path.join(basedir, FILE_NAME)) or not os.path.exists(os.path.join(basedir, TAC)):
        return Home(load(basedir))
    from slaveproto.cli.tac import read_tac

    tac = read_tac(basedir, os.environ)
    settings = Settings(basedir=basedir, **tac.settings)
    if settings.password_environment is not None:
        # Commands do not get it.
        del os.environ[settings.password_environment]
    return Home(settings, (f"read {os.path.join(basedir, TAC)}; nothing in it was run", *tac.remarks))


@contextlib.contextmanager
def passing_home(address: str | None, name: str | None, password: str | None) -> Iterator[Home]:
    """Make a base directory for one run, and remove it in the end.

    Args:
        address: of the master; None for what the environment says.
        name: of the slave; None for what the environment says.
        password: the slave's; `-` to ask for it, None for what the environment says.

    Raises:
        UsageError: the environment does not say it, either, or it is wrong.
    """
    if address is None:
        address = _variable("BUILDMASTER", "MASTERHOST[:PORT]")
        host, port = parse_address(address)
        if "BUILDMASTER_PORT" in os.environ and address in (host, f"[{host}]"):
            host, port = parse_address(f"{address}:{os.environ['BUILDMASTER_PORT']}")
    else:
        host, port = parse_address(address)
    name = _variable("WORKERNAME", "NAME") if name is None else name
    if not name:
        raise UsageError("NAME is empty")
    if password is None:
        password = _variable("WORKERPASS", "PASSWORD")
    elif password == "-":
        password = read_password()
    # Commands do not get it, wherever it came from.
    os.environ.pop("WORKERPASS", None)
    # Other slaves do not need it.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="slaveproto-", ignore_cleanup_errors=True) as basedir:
        settings: Mapping[str, Any] = {"host": host, "port": port, "name": name, "password": password}
        yield Home(Settings(basedir=os.path.abspath(basedir), **settings))


def _variable(name: str, what: str) -> str:
    found = os.environ.get(name)
    if not found:
        raise UsageError(f"{what} is missing, and the variable {name} is not set")
    return found


@contextlib.contextmanager
def occupied(basedir: str) -> Iterator[None]:
    """Keep other slaves out of a base directory.

    Raises:
        UsageError: one is there, ours or Buildbot's.
    """
    number = _process_of_buildbot(basedir)
    if number is not None:
        raise UsageError(f"{basedir}: Buildbot's slave runs there, process {number} ({PID_FILE}); stop it first")
    from transports.host.system import disk

    try:
        held = disk.occupy(basedir)
    except BlockingIOError:
        raise UsageError(f"{basedir}: another slave of slaveproto runs there") from None
    except OSError as error:
        raise UsageError(f"{basedir}: {error.strerror}") from None
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _process_of_buildbot(basedir: str) -> int | None:
    """Return the number of a slave of Buildbot's that runs there; None if there is none."""
    try:
        with open(os.path.join(basedir, PID_FILE), "rb") as file:
            number = int(file.read(20))
    except (OSError, ValueError):
        return None
    if number <= 0 or number == os.getpid():
        return None
    try:
        with open(f"/proc/{number}/cmdline", "rb") as file:
            words = file.read(10_000)
    except FileNotFoundError:
        # It is over, or the system does not tell.
        return None if os.path.isdir("/proc/self") else _alive(number)
    except OSError:
        return _alive(number)
    # The number may belong to another program by now.
    return number if any(word in words for word in (b"twistd", b"buildbot", b"buildslave")) else None


def _alive(number: int) -> int | None:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return number
