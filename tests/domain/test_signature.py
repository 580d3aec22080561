"""Ed25519 over canonical JSON: a known answer, every way to write a key, and what breaks a signature."""

import base64
import json
from hashlib import sha256

import pytest
from msgspec.structs import replace

from shared.domain.signature import (
    InvalidKeyError,
    SignatureFault,
    SigningKey,
    canonical_text,
    check_signature,
    key_id_of,
    parse_key,
    signature_of,
)

SEED = bytes(range(32))
KEY = SigningKey(SEED)
#: In base64 it has a plus and no slash, and one that has a slash and no plus.
PLUS, SLASH = b"\xfb\xef\xbe" + SEED[3:], b"\xff\xff\xff" + SEED[3:]
DOCUMENT = {"b": [1, {"é": 10**30}], "a": "x\n"}


def test_the_public_key_is_that_of_rfc_8032() -> None:
    # RFC 8032, 7.1, test 1.
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # pragma: allowlist secret
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # pragma: allowlist secret
    assert SigningKey(bytes.fromhex(seed)).public_key.hex() == public
    assert SigningKey(bytes.fromhex(seed)).key_id == sha256(bytes.fromhex(public)).hexdigest()[:32]


def test_the_canonical_text_does_not_depend_on_order() -> None:
    assert canonical_text(DOCUMENT) == canonical_text(dict(reversed(DOCUMENT.items())))
    assert json.loads(canonical_text(DOCUMENT)) == DOCUMENT
    assert canonical_text(DOCUMENT) == '{"a":"x\\n","b":[1,{"é":1000000000000000000000000000000}]}'.encode()


def test_a_signature_holds_for_its_document_alone() -> None:
    signature = signature_of(KEY.public_key, KEY.sign(DOCUMENT))
    check_signature(DOCUMENT, signature)
    other = SigningKey(SEED[::-1])
    changed = ("0" if signature.value[0] != "0" else "1") + signature.value[1:]
    foreign, short = other.public_key.hex(), signature.public_key[:-2]
    for wrong, why in (
        (replace(signature, value=changed), "^the signature is not that of this document$"),
        (replace(signature, value=signature.value.upper()), "^the signature is not written in hex$"),
        (replace(signature, value=""), "^the signature is not written in hex$"),
        (replace(signature, value="xy"), "^the signature is not written in hex$"),
        (replace(signature, algorithm="none"), "^the algorithm is not Ed25519$"),
        (replace(signature, key_id=other.key_id), "^the key id is not that of the public key$"),
        (replace(signature, public_key=foreign), "^the key id is not that of the public key$"),
        (replace(signature, public_key="xy"), "^the public key is not written in hex$"),
        (
            replace(signature, public_key=foreign, key_id=other.key_id),
            "^the signature is not that of this document$",
        ),
        (
            replace(signature, public_key=short, key_id=key_id_of(bytes.fromhex(short))),
            "^the signature cannot be checked: ",
        ),
    ):
        with pytest.raises(SignatureFault, match=why):
            check_signature(DOCUMENT, wrong)
    with pytest.raises(SignatureFault):
        check_signature({**DOCUMENT, "a": "y"}, signature)


@pytest.mark.parametrize(
    "text",
    [
        SEED.hex(),
        SEED.hex().upper(),
        f" {SEED.hex()}\n",
        base64.b64encode(SEED).decode(),
        base64.urlsafe_b64encode(SEED).decode(),
    ],
)
def test_a_key_is_hex_or_base64(text: str) -> None:
    assert parse_key(text) == SEED


@pytest.mark.parametrize("seed", [PLUS, SLASH, b"\xfb\xff" * 16])
def test_base64_may_be_that_of_urls(seed: bytes) -> None:
    assert parse_key(base64.b64encode(seed).decode()) == seed
    assert parse_key(base64.urlsafe_b64encode(seed).decode()) == seed


@pytest.mark.parametrize(
    "text",
    [
        *("", "00", "!" * 44, "ääää"),
        SEED.hex()[:-2],
        base64.b64encode(SEED[:-1]).decode(),
        f"{base64.b64encode(SEED).decode()[:-1]}!=",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError, match="32 bytes in hex or base64"):
        parse_key(text)
