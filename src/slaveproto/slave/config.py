"""What a slave is told about itself and about its host."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from slaveproto.records import record


def can_encode(encoding: str) -> bool:
    """Whether Python knows the encoding, and it contains ASCII as it is."""
    ascii_text = "".join(map(chr, range(128)))
    try:
        return ascii_text.encode(encoding) == ascii_text.encode("ascii")
    except (LookupError, ValueError):
        return False


def _check_encoding(config: SlaveConfig, attribute: attrs.Attribute[str], value: str) -> None:
    if not can_encode(value):
        raise ValueError(f"{value!r} is no encoding that Python knows and that contains ASCII")


@record
class SlaveConfig:
    """Who the slave is and how it behaves. Times are in seconds.

    Args:
        host: of the master.
        port: of the master.
        name: of the slave.
        password: of the slave.
        basedir: absolute; the builders' directories lie in it.
        keepalive: between two keepalive calls; 0 for none.
        silence: how long the master may send nothing before the login, or after a keepalive call, until the
            connection is taken for dead.
        connect_timeout: how long opening the connection may take.
        max_delay: most between two attempts.
        max_retries: failed attempts in a row after which the session ends; None for never. The loss of a connection
            over which we were attached is none.
        use_pty: whether commands get a pseudo-terminal when the master leaves it to us.
        encoding: of text that goes to and comes from processes; should be that of the host's file names.
    """

    host: str
    port: int
    name: str
    password: str = attrs.field(repr=False)
    basedir: str
    keepalive: float = 600.0
    silence: float = 120.0
    connect_timeout: float = 30.0
    max_delay: float = 300.0
    max_retries: int | None = None
    use_pty: bool = False
    encoding: str = attrs.field(default="utf-8", validator=_check_encoding)


@record
class HostInfo:
    """What the core cannot look up itself.

    Args:
        environ: the slave's environment.
        system: Python's `os.name`.
        cpus: number of processors.
        release: the entries of `/etc/os-release`.
        version: of the slave program.
    """

    environ: Mapping[str, str]
    system: str
    cpus: int
    release: Mapping[str, str]
    version: str
