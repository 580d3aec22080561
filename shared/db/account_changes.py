"""SQL of whether anything changed that the owner of an account looks at."""

from collections.abc import Collection, Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# The transaction that wrote a row last stands for all that is in it.
_MARKS = text("""
    SELECT a.account_id,
           concat_ws(' ', a.xmin, (SELECT s.xmin FROM auto_topups s WHERE s.account_id = a.account_id),
                     (SELECT max(t.updated_at) FROM topups t WHERE t.account_id = a.account_id)) AS mark
    FROM accounts a WHERE a.account_id = ANY (CAST(:account_ids AS text[]))
""")


async def change_marks(engine: AsyncEngine, account_ids: Collection[str]) -> Mapping[str, str]:
    """Return a mark of each account that is another one after each change."""
    async with engine.connect() as connection:
        rows = await connection.execute(_MARKS, {"account_ids": list(account_ids)})
        return {row.account_id: row.mark for row in rows}
