"""The slave inside the program, for build files that name none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

from slaveproto import __version__
from slaveproto.ci.errors import UsageError
from slaveproto.ci.file.build_file import LOCAL, BuildFile
from slaveproto.slave.config import HostInfo, SlaveConfig
from slaveproto.slave.events import AttachRefused, Detached, SlaveEvent, Stopped
from slaveproto.slave.session import SlaveSession
from transports.host.describe import describe_host, jitter
from transports.trio import run_slave

ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def most_builds(file: BuildFile) -> dict[str, int | None]:
    """Return how many builds each slave may run at a time; the embedded one as many as there are processors."""
    return {slave.name: slave.max_builds for slave in file.slaves.values()} or {LOCAL: os.cpu_count() or 1}


async def run_embedded(
    file: BuildFile, host: str, port: int, password: str, on_event: Callable[[SlaveEvent], None]
) -> None:
    """Run the embedded slave until it is cancelled. Its base directory is `slave` in the state directory.

    Args:
        file: the build file.
        host: where the master listens.
        port: likewise.
        password: that the master knows.
        on_event: is told what happens.

    Raises:
        UsageError: the base directory cannot be made.
    """
    basedir = os.path.join(file.master.state_dir, "slave")
    try:
        os.makedirs(basedir, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{basedir}: {error.strerror}") from None
    config = SlaveConfig(
        host=ANY_ADDRESS.get(host, host), port=port, name=LOCAL, password=password, basedir=basedir, max_delay=1.0
    )
    context = None
    if file.master.tls_cert is not None:
        from transports.host.tls import client_context

        # It is our own certificate that has to be there, whatever its name and its signature.
        context = client_context(ca=file.master.tls_cert, check_name=False)
    await run_slave(SlaveSession(config, _host(), jitter), on_event, ssl_context=context)


def is_worth_telling(event: SlaveEvent) -> bool:
    """Whether people should hear of it even though the slave is only a part of the program."""
    return isinstance(event, Detached | AttachRefused | Stopped)


def _host() -> HostInfo:
    """Describe this host. What is called `python3` is the interpreter that runs us, wherever there is such a name."""
    host = describe_host(f"slaveproto {__version__}")
    path = os.pathsep.join((os.path.dirname(sys.executable), host.environ.get("PATH", os.defpath)))
    return HostInfo({**host.environ, "PATH": path}, host.system, host.cpus, host.release, host.version)
