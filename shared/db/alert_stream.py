"""SQL of alerts as a stream: what came after what a reader has seen, none left out.

Numbers are given out in another order than transactions commit. So what is new is told by snapshots of
PostgreSQL, each of which knows exactly which transactions it sees, and not by the highest number seen.
Source: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
"""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, RowMapping, Text, and_, any_, func, literal, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db.engine import snapshot
from shared.db.tables import alerts

_PAGE = 500
_SNAPSHOT = text("SELECT CAST(pg_current_snapshot() AS text)")
_SEEN = "pg_visible_in_snapshot(CAST(CAST(alerts.written_by AS text) AS xid8), CAST(:seen AS pg_snapshot))"
_OLDEST_UNSEEN = "CAST(CAST(pg_snapshot_xmin(CAST(:seen AS pg_snapshot)) AS text) AS bigint)"


class Appeared(NamedTuple):
    """Alerts in order of their numbers, and the snapshot in which they were there."""

    snapshot: str
    alerts: Sequence[RowMapping]


async def current_snapshot(engine: AsyncEngine) -> str:
    """Return what a reader that begins now has not missed."""
    async with engine.connect() as connection:
        return str((await connection.execute(_SNAPSHOT)).scalar_one())


async def appeared_since(engine: AsyncEngine, seen: str, accounts: Collection[str]) -> Appeared:
    """Return the alerts of these accounts that can be seen now and could not in the snapshot ``seen``."""
    query = (
        select(alerts)
        .where(
            alerts.c.written_by >= text(_OLDEST_UNSEEN).bindparams(seen=seen),
            text(f"NOT {_SEEN}").bindparams(seen=seen),
            alerts.c.account_id == any_(literal(list(accounts), ARRAY(Text))),
        )
        .order_by(alerts.c.sequence)
    )
    async with snapshot(engine) as connection:
        now = str((await connection.execute(_SNAPSHOT)).scalar_one())
        return Appeared(now, (await connection.execute(query)).mappings().all())


async def replay(
    engine: AsyncEngine, account_id: str, after: int, until: str
) -> AsyncIterator[Sequence[RowMapping]]:
    """Yield pages of an account's alerts after number ``after`` that the snapshot ``until`` sees.

    Those with a lower number that may have been committed after it come too; a reader knows their ids.
    """
    async with engine.connect() as connection:
        condition, position = await _unseen(connection, account_id, after)
    query = (
        select(alerts)
        .where(
            alerts.c.account_id == account_id,
            condition,
            or_(alerts.c.written_by.is_(None), text(_SEEN).bindparams(seen=until)),
        )
        .order_by(alerts.c.sequence)
        .limit(_PAGE)
    )
    while True:
        async with engine.connect() as connection:
            page = (await connection.execute(query.where(alerts.c.sequence > position))).mappings().all()
        if page:
            yield page
        if len(page) < _PAGE:
            return
        position = page[-1]["sequence"]


async def page_alerts(
    connection: AsyncConnection, account_id: str, since: datetime, limit: int, after: int | None = None
) -> Sequence[RowMapping]:
    """Return alerts of an account that happened since then, oldest number first, after number ``after``."""
    query = select(alerts).where(alerts.c.account_id == account_id, alerts.c.occurred_at >= since)
    if after is not None:
        query = query.where(alerts.c.sequence > after)
    return (await connection.execute(query.order_by(alerts.c.sequence).limit(limit))).mappings().all()


async def _unseen(
    connection: AsyncConnection, account_id: str, after: int
) -> tuple[ColumnElement[bool], int]:
    """Return which alerts a reader may not have seen whose last one was ``after``, and where they begin."""
    of_account = alerts.c.account_id == account_id
    newer = alerts.c.sequence > after
    last: Row[Any] | None = (
        await connection.execute(select(alerts.c.written_after).where(of_account, alerts.c.sequence == after))
    ).one_or_none()
    if last is None or last.written_after is None:
        return newer, after
    overtaken = and_(alerts.c.sequence < after, alerts.c.written_by >= last.written_after)
    first = await connection.execute(select(func.min(alerts.c.sequence)).where(of_account, overtaken))
    position = first.scalar_one()
    return (newer, after) if position is None else (or_(newer, overtaken), position - 1)
