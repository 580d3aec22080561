"""Sessions of the console, begun with a key or with a link in a mail.

They are over with that key or that membership, with signing out, or after a while.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db import console_sessions as sql
from shared.db import keys
from shared.domain.access import Role, Scope, role_of
from shared.operations.keys import hash_of

LIVES = timedelta(hours=12)
#: The name under which the operator's key of the settings acts.
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in. ``csrf`` must come back with every form; ``notice`` is for the next page.

    ``actor`` is the key's id or the person's address, ``api_key_id`` the key whose usage a member sees.
    """

    token_hash: bytes
    actor: str
    api_key_id: str | None
    role: Role
    account_id: str | None
    account_name: str | None
    csrf: str
    notice: Mapping[str, str] | None

    @property
    def reads_account(self) -> str:
        """The account whose pages these are; raises LookupError where there is none."""
        if self.account_id is None:
            raise LookupError("this session is of no account")
        return self.account_id


async def sign_in(engine: AsyncEngine, secret: str, admin_key: str | None) -> str | None:
    """Begin a session with a key; return its token, None for a key that has no business here."""
    if admin_key is not None and hmac.compare_digest(secret.encode(), admin_key.encode()):
        return await begin(engine, None, admin_key)
    async with engine.connect() as connection:
        key = await keys.find_key(connection, secret_hash=hash_of(secret))
    if key is None or key["revoked_at"] is not None or _role(key) is None:
        return None
    return await begin(engine, key["api_key_id"], None)


async def begin(engine: AsyncEngine, api_key_id: str | None, admin_key: str | None) -> str:
    """Begin a session of a key, or of the operator's key of the settings; return its secret token."""
    token = secrets.token_urlsafe(32)
    check = None if admin_key is None else _check(token, admin_key)
    async with engine.begin() as connection:
        await _insert(connection, token, api_key_id=api_key_id, admin_check=check)
    return token


async def begin_of_member(connection: AsyncConnection, member_id: str) -> str:
    """Begin a session of a member, in the transaction of whoever calls; return its secret token."""
    token = secrets.token_urlsafe(32)
    await _insert(connection, token, member_id=member_id)
    return token


async def _insert(connection: AsyncConnection, token: str, **of: Any) -> None:  # noqa: ANN401 - columns
    await sql.insert_session(connection, of | {"token_hash": hash_of(token), "expires_at": utc_now() + LIVES})


async def find(engine: AsyncEngine, token: str, admin_key: str | None) -> Session | None:
    """Return the session of a token, None where it is over."""
    async with engine.connect() as connection:
        row = await sql.find_session(connection, hash_of(token), utc_now())
    if row is None:
        return None
    if row["role"] is not None:
        return _session(row, token, row["address"], Role(row["role"]))
    if row["admin_check"] is not None:
        valid = admin_key is not None and hmac.compare_digest(row["admin_check"], _check(token, admin_key))
        return _session(row, token, ADMIN, Role.OPERATOR) if valid else None
    role = _role(row)
    return _session(row, token, row["api_key_id"], role) if role else None


async def sign_out(engine: AsyncEngine, token_hash: bytes) -> None:
    """End a session."""
    async with engine.begin() as connection:
        await sql.delete_session(connection, token_hash)


async def tell(engine: AsyncEngine, session: Session, kind: str, text: str) -> None:
    """Let the next page say something, once."""
    async with engine.begin() as connection:
        notice = {"kind": kind, "text": text.replace("\x00", "")}
        await sql.set_notice(connection, session.token_hash, notice)


async def told(engine: AsyncEngine, session: Session) -> None:
    """Forget what a page has said."""
    async with engine.begin() as connection:
        await sql.set_notice(connection, session.token_hash, None)


def _session(row: RowMapping, token: str, actor: str, role: Role) -> Session:
    csrf = hmac.new(token.encode(), b"csrf", sha256).hexdigest()
    return Session(
        row["token_hash"],
        actor,
        row["api_key_id"],
        role,
        row["account_id"],
        row["account_name"],
        csrf,
        row["notice"],
    )


def _role(row: RowMapping) -> Role | None:
    return role_of([Scope(scope) for scope in row["scopes"]])


def _check(token: str, admin_key: str) -> bytes:
    """Return what ties a session to a key of the settings; without the token it says nothing of the key."""
    return hmac.new(token.encode(), admin_key.encode(), sha256).digest()
