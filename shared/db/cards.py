"""SQL of an account's customer at Stripe and the card that is charged."""

from sqlalchemy import RowMapping, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import payment_customers

# Two that make a customer at once have made the same one; whoever is second finds it here.
_REPLACE_CUSTOMER = text("""
    UPDATE payment_customers SET customer_id = :customer_id
    WHERE account_id = :account_id AND customer_id = :gone
""")
_USE_CARD = text("""
    UPDATE payment_customers SET payment_method_id = CAST(:card AS text)
    WHERE account_id = :account_id AND customer_id = :customer_id
      AND (payment_method_id IS NULL OR CAST(:replace AS boolean))
      AND payment_method_id IS DISTINCT FROM CAST(:card AS text)
    RETURNING account_id
""")
_LOSE_CARD = text("""
    UPDATE payment_customers SET payment_method_id = NULL
    WHERE payment_method_id IS NOT NULL
      AND (payment_method_id = CAST(:card AS text) OR customer_id = CAST(:customer_id AS text))
    RETURNING account_id
""")


async def add_customer(connection: AsyncConnection, account_id: str, customer_id: str) -> None:
    """Write an account's first customer; one that it has already stays."""
    statement = upsert(payment_customers).values(account_id=account_id, customer_id=customer_id)
    await connection.execute(statement.on_conflict_do_nothing(constraint="payment_customers_pkey"))


async def replace_customer(connection: AsyncConnection, account_id: str, gone: str, customer_id: str) -> None:
    """Write another customer in the place of one that was deleted at Stripe."""
    values = {"account_id": account_id, "gone": gone, "customer_id": customer_id}
    await connection.execute(_REPLACE_CUSTOMER, values)


async def use_card(
    connection: AsyncConnection, account_id: str, customer_id: str, card: str, *, replace: bool
) -> bool:
    """Charge this card from now on; with ``replace`` also in the place of another. True if that is news."""
    values = {"account_id": account_id, "customer_id": customer_id, "card": card, "replace": replace}
    return (await connection.execute(_USE_CARD, values)).first() is not None


async def lose_card(
    connection: AsyncConnection, *, card: str | None = None, customer_id: str | None = None
) -> str | None:
    """Charge a card, or any of a customer, no more; return the account whose default it was."""
    lost = await connection.execute(_LOSE_CARD, {"card": card, "customer_id": customer_id})
    account_id: str | None = lost.scalar_one_or_none()
    return account_id


async def find_account_of(connection: AsyncConnection, customer_id: str) -> RowMapping | None:
    """Return the account that has this customer at Stripe, with the card that is charged."""
    query = select(payment_customers).where(payment_customers.c.customer_id == customer_id)
    return (await connection.execute(query)).mappings().one_or_none()
