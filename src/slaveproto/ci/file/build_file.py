"""The build file: which slaves there are, and what is built on them. docs/build-file.md explains it."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from slaveproto.ci.errors import Mistakes, UsageError
from slaveproto.ci.file import steps as build_steps
from slaveproto.ci.file import values
from slaveproto.ci.file.address import parse_address
from slaveproto.ci.file.conditions import StepExtras
from slaveproto.ci.file.factories import MOST_STEPS, StepLists, matrix, variants
from slaveproto.ci.file.notices import NoticeEntry, read_notice
from slaveproto.ci.file.secrets import (
    FromCommand,
    FromEnvironment,
    FromFile,
    SecretSource,
    SecretUnreadable,
    names_in,
)
from slaveproto.ci.file.toml_document import At, Kind, of_type, read, read_table
from slaveproto.ci.schedule import CHANGE_KEYS, Triggers
from slaveproto.master.config import ChangeAccount, MasterConfig, SlaveAccount
from slaveproto.master.steps import AnyStep, EnvValue

if TYPE_CHECKING:
    import ssl

CHANGE_USER: Final = "change"
STATE_DIR: Final = ".slaveproto"
DEFAULT_LISTEN: Final = ("127.0.0.1", 9989)
LOCAL: Final = "local"
"""The name of the embedded slave."""


@attrs.frozen(kw_only=True)
class MasterSettings:
    """`[master]`. Times are in seconds, paths are absolute.

    Args:
        listen: host and port; None if the file does not name them.
        tls_cert: file with the certificates that the master shows.
        tls_client_ca: file with the authorities of the slaves' certificates; None if they need none.
        tls: the context for TLS, None for no TLS.
        state_dir: folder of the program's database and logs.
        change_password: of the user `change`, or where it comes from; empty for no such user.
        max_tries: how often `slaveproto master` tries a build that comes to nothing.
        keep_builds: how many builds of each builder it remembers.
        keep_time: for how long; None for any time.
        keep_bytes: of all logs together.
        log_max_size: bytes that are kept of each log; 0 for all.
        config: the master's times, and their defaults; its accounts come from the other sections.
    """

    listen: tuple[str, int] | None = None
    tls_cert: str | None = None
    tls_client_ca: str | None = None
    tls: ssl.SSLContext | None = None
    state_dir: str
    change_password: str | SecretSource = attrs.field(default="changepw", repr=False)
    max_tries: int = 10
    keep_builds: int = 1000
    keep_time: float | None = None
    keep_bytes: int = 10 * 2**30
    log_max_size: int = 200_000_000
    config: MasterConfig = attrs.field(factory=MasterConfig)


@attrs.frozen(kw_only=True)
class SlaveEntry:
    """`[[slave]]`.

    Args:
        name: the user name of its login.
        password: in clear, or where it comes from.
        max_builds: the most builds at a time; None for any number.
        certificate: the name of the TLS certificate that it has to show besides; None for none.
    """

    name: str
    password: str | SecretSource = attrs.field(repr=False)
    max_builds: int | None = None
    certificate: str | None = None


@attrs.frozen(kw_only=True)
class BuilderEntry:
    """`[[builder]]`.

    Args:
        name: for people.
        slaves: names of the slaves that may build it.
        builddir: relative to the slave's base directory.
        env: variables of all its commands.
        properties: those that no request replaces.
        triggers: the changes and times that make the master build it.
        steps: the steps, in order.
        extras: what the master is to do with steps besides, by their places from 0.
        secrets: those that it uses.
    """

    name: str
    slaves: tuple[str, ...]
    builddir: str
    env: Mapping[str, EnvValue] = attrs.field(factory=dict)
    properties: Mapping[str, str] = attrs.field(factory=dict)
    triggers: Triggers = attrs.field(factory=Triggers)
    steps: tuple[AnyStep, ...]
    extras: Mapping[int, StepExtras] = attrs.field(factory=dict)
    secrets: tuple[SecretSource, ...] = ()

    def check_asked(self, asked: Iterable[str]) -> None:
        """Refuse to be asked for properties that it has itself.

        Raises:
            UsageError: one of these is such a property.
        """
        for name in asked:
            if name in self.properties:
                raise UsageError(f"builder {self.name!r} has its own {name}: {self.properties[name]!r}")


@attrs.frozen
class BuildFile:
    """Contents of a build file.

    Args:
        path: the file.
        master: the section `[master]`.
        slaves: by name, in the file's order; empty if the embedded slave is to be used.
        builders: by name, in the file's order.
        private: files with passwords or keys.
        notices: those who are told of builds.
    """

    path: str
    master: MasterSettings
    slaves: Mapping[str, SlaveEntry]
    builders: Mapping[str, BuilderEntry]
    private: tuple[str, ...] = ()
    notices: tuple[NoticeEntry, ...] = ()

    def master_config(self, local_password: str, *, changes: bool) -> MasterConfig:
        """Return the configuration of the master. Passwords that are secrets are read, which may take seconds.

        Args:
            local_password: of the embedded slave.
            changes: whether it is to take changes.

        Raises:
            UsageError: such a password cannot be read.
        """
        passwords = {slave.name: self._read(slave.password) for slave in self.slaves.values()}
        passwords = passwords or {LOCAL: local_password}
        certificates = {slave.name: slave.certificate for slave in self.slaves.values()}
        accounts: dict[str, SlaveAccount | ChangeAccount] = {
            name: SlaveAccount(
                name,
                password,
                {entry.name: entry.builddir for entry in self.builders.values() if name in entry.slaves},
                certificates.get(name),
            )
            for name, password in passwords.items()
        }
        if changes and self.master.change_password:
            accounts[CHANGE_USER] = ChangeAccount(CHANGE_USER, self._read(self.master.change_password), confirm=True)
        return attrs.evolve(self.master.config, accounts=accounts)

    def _read(self, password: str | SecretSource) -> str:
        if isinstance(password, str):
            return password
        try:
            return password.read()
        except SecretUnreadable as error:
            raise UsageError(f"{self.path}: {error}") from None


def load(path: str) -> BuildFile:
    """Read a file.

    Raises:
        UsageError: it is missing or wrong; the message has the line.
    """
    try:
        document = read(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    at = At(document)
    sections: dict[str, Kind] = dict.fromkeys(
        ("master", "secret", "slave", "steps", "builder", "notify"), lambda at, value: value
    )
    given = read_table(at, document.values, sections)
    mistakes = Mistakes()
    secrets: Mapping[str, SecretSource] = {}
    with mistakes.gathered():
        secrets = _secrets(at.section("secret"), given.get("secret", {}))
    with mistakes.gathered():
        master = _master(at.section("master"), given.get("master", {}))
        slaves = _slaves(at, given.get("slave", []), master)
        if master.tls_client_ca is not None and not slaves:
            where = at.section("master").key("tls_client_ca")
            raise where.wrong("needs a [[slave]]: the embedded one has no certificate")
    lists = StepLists(at, {})
    with mistakes.gathered():
        lists = StepLists(at, given.get("steps", {}))
        _check_lists(lists)
    if not mistakes.any:
        with mistakes.gathered():
            builders = _builders(at, given.get("builder", []), slaves, secrets, lists)
            notices = _notices(at, given.get("notify", []), secrets, builders)
    else:
        # What builders say of slaves and secrets cannot be judged; their steps can.
        with mistakes.gathered():
            _check_steps(at, given.get("builder", []), lists)
    mistakes.check()
    return BuildFile(path, master, slaves, builders, tuple(_private(at, given, secrets)), notices)


def state_dir_of(path: str) -> str:
    """Return the folder in which the master of a file keeps its state; of a file with a mistake, where it has been.

    What was built can be read while the file is being changed.

    Raises:
        UsageError: the file is missing or wrong, and no state is found by what it says.
    """
    try:
        return load(path).master.state_dir
    except UsageError:
        try:
            with open(path, encoding="utf-8") as file:
                said = re.search(r"""^\s*state_dir\s*=\s*(["'])([^"'\n]+)\1""", file.read(), re.MULTILINE)
        except (OSError, UnicodeDecodeError):
            said = None
        folder = os.path.join(os.path.dirname(os.path.abspath(path)), said[2] if said else STATE_DIR)
        if not os.path.isfile(os.path.join(folder, "state.sqlite")):
            raise
        return os.path.normpath(folder)


def _private(top: At, given: Mapping[str, Any], secrets: Mapping[str, SecretSource]) -> Iterator[str]:
    passwords = [
        given.get("master", {}).get("change_password"),
        *(item.get("password") for item in given.get("slave", [])),
    ]
    if any(isinstance(password, str) and password for password in passwords):
        yield top.document.path
    files = [given.get("master", {}).get("tls_key"), *(item.get("password_file") for item in given.get("slave", []))]
    yield from (values.beside(top, file) for file in files if file is not None)
    yield from (secret.origin.path for secret in secrets.values() if isinstance(secret.origin, FromFile))


def _master(at: At, value: object) -> MasterSettings:
    given = read_table(at, value, MASTER_KEYS)
    for one, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")):
        if one in given and other not in given:
            raise at.key(one).wrong(f"needs {other}")
    if "tls_cert" in given:
        given["tls"] = _tls(at, given["tls_cert"], given.pop("tls_key"), given.get("tls_client_ca"))
    given.setdefault("state_dir", os.path.join(at.document.folder, STATE_DIR))
    given["config"] = MasterConfig(**{key: given.pop(key) for key in attrs.fields_dict(MasterConfig) if key in given})
    return MasterSettings(**given)


def _tls(at: At, certificate: str, key: str, client_ca: str | None) -> ssl.SSLContext:
    # Few files need this module, and it is big.
    from transports.host.tls import server_context, trust_clients

    try:
        context = server_context(certificate, key)
    except ValueError as error:
        raise at.key("tls_cert").wrong(f"and tls_key should be a certificate and its key, but: {error}") from None
    if client_ca is not None:
        try:
            trust_clients(context, client_ca)
        except ValueError as error:
            raise at.key("tls_client_ca").wrong(f"should be certificates of authorities, but: {error}") from None
    return context


def _slaves(top: At, value: object, master: MasterSettings) -> dict[str, SlaveEntry]:
    found: dict[str, SlaveEntry] = {}
    mistakes = Mistakes()
    for index, item in enumerate(_tables(top, "slave", value)):
        with mistakes.gathered():
            entry = _slave(top.section("slave", index), item, master, found)
            found[entry.name] = entry
    mistakes.check()
    return found


def _slave(at: At, item: object, master: MasterSettings, found: Mapping[str, SlaveEntry]) -> SlaveEntry:
    given = read_table(at, item, SLAVE_KEYS, ["name"])
    _check_new(at.key("name"), given["name"], found)
    if given["name"] == CHANGE_USER and master.change_password:
        raise at.key("name").wrong('is that of the user who reports changes; change_password = "" frees it')
    if ("password" in given) == ("password_file" in given):
        raise at.wrong("should have password or password_file, and not both")
    if "certificate" in given and master.tls_client_ca is None:
        raise at.key("certificate").wrong("needs tls_client_ca in [master]")
    if "password_file" in given:
        given["password"] = given.pop("password_file")
    return SlaveEntry(**given)


def _secrets(top: At, value: object) -> dict[str, SecretSource]:
    found = {}
    for name, item in of_type(top, value, dict).items():
        at = top.key(name)
        if not name.isprintable() or not name:
            raise at.document.mistake(at.path, f"{name!r} cannot be the name of a secret")
        given = read_table(at, item, SECRET_KEYS)
        if len(given) != 1:
            raise at.wrong(f"should have one of {', '.join(SECRET_KEYS)}")
        (origin,) = given.values()
        found[name] = SecretSource(name, origin)
    return found


def _builders(
    top: At,
    value: object,
    slaves: Mapping[str, SlaveEntry],
    secrets: Mapping[str, SecretSource],
    lists: StepLists,
) -> dict[str, BuilderEntry]:
    found: dict[str, BuilderEntry] = {}
    mistakes = Mistakes()
    for index, item in enumerate(_tables(top, "builder", value)):
        with mistakes.gathered():
            _add_builders(top.section("builder", index), item, slaves, secrets, lists, found)
    mistakes.check()
    if not found:
        raise top.wrong("has no [[builder]]")
    return found


def _notices(
    top: At, value: object, secrets: Mapping[str, SecretSource], builders: Mapping[str, BuilderEntry]
) -> tuple[NoticeEntry, ...]:
    mistakes = Mistakes()
    found = []
    for index, item in enumerate(_tables(top, "notify", value)):
        with mistakes.gathered():
            found.append(read_notice(top.section("notify", index), item, secrets, builders))
    mistakes.check()
    return tuple(found)


def _check_lists(lists: StepLists) -> None:
    """Check the lists of steps, those that no builder uses, too."""
    mistakes = Mistakes()
    for at, table in lists.all():
        with mistakes.gathered():
            build_steps.read_step(at, table)
    mistakes.check()


def _check_steps(top: At, value: object, lists: StepLists) -> None:
    """Check the steps of builders, and nothing else of them."""
    mistakes = Mistakes()
    for index, item in enumerate(_tables(top, "builder", value)):
        if isinstance(item, dict) and isinstance(item.get("step"), list):
            with mistakes.gathered():
                _plan(top.section("builder", index), item["step"], lists)
    mistakes.check()


def _add_builders(
    place: At,
    item: object,
    slaves: Mapping[str, SlaveEntry],
    secrets: Mapping[str, SecretSource],
    lists: StepLists,
    found: dict[str, BuilderEntry],
) -> None:
    """Add the builders that a table stands for."""
    for at, own, variant in ((place, *one) for one in variants(place, item)):
        given = read_table(at, variant, BUILDER_KEYS, ["name", "slaves"] if slaves else ["name"])
        _check_new(at.key("name"), given["name"], found)
        _check_slaves(at, given.setdefault("slaves", (LOCAL,)), slaves)
        given.setdefault("builddir", default_builddir(given["name"]))
        for other in found.values():
            if other.builddir == given["builddir"] and set(other.slaves) & set(given["slaves"]):
                raise at.wrong(f"has the same builddir {other.builddir!r} as builder {other.name!r}, on the same slave")
        steps = given.pop("step", [])
        if not steps:
            raise at.wrong("has no [[builder.step]]")
        given["steps"], given["extras"] = _plan(at, steps, lists)
        used = dict.fromkeys(names_in(given.get("env", {}), given["steps"]))
        found[given["name"]] = BuilderEntry(**given, properties=own, secrets=tuple(secrets[name] for name in used))


def _plan(builder: At, tables: list[Any], lists: StepLists) -> tuple[tuple[AnyStep, ...], dict[int, StepExtras]]:
    steps: list[AnyStep] = []
    extras: dict[int, StepExtras] = {}
    mistakes = Mistakes()
    places = ((builder.section("step", number), table) for number, table in enumerate(tables))
    for at, table in (one for place in places for one in lists.expand(*place)):
        if len(steps) == MOST_STEPS:
            raise builder.wrong(f"has more than {MOST_STEPS} steps")
        with mistakes.gathered():
            step, more = build_steps.read_step(at, table)
            _check_condition(at, more, steps)
            if more != StepExtras():
                extras[len(steps)] = more
            steps.append(step)
    mistakes.check()
    return tuple(steps), extras


def _check_condition(at: At, more: StepExtras, before: Sequence[AnyStep]) -> None:
    if more.run_if is not None and more.run_if.step is not None:
        titles = dict.fromkeys(step.title for step in before)
        if more.run_if.step not in titles:
            there = ", ".join(titles) or "none"
            where = at.key("run_if").key("step")
            raise where.wrong(f"{more.run_if.step!r} is no step before this one; there are {there}")


def _tables(top: At, name: str, value: object) -> list[Any]:
    if isinstance(value, dict):
        raise top.key(name).wrong(f"should be [[{name}]], not [{name}]")
    return list(of_type(top.key(name), value, list))


def _check_new(at: At, name: str, taken: Mapping[str, object]) -> None:
    if name in taken:
        raise at.wrong(f"{name!r} comes twice")


def _check_slaves(builder: At, names: tuple[str, ...], slaves: Mapping[str, SlaveEntry]) -> None:
    at = builder.key("slaves")
    for index, name in enumerate(names):
        if name not in (slaves or (LOCAL,)):
            there = ", ".join(slaves) if slaves else f"{LOCAL} only, for the file has no [[slave]]"
            raise builder.document.mistake((*at.path, index), f"unknown slave {name!r}; there are {there}")
        if name in names[:index]:
            raise builder.document.mistake((*at.path, index), f"slaves has {name!r} twice")


def default_builddir(name: str) -> str:
    """Return a builder's name as a directory, with `_` for each character that is awkward in a path."""
    directory = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")
    # A slave's files about itself are in `info`.
    return directory if directory not in ("", "info") else f"{directory}_"


# -- kinds of this file


def _listen(at: At, value: object) -> tuple[str, int]:
    text = values.text(at, value)
    # Port 0 means any free port, which `create-slave` cannot take.
    any_port = text.endswith(":0")
    try:
        host, port = parse_address(f"{text[:-1]}1" if any_port else text)
    except UsageError:
        raise at.wrong(f"should be HOST:PORT or [IPV6]:PORT, not {text!r}") from None
    return host, 0 if any_port else port


def _password_file(at: At, value: object) -> str:
    path = values.beside(at, value)
    try:
        with open(path, "rb") as file:
            password = file.readline().decode().rstrip("\r\n")
    except OSError as error:
        raise at.wrong(f"should be a file that can be read: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise at.wrong(f"should be a file in UTF-8, unlike {path}") from None
    if not password or "\0" in password:
        raise at.wrong(f"should be a file whose first line is the password, unlike {path}")
    return password


def _builddir(at: At, value: object) -> str:
    path = values.text(at, value)
    short = posixpath.normpath(path)
    if short.startswith(("/", "..")) or short in (".", "info"):
        raise at.wrong(f"should be a directory of its own in that of the slave, not {path!r}")
    return short


def _change(at: At, value: object) -> Mapping[str, tuple[str, ...]] | None:
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise at.wrong("should be true, or a table of what changes count")
    return read_table(at, value, dict.fromkeys(CHANGE_KEYS, values.any_texts))


def _triggers(at: At, value: object) -> Triggers:
    return Triggers(**read_table(at, value, TRIGGER_KEYS))


def _steps(at: At, value: object) -> list[Any]:
    if isinstance(value, dict):
        raise at.wrong("should be [[builder.step]], not [builder.step]")
    return list(of_type(at, value, list))


def _password(at: At, value: object) -> str | SecretSource:
    """A string that is not empty, or a secret."""
    return _source(at, value) if isinstance(value, dict) else values.text(at, value)


def _change_password(at: At, value: object) -> str | SecretSource:
    return _source(at, value) if isinstance(value, dict) else values.any_text(at, value)


def _source(at: At, value: object) -> SecretSource:
    name = values.secret(at, value).name
    return _secrets(At(at.document).section("secret"), at.document.values["secret"])[name]


SECRET_KEYS: Final[dict[str, Kind]] = {
    "file": lambda at, value: FromFile(values.beside(at, value)),
    "environment": lambda at, value: FromEnvironment(values.text(at, value)),
    "command": lambda at, value: FromCommand(values.texts(at, value), at.document.folder),
}
MASTER_KEYS: Final[dict[str, Kind]] = {
    "listen": _listen,
    "tls_cert": values.beside,
    "tls_key": values.beside,
    "tls_client_ca": values.beside,
    "state_dir": values.beside,
    "change_password": _change_password,
    "max_tries": values.count_from(1),
    "keep_builds": values.count_from(1),
    "keep_time": values.positive_seconds,
    "keep_bytes": values.count_from(1),
    "keepalive": values.seconds,
    "silence": values.positive_seconds,
    "patience": values.seconds,
    "ping_timeout": values.positive_seconds,
    "attach_timeout": values.positive_seconds,
    "login_timeout": values.positive_seconds,
    "log_max_size": values.count_from(0),
    "upload_max_size": values.count_from(0),
}
SLAVE_KEYS: Final[dict[str, Kind]] = {
    "name": values.text,
    "password": _password,
    "password_file": _password_file,
    "max_builds": values.count_from(1),
    "certificate": values.text,
}
BUILDER_KEYS: Final[dict[str, Kind]] = {
    "name": values.text,
    "slaves": values.texts,
    "builddir": _builddir,
    "env": values.environment,
    "triggers": _triggers,
    "matrix": matrix,
    "step": _steps,
}
TRIGGER_KEYS: Final[dict[str, Kind]] = {
    "change": _change,
    "every": values.positive_seconds,
    "daily": values.times_of_day,
}
