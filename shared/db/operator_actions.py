"""SQL of what operators did."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.console_tables import operator_actions

_columns = operator_actions.c


async def insert_action(
    connection: AsyncConnection, actor: str, action: str, account_id: str | None, detail: str
) -> int:
    """Write down what an operator is about to do; return its number."""
    values = {"actor": actor, "action": action, "account_id": account_id, "detail": detail}
    written = await connection.execute(insert(operator_actions).values(values).returning(_columns.action_id))
    return int(written.scalar_one())


async def set_outcome(connection: AsyncConnection, action_id: int, outcome: str) -> None:
    mine = _columns.action_id == action_id
    await connection.execute(update(operator_actions).where(mine).values(outcome=outcome))


async def page_actions(
    connection: AsyncConnection, limit: int, before: int | None = None, account_id: str | None = None
) -> Sequence[RowMapping]:
    """Return what was done, newest first, before a number where one is given."""
    query = select(operator_actions).order_by(_columns.action_id.desc()).limit(limit)
    if before is not None:
        query = query.where(_columns.action_id < before)
    if account_id is not None:
        query = query.where(_columns.account_id == account_id)
    return (await connection.execute(query)).mappings().all()
