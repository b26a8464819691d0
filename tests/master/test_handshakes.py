"""Connections whose TLS handshake is under way: strangers that are sent nothing."""

from __future__ import annotations

from typing import Final

import attrs
import pytest

from slaveproto.effects import CloseConnection
from slaveproto.errors import LocalProtocolError
from slaveproto.master import (
    Accepted,
    Disconnected,
    LoginFailed,
    MasterConfig,
    MasterNotice,
    MasterSession,
    Received,
    Secured,
    Stop,
)
from slaveproto.testing import GENERATIONS, MasterDriver
from tests.master.support import BOT1, configured, nothing_left, reasons

CHALLENGE: Final = bytes(16)


def shaking(session: MasterSession, number: int = 1, now: float = 0.0) -> None:
    session.handle(Accepted(number, "peer", CHALLENGE, secure=False), now=now)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_slave_attaches_after_its_handshake(generation: str) -> None:
    driver = MasterDriver(configured())
    slave = driver.connect(generation, secure=False)
    link = driver.link_of(slave)
    assert (link.flights, driver.session.census["strangers"]) == ([], 1)
    driver.handle(Secured(link.number))
    assert slave.avatar is not None
    assert driver.session.census["strangers"] == 0
    assert nothing_left(driver)


def test_the_greeting_waits_for_the_handshake() -> None:
    session = MasterSession(configured())
    shaking(session)
    assert session.data_to_send(1) == b""
    session.connections_to_send()
    session.handle(Secured(1), now=1.0)
    assert session.connections_to_send() == [1]
    assert b"pb" in session.data_to_send(1)


def test_a_handshake_that_fails() -> None:
    driver = MasterDriver(configured())
    peer = driver.connect_raw(secure=False)
    driver.lose(peer, "TLS: wrong version number")
    assert driver.events == [LoginFailed(1, "peer 1", None, "TLS: wrong version number")]
    assert peer.heard == b""
    assert nothing_left(driver)


def test_a_handshake_that_takes_too_long() -> None:
    driver = MasterDriver(configured(login_timeout=30.0))
    peer = driver.connect_raw(secure=False)
    driver.advance(29.9)
    assert peer.open
    driver.advance(0.2)
    assert (peer.open, peer.heard, reasons(driver)) == (False, b"", ["TLS: no handshake within 30 s"])
    # The news that it is done may have been on its way.
    driver.handle(Secured(1))
    assert nothing_left(driver)


def test_a_visitor_that_begins_no_tls_is_told_of_and_kept() -> None:
    driver = MasterDriver(configured())
    peer = driver.connect_raw(secure=False)
    quick = driver.connect_raw(secure=False)
    driver.handle(Secured(2))
    driver.advance(2.9)
    assert driver.events == []
    driver.advance(0.2)
    text = "peer 1: no TLS for 3 s: a slave that was not told to speak it? (tls = true)"
    assert driver.events == [MasterNotice(text, None)]
    assert (peer.open, quick.open) == (True, True)
    assert nothing_left(driver)


def test_tls_at_a_plain_port_is_told_at_once() -> None:
    driver = MasterDriver(configured())
    peer = driver.connect_raw()
    hello = bytes.fromhex("16030100c8010000c40303")
    driver.handle(Received(1, hello[:1]))
    assert peer.open
    driver.handle(Received(1, hello[1:]))
    assert (peer.open, reasons(driver)) == (
        False,
        ["broke the protocol: it speaks TLS, and this port is plain (tls_cert)"],
    )
    assert nothing_left(driver)


# -- certificates of slaves


def with_certificate(name: str | None) -> MasterConfig:
    return configured(attrs.evolve(BOT1, certificate=name))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize(
    ("wanted", "names", "shown"),
    [
        (None, (), None),
        (None, ("another",), None),
        ("bot.example.org", ("bot", "bot.example.org"), None),
        ("bot.example.org", (), "none"),
        ("bot.example.org", ("other", "*.example.org"), "other, *.example.org"),
        ("", (), "none"),
    ],
)
def test_the_certificate_of_a_slave(
    generation: str, wanted: str | None, names: tuple[str, ...], shown: str | None
) -> None:
    driver = MasterDriver(with_certificate(wanted))
    slave = driver.connect(generation, secure=False)
    driver.handle(Secured(driver.link_of(slave).number, names))
    if shown is None:
        assert slave.avatar is not None
    else:
        assert slave.avatar is None
        assert driver.events == [
            LoginFailed(1, "peer 1", "bot1", f"needs the certificate of {wanted}, and showed that of {shown}", True)
        ]
        assert slave.refused is not None
        assert slave.refused.message == f"bot1 needs the certificate of {wanted}, and showed that of {shown}"
    assert nothing_left(driver)


def test_a_wrong_password_is_told_before_the_certificate() -> None:
    driver = MasterDriver(with_certificate("bot"))
    slave = driver.connect(password="wrong", secure=False)
    driver.handle(Secured(driver.link_of(slave).number, ("bot",)))
    assert reasons(driver) == ["wrong name or password"]
    assert nothing_left(driver)


def test_the_time_of_a_handshake_is_part_of_the_time_of_the_login() -> None:
    driver = MasterDriver(configured(login_timeout=30.0))
    peer = driver.connect_raw(secure=False)
    driver.advance(20)
    driver.handle(Secured(1))
    driver.advance(9.9)
    assert peer.open
    driver.advance(0.2)
    assert (peer.open, reasons(driver)) == (False, ["did not log in within 30 s"])
    assert nothing_left(driver)


def test_handshakes_count_as_visitors() -> None:
    driver = MasterDriver(configured(visitors=3))
    peers = [driver.connect_raw(secure=secure) for secure in (False, True, False, False, True)]
    assert [peer.open for peer in peers] == [False, False, True, True, True]
    assert reasons(driver) == ["it made room for another one: there are 3 that have not logged in"] * 2
    driver.lose(peers[2], "TLS: reset")
    assert driver.connect_raw(secure=False).open
    assert nothing_left(driver)


def test_an_end_of_the_master_ends_handshakes() -> None:
    session = MasterSession(configured())
    shaking(session)
    session.handle(Stop("the master ends"), now=1.0)
    assert [request.effect for request in session.requests()] == [CloseConnection(1, b"")]
    assert session.next_event() == LoginFailed(1, "peer", None, "the master ends")
    assert not any(session.census.values())


def test_what_a_runner_must_not_do() -> None:
    session = MasterSession(configured())
    shaking(session)
    with pytest.raises(LocalProtocolError, match="the handshake of connection 1 is under way"):
        session.handle(Received(1, b"x"), now=0.0)
    session.handle(Secured(1), now=0.0)
    with pytest.raises(LocalProtocolError, match="no handshake of connection 1 is under way"):
        session.handle(Secured(1), now=0.0)
    assert session.census["connections"] == 1
    session.handle(Disconnected(1, ""), now=0.0)
    session.handle(Secured(1), now=0.0)
    assert not any(session.census.values())
