"""Settings of a relay: its file, its options, and the table of docs/relay.md.

Rules.

* A setting is a field of `RelaySettings` and a row of `RELAY_SETTINGS` under the same name. The default stands at the
  field; range, meaning and option stand in the row. Options replace what the file says.
* Exactly one of `to` and `via` says where the relay leads, and on which side of it streams are spoken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.address import parse_address
from slaveproto.ci.file.toml_document import At, Document, Kind, filled, flag, number, read, read_table, string, whole
from slaveproto.cli.settings import (
    Setting,
    fingerprint,
    plain_number,
    read_absolute,
    read_number,
    read_whole,
    relative_path,
    true_or_false,
)
from slaveproto.records import record

SHORTEST_KEY: Final = 32
"""Bytes of text that a key has at least."""

Address: TypeAlias = tuple[str, int]

BESIDE_MASTER_ONLY: Final = ("plain", "tls_client_ca")
BESIDE_SLAVES_ONLY: Final = ("tls", "tls_ca", "tls_pin", "tls_name")
NEEDED: Final = {
    **dict.fromkeys(("tls_ca", "tls_pin", "tls_name"), "tls"),
    "tls_key": "tls_cert",
    "tls_client_ca": "tls_cert",
}
"""Settings that mean nothing without another one."""


@record
class RelaySettings:
    """Contents of the file, with the options.

    Args:
        listen: host and port; port 0 is any that is free.
        to: host and port of the master; None for a relay beside slaves.
        via: host and port of the other relay; None for a relay beside a master.
        plain: whether a relay beside a master takes plain slaves, too.
        mend: whether slaves and a master of two generations are to understand each other.
        key: file with the secret that both relays share; None for none. Paths are absolute.
        tls: whether to speak TLS with the other relay.
        tls_ca: file with the authorities of its certificate; None for those of the system.
        tls_pin: SHA-256 of its certificate, as text; None for any that is verified.
        tls_cert: file with our certificate; None for none.
        tls_key: file with its key; None for that of the certificate.
        tls_client_ca: file with the authorities of the certificates that are demanded of those that come; None for
            none.
        tls_name: the name that the certificate of the other relay has to be for; None for that of `via`.
        patience: seconds that the other relay is waited for when the link is lost.
        silence: seconds without a byte of the other relay's until the link is lost.
        connections: most that may come in.
        visitors: of them, most that have not talked with the master.
        visitors_per_address: of those, most from one address.
        drain: seconds that slaves have to end after SIGTERM.
    """

    listen: Address
    to: Address | None = None
    via: Address | None = None
    plain: bool = True
    mend: bool = False
    key: str | None = None
    tls: bool = False
    tls_ca: str | None = None
    tls_pin: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_client_ca: str | None = None
    tls_name: str | None = None
    patience: float = 900.0
    silence: float = 30.0
    connections: int = 10_000
    visitors: int = 500
    visitors_per_address: int = 100
    drain: float = 600.0


def load_relay(path: str | None, options: Mapping[str, Any]) -> RelaySettings:
    """Read the file, if there is one, and let the options replace what it says.

    Raises:
        UsageError: something is missing, unreadable or wrong; the message names the place.
    """
    document = Document("slaveproto relay", "", {})
    if path is not None:
        try:
            document = read(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file") from None
    given = {**read_table(At(document), document.values, RELAY_KINDS), **options}
    if "listen" not in given or ("to" in given) == ("via" in given):
        raise UsageError(
            f"{document.path}: needs listen, and one of to (beside a master) and via (beside slaves)"
        )  # fmt: skip
    wrong = [key for key in (BESIDE_SLAVES_ONLY if "to" in given else BESIDE_MASTER_ONLY) if key in given]
    if wrong:
        raise UsageError(f"{document.path}: {wrong[0]} means nothing with {'to' if 'to' in given else 'via'}")
    for key, needed in NEEDED.items():
        if key in given and not given.get(needed):
            raise UsageError(f"{document.path}: {key} needs {needed}")
    if "via" in given and "tls_cert" in given and not given.get("tls"):
        raise UsageError(f"{document.path}: tls_cert needs tls")
    return RelaySettings(**given)


def read_key(path: str | None) -> bytes:
    """Return the secret of a file; empty for no file.

    Raises:
        UsageError: it cannot be read, or is too short.
    """
    if path is None:
        return b""
    try:
        with open(path, "rb") as file:
            key = file.read().strip()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(key) < SHORTEST_KEY:
        raise UsageError(f"{path}: a key has at least {SHORTEST_KEY} bytes, and this one {len(key)}")
    return key


# -- kinds


def _listening(at: At, value: object) -> Address:
    """A string: HOST:PORT or [IPV6]:PORT."""
    found = string(at, value)
    # Any port that is free.
    free = re.fullmatch(r"(.+):0", found)
    host, port = _address(at, f"{free[1]}:1" if free else found)
    return host, 0 if free else port


def _address(at: At, value: object) -> Address:
    """A string: HOST, HOST:PORT or [IPV6]:PORT."""
    try:
        return parse_address(string(at, value))
    except UsageError as error:
        raise at.wrong(str(error)) from None


def _beside(at: At, value: object) -> str:
    """A path, relative to the file's folder."""
    return relative_path(at, value)


