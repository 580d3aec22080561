"""The sums that the database keeps: those of the entries, however often they are brought up to date."""

import asyncio
from datetime import timedelta
from random import Random
from time import perf_counter

import pytest
from sqlalchemy import text
from statement_books import (
    MODELS,
    NOVEMBER,
    OCTOBER,
    SEPTEMBER,
    StatementBooks,
    checked,
    day,
)

from shared.db import statement_sums
from shared.db.periods import attached
from shared.domain.errors import RefusedError
from shared.domain.ids import AccountId
from shared.domain.ledger import TransferKind
from shared.domain.periods import Period
from shared.operations import statement_closing
from shared.operations.periods import keep_periods

LATER = day("11-20 12:00")
#: A million records of a thousand transfers, as fast batches leave them; their digests do not matter here.
_MILLION = """
    INSERT INTO usage_records (account_id, transfer_seq, event_id, source, provider, model, rate_id, time,
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, input_audio_tokens,
        output_audio_tokens, list_nanos, charge_nanos, quota_nanos, balance_nanos, uncollected_nanos, digest,
        debited_at)
    SELECT :account_id, 1 + n / 500, 'req_' || n, 'gateway-1', 'nano', 'model-' || n % 7, 1, at, 100, 10, 0,
        0, 0, 0, 1000, 1000, 0, 1000, 0, '', at
    FROM (SELECT n, CAST(:start AS timestamptz) + n / 500 * interval '1 minute' AS at
          FROM generate_series(0, 999999) AS n) AS records
"""
_TRANSFERS = """
    INSERT INTO transfers (account_id, seq, kind, amount_nanos, balance_after_nanos, quota_amount_nanos,
        quota_after_nanos, cycle_spent_after_nanos, cause, occurred_at, rows_digest, hash)
    SELECT :account_id, 1 + n, 'usage', -500000, -500000 * (n + 1), 0, 0, 0, '500 usage records',
        CAST(:start AS timestamptz) + n * interval '1 minute', '', CAST('x' || n AS bytea)
    FROM generate_series(0, 1999) AS n
"""


_ROLLED = "SELECT account_id, rolled_seq FROM statement_rollups WHERE rolled_seq > 0"
_ROLLED_DAYS = "SELECT account_id, rolled_seq FROM usage_rollups"


async def _play(books: StatementBooks, account_id: AccountId, random: Random, entries: int) -> None:
    """Let things happen to an account from September to November, and look at it now and then."""
    now = SEPTEMBER.start
    for number in range(entries):
        now = min(now + timedelta(hours=random.expovariate(entries / (80 * 24))), day("11-30 12:00"))
        # Clocks of two machines differ by a little.
        skewed = now - timedelta(seconds=random.choice([0, 0, 0, 90]))
        if random.random() < 0.4:
            kind = random.choice([TransferKind.CREDIT, TransferKind.ADJUSTMENT])
            sign = -1 if kind == TransferKind.ADJUSTMENT else 1
            await books.post(account_id, sign * random.randrange(1, 10**12), skewed, kind)
        else:
            used = [(f"r{number}-{n}", random.randrange(10**6)) for n in range(random.randrange(1, 4))]
            await books.use(account_id, used, skewed, random.choice(MODELS))
        if random.random() < 0.2:
            async with books.engine.begin() as connection:
                await statement_sums.roll_up(connection, account_id)


@pytest.mark.parametrize("seed", range(4))
async def test_random_books_come_to_statements_that_join_and_are_proven_by_their_entries(
    books: StatementBooks, seed: int
) -> None:
    random = Random(seed)
    account_id = await books.subscriber(10**6 * random.randrange(4), SEPTEMBER.start, fallback=seed % 2 == 0)
    await _play(books, account_id, random, 40)
    end = day("12-20 12:00")
    await books.closing(end).run()
    place = None
    for _, period in await books.stored():
        statement = await books.statement(account_id, period, end)
        assert place is None or statement.opening == place
        lines = sum(line.amount_nanos for line in statement.lines)
        assert statement.opening.balance_nanos + lines == statement.closing.balance_nanos
        found = checked(await books.exported(account_id, period, end, usage=True))
        assert found.fault is None, str(found.fault)
        place = statement.closing
    assert place is not None
    assert place.seq == await books.seq(account_id)
    await books.assert_proven()


