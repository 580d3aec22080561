"""How fast an account spends: until when its balance lasts, and what a burst does to that."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import MAX_BALANCE_NANOS, NANOS_PER_DOLLAR
from shared.domain.pace import HORIZON, Pace, at_average, empty_at, pack, spend, unpack

CENT = NANOS_PER_DOLLAR // 100
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
MINUTE, HOUR, DAY, WEEK = (
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(weeks=1),
)


def steady(nanos: int, every: timedelta, begin: datetime, end: datetime, pace: Pace | None = None) -> Pace:
    """The pace of one who spends so much so often."""
    while begin < end:
        pace = spend(pace, nanos, begin)
        begin += every
    assert pace is not None
    return pace


def lasts(pace: Pace | None, balance_nanos: int, now: datetime) -> timedelta:
    found = empty_at(pace, balance_nanos, now)
    assert found is not None
    return found - now


def test_a_steady_pace_is_continued() -> None:
    pace = steady(CENT, MINUTE, MONDAY, MONDAY + 3 * DAY)
    for minutes in (10, 100, 3_000):
        assert lasts(pace, minutes * CENT, MONDAY + 3 * DAY) / MINUTE == pytest.approx(minutes, rel=0.05)


def test_nothing_is_said_of_who_spent_nothing_or_began_just_now() -> None:
    assert empty_at(None, CENT, MONDAY) is None
    pace = steady(CENT, MINUTE, MONDAY, MONDAY + 9 * MINUTE)
    assert empty_at(pace, CENT, MONDAY + 9 * MINUTE) is None
    assert empty_at(pace, CENT, MONDAY + 10 * MINUTE) is not None


@pytest.mark.parametrize("balance", [0, -1])
def test_a_balance_that_is_used_up_is_so_now(balance: int) -> None:
    assert empty_at(None, balance, MONDAY) == MONDAY


def test_beyond_two_weeks_nothing_is_said() -> None:
    pace = steady(CENT, MINUTE, MONDAY, MONDAY + DAY)
    assert empty_at(pace, 15 * 24 * 60 * CENT, MONDAY + DAY) is None
    assert empty_at(pace, CENT, MONDAY + DAY + HORIZON + MINUTE) is None


def test_one_large_request_hardly_moves_it_but_a_new_pace_does() -> None:
    before = steady(CENT, MINUTE, MONDAY, MONDAY + DAY)
    now = MONDAY + DAY
    burst = spend(before, 100 * CENT, now)
    plain = lasts(before, 120 * CENT, now)
    assert lasts(burst, 120 * CENT, now) > plain / 2
    ten_times_faster = steady(CENT, MINUTE / 10, now, now + 15 * MINUTE, before)
    assert lasts(ten_times_faster, 120 * CENT, now + 15 * MINUTE) < plain / 4


def test_what_is_rare_counts_once_it_has_come_again() -> None:
    pace, now = None, MONDAY
    for _ in range(24):
        pace = spend(steady(CENT, MINUTE, now, now + HOUR, pace), 100 * CENT, now + HOUR)
        now += HOUR
    truth = 160 * CENT  # an hour, 60 in cents and 100 at once
    assert lasts(pace, 5 * truth, now) / HOUR == pytest.approx(5, rel=0.25)


def test_the_fewer_payments_are_known_the_earlier_is_the_warning() -> None:
    few = lasts(steady(CENT, MINUTE, MONDAY, MONDAY + 16 * MINUTE), 60 * CENT, MONDAY + 16 * MINUTE)
    many = lasts(steady(CENT, MINUTE, MONDAY, MONDAY + 8 * HOUR), 60 * CENT, MONDAY + 8 * HOUR)
    assert few < 0.85 * HOUR
    assert 0.93 * HOUR < many < HOUR


def test_who_works_by_day_is_not_out_of_money_by_night() -> None:
    pace = None
    for day in range(7):
        opens = MONDAY + day * DAY + 9 * HOUR
        pace = steady(CENT, MINUTE, opens, opens + 8 * HOUR, pace)
    midnight = MONDAY + 7 * DAY
    empty = empty_at(pace, 60 * CENT, midnight)
    assert empty is not None
    assert midnight + 9 * HOUR < empty < midnight + 11 * HOUR


def test_a_weekend_without_work_is_learnt() -> None:
    pace = None
    for day in (*range(5), *range(7, 12), *range(14, 19)):
        pace = steady(CENT, 5 * MINUTE, MONDAY + day * DAY, MONDAY + (day + 1) * DAY, pace)
    friday_night = MONDAY + 19 * DAY
    assert lasts(pace, 3 * 24 * 12 * CENT, friday_night) > 3.5 * DAY


spendings = st.lists(
    st.tuples(st.timedeltas(timedelta(0), timedelta(days=3)), st.integers(1, 10**15)), min_size=1, max_size=30
)


@given(spendings, st.integers(1, 10**16), st.integers(0, 10**16))
def test_more_money_never_lasts_shorter(
    history: list[tuple[timedelta, int]], balance: int, more: int
) -> None:
    pace, now = None, MONDAY
    for pause, nanos in history:
        now += pause
        pace = spend(pace, nanos, now)
    less_money, more_money = empty_at(pace, balance, now), empty_at(pace, balance + more, now)
    assert more_money is None or (less_money is not None and less_money <= more_money)


@given(spendings)
def test_it_is_stored_as_it_is(history: list[tuple[timedelta, int]]) -> None:
    pace, now = None, MONDAY
    for pause, nanos in history:
        now += pause
        pace = spend(pace, nanos, now)
        assert unpack(pack(pace)) == pace
    assert unpack(pack(None)) is None


def test_a_clock_that_is_a_little_behind_does_no_harm() -> None:
    pace = steady(CENT, MINUTE, MONDAY, MONDAY + DAY)
    assert spend(pace, CENT, MONDAY + DAY - 2 * MINUTE).at == pace.at


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
def test_a_plain_average_is_continued(balance: int, spent: int, lasts: timedelta | None) -> None:
    assert at_average(balance * NANOS_PER_DOLLAR, spent * NANOS_PER_DOLLAR, WEEK) == lasts


def test_the_largest_balance_at_the_least_average_is_no_problem() -> None:
    assert at_average(MAX_BALANCE_NANOS, 1, WEEK) is None
