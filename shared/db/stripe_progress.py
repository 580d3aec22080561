"""SQL of how far something at Stripe was read."""

from datetime import datetime

from sqlalchemy import RowMapping, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import stripe_progress


async def find_progress(connection: AsyncConnection, task: str) -> RowMapping | None:
    """Return how far a task came, and when it finished last."""
    query = select(stripe_progress).where(stripe_progress.c.task == task)
    return (await connection.execute(query)).mappings().one_or_none()


async def save_progress(
    connection: AsyncConnection, task: str, done_until: datetime, finished_at: datetime
) -> None:
    """Note how far a task came; of two that finish at once the one that came further counts."""
    statement = insert(stripe_progress).values(task=task, done_until=done_until, finished_at=finished_at)
    new = statement.excluded
    furthest = {
        "done_until": func.greatest(stripe_progress.c.done_until, new.done_until),
        "finished_at": func.greatest(stripe_progress.c.finished_at, new.finished_at),
    }
    await connection.execute(
        statement.on_conflict_do_update(constraint="stripe_progress_pkey", set_=furthest)
    )
