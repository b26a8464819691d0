"""What a relay costs: throughput, processor, latency and memory, beside the direct link and a plain pump, in one run.

    python benchmarks/relay.py [--megabytes N]

Prints a table for docs/relay.md. On loopback, on Linux; a pump is the least that a program in Python can do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

GREETING: Final = b"\x02\x80\x02\x82pb\x04\x82none"
CHOICE: Final = b"\x02\x82pb"
ROUND_TRIPS: Final = 2000
IDLE: Final = 400

PUMP: Final = """
import selectors, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d," % listener.getsockname()[1], file=sys.stderr, flush=True)
while True:
    near, _ = listener.accept()
    far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    selector = selectors.DefaultSelector()
    selector.register(near, selectors.EVENT_READ, far)
    selector.register(far, selectors.EVENT_READ, near)
    for end in (near, far):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    left = 2
    while left:
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 18)
            if data:
                key.data.sendall(data)
            else:
                selector.unregister(key.fileobj)
                left -= 1
                try:
                    key.data.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
"""


class Started:
    """A relay or a pump that runs.

    Args:
        arguments: of Python.
    """

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        self.port = int(line.split("listening on ")[1].split(",")[0].rsplit(":", 1)[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Seconds of processor so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def kilobytes(self) -> int:
        """Memory."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])


def serve(talk: Callable[[socket.socket], None]) -> int:
    """Run a master that greets and then does something with each connection; return its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)

    def greet(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(GREETING)
            talk(sock)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=greet, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


def swallow(sock: socket.socket) -> None:
    """Read to the end, and say that it came."""
    block = bytearray(1 << 20)
    while sock.recv_into(block):
        pass
    sock.sendall(b"over")


def echo(sock: socket.socket) -> None:
    """Say back what comes."""
    while data := sock.recv(4096):
        sock.sendall(data)


def join(port: int) -> socket.socket:
    """Connect as a slave does."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.recv(1000)
    sock.sendall(CHOICE)
    return sock


def rate(port: int, programs: Sequence[Started], megabytes: int) -> tuple[float, list[float]]:
    """Return megabytes a second, and milliseconds of processor for each megabyte and program."""
    with join(port) as sock:
        time.sleep(0.2)
        before = [program.seconds for program in programs]
        begun = time.perf_counter()
        block = os.urandom(1_000_000)
        for _ in range(megabytes):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1000):
            pass
        seconds = time.perf_counter() - begun
    used = [program.seconds - was for program, was in zip(programs, before, strict=True)]
    return megabytes / seconds, [each * 1000 / megabytes for each in used]


def round_trip(port: int) -> float:
    """Return the milliseconds of a round trip of 100 bytes, the median."""
    times = []
    with join(port) as sock:
        sock.recv(len(CHOICE))
        for _ in range(ROUND_TRIPS):
            begun = time.perf_counter()
            sock.sendall(b"x" * 100)
            sock.recv(4096)
            times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def idle(port: int, programs: Sequence[Started]) -> list[float]:
    """Return the kilobytes of each program for each slave that says nothing."""
    before = [program.kilobytes for program in programs]
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            sock = stack.enter_context(join(port))
            # A slave and a master that have talked are no strangers.
            sock.sendall(b"x" * 3000)
            left = 3000 + len(CHOICE)
            while left > 0:
                left -= len(sock.recv(4096))
        time.sleep(1)
        return [(program.kilobytes - was) / IDLE for program, was in zip(programs, before, strict=True)]


@contextlib.contextmanager
def chain(to: int) -> Iterator[dict[str, tuple[int, list[Started]]]]:
    """Run a pump, a relay, and a pair of relays to a port; gives their ports and programs by name."""
    relay = ("-m", "slaveproto", "relay", "--listen", "127.0.0.1:0")
    limits = ("--visitors", "2000", "--visitors-per-address", "2000")
    pump = Started("-c", PUMP, str(to))
    far = Started(*relay, "--to", f"127.0.0.1:{to}", *limits)
    near = Started(*relay, "--via", f"127.0.0.1:{far.port}", *limits)
    try:
        yield {
            "direct": (to, []),
            "pump": (pump.port, [pump]),
            "relay": (far.port, [far]),
            "pair of relays": (near.port, [near, far]),
        }
    finally:
        for program in (pump, far, near):
            program.process.kill()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a relay costs.")
    parser.add_argument("--megabytes", type=int, default=200, metavar="N", help="to be sent (default: 200)")
    megabytes: int = parser.parse_args().megabytes
    print("| | MB/s | processor, ms/MB | round trip, ms | memory of an idle slave, KB |")
    print("|---|---|---|---|---|")
    with chain(serve(swallow)) as loaded, chain(serve(echo)) as spoken:
        for name, (port, programs) in loaded.items():
            found = [rate(port, programs, megabytes) for _ in range(3)]
            best = max(found)
            latency = round_trip(spoken[name][0])
            memory = idle(*spoken[name]) if "relay" in name else []
            cells = [
                ", ".join(f"{each:.2f}" for each in best[1]),
                f"{latency:.3f}",
                ", ".join(f"{k:.1f}" for k in memory),
            ]
            print(f"| {name} | {best[0]:.0f} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
