"""The cred login of Perspective Broker, both sides, and its digest.

Rules. A login object lives as long as there is a login, knows no time, and looks up no user: the server's asks its
owner by a value (`Credentials`), and its owner answers with `accept` or `refuse`, now or later. The response is
compared in constant time, and as long for a user that does not exist.

Source: manual page, section "Connection"; `twisted/spread/pb.py` and `twisted/cred` for what they answer.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, TypeAlias

from slaveproto.errors import CallFailed, LocalProtocolError, RemoteProtocolError
from slaveproto.machine import Machine
from slaveproto.records import record
from slaveproto.wire.connection import Connection
from slaveproto.wire.events import Answered, Call, Failed
from slaveproto.wire.serving import no_such_method, parameters
from slaveproto.wire.states import LOGIN, SERVER_LOGIN, LoginEvent, LoginState, ServerLoginEvent, ServerLoginState
from slaveproto.wire.values import Failure, Local, Remote

UNAUTHORIZED: Final = "twisted.cred.error.UnauthorizedLogin"

MOST_TRIES: Final = 10
"""Attempts to log in over one connection."""

LONGEST_NAME: Final = 1000
"""Characters of a user name that are looked at."""

LOGIN_METHODS: Final = frozenset({"login", "loginAnonymous"})
"""Methods of the root object that begin an attempt."""

# Every connection has the same one.
_CHALLENGER: Final = Local("challenger")


def digest(password: bytes, challenge: bytes) -> bytes:
    """Return the response to `challenge`: MD5 of the MD5 of the password followed by the challenge, 16 raw bytes."""
    inner = hashlib.md5(password, usedforsecurity=False).digest()
    return hashlib.md5(inner + challenge, usedforsecurity=False).digest()


@record
class LoggedIn:
    """The server accepted; `avatar` is the perspective to call."""

    avatar: Remote


@record
class LoginRefused:
    """The server refused."""

    failure: Failure

    @property
    def unauthorized(self) -> bool:
        """Whether the reason is a wrong name or password, and no other failure."""
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
        """The state of the login."""
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


@record
class Credentials:
    """A client's wish to log in: `accept` or `refuse` it, once its name is looked up.

    Args:
        name: as the client said it, None for an anonymous login; text that is not UTF-8 has its bytes escaped.
        mind: the object that the client lets the server call, None for none.
    """

    name: str | None
    mind: Remote | None


class ServerLogin:
    """The login of one client.

    Calls of the root object and of the challenger belong to it, see `concerns`.

    Args:
        connection: the server's end of the connection.
        root: the object that the connection publishes.
        seed: random bytes of which the challenges are made.
    """

    # A master has thousands.
    __slots__ = (
        "_call",
        "_challenge",
        "_connection",
        "_machine",
        "_mind",
        "_name",
        "_response",
        "_root",
        "_seed",
        "_tries",
    )

    def __init__(self, connection: Connection, root: Local, seed: bytes) -> None:
        self._connection = connection
        self._root = root
        self._seed = seed
        self._machine = Machine(SERVER_LOGIN)
        self._tries = 0
        self._name: str | None = None
        self._challenge = b""
        self._response = b""
        self._call: int | None = None
        self._mind: Remote | None = None

    @property
    def state(self) -> ServerLoginState:
        """The state of the login."""
        return self._machine.state

    @property
    def name(self) -> str | None:
        """The user name of the last attempt, as the client said it; None before the first, and for an anonymous one."""
        return self._name

    @property
    def challenge(self) -> bytes:
        """The last challenge, 16 bytes; empty before the first."""
        return self._challenge

    def concerns(self, call: Call) -> bool:
        """Whether `call` belongs to the login."""
        return call.target is self._root or call.target is _CHALLENGER

    def handle(self, call: Call) -> Credentials | None:
        """Take a call; the credentials if the client now waits for `accept` or `refuse`. Its mind is yours then.

        Raises:
            CallFailed: the call cannot be carried out; nothing was answered.
            RemoteProtocolError: it is not possible now, or one attempt too many.
        """
        if call.target is _CHALLENGER:
            return self._respond(call)
        match call.method:
            case "login":
                self._give_challenge(call)
                return None
            case "loginAnonymous":
                return self._anonymous(call)
            case _:
                raise no_such_method(call)

    def check(self, password: bytes | None) -> bool:
        """Whether the response is that of `password`; None, for a user that does not exist, takes as long."""
        right = hmac.compare_digest(digest(password or b"", self._challenge), self._response)
        return right and password is not None

    def accept(self, perspective: Local) -> None:
        """Answer the login with a perspective.

        Raises:
            LocalProtocolError: no client waits for it.
        """
        self._machine.fire(ServerLoginEvent.ACCEPT)
        self._connection.answer(self._take_call(), perspective)
        self._mind = None

    def refuse(self, failure: Failure) -> None:
        """Answer the login with a failure, and give the client's mind back; it may try again.

        Raises:
            LocalProtocolError: no client waits for it.
        """
        self._machine.fire(ServerLoginEvent.REFUSE)
        self._connection.fail(self._take_call(), failure)
        mind, self._mind = self._mind, None
        if mind is not None and self._connection.owns(mind):
            self._connection.release(mind)

    def _take_call(self) -> int:
        call, self._call = self._call, None
        assert call is not None
        return call

    def _give_challenge(self, call: Call) -> None:
        (name,) = parameters(call, "username")
        if not isinstance(name, (bytes, str)):
            raise CallFailed("builtins.TypeError", "the user name is a string")
        self._try(ServerLoginEvent.LOGIN)
        name = name[: 4 * LONGEST_NAME]
        text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
        self._name = text[:LONGEST_NAME]
        self._challenge = hashlib.sha256(self._seed + self._tries.to_bytes(4, "big")).digest()[:16]
        self._connection.answer(call.id, (self._challenge, _CHALLENGER))

    def _respond(self, call: Call) -> Credentials:
        if call.method != "respond":
            raise no_such_method(call)
        response, mind = parameters(call, "response", "mind")
        self._machine.fire(ServerLoginEvent.RESPOND)
        self._call = call.id
        self._response = response if isinstance(response, bytes) else b""
        self._mind = mind if isinstance(mind, Remote) else None
        return Credentials(self._name, self._mind)

    def _anonymous(self, call: Call) -> Credentials:
        self._try(ServerLoginEvent.ANONYMOUS)
        self._name = None
        self._call = call.id
        # By position or by name; a client without one may leave it out.
        mind = call.kwargs.get("mind", call.args[0] if call.args else None)
        self._mind = mind if isinstance(mind, Remote) else None
        return Credentials(None, self._mind)

    def _try(self, event: ServerLoginEvent) -> None:
        self._machine.fire(event)
        self._tries += 1
        if self._tries > MOST_TRIES:
            raise RemoteProtocolError(f"tried to log in more than {MOST_TRIES} times")
