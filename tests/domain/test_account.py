"""An account's roll-over into the next cycle: once each, with grace for late records, on the plan's terms."""

from datetime import UTC, datetime, timedelta

import pytest
from domain_builders import GRACE, opened, payg_account, plan, subscribed
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain.account import AccountState, roll_over
from shared.domain.cycles import cycle_at, time_zone
from shared.domain.ledger import Transfer, TransferKind, chain_hash

NOVEMBER, DECEMBER, JANUARY, FEBRUARY = (
    datetime(2026, 11, 1, tzinfo=UTC),
    datetime(2026, 12, 1, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC),
    datetime(2027, 2, 1, tzinfo=UTC),
)
MINUTE, INSTANT = timedelta(minutes=1), timedelta(microseconds=1)


def used(state: AccountState, quota_left_nanos: int, spent_nanos: int = 0) -> AccountState:
    """Return the account with what is left of its current cycle."""
    cycle = replace(state.cycles[-1], quota_remaining_nanos=quota_left_nanos, spent_nanos=spent_nanos)
    return state.with_cycle(cycle)


def starts(state: AccountState) -> list[datetime]:
    return [cycle.start for cycle in state.cycles]


def assert_chained(before: AccountState, transfers: tuple[Transfer, ...], after: AccountState) -> None:
    previous = before.head_hash
    for seq, transfer in enumerate(transfers, before.seq + 1):
        assert transfer.seq == seq
        assert transfer.hash == chain_hash(previous, transfer)
        previous = transfer.hash
    assert (after.seq, after.head_hash) == (before.seq + len(transfers), previous)


def test_nothing_is_due_before_the_end_of_the_cycle() -> None:
    state = used(subscribed(plan()), 5)
    assert roll_over(state, DECEMBER - INSTANT, GRACE) == (state, ())


def test_the_next_cycle_opens_at_the_very_end_of_the_last_with_its_quota_afresh() -> None:
    after, _ = roll_over(used(subscribed(plan(1_000, 200_000)), 5, 70), DECEMBER, GRACE)
    assert after.cycle_now(DECEMBER) == opened(plan(1_000, 200_000), DECEMBER, JANUARY)


def test_a_reset_is_a_transfer_of_no_money_that_grants_the_quota() -> None:
    _, [transfer] = roll_over(used(subscribed(plan(1_000), balance_nanos=77), 5), DECEMBER, GRACE)
    assert (transfer.kind, transfer.amount_nanos) == (TransferKind.QUOTA_RESET, 0)
    assert (transfer.balance_after_nanos, transfer.quota_amount_nanos) == (77, 1_000)
    assert (transfer.quota_after_nanos, transfer.cycle_spent_after_nanos) == (1_000, 0)
    assert (transfer.occurred_at, transfer.rows_digest) == (DECEMBER, None)


def test_a_due_cycle_opens_once() -> None:
    once, _ = roll_over(subscribed(plan()), DECEMBER, GRACE)
    assert roll_over(once, DECEMBER, GRACE) == (once, ())
    assert roll_over(once, DECEMBER + timedelta(days=20), GRACE)[1] == ()


def test_the_previous_cycle_takes_late_records_for_the_grace_period() -> None:
    late = DECEMBER - MINUTE
    within, _ = roll_over(subscribed(plan()), DECEMBER + GRACE - INSTANT, GRACE)
    assert within.cycle_for(late, DECEMBER + GRACE - INSTANT).start == NOVEMBER
    over, transfers = roll_over(within, DECEMBER + GRACE, GRACE)
    assert over.cycle_for(late, DECEMBER + GRACE).start == DECEMBER
    assert transfers == ()


def test_what_the_previous_cycle_used_stands_while_it_is_open() -> None:
    after, _ = roll_over(used(subscribed(plan()), 5, 70), DECEMBER + MINUTE, GRACE)
    previous = after.cycle_for(DECEMBER - MINUTE, DECEMBER + MINUTE)
    assert (previous.quota_remaining_nanos, previous.spent_nanos) == (5, 70)


def test_a_changed_cycle_takes_the_place_of_its_own_and_leaves_the_others() -> None:
    after, _ = roll_over(used(subscribed(plan()), 5, 70), DECEMBER + MINUTE, GRACE)
    current = replace(after.cycle_now(DECEMBER + MINUTE), spent_nanos=9)
    changed = after.with_cycle(current)
    assert [(c.start, c.spent_nanos) for c in changed.cycles] == [(NOVEMBER, 70), (DECEMBER, 9)]


def test_the_current_cycle_is_the_one_of_the_clock_even_while_the_previous_is_open() -> None:
    after, _ = roll_over(subscribed(plan()), DECEMBER + MINUTE, GRACE)
    assert after.cycle_now(DECEMBER + MINUTE).start == DECEMBER


@pytest.mark.parametrize("time", [datetime(2025, 3, 1, tzinfo=UTC), DECEMBER + 10 * MINUTE])
def test_a_record_of_no_open_cycle_counts_in_the_current_one(time: datetime) -> None:
    state = subscribed(plan())
    assert state.cycle_for(time, DECEMBER - INSTANT).start == NOVEMBER


def test_cycles_that_nobody_looked_at_are_passed_over() -> None:
    after, transfers = roll_over(subscribed(plan()), FEBRUARY + timedelta(days=3), GRACE)
    assert starts(after) == [FEBRUARY]
    assert len(transfers) == 1


