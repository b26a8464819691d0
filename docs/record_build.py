"""Record what our master and a real slave say to each other: login, attaching, one build. For docs/draw_ladder.py.

    python docs/record_build.py old|mid|new

Writes docs/recorded/KIND.jsonl: one line for each piece of bytes, with its direction (m2s or s2m).
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import attrs
import trio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slaveproto.master import DownloadString, MasterConfig, Shell, SlaveAccount, UploadFile
from slaveproto.testing.peers.install import SlaveKind
from slaveproto.testing.peers.slaves import RealSlave
from transports.trio import Master, open_master

ACCOUNT = SlaveAccount("ex", "pw", {"runtests": "runtests"})


@attrs.frozen
class Door:
    """Where the slave knocks: the recorder, in front of the master."""

    port: int
    host: str = "127.0.0.1"
    slaves: dict[str, str] = attrs.field(factory=lambda: {ACCOUNT.name: ACCOUNT.password})


async def record(kind: SlaveKind) -> list[tuple[str, str]]:
    """Run a build and return what went over the wire."""
    lines: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        async with open_master(MasterConfig({ACCOUNT.name: ACCOUNT})) as master, trio.open_nursery() as nursery:

            async def copy(source: trio.SocketStream, target: trio.SocketStream, direction: str) -> None:
                # The first side to hang up ends both.
                with contextlib.suppress(trio.BrokenResourceError):
                    async for data in source:
                        lines.append((direction, data.hex()))
                        await target.send_all(data)
                    await target.send_eof()

            async def relay(slave: trio.SocketStream) -> None:
                upstream = await trio.open_tcp_stream(master.host, master.port)
                async with trio.open_nursery() as both:
                    both.start_soon(copy, slave, upstream, "s2m")
                    both.start_soon(copy, upstream, slave, "m2s")

            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, relay, listeners)
            real = RealSlave(Path(folder) / "slave", Door(listeners[0].socket.getsockname()[1]), "ex", kind=kind)
            await trio.to_thread.run_sync(real.__enter__)
            try:
                await build(master, Path(folder))
            finally:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(real.__exit__, None, None, None)
            nursery.cancel_scope.cancel()
    return lines


async def build(master: Master, folder: Path) -> None:
    """Run the build that is recorded."""
    steps = (
        DownloadString(data=b"hello\n", dest="in.txt"),
        Shell(command=("cat", "in.txt"), log_environ=False, timeout=60),
        UploadFile(src="in.txt", dest=str(folder / "out.txt")),
    )
    slave = await master.wait_attached(ACCOUNT.name)
    async with slave.build("runtests") as running:
        for what in steps:
            async with running.step(what) as step:
                await step.wait()
    await slave.shut_down()


def main() -> int:
    """Record one generation."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("old", "mid", "new"):
        print(f"usage: {sys.argv[0]} old|mid|new", file=sys.stderr)
        return 2
    kind: SlaveKind = sys.argv[1]  # type: ignore[assignment]
    lines = trio.run(record, kind)
    target = Path(__file__).parent / "recorded" / f"{kind}.jsonl"
    target.parent.mkdir(exist_ok=True)
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
