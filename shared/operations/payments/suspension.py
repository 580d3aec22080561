"""Automatic top-up suspended: after a refund, a dispute or a fraud warning its owner turns it on again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import charged as sql
from shared.db import topups
from shared.db.alert_settings import load_bounds
from shared.db.alerts import NewAlert, insert_alerts
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import level_of
from shared.operations.payments.payment_steps import Outcome


async def suspend(
    connection: AsyncConnection,
    account_id: str,
    why: str,
    now: datetime,
    extra: Mapping[str, Any],
    *,
    always_tell: bool = False,
) -> Outcome:
    """Switch automatic top-up off, with one alert if it was on, and take up what it has begun."""
    was_on = await topups.switch_off(connection, account_id, why)
    outcome = Outcome(steps=await sql.wake_automatic_topups(connection, account_id) if was_on else [])
    if was_on or always_tell:
        balance = await topups.find_balance(connection, account_id) or 0
        bounds = await load_bounds(connection, account_id)
        data = alert_data(account_id, balance, now, level_of(balance, bounds)) | {"detail": why, **extra}
        new = NewAlert(account_id, AlertType.TOPUP_DISABLED, data, now)
        outcome += Outcome(await insert_alerts(connection, [new]))
    return outcome
