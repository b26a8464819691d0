"""The control socket in the state directory, over which `slaveproto trigger` talks to its master in JSON lines.

The program sends `{"trigger": BUILDER, "wait": BOOL, "properties": {NAME: TEXT}}`. The master answers
`{"error": TEXT}`, or `{"request": NUMBER}` once that is stored and, if it was asked to wait,
`{"build": NUMBER, "slave": NAME, "result": WORD}` when the build is over. While it cannot store anything it says
`{"waiting": TEXT}` first.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Final

from slaveproto.ci.errors import UsageError, of_path

SOCKET_NAME: Final = "master.sock"
LONGEST_LINE: Final = 64 * 1024
LONGEST_PATH: Final = 100
"""Bytes; a bit more fit into the address of a Unix socket, how many depends on the system."""


def listen(state_dir: str) -> socket.socket:
    """Open the socket, for us alone. The state directory has to be locked.

    Raises:
        UsageError: it cannot be opened.
        CannotStore: there is no room.
    """
    path = os.path.join(state_dir, SOCKET_NAME)
    server = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with _short(path) as address:
            mask = os.umask(0o177)
            try:
                server.bind(address)
            finally:
                os.umask(mask)
        server.listen()
    except OSError as error:
        server.close()
        raise of_path(error, path) from None
    return server


def connect(state_dir: str) -> socket.socket:
    """Connect to the master of a state directory.

    Raises:
        UsageError: there is none.
    """
    path = os.path.join(state_dir, SOCKET_NAME)
    client = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as address:
            client.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        client.close()
        raise UsageError(f"no master runs in {state_dir}; start it with `slaveproto master`") from None
    except OSError as error:
        client.close()
        raise UsageError(f"{path}: {error.strerror or error}") from None
    return client


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """Give a name that fits into an address. By way of the open folder, which Linux has a short name for."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
