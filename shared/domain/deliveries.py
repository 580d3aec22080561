"""How alerts get to receivers of their own, such as webhooks and mail: what is decided about it, purely.

Every attempt of a delivery carries the same event id. A receiver that takes nothing is tried for three days;
one that would get too much in an hour gets the rest of that hour as one digest.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from shared.domain.errors import PaygError

#: Waits after each attempt that failed, as the Standard Webhooks specification suggests: three days in all.
BACK_OFF = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
#: A wait is longer by up to this share of it, so that what failed together does not come back together.
JITTER = 0.1
GIVE_UP_AFTER = timedelta(days=3)
#: More alerts than these make another digest.
DIGEST_ALERTS = 500
DIGEST_TYPE = "alerts.digest"
_HOUR = timedelta(hours=1)


class Channel(StrEnum):
    """A way to receivers of their own, beside the exchange that all share."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class DeliveryState(StrEnum):
    """Where the delivery of one alert to one target stands."""

    WAITING = "waiting"  # its next attempt is at a time
    HELD = "held"  # more than an hour may bring: it goes into the digest of that hour
    DIGESTED = "digested"  # a digest carries it
    SENT = "sent"
    FAILED = "failed"  # given up; it can be replayed


class Target(NamedTuple):
    """A receiver on a channel, and whose it is; that of an operator has an empty account."""

    account_id: str
    target_id: str


class Wanted(NamedTuple):
    """An alert, by its account and number, that a target is to get."""

    target: Target
    alert_account_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Event:
    """What is sent: the attributes of a CloudEvent, an alert or a digest. Its id never changes."""

    event_id: str
    attributes: Mapping[str, Any]

    @property
    def body(self) -> bytes:
        """The event as JSON."""
        return msgspec.json.encode(self.attributes)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the receiver answered when it took an event: a status of its protocol, and the rest as text."""

    status: int | None = None
    detail: str = ""


@dataclass(slots=True)
class DeliveryError(PaygError):
    """A receiver did not take an event. Only where it is permanent there is no next attempt."""

    detail: str
    status: int | None = None
    permanent: bool = False
    retry_after: timedelta = field(default=timedelta(0))  # what the receiver asked for

    def __str__(self) -> str:
        return self.detail


def next_attempt(error: DeliveryError, failed: int, now: datetime, luck: float) -> datetime | None:
    """Return when to try again after attempt number ``failed`` (from 1), or None to give up.

    ``luck`` from 0 to 1 chooses the jitter. A receiver may ask for a longer wait, up to the longest of ours.
    """
    if error.permanent or failed > len(BACK_OFF):
        return None
    wait = max(BACK_OFF[failed - 1], min(error.retry_after, BACK_OFF[-1]))
    return now + wait * (1 + JITTER * luck)


def hour_of(now: datetime) -> tuple[datetime, datetime]:
    """Return when the hour of UTC began in which a target may get so many alerts, and when it ends."""
    began = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return began, began + _HOUR


def digest_event(
    digest_id: str, account_id: str, made_at: datetime, events: Sequence[Mapping[str, Any]]
) -> Event:
    """Return the event that carries others, in order; none of them is left out."""
    types = Counter(str(event["type"]).removeprefix("payg.").removesuffix(".v1") for event in events)
    event_id = f"digest-{digest_id}"
    return Event(
        event_id,
        {
            "specversion": "1.0",
            "type": f"payg.{DIGEST_TYPE}.v1",
            "source": "payg",
            "id": event_id,
            "time": made_at,
            "datacontenttype": "application/json",
            "subject": account_id or None,
            "data": {
                "account_id": account_id or None,
                "occurred_at": made_at,
                "count": len(events),
                "counts": dict(types),
                "alerts": events,
            },
        },
    )
