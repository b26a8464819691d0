"""Descriptions of connections as Twisted has them, in what a slave's settings say of the same.

Rules. A part that is left out here would change what a connection is; so what is not known is an error that names it.

Source: `twisted/internet/endpoints.py` of Twisted 26.10 (`clientFromString`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "tcp": ("host", "port", "timeout", "bindAddress"),
    "tls": ("host", "port", "timeout", "bindAddress", "certificate", "privateKey", "trustRoots"),
    "ssl": ("host", "port", "certKey", "privateKey", "caCertsDir"),
}
"""Names of the parts that have none, by their places."""

_MEANS: Final = {"certificate": "tls_cert", "certKey": "tls_cert", "privateKey": "tls_key"}

_INSTEAD: Final = {
    "trustRoots": "; name the file with the authorities instead (tls_ca)",
    "caCertsDir": "; name the file with the authorities instead (tls_ca)",
}


def parse_endpoint(text: str) -> dict[str, Any]:
    """Return the settings that a description such as `tcp:host=master.example.org:port=9989` means.

    Raises:
        ValueError: it is none, or says what a slave cannot do.
    """
    kind, *parts = [_unescaped(part) for part in re.findall(r"(?:[^:\\]|\\.)+|(?<=:)(?=:|$)", text)] or [("", "")]
    order = _ORDER.get(kind[1])
    if order is None or kind[0]:
        raise ValueError(f"{text!r} should begin with tcp:, tls: or ssl:")
    named: dict[str, str] = {}
    for place, (name, value) in enumerate(parts):
        if not name and place >= len(order):
            raise ValueError(f"{value!r} is one part too many in {text!r}")
        named[name or order[place]] = value
    host, port = named.pop("host", ""), named.pop("port", "")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} needs a host and a port")
    settings: dict[str, Any] = {"host": host, "port": int(port)}
    if kind[1] != "tcp":
        settings["tls"] = True
    for name, value in named.items():
        if name not in _MEANS or kind[1] == "tcp":
            raise ValueError(f"{name} of {text!r} is not known here{_INSTEAD.get(name, '')}")
        settings[_MEANS[name]] = value
    return settings


def proxy_of(endpoint: Mapping[str, Any]) -> str:
    """Return the URL of the HTTP proxy that an endpoint leads to.

    Raises:
        ValueError: it speaks TLS.
    """
    if "tls" in endpoint:
        raise ValueError("a proxy with TLS is not spoken to here")
    host = f"[{endpoint['host']}]" if ":" in endpoint["host"] else endpoint["host"]
    return f"http://{host}:{endpoint['port']}"


def _unescaped(part: str) -> tuple[str, str]:
    """Return the name of a part, empty for none, and its value."""
    name, equals, value = part.partition("=")
    if not equals or not name.isidentifier():
        name, value = "", part
    return name, re.sub(r"\\(.)", r"\1", value)
