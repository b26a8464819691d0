"""Settings of a slave: the file `slaveproto.toml`, the options of `create-slave`, and the table of docs/slave-file.md.

Rules.

* A setting is a field of `SlaveConfig` (or of `Settings`, if only the program needs it) and a row of `SETTINGS` under
  the same name. The default stands at the field; range, meaning and option stand in the row.
* The file and the options are checked by the same kind. An option's `read` only turns its text into the value that the
  file would hold.
* A setting without an option is an argument of `create-slave`, or is set by hand.
* A password comes from exactly one place: the file itself, or one of those in `PASSWORD_SOURCES`.

Not in the table: the base directory, which the command line names, and the times of `SlaveConfig` that need no
change. `tests/cli/test_settings.py` lists them, and compares fields, rows and page.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.toml_document import (
    LONGEST,
    At,
    Document,
    Kind,
    bits,
    filled,
    flag,
    number,
    one_of,
    read,
    read_table,
    string,
    whole,
)
from slaveproto.records import record
from slaveproto.slave.config import SlaveConfig, can_encode

FILE_NAME: Final = "slaveproto.toml"
TAC: Final = "buildbot.tac"
"""The file of a slave of Buildbot's."""
SHUTDOWNS: Final = ("none", "signal", "file")
SENT: Final = ("listed", "all")
REQUIRED: Final = ("host", "port", "name", "password")
NEEDS: Final = {
    **dict.fromkeys(("tls_ca", "tls_pin", "tls_cert", "tls_key", "tls_name"), "tls"),
    "tls_key": "tls_cert",
}
"""Settings that mean nothing without another one."""

PASSWORD_SOURCES: Final = ("password_file", "password_environment", "password_descriptor")
"""Settings that say where the password is, if it is not in the file."""


@record
class Settings(SlaveConfig):
    """Contents of the file: a `SlaveConfig`, and what the program itself does.

    Args:
        umask: of the commands; None leaves that of the program.
        allow_shutdown: how the slave can be asked for a graceful shutdown: `none`, `signal` (SIGHUP) or `file` (touch
            `shutdown.stamp`).
        password_file: file whose first line is the password, relative to the base directory.
        password_environment: name of the variable that holds the password.
        password_descriptor: number of an open descriptor from which the password is read.
        resume: whether builds are to outlive the link, where the other end can do that, too.
        tls: whether to speak TLS; the paths below are absolute.
        tls_ca: file with the authorities of the master's certificate; None for those of the system.
        tls_pin: SHA-256 of the master's certificate, as text; None for any that is verified.
        tls_cert: file with our certificate; None for none.
        tls_key: file with its key; None for that of the certificate.
        tls_name: the name that the master's certificate has to be for; None for `host`.
        proxy: URL of the HTTP proxy that connections go through; None for none.
        drain: seconds that what runs has to end after SIGTERM; with 0 it is interrupted at once.
    """

    umask: int | None = None
    allow_shutdown: str = "none"
    password_file: str | None = None
    password_environment: str | None = None
    password_descriptor: int | None = None
    resume: bool = True
    tls: bool = False
    tls_ca: str | None = None
    tls_pin: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_name: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    drain: float = 600.0


@record
class Setting:
    """A row of `SETTINGS`.

    Args:
        kind: the check of its value.
        meaning: for the page and `create-slave --help`.
        options: of `create-slave`; empty for none.
        metavar: of the option's argument; None for an option that takes none, and sets true.
        read: turns the option's text into the value that the file would hold; ValueError says why it cannot.
        unset: words for a default of None.
        show: returns the value as the file shows it.
    """

    kind: Kind
    meaning: str
    options: tuple[str, ...] = ()
    metavar: str | None = None
    read: Callable[[str], object] = str
    unset: str = ""
    show: Callable[[Any], str] = str

    def parse(self, text: str) -> object:
        """Return the value of an option's text.

        Raises:
            ValueError: the text is wrong; the message says why.
        """
        value = self.read(text)
        try:
            return None if value is None else self.kind(At(Document("", text, {}), name="it"), value)
        except UsageError as error:
            raise ValueError(str(error).removeprefix(": ")) from None

    def argument(self, text: str) -> object:
        """Return the value of an option's text, for `argparse`, which is told of a mistake in its own way."""
        try:
            return self.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None


