"""SQL of the console's sessions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.console_tables import console_sessions
from shared.db.tables import accounts, api_keys

_columns = console_sessions.c


async def insert_session(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write a new session; those that are over go."""
    await connection.execute(delete(console_sessions).where(_columns.expires_at < func.now()))
    await connection.execute(insert(console_sessions).values(**values))


async def find_session(connection: AsyncConnection, token_hash: bytes, now: datetime) -> RowMapping | None:
    """Return a session with its key and account; None where it is over or its key was revoked."""
    query = (
        select(
            console_sessions, api_keys.c.account_id, api_keys.c.scopes, accounts.c.name.label("account_name")
        )
        .select_from(
            console_sessions.outerjoin(api_keys, api_keys.c.api_key_id == _columns.api_key_id).outerjoin(
                accounts, accounts.c.account_id == api_keys.c.account_id
            )
        )
        .where(_columns.token_hash == token_hash, _columns.expires_at > now, api_keys.c.revoked_at.is_(None))
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def delete_session(connection: AsyncConnection, token_hash: bytes) -> None:
    await connection.execute(delete(console_sessions).where(_columns.token_hash == token_hash))


async def set_notice(
    connection: AsyncConnection, token_hash: bytes, notice: Mapping[str, str] | None
) -> None:
    """Keep what the next page is to say, or with None forget it."""
    mine = _columns.token_hash == token_hash
    value = dict(notice) if notice else None
    await connection.execute(update(console_sessions).where(mine).values(notice=value))
