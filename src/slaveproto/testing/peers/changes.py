"""The real ``buildbot sendchange``, and a server that keeps what it sends."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from slaveproto.testing.peers.install import Kind, install
from slaveproto.testing.peers.processes import environment
from slaveproto.wire import (
    Call,
    Closed,
    Connection,
    Failure,
    Local,
    NeedData,
    Remote,
    Role,
    Value,
    digest,
)

PROGRAM = "import sys; sys.argv[0] = 'buildbot'; from buildbot.scripts.runner import run; run()"
CHALLENGE = b"0123456789abcdef"


@dataclass(frozen=True)
class SentChange:
    """Arguments of ``buildbot sendchange``; an empty one is left out.

    `vc` and `codebase` are known to 4.3 only.
    """

    who: str
    files: Sequence[str] = ()
    branch: str = ""
    revision: str = ""
    category: str = ""
    comments: str = ""
    repository: str = ""
    project: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    when: str = ""
    revlink: str = ""
    vc: str = ""
    codebase: str = ""

    def words(self) -> list[str]:
        """Return the arguments of the program."""
        options = {
            "who": self.who,
            "branch": self.branch,
            "revision": self.revision,
            "category": self.category,
            "comments": self.comments,
            "repository": self.repository,
            "project": self.project,
            "when": self.when,
            "revlink": self.revlink,
            "vc": self.vc,
            "codebase": self.codebase,
        }
        said = [f"--{name}={value}" for name, value in options.items() if value]
        return [*said, *(f"--property={name}:{value}" for name, value in self.properties.items()), *self.files]


def sendchange(
    kind: Kind,
    port: int,
    change: SentChange,
    home: Path,
    *,
    auth: str | None = "change:changepw",
    host: str = "127.0.0.1",
) -> subprocess.CompletedProcess[str]:
    """Run the real program, in `home`; standard error is part of the output.

    Without `auth` the program uses its own default.
    """
    home.mkdir(parents=True, exist_ok=True)
    words = [str(install(kind)), "-W", "ignore", "-c", PROGRAM, "sendchange", f"--master={host}:{port}"]
    if auth is not None:
        words.append(f"--auth={auth}")
    return subprocess.run(
        [*words, *change.words()],
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
    )


class ChangeServer:
    """Takes changes, one connection after the other, and keeps the calls; a context manager.

    Args:
        refusal: the failure that answers `addChange`; None to accept it.
    """

    def __init__(self, refusal: Failure | None = None) -> None:
        self._refusal = refusal
        self.names: list[Value] = []
        """User names that asked to log in."""
        self.minds: list[Value] = []
        """Minds that they gave."""
        self.calls: list[Call] = []
        """Calls after the login."""
        self.errors: list[BaseException] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()
        if self.errors and exc_info[0] is None:
            raise self.errors[0]

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # closed by __exit__
            try:
                with sock:
                    sock.settimeout(30)
                    self._serve(sock)
            except Exception as error:
                self.errors.append(error)

    def _serve(self, sock: socket.socket) -> None:
        root, challenger, avatar = Local("root"), Local("challenger"), Local("perspective")
        connection = Connection(Role.SERVER, root=root)
        while True:
            sock.sendall(connection.data_to_send())
            match connection.next_event():
                case NeedData():
                    if data := sock.recv(65536):
                        connection.receive_data(data)
                    else:
                        connection.receive_eof()
                case Call(target=target, method="login", args=(name,), id=number) if target is root:
                    self.names.append(name)
                    connection.answer(number, (CHALLENGE, challenger))
                case Call(target=target, method="respond", args=(response, mind), id=number) if target is challenger:
                    self.minds.append(mind if not isinstance(mind, Remote) else "remote")
                    if response == digest(b"changepw", CHALLENGE):
                        connection.answer(number, avatar)
                    else:
                        connection.fail(number, Failure("twisted.cred.error.UnauthorizedLogin", ""))
                case Call(target=target, id=number) as call if target is avatar:
                    self.calls.append(call)
                    if self._refusal is None:
                        connection.answer(number, None)
                    else:
                        connection.fail(number, self._refusal)
                case Closed():
                    return
                case _:
                    pass
