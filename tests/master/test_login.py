"""Who is let in, and what those hear who are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    Accepted,
    AccountWanted,
    AnswerAccount,
    ChangeAccount,
    Disconnect,
    LoginFailed,
    SlaveAccount,
    SlaveAttached,
)
from slaveproto.strangers import TRIES
from slaveproto.testing import CallRefused, ConnectionLost, MasterDriver, ScriptedSlave
from slaveproto.wire import Failure, Local, LoginRefused, Remote, Value, digest
from slaveproto.wire.login import MOST_TRIES, UNAUTHORIZED
from tests.master.support import BOT1, BOT2, GENERATIONS, attached, configured, is_open, nothing_left, reasons
from tests.wire.support import vectors

CHANGE: Final = ChangeAccount("change", "changepw")
EMPTY: Final = SlaveAccount("", "", {})
UMLAUT: Final = SlaveAccount("bö", "pö\udcff", {})


def root(slave: ScriptedSlave) -> Remote:
    return slave.connection.root


def ask_challenge(slave: ScriptedSlave, name: Value = b"bot1") -> tuple[bytes, Remote]:
    match slave.call(root(slave), "login", name):
        case (bytes() as challenge, Remote() as challenger):
            return challenge, challenger
        case other:
            raise AssertionError(f"no challenge: {other!r}")


def stranger(*accounts: SlaveAccount, **changes: object) -> tuple[MasterDriver, ScriptedSlave]:
    driver = MasterDriver(configured(*accounts, **changes))
    return driver, driver.connect(login=False)


# -- right or wrong


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("name", "password", "right"),
    [
        (b"bot1", b"secret", True),
        (b"bot1", b"wrong", False),
        (b"bot1", b"", False),
        (b"bot1", b"secret ", False),
        (b"nobody", b"secret", False),
        (b"nobody", b"", False),
        (b"BOT1", b"secret", False),
        (b"", b"", True),
        (b"", b"x", False),
        ("bö".encode(), "pö".encode() + b"\xff", True),
        ("bö".encode("latin-1"), "pö".encode() + b"\xff", False),
        (b"bot1\0", b"secret", False),
    ],
)
def test_name_and_password(generation: str, name: bytes, password: bytes, right: bool) -> None:
    driver = MasterDriver(configured(BOT1, EMPTY, UMLAUT))
    slave = driver.connect(generation, login=False)
    slave.log_in(name, password)
    assert (slave.avatar is not None) == right
    assert len(driver.events_of(SlaveAttached)) == right
    failed = driver.events_of(LoginFailed)
    assert [(event.why, event.credentials) for event in failed] == [("wrong name or password", True)] * (not right)
    if not right:
        assert slave.refused is not None
        # 0.8 looks for the name among the parents, 4.3 at the type; both want it as text.
        assert slave.refused.is_a(UNAUTHORIZED)
        assert UNAUTHORIZED in slave.refused.parents
        assert slave.refused.kind == UNAUTHORIZED
        assert slave.calls == [], "a stranger was called"
    assert nothing_left(driver)


def test_a_name_may_be_text() -> None:
    driver, slave = stranger(UMLAUT)
    challenge, challenger = ask_challenge(slave, "bö")
    assert isinstance(slave.call(challenger, "respond", digest("pö".encode() + b"\xff", challenge), slave.bot), Remote)
    assert nothing_left(driver)


@pytest.mark.parametrize("generator", ["twisted-11.1-py2.7", "twisted-26.10-py3.11"])
def test_every_recorded_password_is_right(generator: str) -> None:
    """The clients' digest of each is what we compute from the clear text."""
    count = 0
    for vector in vectors("login", generator).values():
        password = bytes.fromhex(vector["password_hex"])
        account = ChangeAccount("u", password.decode("utf-8", "surrogateescape"))
        driver = MasterDriver(configured(account))
        slave = driver.connect(name="u", login=False)
        slave.log_in(b"u", password)
        response = digest(password, bytes.fromhex(vector["challenge_hex"]))
        assert (response.hex() == vector["response_hex"]) == vector["accepted_by_server"]
        assert slave.avatar is not None
        count += 1
    assert count > 10


def test_challenges_differ_between_tries_and_connections() -> None:
    driver, slave = stranger()
    other = driver.connect(login=False)
    seen = {ask_challenge(peer)[0] for peer in (slave, slave, other, other)}
    assert len(seen) == 4
    assert all(len(challenge) == 16 for challenge in seen)


