"""An event of Stripe, as far as it is believed: that something happened to an object, not what."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """What is kept of an event; what became of its object is asked anew from Stripe."""

    event_id: str
    type: str
    object_id: str
    created_at: datetime
