"""Who gets mail about an account, as its owner sees it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import accounts
from shared.db import mail_recipients as sql
from shared.domain.alerts import AlertType
from shared.domain.errors import MalformedError, NotFoundError, RefusedError
from shared.gateways.smtp import mailbox
from shared.ids import new_id
from shared.operations.delivery.mail_channel import MOST_REFUSALS

_MOST_RECIPIENTS = 20


async def list_recipients(engine: AsyncEngine, account_id: str) -> list[dict[str, Any]]:
    """Return the addresses of an account, oldest first. Raises NotFoundError."""
    async with engine.connect() as connection:
        await _check_account(connection, account_id)
        return [_shown(row) for row in await sql.recipients_of(connection, [account_id])]


async def put_recipient(
    engine: AsyncEngine, account_id: str, to: str, event_types: Sequence[AlertType] = ()
) -> dict[str, Any]:
    """Add an address, or change which types it gets: all without any. One that was given up is tried again.

    Raises NotFoundError, MalformedError for what is no address, RefusedError for too many.
    """
    try:
        address = mailbox(to).addr_spec
    except ValueError as error:
        raise MalformedError(f"{to[:100]!r}: {error}") from None
    async with engine.begin() as connection:
        await _check_account(connection, account_id)
        row = await sql.put_recipient(
            connection, account_id, new_id("mail"), address, sorted(set(event_types))
        )
        if await sql.count_recipients(connection, account_id) > _MOST_RECIPIENTS:
            raise RefusedError(f"an account has at most {_MOST_RECIPIENTS} addresses")
    return _shown(row)


async def remove_recipient(engine: AsyncEngine, account_id: str, recipient_id: str) -> None:
    """Take an address away. Raises NotFoundError."""
    async with engine.begin() as connection:
        if not await sql.delete_recipient(connection, account_id, recipient_id):
            raise NotFoundError(f"there is no recipient {recipient_id}")


async def _check_account(connection: AsyncConnection, account_id: str) -> None:
    if await accounts.show_account(connection, account_id) is None:
        raise NotFoundError(f"there is no account {account_id}")


def _shown(row: RowMapping) -> dict[str, Any]:
    names = ("account_id", "recipient_id", "address", "event_types", "created_at", "refused_because")
    return {name: row[name] for name in names} | {"enabled": row["refusals"] < MOST_REFUSALS}
