"""Look at what was parked, send it on its way again, or close it for good."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import quarantine as sql
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.quarantine import Reason
from shared.messaging.transport import Transport


async def list_quarantine(engine: AsyncEngine, *, include_closed: bool) -> list[dict[str, Any]]:
    """Return the entries, oldest first."""
    async with engine.connect() as connection:
        return [_shown(row) for row in await sql.list_entries(connection, only_open=not include_closed)]


async def release(
    engine: AsyncEngine, transport: Transport, entry_ids: Collection[str] | None, reason: Reason | None
) -> list[str]:
    """Publish parked records again, as if they had just arrived, and return the ids of their entries.

    A record whose cause is still there comes back to quarantine. Raises NotFoundError for an unknown entry,
    RefusedError for one that no passing of time can make good.
    """
    entries = await _open_entries(engine, entry_ids, reason)
    for entry in entries:
        if not Reason(entry["reason"]).releasable:
            raise RefusedError(f"{entry['entry_id']} is {entry['reason']}: it can only be dismissed")
    for entry in entries:
        # First published, then marked: a crash in between publishes it twice, and it is debited once.
        await transport.publish_usage(entry["raw"], "application/cloudevents+json")
        async with engine.begin() as connection:
            await sql.mark_released(connection, entry["entry_id"], entry["count"])
    return [entry["entry_id"] for entry in entries]


async def dismiss(engine: AsyncEngine, entry_ids: Collection[str], because: str) -> list[str]:
    """Close entries for good, with the reason why; raises NotFoundError for an unknown one."""
    entries = await _open_entries(engine, entry_ids, None)
    async with engine.begin() as connection:
        for entry in entries:
            await sql.mark_dismissed(connection, entry["entry_id"], because)
    return [entry["entry_id"] for entry in entries]


async def _open_entries(
    engine: AsyncEngine, entry_ids: Collection[str] | None, reason: Reason | None
) -> Sequence[RowMapping]:
    async with engine.connect() as connection:
        entries = await sql.list_entries(connection, entry_ids=entry_ids, reason=reason)
    missing = set(entry_ids or ()) - {entry["entry_id"] for entry in entries}
    if missing:
        raise NotFoundError(f"no open entry in quarantine is called {', '.join(sorted(missing))}")
    return entries


def _shown(row: RowMapping) -> dict[str, Any]:
    try:
        raw, encoding = row["raw"].decode(), "utf-8"
    except UnicodeDecodeError:
        raw, encoding = row["raw"].decode("latin-1"), "latin-1"
    return {
        "id": row["entry_id"],
        "reason": row["reason"],
        "detail": row["detail"],
        "count": row["count"],
        "status": row["status"],
        "account_id": row["account_id"],
        "event_id": row["event_id"],
        "raw": raw,
        "raw_encoding": encoding,
        "dismissed_because": row["dismissed_because"],
        "first_seen_at": row["first_seen_at"],
        "last_seen_at": row["last_seen_at"],
    }
