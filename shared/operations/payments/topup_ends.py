"""How a top-up ends without money, and who is told: parked, given up, or not wanted any more."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import topups
from shared.db.alert_settings import load_bounds
from shared.db.alerts import NewAlert, insert_alerts
from shared.db.evaluations import mark_due
from shared.db.topups import Topup
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import level_of
from shared.domain.topup import OPEN_STATES, TopupState
from shared.operations.payments.payment_steps import Outcome

_SWITCHED_OFF = "automatic top-up was switched off before it was charged"
_NOTHING_NEXT = {"next_step_at": None, "waits_until": None, "action_url": None}


async def quarantine_topup(engine: AsyncEngine, topup_id: str, why: str, now: datetime) -> Outcome:
    """Park a top-up that Stripe refuses for a reason no card can change, and stop automatic ones."""
    async with engine.begin() as connection:
        topup = await topups.load_topup(connection, topup_id, lock=True)
        if topup is None or topup.state not in OPEN_STATES:
            return Outcome()
        return await quarantine(connection, topup, why, now)


async def give_up(engine: AsyncEngine, topup_id: str, code: str, why: str, now: datetime) -> Outcome:
    """Let a top-up fail that has no card to charge any more, and stop automatic ones."""
    async with engine.begin() as connection:
        topup = await topups.load_topup(connection, topup_id, lock=True)
        if topup is None or topup.state not in OPEN_STATES:
            return Outcome()
        values = {"state": TopupState.FAILED, "detail": why, **_NOTHING_NEXT}
        await topups.change_topup(connection, topup, values)
        extra = {"decline_code": code, "attempt": topup.attempt, "will_retry": False, "detail": why}
        new = [await topup_alert(connection, topup, AlertType.TOPUP_FAILED, now, extra)]
        if topup.automatic:
            new += await switch_off(connection, topup, why, now)
        due = await mark_due(connection, [topup.account_id])
        return Outcome(await insert_alerts(connection, new), notes(due))


async def cancel_unasked(engine: AsyncEngine, topup_id: str) -> Outcome:
    """Close an automatic top-up that was switched off before Stripe was asked for anything."""
    async with engine.begin() as connection:
        topup = await topups.load_topup(connection, topup_id, lock=True)
        if topup is None or topup.state is not TopupState.PENDING:
            return Outcome()
        values = {"state": TopupState.CANCELED, "detail": _SWITCHED_OFF, **_NOTHING_NEXT}
        await topups.change_topup(connection, topup, values)
        return Outcome(due=notes(await mark_due(connection, [topup.account_id])))


async def quarantine(connection: AsyncConnection, topup: Topup, why: str, now: datetime) -> Outcome:
    """Park a top-up, in the transaction that holds its row."""
    values = {"state": TopupState.QUARANTINED, "detail": why, **_NOTHING_NEXT}
    await topups.change_topup(connection, topup, values)
    new = [await topup_alert(connection, topup, AlertType.TOPUP_FAILED, now, {"detail": why})]
    if topup.automatic:
        new += await switch_off(connection, topup, why, now)
    return Outcome(await insert_alerts(connection, new))


async def switch_off(connection: AsyncConnection, topup: Topup, why: str, now: datetime) -> list[NewAlert]:
    """Switch automatic top-up off; return the alert that says so, none where it was off."""
    if not await topups.switch_off(connection, topup.account_id, why):
        return []
    return [await topup_alert(connection, topup, AlertType.TOPUP_DISABLED, now, {"detail": why})]


async def topup_alert(
    connection: AsyncConnection, topup: Topup, type_: AlertType, now: datetime, extra: Mapping[str, Any]
) -> NewAlert:
    """Return an alert about a top-up."""
    balance = await topups.find_balance(connection, topup.account_id) or 0
    bounds = await load_bounds(connection, topup.account_id)
    data = alert_data(topup.account_id, balance, now, level_of(balance, bounds))
    data |= {"topup_id": topup.topup_id, "amount_nanos": topup.amount_nanos, **extra}
    return NewAlert(topup.account_id, type_, data, now)


def notes(due_id: int | None) -> list[int]:
    """Return the note of what is due for evaluation, as an outcome holds it."""
    return [] if due_id is None else [due_id]
