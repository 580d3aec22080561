"""An account whose money runs low, the stages that see to it, and ways to read what they did."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.stripe.controls import Controls
from shared.clock import utc_now
from shared.db import evaluations
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import Intent, StripePayments
from shared.messaging.envelope import StageMessage
from shared.messaging.topology import Stage
from shared.operations.accounts import create_account
from shared.operations.audit import audit
from shared.operations.money import credit_account
from shared.operations.payments.cards import save_card
from shared.operations.payments.settle import SettlePolicy, settle
from shared.operations.payments.topups import create_topup, set_auto_topup
from workers.thresholds import Thresholds
from workers.topup import TopUps

DOLLAR = NANOS_PER_DOLLAR
GRACE = timedelta(hours=1)
RETRY = timedelta(hours=1)
COOLDOWN = timedelta(seconds=60)
DAY = timedelta(days=1)


def later(wait: timedelta = timedelta(0)) -> Callable[[], datetime]:
    """Return a clock that is ahead by so much."""
    return lambda: utc_now() + wait


class NamedAccounts:
    """The thresholds stage, asked to evaluate accounts by name as well as what is due anyway for them."""

    def __init__(self, engine: AsyncEngine, ahead: timedelta) -> None:
        self._engine = engine
        self._stage = Thresholds(engine, later(ahead), COOLDOWN)

    async def handle(self, account_ids: list[str]) -> Sequence[StageMessage]:
        async with self._engine.begin() as connection:
            await evaluations.mark_due(connection, account_ids)
            due = await connection.execute(
                text("SELECT due_id FROM due_evaluations WHERE account_ids && CAST(:ids AS text[])"),
                {"ids": account_ids},
            )
            due_ids = list(due.scalars())
        return await self._stage.handle(due_ids)


@dataclass(frozen=True)
class LowMoney:
    """A database and an account at the stand-in for Stripe."""

    engine: AsyncEngine
    database_url: str
    controls: Controls
    stripe_url: str
    stripe_key: str

    @property
    def payments(self) -> StripePayments:
        return StripePayments(StripeConnection(self.stripe_key, self.stripe_url))

    def thresholds(
        self, engine: AsyncEngine | None = None, ahead: timedelta = timedelta(0)
    ) -> "NamedAccounts":
        return NamedAccounts(engine or self.engine, ahead)

    def topups(self, engine: AsyncEngine | None = None, ahead: timedelta = timedelta(0)) -> TopUps:
        return TopUps(engine or self.engine, self.payments, later(ahead), SettlePolicy(RETRY, GRACE))

    async def account(self, balance: int = 3, card: str | None = None) -> str:
        """An account with so many dollars and an automatic top-up of $25 below $10; return its id.

        With ``card`` its card behaves like another test card from the time after it was saved.
        """
        account_id = await self.account_without_topup(balance)
        await set_auto_topup(
            self.engine,
            self.payments,
            account_id,
            threshold_nanos=10 * DOLLAR,
            amount_nanos=25 * DOLLAR,
            payment_method="pm_card_visa",
        )
        if card:
            await self.change_card(account_id, card)
        return account_id

    async def account_without_topup(self, balance: int = 3) -> str:
        account_id, _ = await create_account(self.engine)
        if balance:
            await credit_account(self.engine, account_id, balance * DOLLAR, "opening", GRACE)
        return account_id

    async def change_card(self, account_id: str, card: str) -> None:
        """Let the saved card behave like another one from now on."""
        found = await self.rows("SELECT * FROM payment_customers WHERE account_id = :id", id=account_id)
        self.controls.change_card(found[0]["payment_method_id"], card)

    async def due(self, balance: int = 3, card: str | None = None) -> tuple[str, str]:
        """An account that thresholds began a top-up for; return its id and the top-up's."""
        account_id = await self.account(balance, card)
        (topup_id,) = elements(await self.thresholds().handle([account_id]), Stage.TOPUP)
        return account_id, topup_id

    async def by_hand(self, card: str | None = None) -> tuple[str, str]:
        """An account with a saved card and a top-up that its owner asked for."""
        account_id = await self.account_without_topup()
        await save_card(self.engine, self.payments, account_id, "pm_card_visa")
        if card:
            await self.change_card(account_id, card)
        return account_id, (await create_topup(self.engine, account_id, 25 * DOLLAR))["id"]

    async def settle(self, topup_id: str, intent: Intent, **other: Any) -> None:
        """Bring a top-up to where an intent is, as a webhook or the reconciler does; or another one is."""
        told = replace(intent, **{"attempt": None, **other})
        await settle(self.engine, topup_id, told, utc_now(), SettlePolicy(RETRY, GRACE))

    async def named_by(self, due_ids: list[int]) -> list[str]:
        """Return the accounts in notes of what is due for evaluation."""
        query = "SELECT account_ids FROM due_evaluations WHERE due_id = ANY (:ids)"
        return [name for row in await self.rows(query, ids=due_ids) for name in row["account_ids"]]

    async def topup(self, topup_id: str) -> dict[str, Any]:
        return (await self.rows("SELECT * FROM topups WHERE topup_id = :id", id=topup_id))[0]

    async def state(self, topup_id: str) -> str:
        return str((await self.topup(topup_id))["state"])

    async def customer(self, account_id: str) -> tuple[str, str]:
        """Return the account's customer at Stripe, and the saved card."""
        (row,) = await self.rows("SELECT * FROM payment_customers WHERE account_id = :id", id=account_id)
        return row["customer_id"], row["payment_method_id"]

    async def auto(self, account_id: str) -> dict[str, Any]:
        return (await self.rows("SELECT * FROM auto_topups WHERE account_id = :id", id=account_id))[0]

    async def balance(self, account_id: str) -> int:
        query = "SELECT balance_nanos FROM accounts WHERE account_id = :id"
        return int((await self.rows(query, id=account_id))[0]["balance_nanos"])

    async def alerts(self, account_id: str, kind: str = "topup.%") -> list[str]:
        """Return the types of an account's alerts, in order."""
        query = "SELECT type FROM alerts WHERE account_id = :id AND type LIKE :kind ORDER BY sequence"
        return [row["type"] for row in await self.rows(query, id=account_id, kind=kind)]

    async def charged_cents(self, account_id: str) -> list[int]:
        """Return what Stripe took, one by one."""
        rows = await self.rows(
            "SELECT customer_id FROM payment_customers WHERE account_id = :id", id=account_id
        )
        customers = {row["customer_id"] for row in rows}
        return [
            charge["amount_cents"]
            for charge in self.controls.charges()
            if charge["customer"] in customers and charge["status"] == "succeeded"
        ]

    async def credited_cents(self, account_id: str) -> list[int]:
        """Return what was credited for it, one by one."""
        query = "SELECT amount_nanos FROM transfers WHERE account_id = :id AND kind = 'topup' ORDER BY seq"
        return [row["amount_nanos"] * 100 // DOLLAR for row in await self.rows(query, id=account_id)]

    async def assert_charged_and_credited(self, account_id: str, *cents: int) -> None:
        """Stripe took exactly this, the books were credited with exactly this, and they are proven."""
        assert await self.charged_cents(account_id) == list(cents)
        assert await self.credited_cents(account_id) == list(cents)
        report = await audit(self.engine)
        assert report.ok, str(report.fault)

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def rows(self, query: str, **values: Any) -> Sequence[Any]:
        async with self.engine.connect() as connection:
            return (await connection.execute(text(query), values)).mappings().all()


def elements(messages: Sequence[StageMessage], stage: Stage) -> list[Any]:
    """Return what messages bring to a stage."""
    return [element for message in messages if message.stage is stage for element in message.batch]
