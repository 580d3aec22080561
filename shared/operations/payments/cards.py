"""Cards of an account: saved with their owner's consent, listed, made the one that is charged, removed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import cards as sql
from shared.db import evaluations, topups
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.gateways.stripe_cards import Card, StripeCards
from shared.gateways.stripe_checkout import StripeCheckout
from shared.gateways.stripe_payments import StripePayments
from shared.ids import new_id
from shared.operations.payments.suspension import suspend

REMOVED = "the card that was charged was removed: choose another with `payg card default`, then turn it on"
DELETED = "its customer was deleted at Stripe, and the card with it: add one with `payg card add`"


def required(payments: StripePayments | None) -> StripePayments:
    """Return the payments; raises RefusedError where they are off."""
    if payments is None:
        raise RefusedError("payments are off: PAYG_STRIPE_API_KEY is not set")
    return payments


async def account_exists(engine: AsyncEngine, account_id: str) -> None:
    """Raise NotFoundError for an unknown account."""
    async with engine.connect() as connection:
        if await topups.find_balance(connection, account_id) is None:
            raise NotFoundError(f"there is no account {account_id}")


async def customer_of(engine: AsyncEngine, cards: StripeCards, account_id: str) -> str:
    """Return the account's customer at Stripe: made once, and anew where it was deleted there.

    With a customer its card is gone, and automatic top-up off.
    """
    async with engine.connect() as connection:
        customer = await topups.find_customer(connection, account_id)
    before = str(customer["customer_id"]) if customer else None
    if before and not await cards.is_deleted(before):
        return before
    made = await cards.create_customer(account_id, before)
    async with engine.begin() as connection:
        if before:
            now = await database_time(connection)
            await lose_card(connection, now, customer_id=before, why=DELETED)
            await sql.replace_customer(connection, account_id, before, made)
        else:
            await sql.add_customer(connection, account_id, made)
        kept = await topups.find_customer(connection, account_id)
    return str(kept["customer_id"]) if kept else made


async def save_card(
    engine: AsyncEngine,
    payments: StripePayments | None,
    account_id: str,
    payment_method: str,
    *,
    default: bool = True,
) -> str:
    """Save a card with the account's customer at Stripe, and make it the one that is charged.

    Without ``default`` it is charged only where no other one is. Raises NotFoundError, and what Stripe says
    of a card that is declined or another customer's.
    """
    cards = StripeCards(required(payments).connection)
    await account_exists(engine, account_id)
    card = await cards.attach(await customer_of(engine, cards, account_id), payment_method)
    await _use(engine, account_id, card, replace=default)
    return card.card_id


async def card_setup(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str
) -> Mapping[str, Any]:
    """Return a SetupIntent with its client secret, for a page with Stripe.js to save a card by."""
    cards = StripeCards(required(payments).connection)
    await account_exists(engine, account_id)
    setup = await cards.set_up(new_id("set"), account_id, await customer_of(engine, cards, account_id))
    return {
        "account_id": account_id,
        "setup_intent": setup.setup_intent_id,
        "client_secret": setup.client_secret,
    }


async def card_page(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str
) -> Mapping[str, Any]:
    """Return the address of a page of Stripe's where the account's owner saves a card."""
    connection = required(payments).connection
    await account_exists(engine, account_id)
    customer_id = await customer_of(engine, StripeCards(connection), account_id)
    session = await StripeCheckout(connection).create_setup(new_id("set"), account_id, customer_id)
    return {"account_id": account_id, "checkout_session": session.session_id, "url": session.url}


async def list_cards(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str
) -> Sequence[Mapping[str, Any]]:
    """Return the account's cards as Stripe has them, the newest first; ``default`` is the one charged."""
    cards = StripeCards(required(payments).connection)
    await account_exists(engine, account_id)
    async with engine.connect() as connection:
        customer = await topups.find_customer(connection, account_id)
    if customer is None or await cards.is_deleted(customer["customer_id"]):
        return []
    found = await cards.cards_of(customer["customer_id"])
    return [_shown(account_id, card, default=customer["payment_method_id"] == card.card_id) for card in found]


async def default_card(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str, payment_method: str
) -> Mapping[str, Any]:
    """Make a saved card the one that is charged; raises NotFoundError for one that is not the account's."""
    card = await _card_of(engine, StripeCards(required(payments).connection), account_id, payment_method)
    await _use(engine, account_id, card, replace=True)
    return _shown(account_id, card, default=True)


async def remove_card(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str, payment_method: str
) -> Mapping[str, Any]:
    """Remove a card. Where it was the one that is charged none is, and automatic top-up is off.

    Raises NotFoundError for a card that is not the account's.
    """
    cards = StripeCards(required(payments).connection)
    card = await _card_of(engine, cards, account_id, payment_method)
    # Not charged any more, whatever becomes of this request; and it can be asked for again.
    async with engine.begin() as connection:
        now = await database_time(connection)
        await lose_card(connection, now, card=card.card_id)
    await cards.detach(card.card_id)
    return {"account_id": account_id, "id": card.card_id, "removed": True}


async def adopt_card(engine: AsyncEngine, cards: StripeCards, account_id: str, payment_method: str) -> None:
    """Charge a card that its owner has just saved at Stripe, if it is there still and no other is charged."""
    await _use(engine, account_id, await cards.retrieve(payment_method), replace=False)


async def lose_card(
    connection: AsyncConnection,
    now: datetime,
    *,
    card: str | None = None,
    customer_id: str | None = None,
    why: str = REMOVED,
) -> list[int]:
    """Charge a card, or any of a customer, no more; without one automatic top-up is off. Return alerts."""
    account_id = await sql.lose_card(connection, card=card, customer_id=customer_id)
    return (await suspend(connection, account_id, why, now, {})).alerts if account_id else []


async def _use(engine: AsyncEngine, account_id: str, card: Card, *, replace: bool) -> None:
    """Charge this card from now on, if it is the account's customer's. A new card deserves a new chance."""
    if card.customer_id is None:
        return
    async with engine.begin() as connection:
        new = await sql.use_card(connection, account_id, card.customer_id, card.card_id, replace=replace)
        if new:
            await topups.change_auto_topup(connection, account_id, {"soft_declines": 0})
            await evaluations.mark_due(connection, [account_id])


async def _card_of(engine: AsyncEngine, cards: StripeCards, account_id: str, payment_method: str) -> Card:
    await account_exists(engine, account_id)
    async with engine.connect() as connection:
        customer = await topups.find_customer(connection, account_id)
    card = await cards.retrieve(payment_method) if customer else None
    if customer is None or card is None or card.customer_id != customer["customer_id"]:
        raise NotFoundError(f"account {account_id} has no card {payment_method}")
    return card


def _shown(account_id: str, card: Card, *, default: bool) -> dict[str, Any]:
    return {
        "id": card.card_id,
        "account_id": account_id,
        "brand": card.brand,
        "last4": card.last4,
        "exp_month": card.exp_month,
        "exp_year": card.exp_year,
        "default": default,
    }
