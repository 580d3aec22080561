"""Statements as they come out of the books: what counts in which month, and to which sums."""

import pytest
from statement_books import (
    MODELS,
    NOVEMBER,
    OCTOBER,
    SEPTEMBER,
    StatementBooks,
    checked,
    day,
)

from shared.domain.errors import NotFoundError
from shared.domain.ledger import TransferKind
from shared.domain.periods import Period
from shared.domain.statement import LineKind, State, Statement

LATER = day("11-20 12:00")


def _lines(statement: Statement) -> dict[str, int]:
    return {str(line.kind): line.amount_nanos for line in statement.lines}


async def test_a_month_is_half_open_and_in_utc(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.post(account_id, 1, day("10-01 00:00"))
    await books.post(account_id, 2, day("10-31 23:59"))
    await books.post(account_id, 4, day("11-01 00:00"))
    october = await books.statement(account_id, OCTOBER, LATER)
    assert (october.opening.balance_nanos, october.closing.balance_nanos) == (0, 3)
    november = await books.statement(account_id, NOVEMBER, LATER)
    assert november.opening == october.closing
    assert november.closing.balance_nanos == 7


async def test_every_kind_of_entry_has_its_line(books: StatementBooks) -> None:
    account_id = await books.account()
    now = day("10-10 12:00")
    for amount, kind in (
        (1000, TransferKind.TOPUP),
        (100, TransferKind.CREDIT),
        (-10, TransferKind.ADJUSTMENT),
        (-300, TransferKind.REFUND),
        (200, TransferKind.REFUND_RETURNED),
        (-50, TransferKind.DISPUTE),
        (25, TransferKind.DISPUTE_REINSTATED),
    ):
        await books.post(account_id, amount, now, kind)
    await books.use(account_id, [("a", 7), ("b", 8)], now)
    await books.post(account_id, 7, now, TransferKind.VOID, cause="void a: twice")
    statement = await books.statement(account_id, OCTOBER, LATER)
    assert _lines(statement) == {
        LineKind.TOPUPS: 1000,
        LineKind.CREDITS: 100,
        LineKind.ADJUSTMENTS: -10,
        LineKind.REFUNDS: -100,
        LineKind.DISPUTES: -25,
        LineKind.VOIDED_USAGE: 7,
        LineKind.USAGE: -15,
    }
    assert statement.closing.balance_nanos == 957
    assert [each.kind for each in statement.transactions if each.seq > 7] == [TransferKind.VOID]


async def test_usage_by_model_holds_tokens_and_who_paid(books: StatementBooks) -> None:
    account_id = await books.subscriber(quota=100, anchor=day("10-01 00:00"), fallback=True)
    await books.post(account_id, 10**9, day("10-02 12:00"))
    await books.use(account_id, [("a", 70), ("b", 50)], day("10-03 12:00"))
    await books.use(account_id, [("c", 500)], day("10-04 12:00"), MODELS[1])
    statement = await books.statement(account_id, OCTOBER, LATER)
    large, small = statement.usage
    assert (large.provider, large.model, large.records, large.input_tokens) == ("nano", MODELS[1], 1, 500)
    assert (large.quota_nanos, large.balance_nanos) == (0, 500)
    assert (small.model, small.records, small.input_tokens, small.list_nanos) == (MODELS[0], 2, 120, 120)
    assert (small.quota_nanos, small.balance_nanos, small.uncollected_nanos) == (100, 20, 0)
    assert [(str(d.day), d.quota_nanos, d.balance_nanos) for d in statement.usage_days] == [
        ("2026-10-03", 100, 20),
        ("2026-10-04", 0, 500),
    ]


async def test_a_correction_stands_in_the_month_in_which_it_was_made(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.use(account_id, [("a", 40)], day("10-30 12:00"))
    before = await books.statement(account_id, OCTOBER, LATER)
    await books.post(account_id, 40, day("11-02 12:00"), TransferKind.VOID, cause="void a: wrong")
    after = await books.statement(account_id, OCTOBER, LATER)
    assert (after.lines, after.usage) == (before.lines, before.usage)
    assert _lines(await books.statement(account_id, NOVEMBER, LATER)) == {LineKind.VOIDED_USAGE: 40}


async def test_a_clock_that_steps_back_at_midnight_leaves_no_gap(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.post(account_id, 1, day("10-31 23:58"))
    await books.post(account_id, 2, day("11-01 00:00"))
    await books.post(account_id, 4, day("10-31 23:59"))
    october = await books.statement(account_id, OCTOBER, LATER)
    november = await books.statement(account_id, NOVEMBER, LATER)
    assert (october.closing.seq, november.opening.seq, november.closing.seq) == (1, 1, 3)
    assert _lines(november) == {LineKind.CREDITS: 6}


async def test_a_preview_follows_the_books(books: StatementBooks) -> None:
    account_id = await books.account()
    for number in range(1, 4):
        await books.use(account_id, [(f"r{number}", number)], day(f"11-1{number} 12:00"))
        statement = await books.statement(account_id, NOVEMBER, LATER)
        assert statement.state == State.OPEN
        assert statement.usage[0].records == number
        assert statement.closing.seq == await books.seq(account_id)


async def test_a_month_without_entries_has_a_statement_while_there_is_money(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.post(account_id, 5, day("09-10 12:00"))
    quiet = await books.statement(account_id, OCTOBER, LATER)
    assert (quiet.opening, quiet.lines) == (quiet.closing, ())
    assert quiet.closing.balance_nanos == 5
    empty = await books.account()
    for account, period in ((empty, OCTOBER), (account_id, Period(2026, 8)), (account_id, Period(2026, 12))):
        with pytest.raises(NotFoundError):
            await books.statement(account, period, LATER)
    with pytest.raises(NotFoundError):
        await books.statement("acct_nobody", OCTOBER, LATER)


async def test_what_is_exported_is_proven_and_a_change_names_its_entry(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.post(account_id, 1000, day("09-10 12:00"))
    await books.use(account_id, [("a", 7), ("b", 8)], day("10-10 12:00"))
    await books.use(account_id, [("c", 9)], day("10-11 12:00"), MODELS[1])
    await books.post(account_id, 3, day("10-12 12:00"))
    await books.closing(LATER).run()
    lines = await books.exported(account_id, OCTOBER, LATER, usage=True)
    found = checked(lines)
    assert found.fault is None, str(found.fault)
    assert (found.entries, found.usage_rows) == (3, 3)
    rowless = checked(await books.exported(account_id, OCTOBER, LATER, usage=False))
    assert (rowless.fault, rowless.entries, rowless.usage_rows) == (None, 3, 0)
    for place, old, new, where in (
        (1, b'"amount_nanos":-15', b'"amount_nanos":-14', "entry 2"),
        (3, b'"input_tokens":8', b'"input_tokens":9', "entry 2"),
        (6, b'"cause":"by hand"', b'"cause":"by hans"', "entry 4"),
    ):
        assert old in lines[place]
        fault = checked([*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]).fault
        assert fault is not None
        assert fault.where == where, str(fault)
    september = await books.statement(account_id, SEPTEMBER, LATER)
    assert september.closing == (await books.statement(account_id, OCTOBER, LATER)).opening
    await books.assert_proven()