def test_the_response_to_an_older_challenge_is_wrong() -> None:
    _, slave = stranger()
    old, _ = ask_challenge(slave)
    _, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match=UNAUTHORIZED):
        slave.call(challenger, "respond", digest(b"secret", old), slave.bot)


def test_try_again_on_the_same_connection() -> None:
    driver, slave = stranger(BOT1, BOT2)
    assert isinstance(slave.log_in(b"bot1", b"wrong"), LoginRefused)
    slave.log_in(b"bot2", b"secret")
    assert slave.avatar is not None
    assert list(driver.session.slaves) == ["bot2"]
    # What came with the first try was given back.
    assert slave.connection.exported[slave.bot] == 1
    assert nothing_left(driver)


def test_too_many_tries() -> None:
    driver, slave = stranger()
    for _ in range(MOST_TRIES):
        slave.log_in(b"bot1", b"wrong")
        assert slave.refused is not None
    with pytest.raises(ConnectionLost):
        slave.call(root(slave), "login", b"bot1")
    unseen = "too many wrong passwords from its address: this one was not looked at"
    looked_at = TRIES[0]
    assert reasons(driver)[:-1] == ["wrong name or password"] * looked_at + [unseen] * (MOST_TRIES - looked_at)
    assert f"more than {MOST_TRIES} times" in reasons(driver)[-1]
    assert nothing_left(driver)


# -- what is no login


@pytest.mark.parametrize(("method", "args"), [("loginAnonymous", (None,)), ("loginAnonymous", (Local("a mind"),))])
def test_anonymous(method: str, args: tuple[Value, ...]) -> None:
    driver, slave = stranger()
    for _ in range(2):
        with pytest.raises(CallRefused) as caught:
            slave.call(root(slave), method, *args)
        assert caught.value.failure.kind == "twisted.cred.error.UnhandledCredentials"
        assert "twisted.cred.error.UnhandledCredentials" in caught.value.failure.parents
    assert [(e.name, e.credentials) for e in driver.events_of(LoginFailed)] == [(None, True)] * 2
    # It may still be somebody.
    slave.log_in()
    assert slave.avatar is not None
    assert nothing_left(driver)


def test_anonymous_after_a_challenge() -> None:
    driver, slave = stranger()
    _, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match="UnhandledCredentials"):
        slave.call(root(slave), "loginAnonymous", None)
    with pytest.raises(ConnectionLost):
        slave.call(challenger, "respond", b"", None)
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["login", "loginAnonymous"])
def test_logging_in_twice_ends_the_connection(method: str) -> None:
    driver, slave = attached()
    with pytest.raises(ConnectionLost):
        slave.call(root(slave), method, b"bot1")
    assert driver.session.slaves == {}
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["login", "loginAnonymous"])
def test_logging_in_while_being_looked_up_ends_the_connection(method: str) -> None:
    driver = MasterDriver(configured(ask=True))
    slave = driver.connect(name="bot7")
    with pytest.raises(ConnectionLost):
        slave.call(root(slave), method, b"bot1")
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["login", "loginAnonymous"])
def test_logging_in_while_contending_ends_the_connection(method: str) -> None:
    driver, slave = attached()
    slave.holds = lambda heard: True
    second = driver.connect()
    with pytest.raises(ConnectionLost):
        second.call(root(second), method, b"bot1")
    slave.answer_held()
    assert is_open(driver, slave)
    assert nothing_left(driver)


SELF: Final[list[Value]] = []
SELF.append(SELF)

MANY: Final[list[Value]] = [b"x"]
for _ in range(5):
    # Short at the wire, where it is said once; as text, ten billion times.
    MANY[:] = [MANY[:]] * 100


@pytest.mark.parametrize(
    "name",
    [None, 5, 1.5, True, [b"bot1"], {b"a": 1}, Local("name"), SELF, MANY],
    ids=["None", "int", "float", "bool", "list", "dict", "object", "itself", "shared"],
)
def test_a_name_that_is_no_string(name: Value) -> None:
    driver, slave = stranger()
    with pytest.raises(CallRefused, match="TypeError"):
        slave.call(root(slave), "login", name)
    assert is_open(driver, slave)
    slave.log_in()
    assert slave.avatar is not None


@pytest.mark.parametrize("args", [(), (b"bot1", b"x"), (b"a", b"b", b"c")])
def test_login_with_other_arguments(args: tuple[Value, ...]) -> None:
    driver, slave = stranger()
    with pytest.raises(CallRefused, match="TypeError"):
        slave.call(root(slave), "login", *args)
    assert is_open(driver, slave)


