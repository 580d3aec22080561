"""Accounts whose card was charged, and what may be taken back of it: refunds, disputes, fraud warnings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from low_money import DOLLAR, GRACE, RETRY, LowMoney
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import database_time
from shared.domain.ledger import TransferKind
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_disputes import StripeDisputes
from shared.gateways.stripe_refunds import StripeRefunds
from shared.operations.audit import audit
from shared.operations.money import commit_transfers, read_account
from shared.operations.payments.disputes import note_fraud_warning, settle_dispute
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.refund_requests import reserve_refund
from shared.operations.payments.refunds import settle_refund
from shared.operations.payments.settle import SettlePolicy

POLICY = SettlePolicy(RETRY, GRACE)


@dataclass(frozen=True)
class ChargedMoney:
    """What follows a charge, on one database and at one account of the stand-in."""

    money: LowMoney

    @property
    def engine(self) -> AsyncEngine:
        return self.money.engine

    @property
    def connection(self) -> StripeConnection:
        return StripeConnection(self.money.stripe_key, self.money.stripe_url)

    async def charged(self, card: str | None = None) -> tuple[str, str, str]:
        """An account with $3 and an automatic top-up of $25 that was charged and credited.

        Return the account, the top-up and its payment.
        """
        account_id, topup_id = await self.money.due(card=card)
        await self.money.topups().handle([topup_id])
        topup = await self.money.topup(topup_id)
        assert topup["state"] == "succeeded"
        return account_id, topup_id, topup["payment_intent_id"]

    async def spend(self, account_id: str, nanos: int) -> None:
        """Take so much from the balance: a void of the other sign, since prices do not matter here."""
        async with self.engine.begin() as connection:
            before, rolled, transfers = await read_account(connection, account_id, GRACE)
            now = await database_time(connection)
            after, transfer = rolled.post(TransferKind.CREDIT, -nanos, "spent", now)
            assert await commit_transfers(connection, before, after, (*transfers, transfer), {})

    async def reserve(
        self, topup_id: str, cents: int | None = None, reason: str = "asked for", key: str | None = None
    ) -> dict[str, Any]:
        amount = None if cents is None else cents * DOLLAR // 100
        return await reserve_refund(self.engine, topup_id, amount, reason, GRACE, key)

    async def pay_back(self, refund_id: str, ahead: timedelta = timedelta(0)) -> None:
        """Let the top-up stage take the next step of a refund."""
        await self.money.topups(ahead=ahead).handle([refund_id])

    async def settle_refund(self, stripe_refund_id: str) -> Outcome:
        """What a webhook or the reconciler does with a refund that it heard of."""
        refund = await StripeRefunds(self.connection).retrieve_refund(stripe_refund_id)
        return await settle_refund(self.engine, refund, utc_now(), POLICY)

    async def settle_dispute(self, dispute_id: str) -> Outcome:
        return await settle_dispute(
            self.engine, StripeDisputes(self.connection), dispute_id, utc_now(), POLICY
        )

    async def warn(self, warning_id: str) -> Outcome:
        return await note_fraud_warning(self.engine, StripeDisputes(self.connection), warning_id, utc_now())

    async def refund(self, refund_id: str) -> dict[str, Any]:
        return dict((await self.money.rows("SELECT * FROM refunds WHERE refund_id = :id", id=refund_id))[0])

    async def refunds(self, topup_id: str) -> list[dict[str, Any]]:
        query = "SELECT * FROM refunds WHERE topup_id = :id ORDER BY created_at, refund_id"
        return [dict(row) for row in await self.money.rows(query, id=topup_id)]

    async def dispute(self, dispute_id: str) -> dict[str, Any]:
        query = "SELECT * FROM disputes WHERE dispute_id = :id"
        return dict((await self.money.rows(query, id=dispute_id))[0])

    async def frozen(self, account_id: str) -> bool:
        query = "SELECT frozen FROM accounts WHERE account_id = :id"
        return bool((await self.money.rows(query, id=account_id))[0]["frozen"])

    async def moved(self, account_id: str) -> list[tuple[str, int]]:
        """Return kind and cents of the transfers since the top-up, in order."""
        query = "SELECT kind, amount_nanos FROM transfers WHERE account_id = :id ORDER BY seq"
        rows = await self.money.rows(query, id=account_id)
        found = [(row["kind"], row["amount_nanos"] * 100 // DOLLAR) for row in rows]
        return found[[kind for kind, _ in found].index("topup") + 1 :]

    async def cents(self, account_id: str) -> int:
        return await self.money.balance(account_id) * 100 // DOLLAR

    def at_stripe(self, intent_id: str) -> Sequence[tuple[int, str]]:
        """Return amount and status of the refunds that Stripe made of a payment, in order."""
        return [
            (refund["amount"], refund["status"])
            for refund in self.money.controls.objects("refund")
            if refund["payment_intent"] == intent_id
        ]

    async def make_at_stripe(self, intent_id: str, cents: int) -> str:
        """A refund made in Stripe's dashboard; return its id."""
        refunds = self.connection.client.v1.refunds
        made = await refunds.create_async(params={"payment_intent": intent_id, "amount": cents})
        return str(made.id)

    async def assert_proven(self) -> None:
        report = await audit(self.engine)
        assert report.ok, str(report.fault)