def default_of(key: str) -> Any:
    """Return the value of a setting that the file does not name; `attrs.NOTHING` if it is required."""
    return attrs.fields_dict(Settings)[key].default


def load(basedir: str) -> Settings:
    """Read the file of a base directory, and the password from where the file says that it is.

    A variable with the password is removed from the environment, so that commands do not get it; a descriptor is
    closed.

    Raises:
        UsageError: it is missing, unreadable or wrong; the message names the place.
    """
    path = os.path.join(basedir, FILE_NAME)
    try:
        document = read(path)
    except FileNotFoundError:
        raise UsageError(_not_ours(basedir)) from None
    values = read_table(At(document), document.values, _KINDS)
    sources = [key for key in PASSWORD_SOURCES if key in values]
    missing = [key for key in REQUIRED if key not in values and (key != "password" or not sources)]
    if missing:
        raise UsageError(f"{path}: {', '.join(missing)} missing")
    for key, needed in NEEDS.items():
        if key in values and not values.get(needed):
            raise At(document).key(key).wrong(f"needs {needed}{' = true' if needed == 'tls' else ''}")
    if sources:
        at = At(document).key(sources[-1])
        if "password" in values or len(sources) > 1:
            raise at.wrong("is one place too many for the password")
        values["password"] = _password_of(at, sources[0], values[sources[0]], basedir)
    return Settings(basedir=basedir, **values)


def private_files(settings: Settings) -> list[str]:
    """Return the files that only the slave's user should be able to read."""
    elsewhere = any(getattr(settings, key) is not None for key in PASSWORD_SOURCES)
    files = [settings.password_file, settings.tls_key]
    # The address of a proxy may hold a password, too.
    if not elsewhere or "@" in (settings.proxy or ""):
        files.append(FILE_NAME)
    return [os.path.join(settings.basedir, file) for file in files if file is not None]


