"""The signature of a webhook (docs.stripe.com/webhooks, "verify webhook signatures manually")."""

import hashlib
import hmac
from collections.abc import Iterable
from typing import Literal

Signature = Literal["valid", "forged", "stale", "missing"]

# Receivers accept 300 s by default.
_STALE_S = 3600


def header(body: bytes, secrets: Iterable[str], signed_at_s: int, how: Signature = "valid") -> str | None:
    """Return `Stripe-Signature`, with one `v1` for each secret: there are two while a secret is rotated.

    A forged one is made with secrets that nobody has, a stale one an hour ago.
    """
    if how == "missing":
        return None
    at_s = signed_at_s - _STALE_S if how == "stale" else signed_at_s
    known = [f"{secret}-forged" if how == "forged" else secret for secret in secrets]
    return ",".join([f"t={at_s}", *(f"v1={_v1(secret, at_s, body)}" for secret in known)])


def _v1(secret: str, at_s: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
