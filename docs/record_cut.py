"""Record what two relays say to each other while their link is cut in a build. For docs/draw_cut.py.

    python docs/record_cut.py

A real buildslave 0.8.4 is beside one relay, our master beside the other. Writes docs/recorded/cut.jsonl: a line for
each piece of bytes, with the number of the connection and its direction (n2f or f2n), and one for the cut.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record_build import ACCOUNT, Door

from slaveproto.master import MasterConfig, Shell
from slaveproto.testing.peers.slaves import RealSlave
from transports.trio import open_master

TARGET: Final = Path(__file__).parent / "recorded" / "cut.jsonl"
AFTER: Final = 2.0
"""Seconds of the build until the cut."""

AWAY: Final = 3.0
"""Seconds in which connections are refused after it."""

COMMAND: Final = "for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 1; done"


@contextlib.contextmanager
def relay(*arguments: str) -> Iterator[int]:
    """Run a relay; gives its port."""
    command = [sys.executable, "-m", "slaveproto", "relay", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            yield int(line.partition("127.0.0.1:")[2].split()[0].rstrip(",;:"))
        finally:
            process.kill()


class Link:
    """The link between the relays: passes bytes on and writes them down.

    Args:
        port: of the far relay.
    """

    def __init__(self, port: int) -> None:
        self.lines: list[tuple[int, str, str]] = []
        self._port = port
        self._connections = 0
        self._scopes: list[trio.CancelScope] = []
        self._refusing = False

    async def cut(self) -> None:
        """Cut what there is, and refuse what comes for a while."""
        self._refusing = True
        self.lines.append((self._connections, "cut", ""))
        for scope in self._scopes:
            scope.cancel()
        await trio.sleep(AWAY)
        self._refusing = False

    async def carry(self, near: trio.SocketStream) -> None:
        """Carry one connection."""
        if self._refusing:
            await trio.aclose_forcefully(near)
            return
        self._connections += 1
        far = await trio.open_tcp_stream("127.0.0.1", self._port)
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            async with trio.open_nursery() as both:
                both.start_soon(self._copy, near, far, self._connections, "n2f")
                both.start_soon(self._copy, far, near, self._connections, "f2n")
        for stream in (near, far):
            # A link that breaks says no farewell.
            with contextlib.suppress(OSError):
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await trio.aclose_forcefully(stream)

    async def _copy(self, source: trio.SocketStream, target: trio.SocketStream, number: int, direction: str) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in source:
                self.lines.append((number, direction, data.hex()))
                await target.send_all(data)
            await target.send_eof()


async def record() -> list[tuple[int, str, str]]:
    """Run a build over a link that is cut, and return what went over it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        async with open_master(MasterConfig({ACCOUNT.name: ACCOUNT})) as master, trio.open_nursery() as nursery:
            link = Link(stack.enter_context(relay("--to", f"127.0.0.1:{master.port}")))
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, link.carry, listeners)
            port = listeners[0].socket.getsockname()[1]
            near = await trio.to_thread.run_sync(stack.enter_context, relay("--via", f"127.0.0.1:{port}"))
            real = RealSlave(Path(folder) / "slave", Door(near), ACCOUNT.name, kind="old")
            await trio.to_thread.run_sync(real.__enter__)
            try:
                slave = await master.wait_attached(ACCOUNT.name)
                async with slave.build("runtests") as build, build.step(Shell(command=COMMAND)) as step:
                    await trio.sleep(AFTER)
                    nursery.start_soon(link.cut)
                    await step.wait()
                print(build.result)
                await slave.shut_down()
                await trio.sleep(1)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(real.__exit__, None, None, None)
            nursery.cancel_scope.cancel()
    return link.lines


def main() -> int:
    """Record one cut."""
    lines = trio.run(record)
    TARGET.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
