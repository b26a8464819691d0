"""Addresses of a master as people write them: HOST, HOST:PORT or [IPV6]:PORT."""

from __future__ import annotations

import re
from typing import Final

from slaveproto.ci.errors import UsageError

DEFAULT_PORT: Final = 9989


def parse_address(text: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT` or `[IPV6]:PORT`.

    Args:
        text: the address.
        default: the port of an address without one.

    Raises:
        UsageError: the text has another form.
    """
    if text.startswith(("http:", "https:")):
        raise UsageError(f"{text}: give the master's host and slave port, not the address of its web page")
    match = re.fullmatch(r"(?:\[([^][]+)]|([^][:]+))(?::(.*))?", text)
    if match is None:
        raise UsageError(f"{text}: should be HOST, HOST:PORT or [IPV6]:PORT")
    host, port = match[1] or match[2], str(default) if match[3] is None else match[3]
    if not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
        raise UsageError(f"{text}: {port!r} is no port number")
    return host, int(port)
