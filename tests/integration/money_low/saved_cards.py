"""The saved cards of an account, and its customer at Stripe."""

from low_money import LowMoney

from shared.operations.payments.cards import list_cards, save_card


async def add(money: LowMoney, account_id: str, card: str = "pm_card_visa") -> str:
    return await save_card(money.engine, money.payments, account_id, card, default=False)


async def cards(money: LowMoney, account_id: str) -> dict[str, bool]:
    """Return the account's cards, and which is the default."""
    found = await list_cards(money.engine, money.payments, account_id)
    return {card["id"]: card["default"] for card in found}


async def customer(money: LowMoney, account_id: str) -> str:
    query = "SELECT customer_id FROM payment_customers WHERE account_id = :id"
    return str((await money.rows(query, id=account_id))[0]["customer_id"])


async def delete_customer(money: LowMoney, account_id: str) -> str:
    deleted = await customer(money, account_id)
    await money.payments.connection.client.v1.customers.delete_async(deleted)
    return deleted
