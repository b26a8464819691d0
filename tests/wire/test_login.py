"""The login: its digest against both Twisteds, and each way it can go."""

from __future__ import annotations

from typing import Any

import pytest

from slaveproto.errors import LocalProtocolError, RemoteProtocolError
from slaveproto.wire import (
    Answered,
    Call,
    ClientLogin,
    Connection,
    Failed,
    Failure,
    Local,
    LoggedIn,
    LoginRefused,
    Opened,
    Remote,
    Role,
    Value,
    digest,
)
from slaveproto.wire.states import LoginState
from tests.wire.support import events, rows


@pytest.mark.parametrize(("generator", "name", "vector"), rows("login"))
def test_digest(generator: str, name: str, vector: dict[str, Any]) -> None:
    assert vector["accepted_by_server"]
    response = digest(bytes.fromhex(vector["password_hex"]), bytes.fromhex(vector["challenge_hex"]))
    assert response == bytes.fromhex(vector["response_hex"])


class Attempt:
    """A client that logs in, and the server that it talks to."""

    def __init__(self, mind: Local | None = None) -> None:
        self.root = Local("root")
        self.server = Connection(Role.SERVER, root=self.root)
        self.client = Connection(Role.CLIENT)
        assert events(self.client, self.server.data_to_send()) == [Opened("pb")]
        self.login = ClientLogin(self.client, b"alice", b"sesame", mind)
        assert events(self.server, self.client.data_to_send())[0] == Opened("pb")

    def state(self) -> LoginState:
        return self.login.state

    def calls(self) -> list[Call]:
        """Return the calls that reached the server and are not answered."""
        happened = events(self.server, self.client.data_to_send())
        return [event for event in happened if isinstance(event, Call)]

    def end(self, number: int, value: Value | Failure) -> Answered | Failed:
        """Answer a call and return what the client learns of it."""
        if isinstance(value, Failure):
            self.server.fail(number, value)
        else:
            self.server.answer(number, value)
        event = events(self.client, self.server.data_to_send())[-1]
        assert isinstance(event, (Answered, Failed))
        assert self.login.concerns(event)
        return event

    def challenge(self) -> Call:
        """Send a challenge and return the client's response to it."""
        self.challenger = Local("challenger")
        assert self.login.handle(self.end(1, (b"0123456789abcdef", self.challenger))) is None
        (call,) = self.calls()
        return call


REFUSAL = Failure("twisted.cred.error.UnauthorizedLogin", "")


def test_accepted() -> None:
    mind = Local("mind")
    attempt = Attempt(mind)
    assert attempt.state() is LoginState.ASKED
    call = attempt.challenge()
    assert attempt.state() is LoginState.ANSWERED
    assert (call.target, call.method, call.kwargs) == (attempt.challenger, "respond", {})
    response, theirs = call.args
    assert response == digest(b"sesame", b"0123456789abcdef")
    assert isinstance(theirs, Remote)
    assert attempt.client.exported == {mind: 1}
    # The challenger was given back at once.
    assert attempt.server.exported == {}
    avatar = Local("avatar")
    outcome = attempt.login.handle(attempt.end(call.id, avatar))
    assert isinstance(outcome, LoggedIn)
    assert attempt.state() is LoginState.IN
    attempt.client.call(outcome.avatar, "hello")
    assert attempt.calls()[0].target is avatar


def test_without_a_mind() -> None:
    attempt = Attempt()
    assert attempt.challenge().args[1] is None
    assert attempt.client.exported == {}


def test_the_name_and_the_order_of_messages() -> None:
    client = Connection(Role.CLIENT)
    events(client, Connection(Role.SERVER, root=Local("root")).data_to_send())
    client.data_to_send()
    login = ClientLogin(client, b"password", b"list", None)
    # Both are words of the vocabulary.
    assert client.data_to_send().hex() == "07801a8701810482726f6f741487018102800b87158701800587"
    (event,) = events(client, bytes.fromhex("03801b87018103800b87018278028010870181"))
    assert isinstance(event, Answered)
    login.handle(event)
    response = digest(b"list", b"x").hex()
    assert client.data_to_send().hex() == (
        "07801a87028101810782726573706f6e64018103800b871082" + response + "01800187" + "01800587" + "02801d870181"
    )


