"""Certificates for tests: authorities, and what they sign."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """An authority that is made for a test.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.path = str(folder / "ca.pem")
        """The file with its own certificate."""
        self._ca.cert_pem.write_to_path(self.path)

    def issue(self, *names: str, common_name: str | None = None, expired: bool = False) -> str:
        """Return a new file with a key and its certificate for some names, or for a common name only."""
        now = datetime.now(UTC)
        until = now - timedelta(days=1) if expired else now + timedelta(days=30)
        made = self._ca.issue_cert(
            *names, common_name=common_name, not_before=now - timedelta(days=60), not_after=until
        )  # fmt: skip
        path = self._folder / f"{common_name or names[0]}{'-expired' if expired else ''}.pem"
        made.private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)


def sha256_of(path: str) -> bytes:
    """Return the SHA-256 of the first certificate of a file."""
    text = Path(path).read_text()
    first = text[text.index("-----BEGIN CERTIFICATE") :]
    end = "-----END CERTIFICATE-----"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[: first.index(end)] + end)).digest()
