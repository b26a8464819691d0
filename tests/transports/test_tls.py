"""TLS of a slave: whom both runners trust, what is told of those whom they do not, and files that are wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from slaveproto.slave.events import Attached, Detached
from slaveproto.testing.conformance import Lab, MasterSocket
from slaveproto.testing.conformance.connections import GREETING, OddPeer
from tests.certificates import Authority, sha256_of
from tests.transports.support import RUNNERS
from transports.host.pins import parse_pin
from transports.host.route import Route
from transports.host.tls import client_context, names_of, server_context, trust_clients


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"))


def never(delay: float) -> float:
    return 1000.0


def greet_over_tls(context: ssl.SSLContext, sock: socket.socket) -> None:
    """Serve as a master does that speaks TLS, up to its first word."""
    with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as secure:
        secure.sendall(GREETING)
        while secure.recv(1000):
            pass


def say(data: bytes, sock: socket.socket) -> None:
    """Serve as a program that speaks first, and something else."""
    sock.sendall(data)
    with contextlib.suppress(OSError):
        while sock.recv(1000):
            pass


def why_it_ends(runner: str, serve: Callable[[socket.socket], None], route: Route, folder: Path) -> str:
    peer = OddPeer(serve)
    try:
        with MasterSocket() as unused:
            lab = Lab(folder, unused, partial(RUNNERS[runner], route=route))
            with lab.slave(host="localhost", port=peer.port, jitter=never) as slave:
                return slave.wait_for(Detached).why
    finally:
        peer.close()


# -- whom it does not trust

PLAIN: Final = "we speak TLS, and the other side speaks plain"
FAILED: Final = "certificate verify failed: "
TRUST: Final = "trust it by the file of its authority (tls_ca), or by its SHA-256 (tls_pin)"


@pytest.mark.programs
@pytest.mark.parametrize(
    ("shown", "pinned", "name", "words"),
    [
        ("stranger", False, None, f"{FAILED}unable to get local issuer certificate; {TRUST}"),
        ("expired", False, None, f"{FAILED}certificate has expired"),
        ("good", False, "master.example.org", f"{FAILED}Hostname mismatch, certificate is not valid for "
         "'master.example.org'; another name to expect is given by tls_name"),
        ("good", True, None, "its certificate is not the one of tls_pin: the SHA-256 of what it shows is "),
    ],
)  # fmt: skip
def test_a_master_that_is_not_the_right_one(
    shown: str, pinned: bool, name: str | None, words: str, runner: str, ours: Authority, other: Authority,
    tmp_path: Path,
) -> None:  # fmt: skip
    certificate = (other if shown == "stranger" else ours).issue("localhost", expired=shown == "expired")
    context = client_context(ca=None if pinned else ours.path, pin=bytes(32) if pinned else None)
    serve = partial(greet_over_tls, server_context(certificate))
    why = why_it_ends(runner, serve, Route(context, name), tmp_path)
    assert why == words + (sha256_of(certificate).hex(":") if pinned else "")


@pytest.mark.programs
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (GREETING, PLAIN),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", PLAIN),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", PLAIN),
    ],
    ids=["master", "HTTP", "SSH"],
)
def test_a_port_that_is_plain_is_told_at_once(
    data: bytes, words: str, runner: str, ours: Authority, tmp_path: Path
) -> None:
    route = Route(client_context(ca=ours.path))
    assert why_it_ends(runner, partial(say, data), route, tmp_path) == words


@pytest.mark.programs
@pytest.mark.parametrize(
    ("shows", "words"),
    [
        (None, "the other side wants a certificate of ours, and we have none (tls_cert)"),
        ("other", "the other side does not trust our certificate: it does not know who signed it"),
    ],
)
def test_a_master_that_wants_another_certificate(
    shows: str | None, words: str, runner: str, ours: Authority, other: Authority, tmp_path: Path
) -> None:
    server = server_context(ours.issue("localhost"))
    trust_clients(server, ours.path)
    context = client_context(ca=ours.path, certificate=None if shows is None else other.issue("bot"))
    assert why_it_ends(runner, partial(greet_over_tls, server), Route(context), tmp_path) == words


@pytest.mark.programs
def test_a_peer_that_hangs_up_in_the_handshake(runner: str, ours: Authority, tmp_path: Path) -> None:
    def hang_up(sock: socket.socket) -> None:
        sock.recv(5)
        sock.close()

    route = Route(client_context(ca=ours.path))
    # What it left unread makes its end a reset.
    words = ("Connection reset by peer", "the other side hung up", "EOF occurred in violation of protocol (_ssl.c:")
    assert why_it_ends(runner, hang_up, route, tmp_path).startswith(words)


@pytest.mark.programs
def test_a_handshake_that_does_not_end_is_given_up_and_leaves_nothing(
    runner: str, ours: Authority, tmp_path: Path
) -> None:
    with MasterSocket() as listener:
        lab = Lab(tmp_path, listener, partial(RUNNERS[runner], route=Route(client_context(ca=ours.path))))
        with lab.slave(jitter=never, connect_timeout=0.2) as slave, listener.accept_raw() as sock:
            assert slave.wait_for(Detached).why == "no connection within 0.2 s"
            # The hello, and then the end.
            while sock.recv(1000):
                pass


# -- whom it trusts


@contextlib.contextmanager
def master_with(certificate: str, client_ca: str | None = None) -> Iterator[MasterSocket]:
    context = server_context(certificate)
    if client_ca is not None:
        trust_clients(context, client_ca)
    with MasterSocket(context) as listener:
        yield listener


@pytest.mark.programs
@pytest.mark.parametrize("how", ["authority", "itself", "pin", "pin and authority", "name"])
def test_a_master_that_is_the_right_one(how: str, runner: str, ours: Authority, tmp_path: Path) -> None:
    # By a pin alone, a certificate that is wrong in every other way is the right one.
    names = ("localhost", "127.0.0.1") if how != "name" else ("master.example.org",)
    certificate = ours.issue("elsewhere", expired=True) if how == "pin" else ours.issue(*names)
    pin = sha256_of(certificate) if how.startswith("pin") else None
    trusted = {"itself": certificate, "pin": None}.get(how, ours.path)
    route = Route(client_context(ca=trusted, pin=pin), "master.example.org" if how == "name" else None)
    with master_with(certificate) as listener:
        lab = Lab(tmp_path, listener, partial(RUNNERS[runner], route=route))
        with lab.slave() as slave, listener.attach("b") as master:
            slave.wait_for(Attached)
            assert master.run("b", "echo fine").output() == "fine\n"


@pytest.mark.programs
def test_a_slave_shows_its_certificate(runner: str, ours: Authority, tmp_path: Path) -> None:
    route = Route(client_context(ca=ours.path, certificate=ours.issue("bot.example.org", common_name="bot")))
    with master_with(ours.issue("localhost", "127.0.0.1"), ours.path) as listener:
        lab = Lab(tmp_path, listener, partial(RUNNERS[runner], route=route))
        with lab.slave() as slave, listener.attach("b") as master:
            slave.wait_for(Attached)
            assert isinstance(master.socket, ssl.SSLSocket)
            assert names_of(master.socket) == ("bot", "bot.example.org")


# -- pins and files


@pytest.mark.parametrize(
    "text",
    ["ab" * 32, "AB" * 32, ":".join(["ab"] * 32), "sha256 Fingerprint=" + ":".join(["AB"] * 32), "SHA256:" + "ab" * 32],
)
def test_pins(text: str) -> None:
    assert parse_pin(text) == b"\xab" * 32


@pytest.mark.parametrize("text", ["", "ab", "ab" * 31, "xy" * 32, "ab" * 33, "md5 Fingerprint=" + "ab" * 32])
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="should be a SHA-256 of 64 hexadecimal digits"):
        parse_pin(text)


def test_files_that_cannot_be_used(ours: Authority, other: Authority, tmp_path: Path) -> None:
    good, nonsense, missing = ours.issue("localhost"), str(tmp_path / "nonsense"), str(tmp_path / "missing")
    Path(nonsense).write_text("nonsense")
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: client_context(ca=missing), f"{missing}: No such file or directory"),
        (lambda: client_context(ca=nonsense), f"{nonsense}: there is no certificate in it"),
        (lambda: client_context(certificate=missing), f"{missing}: No such file or directory"),
        (lambda: client_context(certificate=nonsense), f"{nonsense}: there is no certificate with a key in it"),
        (lambda: server_context(good, other.issue("x")), f"{good} and {other.issue('x')}: the key is that of another"),
        (lambda: trust_clients(server_context(good), missing), f"{missing}: No such file or directory"),
    ]
    for make, words in mistakes:
        with pytest.raises(ValueError, match=re.escape(words)):
            make()


def test_old_versions_of_tls_are_out(ours: Authority) -> None:
    for context in (client_context(), client_context(pin=bytes(32)), server_context(ours.issue("localhost"))):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
