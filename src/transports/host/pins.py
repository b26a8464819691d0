"""Pins: a certificate by its SHA-256."""

from __future__ import annotations

import re


def parse_pin(text: str) -> bytes:
    """Return the SHA-256 of a certificate, of 64 hexadecimal digits with or without colons.

    What `openssl x509 -noout -fingerprint -sha256` prints is taken as it is.

    Raises:
        ValueError: the text has another form.
    """
    digits = re.sub(r"(?i)^sha256( fingerprint)?[=:]", "", text.strip()).replace(":", "")
    if re.fullmatch("[0-9A-Fa-f]{64}", digits) is None:
        raise ValueError("should be a SHA-256 of 64 hexadecimal digits")
    return bytes.fromhex(digits)
