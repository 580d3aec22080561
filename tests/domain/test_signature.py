"""Ed25519 over canonical JSON: a known answer, every way to write a key, and what breaks a signature."""

import base64
import json

import pytest
from msgspec.structs import replace

from shared.domain.signature import (
    InvalidKeyError,
    SignatureFault,
    SigningKey,
    canonical_text,
    check_signature,
    parse_key,
    signature_of,
)

SEED = bytes(range(32))
KEY = SigningKey(SEED)
DOCUMENT = {"b": [1, {"é": 10**30}], "a": "x\n"}


def test_the_public_key_is_that_of_rfc_8032() -> None:
    # RFC 8032, 7.1, test 1.
    seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # pragma: allowlist secret
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # pragma: allowlist secret
    assert SigningKey(bytes.fromhex(seed)).public_key.hex() == public


def test_the_canonical_text_does_not_depend_on_order() -> None:
    assert canonical_text(DOCUMENT) == canonical_text(dict(reversed(DOCUMENT.items())))
    assert json.loads(canonical_text(DOCUMENT)) == DOCUMENT
    assert canonical_text(DOCUMENT) == '{"a":"x\\n","b":[1,{"é":1000000000000000000000000000000}]}'.encode()


def test_a_signature_holds_for_its_document_alone() -> None:
    signature = signature_of(KEY.public_key, KEY.sign(DOCUMENT))
    check_signature(DOCUMENT, signature)
    other = SigningKey(SEED[::-1])
    for wrong in (
        replace(signature, value=("0" if signature.value[0] != "0" else "1") + signature.value[1:]),
        replace(signature, value=signature.value.upper()),
        replace(signature, value=""),
        replace(signature, algorithm="none"),
        replace(signature, key_id=other.key_id),
        replace(signature, public_key=other.public_key.hex()),
        replace(signature, public_key=other.public_key.hex(), key_id=other.key_id),
        replace(signature, public_key=signature.public_key[:-2]),
    ):
        with pytest.raises(SignatureFault):
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


@pytest.mark.parametrize("text", ["", "00", SEED.hex()[:-2], "!" * 44, base64.b64encode(SEED[:-1]).decode()])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError):
        parse_key(text)
