"""Whether an account can pay for one more request, while others are under way. Pure.

A request is held at its list price, the most that it can cost. What is weighed is all that is held together
with the new request, as if every one of them came in at its full price and in the order that costs most:
whatever they cost in the end, and in whatever order they are debited, ``allocate`` takes no more than this.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Self

from shared.domain.account import AccountState, roll_over
from shared.domain.allocation import Payer, allocate
from shared.domain.errors import PriceNotSupportedError
from shared.domain.money import PPM, divide_half_even
from shared.domain.pricing import TOKENS_PER_RATE, Tier, tier_for

#: Redis counts in doubles, which are exact up to here: a request is held at no more than $9,000,000, and an
#: account that has more is taken to have as much.
MAX_HELD_NANOS = 9 * 10**15

#: How the id of a hold ends that was placed in the database, while Redis was away.
IN_DATABASE = ".db"


class Refusal(StrEnum):
    """Why a request is refused, as the code of the answer 402; each tells what would help."""

    INSUFFICIENT_BALANCE = "insufficient_balance"
    QUOTA_EXHAUSTED = "quota_exhausted"
    SPENDING_LIMIT_REACHED = "spending_limit_reached"
    KEY_LIMIT_REACHED = "key_limit_reached"
    ACCOUNT_FROZEN = "account_frozen"


class Standing(NamedTuple):
    """What an account can spend, as the books had it at ``version``. ``until`` is the end of its cycle."""

    version: int
    balance_nanos: int
    frozen: bool
    payer: Payer
    until: datetime | None = None

    @classmethod
    def of(cls, state: AccountState, version: int, now: datetime) -> Self:
        """Return the standing of an account; a cycle that is due counts as opened."""
        cycle = state.cycle_now(now)
        if cycle is None and state.plan is not None:
            cycle = roll_over(state, now, timedelta())[0].cycle_now(now)
        if cycle is None:
            return cls(version, state.balance_nanos, state.frozen, Payer())
        payer = Payer(
            has_plan=True,
            discount_ppm=cycle.discount_ppm,
            quota_remaining_nanos=cycle.quota_remaining_nanos,
            fallback=state.fallback,
            spending_limit_nanos=state.spending_limit_nanos,
            cycle_spent_nanos=cycle.spent_nanos,
        )
        return cls(version, state.balance_nanos, state.frozen, payer, cycle.end)


class Held(NamedTuple):
    """All that is held of an account: how many requests, and their prices before and after the discount."""

    number: int = 0
    list_nanos: int = 0
    discounted_nanos: int = 0

    @classmethod
    def of(cls, list_prices: Iterable[int], discount_ppm: int) -> Self:
        prices = list(list_prices)
        return cls(len(prices), sum(prices), sum(discounted(price, discount_ppm) for price in prices))


class Placed(NamedTuple):
    """A request that is held."""

    expires_at: datetime


class Refused(NamedTuple):
    """A request that is refused; ``wait`` is how long until waiting helps, None where it does not."""

    why: Refusal
    wait: timedelta | None = None


class KeyPeriod(NamedTuple):
    """A key with a limit, and what it spent in its period so far; without bounds the period is for ever."""

    api_key_id: str
    limit_nanos: int
    spent_nanos: int
    starts: datetime | None
    ends: datetime | None


class StoredHold(NamedTuple):
    """A hold that was placed while Redis was away."""

    account_id: str
    hold_id: str
    api_key_id: str | None
    list_nanos: int
    expires_at: datetime


class KeyStanding(NamedTuple):
    """What a key with a limit has spent in its period, and what is held for it."""

    limit_nanos: int
    spent_nanos: int
    held_nanos: int = 0


def weigh(standing: Standing, held: Held, list_nanos: int, key: KeyStanding | None = None) -> Refusal | None:
    """Return why a request of this list price is refused, or None where it can be held."""
    if standing.frozen:
        return Refusal.ACCOUNT_FROZEN
    if key and key.spent_nanos + key.held_nanos + list_nanos > key.limit_nanos:
        return Refusal.KEY_LIMIT_REACHED
    payer = standing.payer
    if discounted(list_nanos, payer.discount_ppm) == 0:
        return None  # nothing is taken for it
    return _weigh_overflow(standing, _overflow(payer, held, list_nanos))


def account_of_hold(hold_id: str) -> str:
    """Return the account whose hold it is: an id ends with it. Empty where it names none."""
    return hold_id.partition(".")[2].removesuffix(IN_DATABASE)


def discounted(list_nanos: int, discount_ppm: int) -> int:
    """Return what quota pays for a list price."""
    return divide_half_even(list_nanos * (PPM - discount_ppm), PPM)


def hold_price_nanos(tiers: tuple[Tier, ...], input_tokens: int, max_output_tokens: int) -> int:
    """Return the most that a request can cost: every token at the dearest rate of its direction.

    Cache reads are left out: they never cost more than input. Raises PriceNotSupportedError.
    """
    rates = tier_for(tiers, input_tokens).rates
    dearest_input = _dearest("input", rates.input, rates.cache_write, rates.input_audio)
    dearest_output = _dearest("output", rates.output, rates.output_audio)
    return divide_half_even(
        input_tokens * dearest_input + max_output_tokens * dearest_output, TOKENS_PER_RATE
    )


def _weigh_overflow(standing: Standing, overflow_nanos: int) -> Refusal | None:
    """Return why the balance may not, or can not, pay what the quota does not."""
    payer, limit = standing.payer, standing.payer.spending_limit_nanos
    if overflow_nanos == 0:
        return None
    if payer.has_plan and (not payer.fallback or limit == 0):
        return Refusal.QUOTA_EXHAUSTED
    if payer.has_plan and limit is not None and overflow_nanos > limit - payer.cycle_spent_nanos:
        return Refusal.SPENDING_LIMIT_REACHED
    return Refusal.INSUFFICIENT_BALANCE if overflow_nanos > standing.balance_nanos else None


def _overflow(payer: Payer, held: Held, list_nanos: int) -> int:
    """Return the most that the balance may have to pay for all that is held and this one."""
    all_list = held.list_nanos + list_nanos
    if not payer.has_plan:
        return all_list
    mine = discounted(list_nanos, payer.discount_ppm)
    short = held.discounted_nanos + mine - payer.quota_remaining_nanos
    if short <= 0:
        return 0
    if held.number == 0:
        split = allocate(list_nanos, payer)
        return split.charge_nanos - split.quota_nanos
    if payer.discount_ppm == 0:
        return short
    # Which of them the quota pays is not known. Each one's rounding can shift the overflow by at most half a
    # nano of its discounted price, and the one that is split by half a nano more.
    share = PPM - payer.discount_ppm
    roundings = (held.number + 1) * (-(-PPM // share) + 1)
    return min(all_list, -(-short * PPM // share) + roundings)


def _dearest(kind: str, *rates: int | None) -> int:
    known = [rate for rate in rates if rate is not None]
    if not known:
        raise PriceNotSupportedError(f"the model has no price for {kind} tokens")
    return max(known)
