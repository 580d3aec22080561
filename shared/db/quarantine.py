"""SQL of the quarantine. Identical rejections are one entry with a count."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import quarantine
from shared.domain.quarantine import Reason, Rejection
from shared.ids import new_id


async def add_rejections(connection: AsyncConnection, rejections: Iterable[Rejection]) -> None:
    """Park records. One that was released or dismissed before is open again."""
    counted = Counter(rejections)
    if not counted:
        return
    statement = upsert(quarantine)
    entries = {
        _content_hash(rejection): {
            "entry_id": new_id("qtn"),
            "content_hash": _content_hash(rejection),
            "reason": rejection.reason,
            "detail": rejection.detail,
            "raw": rejection.raw,
            "account_id": rejection.account_id,
            "event_id": rejection.event_id,
            "count": count,
            "status": "open",
        }
        for rejection, count in counted.items()
    }
    # In the order of the hash: two stages that park the same records cannot deadlock.
    rows = [entries[content] for content in sorted(entries)]
    await connection.execute(
        statement.on_conflict_do_update(
            constraint="quarantine_identical_are_one",
            set_={
                "count": quarantine.c.count + statement.excluded.count,
                "detail": statement.excluded.detail,
                "status": "open",
                "last_seen_at": func.now(),
            },
        ),
        rows,
    )


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
