"""SQL of who gets mail about an account."""

from collections.abc import Collection, Sequence

from sqlalchemy import RowMapping, any_, delete, func, literal, select, update
from sqlalchemy import Text as TextType
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import accounts, mail_recipients


async def put_recipient(
    connection: AsyncConnection,
    account_id: str,
    recipient_id: str,
    address: str,
    event_types: Sequence[str],
) -> RowMapping:
    """Add an address, or change what it gets; either way it is sent to again."""
    statement = insert(mail_recipients).values(
        account_id=account_id, recipient_id=recipient_id, address=address, event_types=list(event_types)
    )
    again = {"event_types": statement.excluded.event_types, "refusals": 0, "refused_because": None}
    put = statement.on_conflict_do_update(constraint="mail_recipients_once", set_=again)
    row: RowMapping = (await connection.execute(put.returning(mail_recipients))).mappings().one()
    return row


async def delete_recipient(connection: AsyncConnection, account_id: str, recipient_id: str) -> bool:
    """Take an address away; return whether it was there."""
    gone = await connection.execute(
        delete(mail_recipients).where(
            mail_recipients.c.account_id == account_id, mail_recipients.c.recipient_id == recipient_id
        )
    )
    return gone.rowcount > 0


async def recipients_of(connection: AsyncConnection, account_ids: Collection[str]) -> Sequence[RowMapping]:
    """Return the recipients of these accounts, oldest first."""
    query = select(mail_recipients).where(
        mail_recipients.c.account_id == any_(literal(list(account_ids), ARRAY(TextType)))
    )
    ordered = query.order_by(mail_recipients.c.created_at, mail_recipients.c.recipient_id)
    return (await connection.execute(ordered)).mappings().all()


async def find_recipient(
    connection: AsyncConnection, account_id: str, recipient_id: str
) -> RowMapping | None:
    """Return a recipient with the account's name."""
    query = (
        select(mail_recipients, accounts.c.name)
        .join(accounts, accounts.c.account_id == mail_recipients.c.account_id)
        .where(mail_recipients.c.account_id == account_id, mail_recipients.c.recipient_id == recipient_id)
    )
    return (await connection.execute(query)).mappings().one_or_none()


async def note_refusals(
    connection: AsyncConnection, account_id: str, recipient_id: str, because: str | None
) -> None:
    """Count a refusal and its reason, or with None begin again at none."""
    refusals = 0 if because is None else mail_recipients.c.refusals + 1
    await connection.execute(
        update(mail_recipients)
        .where(mail_recipients.c.account_id == account_id, mail_recipients.c.recipient_id == recipient_id)
        .values(refusals=refusals, refused_because=because)
    )


async def count_recipients(connection: AsyncConnection, account_id: str) -> int:
    query = (
        select(func.count()).select_from(mail_recipients).where(mail_recipients.c.account_id == account_id)
    )
    return int((await connection.execute(query)).scalar_one())
