"""SQL of deliveries: written with an alert's mark, taken one at a time for each target, recorded."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.delivery_tables import alert_deliveries
from shared.db.tables import alerts
from shared.domain.deliveries import Channel, DeliveryState, Target

#: Any numbers will do, as long as nobody else in this database takes them.
_WRITING_LOCK, _TAKING_LOCK = 7_294_000_011, 7_294_000_012

_COUNT = text("""
    SELECT d.account_id, d.target_id, count(*)
    FROM unnest(CAST(:accounts AS text[]), CAST(:targets AS text[])) AS wanted (account_id, target_id)
    JOIN alert_deliveries d ON d.account_id = wanted.account_id AND d.target_id = wanted.target_id
        AND d.channel = :channel AND d.created_at >= :since
    WHERE d.sequence IS NOT NULL AND d.state NOT IN ('held', 'digested')
    GROUP BY d.account_id, d.target_id
""")

# Of each target the earliest alert that is due for its first attempt, or for another one, unless one is with
# the target already; a digest follows alerts.
_TAKE = text("""
    UPDATE alert_deliveries SET taken_until = :until
    WHERE (account_id, delivery_id) IN (
        SELECT account_id, delivery_id FROM (
            SELECT DISTINCT ON (d.target_id) d.account_id, d.delivery_id, d.next_attempt_at
            FROM alert_deliveries d
            WHERE d.channel = :channel AND d.state = 'waiting' AND d.next_attempt_at <= :now
                AND (d.attempts > 0) = :retries
                AND NOT EXISTS (
                    SELECT FROM alert_deliveries busy
                    WHERE busy.channel = d.channel AND busy.target_id = d.target_id
                        AND busy.taken_until > :now)
            ORDER BY d.target_id, d.sequence NULLS LAST, d.created_at
        ) AS first_of_target
        ORDER BY next_attempt_at LIMIT :limit)
    RETURNING *
""")

_HELD = text("""
    SELECT account_id, channel, target_id, array_agg(delivery_id ORDER BY sequence) AS delivery_ids
    FROM (
        SELECT * FROM alert_deliveries
        WHERE channel = ANY (:channels) AND state = 'held' AND next_attempt_at <= :now
        ORDER BY next_attempt_at LIMIT :limit) AS due
    GROUP BY account_id, channel, target_id
""")


async def hold_writing(connection: AsyncConnection) -> None:
    """Let nobody else write deliveries until the transaction ends, so that an hour's count is right."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _WRITING_LOCK})


async def count_let_through(
    connection: AsyncConnection, channel: Channel, targets: Collection[Target], since: datetime
) -> Mapping[Target, int]:
    """Return how many alerts each of these targets was to get one by one since then."""
    parameters = {
        "accounts": [target.account_id for target in targets],
        "targets": [target.target_id for target in targets],
        "channel": channel,
        "since": since,
    }
    return {Target(row[0], row[1]): row[2] for row in await connection.execute(_COUNT, parameters)}


async def insert_deliveries(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write deliveries; those of an alert that its target is to get already are passed over."""
    if rows:
        await connection.execute(
            insert(alert_deliveries).on_conflict_do_nothing(constraint="alert_deliveries_once"), rows
        )


async def take_due(
    connection: AsyncConnection,
    channel: Channel,
    now: datetime,
    lease: timedelta,
    limit: int,
    *,
    retries: bool,
) -> Sequence[RowMapping]:
    """Take at most one due delivery of each target: nobody else takes one of it until it is recorded.

    If we die with it, it is due again when the lease ends.
    """
    # One at a time, or two that look at once would both find that a target has nothing.
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _TAKING_LOCK})
    parameters = {"channel": channel, "now": now, "until": now + lease, "limit": limit} | {"retries": retries}
    return (await connection.execute(_TAKE, parameters)).mappings().all()


async def load_alerts(connection: AsyncConnection, delivery: RowMapping) -> Sequence[RowMapping]:
    """Return the alert of a delivery, or those that a digest carries, in order."""
    if delivery["sequence"] is not None:
        query = select(alerts).where(
            alerts.c.account_id == delivery["alert_account_id"], alerts.c.sequence == delivery["sequence"]
        )
    else:
        columns = alert_deliveries.c
        query = (
            select(alerts)
            .join(
                alert_deliveries,
                (columns.alert_account_id == alerts.c.account_id) & (columns.sequence == alerts.c.sequence),
            )
            .where(columns.account_id == delivery["account_id"], columns.digest_id == delivery["delivery_id"])
            .order_by(alerts.c.sequence)
        )
    return (await connection.execute(query)).mappings().all()


async def record(connection: AsyncConnection, delivery: RowMapping, values: Mapping[str, Any]) -> bool:
    """Record an attempt; return whether the delivery was still open. That it was taken counts in any case."""
    columns = alert_deliveries.c
    change = (
        update(alert_deliveries)
        .where(columns.account_id == delivery["account_id"], columns.delivery_id == delivery["delivery_id"])
        .values(attempts=columns.attempts + 1, taken_until=None, updated_at=func.now(), **values)
    )
    if values["state"] != DeliveryState.SENT:
        change = change.where(columns.state == DeliveryState.WAITING)
    return (await connection.execute(change)).rowcount > 0


async def try_hold_writing(connection: AsyncConnection) -> bool:
    """Hold writing if nobody else does."""
    held = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _WRITING_LOCK})
    return bool(held.scalar_one())


async def held_until(
    connection: AsyncConnection, channels: Collection[Channel], now: datetime, limit: int
) -> Sequence[RowMapping]:
    """Return what was held for a digest whose time has come, target by target."""
    parameters = {"channels": list(channels), "now": now, "limit": limit}
    return (await connection.execute(_HELD, parameters)).mappings().all()


async def put_into_digest(
    connection: AsyncConnection, account_id: str, delivery_ids: Collection[str], digest_id: str
) -> None:
    """Let a digest carry what was held."""
    columns = alert_deliveries.c
    await connection.execute(
        update(alert_deliveries)
        .where(columns.account_id == account_id, columns.delivery_id.in_(delivery_ids))
        .values(
            state=DeliveryState.DIGESTED, digest_id=digest_id, next_attempt_at=None, updated_at=func.now()
        )
    )
