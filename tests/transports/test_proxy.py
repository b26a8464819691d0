"""An HTTP proxy between slave and master: the dialogue with it, and both runners through one, with TLS and without."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from slaveproto.slave.events import Attached, Detached
from slaveproto.testing.conformance import Lab, MasterSocket
from tests.transports.support import RUNNERS
from tests.transports.test_tls import never
from tests.transports.test_trio import CERTIFICATE
from transports.host.proxy import LONGEST_ANSWER, Proxy, ProxyError, Tunnel, parse_proxy
from transports.host.route import Route
from transports.host.tls import client_context, server_context

# -- the dialogue


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy", Proxy("proxy", 80)),
        ("http://proxy:3128", Proxy("proxy", 3128)),
        ("HTTP://proxy.example.org:3128/", Proxy("proxy.example.org", 3128)),
        ("http://[::1]:8080", Proxy("::1", 8080)),
        ("http://me:secret@proxy", Proxy("proxy", 80, b"me:secret")),
        ("http://me:a%40b%3A@proxy:1", Proxy("proxy", 1, b"me:a@b:")),
        ("http://@proxy", Proxy("proxy", 80, b"")),
    ],
)
def test_addresses(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    ["", "proxy", "proxy:3128", "https://proxy", "socks5://proxy", "http://", "http://a b", "http://p:0", "http://p:65536",
     "http://p/x", "http://a@b@p", "http://secret@p:x"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be http://\[USER:PASSWORD@\]HOST\[:PORT\]$"):
        parse_proxy(text)


@pytest.mark.parametrize(
    ("proxy", "host", "request_text"),
    [
        (Proxy("p", 80), "master", b"CONNECT master:9989 HTTP/1.1\r\nHost: master:9989\r\n\r\n"),
        (Proxy("p", 80), "::1", b"CONNECT [::1]:9989 HTTP/1.1\r\nHost: [::1]:9989\r\n\r\n"),
        (Proxy("p", 80), "m\xfcnchen", b"CONNECT xn--mnchen-3ya:9989 HTTP/1.1\r\nHost: xn--mnchen-3ya:9989\r\n\r\n"),
        (Proxy("p", 80, b"me:secret"), "m", b"CONNECT m:9989 HTTP/1.1\r\nHost: m:9989\r\n"
         b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_is_asked(proxy: Proxy, host: str, request_text: bytes) -> None:
    assert Tunnel(proxy, host, 9989).request == request_text


def taken(answer: bytes, proxy: Proxy = Proxy("p", 80)) -> int:  # noqa: B008  frozen
    """Return how many bytes of an answer were taken until the tunnel was open."""
    tunnel = Tunnel(proxy, "master", 9989)
    for count in range(len(answer)):
        if tunnel.take(answer[count : count + 1]):
            return count + 1
    tunnel.take(b"")
    raise AssertionError


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nVia: x\r\n\r\n", b"HTTP/1.1 204 x\n\n"])
def test_nothing_of_the_master_is_taken(head: bytes) -> None:
    assert taken(head + b"\x02\x80\x02\x82pb\r\n\r\n") == len(head)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up"),
        (b"HTTP/1.1 200 OK\r\n", "hung up in the middle of its answer: 'HTTP/1.1 200 OK??'"),
        (b"\x02\x80\x02\x82pb", "does not speak HTTP: '?'"),
        (b"SSH-2.0-OpenSSH", "does not speak HTTP: 'S'"),
        (b"HTTP/1.1 yes\r\n\r\n", "does not speak HTTP: 'HTTP/1.1 yes????'"),
        (b"HTTP/1.1 502 Bad \x1b[31mGateway\r\n\r\n", "refused: 502 Bad ?[31mGateway"),
        (b"HTTP/1.1 407 Authenticate\r\n\r\n", "wants a user and a password: 407 Authenticate"),
        (b"HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", "refused: 301 Moved"),
        (b"HTTP/1.1 403 " + b"x" * 1000 + b"\r\n\r\n", "refused: 403 " + "x" * 100),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, f"answered with more than {LONGEST_ANSWER} bytes"),
    ],
)
def test_a_proxy_that_opens_no_tunnel(answer: bytes, words: str) -> None:
    with pytest.raises(ProxyError, match=f"^the proxy p:80 {re.escape(words)}$"):
        taken(answer)


def test_a_password_that_is_wrong() -> None:
    with pytest.raises(ProxyError, match=r"^the proxy p:80 does not accept the user and password: 407 no$"):
        taken(b"HTTP/1.1 407 no\r\n\r\n", Proxy("p", 80, b"me:secret"))


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_proxy("http://me:secret@proxy"))


# -- both runners


class SmallProxy:
    """A proxy in threads. What it answers is in the packet with the master's first word, if it lets the client through.

    Args:
        answer: to each client.
    """

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked: list[bytes] = []
        self._open = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """End it."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                asked = b""
                while not asked.endswith(b"\r\n\r\n"):
                    asked += client.recv(1)
                self.asked.append(asked)
                if b" 200 " not in self._answer:
                    client.sendall(self._answer)
                    client.shutdown(socket.SHUT_WR)
                    continue
                host, _, port = asked.split()[1].decode().rpartition(":")
                master = socket.create_connection((host, int(port)))
                self._open.append(master)
                threading.Thread(target=self._pass, args=(client, master, b""), daemon=True).start()
                threading.Thread(target=self._pass, args=(master, client, self._answer), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, first: bytes) -> None:
        with contextlib.suppress(OSError):
            if first and not self._speaks(source):
                to.sendall(first)
                first = b""
            while data := source.recv(65536):
                to.sendall(first + data)
                first = b""
            to.shutdown(socket.SHUT_WR)

    @staticmethod
    def _speaks(master: socket.socket) -> bool:
        """Whether a master has the first word: with TLS it has not."""
        master.settimeout(0.2)
        try:
            return bool(master.recv(1, socket.MSG_PEEK))
        except TimeoutError:
            return False
        finally:
            master.settimeout(None)


