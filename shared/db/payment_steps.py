"""SQL of what is due for a next step at Stripe, whatever kind it is."""

from datetime import timedelta

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection


def _take(table: str, key: str, due: str, step_id: str) -> TextClause:
    """Take what is due by moving its time: nobody else takes it, and if we die it is due again."""
    return text(f"""
        UPDATE {table} SET {due} = clock_timestamp() + CAST(:again_after AS interval)
        WHERE ({key}) IN (
            SELECT {key} FROM {table}
            WHERE {due} <= clock_timestamp() ORDER BY {due} LIMIT :limit FOR UPDATE SKIP LOCKED)
        RETURNING {step_id}
    """)  # noqa: S608 - names of ours


_TAKE_STEPS = (
    _take("topups", "account_id, topup_id", "next_step_at", "topup_id"),
    _take("topups", "account_id, topup_id", "invoice_due_at", "'inv_' || topup_id"),
    _take("refunds", "account_id, refund_id", "next_step_at", "refund_id"),
    _take("stripe_events", "event_id", "next_step_at", "event_id"),
)


async def take_due_steps(connection: AsyncConnection, *, again_after: timedelta, limit: int) -> list[str]:
    """Return what has a step due, at most so many of a kind, and let it be due again after a timedelta."""
    parameters = {"again_after": again_after, "limit": limit}
    return [
        step_id
        for statement in _TAKE_STEPS
        for step_id in (await connection.execute(statement, parameters)).scalars()
    ]
