"""Who pays: quota first, then the balance; charge = quota + balance + uncollected, whatever the inputs."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.allocation import Allocation, Payer, allocate
from shared.domain.money import PPM

NO_DISCOUNT, TWENTY_PERCENT = 0, 200_000

list_prices = st.integers(0, 10_000) | st.integers(0, 6 * 10**17)
quotas = st.integers(0, 10_000) | st.integers(0, 10**18)
payers = st.builds(
    Payer,
    has_plan=st.booleans(),
    discount_ppm=st.sampled_from([0, 1, 200_000, 333_333, 999_999, PPM]) | st.integers(0, PPM),
    quota_remaining_nanos=quotas,
    fallback=st.booleans(),
    spending_limit_nanos=st.none() | quotas,
    cycle_spent_nanos=quotas,
)


def subscriber(quota_nanos: int, discount_ppm: int = NO_DISCOUNT, **fallback: int | bool | None) -> Payer:
    return Payer(True, discount_ppm, quota_nanos, **fallback)  # noqa: FBT003


def specified(list_nanos: int, payer: Payer) -> Allocation:
    """Return what DESIGN §4 says, in exact fractions and its own words."""
    if not payer.has_plan:
        return Allocation(list_nanos, 0, list_nanos, 0)
    discounted = round(list_nanos * (1 - Fraction(payer.discount_ppm, PPM)))
    quota = min(discounted, payer.quota_remaining_nanos)
    overflow = 0
    if quota < discounted:
        overflow = round(Fraction(list_nanos * (discounted - quota), discounted))
    allowed = 0
    if payer.fallback and payer.spending_limit_nanos is None:
        allowed = overflow
    elif payer.fallback:
        allowed = max(0, payer.spending_limit_nanos - payer.cycle_spent_nanos)
    balance = min(overflow, allowed)
    return Allocation(quota + overflow, quota, balance, overflow - balance)


@given(list_prices, payers)
def test_allocation_is_what_the_contract_says_in_fractions(list_nanos: int, payer: Payer) -> None:
    assert allocate(list_nanos, payer) == specified(list_nanos, payer)


@given(list_prices, payers)
def test_the_parts_always_add_up_and_none_is_negative(list_nanos: int, payer: Payer) -> None:
    charge, *parts = allocate(list_nanos, payer)
    assert charge == sum(parts)
    assert min(parts) >= 0


@given(list_prices, payers)
def test_quota_never_pays_more_than_there_is(list_nanos: int, payer: Payer) -> None:
    assert allocate(list_nanos, payer).quota_nanos <= payer.quota_remaining_nanos


@given(list_prices, payers)
def test_nothing_costs_more_than_its_list_price(list_nanos: int, payer: Payer) -> None:
    """One nano of rounding apart: the two parts are each rounded."""
    assert allocate(list_nanos, payer).charge_nanos <= list_nanos + 1


def test_quota_pays_what_it_can_and_the_balance_the_rest() -> None:
    assert allocate(150, subscriber(100, fallback=True)) == Allocation(150, 100, 50, 0)


def test_the_overflow_is_the_uncovered_share_without_the_discount() -> None:
    assert allocate(150, subscriber(100, TWENTY_PERCENT, fallback=True)) == Allocation(125, 100, 25, 0)


def test_a_request_within_the_quota_costs_its_discounted_price() -> None:
    assert allocate(150, subscriber(120, TWENTY_PERCENT)) == Allocation(120, 120, 0, 0)


def test_without_quota_left_the_whole_request_goes_at_standard_rates() -> None:
    assert allocate(150, subscriber(0, TWENTY_PERCENT, fallback=True)) == Allocation(150, 0, 150, 0)


def test_without_a_plan_the_balance_pays_all_of_it() -> None:
    assert allocate(150, Payer()) == Allocation(150, 0, 150, 0)


def test_without_fallback_the_overflow_is_uncollected() -> None:
    assert allocate(150, subscriber(100)) == Allocation(150, 100, 0, 50)


@pytest.mark.parametrize(
    ("spent_nanos", "balance_nanos"), [(0, 50), (950, 50), (951, 49), (999, 1), (1_000, 0), (1_500, 0)]
)
def test_fallback_takes_at_most_what_the_spending_limit_leaves(spent_nanos: int, balance_nanos: int) -> None:
    payer = subscriber(100, fallback=True, spending_limit_nanos=1_000, cycle_spent_nanos=spent_nanos)
    assert allocate(150, payer) == Allocation(150, 100, balance_nanos, 50 - balance_nanos)


@given(list_prices, quotas, st.integers(0, PPM), quotas)
def test_a_limit_of_zero_is_fallback_off(list_nanos: int, quota: int, discount: int, spent: int) -> None:
    off = subscriber(quota, discount, fallback=False, cycle_spent_nanos=spent)
    zero = subscriber(quota, discount, fallback=True, spending_limit_nanos=0, cycle_spent_nanos=spent)
    assert allocate(list_nanos, zero) == allocate(list_nanos, off)


@given(list_prices, payers)
def test_a_full_discount_costs_nothing_whatever_the_quota(list_nanos: int, payer: Payer) -> None:
    free = payer._replace(has_plan=True, discount_ppm=PPM)
    assert allocate(list_nanos, free) == Allocation(0, 0, 0, 0)


@given(payers)
def test_a_free_request_takes_nothing_from_anyone(payer: Payer) -> None:
    assert allocate(0, payer) == Allocation(0, 0, 0, 0)


@given(list_prices, payers, quotas)
def test_more_quota_never_means_more_from_the_balance(list_nanos: int, payer: Payer, more: int) -> None:
    richer = payer._replace(quota_remaining_nanos=payer.quota_remaining_nanos + more)
    assert allocate(list_nanos, richer).balance_nanos <= allocate(list_nanos, payer).balance_nanos


@given(list_prices, payers, quotas)
def test_more_spent_never_means_more_collected(list_nanos: int, payer: Payer, more: int) -> None:
    later = payer._replace(cycle_spent_nanos=payer.cycle_spent_nanos + more)
    assert allocate(list_nanos, later).balance_nanos <= allocate(list_nanos, payer).balance_nanos
    assert allocate(list_nanos, later).charge_nanos == allocate(list_nanos, payer).charge_nanos


@given(list_prices, payers, quotas)
def test_a_higher_limit_never_means_less_collected(list_nanos: int, payer: Payer, limit: int) -> None:
    tight = payer._replace(fallback=True, spending_limit_nanos=limit)
    wide = payer._replace(fallback=True, spending_limit_nanos=None)
    assert allocate(list_nanos, tight).balance_nanos <= allocate(list_nanos, wide).balance_nanos


@given(list_prices, payers)
def test_the_spending_limit_is_never_overrun(list_nanos: int, payer: Payer) -> None:
    limited = payer._replace(has_plan=True, spending_limit_nanos=payer.spending_limit_nanos or 0)
    room = max(0, limited.spending_limit_nanos - limited.cycle_spent_nanos)
    assert allocate(list_nanos, limited).balance_nanos <= room
