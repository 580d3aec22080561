"""Reconciliation of an account at the stand-in with the books, and payments that nobody told the books of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from low_money import DOLLAR, GRACE, RETRY, LowMoney, later
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.operations.payments.mend import menders
from shared.operations.payments.reconcile import Reconciliation, Report
from shared.operations.payments.settle import SettlePolicy

#: So late that nothing is in flight any more.
MINUTES = timedelta(minutes=5)
HOUR = timedelta(hours=1)


@dataclass
class Told:
    """What was told of differences, in order."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, what: str, difference: Any) -> None:
        self.lines.append((what, difference["kind"]))


def reconciliation(
    money: LowMoney,
    now: Callable[[], datetime] | None = None,
    engine: AsyncEngine | None = None,
    told: Told | None = None,
) -> Reconciliation:
    """Return runs by a clock that is some minutes ahead, or by another."""
    engine, now, policy = engine or money.engine, now or later(MINUTES), SettlePolicy(RETRY, GRACE)
    mending = menders(engine, money.payments, now, policy)
    return Reconciliation(engine, money.payments, now, mending, told or Told())


async def reconcile(money: LowMoney, back: timedelta = HOUR, *, thorough: bool = False) -> Report:
    """Compare what happened lately, as if some minutes had passed."""
    return await reconciliation(money).run(utc_now() - back, thorough=thorough)


async def named(money: LowMoney, state: str = "open") -> dict[str, str]:
    """Return what differs: the kind by the id of what it is about."""
    rows = await money.rows("SELECT * FROM payment_differences WHERE state = :state", state=state)
    return {row["stripe_id"]: row["kind"] for row in rows}


async def progress(money: LowMoney) -> datetime | None:
    rows = await money.rows("SELECT done_until FROM stripe_progress WHERE task = 'reconciliation'")
    return rows[0]["done_until"] if rows else None


async def by_hand(money: LowMoney, statement: str, **values: Any) -> None:
    """Change the books behind everybody's back."""
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)


async def charged(money: LowMoney) -> tuple[str, str, str]:
    """An account with a top-up that was charged and credited; return account, top-up and intent."""
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    topup = await money.topup(topup_id)
    assert topup["state"] == "succeeded"
    return account_id, topup_id, str(topup["payment_intent_id"])


async def charged_in_vain(money: LowMoney, *, intent_known: bool = True) -> tuple[str, str, str]:
    """A top-up whose charge nobody told the books of: the process died, and no webhook came."""
    account_id, topup_id = await money.by_hand()
    customer = (await money.rows("SELECT * FROM payment_customers WHERE account_id = :id", id=account_id))[0]
    card = customer["payment_method_id"]
    intent = await money.payments.create_intent(topup_id, account_id, customer["customer_id"], 25 * DOLLAR)
    if intent_known:
        await by_hand(
            money,
            "UPDATE topups SET state = 'confirming', payment_intent_id = :intent WHERE topup_id = :id",
            id=topup_id,
            intent=intent.intent_id,
        )
    await money.payments.confirm_intent(topup_id, intent.intent_id, card, 1)
    return account_id, topup_id, intent.intent_id


async def charge_outside(money: LowMoney, currency: str = "usd", **metadata: str) -> str:
    """Charge a card at the same Stripe account, past payg; return the intent."""
    intent = await money.payments.connection.client.v1.payment_intents.create_async(
        params={
            "amount": 2_500,
            "currency": currency,
            "payment_method": "pm_card_visa",
            "allowed_payment_method_types": ["card"],
            "confirm": True,
            "metadata": metadata,
        }
    )
    return str(intent.id)


async def refund_outside(money: LowMoney, intent_id: str, cents: int) -> str:
    """Give money back past payg; return the refund."""
    refund = await money.payments.connection.client.v1.refunds.create_async(
        params={"payment_intent": intent_id, "amount": cents}
    )
    return str(refund.id)
