"""SQL of the quarantine. Identical rejections are one entry with a count."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, RowMapping, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.accounts import load_balances
from shared.db.alerts import NOBODY, NewAlert, insert_alerts
from shared.db.tables import quarantine
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import Level
from shared.domain.quarantine import Reason, Rejection
from shared.ids import new_id


async def add_rejections(connection: AsyncConnection, rejections: Iterable[Rejection]) -> list[int]:
    """Park records, and return the alerts of entries that are new.

    An entry that was released or dismissed before is open again.
    """
    entries: dict[bytes, dict[str, Any]] = {}
    for rejection in rejections:
        content = _content_hash(rejection)
        entry = entries.setdefault(content, _entry(rejection, content))
        entry["count"] += 1
    if not entries:
        return []
    statement = upsert(quarantine)
    new = literal_column("(xmax = 0)", Boolean)
    # In the order of the hash: two stages that park the same records cannot deadlock.
    rows = await connection.execute(
        statement.on_conflict_do_update(
            constraint="quarantine_identical_are_one",
            set_={
                "count": quarantine.c.count + statement.excluded.count,
                "detail": statement.excluded.detail,
                "status": "open",
                "last_seen_at": func.now(),
            },
        ).returning(quarantine, new.label("is_new")),
        [entries[content] for content in sorted(entries)],
    )
    new_entries = [row for row in rows.mappings() if row["is_new"]]
    known = {row["account_id"] for row in new_entries if row["account_id"] is not None}
    balances = await load_balances(connection, known) if known else {}
    alerts = [_alert(row, *balances.get(row["account_id"], (None, None))) for row in new_entries]
    return await insert_alerts(connection, alerts)


def _entry(rejection: Rejection, content: bytes) -> dict[str, Any]:
    return {
        "entry_id": new_id("qtn"),
        "content_hash": content,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "raw": rejection.raw,
        "account_id": rejection.account_id,
        "event_id": rejection.event_id,
        "count": 0,
        "status": "open",
    }


def _alert(row: RowMapping, balance_nanos: int | None, level: Level | None) -> NewAlert:
    data = alert_data(row["account_id"], balance_nanos, row["first_seen_at"], level)
    data |= {name: row[name] for name in ("entry_id", "reason", "detail", "event_id")}
    return NewAlert(row["account_id"] or NOBODY, AlertType.USAGE_QUARANTINED, data, row["first_seen_at"])


async def list_entries(
    connection: AsyncConnection,
    *,
    entry_ids: Collection[str] | None = None,
    reason: Reason | None = None,
    only_open: bool = True,
) -> Sequence[RowMapping]:
    """Return entries, oldest first."""
    query = select(quarantine).order_by(quarantine.c.first_seen_at, quarantine.c.entry_id)
    if entry_ids is not None:
        query = query.where(quarantine.c.entry_id.in_(entry_ids))
    if reason is not None:
        query = query.where(quarantine.c.reason == reason)
    if only_open:
        query = query.where(quarantine.c.status == "open")
    return (await connection.execute(query)).mappings().all()


async def mark_released(connection: AsyncConnection, entry_id: str, count: int) -> None:
    """Close an entry that was sent on its way again, unless it came back in the meantime."""
    await connection.execute(
        update(quarantine)
        .where(quarantine.c.entry_id == entry_id, quarantine.c.count == count, quarantine.c.status == "open")
        .values(status="released")
    )


async def mark_dismissed(connection: AsyncConnection, entry_id: str, because: str) -> None:
    """Close an entry for good."""
    await connection.execute(
        update(quarantine)
        .where(quarantine.c.entry_id == entry_id)
        .values(status="dismissed", dismissed_because=because)
    )


def _content_hash(rejection: Rejection) -> bytes:
    return hashlib.sha256(rejection.reason.encode() + b"\x00" + rejection.raw).digest()
