"""SQL of the sums that statements are made of: a projection of the books, brought up to date when needed.

An entry counts in the month of its time, but never in one before that of the entry before it, nor in one that
was closed: so each month is a range of numbers, and nothing can be added to a month that was closed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.statement_tables import statement_movements, statement_usage
from shared.db.tables import transfers
from shared.domain.ids import AccountId
from shared.domain.ledger import TransferKind, genesis_hash
from shared.domain.periods import Period
from shared.domain.statement import Mark, mark
from shared.domain.statement_totals import ModelUsage, Movement

# The first entry of an account counts in no month that is closed for all.
_BEGIN = text("""
    INSERT INTO statement_rollups (account_id, open_period)
    SELECT :account_id, coalesce(
        (max(period_start) AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC',
        CAST('2000-01-01 00:00:00+00' AS timestamptz))
    FROM statement_closings WHERE finished_at IS NOT NULL
    ON CONFLICT DO NOTHING
""")
_LOCK = text("""
    SELECT rolled_seq, open_period FROM statement_rollups WHERE account_id = :account_id FOR UPDATE
""")
#: Where months begin while none is closed; as ``_BEGIN`` has it.
_FIRST = Period(2000, 1).start
_UPTO = text("SELECT seq FROM accounts WHERE account_id = :account_id")
_MONTHS = text("""
    SELECT month, min(seq) AS first_seq, max(seq) AS last_seq FROM (
        SELECT seq, greatest(CAST(:open_period AS timestamptz),
                             max(date_trunc('month', occurred_at, 'UTC')) OVER (ORDER BY seq)) AS month
        FROM transfers WHERE account_id = :account_id AND seq > :after AND seq <= :upto
    ) AS fresh GROUP BY month ORDER BY month
""")
_MOVEMENTS = text("""
    INSERT INTO statement_movements AS m (account_id, period_start, day, kind, transfers, amount_nanos,
        quota_amount_nanos, last_seq)
    SELECT :account_id, CAST(:month AS timestamptz), CAST(occurred_at AT TIME ZONE 'UTC' AS date), kind,
           count(*), sum(amount_nanos), sum(quota_amount_nanos), max(seq)
    FROM transfers WHERE account_id = :account_id AND seq BETWEEN :first_seq AND :last_seq
    GROUP BY 3, 4
    ON CONFLICT ON CONSTRAINT statement_movements_pkey DO UPDATE
    SET transfers = m.transfers + excluded.transfers,
        amount_nanos = m.amount_nanos + excluded.amount_nanos,
        quota_amount_nanos = m.quota_amount_nanos + excluded.quota_amount_nanos,
        last_seq = excluded.last_seq
""")
_USAGE = text("""
    INSERT INTO statement_usage AS u (account_id, period_start, provider, model, records, input_tokens,
        output_tokens, list_nanos, charge_nanos, quota_nanos, balance_nanos, uncollected_nanos)
    SELECT :account_id, CAST(:month AS timestamptz), coalesce(provider, ''), model, count(*),
           sum(CAST(input_tokens AS bigint) + cache_read_tokens + cache_write_tokens + input_audio_tokens),
           sum(CAST(output_tokens AS bigint) + output_audio_tokens),
           sum(list_nanos), sum(charge_nanos), sum(quota_nanos), sum(balance_nanos), sum(uncollected_nanos)
    FROM usage_records WHERE account_id = :account_id AND transfer_seq BETWEEN :first_seq AND :last_seq
    GROUP BY 3, 4
    ON CONFLICT ON CONSTRAINT statement_usage_pkey DO UPDATE
    SET records = u.records + excluded.records,
        input_tokens = u.input_tokens + excluded.input_tokens,
        output_tokens = u.output_tokens + excluded.output_tokens,
        list_nanos = u.list_nanos + excluded.list_nanos,
        charge_nanos = u.charge_nanos + excluded.charge_nanos,
        quota_nanos = u.quota_nanos + excluded.quota_nanos,
        balance_nanos = u.balance_nanos + excluded.balance_nanos,
        uncollected_nanos = u.uncollected_nanos + excluded.uncollected_nanos
""")
_ROLLED = text("""
    UPDATE statement_rollups SET rolled_seq = :upto, open_period = :open_period WHERE account_id = :account_id
""")
_LAGGING = text("""
    SELECT a.account_id FROM accounts a LEFT JOIN statement_rollups r USING (account_id)
    WHERE a.seq - coalesce(r.rolled_seq, 0) >= :entries
    ORDER BY a.seq - coalesce(r.rolled_seq, 0) DESC LIMIT :limit
""")
_CLOSED = text("""
    UPDATE statement_rollups SET open_period = greatest(open_period, :until) WHERE account_id = :account_id
""")
# Months that were closed are stated, and stay as they are.
_REWIND = text("""
    UPDATE statement_rollups SET open_period = :since, rolled_seq = coalesce((
        SELECT max(last_seq) FROM statement_movements WHERE account_id = :account_id), 0)
    WHERE account_id = :account_id
""")
_OPEN_SINCE = text("""
    SELECT greatest(
        (SELECT max(period_start) FROM statement_closings WHERE finished_at IS NOT NULL),
        (SELECT max(period_start) FROM statements WHERE account_id = :account_id))
""")


class Sums(NamedTuple):
    """What a month of an account comes to, and between which places of its books it lies."""

    opening: Mark
    closing: Mark
    movements: Sequence[Movement]
    usage: Sequence[ModelUsage]

    def __bool__(self) -> bool:
        """Whether there is anything to state: money that moved, or that is there."""
        return bool(self.movements or self.opening.balance_nanos)


async def roll_up(connection: AsyncConnection, account_id: str) -> None:
    """Bring the sums of an account up to date, and hold them; whoever calls commits."""
    account: dict[str, Any] = {"account_id": account_id}
    await connection.execute(_BEGIN, account)
    after, open_period = (await connection.execute(_LOCK, account)).one()
    # Read after the lock: what is committed by now is what the sums below see.
    upto = (await connection.execute(_UPTO, account)).scalar_one_or_none()
    if upto is None or upto == after:
        return
    span = account | {"after": after, "upto": upto, "open_period": open_period}
    months = (await connection.execute(_MONTHS, span)).mappings().all()
    for month in months:
        await connection.execute(_MOVEMENTS, account | dict(month))
        await connection.execute(_USAGE, account | dict(month))
    await connection.execute(_ROLLED, account | {"upto": upto, "open_period": months[-1]["month"]})


async def rebuild(connection: AsyncConnection, account_id: str, since: datetime) -> None:
    """Sum up afresh the months that begin at ``since`` or later and are not closed; roll up before."""
    account: dict[str, Any] = {"account_id": account_id}
    closed: datetime | None = (await connection.execute(_OPEN_SINCE, account)).scalar_one()
    begin = max(since, Period.of(closed).end if closed else _FIRST)
    for sums in (statement_movements, statement_usage):
        later = (sums.c.account_id == account_id) & (sums.c.period_start >= begin)
        await connection.execute(delete(sums).where(later))
    await connection.execute(_REWIND, account | {"since": begin})
    await roll_up(connection, account_id)


async def lagging(connection: AsyncConnection, entries: int, limit: int) -> list[str]:
    """Return accounts of which at least so many entries are not summed up."""
    found = await connection.execute(_LAGGING, {"entries": entries, "limit": limit})
    return list(found.scalars())


async def close_month(connection: AsyncConnection, account_id: str, period: Period) -> None:
    """Let no later entry count in a month, whatever its time."""
    await connection.execute(_CLOSED, {"account_id": account_id, "until": period.end})


async def read_sums(connection: AsyncConnection, account_id: str, period: Period) -> Sums:
    """Return what a month comes to; roll up before, in the same transaction."""
    opening = await _mark_before(connection, account_id, period.start)
    closing = await _mark_before(connection, account_id, period.end)
    movements = await _movements(connection, account_id, period)
    return Sums(opening, closing, movements, await _usage(connection, account_id, period))


async def months_with_entries(connection: AsyncConnection, account_id: str) -> list[Period]:
    """Return the months in which something moved, oldest first; roll up before."""
    start = statement_movements.c.period_start
    query = select(start).distinct().where(statement_movements.c.account_id == account_id).order_by(start)
    return [Period.of(each) for each in (await connection.execute(query)).scalars()]


async def _mark_before(connection: AsyncConnection, account_id: str, end: datetime) -> Mark:
    """Return the place after the last entry of the months before a time."""
    columns = statement_movements.c
    last = select(func.max(columns.last_seq)).where(
        columns.account_id == account_id, columns.period_start < end
    )
    query = select(transfers.c.seq, transfers.c.hash, transfers.c.balance_after_nanos).where(
        transfers.c.account_id == account_id, transfers.c.seq == last.scalar_subquery()
    )
    row = (await connection.execute(query)).one_or_none()
    return mark(*row) if row else mark(0, genesis_hash(AccountId(account_id)), 0)


async def _movements(connection: AsyncConnection, account_id: str, period: Period) -> list[Movement]:
    columns = statement_movements.c
    query = select(*(columns[name] for name in Movement._fields)).where(
        columns.account_id == account_id, columns.period_start == period.start
    )
    return [
        Movement(day, TransferKind(kind), *sums)
        for day, kind, *sums in await connection.execute(query.order_by(columns.day, columns.kind))
    ]


async def _usage(connection: AsyncConnection, account_id: str, period: Period) -> list[ModelUsage]:
    columns = statement_usage.c
    query = select(*(columns[name] for name in ModelUsage._fields)).where(
        columns.account_id == account_id, columns.period_start == period.start
    )
    return [ModelUsage(provider or None, *rest) for provider, *rest in await connection.execute(query)]
