"""The one place where Stripe's word becomes money: its answer, a webhook and the reconciler end here.

Under a lock on the top-up's row, from a freshly fetched intent. A top-up is credited once, whoever comes
first; and what was charged is credited even where the top-up was given up before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import topups
from shared.db.alerts import NewAlert, insert_alerts
from shared.db.evaluations import mark_due
from shared.db.topups import Topup
from shared.domain.alerts import AlertType, alert_data
from shared.domain.currency import nanos_of
from shared.domain.ledger import TransferKind
from shared.domain.levels import level_of
from shared.domain.money import format_dollars
from shared.domain.topup import HARD_DECLINES, OPEN_STATES, SOFT_DECLINES_BEFORE_OFF, TopupState
from shared.gateways.stripe_payments import CURRENCY, Intent
from shared.operations.money import commit_transfers, read_account
from shared.operations.payment_steps import Outcome
from shared.settings import Settings

AUTHENTICATION_REQUIRED = "authentication_required"
ACTION_EXPIRES = timedelta(hours=24)
_LOOK_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """How long to wait before a declined card is tried again, and how long cycles take late records."""

    retry_after: timedelta
    grace: timedelta


def settle_policy(settings: Settings) -> SettlePolicy:
    """Return the policy that the settings name."""
    return SettlePolicy(timedelta(seconds=settings.topup_retry_s), settings.late_record_grace)


async def settle(
    engine: AsyncEngine, topup_id: str, intent: Intent, now: datetime, policy: SettlePolicy
) -> Outcome:
    """Bring a top-up to where its intent is. One that is closed is moved by nothing but money that came."""
    while True:
        async with engine.begin() as connection:
            topup = await topups.load_topup(connection, topup_id, lock=True)
            if topup is None or not _may_move(topup, intent):
                return Outcome()
            settled = await _Settling(connection, topup, intent, now, policy).run()
            if settled is not None:
                return settled
            # The account changed while it was being credited, and nothing was written: once more.


async def quarantine_topup(engine: AsyncEngine, topup_id: str, why: str, now: datetime) -> Outcome:
    """Park a top-up that Stripe refuses for a reason no card can change, and stop automatic ones."""
    async with engine.begin() as connection:
        topup = await topups.load_topup(connection, topup_id, lock=True)
        if topup is None or topup.state not in OPEN_STATES:
            return Outcome()
        return await _quarantine(connection, topup, why, now)


def _may_move(topup: Topup, intent: Intent) -> bool:
    if topup.state in OPEN_STATES:
        return True
    came_late = intent.status == "succeeded" and topup.state in (TopupState.FAILED, TopupState.CANCELED)
    return came_late and topup.payment_intent_id == intent.intent_id


class _Settling:
    """One top-up and one intent, inside one transaction."""

    def __init__(
        self, connection: AsyncConnection, topup: Topup, intent: Intent, now: datetime, policy: SettlePolicy
    ) -> None:
        self._connection = connection
        self._topup = topup
        self._intent = intent
        self._now = now
        self._policy = policy

    async def run(self) -> Outcome | None:  # noqa: PLR0911 - one for each status
        """Return what follows, or None where the account has to be read again."""
        intent = self._intent
        if doubt := await self._doubt():
            return await _quarantine(self._connection, self._topup, doubt, self._now)
        if intent.status == "succeeded":
            return await self._credit()
        if intent.status == "canceled":
            return await self._close(TopupState.CANCELED)
        if intent.status == "requires_action" or intent.decline_code == AUTHENTICATION_REQUIRED:
            return await self._ask_for_action()
        if intent.status == "requires_payment_method":
            return await self._decline(intent.decline_code or "generic_decline")
        if intent.status == "processing":
            return await self._move(TopupState.PROCESSING, again=_LOOK_AGAIN)
        return await self._move(TopupState.CREATED, again=_LOOK_AGAIN)

    async def _doubt(self) -> str | None:
        """Return why this intent may not be taken for that of the top-up, or None."""
        intent, topup = self._intent, self._topup
        amount_nanos = nanos_of(intent.amount, intent.currency)
        if intent.currency != CURRENCY or amount_nanos != topup.amount_nanos:
            over = f"{format_dollars(amount_nanos)} {intent.currency}"
            return f"{intent.intent_id} is over {over}, not {format_dollars(topup.amount_nanos)} {CURRENCY}"
        if topup.payment_intent_id is None:
            # It came before its id was committed; metadata alone would be anybody's word.
            customer = await topups.find_customer(self._connection, topup.account_id)
            theirs = (intent.topup_id, intent.account_id, intent.customer_id)
            if theirs != (topup.topup_id, topup.account_id, customer and customer["customer_id"]):
                return f"{intent.intent_id} says that it is for {theirs}"
        elif topup.payment_intent_id != intent.intent_id:
            return f"{intent.intent_id} is not its intent, {topup.payment_intent_id}"
        return None

    async def _credit(self) -> Outcome | None:
        topup = self._topup
        before, rolled, transfers = await read_account(self._connection, topup.account_id, self._policy.grace)
        cause = f"topup {topup.topup_id}"
        after, transfer = rolled.post(TransferKind.TOPUP, topup.amount_nanos, cause, self._now)
        marks = {"idempotency_key": f"topup:{topup.topup_id}"}
        moved = await commit_transfers(self._connection, before, after, (*transfers, transfer), marks)
        if not moved:
            return None
        if topup.automatic:
            await topups.change_auto_topup(self._connection, topup.account_id, {"soft_declines": 0})
        alert = await _alert(
            self._connection, topup, AlertType.TOPUP_SUCCEEDED, self._now, {"transfer_seq": transfer.seq}
        )
        await self._move(
            TopupState.SUCCEEDED,
            transfer_seq=transfer.seq,
            balance_after_nanos=transfer.balance_after_nanos,
            charge_id=self._intent.charge_id,
            receipt_url=self._intent.receipt_url,
            detail=None,
            invoice_due_at=self._now,
        )
        return Outcome(await insert_alerts(self._connection, [alert]), _notes(moved.due_id))

    async def _ask_for_action(self) -> Outcome:
        topup = self._topup
        if topup.state is TopupState.ACTION_REQUIRED:
            return Outcome()
        await self._move(TopupState.ACTION_REQUIRED, again=ACTION_EXPIRES, detail=AUTHENTICATION_REQUIRED)
        extra = {"link": self._intent.action_url, "payment_intent": self._intent.intent_id}
        alert = await _alert(self._connection, topup, AlertType.TOPUP_ACTION_REQUIRED, self._now, extra)
        return Outcome(await insert_alerts(self._connection, [alert]))

    async def _decline(self, code: str) -> Outcome:
        topup, final = self._topup, True
        if topup.state is TopupState.RETRY_WAIT or self._intent.attempt not in (None, topup.attempt):
            return Outcome()  # this decline was counted before
        off = code in HARD_DECLINES
        if topup.automatic and not off:
            declines = await topups.count_soft_decline(self._connection, topup.account_id)
            off = declines >= SOFT_DECLINES_BEFORE_OFF
            final = off
        outcome = Outcome()
        if final:
            outcome = await self._close(TopupState.FAILED, detail=code)
        else:
            await self._move(
                TopupState.RETRY_WAIT,
                again=self._policy.retry_after,
                detail=code,
                attempt=topup.attempt + 1,
            )
        extra = {"decline_code": code, "attempt": topup.attempt, "will_retry": not final}
        new = [await _alert(self._connection, topup, AlertType.TOPUP_FAILED, self._now, extra)]
        if topup.automatic and off:
            new.append(
                await _switch_off(self._connection, topup, f"the card was declined: {code}", self._now)
            )
        outcome += Outcome(await insert_alerts(self._connection, new))
        return outcome

    async def _close(self, state: TopupState, **values: object) -> Outcome:
        """End it without money: whether another one is due may be decided anew."""
        await self._move(state, again=None, **values)
        return Outcome(due=_notes(await mark_due(self._connection, [self._topup.account_id])))

    async def _move(self, state: TopupState, *, again: timedelta | None = None, **values: object) -> Outcome:
        step = {
            "state": state,
            "next_step_at": self._now + again if again else None,
            "payment_intent_id": self._intent.intent_id,
        }
        await topups.change_topup(self._connection, self._topup, step | values)
        return Outcome()


def _notes(due_id: int | None) -> list[int]:
    return [] if due_id is None else [due_id]


async def _quarantine(connection: AsyncConnection, topup: Topup, why: str, now: datetime) -> Outcome:
    values = {"state": TopupState.QUARANTINED, "detail": why, "next_step_at": None}
    await topups.change_topup(connection, topup, values)
    new = [await _alert(connection, topup, AlertType.TOPUP_FAILED, now, {"detail": why})]
    if topup.automatic:
        new.append(await _switch_off(connection, topup, why, now))
    return Outcome(await insert_alerts(connection, new))


async def _switch_off(connection: AsyncConnection, topup: Topup, why: str, now: datetime) -> NewAlert:
    values = {"enabled": False, "disabled_because": why}
    await topups.change_auto_topup(connection, topup.account_id, values)
    return await _alert(connection, topup, AlertType.TOPUP_DISABLED, now, {"detail": why})


async def _alert(
    connection: AsyncConnection, topup: Topup, type_: AlertType, now: datetime, extra: Mapping[str, Any]
) -> NewAlert:
    balance = await topups.find_balance(connection, topup.account_id) or 0
    data = alert_data(topup.account_id, balance, now, level_of(balance))
    data |= {"topup_id": topup.topup_id, "amount_nanos": topup.amount_nanos, **extra}
    return NewAlert(topup.account_id, type_, data, now)
