"""A link between real peers with a mender in it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

from slaveproto.errors import RemoteProtocolError
from slaveproto.mend import Mender, MendEvent, Side
from slaveproto.testing.peers.master import RealMaster

_PIECE: Final = 256 * 1024


class MendingLink:
    """A port that leads to a master, with a mender in each connection; a context manager that listens when entered.

    Attributes:
        events: what the menders told, in all connections.
    """

    host = "127.0.0.1"

    def __init__(self, master: RealMaster) -> None:
        self._target = (master.host, master.port)
        self.slaves: Mapping[str, str] = master.slaves
        self.events: list[MendEvent] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                slave, _ = self._listener.accept()
            except OSError:
                return
            try:
                master = socket.create_connection(self._target, 10)
            except OSError:
                slave.close()
                continue
            self._sockets += (slave, master)
            thread = threading.Thread(target=self._carry, args=({Side.MASTER: master, Side.SLAVE: slave},), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, sockets: Mapping[Side, socket.socket]) -> None:
        try:
            with suppress(OSError, RemoteProtocolError):
                self._pump(sockets)
        finally:
            for one in sockets.values():
                one.close()

    def _pump(self, sockets: Mapping[Side, socket.socket]) -> None:
        mender = Mender()
        with selectors.DefaultSelector() as selector:
            for side, one in sockets.items():
                selector.register(one, selectors.EVENT_READ, side)
            while True:
                for key, _ in selector.select():
                    data = sockets[key.data].recv(_PIECE)
                    if not data:
                        return
                    try:
                        mender.receive(key.data, data)
                    finally:
                        for side, one in sockets.items():
                            one.sendall(mender.data_to_send(side))
                        while (event := mender.next_event()) is not None:
                            self.events.append(event)
