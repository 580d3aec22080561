"""Secrets and signatures of webhooks, by the Standard Webhooks specification, with its own library.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

_SECRET_BYTES = 32


def new_webhook_secret() -> str:
    """Return a secret that an endpoint's owner gets to see once."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def signed_headers(event_id: str, body: bytes, now: datetime, signed_by: Sequence[str]) -> dict[str, str]:
    """Return the headers of one attempt, with a signature by each secret."""
    at = now.astimezone(UTC)
    signatures = [Webhook(secret).sign(event_id, at, body.decode()) for secret in signed_by]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
