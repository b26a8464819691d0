"""The cred login of Perspective Broker, client side, and its digest."""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import attrs

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Answered, Failed
from slaveproto.wire.states import LOGIN, LoginEvent, LoginState
from slaveproto.wire.values import Failure, Local, Remote

UNAUTHORIZED = "twisted.cred.error.UnauthorizedLogin"


def digest(password: bytes, challenge: bytes) -> bytes:
    """Return the response to `challenge`: MD5 of the MD5 of the password followed by the challenge, 16 raw bytes."""
    inner = hashlib.md5(password, usedforsecurity=False).digest()
    return hashlib.md5(inner + challenge, usedforsecurity=False).digest()


@attrs.frozen
class LoggedIn:
    """The server accepted; `avatar` is the perspective to call."""

    avatar: Remote


@attrs.frozen
class LoginRefused:
    """The server refused. `unauthorized` tells a wrong name or password from any other failure."""

    failure: Failure

    @property
    def unauthorized(self) -> bool:
        return self.failure.is_a(UNAUTHORIZED)


LoginOutcome: TypeAlias = LoggedIn | LoginRefused


class ClientLogin:
    """Logs in over a connection that is open.

    Args:
        connection: the connection; its `Answered` and `Failed` events go to `handle`.
        name: the user name.
        password: the password.
        mind: the object of ours that the server may call from now on, None for none.
    """

    def __init__(self, connection: Connection, name: bytes, password: bytes, mind: Local | None) -> None:
        self._connection = connection
        self._password = password
        self._mind = mind
        self._machine = Machine(LOGIN)
        self._machine.fire(LoginEvent.ASK)
        self._pending = connection.call(connection.root, "login", (name,))

    @property
    def state(self) -> LoginState:
        """Where the login is."""
        return self._machine.state

    def concerns(self, event: Answered | Failed) -> bool:
        """Whether `event` ends the call that the login waits for."""
        return event.id == self._pending

    def handle(self, event: Answered | Failed) -> LoginOutcome | None:
        """Take the end of the login's pending call; None means that the login goes on.

        Raises:
            LocalProtocolError: `event` ends another call than the one that the login waits for.
            RemoteProtocolError: the server answered with something that is no challenge or no perspective.
        """
        if not self.concerns(event):
            raise LocalProtocolError(f"the login does not wait for call {event.id}")
        if isinstance(event, Failed):
            self._machine.fire(LoginEvent.REFUSE)
            return LoginRefused(event.failure)
        if self._machine.state is LoginState.ASKED:
            match event.value:
                case (bytes() as challenge, Remote() as challenger):
                    self._machine.fire(LoginEvent.CHALLENGE)
                    response = digest(self._password, challenge)
                    self._pending = self._connection.call(challenger, "respond", (response, self._mind))
                    self._connection.release(challenger)
                    return None
                case _:
                    raise RemoteProtocolError("the answer to login is no challenge")
        if not isinstance(event.value, Remote):
            raise RemoteProtocolError("the answer to the login is no perspective")
        self._machine.fire(LoginEvent.ACCEPT)
        return LoggedIn(event.value)
