"""Every move of the table of transitions, made for real: each brings a top-up to one state and to the next."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from low_money import DAY, RETRY, LowMoney
from sqlalchemy import text
from topup_accidents import beside

from shared.domain.topup import TopupState as S
from shared.domain.topup_states import TRANSITIONS, IllegalMoveError
from shared.gateways.stripe_payments import Intent
from shared.operations.charge import Charging
from shared.operations.settle import SettlePolicy
from shared.operations.topups import switch_off_auto_topup

LATER = RETRY + timedelta(seconds=5)
CONFIRM = {"path": "/v1/payment_intents/*/confirm", "method": "POST"}
DECLINED = "pm_card_chargeDeclined"
STOLEN = "pm_card_chargeDeclinedStolenCard"
AUTHENTICATES = "pm_card_authenticationRequired"


@dataclass
class Mover:
    """One automatic top-up, and what can be done to it."""

    money: LowMoney
    account_id: str
    topup_id: str

    async def intent(self) -> str:
        return str((await self.money.topup(self.topup_id))["payment_intent_id"])

    async def look(self, ahead: timedelta = timedelta(0)) -> None:
        await self.money.topups(ahead=ahead).handle([self.topup_id])

    async def look_later(self) -> None:
        await self.look(LATER)

    async def look_after_a_day(self) -> None:
        await self.look(DAY + LATER)

    async def killed_before(self, request: str, ahead: timedelta = timedelta(0)) -> None:
        await beside(self.money, request, ahead).until_killed(self.topup_id)

    async def card(self, card: str) -> None:
        await self.money.change_card(self.account_id, card)

    async def park(self) -> None:
        policy = SettlePolicy(RETRY, RETRY)
        charging = Charging(self.money.engine, self.money.payments, lambda: self.now(), policy)
        await charging.park(self.topup_id, "refused")

    async def forget_card(self) -> None:
        await self.run("UPDATE payment_customers SET payment_method_id = NULL")

    async def run(self, statement: str) -> None:
        async with self.money.engine.begin() as connection:
            await connection.execute(text(statement))

    async def told(self, **other: Any) -> None:
        """Let settle hear of the top-up's own intent, or of what it might say."""
        intent = await self.money.payments.retrieve_intent(await self.intent())
        await self.money.settle(self.topup_id, intent, **other)
