"""The people who may sign in to an account or to the platform with their mail address."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import accounts, keys
from shared.db import members as sql
from shared.domain.access import ACCOUNT_ROLES, PLATFORM_ROLES, Role
from shared.domain.errors import MalformedError, NotFoundError, RefusedError
from shared.gateways.smtp import mailbox
from shared.ids import new_id

_MOST_MEMBERS = 200


async def put_member(
    engine: AsyncEngine, account_id: str | None, address: str, role: Role, api_key_id: str | None = None
) -> dict[str, Any]:
    """Let somebody sign in, or change their role; without an account as operator or auditor.

    The role member sees what one key used, and needs that key. Raises MalformedError for what is no address,
    NotFoundError, RefusedError.
    """
    if role not in (PLATFORM_ROLES if account_id is None else ACCOUNT_ROLES):
        raise RefusedError(
            f"{role} is no role {'of the platform' if account_id is None else 'in an account'}"
        )
    if (role is Role.MEMBER) != (api_key_id is not None):
        raise RefusedError("the role member, and no other, is of one key")
    async with engine.begin() as connection:
        await _check(connection, account_id, api_key_id)
        row = await sql.put_member(
            connection, new_id("mem"), account_id, plain_address(address), role, api_key_id
        )
        if await sql.count_members(connection, account_id) > _MOST_MEMBERS:
            raise RefusedError(f"an account has at most {_MOST_MEMBERS} members")
    return _shown(row)


async def list_members(engine: AsyncEngine, account_id: str | None) -> Sequence[dict[str, Any]]:
    """Return the members of an account, or with None of the platform, oldest first. Raises NotFoundError."""
    async with engine.connect() as connection:
        await _check(connection, account_id, None)
        rows = await sql.list_members(connection, account_id)
    return [_shown(row) | {"key_name": row["key_name"]} for row in rows]


async def remove_member(engine: AsyncEngine, account_id: str | None, member_id: str) -> str:
    """Take a member away and return its address; its sessions are over at once. Raises NotFoundError."""
    async with engine.begin() as connection:
        address = await sql.delete_member(connection, account_id, member_id)
    if address is None:
        raise NotFoundError(f"there is no member {member_id}")
    return address


def plain_address(text: str) -> str:
    """Return an address as it is compared: without a name, in lower case. Raises MalformedError."""
    try:
        return mailbox(text.strip()).addr_spec.lower()
    except ValueError as error:
        raise MalformedError(f"{text[:100]!r}: {error}") from None


async def _check(connection: AsyncConnection, account_id: str | None, api_key_id: str | None) -> None:
    if account_id is not None and await accounts.show_account(connection, account_id) is None:
        raise NotFoundError(f"there is no account {account_id}")
    if api_key_id is not None:
        key = await keys.find_key(connection, api_key_id=api_key_id)
        if key is None or key["account_id"] != account_id:
            raise NotFoundError(f"there is no key {api_key_id}")


def _shown(row: RowMapping) -> dict[str, Any]:
    names = ("member_id", "account_id", "address", "role", "api_key_id", "created_at", "signed_in_at")
    return {name: row[name] for name in names}
