"""Top-ups: the states of one, and whether an account is due for an automatic one. Pure.

pending → created → confirming → succeeded | processing | retry_wait | action_required
                               | failed | canceled | quarantined

Which move is allowed, and who makes it, is in ``topup_states``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from shared.domain.money import NANOS_PER_DOLLAR

MINIMUM_NANOS = 5 * NANOS_PER_DOLLAR
NANOS_PER_CENT = NANOS_PER_DOLLAR // 100
#: The most that Stripe takes at once: eight digits. Source: https://docs.stripe.com/currencies
MAXIMUM_NANOS = 99_999_999 * NANOS_PER_CENT


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


#: The highest cap on a number of top-ups.
MOST_TOPUPS = 1_000_000
#: The longest that a top-up may come before the balance is used up: a week.
MOST_LEAD_MINUTES = 7 * 24 * 60


class Preset(StrEnum):
    """Kinds of use that an automatic top-up suits."""

    LIGHT = "light"
    REGULAR = "regular"
    HEAVY = "heavy"
    PRODUCTION = "production"


class PresetTerms(NamedTuple):
    """Below how much to top up, and by how much."""

    threshold_nanos: int
    amount_nanos: int


PRESETS: Mapping[Preset, PresetTerms] = {
    Preset.LIGHT: PresetTerms(5 * NANOS_PER_DOLLAR, 20 * NANOS_PER_DOLLAR),
    Preset.REGULAR: PresetTerms(20 * NANOS_PER_DOLLAR, 50 * NANOS_PER_DOLLAR),
    Preset.HEAVY: PresetTerms(50 * NANOS_PER_DOLLAR, 100 * NANOS_PER_DOLLAR),
    Preset.PRODUCTION: PresetTerms(100 * NANOS_PER_DOLLAR, 200 * NANOS_PER_DOLLAR),
}


@dataclass(frozen=True, slots=True)
class AutoTopup:
    """An account's automatic top-up, with its caps in UTC days and months: in number and in money.

    With ``lead_minutes`` it is due also where the balance will not last so long at the account's pace.
    """

    enabled: bool
    threshold_nanos: int
    amount_nanos: int
    max_per_day: int
    max_per_month: int
    max_per_day_nanos: int | None = None
    max_per_month_nanos: int | None = None
    lead_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class TopupHistory:
    """What was topped up automatically; ``last_fell_short_at`` if the last one left the balance too low."""

    open: bool = False
    today: int = 0
    this_month: int = 0
    last_fell_short_at: datetime | None = None
    today_nanos: int = 0
    this_month_nanos: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TopUp:
    """Charge so much now."""

    amount_nanos: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """The account is due, but not before then."""

    time: datetime


def decide(
    auto: AutoTopup,
    balance_nanos: int,
    history: TopupHistory,
    now: datetime,
    cooldown: timedelta,
    empty_at: datetime | None = None,
) -> TopUp | WaitUntil | None:
    """Return whether an account is topped up now, later, or not at all.

    Strictly below the threshold triggers, and so does a balance that is used up (``empty_at``) within the
    lead. Money on its way counts: while a top-up is open there is no other. Where the last one did not lift
    the balance above the threshold, the next waits for the cool-down; and so does, after any, one that only
    an estimate asks for.
    """
    below = balance_nanos < auto.threshold_nanos
    if not auto.enabled or history.open or not (below or _runs_out(auto, now, empty_at)):
        return None
    waits = []
    last_at = history.last_fell_short_at if below else history.last_at
    if last_at is not None:
        waits.append(last_at + cooldown)
    if history.today >= auto.max_per_day or _passes(history.today_nanos, auto, auto.max_per_day_nanos):
        waits.append(next_day(now))
    if history.this_month >= auto.max_per_month or _passes(
        history.this_month_nanos, auto, auto.max_per_month_nanos
    ):
        waits.append(next_month(now))
    until = max(waits, default=now)
    return WaitUntil(until) if until > now else TopUp(auto.amount_nanos)


def _runs_out(auto: AutoTopup, now: datetime, empty_at: datetime | None) -> bool:
    if auto.lead_minutes is None or empty_at is None:
        return False
    return empty_at <= now + timedelta(minutes=auto.lead_minutes)


def _passes(taken_nanos: int, auto: AutoTopup, cap_nanos: int | None) -> bool:
    return cap_nanos is not None and taken_nanos + auto.amount_nanos > cap_nanos


def check_caps(auto: AutoTopup) -> str | None:
    """Return what is wrong with the settings of an automatic top-up, or None."""
    if not all(1 <= count <= MOST_TOPUPS for count in (auto.max_per_day, auto.max_per_month)):
        return f"a cap on the number of top-ups is between 1 and {MOST_TOPUPS:,}"
    caps = [cap for cap in (auto.max_per_day_nanos, auto.max_per_month_nanos) if cap is not None]
    if caps and min(caps) < auto.amount_nanos:
        return "a cap on money that is below the amount of one top-up would never let any through"
    if auto.lead_minutes is not None and not 1 <= auto.lead_minutes <= MOST_LEAD_MINUTES:
        return f"the lead of a top-up is between 1 and {MOST_LEAD_MINUTES:,} minutes"
    return None


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
