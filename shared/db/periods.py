"""SQL of usage periods: the months that ``usage_records`` is divided into, and those whose rows are away.

Attached months are the partitions of the table. What creates or moves one holds the lock of ``lock_periods``;
nothing here waits longer than a moment for a lock that debits need, so they never wait longer either.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    MetaData,
    Table,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import transfers, usage_period_cycles, usage_periods, usage_records
from shared.domain.ledger import UsageRow
from shared.domain.periods import Period, PeriodProof

MONTHS_AHEAD = 3
#: How long debits may have to wait behind us for a lock that we do not get.
_LOCK_TIMEOUT = "200ms"
#: Any number will do, as long as nobody else in this database takes it.
_PERIODS_LOCK = 7_294_000_002
_PREFIX = "usage_records_"
_DEFAULT = f"{_PREFIX}default"
_ROW_FIELDS = len(UsageRow._fields)

_PARTITIONS = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('usage_records' AS regclass) ORDER BY c.relname
""")
_CREATE = text("SELECT payg_create_usage_month(:start)")
_SIZE = text("SELECT pg_total_relation_size(to_regclass(:name))")
_NOT_EVALUATED = text("""
    SELECT count(*) FROM accounts a LEFT JOIN evaluations e USING (account_id)
    WHERE a.seq > coalesce(e.evaluated_seq, 0) AND EXISTS (
        SELECT FROM transfers t WHERE t.account_id = a.account_id
        AND t.seq > coalesce(e.evaluated_seq, 0) AND t.occurred_at < :before)
""")
_OPEN_CYCLES = text("""
    SELECT count(*) FROM cycles WHERE cycle_start < :before AND cycle_end > :open_until
""")


class Recorded(NamedTuple):
    """A month whose rows are away."""

    table: str
    proof: PeriodProof
    detached_at: datetime


