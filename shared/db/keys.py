"""SQL of keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import api_keys

#: Whoever keeps keys in memory listens here: a message says that one changed.
CHANGED = "payg_keys"

_USED = text("""
    UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, used.at)
    FROM unnest(CAST(:ids AS text[]), CAST(:times AS timestamptz[])) AS used (api_key_id, at)
    WHERE k.api_key_id = used.api_key_id
""")


async def insert_key(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(insert(api_keys).values(**values))


async def find_key(
    connection: AsyncConnection, *, secret_hash: bytes | None = None, api_key_id: str | None = None
) -> RowMapping | None:
    """Return a key by the hash of its secret, or by its id."""
    query = select(api_keys)
    if secret_hash is not None:
        query = query.where(api_keys.c.secret_hash == secret_hash)
    else:
        query = query.where(api_keys.c.api_key_id == api_key_id)
    return (await connection.execute(query)).mappings().one_or_none()


async def list_keys(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return the keys of an account, or with None those of the platform; oldest first."""
    mine = api_keys.c.account_id.is_(None) if account_id is None else api_keys.c.account_id == account_id
    query = select(api_keys).where(mine)
    return (await connection.execute(query.order_by(api_keys.c.created_at))).mappings().all()


async def revoke_key(
    connection: AsyncConnection, api_key_id: str, account_id: str | None = None
) -> RowMapping | None:
    """Revoke a key, once and for ever; return it, or None where there is none or it is another account's."""
    change = (
        update(api_keys)
        .where(api_keys.c.api_key_id == api_key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
        .returning(*api_keys.columns)
    )
    if account_id is not None:
        change = change.where(api_keys.c.account_id == account_id)
    row = (await connection.execute(change)).mappings().one_or_none()
    await connection.execute(text(f"NOTIFY {CHANGED}"))
    return row


async def note_used(connection: AsyncConnection, used: Mapping[str, datetime]) -> None:
    """Write when keys were last used."""
    await connection.execute(_USED, {"ids": list(used), "times": list(used.values())})
