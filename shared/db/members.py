"""SQL of the people who sign in by mail."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.console_tables import members
from shared.db.tables import accounts, api_keys

_PUT = text("""
    INSERT INTO members (member_id, account_id, address, role, api_key_id)
    VALUES (:member_id, :account_id, :address, :role, :api_key_id)
    ON CONFLICT (address, coalesce(account_id, ''))
    DO UPDATE SET role = excluded.role, api_key_id = excluded.api_key_id
    RETURNING *
""")


async def put_member(
    connection: AsyncConnection,
    member_id: str,
    account_id: str | None,
    address: str,
    role: str,
    api_key_id: str | None,
) -> RowMapping:
    """Add a member, or change the role of the one who has this address."""
    values = {
        "member_id": member_id,
        "account_id": account_id,
        "address": address,
        "role": role,
        "api_key_id": api_key_id,
    }
    row: RowMapping = (await connection.execute(_PUT, values)).mappings().one()
    return row


async def list_members(connection: AsyncConnection, account_id: str | None) -> Sequence[RowMapping]:
    """Return the members of an account, or with None those of the platform, with their key's name."""
    query = (
        select(members, api_keys.c.name.label("key_name"))
        .outerjoin(api_keys, api_keys.c.api_key_id == members.c.api_key_id)
        .where(members.c.account_id.is_not_distinct_from(account_id))
        .order_by(members.c.created_at, members.c.member_id)
    )
    return (await connection.execute(query)).mappings().all()


async def count_members(connection: AsyncConnection, account_id: str | None) -> int:
    mine = members.c.account_id.is_not_distinct_from(account_id)
    return int((await connection.execute(select(func.count()).where(mine))).scalar_one())


async def lock_members_at(connection: AsyncConnection, address: str) -> Sequence[RowMapping]:
    """Return who may sign in with this address, with the names of their accounts; locked."""
    query = (
        select(members, accounts.c.name.label("account_name"))
        .outerjoin(accounts, accounts.c.account_id == members.c.account_id)
        .outerjoin(api_keys, api_keys.c.api_key_id == members.c.api_key_id)
        .where(members.c.address == address, api_keys.c.revoked_at.is_(None))
        .order_by(members.c.member_id)
        .with_for_update(of=members)
    )
    return (await connection.execute(query)).mappings().all()


async def note_signed_in(connection: AsyncConnection, member_id: str) -> None:
    mine = members.c.member_id == member_id
    await connection.execute(update(members).where(mine).values(signed_in_at=func.now()))


async def delete_member(connection: AsyncConnection, account_id: str | None, member_id: str) -> str | None:
    """Take a member away with its links and sessions; return its address, None where it is not there."""
    gone = (
        delete(members)
        .where(members.c.account_id.is_not_distinct_from(account_id), members.c.member_id == member_id)
        .returning(members.c.address)
    )
    return (await connection.execute(gone)).scalar_one_or_none()
