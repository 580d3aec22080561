"""SQL of what an operator watches: how much waits, and where."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Gauge(NamedTuple):
    """A number with the label that tells it apart from others of its kind."""

    kind: str
    label: str
    value: float


_GAUGES = text("""
    SELECT 'quarantine_entries', reason, count(*) FROM quarantine WHERE status = 'open' GROUP BY reason
    UNION ALL SELECT 'topups', state, count(*) FROM topups
              WHERE state NOT IN ('succeeded', 'failed', 'canceled') GROUP BY state
    UNION ALL SELECT 'refunds', state, count(*) FROM refunds
              WHERE state NOT IN ('succeeded', 'failed') GROUP BY state
    UNION ALL SELECT 'payment_differences', kind, count(*) FROM payment_differences
              WHERE state = 'open' GROUP BY kind
    UNION ALL SELECT 'due_evaluations', '', count(*) FROM due_evaluations
    UNION ALL SELECT 'undelivered_alerts', '', count(*) FROM alerts WHERE delivered_at IS NULL
    UNION ALL SELECT 'holds_in_database', '', count(*) FROM holds
    UNION ALL SELECT 'unprocessed_stripe_events', '', count(*) FROM stripe_events WHERE processed_at IS NULL
    UNION ALL SELECT 'seconds_since_reconciliation', '',
                     extract(epoch FROM clock_timestamp() - max(finished_at)) FROM stripe_progress
              WHERE task = 'reconciliation' HAVING count(*) > 0
    UNION ALL SELECT 'processes', stage, count(*) FROM processes
              WHERE seen_at > clock_timestamp() - interval '5 seconds' GROUP BY stage
    UNION ALL SELECT 'messages_in_flight', stage, sum(in_flight) FROM processes
              WHERE seen_at > clock_timestamp() - interval '5 seconds' GROUP BY stage
""")


async def read_gauges(connection: AsyncConnection) -> list[Gauge]:
    """Return what waits, by kind and label."""
    rows = await connection.execute(_GAUGES)
    return [Gauge(kind, label, float(value)) for kind, label, value in rows]
