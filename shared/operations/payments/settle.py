"""The one place where Stripe's word becomes money: its answer, a webhook and the reconciler end here.

Under a lock on the top-up's row, from a freshly fetched intent. A top-up is credited once, whoever comes
first; and what was charged is credited even where the top-up was given up before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import topups
from shared.db.alerts import insert_alerts
from shared.db.engine import database_time
from shared.db.evaluations import mark_due
from shared.db.topups import Topup
from shared.domain.alerts import AlertType
from shared.domain.currency import nanos_of
from shared.domain.ledger import TransferKind
from shared.domain.money import format_dollars
from shared.domain.topup import (
    ACTION_EXPIRES,
    AUTHENTICATION_REQUIRED,
    HARD_DECLINES,
    OPEN_STATES,
    SOFT_DECLINES_BEFORE_OFF,
    Channel,
    TopupState,
    retry_wait,
)
from shared.domain.topup_states import may_become
from shared.gateways.stripe_payments import CURRENCY, Intent, StripePayments
from shared.operations.money import commit_transfers, read_account
from shared.operations.payments.charge_steps import is_new_decline
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.topup_ends import notes, quarantine, switch_off, topup_alert
from shared.settings import Settings

_NOW = timedelta(0)
_LOOK_AGAIN = timedelta(seconds=30)
#: Whether the owner authenticated is looked for so often; a webhook is quicker.
_LOOK_FOR_ACTION = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SettlePolicy:
    """How long to wait before a card is tried again that was declined once, and how long cycles stay open."""

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


@dataclass(frozen=True)
class Settler:
    """Whoever takes a top-up to where its intent is: the books, Stripe, the time, and the policy."""

    _engine: AsyncEngine
    _payments: StripePayments
    _now: Callable[[], datetime]
    _policy: SettlePolicy

    async def _settle_topup(self, topup: Topup, intent: Intent) -> Outcome:
        return await settle(self._engine, topup.topup_id, intent, self._now(), self._policy)


def _may_move(topup: Topup, intent: Intent) -> bool:
    if topup.state in OPEN_STATES:
        return True
    came_late = intent.status == "succeeded" and topup.state is not TopupState.SUCCEEDED
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
        topup, intent = self._topup, self._intent
        if doubt := await self._doubt():
            parked = topup.state is TopupState.QUARANTINED
            return Outcome() if parked else await quarantine(self._connection, topup, doubt, self._now)
        if intent.status == "succeeded":
            return await self._credit()
        if topup.state is TopupState.PENDING:
            return await self._move(TopupState.CREATED, again=_NOW)  # the stage sees to the rest
        if intent.status == "canceled":
            return await self._close(TopupState.CANCELED)
        if topup.channel is not Channel.CHECKOUT and is_new_decline(topup, intent):
            return await self._decline(intent.decline_code or "generic_decline")
        if topup.channel is not Channel.CHECKOUT and intent.status == "requires_action":
            return await self._ask_for_action()
        if intent.status == "processing" and may_become(topup.state, TopupState.PROCESSING):
            return await self._move(TopupState.PROCESSING, again=_LOOK_AGAIN)
        return Outcome()  # it tells nothing new: an old word, or one that the stage acts upon

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
        at = await database_time(self._connection)
        after, transfer = rolled.post(TransferKind.TOPUP, topup.amount_nanos, cause, at)
        marks = {transfer.seq: {"idempotency_key": f"topup:{topup.topup_id}"}}
        moved = await commit_transfers(self._connection, before, after, (*transfers, transfer), marks)
        if not moved:
            return None
        if topup.automatic:
            await topups.change_auto_topup(self._connection, topup.account_id, {"soft_declines": 0})
        extra = {"transfer_seq": transfer.seq}
        alert = await topup_alert(self._connection, topup, AlertType.TOPUP_SUCCEEDED, self._now, extra)
        await self._move(
            TopupState.SUCCEEDED,
            transfer_seq=transfer.seq,
            balance_after_nanos=transfer.balance_after_nanos,
            charge_id=self._intent.charge_id,
            receipt_url=self._intent.receipt_url,
            detail=None,
            invoice_due_at=topups.in_time(_NOW),
        )
        return Outcome(await insert_alerts(self._connection, [alert]), notes(moved.due_id))

    async def _ask_for_action(self) -> Outcome:
        """Tell the owner once where to authenticate. Without a page there is nothing to tell yet."""
        topup, url = self._topup, self._intent.action_url
        if topup.state is TopupState.ACTION_REQUIRED:
            await topups.look_again(self._connection, topup.topup_id, topups.in_time(_LOOK_FOR_ACTION))
            return Outcome()
        looked_only = self._intent.attempt is None
        if not may_become(topup.state, TopupState.ACTION_REQUIRED) or (url is None and looked_only):
            return Outcome()
        await self._move(
            TopupState.ACTION_REQUIRED,
            again=_LOOK_FOR_ACTION,
            waits_until=topups.in_time(ACTION_EXPIRES),
            detail=AUTHENTICATION_REQUIRED,
            action_url=url,
        )
        extra = {"link": url, "payment_intent": self._intent.intent_id}
        alert = await topup_alert(self._connection, topup, AlertType.TOPUP_ACTION_REQUIRED, self._now, extra)
        return Outcome(await insert_alerts(self._connection, [alert]))

    async def _decline(self, code: str) -> Outcome:
        topup, off = self._topup, code in HARD_DECLINES
        declines = 0
        if topup.automatic and not off:
            declines = await topups.count_soft_decline(self._connection, topup.account_id)
            off = declines >= SOFT_DECLINES_BEFORE_OFF
        retries = topup.automatic and not off
        told: dict[str, Any] = {"detail": code, "declined_charge_id": self._intent.failed_charge_id}
        if retries:
            wait = retry_wait(self._policy.retry_after, declines)
            told |= {"attempt": topup.attempt + 1, "waits_until": topups.in_time(wait)}
            outcome = await self._move(TopupState.RETRY_WAIT, again=wait, **told)
        else:
            outcome = await self._close(TopupState.FAILED, **told)
        extra = {"decline_code": code, "attempt": topup.attempt, "will_retry": retries}
        new = [await topup_alert(self._connection, topup, AlertType.TOPUP_FAILED, self._now, extra)]
        if topup.automatic and off:
            why = f"the card was declined: {code}"
            new += await switch_off(self._connection, topup, why, self._now)
        outcome += Outcome(await insert_alerts(self._connection, new))
        return outcome

    async def _close(self, state: TopupState, **values: object) -> Outcome:
        """End it without money: whether another one is due may be decided anew."""
        await self._move(state, again=None, **values)
        return Outcome(due=notes(await mark_due(self._connection, [self._topup.account_id])))

    async def _move(self, state: TopupState, *, again: timedelta | None = None, **values: object) -> Outcome:
        step = {
            "state": state,
            "next_step_at": None if again is None else topups.in_time(again),
            "waits_until": None,
            "action_url": None,
            "payment_intent_id": self._intent.intent_id,
        }
        await topups.change_topup(self._connection, self._topup, step | values)
        return Outcome()
