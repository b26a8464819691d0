"""A `SocketMaster` and a `SocketSlave` whose line is a stream that outlives its connections, and that can cut it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import assert_never

from slaveproto.resume.client import ResumingClient
from slaveproto.resume.events import (
    Arrived,
    CarrierBack,
    CarrierLost,
    CarrierOver,
    DialWanted,
    HangUpWanted,
    PlainCame,
    PlainPeer,
    StreamCame,
    StreamOpened,
    StreamOver,
)
from slaveproto.resume.server import ResumingServer
from slaveproto.testing.conformance.harness import CheckSkipped, wait_until
from slaveproto.testing.conformance.socket_master import BLOCK, DEADLINE, MasterSocket, SocketMaster
from slaveproto.testing.conformance.socket_slave import SocketSlave

_RESET = b"\1\0\0\0\0\0\0\0"


def reset(sock: socket.socket) -> None:
    """Close a connection so that its other end meets an error."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()


class LastingMaster(SocketMaster):
    """The master's end of a stream. It waits for a slave that opens one.

    Args:
        listener: the port where it comes.
    """

    def __init__(self, listener: MasterSocket) -> None:
        self._listener = listener
        self._server = ResumingServer(os.urandom(32))
        self._carrier = 0
        self._stream = 0
        self.links = 0
        """Connections that carried the stream."""
        super().__init__(self._accept())
        listener.masters.append(self)
        self.wait_for(lambda: self._stream)

    def __enter__(self) -> LastingMaster:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def cut(self) -> None:
        """Let the connection be lost."""
        reset(self.socket)
        self._server.disconnected(self._carrier, "cut", time.monotonic())
        self._heed()

    def resume(self) -> None:
        """Wait for the slave's next connection, and for its proof."""
        before = self.links
        self.socket = self._accept()
        self._write()
        self.wait_for(lambda: self.links > before)

    def _accept(self) -> socket.socket:
        sock = self._listener.accept_raw()
        self._carrier += 1
        self._server.accepted(self._carrier, time.monotonic())
        return sock

    def flush(self) -> None:
        """Send what the connection has to say over the stream, once there is one."""
        if self._stream:
            self._server.send(self._stream, self.connection.data_to_send())
        self._write()

    def pump(self, timeout: float = DEADLINE) -> None:
        """Wait for bytes and answer what they ask; raises as that of any `SocketMaster`."""
        self.socket.settimeout(timeout)
        data = self.socket.recv(BLOCK)
        self.socket.settimeout(DEADLINE)
        self._server.receive(self._carrier, data, time.monotonic())
        self._heed()
        self.flush()

    def _write(self) -> None:
        while data := self._server.data_to_send(self._carrier):
            self.sent += len(data)
            self.socket.sendall(data)

    def _heed(self) -> None:
        while (event := self._server.next_event()) is not None:
            match event:
                case StreamCame(number):
                    self._stream = number
                    self.links += 1
                case CarrierBack():
                    self.links += 1
                case Arrived(number):
                    data = self._server.take(number)
                    self.received += len(data)
                    self.hear(data)
                case StreamOver():
                    self.end()
                case CarrierOver() | CarrierLost():
                    pass
                case PlainCame():
                    raise AssertionError("the slave opens a stream")
                case _:
                    assert_never(event)


class LastingSlave(SocketSlave):
    """The slave's end of a stream.

    Args:
        port: of the master, at 127.0.0.1.

    Raises:
        CheckSkipped: the master offers no streams.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._client = ResumingClient(os.urandom(32), lambda most: most)
        self.links = 0
        """Connections that carried the stream."""
        super().__init__(self._connect())
        try:
            wait_until(self._opens, expected="the master welcomes a stream")
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> LastingSlave:
        return self

    def cut(self) -> None:
        """Let the connection be lost."""
        reset(self.socket)
        self._client.disconnected("cut", time.monotonic())
        self._heed()

    def resume(self) -> None:
        """Connect again, and prove whose the stream is."""
        before = self.links
        self.socket = self._connect()
        self.wait_for(lambda: self.links > before, "the master welcomes the stream again")

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), DEADLINE)
        self._client.connected(time.monotonic())
        return sock

    @property
    def congested(self) -> bool:
        """Whether so much waits that it should say nothing more."""
        return self._client.stream.congested

    def _opens(self) -> bool:
        self.pump()
        return self._client.stream.begun

    def flush(self) -> None:
        """Send what the connection has to say over the stream, once there is one."""
        if self._client.stream.begun:
            self._client.send(self.data_to_send())
        while data := self._client.data_to_send():
            self.sent += len(data)
            with contextlib.suppress(ConnectionError):
                self.socket.sendall(data)

    def pump(self, timeout: float = DEADLINE) -> None:
        """Wait for bytes and answer what they ask; raises as that of any `SocketSlave`."""
        self.socket.settimeout(timeout)
        data = self.socket.recv(BLOCK)
        self.socket.settimeout(DEADLINE)
        self._client.receive(data, time.monotonic())
        self._heed()
        self.flush()

    def _heed(self) -> None:
        while (event := self._client.next_event()) is not None:
            match event:
                case StreamOpened() | CarrierBack():
                    self.links += 1
                case Arrived():
                    data = self._client.take()
                    self.received += len(data)
                    self.hear(data)
                case StreamOver():
                    self.end()
                case PlainPeer():
                    raise CheckSkipped("the master offers no streams")
                case DialWanted() | HangUpWanted() | CarrierLost():
                    pass
                case _:
                    assert_never(event)
