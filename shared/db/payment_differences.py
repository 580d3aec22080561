"""SQL of what differed between Stripe and the books: each once, open until it is mended or dismissed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, case, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import payment_differences
from shared.domain.payment_differences import Difference, DifferenceKind
from shared.ids import new_id

_columns = payment_differences.c


async def record(
    connection: AsyncConnection, found: Collection[Difference]
) -> dict[tuple[str, str], RowMapping]:
    """Write differences down as open, those that were dismissed excepted; return the rows by their keys.

    A row whose ``first_seen_at`` is its ``last_seen_at`` was not known before, or was mended before.
    """
    rows: dict[tuple[str, str], RowMapping] = {}
    for difference in sorted(found, key=lambda each: each.key):  # in one order: two runs cannot deadlock
        row = (await connection.execute(_RECORD, _values(difference))).mappings().one()
        rows[difference.key] = row
    return rows


_NEW = upsert(payment_differences)
_RECORD = _NEW.on_conflict_do_update(
    constraint="payment_differences_once",
    set_={
        "state": case((_columns.state == "dismissed", "dismissed"), else_="open"),
        "detail": _NEW.excluded.detail,
        "account_id": _NEW.excluded.account_id,
        "topup_id": _NEW.excluded.topup_id,
        "first_seen_at": case((_columns.state == "mended", func.now()), else_=_columns.first_seen_at),
        "last_seen_at": func.now(),
    },
).returning(payment_differences)


def _values(difference: Difference) -> dict[str, Any]:
    return {
        "difference_id": new_id("dif"),
        "kind": difference.kind,
        "stripe_id": difference.stripe_id,
        "account_id": difference.account_id,
        "topup_id": difference.topup_id,
        "detail": difference.detail,
        "state": "open",
    }


async def mark_mended(
    connection: AsyncConnection, key: tuple[str, str], how: str, unseen_since: datetime | None = None
) -> RowMapping | None:
    """Close an open difference, saying how it went; return it, or None where it was closed or seen anew."""
    mine = (tuple_(_columns.kind, _columns.stripe_id) == key) & (_columns.state == "open")
    if unseen_since is not None:
        mine &= _columns.last_seen_at < unseen_since
    statement = update(payment_differences).where(mine)
    values = {"state": "mended", "detail": _columns.detail + "; " + how}
    closed = await connection.execute(statement.values(values).returning(payment_differences))
    row: RowMapping | None = closed.mappings().one_or_none()
    return row


async def known_open(connection: AsyncConnection, limit: int | None) -> list[Difference]:
    """Return open differences, those seen longest ago first."""
    query = select(payment_differences).where(_columns.state == "open")
    rows = await connection.execute(
        query.order_by(_columns.last_seen_at, _columns.difference_id).limit(limit)
    )
    return [
        Difference(
            DifferenceKind(row["kind"]), row["stripe_id"], row["detail"], row["account_id"], row["topup_id"]
        )
        for row in rows.mappings()
    ]


async def list_differences(connection: AsyncConnection, *, only_open: bool = True) -> Sequence[RowMapping]:
    """Return differences, oldest first."""
    query = select(payment_differences).order_by(_columns.first_seen_at, _columns.difference_id)
    if only_open:
        query = query.where(_columns.state == "open")
    return (await connection.execute(query)).mappings().all()


async def states_of(connection: AsyncConnection, difference_ids: Collection[str]) -> Mapping[str, str]:
    """Return the states of differences by their ids."""
    query = select(_columns.difference_id, _columns.state).where(_columns.difference_id.in_(difference_ids))
    return {row.difference_id: row.state for row in await connection.execute(query)}


async def mark_dismissed(connection: AsyncConnection, difference_ids: Collection[str], because: str) -> None:
    """Close open differences for good: seen again, they stay closed."""
    mine = _columns.difference_id.in_(difference_ids) & (_columns.state == "open")
    values = {"state": "dismissed", "dismissed_because": because}
    await connection.execute(update(payment_differences).where(mine).values(values))
