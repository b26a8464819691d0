"""What a service manager is told, by a socket that listens as it does."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from transports.host.service_manager import Heartbeat, ServiceManager

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such sockets")


@pytest.fixture(params=["path", "abstract"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("Linux has names that are no files")
    return f"{tmp_path}/notify" if request.param == "path" else f"@{tmp_path}"


@pytest.fixture
def manager(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        manager.setblocking(False)
        yield manager


def test_messages(name: str, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": name, "PATH": "/bin"}
    program = ServiceManager(environ)
    assert environ == {"PATH": "/bin"}, "no child is to speak for us"
    assert program.heartbeat is None
    program.say("connecting")
    program.ready("attached")
    program.stopping("leaving", 600.5)
    program.stopping("stopping")
    assert [manager.recv(999) for _ in range(4)] == [
        b"STATUS=connecting",
        b"READY=1\nSTATUS=attached",
        b"STOPPING=1\nSTATUS=leaving\nEXTEND_TIMEOUT_USEC=600500000",
        b"STOPPING=1\nSTATUS=stopping",
    ]


@pytest.mark.parametrize(
    ("microseconds", "pid", "beats"),
    [("10000000", "", True), ("10000000", "ours", True), ("10000000", "1", False), ("0", "", False),
     ("often", "", False), ("-5", "", False)],
)  # fmt: skip
def test_signs_of_life(name: str, manager: socket.socket, microseconds: str, pid: str, beats: bool) -> None:
    environ = {
        "NOTIFY_SOCKET": name,
        "WATCHDOG_USEC": microseconds,
        "WATCHDOG_PID": str(os.getpid()) if pid == "ours" else pid,
    }
    heartbeat = ServiceManager(environ).heartbeat
    assert environ == {}
    assert (heartbeat is not None) == beats
    if heartbeat is not None:
        assert heartbeat.look(100.0) == 5.0
        assert manager.recv(999) == b"WATCHDOG=1"


def test_heart_that_beats_as_often_as_it_is_looked_at_but_not_more_often_than_it_should() -> None:
    beats: list[None] = []
    heart = Heartbeat(lambda: beats.append(None), 5.0)
    assert [(heart.look(now), len(beats)) for now in (0.0, 1.0, 4.5, 5.0, 30.0, 31.0)] == [
        (5.0, 1), (4.0, 1), (0.5, 1), (5.0, 2), (5.0, 3), (4.0, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "address", ["", "/nowhere/at/all", "vsock:2:1234", "x" * 200, "/" + "x" * 200, "@" + "x" * 200]
)
def test_manager_that_cannot_be_reached_is_none(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "5"}).ready("attached")


def test_manager_that_does_not_read_holds_up_nothing(name: str, manager: socket.socket) -> None:
    program = ServiceManager({"NOTIFY_SOCKET": name})
    for _ in range(10_000):
        program.say("again " * 100)
    assert manager.recv(999).startswith(b"STATUS=again")
