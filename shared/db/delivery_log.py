"""SQL of the delivery log of a target: what became of each, and sending some of it again."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Update, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.delivery_tables import alert_deliveries
from shared.db.tables import alerts
from shared.domain.deliveries import Channel, DeliveryState, Target

_OPEN = (DeliveryState.WAITING, DeliveryState.HELD)


def _of(channel: Channel, target: Target) -> Any:  # noqa: ANN401 - a condition
    columns = alert_deliveries.c
    return (
        (columns.account_id == target.account_id)
        & (columns.channel == channel)
        & (columns.target_id == target.target_id)
    )


async def page_deliveries(
    connection: AsyncConnection,
    channel: Channel,
    target: Target,
    limit: int,
    before: tuple[datetime, str] | None = None,
    states: Collection[DeliveryState] = (),
) -> Sequence[RowMapping]:
    """Return a target's deliveries with the type of the alert (None for a digest), newest first."""
    columns = alert_deliveries.c
    of_alert = (alerts.c.account_id == columns.alert_account_id) & (alerts.c.sequence == columns.sequence)
    query = (
        select(alert_deliveries, alerts.c.type)
        .outerjoin_from(alert_deliveries, alerts, of_alert)
        .where(_of(channel, target))
    )
    if before is not None:
        query = query.where(tuple_(columns.created_at, columns.delivery_id) < tuple_(*before))
    if states:
        query = query.where(columns.state.in_(states))
    ordered = query.order_by(columns.created_at.desc(), columns.delivery_id.desc())
    return (await connection.execute(ordered.limit(limit))).mappings().all()


async def close_deliveries(connection: AsyncConnection, channel: Channel, target: Target, why: str) -> None:
    """Give up what a target was still to get."""
    await connection.execute(
        update(alert_deliveries)
        .where(_of(channel, target), alert_deliveries.c.state.in_(_OPEN))
        .values(
            state=DeliveryState.FAILED,
            next_attempt_at=None,
            taken_until=None,
            detail=why,
            updated_at=func.now(),
        )
    )


def _again(channel: Channel, target: Target, now: datetime) -> Update:
    return (
        update(alert_deliveries)
        .where(_of(channel, target))
        .values(
            state=DeliveryState.WAITING,
            attempts=0,
            next_attempt_at=now,
            taken_until=None,
            status=None,
            detail=None,
            updated_at=func.now(),
        )
    )


async def send_again(
    connection: AsyncConnection, channel: Channel, target: Target, delivery_id: str, now: datetime
) -> bool:
    """Let one delivery be due now, as if it had not been tried; return whether there is one."""
    change = _again(channel, target, now).where(alert_deliveries.c.delivery_id == delivery_id)
    return (await connection.execute(change)).rowcount > 0


async def send_again_since(
    connection: AsyncConnection,
    channel: Channel,
    target: Target,
    since: datetime,
    now: datetime,
    *,
    sent_too: bool,
) -> int:
    """Let what failed since then be due now, and with ``sent_too`` what was sent; return how many."""
    states = (DeliveryState.FAILED, DeliveryState.SENT) if sent_too else (DeliveryState.FAILED,)
    columns = alert_deliveries.c
    change = _again(channel, target, now).where(columns.created_at >= since, columns.state.in_(states))
    return (await connection.execute(change)).rowcount


async def alerts_not_written(
    connection: AsyncConnection,
    channel: Channel,
    target: Target,
    since: datetime,
    types: Collection[str],
    limit: int,
) -> Sequence[RowMapping]:
    """Return delivered alerts since then that the target has no delivery of, of these types or of any.

    They are those of its account, or for an operator of all.
    """
    columns = alert_deliveries.c
    written = select(columns.delivery_id).where(_of(channel, target), columns.sequence == alerts.c.sequence)
    query = select(alerts).where(
        alerts.c.occurred_at >= since, alerts.c.delivered_at.is_not(None), ~written.exists()
    )
    if target.account_id:
        query = query.where(alerts.c.account_id == target.account_id)
    if types:
        query = query.where(alerts.c.type.in_(types))
    return (await connection.execute(query.order_by(alerts.c.sequence).limit(limit))).mappings().all()
