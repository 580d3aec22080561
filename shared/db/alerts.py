"""SQL of alerts: written with what they tell about, delivered later, at least once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.alert_settings import load_quiet_hours
from shared.db.tables import alerts
from shared.domain.alerts import AlertType, as_text, correlation_id
from shared.domain.quiet import QuietHours, quiet_until

#: The account of alerts that concern none, such as a record whose key nobody knows.
NOBODY = ""


# A row is debited at the time of its transfer, which names its month.
_LAST_EVENTS = text("""
    SELECT DISTINCT ON (account_id, transfer_seq) account_id, transfer_seq, event_id
    FROM unnest(CAST(:account_ids AS text[]), CAST(:seqs AS bigint[]), CAST(:times AS timestamptz[]))
         AS told (account_id, transfer_seq, debited_at)
    JOIN usage_records USING (account_id, transfer_seq, debited_at)
    ORDER BY account_id, transfer_seq, time DESC, event_id DESC
""")


class NewAlert(NamedTuple):
    """An alert to be written; ``data`` is any JSON."""

    account_id: str
    type: AlertType
    data: Mapping[str, Any]
    occurred_at: datetime


async def insert_alerts(connection: AsyncConnection, new: Sequence[NewAlert]) -> list[int]:
    """Write alerts in order, and return their sequence numbers.

    What quiet hours cover says so: in a column for channels to people, in its data for others. Each says in
    its data what it goes back to.
    """
    if not new:
        return []
    quiet = await load_quiet_hours(connection, {alert.account_id for alert in new})
    events = await _last_events(connection, new)
    rows = [
        _row(
            alert, quiet.get(alert.account_id), events.get((alert.account_id, alert.data.get("transfer_seq")))
        )
        for alert in new
    ]
    inserted = await connection.execute(
        insert(alerts).returning(alerts.c.sequence, sort_by_parameter_order=True), rows
    )
    return list(inserted.scalars())


async def _last_events(
    connection: AsyncConnection, new: Sequence[NewAlert]
) -> Mapping[tuple[str, int | None], str]:
    """Return the id of the last record of each transfer of usage that an alert tells of."""
    told = [alert for alert in new if "transfer_seq" in alert.data]
    if not told:
        return {}
    values = {
        "account_ids": [alert.account_id for alert in told],
        "seqs": [alert.data["transfer_seq"] for alert in told],
        "times": [alert.occurred_at for alert in told],
    }
    rows = await connection.execute(_LAST_EVENTS, values)
    return {(account_id, seq): event_id for account_id, seq, event_id in rows}


def _row(alert: NewAlert, quiet: QuietHours | None, event_id: str | None) -> dict[str, Any]:
    data = {**alert.data, "correlation_id": event_id or correlation_id(alert.account_id, alert.data)}
    until = quiet_until(quiet, alert.type, alert.occurred_at)
    if until is not None:
        data["quiet_until"] = as_text(until)
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
