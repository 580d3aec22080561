"""SQL that sums up an account for people."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Summary(NamedTuple):
    """What an account has, and what was ever charged to it."""

    name: str | None
    balance_nanos: int
    charged_nanos: int
    requests: int


_SUMMARY = text("""
    SELECT a.name, a.balance_nanos,
           coalesce((SELECT CAST(sum(u.charge_nanos) AS bigint) FROM usage_records u
                     WHERE u.account_id = a.account_id), 0),
           (SELECT count(*) FROM usage_ids i WHERE i.account_id = a.account_id)
    FROM accounts a WHERE a.account_id = :account_id
""")


async def load_summary(connection: AsyncConnection, account_id: str) -> Summary | None:
    """Return the summary of an account, None where there is none."""
    row = (await connection.execute(_SUMMARY, {"account_id": account_id})).one_or_none()
    return Summary(*row) if row else None
