"""Whether an account is topped up now, later, or not at all."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.topup import (
    MINIMUM_NANOS,
    OPEN_STATES,
    PRESETS,
    AutoTopup,
    Preset,
    TopUp,
    TopupHistory,
    TopupState,
    WaitUntil,
    check_caps,
    day_start,
    decide,
    month_start,
    next_day,
    next_month,
)

DOLLAR = NANOS_PER_DOLLAR
NOW = datetime(2026, 11, 23, 12, 30, 5, 7, tzinfo=UTC)
COOLDOWN = timedelta(seconds=60)
AUTO = AutoTopup(
    enabled=True, threshold_nanos=10 * DOLLAR, amount_nanos=25 * DOLLAR, max_per_day=3, max_per_month=9
)
LOW = 10 * DOLLAR - 1
NEW = TopupHistory()
TOMORROW = datetime(2026, 11, 24, tzinfo=UTC)
NEXT_MONTH = datetime(2026, 12, 1, tzinfo=UTC)


def decided(
    balance_nanos: int = LOW, history: TopupHistory = NEW, auto: AutoTopup = AUTO, now: datetime = NOW
) -> TopUp | WaitUntil | None:
    return decide(auto, balance_nanos, history, now, COOLDOWN)


def test_strictly_below_the_threshold_charges_the_amount() -> None:
    assert decided(10 * DOLLAR - 1) == TopUp(25 * DOLLAR)
    assert decided(-(10**15)) == TopUp(25 * DOLLAR)


@pytest.mark.parametrize("balance_nanos", [10 * DOLLAR, 10 * DOLLAR + 1, 10**15])
def test_at_the_threshold_or_above_it_nothing_is_due(balance_nanos: int) -> None:
    assert decided(balance_nanos) is None


def test_a_threshold_of_zero_waits_for_debt() -> None:
    at_zero = replace(AUTO, threshold_nanos=0)
    assert decided(0, auto=at_zero) is None
    assert decided(-1, auto=at_zero) == TopUp(25 * DOLLAR)


def test_switched_off_nothing_is_due() -> None:
    assert decided(-DOLLAR, auto=replace(AUTO, enabled=False)) is None


def test_money_on_its_way_suppresses_another() -> None:
    assert decided(history=TopupHistory(open=True)) is None


def test_money_may_come_in_every_state_that_is_not_final() -> None:
    final = {TopupState.SUCCEEDED, TopupState.FAILED, TopupState.CANCELED, TopupState.QUARANTINED}
    assert set(OPEN_STATES) == set(TopupState) - final


def test_after_one_that_lifted_the_balance_the_next_does_not_wait() -> None:
    assert decided(history=TopupHistory(today=1, this_month=1)) == TopUp(25 * DOLLAR)


def test_after_one_that_fell_short_the_next_waits_for_the_cool_down() -> None:
    at = NOW - timedelta(seconds=20)
    assert decided(history=TopupHistory(last_fell_short_at=at)) == WaitUntil(at + COOLDOWN)


@pytest.mark.parametrize("ago_s", [60, 61, 10**6])
def test_a_cool_down_that_is_over_holds_nothing_up(ago_s: int) -> None:
    history = TopupHistory(last_fell_short_at=NOW - timedelta(seconds=ago_s))
    assert decided(history=history) == TopUp(25 * DOLLAR)


def test_the_cap_of_a_day_waits_for_the_next_utc_day() -> None:
    assert decided(history=TopupHistory(today=2, this_month=2)) == TopUp(25 * DOLLAR)
    assert decided(history=TopupHistory(today=3, this_month=3)) == WaitUntil(TOMORROW)
    assert decided(history=TopupHistory(today=4, this_month=4)) == WaitUntil(TOMORROW)


def test_the_cap_of_a_month_waits_for_the_next_utc_month() -> None:
    assert decided(history=TopupHistory(today=0, this_month=8)) == TopUp(25 * DOLLAR)
    assert decided(history=TopupHistory(today=0, this_month=9)) == WaitUntil(NEXT_MONTH)


def test_the_money_of_a_day_may_reach_its_cap_and_not_pass_it() -> None:
    capped = replace(AUTO, max_per_day_nanos=50 * DOLLAR)
    assert decided(history=TopupHistory(today=1, today_nanos=25 * DOLLAR), auto=capped) == TopUp(25 * DOLLAR)
    passed = TopupHistory(today=1, today_nanos=25 * DOLLAR + 1)
    assert decided(history=passed, auto=capped) == WaitUntil(TOMORROW)


def test_the_money_of_a_month_may_reach_its_cap_and_not_pass_it() -> None:
    capped = replace(AUTO, max_per_month_nanos=50 * DOLLAR)
    reached = TopupHistory(this_month=1, this_month_nanos=25 * DOLLAR)
    assert decided(history=reached, auto=capped) == TopUp(25 * DOLLAR)
    passed = replace(reached, this_month_nanos=25 * DOLLAR + 1)
    assert decided(history=passed, auto=capped) == WaitUntil(NEXT_MONTH)


def test_a_cap_of_the_month_in_money_outlasts_one_of_the_day_in_number() -> None:
    capped = replace(AUTO, max_per_month_nanos=75 * DOLLAR)
    full = TopupHistory(today=3, this_month=3, today_nanos=75 * DOLLAR, this_month_nanos=75 * DOLLAR)
    assert decided(history=full, auto=capped) == WaitUntil(NEXT_MONTH)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"max_per_day": 0}, "between 1 and"),
        ({"max_per_month": 1_000_001}, "between 1 and"),
        ({"max_per_day_nanos": 25 * DOLLAR - 1}, "below the amount"),
        ({"max_per_month_nanos": 25 * DOLLAR - 1}, "below the amount"),
    ],
)
def test_caps_that_let_nothing_through_are_named(wrong: dict[str, int], why: str) -> None:
    assert why in str(check_caps(replace(AUTO, **wrong)))  # type: ignore[arg-type]


def test_caps_of_one_top_up_are_caps() -> None:
    tightest = replace(AUTO, max_per_day=1, max_per_day_nanos=25 * DOLLAR, max_per_month_nanos=25 * DOLLAR)
    assert check_caps(tightest) is None
    assert check_caps(AUTO) is None


def test_the_presets_are_those_of_best_practice() -> None:
    in_dollars = {
        name: (terms.threshold_nanos // DOLLAR, terms.amount_nanos // DOLLAR)
        for name, terms in PRESETS.items()
    }
    assert in_dollars == {"light": (5, 20), "regular": (20, 50), "heavy": (50, 100), "production": (100, 200)}
    assert set(PRESETS) == set(Preset)
    assert all(terms.amount_nanos >= MINIMUM_NANOS for terms in PRESETS.values())


def test_of_several_reasons_to_wait_the_longest_counts() -> None:
    history = TopupHistory(today=3, this_month=9, last_fell_short_at=NOW)
    assert decided(history=history) == WaitUntil(NEXT_MONTH)
    late = datetime(2026, 11, 23, 23, 59, 30, tzinfo=UTC)
    short = TopupHistory(today=3, this_month=3, last_fell_short_at=late)
    assert decided(history=short, now=late) == WaitUntil(late + COOLDOWN)


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        ("2026-12-31T23:59:59.999999+00:00", "2027-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("2028-02-28T10:00:00+00:00", "2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
        ("2026-01-31T00:00:00+00:00", "2026-02-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"),
        ("2026-06-01T00:30:00+02:00", "2026-06-01T00:00:00+00:00", "2026-06-01T00:00:00+00:00"),
    ],
)
def test_days_and_months_are_those_of_utc(now: str, day: str, month: str) -> None:
    assert next_day(datetime.fromisoformat(now)) == datetime.fromisoformat(day)
    assert next_month(datetime.fromisoformat(now)) == datetime.fromisoformat(month)


instants = st.datetimes(
    datetime(2020, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    datetime(2090, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))]),
)
histories = st.builds(
    TopupHistory,
    open=st.booleans(),
    today=st.integers(0, 5),
    this_month=st.integers(0, 12),
    last_fell_short_at=st.none() | instants,
    today_nanos=st.integers(0, 150),
    this_month_nanos=st.integers(0, 150),
)
autos = st.builds(
    AutoTopup,
    enabled=st.booleans(),
    threshold_nanos=st.integers(0, 100),
    amount_nanos=st.integers(1, 50),
    max_per_day=st.integers(1, 4),
    max_per_month=st.integers(1, 10),
    max_per_day_nanos=st.none() | st.integers(50, 150),
    max_per_month_nanos=st.none() | st.integers(50, 150),
)
balances = st.integers(-20, 120)


@given(autos, balances, histories, instants)
def test_it_charges_exactly_when_every_condition_holds(
    auto: AutoTopup, balance_nanos: int, history: TopupHistory, now: datetime
) -> None:
    decision = decide(auto, balance_nanos, history, now, COOLDOWN)
    short_at = history.last_fell_short_at
    due = auto.enabled and not history.open and balance_nanos < auto.threshold_nanos
    free = (
        (short_at is None or now >= short_at + COOLDOWN)
        and history.today < auto.max_per_day
        and history.this_month < auto.max_per_month
        and _fits(auto, history.today_nanos, auto.max_per_day_nanos)
        and _fits(auto, history.this_month_nanos, auto.max_per_month_nanos)
    )
    assert (decision is None) == (not due)
    assert isinstance(decision, TopUp) == (due and free)
    if isinstance(decision, TopUp):
        assert decision.amount_nanos == auto.amount_nanos


@given(autos, balances, histories, instants)
def test_who_waits_until_then_is_topped_up_then(
    auto: AutoTopup, balance_nanos: int, history: TopupHistory, now: datetime
) -> None:
    decision = decide(auto, balance_nanos, history, now, COOLDOWN)
    if not isinstance(decision, WaitUntil):
        return
    assert decision.time > now
    then = decision.time
    # What was counted for a day or a month that is over by then no longer counts.
    later = history
    if day_start(then) != day_start(now):
        later = replace(later, today=0, today_nanos=0)
    if month_start(then) != month_start(now):
        later = replace(later, this_month=0, this_month_nanos=0)
    assert decide(auto, balance_nanos, later, then, COOLDOWN) == TopUp(auto.amount_nanos)


@given(autos, histories, instants, st.integers(0, 50), balances)
def test_more_money_never_makes_a_top_up_more_urgent(
    auto: AutoTopup, history: TopupHistory, now: datetime, more_nanos: int, balance_nanos: int
) -> None:
    poorer = decide(auto, balance_nanos, history, now, COOLDOWN)
    richer = decide(auto, balance_nanos + more_nanos, history, now, COOLDOWN)
    assert richer in (None, poorer)


@given(autos, st.lists(st.timedeltas(timedelta(0), timedelta(days=20)), min_size=1, max_size=60), instants)
def test_whatever_the_times_no_cap_of_a_utc_day_or_month_is_ever_passed(
    auto: AutoTopup, pauses: list[timedelta], now: datetime
) -> None:
    auto = replace(auto, enabled=True)
    made: list[datetime] = []
    for pause in pauses:
        now += pause
        today = sum(day_start(at) == day_start(now) for at in made)
        this_month = sum(month_start(at) == month_start(now) for at in made)
        history = TopupHistory(
            today=today,
            this_month=this_month,
            today_nanos=today * auto.amount_nanos,
            this_month_nanos=this_month * auto.amount_nanos,
        )
        if isinstance(decide(auto, -1, history, now, COOLDOWN), TopUp):
            made.append(now)
    assert made
    days, months = Counter(map(day_start, made)), Counter(map(month_start, made))
    assert max(days.values()) <= auto.max_per_day
    assert max(months.values()) <= auto.max_per_month
    assert auto.amount_nanos * max(days.values()) <= (auto.max_per_day_nanos or 10**9)
    assert auto.amount_nanos * max(months.values()) <= (auto.max_per_month_nanos or 10**9)


SOON = replace(AUTO, lead_minutes=30)
RICH = 50 * DOLLAR


def test_with_a_lead_a_balance_that_will_not_last_is_topped_up_above_the_threshold() -> None:
    within, beyond = NOW + timedelta(minutes=30), NOW + timedelta(minutes=31)
    assert decide(SOON, RICH, NEW, NOW, COOLDOWN, within) == TopUp(25 * DOLLAR)
    assert decide(SOON, RICH, NEW, NOW, COOLDOWN, beyond) is None
    assert decide(SOON, RICH, NEW, NOW, COOLDOWN, None) is None
    assert decide(AUTO, RICH, NEW, NOW, COOLDOWN, within) is None


def test_what_only_an_estimate_asks_for_waits_for_the_cool_down_after_any_other() -> None:
    just_now = TopupHistory(today=1, this_month=1, last_at=NOW - timedelta(seconds=10))
    wait = WaitUntil(NOW + timedelta(seconds=50))
    assert decide(SOON, RICH, just_now, NOW, COOLDOWN, NOW) == wait
    assert decide(SOON, LOW, just_now, NOW, COOLDOWN, NOW) == TopUp(25 * DOLLAR)
    assert decide(SOON, RICH, replace(just_now, today=3), NOW, COOLDOWN, NOW) == WaitUntil(TOMORROW)
    assert decide(SOON, RICH, TopupHistory(open=True), NOW, COOLDOWN, NOW) is None


@pytest.mark.parametrize(("lead", "fits"), [(1, True), (10_080, True), (0, False), (10_081, False)])
def test_a_lead_is_at_most_a_week(lead: int, fits: bool) -> None:  # noqa: FBT001
    assert (check_caps(replace(AUTO, lead_minutes=lead)) is None) is fits


def _fits(auto: AutoTopup, taken_nanos: int, cap_nanos: int | None) -> bool:
    return cap_nanos is None or taken_nanos + auto.amount_nanos <= cap_nanos
