"""How long a balance lasts."""

from datetime import timedelta

import pytest

from shared.domain.money import MAX_BALANCE_NANOS, NANOS_PER_DOLLAR
from shared.domain.runway import time_to_empty

_WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("balance", "spent", "lasts"),
    [
        (70, 7, timedelta(days=70)),
        (1, 14, timedelta(hours=12)),
        (0, 7, timedelta(0)),
        (-5, 7, timedelta(0)),
        (10, 0, None),
        (10, -1, None),
        (366, 7, None),
        (365, 7, timedelta(days=365)),
    ],
)
def test_a_balance_lasts_at_the_pace_of_late(balance: int, spent: int, lasts: timedelta | None) -> None:
    assert time_to_empty(balance * NANOS_PER_DOLLAR, spent * NANOS_PER_DOLLAR, _WEEK) == lasts


def test_the_largest_balance_is_no_problem() -> None:
    assert time_to_empty(MAX_BALANCE_NANOS, 1, _WEEK) is None
