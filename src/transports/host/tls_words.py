"""Words for what goes wrong with TLS.

Source: the documentation of Python's `ssl`; RFC 8446, section 6, for alerts; the names of reasons are OpenSSL's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

_PLAIN: Final = "we speak TLS, and the other side speaks plain"
_NO_CERTIFICATE: Final = "the other side wants a certificate of ours, and we have none (tls_cert)"
_NOT_TRUSTED: Final = "the other side does not trust our certificate"
_NO_VERSION: Final = "the other side speaks another version of TLS; here it is 1.2 or later"

_WORDS: Final = {
    "WRONG_VERSION_NUMBER": _PLAIN,
    "PACKET_LENGTH_TOO_LONG": _PLAIN,
    "RECORD_LAYER_FAILURE": _PLAIN,
    "UNKNOWN_PROTOCOL": _PLAIN,
    "HTTP_REQUEST": f"{_PLAIN} HTTP",
    "HTTPS_PROXY_REQUEST": f"{_PLAIN} HTTP",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the other side showed no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CERTIFICATE,
    "SSLV3_ALERT_NO_CERTIFICATE": _NO_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": f"{_NOT_TRUSTED}: it does not know who signed it",
    "SSLV3_ALERT_BAD_CERTIFICATE": _NOT_TRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NOT_TRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_NOT_TRUSTED}: it has expired",
    "UNSUPPORTED_PROTOCOL": _NO_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_VERSION,
    "UNEXPECTED_EOF_WHILE_READING": "the other side hung up",
    "KEY_VALUES_MISMATCH": "the key is that of another certificate",
    "NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in it",
    "PEM": "there is no certificate with a key in it",
    "NO_START_LINE": "it is not in PEM form",
}
"""Words for the reasons of OpenSSL that users meet."""

_ADVICE: Final = {
    # X509_V_ERR_CERT_HAS_EXPIRED, _DEPTH_ZERO_SELF_SIGNED_CERT, _SELF_SIGNED_CERT_IN_CHAIN,
    # _UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_LEAF_SIGNATURE, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
    **dict.fromkeys((18, 19, 20, 21), "trust it by the file of its authority (tls_ca), or by its SHA-256 (tls_pin)"),
    **dict.fromkeys((62, 64), "another name to expect is given by tls_name"),
}
"""Advice for results of OpenSSL's verification, by their numbers."""


def words_of_tls(error: ssl.SSLError) -> str:
    """Return what went wrong, in one line without the jargon of OpenSSL, where there are words for it."""
    lacks = getattr(error, "verify_message", None)
    if lacks:
        advice = _ADVICE.get(getattr(error, "verify_code", 0))
        return f"certificate verify failed: {lacks.rstrip('.')}{f'; {advice}' if advice else ''}"
    text = error.strerror or str(error)
    # Errors that OpenSSL did not make have no reason, nor has that of a file without what it should hold.
    reason = getattr(error, "reason", None) or ("PEM" if "PEM lib" in text else "")
    return _WORDS.get(reason, text)
