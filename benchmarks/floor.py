"""The cost of one sign of life in a loop that understands nothing: the least that row 7 can need.

    python benchmarks/floor.py [COUNT ...]

So many connections each send 60 bytes as often as the slaves of row 7, one after the other; the loop answers
with 12. Once that is a bare loop around epoll, once the same loop in a task of trio. Prints CPU microseconds per
message. Runs on Linux.
"""

from __future__ import annotations

import argparse
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.many_slaves.fleet import HOST, KEEPALIVE

QUESTION: Final = b"?" * 60
ANSWER: Final = b"!" * 12
LASTS: Final = 10.0
"""Seconds that a loop is measured."""

SPEAK: Final = "--speak"


class Loop:
    """Answers, and counts what it answered."""

    def __init__(self, connections: list[socket.socket]) -> None:
        self.answered = 0
        self.epoll = select.epoll()
        self._connections = {connection.fileno(): connection for connection in connections}
        for descriptor in self._connections:
            self.epoll.register(descriptor, select.EPOLLIN)

    def turn(self, wait: float) -> None:
        """Answer each connection that is ready."""
        for descriptor, _ in self.epoll.poll(wait):
            connection = self._connections[descriptor]
            if connection.recv(1024):
                connection.send(ANSWER)
                self.answered += 1


def bare(loop: Loop) -> None:
    """Run it as it is."""
    end = time.monotonic() + LASTS
    while time.monotonic() < end:
        loop.turn(0.1)


def under_trio(loop: Loop) -> None:
    """Run it in a task."""

    async def run() -> None:
        with trio.move_on_after(LASTS):
            while True:
                await trio.lowlevel.wait_readable(loop.epoll.fileno())
                loop.turn(0)

    trio.run(run)


LOOPS: Final[tuple[tuple[str, Callable[[Loop], None]], ...]] = (("bare", bare), ("trio", under_trio))


def cost(run: Callable[[Loop], None], count: int) -> float:
    """Return CPU microseconds per message."""
    with connected(count) as connections:
        loop = Loop(connections)
        begun = time.process_time()
        run(loop)
        return (time.process_time() - begun) * 1e6 / loop.answered


@contextmanager
def connected(count: int) -> Iterator[list[socket.socket]]:
    """Have a process that speaks over so many connections."""
    with socket.create_server((HOST, 0), backlog=count) as listener:
        words = [SPEAK, str(listener.getsockname()[1]), str(count)]
        speaker = subprocess.Popen([sys.executable, __file__, *words])
        connections = [listener.accept()[0] for _ in range(count)]
    try:
        yield connections
    finally:
        speaker.kill()
        speaker.wait()
        for connection in connections:
            connection.close()


def speak(port: int, count: int) -> None:
    """Speak over all connections in turns, until killed."""
    connections = [socket.create_connection((HOST, port)) for _ in range(count)]
    due = time.monotonic()
    while True:
        for connection in connections:
            due += KEEPALIVE / count
            time.sleep(max(0.0, due - time.monotonic()))
            connection.send(QUESTION)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == [SPEAK]:
        speak(int(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", metavar="COUNT", nargs="*", type=int, default=[100, 500, 2000], help="connections")
    for count in parser.parse_args().counts:
        costs = "  ".join(f"{name} {cost(run, count):.0f}" for name, run in LOOPS)
        print(f"{count} connections, CPU µs per message:  {costs}", flush=True)


if __name__ == "__main__":
    main()
