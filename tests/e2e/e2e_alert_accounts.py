"""Accounts that have asked for alerts of their own, with a day of traffic for them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.trace import read_trace, replay
from shared.clock import utc_now
from shared.domain.alert_rules import RuleKind
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.genai_prices import catalog
from shared.operations import accounts, money
from shared.operations.alert_settings import OwnBounds, set_alert_settings
from shared.operations.keys import KeyLimit, NewKey, create_key
from shared.operations.prices import import_models

_CENT = NANOS_PER_DOLLAR // 100
_DAY = timedelta(days=1)
_GRACE = timedelta(hours=1)
_BOUNDS = OwnBounds(low_nanos=60 * _CENT, warning_nanos=40 * _CENT, critical_nanos=20 * _CENT)
_RULES = {
    RuleKind.BALANCE: [75 * _CENT, 10 * _CENT],
    RuleKind.QUOTA_SHARE: [50, 80],
    RuleKind.SPENDING_LIMIT_SHARE: [30, 90],
    RuleKind.KEY_LIMIT_SHARE: [25, 75],
    RuleKind.SPEND_PER_HOUR: [15 * _CENT, 50 * _CENT],
    RuleKind.SPEND_PER_DAY: [30 * _CENT],
    RuleKind.TIME_TO_EMPTY: [60],
}


class AlertAccount(NamedTuple):
    """An account and its first key, which may read its alerts; ``limited`` may spend little a day."""

    account_id: str
    key: NewKey
    limited: NewKey


async def create_accounts(engine: AsyncEngine, count: int) -> list[AlertAccount]:
    """Create accounts, every second one with a plan, every third without rules."""
    await import_models(engine, "genai-prices", catalog())
    plan = await accounts.create_plan(
        engine, "pro", quota_nanos=50 * _CENT, price_nanos=50 * _CENT, discount_ppm=0, zone="UTC"
    )
    return [await _account(engine, number, plan) for number in range(count)]


async def _account(engine: AsyncEngine, number: int, plan: str) -> AlertAccount:
    planned = number % 2 == 1
    account_id, key = await accounts.create_account(
        engine,
        name=f"account {number}",
        plan=plan if planned else None,
        anchor=utc_now() - 2 * _DAY,
        fallback=planned,
        spending_limit_nanos=40 * _CENT if planned else None,
    )
    await fill_up(engine, account_id)
    limited = await create_key(engine, account_id, "limited", KeyLimit(15 * _CENT, "day"))
    if number % 3:
        await set_alert_settings(engine, account_id, bounds=_BOUNDS, rules=_RULES)
    return AlertAccount(account_id, key, limited)


async def fill_up(engine: AsyncEngine, account_id: str) -> None:
    """Bring a balance to a dollar, or a little above."""
    balance = (await accounts.show_account(engine, account_id))["balance_nanos"]
    amount_nanos = max(_CENT, NANOS_PER_DOLLAR - balance)
    await money.credit_account(engine, account_id, amount_nanos, "for the day", _GRACE)


def day_of_traffic(told: Sequence[AlertAccount], records: int, seed: int) -> list[dict[str, Any]]:
    """Return the trace, spread over the last 24 hours, as events of both keys of each account."""
    payers = [{"api_key_id": key.api_key_id} for each in told for key in (each.key, each.limited)]
    requests = read_trace()[:records]
    slower = _DAY / requests[-1].offset
    day = [replace(request, offset=request.offset * slower) for request in requests]
    return list(replay(day, payers, utc_now(), seed))
