"""SQL of alerts: written with what they tell about, delivered later, at least once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.alert_settings import load_quiet_hours
from shared.db.tables import alerts
from shared.domain.alerts import AlertType, as_text
from shared.domain.quiet import QuietHours, quiet_until

#: The account of alerts that concern none, such as a record whose key nobody knows.
NOBODY = ""


class NewAlert(NamedTuple):
    """An alert to be written; ``data`` is any JSON."""

    account_id: str
    type: AlertType
    data: Mapping[str, Any]
    occurred_at: datetime


async def insert_alerts(connection: AsyncConnection, new: Sequence[NewAlert]) -> list[int]:
    """Write alerts in order, and return their sequence numbers.

    What quiet hours cover says so: in a column for channels to people, in its data for others.
    """
    if not new:
        return []
    quiet = await load_quiet_hours(connection, {alert.account_id for alert in new})
    rows = [_row(alert, quiet.get(alert.account_id)) for alert in new]
    inserted = await connection.execute(
        insert(alerts).returning(alerts.c.sequence, sort_by_parameter_order=True), rows
    )
    return list(inserted.scalars())


def _row(alert: NewAlert, quiet: QuietHours | None) -> dict[str, Any]:
    until = quiet_until(quiet, alert.type, alert.occurred_at)
    if until is None:
        return alert._asdict() | {"quiet_until": None}
    data = {**alert.data, "quiet_until": as_text(until)}
    return alert._asdict() | {"quiet_until": until, "data": data}


async def load_undelivered(connection: AsyncConnection, sequences: Sequence[int]) -> Sequence[RowMapping]:
    """Return those of these alerts that were not delivered yet, in order."""
    query = select(alerts).where(alerts.c.delivered_at.is_(None), alerts.c.sequence.in_(sequences))
    return (await connection.execute(query.order_by(alerts.c.sequence))).mappings().all()


async def mark_delivered(connection: AsyncConnection, sequences: Sequence[int]) -> set[int]:
    """Mark alerts as delivered to the exchange; return those that nobody had marked before."""
    marked = await connection.execute(
        update(alerts)
        .where(alerts.c.sequence.in_(sequences), alerts.c.delivered_at.is_(None))
        .values(delivered_at=func.now())
        .returning(alerts.c.sequence)
    )
    return set(marked.scalars())


async def overdue_alerts(connection: AsyncConnection, older_than: datetime, limit: int) -> list[int]:
    """Return alerts that were written before then and are undelivered, oldest first."""
    query = select(alerts.c.sequence).where(alerts.c.delivered_at.is_(None), alerts.c.created_at < older_than)
    return list((await connection.execute(query.order_by(alerts.c.sequence).limit(limit))).scalars())


async def alerts_since(connection: AsyncConnection, since: datetime) -> Sequence[RowMapping]:
    """Return all alerts that happened since then, in order."""
    query = select(alerts).where(alerts.c.occurred_at >= since).order_by(alerts.c.sequence)
    return (await connection.execute(query)).mappings().all()


async def page_alerts(
    connection: AsyncConnection, account_id: str, limit: int, before: int | None = None
) -> Sequence[RowMapping]:
    """Return alerts of an account, newest first, before a sequence number where one is given."""
    query = select(alerts).where(alerts.c.account_id == account_id)
    if before is not None:
        query = query.where(alerts.c.sequence < before)
    return (await connection.execute(query.order_by(alerts.c.sequence.desc()).limit(limit))).mappings().all()


async def count_undelivered(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(alerts).where(alerts.c.delivered_at.is_(None))
    return int((await connection.execute(query)).scalar_one())


def alert_event(alert: RowMapping) -> dict[str, Any]:
    """Return an alert as the CloudEvent that consumers get: its id never changes."""
    return {
        "specversion": "1.0",
        "type": f"payg.{alert['type']}.v1",
        "source": "payg",
        "id": f"alert-{alert['sequence']}",
        "time": alert["occurred_at"],
        "datacontenttype": "application/json",
        "subject": alert["account_id"] or None,
        "sequence": alert["sequence"],
        "data": alert["data"],
    }
