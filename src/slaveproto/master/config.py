"""Users that a master lets in, and its patience."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs


@attrs.frozen
class SlaveAccount:
    """A slave that may log in.

    Args:
        name: its user name.
        password: in clear, for the login needs it so.
        builders: the slave's builders, each with its directory on the slave, which is relative to the slave's basedir.
        certificate: the name of the TLS certificate that the slave has to show besides; None for none.
    """

    name: str
    password: str = attrs.field(repr=False)
    builders: Mapping[str, str] = attrs.field(factory=dict)
    certificate: str | None = None


@attrs.frozen
class ChangeAccount:
    """A user such as `change`, who tells of changes: what `buildbot sendchange` logs in as.

    Args:
        name: the user name.
        password: in clear.
        confirm: whether each change waits for the program's `AnswerGuest`, such as until it is stored.
    """

    name: str
    password: str = attrs.field(repr=False)
    confirm: bool = False


@attrs.frozen
class GuestAccount:
    """A user whose calls are the program's affair: each is announced as `GuestCalled` and waits for its answer.

    Args:
        name: the user name.
        password: in clear.
        methods: what may be called.
    """

    name: str
    password: str = attrs.field(repr=False)
    methods: frozenset[str]


Account: TypeAlias = SlaveAccount | ChangeAccount | GuestAccount


def _check_names(config: MasterConfig, attribute: attrs.Attribute[Mapping[str, Account]], value: object) -> None:
    wrong = [name for name, account in config.accounts.items() if account.name != name]
    if wrong:
        raise ValueError(f"the accounts of {wrong} have other names")


@attrs.frozen
class MasterConfig:
    """Users that may log in, and the master's patience. Times are in seconds.

    Args:
        accounts: the users, by name; ValueError if an account has another name than that.
        ask: whether a name that is not among them is asked for with `AccountWanted`.
        login_timeout: from the opening of a connection to the response to our challenge, the handshake of TLS included.
        attach_timeout: for each answer of a slave that is being attached.
        ping_timeout: for the answer to a ping, and for a slave that was shut down to be gone.
        keepalive: without a byte of a slave's, until it is asked for a sign of life; 0 for never.
        silence: for the answer, counted from the arrival of the question, after which the slave is taken for dead; also
            of the holder of a name by which another slave comes.
        patience: for a slave that has lost its link to come back, if its line is a stream (see `MasterSession`); 0 to
            offer no streams. What it is when the session is made counts.
        upload_max_size: bytes of a file, or of the archive of a directory, that comes in, unless its step says another
            number; 0 for any.
        visitors: most connections that have not logged in, those whose TLS handshake is under way included.
        visitors_per_address: how many of them may be of one IPv4 address, or of one network of 64 bits of IPv6.
    """

    accounts: Mapping[str, Account] = attrs.field(factory=dict, validator=_check_names)
    ask: bool = False
    login_timeout: float = 30.0
    attach_timeout: float = 120.0
    ping_timeout: float = 60.0
    keepalive: float = 5.0
    silence: float = 52.0
    patience: float = 900.0
    upload_max_size: int = 2 * 1024**3
    visitors: int = 500
    visitors_per_address: int = 100
