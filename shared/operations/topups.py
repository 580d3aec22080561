"""Top-ups as people ask for them: automatic ones set up, one by hand, the list."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import evaluations
from shared.db import topups as sql
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.money import format_dollars
from shared.domain.topup import MINIMUM_NANOS, NANOS_PER_CENT, TopupState
from shared.gateways.stripe_payments import StripePayments
from shared.ids import new_id

MAX_PER_DAY = 20
MAX_PER_MONTH = 200


async def set_auto_topup(
    engine: AsyncEngine,
    payments: StripePayments | None,
    account_id: str,
    *,
    threshold_nanos: int,
    amount_nanos: int,
    payment_method: str | None,
) -> dict[str, Any]:
    """Switch automatic top-up on, saving a new card first where one is named; return the settings.

    Raises NotFoundError for an unknown account, RefusedError for an amount below $5 or a missing card.
    """
    check_amount(amount_nanos)
    await _account_exists(engine, account_id)
    if payment_method is not None:
        await save_card(engine, payments, account_id, payment_method)
    async with engine.begin() as connection:
        customer = await sql.find_customer(connection, account_id)
        if customer is None or customer["payment_method_id"] is None:
            raise RefusedError("automatic top-up needs a card: name one with --payment-method")
        values = {
            "enabled": True,
            "threshold_nanos": threshold_nanos,
            "amount_nanos": amount_nanos,
            "max_per_day": MAX_PER_DAY,
            "max_per_month": MAX_PER_MONTH,
            "soft_declines": 0,
            "disabled_because": None,
        }
        await sql.save_auto_topup(connection, account_id, values)
        await evaluations.mark_due(connection, [account_id])
    return await show_auto_topup(engine, account_id)


async def switch_off_auto_topup(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Switch automatic top-up off; return the settings."""
    await _account_exists(engine, account_id)
    async with engine.begin() as connection:
        values = {"enabled": False, "disabled_because": "switched off"}
        await sql.change_auto_topup(connection, account_id, values)
    return await show_auto_topup(engine, account_id)


async def show_auto_topup(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Return the settings of an account's automatic top-up."""
    async with engine.connect() as connection:
        settings = await sql.find_auto_topup(connection, account_id)
        customer = await sql.find_customer(connection, account_id)
    card = customer["payment_method_id"] if customer else None
    if settings is None:
        return {"account_id": account_id, "enabled": False, "payment_method": card}
    shown = ("enabled", "threshold_nanos", "amount_nanos", "max_per_day", "max_per_month")
    return {
        "account_id": account_id,
        **{name: settings[name] for name in shown},
        "disabled_because": settings["disabled_because"],
        "payment_method": card,
    }


async def save_card(
    engine: AsyncEngine, payments: StripePayments | None, account_id: str, payment_method: str
) -> str:
    """Save a card with the account's customer at Stripe, and make it the one that is charged."""
    if payments is None:
        raise RefusedError("payments are off: PAYG_STRIPE_API_KEY is not set")
    async with engine.connect() as connection:
        customer = await sql.find_customer(connection, account_id)
    customer_id = customer["customer_id"] if customer else await payments.create_customer(account_id)
    card = await payments.attach_card(customer_id, payment_method)
    async with engine.begin() as connection:
        values = {"customer_id": customer_id, "payment_method_id": card}
        await sql.save_customer(connection, account_id, values)
        # A new card deserves a new chance.
        await sql.change_auto_topup(connection, account_id, {"soft_declines": 0})
    return card


async def create_topup(engine: AsyncEngine, account_id: str, amount_nanos: int) -> dict[str, Any]:
    """Top an account up by hand with its saved card; the top-up stage does the rest."""
    check_amount(amount_nanos)
    await _account_exists(engine, account_id)
    async with engine.begin() as connection:
        customer = await sql.find_customer(connection, account_id)
        if customer is None or customer["payment_method_id"] is None:
            raise RefusedError("a top-up needs a saved card: see `payg account autotopup --payment-method`")
        topup_id = new_id("top")
        row = {
            "account_id": account_id,
            "topup_id": topup_id,
            "automatic": False,
            "state": TopupState.PENDING,
            "amount_nanos": amount_nanos,
            "payment_method_id": customer["payment_method_id"],
            "next_step_at": await database_time(connection),
        }
        await sql.insert_topups(connection, [row])
    return {"id": topup_id, "account_id": account_id, "state": "pending", "amount_nanos": amount_nanos}


async def list_topups(engine: AsyncEngine, account_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return top-ups, oldest first."""
    async with engine.connect() as connection:
        rows = await sql.list_topups(connection, account_id)
    return [
        {
            "id": row["topup_id"],
            "account_id": row["account_id"],
            "automatic": row["automatic"],
            "state": row["state"],
            "amount_nanos": row["amount_nanos"],
            "payment_intent": row["payment_intent_id"],
            "attempt": row["attempt"],
            "detail": row["detail"],
            "transfer_seq": row["transfer_seq"],
            "created_at": row["created_at"],
            "updated_at": row["updated_at"],
        }
        for row in rows
    ]


def check_amount(amount_nanos: int) -> None:
    """Raise RefusedError for an amount that is too small or no whole number of cents."""
    if amount_nanos < MINIMUM_NANOS:
        raise RefusedError(f"a top-up is at least ${format_dollars(MINIMUM_NANOS)}")
    if amount_nanos % NANOS_PER_CENT:
        raise RefusedError("a top-up is a whole number of cents")


async def _account_exists(engine: AsyncEngine, account_id: str) -> None:
    async with engine.connect() as connection:
        if await sql.find_balance(connection, account_id) is None:
            raise NotFoundError(f"there is no account {account_id}")