def _password_of(at: At, key: str, source: Any, basedir: str) -> str:
    try:
        if key == "password_environment":
            line = os.fsencode(os.environ.pop(source, ""))
        else:
            with open(os.path.join(basedir, source) if key == "password_file" else source, "rb") as file:
                line = file.readline()
        password = line.decode().rstrip("\r\n")
    except OSError as error:
        raise at.wrong(f"{source!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise at.wrong(f"{source!r} is not UTF-8") from None
    if not password:
        raise at.wrong(f"{source!r} has no password")
    return password


def dump(settings: Settings, command: str = "create-slave") -> str:
    """Return the text of the file, as a subcommand writes it."""
    elsewhere = any(getattr(settings, key) is not None for key in PASSWORD_SOURCES)
    holds = "" if elsewhere else " Holds a password: keep it private."
    lines = [f"# Written by `slaveproto {command}`, read by `slaveproto slave`.{holds}\n"]
    for key, setting in SETTINGS.items():
        value = getattr(settings, key)
        if value is not None and not (key == "password" and elsewhere):
            lines.append(f"{key} = {setting.show(value)}\n")
    return "".join(lines)


def _not_ours(basedir: str) -> str:
    if not os.path.isdir(basedir):
        return f"{basedir}: no such directory; make it with `slaveproto create-slave`"
    return f"{basedir}: not a slave's base directory (no {FILE_NAME}); make it one with `slaveproto create-slave`"


# -- readers of an option's text


def read_number(text: str) -> object:
    """Return a number; raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    return int(value) if value.is_integer() else value


def read_whole(text: str) -> object:
    """Return a number without sign and fraction; raises ValueError."""
    # `int` also takes spaces, underscores, signs and the digits of other scripts.
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _whole_or_none(text: str) -> object:
    return None if text == "None" else read_whole(text)


def _octal(text: str) -> object:
    if text == "None":
        return None
    digits = text.removeprefix("0o")
    if not (0 < len(digits) <= 4 and set(digits) <= set("01234567")):
        raise ValueError(f"{text!r} is no umask, such as 022")
    return int(digits, 8)


def read_absolute(text: str) -> object:
    """Return a path from the root, nothing for nothing."""
    return text and os.path.abspath(text)


def _zero_or_one(text: str) -> object:
    if text not in ("0", "1"):
        raise ValueError(f"{text!r} should be 0 or 1")
    return text == "1"


def _shutdown(text: str) -> object:
    if text not in SHUTDOWNS[1:]:
        raise ValueError(f"it should be {' or '.join(SHUTDOWNS[1:])}, not {text!r}")
    return text


# -- writers of the file


_ESCAPES: Final = {chr(code): f"\\u{code:04x}" for code in (*range(0x20), 0x7F)} | {'"': '\\"', "\\": "\\\\"}


def _quoted(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(char, char) for char in value) + '"'


def true_or_false(value: bool) -> str:
    """Return a truth as a file shows it."""
    return "true" if value else "false"


def plain_number(value: float) -> str:
    """Return a number without a fraction that says nothing."""
    return str(int(value) if value == int(value) else value)


def _in_octal(value: int) -> str:
    return f"0o{value:03o}"


def _encoding(at: At, value: object) -> str:
    """A string: an encoding that Python knows and that contains ASCII."""
    found = filled(at, value)
    if not can_encode(found):
        raise at.wrong(f"should be an encoding that Python knows and that contains ASCII, not {found!r}")
    return found


def _send_environment(at: At, value: object) -> str | tuple[str, ...]:
    """One of listed, all, or an array of names."""
    if not isinstance(value, list):
        return str(one_of(SENT)(at, value))
    for name in value:
        if not (isinstance(name, str) and name and name.isprintable() and "=" not in name):
            raise at.wrong(f"should hold names of variables, not {name!r}")
    return tuple(value)


def _names(text: str) -> object:
    return text if text in SENT else text.split(",")


def _sent(value: str | tuple[str, ...]) -> str:
    return _quoted(value) if isinstance(value, str) else f"[{', '.join(map(_quoted, value))}]"


def relative_path(at: At, value: object) -> str:
    """A path, relative to the base directory."""
    return os.path.normpath(os.path.join(at.document.folder, filled(at, value)))


def fingerprint(at: At, value: object) -> str:
    """A string of 64 hexadecimal digits, with or without colons."""
    from transports.host.pins import parse_pin

    try:
        return parse_pin(string(at, value)).hex()
    except ValueError as error:
        raise at.wrong(str(error)) from None


def _proxy(at: At, value: object) -> str:
    """A string: http://[user:password@]host[:port]."""
    from transports.host.proxy import parse_proxy

    found = string(at, value)
    try:
        parse_proxy(found)
    except ValueError as error:
        raise at.wrong(str(error)) from None
    return found


SETTINGS: Final[Mapping[str, Setting]] = {
    "host": Setting(filled, "name or address of the master", show=_quoted),
    "port": Setting(whole(1, 65535), "the master's port for slaves"),
    "name": Setting(filled, "the slave's name, as the master knows it", show=_quoted),
    "password": Setting(string, "the slave's password, in clear; or one of the next three", show=_quoted),
    "password_file": Setting(
        filled, "file whose first line is the password, relative to BASEDIR",
        ("--password-file",), "FILE", unset="none", show=_quoted,
    ),
    "password_environment": Setting(
        filled, "environment variable with the password; commands do not get it",
        ("--password-environment",), "NAME", unset="none", show=_quoted,
    ),
    "password_descriptor": Setting(
        whole(0, 1_000_000), "number of an open descriptor from which a line with the password is read at the start",
        ("--password-descriptor",), "N", read=read_whole, unset="none",
    ),
    "keepalive": Setting(
        number(0), "seconds without a byte of the master's after which it is asked for one; 0 for never",
        ("-k", "--keepalive"), "SECONDS", read=read_number, show=plain_number,
    ),
    "silence": Setting(
        number(0.1), "seconds that the answer may take until the master is taken for dead", show=plain_number
    ),
    "max_delay": Setting(
        number(0.1), "most seconds between two attempts to connect",
        ("--maxdelay",), "SECONDS", read=read_number, show=plain_number,
    ),
    "max_retries": Setting(
        whole(1, LONGEST), "failed attempts in a row after which the slave gives up",
        ("--maxretries",), "N", read=read_whole, unset="never gives up",
    ),
    "use_pty": Setting(
        flag, "whether commands run on a pseudo-terminal, if the master leaves that to the slave",
        ("--usepty",), "0|1", read=_zero_or_one, show=true_or_false,
    ),
    "kill_leftovers": Setting(
        flag, "whether what a command leaves running is killed when it ends by itself, unless the master says",
        ("--kill-leftovers",), "0|1", read=_zero_or_one, show=true_or_false,
    ),
    "umask": Setting(
        bits(0o777), "umask of the commands, in octal",
        ("--umask",), "MASK", read=_octal, unset="that of the program", show=_in_octal,
    ),
    "encoding": Setting(
        _encoding, "encoding of text that goes to or comes from processes; should be that of file names", show=_quoted
    ),
    "allow_shutdown": Setting(
        one_of(SHUTDOWNS),
        "ask for a graceful shutdown at SIGHUP (signal), or when BASEDIR/shutdown.stamp is touched (file)",
        ("-a", "--allow-shutdown"), "signal|file", read=_shutdown, show=_quoted,
    ),
    "send_environment": Setting(
        _send_environment,
        "variables of its environment that the master is told: a list of harmless ones, all, or more besides that list",
        ("--send-environment",), "listed|all|NAME,NAME", read=_names, show=_sent,
    ),
    "resume": Setting(
        flag, "let builds outlive the link, if the other end, a relay or a master of slaveproto, can do that, too",
        ("--resume",), "0|1", read=_zero_or_one, show=true_or_false,
    ),
    "tls": Setting(
        flag, "speak TLS with the master, and verify its certificate", ("--tls", "--use-tls"), show=true_or_false
    ),
    "tls_ca": Setting(
        relative_path,
        "file with the authorities that may sign the master's certificate, or with that certificate itself",
        ("--tls-ca",), "FILE", read=read_absolute, unset="those of the system", show=_quoted,
    ),
    "tls_pin": Setting(
        fingerprint,
        "SHA-256 of the master's certificate: no other one is accepted, and without tls_ca nothing else is asked",
        ("--tls-pin",), "SHA256", unset="any that is verified", show=_quoted,
    ),
    "tls_cert": Setting(
        relative_path, "file with the certificate that the slave shows, and those that lead to its authority",
        ("--tls-cert",), "FILE", read=read_absolute, unset="none", show=_quoted,
    ),
    "tls_key": Setting(
        relative_path, "file with its private key, without a passphrase",
        ("--tls-key",), "FILE", read=read_absolute, unset="that of tls_cert", show=_quoted,
    ),
    "tls_name": Setting(
        filled, "name that the master's certificate has to be for",
        ("--tls-name",), "NAME", unset="that of host", show=_quoted,
    ),
    "proxy": Setting(
        _proxy, "HTTP proxy to reach the master through, by CONNECT",
        ("--proxy",), "URL", unset="none", show=_quoted,
    ),
    "drain": Setting(
        number(0), "seconds that what runs has to end after SIGTERM; 0 interrupts it at once",
        ("--drain",), "SECONDS", read=read_number, show=plain_number,
    ),
    "max_builds": Setting(
        whole(1, LONGEST), "builds after which the slave leaves and ends",
        ("--max-builds",), "N", read=read_whole, unset="any number",
    ),
    "idle_exit": Setting(
        number(0.1), "seconds without a command or a new build after which the slave leaves and ends",
        ("--idle-exit",), "SECONDS", read=read_number, unset="never", show=plain_number,
    ),
    "numcpus": Setting(
        whole(1, LONGEST), "number of processors that the master is told",
        ("--numcpus",), "N", read=_whole_or_none, unset="those of the host",
    ),
    "delete_leftover_dirs": Setting(
        flag, "whether directories of no builder are removed from the base directory when the slave is attached",
        ("--delete-leftover-dirs",), show=true_or_false,
    ),
}  # fmt: skip

_KINDS: Final[Mapping[str, Kind]] = {key: setting.kind for key, setting in SETTINGS.items()}