async def lock_periods(connection: AsyncConnection) -> None:
    """Wait until nobody else moves months; from here on locks that debits need are waited for but briefly."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _PERIODS_LOCK})
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))


async def try_lock_periods(connection: AsyncConnection) -> bool:
    """Do the same if nobody is at it; return whether nobody was."""
    free = text("SELECT pg_try_advisory_xact_lock(:lock)")
    if not (await connection.execute(free, {"lock": _PERIODS_LOCK})).scalar_one():
        return False
    await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    return True


async def attached(connection: AsyncConnection) -> list[Period]:
    """Return the months that are partitions, oldest first."""
    names = (await connection.execute(_PARTITIONS)).scalars()
    return [_period(name) for name in names if name != _DEFAULT]


async def recorded(connection: AsyncConnection) -> dict[Period, Recorded]:
    """Return the months whose rows are away, oldest first."""
    rows = await connection.execute(select(usage_periods).order_by(usage_periods.c.period_start))
    return {
        Period.of(row["period_start"]): Recorded(
            row["table_name"], PeriodProof(row["rows"], row["digest"]), row["detached_at"]
        )
        for row in rows.mappings()
    }


async def missing(connection: AsyncConnection, now: datetime) -> list[Period]:
    """Return the months that need a partition and have none: those to come, and those of stray rows."""
    wanted = {Period.of(now).plus(months) for months in range(MONTHS_AHEAD + 1)}
    month = func.date_trunc("month", _table(_DEFAULT).c.debited_at, "UTC")
    wanted |= {Period.of(start) for start in (await connection.execute(select(month).distinct())).scalars()}
    return sorted(wanted - set(await attached(connection)) - set(await recorded(connection)))


async def create(connection: AsyncConnection, period: Period) -> None:
    """Make a month, with the rows of it that had none."""
    await connection.execute(_CREATE, {"start": period.start})


async def attach(connection: AsyncConnection, period: Period) -> None:
    """Make a table a partition again. Debits go on meanwhile."""
    bounds = f"FROM ('{period.start.isoformat()}') TO ('{period.end.isoformat()}')"
    await connection.execute(
        text(f"ALTER TABLE usage_records ATTACH PARTITION {table_name(period)} FOR VALUES {bounds}")
    )


async def detach(connection: AsyncConnection, periods: Sequence[Period]) -> None:
    """Make partitions tables of their own. Debits wait for it from the first lock to the commit."""
    for period in periods:
        await connection.execute(text(f"ALTER TABLE usage_records DETACH PARTITION {table_name(period)}"))


async def freeze(connection: AsyncConnection, periods: Sequence[Period]) -> None:
    """Let nobody change the rows of these months until the transaction ends."""
    for period in periods:
        await connection.execute(text(f"LOCK TABLE {table_name(period)} IN SHARE MODE"))


async def carry(connection: AsyncConnection, period: Period) -> None:
    """Note what the rows of a month took from each cycle: voided ones gave it back."""
    rows = _table(table_name(period)).c
    sums = [cast(func.sum(amount), BigInteger) for amount in (rows.quota_nanos, rows.balance_nanos)]
    voided = (transfers.c.account_id == rows.account_id) & (transfers.c.reverses_event_id == rows.event_id)
    query = select(rows.account_id, rows.cycle_start, literal(period.start), *sums).where(
        rows.cycle_start.is_not(None), ~exists().where(voided)
    )
    query = query.group_by(rows.account_id, rows.cycle_start)
    await connection.execute(insert(usage_period_cycles).from_select(list(usage_period_cycles.c), query))


async def record(connection: AsyncConnection, period: Period, proof: PeriodProof) -> None:
    """Note that the rows of a month are away."""
    values = {"period_start": period.start, "table_name": table_name(period)}
    await connection.execute(insert(usage_periods).values(**values, rows=proof.rows, digest=proof.digest))


async def forget(connection: AsyncConnection, period: Period) -> None:
    """Take back what ``record`` and ``carry`` noted."""
    for table in (usage_periods, usage_period_cycles):
        await connection.execute(delete(table).where(table.c.period_start == period.start))


async def count_voids(connection: AsyncConnection) -> int:
    """Return how many records were voided."""
    query = select(func.count()).select_from(transfers).where(transfers.c.reverses_event_id.is_not(None))
    return int((await connection.execute(query)).scalar_one())


async def still_needed(connection: AsyncConnection, before: datetime, open_until: datetime) -> str | None:
    """Return what the rows debited before that time are still needed for, or None."""
    accounts = (await connection.execute(_NOT_EVALUATED, {"before": before})).scalar_one()
    if accounts:
        return f"{accounts} accounts have transfers from then that were not evaluated: run the workers"
    parameters = {"before": before, "open_until": open_until}
    cycles = (await connection.execute(_OPEN_CYCLES, parameters)).scalar_one()
    return f"{cycles} cycles that began then still take records" if cycles else None


async def count_rows(connection: AsyncConnection, period: Period) -> int:
    """Return how many rows an attached month has."""
    query = select(func.count()).select_from(_table(table_name(period)))
    return int((await connection.execute(query)).scalar_one())


async def size_bytes(connection: AsyncConnection, period: Period) -> int | None:
    """Return how much room a month takes, with its index; None where its table is gone."""
    size: int | None = (await connection.execute(_SIZE, {"name": table_name(period)})).scalar_one()
    return size


async def stream_rows(connection: AsyncConnection, period: Period) -> AsyncIterator[tuple[UsageRow, bytes]]:
    """Yield the rows of a month, be it attached or not, in order of account and transfer, with digests."""
    table = _table(table_name(period))
    keys = table.c
    query = select(table).order_by(keys.account_id, keys.transfer_seq, keys.event_id)
    async for row in await connection.stream(query):
        yield UsageRow(*row[:_ROW_FIELDS]), row.digest


async def detached_period(connection: AsyncConnection, account_id: str, seq: int) -> Period | None:
    """Return the month of a transfer if its rows are away."""
    columns = transfers.c
    query = select(columns.occurred_at).where(columns.account_id == account_id, columns.seq == seq)
    period = Period.of((await connection.execute(query)).scalar_one())
    return period if period in await recorded(connection) else None


def table_name(period: Period) -> str:
    return f"{_PREFIX}{period.year:04}_{period.month:02}"


def _period(name: str) -> Period:
    return Period.parse(name.removeprefix(_PREFIX).replace("_", "-"))


def _table(name: str) -> Table:
    return usage_records.to_metadata(MetaData(), name=name)