@contextlib.contextmanager
def proxy_that_says(answer: bytes) -> Iterator[SmallProxy]:
    proxy = SmallProxy(answer)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.programs
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_a_slave_behind_a_proxy(tls: bool, runner: str, tmp_path: Path) -> None:
    server, client = (server_context(CERTIFICATE), client_context(ca=CERTIFICATE)) if tls else (None, None)
    with proxy_that_says(b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\n") as proxy, MasterSocket(server) as listener:
        route = Route(client, proxy=Proxy("127.0.0.1", proxy.port, b"me:secret"))
        lab = Lab(tmp_path, listener, partial(RUNNERS[runner], route=route))
        with lab.slave() as slave, listener.attach("b") as master:
            slave.wait_for(Attached)
            assert master.run("b", "echo fine").output() == "fine\n"
        assert proxy.asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % listener.port)


@pytest.mark.programs
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Who are you\r\n\r\n", "wants a user and a password: 407 Who are you"),
        (b"", "hung up"),
    ],
)
def test_a_proxy_that_refuses_is_quoted(answer: bytes, words: str, runner: str, tmp_path: Path) -> None:
    with proxy_that_says(answer) as proxy, MasterSocket() as listener:
        route = Route(proxy=Proxy("127.0.0.1", proxy.port))
        lab = Lab(tmp_path, listener, partial(RUNNERS[runner], route=route))
        with lab.slave(jitter=never) as slave:
            assert slave.wait_for(Detached).why == f"the proxy 127.0.0.1:{proxy.port} {words}"


@pytest.mark.programs
def test_a_proxy_that_says_nothing_is_given_up(runner: str, tmp_path: Path) -> None:
    with MasterSocket() as silent:
        lab = Lab(tmp_path, silent, partial(RUNNERS[runner], route=Route(proxy=Proxy("127.0.0.1", silent.port))))
        with lab.slave(jitter=never, connect_timeout=0.2) as slave, silent.accept_raw() as sock:
            assert slave.wait_for(Detached).why == "no connection within 0.2 s"
            while sock.recv(1000):
                pass