def test_a_cycle_passed_over_opens_too_while_it_takes_late_records() -> None:
    before = subscribed(plan())
    after, transfers = roll_over(before, FEBRUARY + MINUTE, GRACE)
    assert starts(after) == [JANUARY, FEBRUARY]
    assert [transfer.kind for transfer in transfers] == [TransferKind.QUOTA_RESET] * 2
    assert_chained(before, transfers, after)


def test_a_cycle_passed_over_that_takes_no_more_late_records_is_none() -> None:
    after, transfers = roll_over(subscribed(plan()), FEBRUARY + GRACE, GRACE)
    assert starts(after) == [FEBRUARY]
    assert len(transfers) == 1


def test_a_record_at_the_very_start_of_a_cycle_counts_in_it() -> None:
    after, _ = roll_over(subscribed(plan()), DECEMBER + MINUTE, GRACE)
    assert after.cycle_for(DECEMBER, DECEMBER + MINUTE).start == DECEMBER
    assert after.cycle_for(NOVEMBER, DECEMBER + MINUTE).start == NOVEMBER


def test_a_cancelled_plan_lasts_to_the_end_of_its_cycle_then_the_account_is_payg() -> None:
    cancelled = replace(subscribed(plan(1_000), balance_nanos=50), plan=None)
    last, transfers = roll_over(cancelled, DECEMBER - INSTANT, GRACE)
    assert last.cycle_now(DECEMBER - INSTANT) == last.cycles[0]
    after, more = roll_over(last, DECEMBER, GRACE)
    assert after.cycle_for(DECEMBER, DECEMBER) is None
    assert (transfers, more) == ((), ())


def test_a_cancelled_plan_takes_late_records_of_its_last_cycle_for_the_grace_period() -> None:
    within, _ = roll_over(replace(subscribed(plan()), plan=None), DECEMBER + MINUTE, GRACE)
    assert within.cycle_for(DECEMBER - MINUTE, DECEMBER + MINUTE).start == NOVEMBER
    over, _ = roll_over(within, DECEMBER + GRACE, GRACE)
    assert over.cycles == ()


def test_a_changed_plan_takes_effect_at_the_next_cycle() -> None:
    better = plan(9_000, 500_000, name="team")
    changed = replace(used(subscribed(plan(1_000)), 5), plan=better)
    before_end, _ = roll_over(changed, DECEMBER - INSTANT, GRACE)
    assert before_end.cycle_now(DECEMBER - INSTANT).plan_id == "pro"
    after, [transfer] = roll_over(before_end, DECEMBER, GRACE)
    assert after.cycle_now(DECEMBER) == opened(better, DECEMBER, JANUARY)
    assert transfer.quota_amount_nanos == 9_000


@pytest.mark.parametrize(
    ("old", "new"), [("UTC", "Europe/Berlin"), ("Europe/Berlin", "UTC"), ("Asia/Tokyo", "America/New_York")]
)
def test_a_changed_plan_of_another_time_zone_leaves_no_hour_without_a_cycle(old: str, new: str) -> None:
    """Anchored in winter, the boundaries of two zones part by an hour when one has summer time."""
    state = subscribed(plan(zone=old), datetime(2026, 3, 15, 12, tzinfo=UTC))
    state, end = replace(state, plan=plan(zone=new, name="moved")), state.cycles[0].end
    for now in (end + timedelta(hours=hours) for hours in range(0, 24 * 40, 3)):
        state, _ = roll_over(state, now, GRACE)
        assert state.cycle_now(now) is not None, f"no cycle {now - end} after the last one ended"


def test_each_reset_grants_what_its_own_cycle_has() -> None:
    """With three cycles open at once, the newest on other terms than the one before."""
    long = timedelta(days=70)
    state, _ = roll_over(subscribed(plan(1_000)), DECEMBER, long)
    state, [transfer] = roll_over(replace(state, plan=plan(9_000)), JANUARY, long)
    assert starts(state) == [NOVEMBER, DECEMBER, JANUARY]
    assert transfer.quota_amount_nanos == 9_000


def test_a_transfer_of_an_account_without_a_plan_is_of_no_quota() -> None:
    after, transfer = payg_account(5).post(TransferKind.CREDIT, 7, "opening", NOVEMBER)
    assert (transfer.balance_after_nanos, after.balance_nanos) == (12, 12)
    assert transfer.quota_amount_nanos == transfer.quota_after_nanos == transfer.cycle_spent_after_nanos == 0


def test_an_account_without_a_plan_has_nothing_to_roll_over() -> None:
    assert roll_over(payg_account(5), FEBRUARY, GRACE) == (payg_account(5), ())


zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
anchors = st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
waits = st.lists(st.timedeltas(timedelta(0), timedelta(days=75)) | st.just(MINUTE), max_size=8)


@given(zones, anchors, waits)
def test_whenever_one_looks_the_current_cycle_is_open_and_every_transfer_chained(
    zone: str, anchor: datetime, looks: list[timedelta]
) -> None:
    state, now = subscribed(plan(zone=zone), anchor), anchor
    resets = set()
    for wait in looks:
        now += wait
        before = state
        state, transfers = roll_over(before, now, GRACE)
        assert_chained(before, transfers, state)
        assert roll_over(state, now, GRACE) == (state, ())
        current, expected = state.cycle_now(now), cycle_at(anchor, time_zone(zone), now)
        assert (current.start, current.end) == (expected.start, expected.end)
        assert all(cycle.end + GRACE > now for cycle in state.cycles)
        assert resets.isdisjoint(transfer.cause for transfer in transfers)
        resets |= {transfer.cause for transfer in transfers}
