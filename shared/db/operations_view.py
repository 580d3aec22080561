"""SQL of what an operator watches: how much waits, where, and for how long."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import RowMapping, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import audits, queue_looks
from shared.metrics import Gauge

# Each line is a kind of gauge, its label and its value; kinds are described in shared.metrics.
_GAUGES = text("""
    WITH open_topups AS (
        SELECT state, next_step_at FROM topups WHERE state NOT IN ('succeeded', 'failed', 'canceled')
    ),
    stages AS (SELECT * FROM unnest(CAST(:stages AS text[])) AS stages (stage)),
    fresh AS (
        SELECT stage, in_flight FROM processes WHERE seen_at > clock_timestamp() - interval '5 seconds'
    ),
    last_audit AS (SELECT finished_at, fault FROM audits ORDER BY audit_id DESC LIMIT 1)
    SELECT 'quarantine_entries', reason, count(*) FROM quarantine WHERE status = 'open' GROUP BY reason
    UNION ALL SELECT 'topups', state, count(*) FROM open_topups GROUP BY state
    UNION ALL SELECT 'topup_overdue_seconds', '',
                     coalesce(extract(epoch FROM clock_timestamp() - min(next_step_at)), 0) FROM open_topups
              WHERE next_step_at < clock_timestamp()
    UNION ALL SELECT 'refunds', state, count(*) FROM refunds
              WHERE state NOT IN ('succeeded', 'failed') GROUP BY state
    UNION ALL SELECT 'payment_differences', kind, count(*) FROM payment_differences
              WHERE state = 'open' GROUP BY kind
    UNION ALL SELECT 'due_evaluations', '', count(*) FROM due_evaluations
    UNION ALL SELECT 'due_evaluations_age_seconds', '',
                     coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0) FROM due_evaluations
    UNION ALL SELECT 'undelivered_alerts', '', count(*) FROM alerts WHERE delivered_at IS NULL
    UNION ALL SELECT 'undelivered_alerts_age_seconds', '',
                     coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) FROM alerts
              WHERE delivered_at IS NULL
    UNION ALL SELECT 'holds_in_database', '', count(*) FROM holds
    UNION ALL SELECT 'unprocessed_stripe_events', '', count(*) FROM stripe_events WHERE processed_at IS NULL
    UNION ALL SELECT 'reconciliation_age_seconds', '',
                     extract(epoch FROM clock_timestamp() - max(finished_at)) FROM stripe_progress
              WHERE task = 'reconciliation' HAVING count(*) > 0
    UNION ALL SELECT 'processes', stage, count(fresh.stage) FROM stages LEFT JOIN fresh USING (stage)
              GROUP BY stage
    UNION ALL SELECT 'messages_in_flight', stage, coalesce(sum(in_flight), 0)
              FROM stages LEFT JOIN fresh USING (stage) GROUP BY stage
    UNION ALL SELECT 'queue_ready', queue, ready FROM queue_looks
    UNION ALL SELECT 'queue_consumers', queue, consumers FROM queue_looks
    UNION ALL SELECT 'queue_lag_seconds', queue,
                     coalesce(extract(epoch FROM looked_at - oldest_at), 0) FROM queue_looks
    UNION ALL SELECT 'dead_letters', queue, dead FROM queue_looks
    UNION ALL SELECT 'clock_age_seconds', '', extract(epoch FROM clock_timestamp() - max(looked_at))
              FROM queue_looks HAVING count(*) > 0
    UNION ALL SELECT 'audit_age_seconds', '', extract(epoch FROM clock_timestamp() - finished_at)
              FROM last_audit
    UNION ALL SELECT 'audit_ok', '', CAST(fault IS NULL AS integer) FROM last_audit
""")

# How far each queue was worked off, by the process that came furthest. What is ready was sent later than
# that, unless it came back.
_TAKEN_UNTIL = text("""
    SELECT taken.key, to_timestamp(max(CAST(taken.value AS bigint)) / 1000.0)
    FROM processes, jsonb_each_text(taken_until) AS taken GROUP BY taken.key
""")


class QueueLook(NamedTuple):
    """A queue as the clock saw it. ``oldest_at`` is no later than when its oldest message was sent."""

    queue: str
    ready: int
    consumers: int
    dead: int
    oldest_at: datetime | None


async def read_gauges(connection: AsyncConnection, stages: Sequence[str]) -> list[Gauge]:
    """Return what waits, by kind and label; of these stages also that none of their processes runs."""
    rows = await connection.execute(_GAUGES, {"stages": list(stages)})
    return [Gauge(kind, label, float(value)) for kind, label, value in rows]


async def taken_until(connection: AsyncConnection) -> dict[str, datetime]:
    """Return by queue when the last message was sent that a process began to handle."""
    return {row[0]: row[1] for row in await connection.execute(_TAKEN_UNTIL)}


async def last_looks(connection: AsyncConnection) -> dict[str, RowMapping]:
    """Return what the clock saw of each queue last, with how many seconds ago."""
    age_s = func.extract("epoch", func.clock_timestamp() - queue_looks.c.looked_at).label("age_s")
    rows = (await connection.execute(select(queue_looks, age_s))).mappings()
    return {row["queue"]: row for row in rows}


async def ids_claimed(connection: AsyncConnection) -> int:
    """Return how many records were debited since the server's statistics began, about a second ago."""
    claimed = text("SELECT pg_stat_get_tuples_inserted('usage_ids'::regclass)")
    return int((await connection.execute(claimed)).scalar_one())


async def save_looks(connection: AsyncConnection, looks: Iterable[QueueLook], looked_at: datetime) -> None:
    """Write what the clock sees now; queues that it does not see any more are forgotten."""
    rows = [{**look._asdict(), "looked_at": looked_at} for look in looks]
    await connection.execute(
        queue_looks.delete().where(queue_looks.c.queue.not_in([row["queue"] for row in rows]))
    )
    if rows:
        statement = upsert(queue_looks).values(rows)
        names = ("ready", "consumers", "dead", "oldest_at", "looked_at")
        new = {name: statement.excluded[name] for name in names}
        await connection.execute(statement.on_conflict_do_update(constraint="queue_looks_pkey", set_=new))


async def note_audit(connection: AsyncConnection, counts: Sequence[int], fault: str | None) -> None:
    """Note that an audit ended: accounts, transfers and usage records that it counted, and what it found."""
    accounts, transfers, usage_records = counts
    await connection.execute(
        insert(audits).values(
            finished_at=func.clock_timestamp(),
            accounts=accounts,
            transfers=transfers,
            usage_records=usage_records,
            fault=fault,
        )
    )
