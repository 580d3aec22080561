"""Keys: made once, shown once, kept as a hash, revoked for good."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import keys as sql
from shared.db.topups import find_balance
from shared.domain.access import MEMBER, PLATFORM, Scope
from shared.domain.errors import NotFoundError, RefusedError
from shared.ids import new_id, new_secret


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and its secret, which nobody sees again."""

    api_key_id: str
    api_key: str


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """How much a key may spend in a period: ``total``, ``day`` or ``month``."""

    nanos: int
    period: str


def hash_of(secret: str) -> bytes:
    """Return what is stored of a secret; it is random enough that no salt is needed."""
    return hashlib.sha256(secret.encode()).digest()


async def create_key(
    engine: AsyncEngine,
    account_id: str,
    name: str | None,
    limit: KeyLimit | None,
    scopes: Collection[Scope] = MEMBER,
) -> NewKey:
    """Give an account one more key; raises NotFoundError for an unknown account."""
    if PLATFORM.intersection(scopes):
        raise RefusedError("a key of an account is not for a service or an operator")
    async with engine.begin() as connection:
        if await find_balance(connection, account_id) is None:
            raise NotFoundError(f"there is no account {account_id}")
        return await add_key(connection, account_id, name, limit, scopes)


async def create_platform_key(engine: AsyncEngine, name: str | None, scope: Scope) -> NewKey:
    """Make a key that belongs to no account: for a gateway, or for an operator."""
    async with engine.begin() as connection:
        return await add_key(connection, None, name, None, [scope])


async def revoke_key(
    engine: AsyncEngine, api_key_id: str, account_id: str | None = None
) -> Mapping[str, Any]:
    """Revoke a key; what it used before is still debited. Raises NotFoundError."""
    async with engine.begin() as connection:
        row = await sql.revoke_key(connection, api_key_id, account_id)
    if row is None:
        raise NotFoundError(f"there is no key {api_key_id}")
    return {name: row[name] for name in ("api_key_id", "account_id", "revoked_at")}


async def list_keys(engine: AsyncEngine, account_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return the keys of an account, or with None those of the platform."""
    async with engine.connect() as connection:
        return [shown(row) for row in await sql.list_keys(connection, account_id)]


def shown(row: RowMapping) -> dict[str, Any]:
    """Return a key as people see it."""
    names = ("api_key_id", "account_id", "name", "scopes", "limit_nanos", "limit_period")
    return {name: row[name] for name in (*names, "created_at", "last_used_at", "revoked_at")}


async def add_key(
    connection: AsyncConnection,
    account_id: str | None,
    name: str | None,
    limit: KeyLimit | None,
    scopes: Collection[Scope],
) -> NewKey:
    """Write a new key, in the transaction of whoever calls."""
    key = NewKey(new_id("key"), new_secret())
    await sql.insert_key(
        connection,
        {
            "api_key_id": key.api_key_id,
            "account_id": account_id,
            "name": name,
            "secret_hash": hash_of(key.api_key),
            "scopes": [str(scope) for scope in scopes],
            "limit_nanos": limit.nanos if limit else None,
            "limit_period": limit.period if limit else None,
        },
    )
    return key
