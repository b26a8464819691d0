"""The slaves: ours, all in this process, for ever: `python -m benchmarks.many_slaves.slaves PORT COUNT DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import trio

from benchmarks.many_slaves.fleet import HOST, KEEPALIVE, PASSWORD, allow_many_files, names
from slaveproto.slave import SlaveConfig, SlaveSession
from transports.host.describe import describe_host, jitter
from transports.trio import run_slave


def _ignore(event: object) -> None:
    """Drop an event."""


async def run(port: int, count: int, folder: Path) -> None:
    """Run all slaves."""
    host = describe_host("slaveproto benchmark")
    async with trio.open_nursery() as nursery:
        for name in names(count):
            # The machines of a farm are alike, but not the same.
            environ = {**host.environ, "HOSTNAME": name, "HOME": f"/home/{name}", "PWD": str(folder / name)}
            config = SlaveConfig(
                HOST, port, name, PASSWORD, str(folder / name), keepalive=KEEPALIVE, silence=60.0, max_delay=2.0
            )
            nursery.start_soon(run_slave, SlaveSession(config, attrs.evolve(host, environ=environ), jitter), _ignore)


if __name__ == "__main__":
    allow_many_files()
    trio.run(run, int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
