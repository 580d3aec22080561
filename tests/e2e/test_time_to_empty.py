"""When a balance will be used up: how wrong that is, beside the plain average. Run with -s to read it.

Seeds are held out: nothing was chosen by what they lead to.
"""

from datetime import timedelta
from functools import cache

import pytest

from bench.forecast import (
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    Errors,
    Spending,
    diurnal_accounts,
    errors,
    trace_accounts,
)

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize("accounts", [1, 10, 30])
def test_ten_minutes_ahead_on_the_real_trace_it_is_less_wrong_than_an_average(accounts: int) -> None:
    """The real hour, shared at random: of many accounts each is steady but for chance."""
    shared = [account for seed in HELD_OUT_SEEDS for account in trace_accounts(accounts, seed)]
    _assert_less_wrong(errors(shared, 10 * _MINUTE, after=10 * _MINUTE, every=_MINUTE))


@pytest.mark.slow
@pytest.mark.parametrize("hours", [6, 24])
def test_hours_and_a_day_ahead_on_accounts_with_days_and_weeks_it_is_less_wrong(hours: int) -> None:
    measured = errors(_diurnal(), hours * _HOUR, after=3 * _DAY, every=5 * _HOUR)
    _assert_less_wrong(measured)
    assert measured.pace.percent < measured.last_average.percent


@cache
def _diurnal() -> list[list[Spending]]:
    return [account for seed in HELD_OUT_SEEDS[:2] for account in diurnal_accounts(12, days=21, seed=seed)]


def _assert_less_wrong(measured: Errors) -> None:
    print(measured)  # noqa: T201 - the figures side by side
    assert measured.pace.percent < measured.plain_average.percent
    assert measured.pace.factor < measured.plain_average.factor


def test_what_is_measured_is_held_out() -> None:
    assert not set(HELD_OUT_SEEDS) & set(TRAINING_SEEDS)