@pytest.mark.parametrize("failure", [REFUSAL, Failure("twisted.cred.error.LoginDenied", "no"), Failure("a.B", "")])
@pytest.mark.parametrize("late", [False, True])
def test_refused(late: bool, failure: Failure) -> None:
    attempt = Attempt()
    number = attempt.challenge().id if late else 1
    outcome = attempt.login.handle(attempt.end(number, failure))
    assert isinstance(outcome, LoginRefused)
    assert outcome.failure.kind == failure.kind
    assert outcome.unauthorized == (failure is REFUSAL)
    assert attempt.state() is LoginState.REFUSED
    # The connection is as good as before.
    assert attempt.client.is_open
    ClientLogin(attempt.client, b"alice", b"other", None)
    assert attempt.calls()[0].method == "login"


@pytest.mark.parametrize("value", [None, b"x", (b"x",), (b"x", None), ("x", Local("c")), (Local("c"), b"x"),
                                   (b"x", Local("c"), 1)])  # fmt: skip
def test_what_is_no_challenge(value: Value) -> None:
    attempt = Attempt()
    event = attempt.end(1, value)
    with pytest.raises(RemoteProtocolError, match="no challenge"):
        attempt.login.handle(event)
    assert attempt.state() is LoginState.ASKED
    assert attempt.calls() == []


@pytest.mark.parametrize("value", [None, 5, [Local("a")], b"in"])
def test_what_is_no_perspective(value: Value) -> None:
    attempt = Attempt()
    event = attempt.end(attempt.challenge().id, value)
    with pytest.raises(RemoteProtocolError, match="no perspective"):
        attempt.login.handle(event)
    assert attempt.state() is LoginState.ANSWERED


def test_an_avatar_that_is_ours() -> None:
    mind = Local("mind")
    attempt = Attempt(mind)
    call = attempt.challenge()
    event = attempt.end(call.id, call.args[1])
    assert event == Answered(2, mind)
    with pytest.raises(RemoteProtocolError, match="no perspective"):
        attempt.login.handle(event)


def test_other_calls_do_not_concern_the_login() -> None:
    attempt = Attempt()
    other = attempt.client.call(attempt.client.root, "other")
    assert not attempt.login.concerns(Answered(other, None))
    assert not attempt.login.concerns(Failed(other, REFUSAL))
    assert [call.method for call in attempt.calls()] == ["other"]
    attempt.challenge()
    assert not attempt.login.concerns(Answered(1, None))
    assert not attempt.login.concerns(Answered(other, None))


def test_a_login_needs_an_open_connection() -> None:
    with pytest.raises(LocalProtocolError):
        ClientLogin(Connection(Role.CLIENT), b"alice", b"sesame", None)


def test_the_mind_is_called_before_the_login_is_answered() -> None:
    mind = Local("mind")
    attempt = Attempt(mind)
    call = attempt.challenge()
    theirs = call.args[1]
    assert isinstance(theirs, Remote)
    number = attempt.server.call(theirs, "print", ("hello",))
    (event,) = events(attempt.client, attempt.server.data_to_send())
    assert isinstance(event, Call)
    assert (event.target, event.method, event.args) == (mind, "print", ("hello",))
    attempt.client.answer(event.id, None)
    assert events(attempt.server, attempt.client.data_to_send()) == [Answered(number, None)]
    assert isinstance(attempt.login.handle(attempt.end(call.id, Local("avatar"))), LoggedIn)


def test_the_end_of_another_call_is_our_mistake_and_changes_nothing() -> None:
    attempt = Attempt()
    other = attempt.client.call(attempt.client.root, "other")
    for event in (Failed(other, REFUSAL), Answered(other, None)):
        with pytest.raises(LocalProtocolError, match="does not wait for call"):
            attempt.login.handle(event)
    assert attempt.login.state is LoginState.ASKED
