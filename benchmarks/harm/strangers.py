"""Promises 3 and 15: strangers at a master's port, slaves that bring too much, and a reader that is slow.

The strangers are threads of this program, all of one address. The slave that they should not keep out has another one
where that is the harm (Linux has all of 127.0.0.0/8), and is of the master's own release.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import trio

from benchmarks.harm.rows import KINDS, DoHarm, Row, Side
from slaveproto.limits import Limits
from slaveproto.master import MasterConfig, Shell, SlaveAccount
from slaveproto.testing.peers import MatchingSlave, OurMaster, OurSlave, RealMaster, SlaveProgram
from slaveproto.wire import ClientLogin, Connection, Local, LoginRefused
from slaveproto.wire.banana import NEED_DATA, Encodable, encode
from slaveproto.wire.connection import Role
from slaveproto.wire.events import Answered, Failed, Opened
from transports.trio.master import Build, open_master

STRANGERS: Final = "127.0.0.77"
LIMIT: Final = 30.0
FILE: Final = """[master]
listen = "127.0.0.1:9989"
[[slave]]
name = "s"
password = "p"
[[builder]]
name = "first"
slaves = ["s"]
[[builder.step]]
shell = "SHELL"
[[builder.step]]
shell = "true"
[[builder.step]]
shell = "true"
"""

Master = OurMaster | RealMaster


def _master(side: Side, folder: Path, shell: str = "true") -> Master:
    if side is Side.OURS:
        return OurMaster(folder / "master", FILE.replace("SHELL", shell))
    return RealMaster(KINDS[side], folder / "master", ["first"], slaves={"s": "p"})


def _slave(master: Master, folder: Path) -> SlaveProgram:
    if isinstance(master, OurMaster):
        return OurSlave(folder / "slave", master, "s")
    return MatchingSlave(folder / "slave", master, "s")


def _build(master: Master) -> float:
    """Return the seconds that a build of three steps takes."""
    begun = time.monotonic()
    if isinstance(master, OurMaster):
        call = [sys.executable, "-m", "slaveproto", "trigger", "--wait", str(master.file), "first"]
        subprocess.run(call, check=True, capture_output=True)
    else:
        master.build("first", LIMIT)
    return time.monotonic() - begun


def _words(messages: Sequence[Encodable]) -> bytes:
    return b"".join(encode(message, vocabulary=True, limits=Limits()) for message in messages)


NEGOTIATED: Final = encode(b"pb", vocabulary=False, limits=Limits())
VERSIONS: Final = _words([[b"version", 6]]) * 10_000
CALLS: Final = _words(
    [[b"message", number, b"root", b"x" * 200, 1, [b"tuple"], [b"dictionary"]] for number in range(200)]
)


@contextlib.contextmanager
def _plague(do: Callable[[threading.Event], None], count: int = 1) -> Iterator[None]:
    """Let strangers do something in threads as long as the block lasts."""
    over = threading.Event()
    threads = [threading.Thread(target=do, args=(over,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _idle(port: int, over: threading.Event) -> None:
    """Hold 600 connections that say nothing, and renew those that are closed."""
    held: list[socket.socket] = []
    while not over.wait(0.05):
        for sock in list(held):
            with contextlib.suppress(BlockingIOError):
                try:
                    closed = not sock.recv(1000)
                except ConnectionError:
                    closed = True
                if closed:
                    held.remove(sock)
                    sock.close()
        while len(held) < 600 and not over.is_set():
            sock = socket.create_connection(("127.0.0.1", port), 10, source_address=(STRANGERS, 0))
            sock.setblocking(False)
            held.append(sock)
    for sock in held:
        sock.close()


def _talk(port: int, words: bytes, over: threading.Event) -> None:
    """Say words that mean nothing for ever, on a new connection when one is closed."""
    while not over.is_set():
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.settimeout(0.5)
            sock.bind((STRANGERS, 0))
            sock.connect(("127.0.0.1", port))
            sock.sendall(NEGOTIATED)
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    sock.sendall(words)
                    if not sock.recv(100_000):
                        break


def _kept_out(side: Side, folder: Path) -> str:
    with _master(side, folder) as master, _plague(lambda over: _idle(master.port, over)):
        time.sleep(3)
        begun = time.monotonic()
        with _slave(master, folder) as slave:
            try:
                slave.wait_attached(timeout=LIMIT)
            except TimeoutError:
                return f"not within {LIMIT:g} s"
            return f"{time.monotonic() - begun:.1f} s"


def _busy(side: Side, folder: Path) -> str:
    with _master(side, folder) as master, _slave(master, folder) as slave:
        slave.wait_attached()
        alone = statistics.median(_build(master) for _ in range(3))
        with _plague(lambda over: _talk(master.port, VERSIONS, over), 20):
            time.sleep(3)
            try:
                among = f"{statistics.median(_build(master) for _ in range(3)):.1f} s"
            except TimeoutError:
                among = f"not within {LIMIT:g} s"
        return f"{alone:.1f} s, then {among}"


def _noisy(side: Side, folder: Path) -> str:
    with _master(side, folder) as master:
        log = master.directory / "stdio.log"
        before = log.stat().st_size
        with _plague(lambda over: _talk(master.port, CALLS, over)):
            time.sleep(5)
        return f"{(log.stat().st_size - before) / 1000:.1f} KB"


def _try(port: int, password: bytes) -> bool | None:
    """Return whether a password of the slave is let in, None if the connection is closed before that is said.

    A master that accepts it asks the bot of this client, and waits for its answer: so it is let in, too.
    """
    connection = Connection(Role.CLIENT)
    login: ClientLogin | None = None
    with socket.create_connection(("127.0.0.1", port), 10) as sock, contextlib.suppress(ConnectionError):
        while True:
            try:
                data = sock.recv(100_000)
            except TimeoutError:
                return True
            if not data:
                break
            connection.receive_data(data)
            while (event := connection.next_event()) is not NEED_DATA:
                if isinstance(event, Opened):
                    login = ClientLogin(connection, b"s", password, Local("bot"))
                elif isinstance(event, Answered | Failed) and login is not None and login.concerns(event):
                    outcome = login.handle(event)
                    if outcome is not None:
                        return not isinstance(outcome, LoginRefused)
            sock.sendall(connection.data_to_send())
    return None


def _guessed(side: Side, folder: Path) -> str:
    with _master(side, folder) as master:
        end = time.monotonic() + 5
        tries = answered = 0
        while time.monotonic() < end:
            answered += _try(master.port, b"%d" % tries) is not None
            tries += 1
        found = {True: "let in", False: "refused", None: "closed at once"}[_try(master.port, b"p")]
        return f"{tries / 5:.0f} a second, {answered / 5:.0f} answered; then the right one: {found}"


def _large_log(side: Side, folder: Path) -> str:
    with _master(side, folder, "yes | head -c 400000000") as master, _slave(master, folder) as slave:
        slave.wait_attached()
        _build(master)
        logs = (master.directory / ".slaveproto" / "logs").rglob("*stdio.log")
        return f"{sum(log.stat().st_size for log in logs) / 1e6:.0f} MB"


class _Address:
    """A master of this program, for slaves that are programs."""

    host = "127.0.0.1"
    slaves: Final = {"s": "p"}

    def __init__(self, port: int) -> None:
        self.port = port


def _slow_reader(side: Side, folder: Path) -> str:
    return f"{trio.run(_count_others, folder)} builds"


async def _count_others(folder: Path) -> int:
    account = SlaveAccount("s", "p", {"slow": "slow", "quick": "quick"})
    async with open_master(MasterConfig({"s": account})) as master:
        with OurSlave(folder / "slave", _Address(master.port), "s"):
            slave = await master.wait_attached("s")
            done = 0
            async with slave.build("slow") as slow, slow.step(Shell(command="yes")) as step:
                await step.__anext__()
                with trio.move_on_after(20):
                    while True:
                        async with slave.build("quick") as build:
                            await _run(build)
                        done += 1
        return done


async def _run(build: Build) -> None:
    async with build.step(Shell(command="echo hello")) as step:
        async for _ in step:
            pass


def _row(promise: int, title: str, do: DoHarm, *sides: Side) -> Row:
    return Row(promise, title, do, sides or tuple(Side))


ROWS: Final = (
    _row(3, "600 idle connections of another address, renewed: a new slave is attached after", _kept_out),
    _row(3, "20 connections that say `version` for ever: a build before, and meanwhile", _busy),
    _row(3, "one stranger makes senseless calls for 5 s: the log grows by", _noisy),
    _row(3, "one client tries wrong passwords for 5 s", _guessed),
    _row(3, "a step writes 400 MB: its log has", _large_log, Side.OURS),
    _row(15, "a step is not read for 20 s: meanwhile another builder of its slave does", _slow_reader, Side.OURS),
)
