"""Top-ups: the states of one, and whether an account is due for an automatic one. Pure.

pending → created → confirming → succeeded | processing | retry_wait | action_required
                               | failed | canceled | quarantined

Which move is allowed, and who makes it, is in ``topup_states``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shared.domain.money import NANOS_PER_DOLLAR

MINIMUM_NANOS = 5 * NANOS_PER_DOLLAR
NANOS_PER_CENT = NANOS_PER_DOLLAR // 100


class Channel(StrEnum):
    """How a top-up is paid: with a card that was saved before, or by its owner on a page of Stripe's."""

    CARD = "card"
    CHECKOUT = "checkout"


class TopupState(StrEnum):
    """Where a top-up stands."""

    PENDING = "pending"
    CREATED = "created"
    CONFIRMING = "confirming"
    PROCESSING = "processing"
    RETRY_WAIT = "retry_wait"
    ACTION_REQUIRED = "action_required"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    QUARANTINED = "quarantined"


#: States in which money may still come: an account has one automatic top-up in them at most.
OPEN_STATES = (
    TopupState.PENDING,
    TopupState.CREATED,
    TopupState.CONFIRMING,
    TopupState.PROCESSING,
    TopupState.RETRY_WAIT,
    TopupState.ACTION_REQUIRED,
)


@dataclass(frozen=True, slots=True)
class AutoTopup:
    """An account's automatic top-up. ``max_per_day`` and ``max_per_month`` count top-ups in UTC periods."""

    enabled: bool
    threshold_nanos: int
    amount_nanos: int
    max_per_day: int
    max_per_month: int


@dataclass(frozen=True, slots=True)
class TopupHistory:
    """What was topped up automatically; ``last_fell_short_at`` if the last one left the balance too low."""

    open: bool = False
    today: int = 0
    this_month: int = 0
    last_fell_short_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TopUp:
    """Charge so much now."""

    amount_nanos: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """The account is due, but not before then."""

    time: datetime


def decide(
    auto: AutoTopup, balance_nanos: int, history: TopupHistory, now: datetime, cooldown: timedelta
) -> TopUp | WaitUntil | None:
    """Return whether an account is topped up now, later, or not at all.

    Strictly below the threshold triggers. Money on its way counts: while a top-up is open there is no other.
    Where the last one did not lift the balance above the threshold, the next waits for the cool-down.
    """
    if not auto.enabled or history.open or balance_nanos >= auto.threshold_nanos:
        return None
    waits = []
    if history.last_fell_short_at is not None:
        waits.append(history.last_fell_short_at + cooldown)
    if history.today >= auto.max_per_day:
        waits.append(next_day(now))
    if history.this_month >= auto.max_per_month:
        waits.append(next_month(now))
    until = max(waits, default=now)
    return WaitUntil(until) if until > now else TopUp(auto.amount_nanos)


def day_start(now: datetime) -> datetime:
    """Return the start of the UTC day."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(now: datetime) -> datetime:
    """Return the start of the UTC month."""
    return day_start(now).replace(day=1)


def next_day(now: datetime) -> datetime:
    """Return the start of the next UTC day."""
    return day_start(now) + timedelta(days=1)


def next_month(now: datetime) -> datetime:
    """Return the start of the next UTC month."""
    return month_start(month_start(now) + timedelta(days=32))


#: Declines that no later attempt on the same card changes. Source: https://docs.stripe.com/declines/codes
HARD_DECLINES = frozenset(
    {
        "expired_card",
        "fraudulent",
        "incorrect_number",
        "invalid_account",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "no_action_taken",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
    }
)
SOFT_DECLINES_BEFORE_OFF = 3
#: No attempt: the owner has to authenticate first.
AUTHENTICATION_REQUIRED = "authentication_required"
#: So long an owner may take to authenticate.
ACTION_EXPIRES = timedelta(hours=24)


def retry_wait(first: timedelta, declines: int) -> timedelta:
    """Return how long to wait after so many soft declines in a row: four times longer after each."""
    times: int = 4 ** (max(declines, 1) - 1)
    return first * times
