"""Ed25519 signatures (RFC 8032) over JSON documents. Pure: the same key and document give the same signature.

What is signed is the canonical text: keys sorted, no spaces, UTF-8, integers in full. Python's own
``json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`` makes it.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.domain.errors import PaygError

ALGORITHM = "Ed25519"
KEY_BYTES = 32
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class InvalidKeyError(PaygError, ValueError):
    """A text that should be a key is none."""


class SignatureFault(PaygError):  # noqa: N818 - a finding, not an error of ours
    """A signature does not hold; the message says why."""


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signature with the key that proves it, both in hex; whose key it is, others must say."""

    algorithm: str
    key_id: str
    public_key: str
    value: str


class SigningKey:
    """The private key, from its seed of 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._private.public_key().public_bytes_raw()
        self.key_id = key_id_of(self.public_key)

    def sign(self, document: Mapping[str, Any]) -> bytes:
        """Return the signature of a document, 64 bytes."""
        return self._private.sign(canonical_text(document))


def canonical_text(document: Mapping[str, Any]) -> bytes:
    """Return the one text of a JSON document that is signed."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def key_id_of(public_key: bytes) -> str:
    """Return the short name of a key: the first half of its SHA-256, in hex."""
    return sha256(public_key).hexdigest()[:32]


def signature_of(public_key: bytes, value: bytes) -> Signature:
    """Return a signature as it stands beside a document."""
    return Signature(
        algorithm=ALGORITHM, key_id=key_id_of(public_key), public_key=public_key.hex(), value=value.hex()
    )


def check_signature(document: Mapping[str, Any], signature: Signature) -> None:
    """Raise SignatureFault unless the key in the signature made it, over this very document."""
    if signature.algorithm != ALGORITHM:
        raise SignatureFault(f"the algorithm is not {ALGORITHM}")
    public_key = _from_hex(signature.public_key, "public key")
    if signature.key_id != key_id_of(public_key):
        raise SignatureFault("the key id is not that of the public key")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            _from_hex(signature.value, "signature"), canonical_text(document)
        )
    except InvalidSignature:
        raise SignatureFault("the signature is not that of this document") from None
    except ValueError as error:
        raise SignatureFault(f"the signature cannot be checked: {error}") from None


def parse_key(text: str) -> bytes:
    """Return the 32 bytes of a key written in hex or base64; raises InvalidKeyError."""
    stripped = text.strip()
    if _HEX.fullmatch(stripped):
        return bytes.fromhex(stripped)
    try:
        decoded = base64.b64decode(
            stripped, altchars=b"-_" if set(stripped) & {"-", "_"} else None, validate=True
        )
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) != KEY_BYTES:
        raise InvalidKeyError(
            f"must be {KEY_BYTES} bytes in hex or base64; `payg signing-key create` makes one"
        )
    return decoded


def _from_hex(text: str, what: str) -> bytes:
    try:
        decoded = bytes.fromhex(text)
    except ValueError:
        decoded = b""
    if decoded.hex() != text or not text:
        raise SignatureFault(f"the {what} is not written in hex")
    return decoded
