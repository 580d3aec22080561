"""The list price: tokens times the rate in force, tiers on the whole record, rounded once."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from domain_builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidAmountError, PriceNotSupportedError
from shared.domain.pricing import (
    BEGINNING_OF_TIME,
    MAX_RATE_NANOS,
    Rate,
    Tier,
    TokenRates,
    list_price_nanos,
    rate_at,
    tier_for,
)
from shared.domain.tokens import MAX_TOKENS, TOKEN_KINDS, TokenCounts

DOLLAR = 10**9
PARENTS = [
    ("cache_read", "input"),
    ("cache_write", "input"),
    ("input_audio", "input"),
    ("output_audio", "output"),
]
INPUT_KINDS = ["input", "cache_read", "cache_write", "input_audio"]
#: claude-sonnet-4-5: $3 and $15 per million tokens, above 200,000 input tokens $6 and $22.50.
SONNET = (
    Tier(0, TokenRates.inherit({"input": 3 * DOLLAR, "output": 15 * DOLLAR, "cache_read": 3 * DOLLAR // 10})),
    Tier(
        200_000,
        TokenRates.inherit({"input": 6 * DOLLAR, "output": 45 * DOLLAR // 2, "cache_read": 6 * DOLLAR // 10}),
    ),
)

counts = st.integers(0, 1_000) | st.integers(0, MAX_TOKENS)
pools = st.builds(TokenCounts, *[counts] * 6)
rate_nanos = st.integers(0, 1_000) | st.integers(0, MAX_RATE_NANOS)
full_rates = st.builds(TokenRates, *[rate_nanos] * 6)


def flat(**nanos: int | None) -> tuple[Tier, ...]:
    return (Tier(0, TokenRates.inherit(nanos)),)


@pytest.mark.parametrize(("kind", "parent"), PARENTS)
def test_a_kind_without_a_rate_takes_that_of_its_parent(kind: str, parent: str) -> None:
    rates = TokenRates.inherit({"input": 11, "output": 22})
    assert getattr(rates, kind) == getattr(rates, parent)


@pytest.mark.parametrize(("kind", "parent"), PARENTS)
def test_a_rate_of_its_own_stands_even_if_zero(kind: str, parent: str) -> None:
    rates = TokenRates.inherit({"input": 11, "output": 22, kind: 0})
    assert getattr(rates, kind) == 0
    assert getattr(rates, parent) > 0


@pytest.mark.parametrize(("kind", "_parent"), PARENTS)
def test_a_kind_whose_price_cannot_be_expressed_inherits_nothing(kind: str, _parent: str) -> None:
    rates = TokenRates.inherit({"input": 11, "output": 22, kind: None})
    assert getattr(rates, kind) is None


@pytest.mark.parametrize(("kind", "parent"), PARENTS)
def test_a_parent_without_a_price_leaves_its_kinds_without_one(kind: str, parent: str) -> None:
    own = {"input": 11, "output": 22}
    del own[parent]
    assert getattr(TokenRates.inherit(own), kind) is None
    assert getattr(TokenRates.inherit({**own, parent: None}), kind) is None


@pytest.mark.parametrize(("kind", "parent"), PARENTS)
def test_a_kind_may_have_a_price_where_its_parent_has_none(kind: str, parent: str) -> None:
    rates = TokenRates.inherit({kind: 33})
    assert getattr(rates, kind) == 33
    assert getattr(rates, parent) is None


@pytest.mark.parametrize("rate", [-1, MAX_RATE_NANOS + 1])
def test_a_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(InvalidAmountError, match="cache_read"):
        TokenRates.inherit({"input": 1, "cache_read": rate})
    assert TokenRates.inherit({"input": MAX_RATE_NANOS}).output is None


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_tokens_without_a_price_are_never_free(kind: str) -> None:
    rates = TokenRates(*(None if other == kind else 1 for other in TOKEN_KINDS))
    with pytest.raises(PriceNotSupportedError, match=kind):
        list_price_nanos([Tier(0, rates)], TokenCounts(**{kind: 1}))


@pytest.mark.parametrize("kind", TOKEN_KINDS)
def test_no_tokens_of_a_kind_without_a_price_do_no_harm(kind: str) -> None:
    rates = TokenRates(*(None if other == kind else 10**6 for other in TOKEN_KINDS))
    tokens = TokenCounts(*(0 if other == kind else 1 for other in TOKEN_KINDS))
    assert list_price_nanos([Tier(0, rates)], tokens) == 5


@given(full_rates, pools)
def test_the_price_is_the_exact_sum_rounded_once(rates: TokenRates, tokens: TokenCounts) -> None:
    exact = sum(Fraction(count * rate, 10**6) for count, rate in zip(tokens, rates, strict=True))
    assert list_price_nanos([Tier(0, rates)], tokens) == round(exact)


def test_pools_are_not_rounded_one_by_one() -> None:
    """Six pools of 0.4 nanos each are 2.4 nanos, not six times zero."""
    assert list_price_nanos([Tier(0, TokenRates(*[400_000] * 6))], TokenCounts(*[1] * 6)) == 2


@pytest.mark.parametrize(("tokens", "nanos"), [(1, 0), (2, 1), (3, 2), (5, 2), (7, 4)])
def test_half_a_nano_goes_to_the_even_neighbour(tokens: int, nanos: int) -> None:
    assert list_price_nanos(flat(input=500_000), TokenCounts(input=tokens)) == nanos


def test_the_dearest_record_fits_a_bigint() -> None:
    dearest = [Tier(0, TokenRates(*[MAX_RATE_NANOS] * 6))]
    assert list_price_nanos(dearest, TokenCounts(*[MAX_TOKENS] * 6)) < 2**63


@pytest.mark.parametrize(("tokens", "nanos"), [(200_000, 600_000_000), (200_001, 1_200_006_000)])
def test_a_tier_holds_strictly_above_its_bound_and_for_all_tokens(tokens: int, nanos: int) -> None:
    assert list_price_nanos(SONNET, TokenCounts(input=tokens)) == nanos


@pytest.mark.parametrize("kind", INPUT_KINDS)
def test_every_input_pool_counts_towards_the_tier(kind: str) -> None:
    at_bound = TokenCounts(input=100_000)._replace(**{kind: 200_000 if kind == "input" else 100_000})
    above = at_bound._replace(**{kind: getattr(at_bound, kind) + 1})
    assert at_bound.total_input == 200_000
    assert tier_for(SONNET, at_bound.total_input).above_tokens == 0
    assert tier_for(SONNET, above.total_input).above_tokens == 200_000


def test_output_does_not_count_towards_the_tier_but_pays_its_rate() -> None:
    assert list_price_nanos(SONNET, TokenCounts(input=200_000, output=10**6)) == 600_000_000 + 15 * DOLLAR
    above = TokenCounts(input=200_001, output=10**6)
    assert list_price_nanos(SONNET, above) == 1_200_006_000 + 22_500_000_000


def test_a_record_without_input_is_priced_at_the_first_tier() -> None:
    assert list_price_nanos(SONNET, TokenCounts(output=10**6)) == 15 * DOLLAR


@given(st.sets(st.integers(1, 10**6), max_size=5), st.integers(0, 2 * 10**6))
def test_the_highest_bound_below_the_total_wins(bounds: set[int], total: int) -> None:
    tiers = [Tier(above, TokenRates(*[above] * 6)) for above in (0, *sorted(bounds))]
    expected = max((bound for bound in bounds if bound < total), default=0)
    assert tier_for(tiers, total).above_tokens == expected


def dated(*starts: datetime) -> tuple[Rate, ...]:
    return tuple(Rate(number, start, flat(input=number)) for number, start in enumerate(starts, 1))


def test_the_time_of_the_record_chooses_the_rate() -> None:
    rates = dated(BEGINNING_OF_TIME, NOW, NOW + timedelta(days=1))
    assert rate_at(rates, datetime(2020, 1, 1, tzinfo=UTC)) == rates[0]
    assert rate_at(rates, NOW - timedelta(microseconds=1)) == rates[0]
    assert rate_at(rates, NOW) == rates[1]
    assert rate_at(rates, NOW + timedelta(hours=23)) == rates[1]
    assert rate_at(rates, NOW + timedelta(days=400)) == rates[2]


def test_before_the_first_rate_there_is_none() -> None:
    assert rate_at(dated(NOW), NOW - timedelta(microseconds=1)) is None
    assert rate_at((), NOW) is None


@given(st.sets(st.integers(-1_000, 1_000), max_size=8), st.integers(-1_100, 1_100))
def test_the_latest_rate_already_in_force_wins(starts: set[int], minute: int) -> None:
    rates = dated(*(NOW + timedelta(minutes=start) for start in sorted(starts)))
    begun = [rate for rate in rates if rate.effective_from <= NOW + timedelta(minutes=minute)]
    assert rate_at(rates, NOW + timedelta(minutes=minute)) == (begun[-1] if begun else None)
