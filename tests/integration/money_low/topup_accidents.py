"""Something that happens beside a request of the top-up stage, or ends it there; and Stripe's own client."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
from low_money import GRACE, RETRY, LowMoney, later
from sqlalchemy import text
from stripe import StripeClient

from shared.gateways.stripe_payments import StripePayments
from shared.operations.payments.settle import SettlePolicy
from workers.topup import TopUps

AFTER_RETRY = RETRY + timedelta(seconds=5)
CONFIRM = {"path": "/v1/payment_intents/*/confirm", "method": "POST"}
CREATE = {"path": "/v1/payment_intents", "method": "POST"}
DECLINED = "pm_card_chargeDeclined"


class Killed(BaseException):
    """Ends a stage as SIGKILL would: nothing of it catches this."""


@dataclass
class Accident:
    """A top-up stage; ``before`` happens once, right before a named request goes out."""

    payments: StripePayments
    request: str
    money: LowMoney
    ahead: timedelta
    before: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self.payments, name)
        if name != self.request:
            return asked

        async def request(*arguments: Any) -> Any:
            before, self.before = self.before, lambda: None
            # The stand-in's controls block, and the event loop belongs to others as well.
            await asyncio.to_thread(before)
            return await asked(*arguments)

        return request

    async def handle(self, topup_id: str) -> None:
        """Advance a top-up, with the accident in it."""
        policy = SettlePolicy(RETRY, GRACE)
        stage = TopUps(self.money.engine, cast("StripePayments", self), later(self.ahead), policy)
        await stage.handle([topup_id])

    async def until_killed(self, topup_id: str) -> None:
        """Advance a top-up until the request, which never goes out."""
        self.before = _die
        with pytest.raises(Killed):
            await self.handle(topup_id)


def _die() -> None:
    raise Killed


def beside(money: LowMoney, request: str, ahead: timedelta = timedelta(0)) -> Accident:
    """Return a top-up stage with an accident beside its first request of a kind, named as in the gateway."""
    return Accident(money.payments, request, money, ahead)


def stripe_of(money: LowMoney) -> StripeClient:
    """Stripe's own client, for what its owner does there by hand."""
    return StripeClient(money.stripe_key, base_addresses={"api": money.stripe_url}, max_network_retries=0)


async def intents_of(money: LowMoney, account_id: str) -> list[Any]:
    customer, _ = await money.customer(account_id)
    return stripe_of(money).v1.payment_intents.list({"customer": customer}).data


async def attempts_of(money: LowMoney, account_id: str) -> list[dict[str, Any]]:
    """Return what Stripe tried to take, declined or not."""
    customer, _ = await money.customer(account_id)
    return [charge for charge in money.controls.charges() if charge["customer"] == customer]


async def run_sql(money: LowMoney, statement: str, **values: Any) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)
