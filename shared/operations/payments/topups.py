"""Top-ups as people ask for them: automatic ones set up, one by hand, the list."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import evaluations
from shared.db import topups as sql
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.money import format_dollars
from shared.domain.topup import (
    MAXIMUM_NANOS,
    MINIMUM_NANOS,
    NANOS_PER_CENT,
    AutoTopup,
    Channel,
    TopupState,
    check_caps,
)
from shared.gateways.stripe_payments import StripePayments
from shared.ids import new_id
from shared.operations.payments.cards import account_exists, save_card


class Caps(TypedDict, total=False):
    """Caps of automatic top-ups in a UTC day and month, and how long before the balance is used up they come.

    Those that are not named stay as they were.
    """

    max_per_day: int
    max_per_month: int
    max_per_day_nanos: int | None
    max_per_month_nanos: int | None
    lead_minutes: int | None


FIRST_CAPS = Caps(max_per_day=20, max_per_month=200)
_SETTINGS = ("enabled", "threshold_nanos", "amount_nanos", *Caps.__annotations__, "disabled_because")


async def set_auto_topup(
    engine: AsyncEngine,
    payments: StripePayments | None,
    account_id: str,
    *,
    threshold_nanos: int,
    amount_nanos: int,
    payment_method: str | None,
    caps: Caps | None = None,
) -> dict[str, Any]:
    """Switch automatic top-up on, saving a new card first where one is named; return the settings.

    Raises NotFoundError for an unknown account, RefusedError for an amount below $5, caps that let nothing
    through or a missing card.
    """
    check_amount(amount_nanos)
    if threshold_nanos < 0:
        raise RefusedError("the threshold of an automatic top-up is not negative")
    named = FIRST_CAPS | (caps or Caps())
    _check(AutoTopup(enabled=True, threshold_nanos=threshold_nanos, amount_nanos=amount_nanos, **named))
    await account_exists(engine, account_id)
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
            "soft_declines": 0,
            "disabled_because": None,
            **(caps or {}),
        }
        saved = await sql.save_auto_topup(connection, account_id, values, FIRST_CAPS)
        _check(sql.auto_topup_of(saved))  # with the caps that were there before
        await evaluations.mark_due(connection, [account_id])
    return await show_auto_topup(engine, account_id)


async def switch_off_auto_topup(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Switch automatic top-up off; return the settings."""
    await account_exists(engine, account_id)
    async with engine.begin() as connection:
        values = {"enabled": False, "disabled_because": "switched off"}
        await sql.change_auto_topup(connection, account_id, values)
    return await show_auto_topup(engine, account_id)


async def show_auto_topup(engine: AsyncEngine, account_id: str) -> dict[str, Any]:
    """Return the settings of an account's automatic top-up; raises NotFoundError."""
    await account_exists(engine, account_id)
    async with engine.connect() as connection:
        settings = await sql.find_auto_topup(connection, account_id)
        customer = await sql.find_customer(connection, account_id)
    shown = {name: settings[name] for name in _SETTINGS} if settings else {"enabled": False}
    card = customer["payment_method_id"] if customer else None
    return {"account_id": account_id, **shown, "payment_method": card}


async def create_topup(
    engine: AsyncEngine, account_id: str, amount_nanos: int, idempotency_key: str | None = None
) -> dict[str, Any]:
    """Top an account up by hand with its saved card; the top-up stage does the rest.

    The same idempotency key gives the same top-up. Raises NotFoundError for an unknown account, RefusedError
    for an amount out of range, a missing card, or a key that was used for another top-up.
    """
    check_amount(amount_nanos)
    await account_exists(engine, account_id)
    async with engine.begin() as connection:
        row = asked(account_id, amount_nanos, idempotency_key)
        if made := await asked_before(connection, row):
            return show_topup(made)
        customer = await sql.find_customer(connection, account_id)
        if customer is None or customer["payment_method_id"] is None:
            raise RefusedError("a top-up needs a saved card: see `payg card add` and `payg topup checkout`")
        row["payment_method_id"] = customer["payment_method_id"]
        row["next_step_at"] = await database_time(connection)
        return show_topup(await ask(connection, row))