RELAY_SETTINGS: Final[Mapping[str, Setting]] = {
    "listen": Setting(_listening, "where slaves, or the other relay, connect to", ("--listen",), "HOST:PORT"),
    "to": Setting(
        _address, "the master: this relay is beside it, and takes streams and plain slaves",
        ("--to",), "HOST:PORT", unset="none",
    ),
    "via": Setting(
        _address, "the relay beside the master: this one is beside slaves, and carries each over a stream",
        ("--via",), "HOST:PORT", unset="none",
    ),
    "plain": Setting(
        flag, "with to: whether plain slaves may come; with a key they may not", ("--no-plain",),
        show=true_or_false,
    ),
    "mend": Setting(
        flag, "let slaves and a master of two generations understand each other: old slaves on a new master, and the "
        "reverse", ("--mend",), show=true_or_false,
    ),
    "key": Setting(
        _beside, f"file with a secret of {SHORTEST_KEY} bytes of text or more that both relays share",
        ("--key",), "FILE", read=read_absolute, unset="none",
    ),
    "tls": Setting(
        flag, "with via: speak TLS with the other relay, and verify its certificate", ("--tls",),
        show=true_or_false,
    ),
    "tls_ca": Setting(
        _beside, "with via: file with the authorities that may sign its certificate, or with that certificate itself",
        ("--tls-ca",), "FILE", read=read_absolute, unset="those of the system",
    ),
    "tls_pin": Setting(
        fingerprint, "with via: SHA-256 of its certificate: no other one is accepted",
        ("--tls-pin",), "SHA256", unset="any that is verified",
    ),
    "tls_cert": Setting(
        _beside, "file with the certificate that this relay shows, and those that lead to its authority; "
        "with to, those that come have to speak TLS",
        ("--tls-cert",), "FILE", read=read_absolute, unset="none",
    ),
    "tls_key": Setting(
        _beside, "file with its private key, without a passphrase",
        ("--tls-key",), "FILE", read=read_absolute, unset="that of tls_cert",
    ),
    "tls_client_ca": Setting(
        _beside, "with to: file with the authorities of the certificates that those that come have to show",
        ("--tls-client-ca",), "FILE", read=read_absolute, unset="they need none",
    ),
    "tls_name": Setting(
        filled, "with via: name that its certificate has to be for", ("--tls-name",), "NAME", unset="that of via",
    ),
    "patience": Setting(
        number(1), "seconds that the other relay is waited for when the link is lost",
        ("--patience",), "SECONDS", read=read_number, show=plain_number,
    ),
    "silence": Setting(
        number(1), "seconds without a byte of the other relay's until the link is lost",
        ("--silence",), "SECONDS", read=read_number, show=plain_number,
    ),
    "connections": Setting(
        whole(1, 999_999), "most connections that may come in", ("--connections",), "N", read=read_whole
    ),
    "visitors": Setting(
        whole(1, 999_999), "of them, most that belong to no slave that has talked with its master",
        ("--visitors",), "N", read=read_whole,
    ),
    "visitors_per_address": Setting(
        whole(1, 999_999), "of those, most from one IPv4 address, or one network of 64 bits of IPv6",
        ("--visitors-per-address",), "N", read=read_whole,
    ),
    "drain": Setting(
        number(0), "seconds that slaves have to end after SIGTERM; 0 is at once",
        ("--drain",), "SECONDS", read=read_number, show=plain_number,
    ),
}  # fmt: skip

RELAY_KINDS: Final[Mapping[str, Kind]] = {key: setting.kind for key, setting in RELAY_SETTINGS.items()}
