"""Contexts of TLS, for both roles and every runner.

Rules.

* TLS 1.2 or later. The other side is verified, unless the caller says in so many words that it is not.
* A pin is the whole identity of a master: its certificate may be signed by itself, expired, or for another name. With a
  file of authorities beside it, both have to hold.
* A file of authorities may also hold the certificate of the master itself.
* The module `ssl` is big, and the start of a slave without TLS does not wait for it: import this module when TLS is
  wanted.
"""

from __future__ import annotations

import hashlib
import ssl
from typing import Any, Final

from transports.host.sockets import words_of

_ANY_ANCHOR: Final = ssl.VERIFY_X509_PARTIAL_CHAIN
"""A certificate of a file of authorities is trusted, whether or not it may sign others."""


def client_context(
    *,
    ca: str | None = None,
    pin: bytes | None = None,
    certificate: str | None = None,
    key: str | None = None,
    check_name: bool = True,
) -> ssl.SSLContext:
    """Return the context of a slave, for any event loop.

    Args:
        ca: file with the authorities that may sign the master's certificate, or with that certificate itself; None for
            those of the system, or for none with a pin.
        pin: the SHA-256 of the master's certificate: no other one is accepted. See `transports.host.pins.parse_pin`.
        certificate: file with the certificate that we show, and those that lead to its authority; None for none.
        key: file with its private key, without a passphrase; None if it is in the same file.
        check_name: whether the master's certificate has to be for the name that is connected to.

    Raises:
        ValueError: a file cannot be used; the message names it and tells why.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise ValueError(f"{ca}: {words_of(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= _ANY_ANCHOR
    if not check_name or (pin is not None and ca is None):
        context.check_hostname = False
    if pin is not None:
        _expect(context, pin)
        if ca is None:
            context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        load_certificate(context, certificate, key)
    return context


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """Return the context of a master. Its clients need no certificate: see `trust_clients`.

    Args:
        certificate: file with the certificate that it shows, and those that lead to its authority.
        key: file with its private key, without a passphrase; None if it is in the same file.

    Raises:
        ValueError: a file cannot be used; the message names it and tells why.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificate(context, certificate, key)
    return context


def trust_clients(context: ssl.SSLContext, ca: str) -> None:
    """Let a master demand a certificate of each client.

    Args:
        context: of the master.
        ca: file with the authorities that may sign them, or with such certificates themselves.

    Raises:
        ValueError: the file cannot be used; the message names it and tells why.
    """
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise ValueError(f"{ca}: {words_of(error)}") from None
    context.verify_flags |= _ANY_ANCHOR
    context.verify_mode = ssl.CERT_REQUIRED


def load_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    """Let a context show a certificate.

    Raises:
        ValueError: a file cannot be used.
    """
    try:
        # With an empty password, for without one Python would ask on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        files = certificate if key is None or key == certificate else f"{certificate} and {key}"
        raise ValueError(f"{files}: {words_of(error)}") from None


def names_of(sock: ssl.SSLSocket | ssl.SSLObject) -> tuple[str, ...]:
    """Return the names of the peer's certificate that was verified: its common name, and its alternative names."""
    certificate: Any = sock.getpeercert() or {}
    subject = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    others = [value for kind, value in certificate.get("subjectAltName", ()) if kind in ("DNS", "email", "URI")]
    return tuple(dict.fromkeys((*subject, *others)))


def _expect(context: ssl.SSLContext, pin: bytes) -> None:
    """Let the handshakes of a context fail unless the peer shows the certificate with that SHA-256."""

    def check(der: bytes | None) -> None:
        seen = hashlib.sha256(der or b"").digest()
        if seen != pin:
            words = f"its certificate is not the one of tls_pin: the SHA-256 of what it shows is {seen.hex(':')}"
            raise ssl.SSLCertVerificationError(1, words)

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            check(self.getpeercert(binary_form=True))

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self.getpeercert(binary_form=True))

    context.sslsocket_class = PinnedSocket
    context.sslobject_class = PinnedObject
