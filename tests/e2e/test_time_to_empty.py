"""When a balance will be used up: how wrong that is, beside the plain average. Run with -s to read it."""

from datetime import timedelta

import pytest

from bench.forecast import Errors, diurnal_accounts, errors, trace_accounts

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


_SEEDS = (1, 2, 3)


def _on_the_trace(accounts: int) -> Errors:
    """The real hour, shared among so many accounts in three ways."""
    shared = [account for seed in _SEEDS for account in trace_accounts(accounts, seed)]
    return errors(shared, 10 * _MINUTE, after=10 * _MINUTE, every=_MINUTE)


@pytest.mark.parametrize("accounts", [1, 10])
def test_ten_minutes_ahead_on_the_real_trace_it_is_less_wrong_than_an_average(accounts: int) -> None:
    measured = _on_the_trace(accounts)
    print(f"{accounts} accounts: {measured}")  # noqa: T201 - the figures side by side
    assert measured.pace < measured.plain_average
    assert measured.pace < measured.last_average


def test_where_only_chance_decides_it_is_hardly_worse_than_the_average_of_everything() -> None:
    """Thirty accounts that share the hour at random differ from steady ones by nothing but luck."""
    measured = _on_the_trace(30)
    print(f"30 accounts: {measured}")  # noqa: T201
    assert measured.pace < 1.02 * measured.plain_average
    assert measured.pace < measured.last_average


@pytest.mark.slow
@pytest.mark.parametrize("hours", [6, 24])
def test_hours_and_a_day_ahead_on_accounts_with_days_and_weeks_it_is_less_wrong(hours: int) -> None:
    accounts = diurnal_accounts(accounts=12, days=21)
    measured = errors(accounts, hours * _HOUR, after=3 * _DAY, every=5 * _HOUR)
    print(measured)  # noqa: T201
    assert measured.pace < measured.plain_average
    assert measured.pace < measured.last_average
