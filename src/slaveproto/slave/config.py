"""The configuration of a slave, and facts about its host."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from slaveproto.commands.listed_variables import is_listed
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
    """The configuration of a slave. Times are in seconds.

    Args:
        host: the master's host.
        port: the master's port.
        name: the slave's name.
        password: the slave's password.
        basedir: the directory of the builders' directories, absolute.
        keepalive: the time without a byte of the master's after which a keepalive call asks for one; 0 for never.
        silence: the time that the master may then still send nothing, counted from the arrival of the call, until it is
            taken for dead.
        login_silence: the time that the master may send nothing before the login is answered.
        connect_timeout: the time that opening the connection may take.
        max_delay: the longest time between two attempts; if it is less than a minute, after a refused login, too.
        max_retries: failed attempts in a row after which the session ends; None for never. The loss of a connection
            on which the slave was attached does not count.
        use_pty: whether commands get a pseudo-terminal if the master leaves the choice to the slave.
        max_builds: builds after which the slave asks the master to let it go; None for any number.
        idle_exit: the time without a command and a new build after which it does so; None for never.
        kill_leftovers: whether what a command started and left behind is killed when the command ends by itself, unless
            the master decides that.
        encoding: the encoding of text from and for processes; should be that of the host's file names.
        send_environment: the variables of its environment that the master is told: `listed`, those of
            `slaveproto.commands.listed_variables`; `all`; or the names of others besides those that are listed.
        numcpus: the number of processors that the master is told; None for those of the host.
        delete_leftover_dirs: whether directories in the base directory that belong to no builder are removed when the
            master lists its builders.
    """

    host: str
    port: int
    name: str
    password: str = attrs.field(repr=False)
    basedir: str
    # A second more than our master's, so that its question serves both sides.
    keepalive: float = 6.0
    silence: float = 52.0
    login_silence: float = 120.0
    connect_timeout: float = 30.0
    max_delay: float = 300.0
    max_retries: int | None = None
    use_pty: bool = False
    max_builds: int | None = None
    idle_exit: float | None = None
    kill_leftovers: bool = False
    encoding: str = attrs.field(default="utf-8", validator=_check_encoding)
    numcpus: int | None = None
    delete_leftover_dirs: bool = False
    send_environment: str | tuple[str, ...] = "listed"

    def tells(self, name: str) -> bool:
        """Whether the master is told the variable of that name."""
        if isinstance(self.send_environment, tuple):
            return is_listed(name) or name in self.send_environment
        return self.send_environment == "all" or is_listed(name)


@record
class HostInfo:
    """Facts about the host, which the core cannot look up itself.

    Args:
        environ: the slave's environment.
        system: Python's `os.name`.
        cpus: number of processors.
        release: the entries of `/etc/os-release`.
        version: the version of the slave program.
    """

    environ: Mapping[str, str]
    system: str
    cpus: int
    release: Mapping[str, str]
    version: str
