"""The tables `[[notify]]` of a build file: who is told of builds that ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from slaveproto.ci.file import values
from slaveproto.ci.file.secrets import SecretSource
from slaveproto.ci.file.toml_document import At, Kind, read_table
from slaveproto.ci.notices import WHEN

WAYS: Final = ("command", "url", "mail")
DEFAULT_MAIL_SERVER: Final = "localhost"
_ADDRESS: Final = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


@attrs.frozen
class MailEntry:
    """A mail to some people.

    Args:
        to: addresses.
        sender: an address.
        server: HOST or HOST:PORT of a mail server that takes it without a password.
    """

    to: tuple[str, ...]
    sender: str
    server: str = DEFAULT_MAIL_SERVER


@attrs.frozen
class NoticeEntry:
    """`[[notify]]`.

    Args:
        when: one of `WHEN`.
        builders: names; empty for all.
        command: words of a program; empty for none.
        url: of a webhook; empty for none.
        secret: the key by which the webhook knows us; None for none.
        mail: None for none.
    """

    when: str = "change"
    builders: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    url: str = ""
    secret: SecretSource | None = None
    mail: MailEntry | None = None

    @property
    def target(self) -> str:
        """Words for what is told: nothing that could be a secret."""
        if self.mail is not None:
            return ", ".join(self.mail.to)
        return self.command[0] if self.command else urlsplit(self.url).hostname or ""


def _url(at: At, value: object) -> str:
    """A string: http:// or https:// and a host."""
    found = values.text(at, value)
    try:
        parts = urlsplit(found)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not found.isascii() or not found.isprintable() or " " in found:
        raise at.wrong("should be http://HOST... or https://HOST...")
    return found


def _address(at: At, value: object) -> str:
    found = values.text(at, value)
    if not _ADDRESS.fullmatch(found):
        raise at.wrong(f"should be an address such as team@example.org, not {found!r}")
    return found


def _addresses(at: At, value: object) -> tuple[str, ...]:
    return tuple(_address(at.item(index), item) for index, item in enumerate(values.texts(at, value)))


def _server(at: At, value: object) -> str:
    from slaveproto.ci.errors import UsageError
    from slaveproto.ci.file.address import parse_address

    found = values.text(at, value)
    try:
        parse_address(found)
    except UsageError as error:
        raise at.wrong(f"should be HOST or HOST:PORT, but: {error}") from None
    return found


def _secret(at: At, value: object) -> str:
    """The name of a secret of the file."""
    name = values.text(at, value)
    there = at.document.values.get("secret", {})
    if name not in there:
        raise at.wrong(f"{name!r} is no secret of the file; there are {', '.join(there) or 'none'}")
    return name


MAIL_KEYS: Final[dict[str, Kind]] = {"to": _addresses, "from": _address, "server": _server}


def _mail(at: At, value: object) -> MailEntry:
    """A table with `to`, `from` and `server`."""
    given = read_table(at, value, MAIL_KEYS, ["to", "from"])
    return MailEntry(given["to"], given["from"], given.get("server", DEFAULT_MAIL_SERVER))


NOTIFY_KEYS: Final[dict[str, Kind]] = {
    "when": values.one_of(WHEN),
    "builders": values.texts,
    "command": values.texts,
    "url": _url,
    "secret": _secret,
    "mail": _mail,
}


def read_notice(
    at: At, value: object, secrets: Mapping[str, SecretSource], builders: Mapping[str, object]
) -> NoticeEntry:
    """Return the entry that a table describes.

    Raises:
        UsageError: it tells no one, or has a wrong key or value.
    """
    given = read_table(at, value, NOTIFY_KEYS)
    ways = [way for way in WAYS if way in given]
    if len(ways) != 1:
        raise at.wrong(f"should have one of {', '.join(WAYS)}")
    if "secret" in given:
        if ways != ["url"]:
            raise at.key("secret").wrong("signs what is sent to a url, and there is none")
        given["secret"] = secrets[given["secret"]]
    for name in given.get("builders", ()):
        if name not in builders:
            raise at.key("builders").wrong(f"has the unknown builder {name!r}; there are {', '.join(builders)}")
    return NoticeEntry(**given)