@pytest.mark.parametrize("args", [(), (b"x",), (b"x", None, None)])
def test_respond_with_other_arguments(args: tuple[Value, ...]) -> None:
    driver, slave = stranger()
    challenge, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match="TypeError"):
        slave.call(challenger, "respond", *args)
    # The challenge still stands.
    assert isinstance(slave.call(challenger, "respond", digest(b"secret", challenge), slave.bot), Remote)
    assert nothing_left(driver)


@pytest.mark.parametrize("response", [None, "text", 5, [b"x"], b"", b"x" * 16, b"x" * 60_000, Local("response")])
def test_respond_with_something_else(response: Value) -> None:
    driver, slave = stranger()
    _, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match=UNAUTHORIZED):
        slave.call(challenger, "respond", response, slave.bot)
    assert list(slave.connection.exported) == [], "it keeps what it was given"
    assert nothing_left(driver)


@pytest.mark.parametrize("mind", [None, 5, b"mind"])
def test_a_slave_needs_a_mind(mind: Value) -> None:
    driver, slave = stranger()
    challenge, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match="mind"):
        slave.call(challenger, "respond", digest(b"secret", challenge), mind)
    assert driver.events_of(LoginFailed)[0].credentials is False
    assert nothing_left(driver)


def test_respond_twice_ends_the_connection() -> None:
    driver, slave = stranger(ask=True)
    _, challenger = ask_challenge(slave, b"somebody")
    slave.ask(challenger, "respond", b"", None)
    with pytest.raises(ConnectionLost):
        slave.call(challenger, "respond", b"", None)
    assert nothing_left(driver)


@pytest.mark.parametrize("method", ["respond", "getWorkerInfo", "__init__", "x" * 10_000])
def test_the_root_has_no_other_methods(method: str) -> None:
    _, slave = stranger()
    with pytest.raises(CallRefused, match="NoSuchMethod"):
        slave.call(root(slave), method)


def test_the_challenger_has_no_other_methods() -> None:
    _, slave = stranger()
    _, challenger = ask_challenge(slave)
    with pytest.raises(CallRefused, match="NoSuchMethod"):
        slave.call(challenger, "login", b"bot1")


# -- time and size


@pytest.mark.parametrize(
    "until",
    [
        lambda driver: driver.connect_raw(),
        lambda driver: driver.connect(login=False),
        lambda driver: ask_challenge(driver.connect(login=False)),
        lambda driver: driver.connect(password="wrong"),
    ],
    ids=["silent", "negotiated", "challenged", "refused"],
)
def test_the_login_has_to_be_done_in_time(until: Callable[[MasterDriver], object]) -> None:
    driver = MasterDriver(configured(login_timeout=30.0))
    driver.advance(100)
    until(driver)
    driver.advance(29.9)
    assert is_open(driver, driver.links[1].peer)
    driver.advance(0.2)
    assert not is_open(driver, driver.links[1].peer)
    assert "did not log in within 30 s" in reasons(driver) or reasons(driver) == ["wrong name or password"]
    assert nothing_left(driver)


def test_talking_does_not_make_the_time_longer() -> None:
    driver, slave = stranger()
    for _ in range(6):
        driver.advance(5)
        if is_open(driver, slave):
            ask_challenge(slave)
    driver.advance(5)
    assert not is_open(driver, slave)


def test_strangers_get_little_room() -> None:
    """The very message that a slave may send later ends the connection before the login."""
    driver, slave = stranger()
    with pytest.raises(ConnectionLost):
        slave.call(root(slave), "login", b"x" * 70_000)
    assert "65536" in reasons(driver)[0]
    second = driver.connect()
    with pytest.raises(CallRefused, match="NoSuchMethod"):
        second.call_avatar("nonsense", b"x" * 600_000)
    assert is_open(driver, second)


def test_a_long_name_is_shown_in_part() -> None:
    driver, slave = stranger()
    slave.log_in(b"\xff" * 60_000, b"")
    (failed,) = driver.events_of(LoginFailed)
    assert failed.name == ("\\xff" * 250)


