"""SQL of the console's sessions."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.console_tables import console_sessions, members
from shared.db.tables import accounts, api_keys

_columns = console_sessions.c


async def insert_session(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Write a new session; those that are over go."""
    await connection.execute(delete(console_sessions).where(_columns.expires_at < func.now()))
    await connection.execute(insert(console_sessions).values(**values))


async def find_session(connection: AsyncConnection, token_hash: bytes, now: datetime) -> RowMapping | None:
    """Return a session with who it is of, its key and account; None where it is over or the key revoked.

    A member's session has the address and the role, and only where it is of one key the key.
    """
    key_id = func.coalesce(_columns.api_key_id, members.c.api_key_id)
    account_id = func.coalesce(members.c.account_id, api_keys.c.account_id)
    query = (
        select(
            _columns.token_hash,
            _columns.admin_check,
            _columns.notice,
            key_id.label("api_key_id"),
            account_id.label("account_id"),
            api_keys.c.scopes,
            members.c.address,
            members.c.role,
            accounts.c.name.label("account_name"),
        )
        .select_from(
            console_sessions.outerjoin(members, members.c.member_id == _columns.member_id)
            .outerjoin(api_keys, api_keys.c.api_key_id == key_id)
            .outerjoin(accounts, accounts.c.account_id == account_id)
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
