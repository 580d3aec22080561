"""Who pays for a record: the subscription's quota first, then the balance.

Whatever the inputs, ``charge == quota + balance + uncollected`` and no part is negative.
"""

from typing import NamedTuple

from shared.domain.money import PPM, divide_half_even


class Payer(NamedTuple):
    """What may be taken from an account at the moment a record is debited.

    Without a plan only ``has_plan`` matters: the balance pays all of it, below zero if need be.
    """

    has_plan: bool = False
    discount_ppm: int = 0
    quota_remaining_nanos: int = 0
    fallback: bool = False
    spending_limit_nanos: int | None = None
    cycle_spent_nanos: int = 0


NO_PLAN = Payer()


class Allocation(NamedTuple):
    """How a charge is split, in nanos."""

    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int


def allocate(list_nanos: int, payer: Payer) -> Allocation:
    """Split a list price between quota, balance and what may not be collected."""
    if not payer.has_plan:
        return Allocation(list_nanos, 0, list_nanos, 0)
    discounted = divide_half_even(list_nanos * (PPM - payer.discount_ppm), PPM)
    quota = min(discounted, payer.quota_remaining_nanos)
    if quota == discounted:
        return Allocation(quota, quota, 0, 0)
    # What the quota does not cover goes at standard rates, without the discount.
    overflow = divide_half_even(list_nanos * (discounted - quota), discounted)
    balance = _collected(overflow, payer)
    return Allocation(quota + overflow, quota, balance, overflow - balance)


def _collected(overflow_nanos: int, payer: Payer) -> int:
    """Return how much of an overflow the fallback takes from the balance, within the limit of the cycle."""
    if not payer.fallback:
        return 0
    if payer.spending_limit_nanos is None:
        return overflow_nanos
    return min(overflow_nanos, max(0, payer.spending_limit_nanos - payer.cycle_spent_nanos))
