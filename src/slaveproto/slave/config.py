"""What a slave is told about itself and about its host."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
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
        max_retries: failed attempts in a row after which the session ends; None for never.
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
    encoding: str = "utf-8"


@attrs.frozen
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
