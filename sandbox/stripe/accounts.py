"""Accounts: each secret test key is one of its own (docs.stripe.com/api/authentication)."""

import hashlib
from collections.abc import Mapping

from sandbox.stripe.errors import invalid_request

_PREFIX = "sk_test_"


def account_of(headers: Mapping[str, str]) -> str:
    """Return the account a request is made for; raises `ApiError` (401) without a secret test key."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if not key or scheme.lower() != "bearer":
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise invalid_request(message, status=401)
    if not key.startswith(_PREFIX) or key == _PREFIX:
        raise invalid_request(f"Invalid API Key provided: {key[:8]}****", status=401)
    return account_of_key(key)


def account_of_key(key: str) -> str:
    """Return the account of a key."""
    return "acct_" + hashlib.sha256(key.encode()).hexdigest()[:16]
