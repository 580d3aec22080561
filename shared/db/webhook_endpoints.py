"""SQL of webhook endpoints."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.delivery_tables import webhook_endpoints
from shared.domain.deliveries import Target

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || :account_id, 0))")


def _is(target: Target) -> Any:  # noqa: ANN401 - a condition
    columns = webhook_endpoints.c
    return (columns.account_id == target.account_id) & (columns.endpoint_id == target.target_id)


async def insert_endpoint(
    connection: AsyncConnection, values: Mapping[str, Any], most: int
) -> RowMapping | None:
    """Write an endpoint; return it, or None where its account has as many as it may."""
    await connection.execute(_LOCK, {"account_id": values["account_id"]})
    mine = webhook_endpoints.c.account_id == values["account_id"]
    count = await connection.execute(select(func.count()).select_from(webhook_endpoints).where(mine))
    if count.scalar_one() >= most:
        return None
    inserted = await connection.execute(
        insert(webhook_endpoints).values(**values).returning(*webhook_endpoints.c)
    )
    return inserted.mappings().one()


async def find_endpoint(connection: AsyncConnection, target: Target) -> RowMapping | None:
    query = select(webhook_endpoints).where(_is(target))
    return (await connection.execute(query)).mappings().one_or_none()


async def list_endpoints(connection: AsyncConnection, account_id: str) -> Sequence[RowMapping]:
    """Return an account's endpoints, oldest first."""
    query = select(webhook_endpoints).where(webhook_endpoints.c.account_id == account_id)
    ordered = query.order_by(webhook_endpoints.c.created_at, webhook_endpoints.c.endpoint_id)
    return (await connection.execute(ordered)).mappings().all()


async def enabled_endpoints(
    connection: AsyncConnection, account_ids: Collection[str]
) -> Sequence[RowMapping]:
    """Return the endpoints of these accounts that take events."""
    columns = webhook_endpoints.c
    query = select(webhook_endpoints).where(columns.account_id.in_(account_ids), columns.enabled)
    return (await connection.execute(query.order_by(columns.endpoint_id))).mappings().all()


async def change_endpoint(
    connection: AsyncConnection, target: Target, values: Mapping[str, Any]
) -> RowMapping | None:
    """Change an endpoint; return it, or None where there is none."""
    change = update(webhook_endpoints).where(_is(target)).values(**values).returning(*webhook_endpoints.c)
    return (await connection.execute(change)).mappings().one_or_none()


async def rotate_secret(
    connection: AsyncConnection, target: Target, secret: str, old_until: datetime
) -> RowMapping | None:
    """Give an endpoint a new secret; the one it had stays good until then. None where there is none."""
    values = {"secret": secret, "old_secret": webhook_endpoints.c.secret, "old_secret_until": old_until}
    return await change_endpoint(connection, target, values)


async def remove_endpoint(connection: AsyncConnection, target: Target) -> bool:
    """Remove an endpoint; return whether there was one."""
    return (await connection.execute(delete(webhook_endpoints).where(_is(target)))).rowcount > 0


async def note_working(connection: AsyncConnection, target: Target) -> None:
    """Note that an endpoint took something."""
    columns = webhook_endpoints.c
    failing = columns.failing_since.is_not(None)
    await connection.execute(update(webhook_endpoints).where(_is(target), failing).values(failing_since=None))


async def note_failing(connection: AsyncConnection, target: Target, now: datetime) -> datetime | None:
    """Note that an endpoint did not take something; return since when it took nothing, None if disabled."""
    columns = webhook_endpoints.c
    change = (
        update(webhook_endpoints)
        .where(_is(target), columns.enabled)
        .values(failing_since=func.coalesce(columns.failing_since, now))
        .returning(columns.failing_since)
    )
    since: datetime | None = (await connection.execute(change)).scalar_one_or_none()
    return since


async def disable_endpoint(connection: AsyncConnection, target: Target, why: str) -> bool:
    """Disable an endpoint; return whether it was enabled."""
    change = update(webhook_endpoints).where(_is(target), webhook_endpoints.c.enabled)
    return (
        await connection.execute(change.values(enabled=False, disabled_because=why, failing_since=None))
    ).rowcount > 0
