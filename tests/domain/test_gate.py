"""What the gate lets through, the account can pay: in any order, at any price up to what is held."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.allocation import Payer, allocate
from shared.domain.errors import PriceNotSupportedError
from shared.domain.gate import Held, KeyStanding, Refusal, Standing, discounted, hold_price_nanos, weigh
from shared.domain.money import PPM
from shared.domain.pricing import Tier, TokenRates

amounts = st.integers(0, 2_000) | st.integers(0, 9 * 10**15)
discounts = st.sampled_from([0, 1, 200_000, 333_333, 999_999, PPM]) | st.integers(0, PPM)
payers = st.builds(
    Payer,
    has_plan=st.booleans(),
    discount_ppm=discounts,
    quota_remaining_nanos=amounts,
    fallback=st.booleans(),
    spending_limit_nanos=st.none() | amounts,
    cycle_spent_nanos=amounts,
).map(lambda payer: payer if payer.has_plan else Payer())
standings = st.builds(
    Standing,
    version=st.just(1),
    balance_nanos=amounts | st.integers(-(10**9), 0),
    frozen=st.just(False),  # noqa: FBT003
    payer=payers,
)
JUST_NOW = datetime(2026, 11, 25, tzinfo=UTC)


def pays(standing: Standing, list_nanos: int) -> bool:
    """Whether `allocate` takes what is due for one request, all of it, from what is there."""
    split = allocate(list_nanos, standing.payer)
    covered = split.balance_nanos == 0 or split.balance_nanos <= standing.balance_nanos
    return split.uncollected_nanos == 0 and covered


@given(standings, amounts)
def test_alone_a_request_is_let_through_exactly_where_allocate_can_take_its_price(
    standing: Standing, list_nanos: int
) -> None:
    assert (weigh(standing, Held(), list_nanos) is None) == pays(standing, list_nanos)


@given(standings, st.lists(amounts, max_size=8), st.data())
def test_whatever_is_held_can_be_debited_in_any_order_and_at_any_lower_price(
    standing: Standing, prices: list[int], data: st.DataObject
) -> None:
    held: list[int] = []
    for price in prices:
        if weigh(standing, Held.of(held, standing.payer.discount_ppm), price) is None:
            held.append(price)
    actual = [data.draw(st.integers(0, price) | st.just(price)) for price in held]
    balance, payer = standing.balance_nanos, standing.payer
    for price in data.draw(st.permutations(actual)):
        split = allocate(price, payer)
        assert split.uncollected_nanos == 0
        balance -= split.balance_nanos
        payer = payer._replace(
            quota_remaining_nanos=payer.quota_remaining_nanos - split.quota_nanos,
            cycle_spent_nanos=payer.cycle_spent_nanos + split.balance_nanos,
        )
    assert balance >= min(0, standing.balance_nanos)


@given(standings, st.lists(amounts, min_size=1, max_size=5), amounts)
def test_it_refuses_no_more_than_a_few_nanos_too_early(
    standing: Standing, prices: list[int], list_nanos: int
) -> None:
    """What is refused beside holds would, with a few nanos more for each, not be paid one after another."""
    held: list[int] = []
    for price in prices:
        if weigh(standing, Held.of(held, standing.payer.discount_ppm), price) is None:
            held.append(price)
    if weigh(standing, Held.of(held, standing.payer.discount_ppm), list_nanos) is not None:
        share = max(1, PPM - standing.payer.discount_ppm)
        slack = (len(held) + 2) * (PPM // share + 3)
        poorer = standing._replace(balance_nanos=standing.balance_nanos - slack)
        limit = poorer.payer.spending_limit_nanos
        if limit is not None:
            poorer = poorer._replace(payer=poorer.payer._replace(spending_limit_nanos=max(0, limit - slack)))
        assert not _pays_all(poorer, [*held, list_nanos])


@given(st.sampled_from([0, 1, 333_333]) | st.integers(0, 900_000), st.data())
def test_the_least_balance_that_is_enough_pays_in_every_order_and_is_hardly_more(
    discount_ppm: int, data: st.DataObject
) -> None:
    """Exactly enough alone or without a discount, a rounding for each beside others with one."""
    prices = data.draw(st.lists(st.integers(20, 2_000), min_size=1, max_size=4))
    quota = data.draw(st.integers(0, sum(discounted(price, discount_ppm) for price in prices)))
    _check_least(discount_ppm, prices, quota)


@pytest.mark.parametrize(
    ("discount_ppm", "prices", "quota"),
    [(100_000, [25, 36], 27), (500_000, [9, 29], 1), (600_000, [46, 41], 8), (900_000, [25, 14], 0)],
)
def test_it_is_enough_where_every_price_is_rounded_to_the_worse(
    discount_ppm: int, prices: list[int], quota: int
) -> None:
    _check_least(discount_ppm, prices, quota)


def _check_least(discount_ppm: int, prices: list[int], quota: int) -> None:
    payer = Payer(has_plan=True, discount_ppm=discount_ppm, quota_remaining_nanos=quota, fallback=True)
    *others, last = prices
    held = Held.of(others, discount_ppm)

    def passes(balance: int) -> bool:
        return weigh(Standing(1, balance, False, payer), held, last) is None  # noqa: FBT003

    least = bisect_left(range(sum(prices)), True, key=passes)  # noqa: FBT003
    dearest = max(_taken(payer, order) for order in permutations(prices))
    roundings = len(prices) * (-(-PPM // (PPM - discount_ppm)) + 1)
    assert dearest <= least <= dearest + (roundings * 2 if others and discount_ppm else 0)


def _taken(payer: Payer, prices: Sequence[int]) -> int:
    """Return what `allocate` takes from the balance for these, one after another."""
    balance = 0
    for price in prices:
        split = allocate(price, payer)
        balance += split.balance_nanos
        payer = payer._replace(quota_remaining_nanos=payer.quota_remaining_nanos - split.quota_nanos)
    return balance


def test_what_the_quota_just_covers_needs_no_balance() -> None:
    payer = Payer(has_plan=True, discount_ppm=333_333, quota_remaining_nanos=666, fallback=True)
    assert weigh(Standing(1, 0, False, payer), Held.of([500], 333_333), 500) is None  # noqa: FBT003
    assert weigh(Standing(1, 0, False, payer), Held.of([500], 333_333), 502) is not None  # noqa: FBT003


def _pays_all(standing: Standing, prices: list[int]) -> bool:
    balance, payer = standing.balance_nanos, standing.payer
    for price in prices:
        split = allocate(price, payer)
        if split.uncollected_nanos or split.balance_nanos > max(0, balance):
            return False
        balance -= split.balance_nanos
        payer = payer._replace(
            quota_remaining_nanos=payer.quota_remaining_nanos - split.quota_nanos,
            cycle_spent_nanos=payer.cycle_spent_nanos + split.balance_nanos,
        )
    return True


def test_each_refusal_says_what_would_help() -> None:
    def refusal(balance: int = 0, *, frozen: bool = False, **payer: int | bool | None) -> Refusal | None:
        terms = Payer(**payer)  # type: ignore[arg-type]
        return weigh(Standing(1, balance, frozen, terms), Held(), 100)

    assert refusal(99) is Refusal.INSUFFICIENT_BALANCE
    assert refusal(100) is None
    assert refusal(100, frozen=True) is Refusal.ACCOUNT_FROZEN
    assert refusal(100, has_plan=True, quota_remaining_nanos=99) is Refusal.QUOTA_EXHAUSTED
    assert refusal(100, has_plan=True, fallback=True, spending_limit_nanos=0) is Refusal.QUOTA_EXHAUSTED
    limited = {"has_plan": True, "fallback": True, "spending_limit_nanos": 150, "cycle_spent_nanos": 51}
    assert refusal(100, **limited) is Refusal.SPENDING_LIMIT_REACHED
    assert refusal(99, has_plan=True, fallback=True) is Refusal.INSUFFICIENT_BALANCE
    assert refusal(100, **limited | {"cycle_spent_nanos": 50}) is None
    key = KeyStanding(limit_nanos=1_000, spent_nanos=800, held_nanos=101)
    assert weigh(Standing(1, 100, False, Payer()), Held(), 100, key) is Refusal.KEY_LIMIT_REACHED  # noqa: FBT003
    assert weigh(Standing(1, 100, False, Payer()), Held(), 100, key._replace(held_nanos=100)) is None  # noqa: FBT003


def test_what_costs_nothing_is_served_to_whoever_owes() -> None:
    assert weigh(Standing(1, -5, False, Payer()), Held(), 0) is None  # noqa: FBT003
    assert weigh(Standing(1, 0, False, Payer()), Held(), 1) is Refusal.INSUFFICIENT_BALANCE  # noqa: FBT003


def test_a_hold_prices_every_token_at_the_dearest_rate_of_its_direction() -> None:
    rates = TokenRates(1_000_000, 4_000_000, 100_000, 1_250_000, 40_000_000, 80_000_000)
    cheap = TokenRates(1_000_000, 4_000_000, 100_000, 1_250_000, None, None)
    assert hold_price_nanos((Tier(0, rates),), 10, 2) == 10 * 40 + 2 * 80
    assert hold_price_nanos((Tier(0, cheap),), 100, 2) == 125 + 8
    assert hold_price_nanos((Tier(0, cheap), Tier(99, rates)), 100, 0) == 4_000
    assert hold_price_nanos((Tier(0, cheap._replace(cache_write=None)),), 100, 0) == 100


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_hold_of_tokens_without_a_price_names_their_kind(kind: str) -> None:
    rates = TokenRates(1, 1, None, None, None, None)._replace(**{kind: None})
    with pytest.raises(PriceNotSupportedError, match=f"no price for {kind} tokens"):
        hold_price_nanos((Tier(0, rates),), 1, 1)