def asked(
    account_id: str,
    amount_nanos: int,
    idempotency_key: str | None,
    *,
    channel: Channel = Channel.CARD,
    saves_card: bool = False,
) -> dict[str, Any]:
    """Return the row of a top-up that a person asks for."""
    return {
        "account_id": account_id,
        "topup_id": new_id("top"),
        "automatic": False,
        "state": TopupState.PENDING,
        "amount_nanos": amount_nanos,
        "channel": channel,
        "saves_card": saves_card,
        "idempotency_key": idempotency_key or None,
    }


async def asked_before(connection: AsyncConnection, row: Mapping[str, Any]) -> RowMapping | None:
    """Return the top-up that was made under the same key; raises RefusedError where that was another one."""
    if row["idempotency_key"] is None:
        return None
    made = await sql.find_asked(connection, row["account_id"], row["idempotency_key"])
    if made and any(made[name] != row[name] for name in ("amount_nanos", "channel", "saves_card")):
        raise RefusedError(f"idempotency key {row['idempotency_key']} was used for another top-up")
    return made


async def ask(connection: AsyncConnection, row: Mapping[str, Any]) -> RowMapping:
    """Write a top-up, or return the one that another request made under its key at the same time."""
    written = await sql.insert_asked(connection, row)
    made = await (sql.find_topup(connection, row["topup_id"]) if written else asked_before(connection, row))
    if made is None:
        raise RefusedError("the top-up was not written: try again")
    return made


async def list_topups(engine: AsyncEngine, account_id: str | None) -> Sequence[Mapping[str, Any]]:
    """Return top-ups, oldest first."""
    async with engine.connect() as connection:
        rows = await sql.list_topups(connection, account_id)
    return [show_topup(row) for row in rows]


async def recent_topups(engine: AsyncEngine, account_id: str, limit: int) -> Sequence[dict[str, Any]]:
    """Return an account's top-ups, newest first."""
    async with engine.connect() as connection:
        return [show_topup(row) for row in await sql.recent_topups(connection, account_id, limit)]


async def find_topup(engine: AsyncEngine, account_id: str, topup_id: str) -> Mapping[str, Any]:
    """Return a top-up of an account; raises NotFoundError, for another account's too."""
    async with engine.connect() as connection:
        row = await sql.find_topup(connection, topup_id)
    if row is None or row["account_id"] != account_id:
        raise NotFoundError(f"there is no top-up {topup_id}")
    return show_topup(row)


def show_topup(row: RowMapping) -> dict[str, Any]:
    """Return a top-up as people see it."""
    return {
        "id": row["topup_id"],
        "account_id": row["account_id"],
        "automatic": row["automatic"],
        "channel": row["channel"],
        "state": row["state"],
        "amount_nanos": row["amount_nanos"],
        "payment_intent": row["payment_intent_id"],
        "checkout_session": row["checkout_session_id"],
        "checkout_url": row["checkout_url"],
        "action_url": row["action_url"],
        "receipt_url": row["receipt_url"],
        "refunded_nanos": row["refunded_nanos"],
        "attempt": row["attempt"],
        "detail": row["detail"],
        "transfer_seq": row["transfer_seq"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def check_amount(amount_nanos: int) -> None:
    """Raise RefusedError for an amount that is too small, too large or no whole number of cents."""
    if amount_nanos < MINIMUM_NANOS:
        raise RefusedError(f"a top-up is at least ${format_dollars(MINIMUM_NANOS)}")
    if amount_nanos > MAXIMUM_NANOS:
        raise RefusedError(f"a top-up is at most ${format_dollars(MAXIMUM_NANOS)}")
    if amount_nanos % NANOS_PER_CENT:
        raise RefusedError("a top-up is a whole number of cents")


def _check(auto: AutoTopup) -> None:
    if wrong := check_caps(auto):
        raise RefusedError(wrong)
