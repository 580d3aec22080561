"""SQL of the links that people sign in with."""

from datetime import datetime

from sqlalchemy import RowMapping, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.console_tables import members, sign_in_links
from shared.db.tables import accounts

_columns = sign_in_links.c


async def insert_link(
    connection: AsyncConnection, token_hash: bytes, member_id: str, expires_at: datetime
) -> None:
    await connection.execute(
        insert(sign_in_links).values(token_hash=token_hash, member_id=member_id, expires_at=expires_at)
    )


async def count_open(connection: AsyncConnection, member_id: str, now: datetime) -> int:
    """Count the open links of a member, and forget those that are over."""
    mine = _columns.member_id == member_id
    await connection.execute(delete(sign_in_links).where(mine, _columns.expires_at <= now))
    query = select(func.count()).where(mine)
    return int((await connection.execute(query)).scalar_one())


async def find_link(connection: AsyncConnection, token_hash: bytes, now: datetime) -> RowMapping | None:
    """Return whom an open link lets in where; None where it is over or was used."""
    query = (
        select(members.c.address, members.c.role, members.c.account_id, accounts.c.name.label("account_name"))
        .select_from(
            sign_in_links.join(members, members.c.member_id == _columns.member_id).outerjoin(
                accounts, accounts.c.account_id == members.c.account_id
            )
        )
        .where(_columns.token_hash == token_hash, _columns.expires_at > now)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def take_link(connection: AsyncConnection, token_hash: bytes, now: datetime) -> str | None:
    """Use a link up and return its member: of two who try at once, one."""
    used = (
        delete(sign_in_links)
        .where(_columns.token_hash == token_hash, _columns.expires_at > now)
        .returning(_columns.member_id)
    )
    return (await connection.execute(used)).scalar_one_or_none()
