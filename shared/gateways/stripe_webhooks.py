"""Whether a webhook comes from Stripe, by its signature over the body as it came, and what it tells.

Source: https://docs.stripe.com/webhooks#verify-official-libraries
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
import stripe

from shared.domain.errors import PaygError
from shared.domain.stripe_event import StripeEvent

#: How old a signature may be, and how far ahead: Stripe signs every delivery anew.
TOLERANCE = timedelta(seconds=300)

_Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{1,255}\Z")]


class WebhookRefusedError(PaygError):
    """It does not come from Stripe, comes too late or too early, or is no event."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that Stripe signed; ``event`` is None where it is about nothing that has an id."""

    type: str
    live: bool
    event: StripeEvent | None


class _Object(msgspec.Struct):
    id: _Id | None = None


class _Data(msgspec.Struct):
    object: _Object


class _Event(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(pattern=r"^evt_[A-Za-z0-9_]{1,250}\Z")]
    object: Literal["event"]
    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_.]{1,255}\Z")]
    created: Annotated[int, msgspec.Meta(ge=0, lt=2**36)]
    livemode: bool
    data: _Data


def read_webhook(body: bytes, signature: str | None, secrets: Sequence[str], now: datetime) -> Webhook:
    """Return what a webhook tells, if one of the secrets signed it, at most 300 s ago and 300 s ahead.

    ``signature`` is the header ``Stripe-Signature``. Raises WebhookRefusedError.
    """
    _verify(body, signature, secrets, now)
    try:
        told = msgspec.json.decode(body, type=_Event)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WebhookRefusedError(f"the body is signed, but is no event of Stripe: {error}") from error
    about, created_at = told.data.object.id, datetime.fromtimestamp(told.created, UTC)
    event = StripeEvent(told.id, told.type, about, created_at) if about else None
    return Webhook(told.type, told.livemode, event)


def _verify(body: bytes, signature: str | None, secrets: Sequence[str], now: datetime) -> None:
    """Raise WebhookRefusedError unless one of the secrets made one of the signatures in time."""
    why = "no secret"
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(
                body, signature, secret, tolerance=int(TOLERANCE.total_seconds())
            )
        except stripe.SignatureVerificationError as error:
            why = str(error.user_message or error)
        except (UnicodeError, TypeError) as error:
            # A body that is not UTF-8, or signatures that are not ASCII.
            why = f"it cannot be verified: {error}"
        else:
            return _not_from_the_future(signature or "", now)
    raise WebhookRefusedError(why)


def _not_from_the_future(signature: str, now: datetime) -> None:
    """Refuse what was signed for later, which the SDK does not: it could be kept, and sent again then."""
    parts = (part.split("=", 2) for part in signature.split(","))
    signed_at = next(int(part[1]) for part in parts if part[0] == "t")
    if signed_at > (now + TOLERANCE).timestamp():
        raise WebhookRefusedError(f"it was signed in the future, at {signed_at}")
