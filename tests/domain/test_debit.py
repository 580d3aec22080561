"""The debit of one account's batch: once each, in order of (time, id), one transfer for what is new."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from domain_builders import COUNTS, GRACE, NOW, payg_account, plan, subscribed, usage
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.account import AccountState
from shared.domain.debit import Debit, debit
from shared.domain.ids import EventId
from shared.domain.ledger import TransferKind, UsageRow, chain_hash, digest_of_rows
from shared.domain.usage import PricedUsage

MINUTE = timedelta(minutes=1)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def debited(state: AccountState, *batch: PricedUsage, now: datetime = NOW) -> Debit:
    """Return the debit of a batch none of which the books hold."""
    return debit(state, batch, {}, now, GRACE)


def parts(result: Debit) -> dict[str, tuple[int, int, int]]:
    """Return what quota, balance and nobody paid for each record."""
    rows = [record.row for record in result.records]
    return {row.event_id: (row.quota_nanos, row.balance_nanos, row.uncollected_nanos) for row in rows}


def known(*batch: PricedUsage) -> dict[EventId, bytes]:
    return {record.event_id: record.fingerprint for record in batch}


def test_the_quota_goes_to_the_earliest_record_whatever_the_order_of_arrival() -> None:
    early, late = usage("z", 80, NOW - MINUTE), usage("a", 80, NOW)
    for batch in ((early, late), (late, early)):
        result = debited(subscribed(plan(100), fallback=True), *batch)
        assert parts(result) == {"z": (80, 0, 0), "a": (20, 60, 0)}


def test_at_the_same_instant_the_lower_id_comes_first() -> None:
    berlin = NOW.astimezone(tz=datetime.fromisoformat("2026-11-23T13:00:00+01:00").tzinfo)
    result = debited(subscribed(plan(100)), usage("b", 80, berlin), usage("a", 80))
    assert parts(result) == {"a": (80, 0, 0), "b": (20, 0, 60)}


def test_a_record_that_comes_twice_in_a_batch_is_one_debit() -> None:
    result = debited(payg_account(), usage(), usage(source="gateway-us-7", hold_id="hold_9"), usage())
    assert (len(result.records), result.duplicates, result.conflicts) == (1, 2, ())
    assert result.after.balance_nanos == -100


def test_a_record_that_the_books_hold_is_not_debited_again() -> None:
    result = debit(payg_account(), [usage("a"), usage("b")], known(usage("a")), NOW, GRACE)
    assert [record.row.event_id for record in result.records] == ["b"]
    assert (result.duplicates, result.after.balance_nanos) == (1, -100)


def test_a_price_that_changed_between_two_deliveries_is_no_conflict() -> None:
    result = debited(payg_account(), usage(list_nanos=100), usage(list_nanos=999))
    assert (result.duplicates, result.conflicts, result.after.balance_nanos) == (1, (), -100)


def test_the_first_of_two_contents_wins_inside_a_batch() -> None:
    first, second = usage(time=NOW, input_tokens=1), usage(time=NOW - MINUTE, input_tokens=2)
    result = debited(payg_account(), first, second, first, second)
    assert [record.row.input_tokens for record in result.records] == [1]
    assert (result.conflicts, result.duplicates) == ((second, second), 1)


def test_other_content_under_a_known_id_is_a_conflict() -> None:
    other = usage(input_tokens=9)
    result = debit(payg_account(), [other], known(usage()), NOW, GRACE)
    assert (result.conflicts, result.records, result.duplicates) == ((other,), (), 0)


def test_nothing_new_leaves_the_account_as_it_is() -> None:
    state = subscribed(plan())
    batch = [usage("a"), usage("b", input_tokens=5)]
    result = debit(state, batch, known(usage("a"), usage("b")), DECEMBER + MINUTE, GRACE)
    assert result.after == result.before == state
    assert (result.transfers, result.records) == ((), ())


def test_an_empty_batch_is_nothing_new() -> None:
    assert debited(payg_account(5)) == Debit(payg_account(5), payg_account(5), (), (), 0, ())


def test_one_transfer_covers_exactly_the_new_rows() -> None:
    state = subscribed(plan(120), balance_nanos=1_000, fallback=True)
    batch = [usage("b", 100), usage("a", 100), usage("known"), usage("a", 100)]
    result = debit(state, batch, known(usage("known")), NOW, GRACE)
    [transfer] = result.transfers
    assert result.before == state
    assert (transfer.kind, transfer.seq, transfer.occurred_at) == (TransferKind.USAGE, 1, NOW)
    assert transfer.cause == "2 usage records"
    assert (transfer.amount_nanos, transfer.balance_after_nanos) == (-80, 920)
    assert (transfer.quota_amount_nanos, transfer.quota_after_nanos) == (-120, 0)
    assert transfer.cycle_spent_after_nanos == 80
    assert {record.row.transfer_seq for record in result.records} == {1}
    digests = [(record.row.event_id, record.row.digest()) for record in result.records]
    assert transfer.rows_digest == digest_of_rows(reversed(digests))
    assert transfer.hash == chain_hash(state.head_hash, transfer)


def test_a_batch_that_the_quota_pays_has_a_transfer_of_no_money() -> None:
    [transfer] = debited(subscribed(plan(500), balance_nanos=7), usage("a"), usage("b")).transfers
    assert (transfer.amount_nanos, transfer.balance_after_nanos, transfer.quota_amount_nanos) == (0, 7, -200)


def test_a_row_says_all_that_the_record_said_and_what_was_made_of_it() -> None:
    time = datetime.fromisoformat("2026-11-23T12:59:00+01:00")
    counts = dict(zip(COUNTS[2:], (3, 4, 5, 6), strict=True))
    record = usage("r", 150, time, hold_id="hold_1", metadata={"team": 1}, **counts)
    [written] = debited(subscribed(plan(100), fallback=True, spending_limit_nanos=40), record).records
    assert written.row == UsageRow(
        *("acc_1", 1, "r", "gateway-eu-1", "key_1", "openai", "gpt-4o", 7),
        *(NOW - MINUTE, datetime(2026, 11, 1, tzinfo=UTC)),
        *(374, 44, 3, 4, 5, 6),
        *(150, 150, 100, 40, 10),
        *("hold_1", '{"team": 1}'),
    )
    assert (written.fingerprint, written.digest) == (record.fingerprint, written.row.digest())
    assert written.row.time.tzinfo is UTC


def test_a_row_without_a_plan_names_no_cycle() -> None:
    result = debited(payg_account(), usage())
    assert [record.row.cycle_start for record in result.records] == [None]
    assert [transfer.cause for transfer in result.transfers] == ["1 usage record"]


@pytest.mark.parametrize(
    "state",
    [payg_account(30), subscribed(plan(0), balance_nanos=30, fallback=True)],
    ids=["payg", "fallback"],
)
def test_the_balance_goes_below_zero_for_a_request_in_flight(state: AccountState) -> None:
    result = debited(state, usage("a", 20), usage("b", 100))
    assert result.after.balance_nanos == -90
    assert result.transfers[-1].balance_after_nanos == -90


def test_the_spending_limit_holds_across_the_records_of_a_batch() -> None:
    state = subscribed(plan(0), fallback=True, spending_limit_nanos=150)
    result = debited(state, usage("a"), usage("b"), usage("c"))
    assert parts(result) == {"a": (0, 100, 0), "b": (0, 50, 50), "c": (0, 0, 100)}
    assert result.after.cycles[0].spent_nanos == 150


def test_a_late_record_counts_in_the_previous_cycle_while_that_is_open() -> None:
    now = DECEMBER + GRACE - MINUTE
    result = debited(
        subscribed(plan(1_000)), usage("late", 30, DECEMBER - MINUTE), usage("b", 5, now), now=now
    )
    assert [record.row.cycle_start.month for record in result.records] == [11, 12]
    assert [cycle.quota_remaining_nanos for cycle in result.after.cycles] == [970, 995]
    reset, charge = result.transfers
    assert (reset.kind, charge.kind) == (TransferKind.QUOTA_RESET, TransferKind.USAGE)
    assert (charge.quota_amount_nanos, charge.quota_after_nanos) == (-35, 995)


def test_a_record_that_is_too_late_counts_in_the_current_cycle() -> None:
    now = DECEMBER + GRACE
    result = debited(subscribed(plan(1_000)), usage("late", 30, DECEMBER - MINUTE), now=now)
    assert [record.row.cycle_start for record in result.records] == [DECEMBER]
    assert [cycle.quota_remaining_nanos for cycle in result.after.cycles] == [970]


def test_rows_name_the_transfer_of_the_charge_not_that_of_a_reset_before_it() -> None:
    result = debited(subscribed(plan()), usage(time=DECEMBER), now=DECEMBER)
    assert [transfer.seq for transfer in result.transfers] == [1, 2]
    assert [record.row.transfer_seq for record in result.records] == [2]
    assert result.transfers[1].hash == chain_hash(result.transfers[0].hash, result.transfers[1])


times = st.sampled_from(
    [DECEMBER - MINUTE, DECEMBER - timedelta(microseconds=1), DECEMBER, DECEMBER + MINUTE]
)
records = st.lists(st.builds(usage, st.text("abc", min_size=1, max_size=2), st.integers(0, 90), times))
records = records.map(lambda batch: sorted(batch, key=lambda record: (record.time, record.event_id)))
amounts = st.integers(0, 300)
states = st.builds(payg_account, amounts) | st.builds(
    lambda quota, discount, balance, fallback, limit: subscribed(
        plan(quota, discount), balance_nanos=balance, fallback=fallback, spending_limit_nanos=limit
    ),
    *(amounts, st.integers(0, 10**6), amounts, st.booleans(), st.none() | amounts),
)


@given(states, records)
def test_what_the_rows_say_is_what_the_account_paid(state: AccountState, batch: list[PricedUsage]) -> None:
    result = debited(state, *batch, now=DECEMBER + MINUTE)
    rows = [record.row for record in result.records]
    assert all(
        row.charge_nanos == row.quota_nanos + row.balance_nanos + row.uncollected_nanos for row in rows
    )
    assert result.after.balance_nanos == state.balance_nanos - sum(row.balance_nanos for row in rows)
    assert result.after.balance_nanos == state.balance_nanos + sum(t.amount_nanos for t in result.transfers)
    if rows:
        assert result.transfers[-1].quota_amount_nanos == -sum(row.quota_nanos for row in rows)
    assert len(rows) + result.duplicates + len(result.conflicts) == len(batch)


@given(states, records, st.lists(st.integers(0, 30), max_size=6))
def test_how_records_are_cut_into_batches_makes_no_difference(
    state: AccountState, batch: list[PricedUsage], cuts: list[int]
) -> None:
    one_by_one = in_batches(state, [[record] for record in batch])
    edges = [0, *sorted(cuts), len(batch)]
    cut = in_batches(state, [batch[start:end] for start, end in pairwise(edges)])
    assert cut == one_by_one


def in_batches(state: AccountState, batches: list[list[PricedUsage]]) -> tuple[object, ...]:
    """Return the rows but for their transfer, the balance and the cycles after all batches."""
    held: dict[EventId, bytes] = {}
    rows = []
    for batch in batches:
        result = debit(state, batch, held, DECEMBER + MINUTE, GRACE)
        held |= {record.row.event_id: record.fingerprint for record in result.records}
        rows += [record.row._replace(transfer_seq=0) for record in result.records]
        state = result.after
    return rows, state.balance_nanos, state.cycles