def test_too_many_strangers() -> None:
    driver = MasterDriver(configured(visitors=3))
    strangers = [driver.connect_raw() for _ in range(4)]
    assert [peer.open for peer in strangers] == [False, True, True, True]
    assert reasons(driver) == ["it made room for another one: there are 3 that have not logged in"]
    # A slave that logs in is none any more, and one that leaves is none, either.
    driver.lose(strangers[1])
    first = driver.connect()
    assert first.avatar is not None
    second = driver.connect(name="nobody")
    # What has spoken goes last.
    for _ in range(3):
        driver.connect_raw()
    assert not any(peer.open for peer in strangers)
    assert is_open(driver, second)
    assert nothing_left(driver)


def test_a_number_may_not_come_twice() -> None:
    driver = MasterDriver()
    driver.connect_raw()
    before = dict(driver.session.census)
    with pytest.raises(LocalProtocolError, match="connection 1 already"):
        driver.handle(Accepted(1, "again", b"x" * 16))
    assert driver.session.census == before


# -- asking the program


def asked() -> tuple[MasterDriver, ScriptedSlave]:
    driver = MasterDriver(configured(BOT1, ask=True))
    slave = driver.connect(name="bot7", password="pw7")
    assert driver.events_of(AccountWanted) == [AccountWanted(1, "bot7")]
    assert slave.outcome is None
    return driver, slave


@pytest.mark.parametrize("late", [0.0, 1000.0])
@pytest.mark.parametrize(
    ("account", "right"),
    [
        (SlaveAccount("bot7", "pw7", {"b": "b"}), True),
        (SlaveAccount("bot7", "other", {}), False),
        (None, False),
        (ChangeAccount("bot7", "pw7"), True),
        (SlaveAccount("known-as", "pw7", {"b": "b"}), True),
    ],
)
def test_the_program_tells_who_that_is(account: SlaveAccount | ChangeAccount | None, right: bool, late: float) -> None:
    driver, slave = asked()
    driver.advance(late)
    assert is_open(driver, slave), "the program may take its time"
    driver.handle(AnswerAccount(1, account))
    assert (slave.avatar is not None) == right
    assert (slave.refused is not None) != right
    if isinstance(account, SlaveAccount):
        assert list(driver.session.slaves) == [account.name] * right
    assert nothing_left(driver)


def test_known_users_are_not_asked_for() -> None:
    driver = MasterDriver(configured(BOT1, ask=True))
    assert driver.connect().avatar is not None
    assert driver.events_of(AccountWanted) == []


def test_a_refusal_that_comes_later_gives_the_mind_back() -> None:
    driver, slave = asked()
    assert slave.connection.exported == {slave.bot: 1}
    driver.handle(AnswerAccount(1, None))
    assert slave.connection.exported == {}


def test_a_refusal_that_comes_late_leaves_no_time_for_another_try() -> None:
    driver, slave = asked()
    driver.advance(100)
    driver.handle(AnswerAccount(1, None))
    assert slave.refused is not None, "it was told"
    assert not is_open(driver, slave)
    assert nothing_left(driver)


def test_the_answer_for_somebody_who_left_is_nothing() -> None:
    driver, slave = asked()
    driver.lose(slave)
    driver.handle(AnswerAccount(1, SlaveAccount("bot7", "pw7", {})))
    assert driver.session.slaves == {}
    assert nothing_left(driver)


def test_an_answer_that_nobody_waits_for() -> None:
    driver, slave = attached()
    with pytest.raises(LocalProtocolError, match="does not wait"):
        driver.handle(AnswerAccount(1, None))
    assert is_open(driver, slave)


def test_another_name_than_the_account_is_no_other_seat() -> None:
    """A slave that the program knows by another name leaves nothing behind, and is one of that name."""
    driver = MasterDriver(configured(ask=True))
    driver.connect(name="alias", password="pw")
    driver.handle(AnswerAccount(1, SlaveAccount("real", "pw", {})))
    second = driver.connect(name="real", password="pw")
    driver.handle(AnswerAccount(2, SlaveAccount("real", "pw", {})))
    assert second.refused is not None
    driver.handle(Disconnect("real", "go"))
    assert driver.session.census["seats"] == 0
    assert nothing_left(driver)


def test_accounts_go_by_their_names() -> None:
    with pytest.raises(ValueError, match="other names"):
        configured(BOT1, accounts={"bot2": BOT1})


# -- what becomes of it


def test_failures_carry_parents_for_both_generations() -> None:
    driver, _ = attached()
    second = driver.connect()
    assert second.refused is not None
    assert {"builtins.RuntimeError", "exceptions.RuntimeError"} <= set(second.refused.parents)
    assert "rejecting duplicate slave" in second.refused.message
    assert isinstance(second.refused, Failure)
