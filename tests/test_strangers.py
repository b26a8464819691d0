"""Strangers: shares of the room, the one that goes, homes, and passwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slaveproto.allowances import MOST_KEYS, Allowances
from slaveproto.master import LoginFailed
from slaveproto.strangers import FAILURES, GROUP_TRIES, PATIENCE, TRIES, Strangers, group_of
from slaveproto.testing import MasterDriver
from tests.master.support import BOT1, BOT2, configured, is_open, nothing_left, reasons

UNSEEN = "too many wrong passwords from its address: this one was not looked at"


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_groups(host: str, group: str) -> None:
    assert group_of(host) == group


def driver_with(**changes: object) -> MasterDriver:
    return MasterDriver(configured(BOT1, BOT2, **changes))


def test_one_address_does_not_keep_the_others_out() -> None:
    """As many as there may be, all of one address, renewed as they are closed: the others come in."""
    driver = driver_with()
    driver.address = "192.0.2.1"
    for _ in range(3):
        for _ in range(600):
            driver.connect_raw()
        driver.advance(1.0)
        driver.address = "192.0.2.2"
        assert driver.connect().avatar is not None
        driver.address = "192.0.2.3"
        stranger = driver.connect_raw()
        assert stranger.open
        driver.lose(stranger)
        driver.lose(driver.links[len(driver.links) - 1].peer)
        driver.address = "192.0.2.1"
    assert driver.session.census["strangers"] <= 500
    assert nothing_left(driver)


def test_a_newcomer_of_the_same_address_comes_in() -> None:
    """Its elders have said nothing, and it has."""
    driver = driver_with()
    for _ in range(500):
        driver.connect_raw()
    assert driver.connect().avatar is not None
    for _ in range(500):
        driver.connect_raw()
    assert driver.connect(name="bot2").avatar is not None
    assert nothing_left(driver)


def test_an_address_has_its_share() -> None:
    driver = driver_with(visitors=50, visitors_per_address=3)
    # All at once, they have their time.
    peers = [driver.connect_raw() for _ in range(6)]
    assert all(peer.open for peer in peers)
    driver.advance(PATIENCE)
    peers += [driver.connect_raw() for _ in range(2)]
    assert [peer.open for peer in peers] == [False, False, *[True] * 6]
    driver.address = "192.0.2.2"
    assert driver.connect_raw().open
    assert nothing_left(driver)


def test_a_home_always_gets_in() -> None:
    """As many strangers as there may be, each from a network of its own."""
    driver = driver_with(visitors=20)
    driver.address = "192.0.2.1"
    slave = driver.connect()
    driver.lose(slave)
    for number in range(100):
        driver.address = f"2001:db8:0:{number:x}::1"
        driver.connect_raw()
    driver.address = "192.0.2.1"
    waits = driver.connect(login=False)
    for number in range(100):
        driver.address = f"2001:db8:0:{number:x}::1"
        driver.connect_raw()
    waits.log_in()
    assert waits.avatar is not None
    assert nothing_left(driver)


def test_what_comes_to_nothing_too_often_is_not_let_in() -> None:
    driver = driver_with()
    most, rate = FAILURES
    driver.address = "192.0.2.1"
    for _ in range(most):
        driver.lose(driver.connect_raw())
    assert not driver.connect_raw().open
    assert reasons(driver)[-1] == "too many connections from its address came to nothing"
    driver.address = "192.0.2.2"
    assert driver.connect().avatar is not None
    driver.address = "192.0.2.1"
    driver.advance(1 / rate)
    assert driver.connect(name="bot2").avatar is not None
    # From now on it is a home.
    for _ in range(most + 1):
        driver.lose(driver.connect_raw())
    assert driver.connect_raw().open
    assert nothing_left(driver)


def test_passwords_are_not_guessed() -> None:
    """A right one that comes too late is refused, too; other names and other addresses are not."""
    driver = driver_with()
    driver.address = "192.0.2.1"
    most, rate = TRIES
    for _ in range(most):
        driver.lose(driver.connect(password="guess"))
    assert driver.connect().avatar is None
    failed = driver.events_of(LoginFailed)[-1]
    assert (failed.why, failed.credentials) == (UNSEEN, False)
    assert driver.connect(name="bot2").avatar is not None
    driver.address = "192.0.2.2"
    slave = driver.connect()
    assert slave.avatar is not None
    driver.lose(slave)
    driver.address = "192.0.2.1"
    driver.advance(1 / rate)
    assert driver.connect().avatar is not None
    assert nothing_left(driver)


def test_many_names_are_tried_from_one_address() -> None:
    strangers = Strangers()
    most, _ = GROUP_TRIES
    for number in range(most):
        assert strangers.may_try("a", f"name {number}", 0.0)
        strangers.was_wrong("a", f"name {number}", 0.0)
    assert not strangers.may_try("a", "another", 0.0)
    assert strangers.may_try("b", "another", 0.0)
    strangers.attach(1, "a")
    assert strangers.may_try("a", "another", 0.0)


def test_a_contender_is_no_stranger() -> None:
    driver = driver_with(visitors=1)
    holder = driver.connect()
    holder.holds = lambda heard: heard.method == "print"
    rival = driver.connect()
    driver.connect_raw()
    driver.connect_raw()
    assert is_open(driver, rival)
    driver.lose(holder)
    assert rival.avatar is not None
    assert nothing_left(driver)


# -- the registries

Moves = st.lists(
    st.tuples(st.sampled_from(["come", "come", "come", "leave", "fail", "attach"]), st.integers(0, 7), st.booleans()),
    max_size=60,
)


@given(Moves, st.integers(1, 6), st.integers(1, 3))
def test_any_moves(moves: list[tuple[str, int, bool]], most: int, share: int) -> None:
    """There is never more than there may be, the newest goes only where it is alone, and nothing is left."""
    strangers = Strangers()
    there: dict[int, tuple[str, bool]] = {}
    homes: set[str] = set()
    for number, (move, which, silent) in enumerate(moves):
        group = "abc"[which % 3]
        chosen = list(there)[which % len(there)] if there else 0
        if move == "come":
            there[number] = group, silent
            leaves = strangers.come(
                number, group, float(number), most=most, share=share, silent=lambda one: there[one][1]
            )
            if leaves is not None:
                mates = [one for one, (its, _) in there.items() if its == there[leaves][0]]
                assert leaves != number or len(mates) == 1
                assert leaves == next((one for one in mates if there[one][1] and one != number), mates[0])
                if leaves == number:
                    assert group not in homes or {its for its, _ in there.values()} <= homes
                strangers.leave(leaves)
                del there[leaves]
        elif chosen and move == "attach":
            strangers.attach(chosen, there[chosen][0])
            homes.add(there.pop(chosen)[0])
        elif chosen:
            there.pop(chosen)
            strangers.leave(chosen) if move == "leave" else strangers.fail(chosen, float(number))
        assert len(strangers) == len(there) <= most
    for one in there:
        assert one in strangers
        strangers.leave(one)
        strangers.leave(one)
    assert len(strangers) == 0


@given(st.lists(st.floats(0, 3), max_size=100))
def test_an_allowance_grows_back(pauses: list[float]) -> None:
    allowances = Allowances[str](3, 0.5)
    now, allowed = 0.0, 0
    for pause in pauses:
        now += pause
        left = allowances.left("a", now)
        assert allowances.spend("a", now) is left
        allowed += left
        assert allowed <= 3 + now * 0.5 + 1e-6
    # Sums of floats are not exact.
    assert allowances.left("a", now + 2.0 + 1e-6)
    assert allowances.left("b", now)


def test_the_memory_of_allowances_is_bounded() -> None:
    allowances = Allowances[int](1, 0.0)
    for key in range(MOST_KEYS + 1):
        assert allowances.spend(key, 0.0)
    assert len(allowances) == MOST_KEYS
    assert allowances.left(0, 0.0)
    assert not allowances.left(1, 0.0)
