"""Links that sign somebody in once, within a quarter of an hour; they go out by mail."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import members
from shared.db import sign_in_links as sql
from shared.operations.console_sessions import begin_of_member
from shared.operations.keys import hash_of

LIVES = timedelta(minutes=15)
#: However often somebody asks, no more links of one membership are open at once: so nobody is flooded.
_MOST_OPEN = 5


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A secret token that lets an address in as one of its memberships."""

    token: str
    role: str
    account_id: str | None
    account_name: str | None


async def make_links(engine: AsyncEngine, address: str) -> Sequence[SignInLink]:
    """Return a new link for each membership of an address; none where it has none, or enough are open."""
    now = utc_now()
    made = []
    async with engine.begin() as connection:
        for member in await members.lock_members_at(connection, address):
            if await sql.count_open(connection, member["member_id"], now) < _MOST_OPEN:
                token = secrets.token_urlsafe(32)
                await sql.insert_link(connection, hash_of(token), member["member_id"], now + LIVES)
                of = (member["role"], member["account_id"], member["account_name"])
                made.append(SignInLink(token, *of))
    return made


async def find_link(engine: AsyncEngine, token: str) -> RowMapping | None:
    """Return the address, the role and the account of an open link, without using it; None for any other."""
    async with engine.connect() as connection:
        return await sql.find_link(connection, hash_of(token), utc_now())


async def use_link(engine: AsyncEngine, token: str) -> str | None:
    """Use a link up and begin a session; return the session's token, None where the link is not open."""
    async with engine.begin() as connection:
        member_id = await sql.take_link(connection, hash_of(token), utc_now())
        if member_id is None:
            return None
        await members.note_signed_in(connection, member_id)
        return await begin_of_member(connection, member_id)