async def test_many_who_look_at_once_count_nothing_twice(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.use(account_id, [("a", 30), ("b", 12)], day("10-03 12:00"))
    # Once before, so that all connections are open when it counts.
    await asyncio.gather(*(books.statement(account_id, OCTOBER, LATER) for _ in range(4)))
    await books.use(account_id, [("c", 8)], day("10-04 12:00"))
    statements = await asyncio.gather(*(books.statement(account_id, OCTOBER, LATER) for _ in range(4)))
    assert {each.usage[0].records for each in statements} == {3}
    assert {each.closing.balance_nanos for each in statements} == {-50}


async def test_the_clock_sums_up_busy_accounts_before_anyone_looks(
    books: StatementBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_closing, "_LAG_ENTRIES", 3)
    busy, calm = await books.account(), await books.account()
    await books.closing(LATER).run()
    for account_id, entries in ((busy, 3), (calm, 2)):
        for number in range(entries):
            await books.use(account_id, [(f"r{number}", 5)], day("11-03 12:00"))
    await books.closing(LATER).run()
    async with books.engine.connect() as connection:
        rolled = dict((await connection.execute(text(_ROLLED))).all())  # type: ignore[arg-type]
        days = dict((await connection.execute(text(_ROLLED_DAYS))).all())  # type: ignore[arg-type]
    assert (rolled.get(busy), rolled.get(calm, 0)) == (3, 0)
    assert days == {busy: 3}


async def _detach(books: StatementBooks, period: Period) -> None:
    """Take a month away, as `payg usage detach` does, whatever the day is."""
    await keep_periods(books.engine, LATER)
    async with books.engine.begin() as connection:
        assert period in await attached(connection)
        name = f"usage_records_{period}".replace("-", "_")
        await connection.execute(text(f"ALTER TABLE usage_records DETACH PARTITION {name}"))
        noted = "INSERT INTO usage_periods VALUES (:start, :name, 0, '', now())"
        await connection.execute(text(noted), {"start": period.start, "name": name})


async def test_a_month_that_was_closed_keeps_its_usage_by_model_when_its_rows_are_detached(
    books: StatementBooks,
) -> None:
    account_id = await books.account()
    await books.use(account_id, [("a", 30)], day("10-03 12:00"))
    await books.use(account_id, [("b", 12)], day("10-04 12:00"), MODELS[1])
    await books.closing(LATER).run()
    before = await books.shown(account_id, OCTOBER, LATER)
    await _detach(books, OCTOBER)
    assert await books.shown(account_id, OCTOBER, LATER) == before
    found = checked(await books.exported(account_id, OCTOBER, LATER, usage=False))
    assert found.fault is None, str(found.fault)
    with pytest.raises(RefusedError, match="payg usage attach 2026-10"):
        await books.exported(account_id, OCTOBER, LATER, usage=True)


async def test_usage_that_was_detached_before_anyone_asked_is_one_line(books: StatementBooks) -> None:
    account_id = await books.account()
    await books.use(account_id, [("a", 30), ("b", 12)], day("10-03 12:00"))
    await _detach(books, OCTOBER)
    await books.closing(LATER).run()
    statement = await books.statement(account_id, OCTOBER, LATER)
    (line,) = statement.usage
    assert (line.model, line.records, line.balance_nanos) == (None, 0, 42)
    assert statement.closing.balance_nanos == -42
    found = checked(await books.exported(account_id, OCTOBER, LATER, usage=False))
    assert found.fault is None, str(found.fault)


@pytest.mark.slow
async def test_an_account_with_a_million_records_is_shown_at_once(books: StatementBooks) -> None:
    account_id = await books.account()
    values = {"account_id": account_id, "start": NOVEMBER.start}
    async with books.engine.begin() as connection:
        await connection.execute(text(_TRANSFERS), values)
        await connection.execute(text(_MILLION), values)
        balance = "UPDATE accounts SET seq = 2000, balance_nanos = -1000000000 WHERE account_id = :account_id"
        await connection.execute(text(balance), {"account_id": account_id})
    # The clock sums up what is new every few minutes.
    await books.closing(LATER).run()
    started = perf_counter()
    statement = await books.statement(account_id, NOVEMBER, LATER)
    assert perf_counter() - started < 1
    assert sum(line.records for line in statement.usage) == 1_000_000
