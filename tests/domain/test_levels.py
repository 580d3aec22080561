"""Levels of a balance: normal > $20 >= low > $10 >= warning >= $5 > critical > 0 >= exhausted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.levels import Bounds, Level, level_of
from shared.domain.money import NANOS_PER_DOLLAR

DOLLAR = NANOS_PER_DOLLAR


@pytest.mark.parametrize(
    ("balance_nanos", "level"),
    [
        (10**18, "normal"),
        (20 * DOLLAR + 1, "normal"),
        (20 * DOLLAR, "low"),
        (20 * DOLLAR - 1, "low"),
        (10 * DOLLAR + 1, "low"),
        (10 * DOLLAR, "warning"),
        (10 * DOLLAR - 1, "warning"),
        (5 * DOLLAR + 1, "warning"),
        (5 * DOLLAR, "warning"),
        (5 * DOLLAR - 1, "critical"),
        (1, "critical"),
        (0, "exhausted"),
        (-1, "exhausted"),
        (-(10**18), "exhausted"),
    ],
)
def test_each_side_of_each_bound_has_its_level(balance_nanos: int, level: str) -> None:
    assert level_of(balance_nanos) == level


@pytest.mark.parametrize(
    ("balance_nanos", "level"),
    [(301, "normal"), (300, "low"), (201, "low"), (200, "warning"), (100, "warning"), (99, "critical")],
)
def test_an_account_may_have_bounds_of_its_own(balance_nanos: int, level: str) -> None:
    assert level_of(balance_nanos, Bounds(300, 200, 100)) == level


@given(st.integers(-(10**12), 10**12), st.integers(0, 10**12))
def test_more_money_is_never_a_worse_level(balance_nanos: int, more_nanos: int) -> None:
    order = list(Level)
    assert order.index(level_of(balance_nanos + more_nanos)) <= order.index(level_of(balance_nanos))
