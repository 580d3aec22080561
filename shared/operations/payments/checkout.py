"""Top-ups that their owner pays on a page of Stripe's, with a new card, which may be saved.

The row is committed before the page is opened, and the page's session before anybody has its address; so the
session that we committed is the one whose payment counts, whatever its metadata say. It is looked at when an
event names it, and by the clock.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import checkout as sql
from shared.db import topups
from shared.db.engine import database_time
from shared.db.topups import Topup
from shared.domain.topup import Channel, TopupState
from shared.gateways.stripe_cards import StripeCards
from shared.gateways.stripe_checkout import Session, StripeCheckout
from shared.gateways.stripe_connection import PaymentRefusedError, PaymentUnavailableError
from shared.gateways.stripe_payments import StripePayments
from shared.operations.payments.cards import account_exists, adopt_card, customer_of, required
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.settle import Settler
from shared.operations.payments.topup_ends import give_up, quarantine_topup
from shared.operations.payments.topups import ask, asked, asked_before, check_amount, show_topup

#: Stripe takes 30 minutes to 24 hours from its own now: an hour is for clocks that differ.
_PAGE_LIVES = timedelta(hours=23)
_PAGE_LIVES_AT_LEAST = timedelta(minutes=45)
#: Whoever asked opens the page at once; if it dies the clock does.
_STEP_LEASE = timedelta(seconds=30)
_LOOK_SOONEST = timedelta(minutes=1)
_LOOK_LATEST = timedelta(minutes=10)


async def create_checkout(
    engine: AsyncEngine,
    payments: StripePayments | None,
    account_id: str,
    amount_nanos: int,
    *,
    saves_card: bool = False,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Begin a top-up by Checkout; return it with the address to pay at.

    Where Stripe is away there is no address yet: the top-up stage opens the page, and the same idempotency
    key gives the same top-up. Raises NotFoundError for an unknown account, RefusedError for an amount out of
    range or a key that was used for another top-up, and PaymentRefusedError.
    """
    stripe = required(payments)
    check_amount(amount_nanos)
    await account_exists(engine, account_id)
    row = asked(account_id, amount_nanos, idempotency_key, channel=Channel.CHECKOUT, saves_card=saves_card)
    async with engine.begin() as connection:
        now = await database_time(connection)
        row["next_step_at"] = now + _STEP_LEASE
        made = await asked_before(connection, row) or await ask(connection, row)
        topup = await topups.load_topup(connection, made["topup_id"])
    if topup is None or topup.state is not TopupState.PENDING:
        return show_topup(made)
    try:
        await open_page(engine, stripe, topup, now)
    except PaymentUnavailableError as error:
        return show_topup(made) | {"detail": f"the page is opened once Stripe answers: {error}"}
    except PaymentRefusedError as error:
        await quarantine_topup(engine, topup.topup_id, str(error), now)
        raise
    async with engine.connect() as connection:
        return show_topup(await topups.find_topup(connection, topup.topup_id) or made)


async def open_page(engine: AsyncEngine, payments: StripePayments, topup: Topup, now: datetime) -> None:
    """Open the page of a top-up that has none. Raises PaymentUnavailableError, PaymentRefusedError."""
    expires_at = topup.created_at + _PAGE_LIVES
    if now + _PAGE_LIVES_AT_LEAST > expires_at:
        async with engine.begin() as connection:
            await sql.end_unpaid(connection, topup.topup_id, "its page could not be opened for a day")
        return
    customer_id = await customer_of(engine, StripeCards(payments.connection), topup.account_id)
    try:
        session = await StripeCheckout(payments.connection).create(
            topup.topup_id,
            topup.account_id,
            customer_id,
            topup.amount_nanos,
            saves_card=topup.saves_card,
            expires_at=expires_at,
            attempt=topup.create_attempt,
        )
    except PaymentUnavailableError:
        async with engine.begin() as connection:
            await sql.ask_anew(connection, topup.topup_id, topup.create_attempt)
        raise
    async with engine.begin() as connection:
        look_at = now + _LOOK_SOONEST
        await sql.open_session(connection, topup.topup_id, session.session_id, str(session.url), look_at)


class Checkouts(Settler):
    """The steps of top-ups whose channel is Checkout."""

    async def advance(self, topup: Topup) -> Outcome:
        """Open its page, or see what became of it. Raises PaymentUnavailableError, PaymentRefusedError."""
        if topup.state is TopupState.SUCCEEDED:
            return Outcome()
        if topup.checkout_session_id is None:
            return await self._without_session(topup)
        session = await StripeCheckout(self._payments.connection).retrieve(topup.checkout_session_id)
        if session.reference != topup.topup_id:
            raise PaymentRefusedError(f"{session.session_id} is the session of {session.reference}")
        if session.status == "complete":
            return await self._settle(topup, session)
        async with self._engine.begin() as connection:
            if session.status == "open":
                await sql.look_at_session(connection, topup.topup_id, self._look_at(topup))
            else:
                await sql.end_unpaid(connection, topup.topup_id, "its page expired unpaid")
        return Outcome()

    async def checkout_changed(self, session_id: str) -> Outcome:
        """See what became of a session that an event names; one that we did not commit is not ours."""
        async with self._engine.connect() as connection:
            topup_id = await sql.find_topup_of_session(connection, session_id)
            topup = await topups.load_topup(connection, topup_id) if topup_id else None
        return await self.advance(topup) if topup else Outcome()

    async def _without_session(self, topup: Topup) -> Outcome:
        """Open its page; an intent that came to be known without one, as from a restored backup, counts."""
        if topup.payment_intent_id is not None:
            intent = await self._payments.retrieve_intent(topup.payment_intent_id)
            return await self._settle_topup(topup, intent)
        if topup.state is TopupState.PENDING:
            await open_page(self._engine, self._payments, topup, self._now())
        return Outcome()

    async def _settle(self, topup: Topup, session: Session) -> Outcome:
        if session.intent_id is None:
            raise PaymentRefusedError(f"{session.session_id} is complete, and has no payment intent")
        async with self._engine.begin() as connection:
            await sql.note_intent(connection, topup.topup_id, session.intent_id)
        # Before the credit: after it nobody would come again.
        if topup.saves_card and session.paid and session.card_id:
            cards = StripeCards(self._payments.connection)
            await adopt_card(self._engine, cards, topup.account_id, session.card_id)
        intent = await self._payments.retrieve_intent(session.intent_id)
        if intent.status == "requires_payment_method":
            # The page is over, so there is no other attempt; a page that is open settles nothing.
            why, code = "the bank declined after the page was done", intent.decline_code or "generic_decline"
            return await give_up(self._engine, topup.topup_id, code, why, self._now())
        return await self._settle_topup(topup, intent)

    def _look_at(self, topup: Topup) -> datetime:
        """Return when to look next at an open page: soon while it is young, then less often."""
        now = self._now()
        return now + min(max((now - topup.created_at) / 10, _LOOK_SOONEST), _LOOK_LATEST)
