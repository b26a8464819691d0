"""Proofs that a carrier is of the same two parties as the one before it.

Rules.

* What is secret never crosses a carrier, but for the token, once, over the first carrier of a stream. Who reads along
  there could resume the stream; where that matters, use TLS or a key.
* Each side proves that it knows the secret, by a keyed hash over both nonces and all that the frame says. The nonces
  are fresh for each carrier, so a proof that was recorded proves nothing on another carrier.
* All that is random comes from one secret of the program, drawn at its start.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from slaveproto.resume.frames import ID

_CLIENT: Final = b"slaveproto-resume/1 hello "
_SERVER: Final = b"slaveproto-resume/1 welcome "


def derive(secret: bytes, purpose: bytes, number: int = 0) -> bytes:
    """Return 32 bytes that only who knows the secret can tell; others for each purpose and number."""
    return hmac.digest(secret, purpose + number.to_bytes(8, "big"), sha256)


def opening_key(key: bytes) -> bytes:
    """Return the key of the handshake of a new stream; `key` is what both sides agreed on, empty for nothing."""
    return hmac.digest(key, b"open", sha256)


def resuming_key(key: bytes, token: bytes) -> bytes:
    """Return the key of the handshakes by which a stream is resumed."""
    return hmac.digest(key, b"resume " + token, sha256)


def prove_client(key: bytes, server_nonce: bytes, client_nonce: bytes, fields: bytes) -> bytes:
    """Return the proof of a hello."""
    return hmac.digest(key, _CLIENT + server_nonce + client_nonce + fields, sha256)


def prove_server(key: bytes, server_nonce: bytes, client_nonce: bytes, fields: bytes) -> bytes:
    """Return the proof of a welcome."""
    return hmac.digest(key, _SERVER + server_nonce + client_nonce + fields, sha256)


def is_equal(proof: bytes, other: bytes) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(proof, other)


def stream_id(secret: bytes, number: int) -> bytes:
    """Return the name of a stream, which is no secret."""
    return derive(secret, b"stream", number)[:ID]
