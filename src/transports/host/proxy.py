"""Tunnels through an HTTP proxy, by CONNECT, without I/O.

Rules.

* The answer is read byte by byte, for what follows it is the master's, which has the first word: it may be in the same
  packet.
* The proxy is a stranger: its answer has `LONGEST_ANSWER` bytes, and what is shown of it is short and printable.

Source: RFC 9110, section 9.3.6; RFC 9112, section 4.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

LONGEST_ANSWER: Final = 16 * 1024
"""Bytes of a proxy's answer that are read."""

_URL: Final = re.compile(
    r"http://(?:(?P<user>[^/@]*)@)?(?:\[(?P<six>[0-9A-Fa-f:.]+)]|(?P<host>[^][:/@\s]+))(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE,
)
_STATUS: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r?\n")
_END: Final = (b"\r\n\r\n", b"\n\n")


@attrs.frozen
class Proxy:
    """An HTTP proxy.

    Args:
        host: its host.
        port: its port.
        credentials: user name and password, as `user:password`; None for none.
    """

    host: str
    port: int
    credentials: bytes | None = attrs.field(default=None, repr=False)


class ProxyError(OSError):
    """A proxy opened no tunnel; the text tells why."""


def parse_proxy(text: str) -> Proxy:
    """Return the proxy of `http://[USER:PASSWORD@]HOST[:PORT]`; the port is 80 unless it is named.

    Raises:
        ValueError: the text has another form. It is not in the message, for it may hold a password.
    """
    found = _URL.fullmatch(text)
    port = int(found["port"] or 80) if found else 0
    if found is None or not 0 < port < 65536:
        raise ValueError("should be http://[USER:PASSWORD@]HOST[:PORT]")
    user = found["user"]
    return Proxy(found["six"] or found["host"], port, None if user is None else unquote_to_bytes(user))


class Tunnel:
    """One tunnel that is being opened: send `request`, then hand over each byte of the answer.

    Args:
        proxy: the proxy.
        host: where the tunnel leads.
        port: likewise.

    Raises:
        UnicodeError: the host is no name.
    """

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._answer = bytearray()
        target = f"[{host}]:{port}".encode() if ":" in host else host.encode("idna") + b":%d" % port
        lines = [b"CONNECT %s HTTP/1.1" % target, b"Host: %s" % target]
        if proxy.credentials is not None:
            lines.append(b"Proxy-Authorization: Basic " + base64.b64encode(proxy.credentials))
        self.request = b"\r\n".join([*lines, b"", b""])

    def take(self, byte: bytes) -> bool:
        """Take the next byte of the answer, empty for the end; True if the tunnel is open.

        Raises:
            ProxyError: there will be none.
        """
        self._answer += byte
        if not byte:
            raise self._error("hung up" if not self._answer else f"hung up in the middle of its answer{self._shown()}")
        if not b"HTTP/1.".startswith(self._answer[:7]):
            raise self._error(f"does not speak HTTP{self._shown()}")
        if len(self._answer) > LONGEST_ANSWER:
            raise self._error(f"answered with more than {LONGEST_ANSWER} bytes")
        if not self._answer.endswith(_END):
            return False
        status = _STATUS.match(self._answer)
        if status is None:
            raise self._error(f"does not speak HTTP{self._shown()}")
        if status[1].startswith(b"2"):
            return True
        words = f"{status[1].decode()} {_printable(status[2] or b'')}".rstrip()
        if status[1] == b"407":
            given = self._proxy.credentials is not None
            words = f"{'does not accept the user and password' if given else 'wants a user and a password'}: {words}"
            raise self._error(words)
        raise self._error(f"refused: {words}")

    def _error(self, words: str) -> ProxyError:
        return ProxyError(f"the proxy {self._proxy.host}:{self._proxy.port} {words}")

    def _shown(self) -> str:
        return f": {_printable(bytes(self._answer))!r}" if self._answer else ""


def _printable(data: bytes) -> str:
    text = data[:100].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
