"""Which of Stripe's events are handled, and by what. Others are neither stored nor asked for."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.gateways.stripe_disputes import StripeDisputes
from shared.gateways.stripe_payments import StripePayments
from shared.gateways.stripe_refunds import StripeRefunds
from shared.operations.payments.card_events import CardEvents
from shared.operations.payments.checkout import Checkouts
from shared.operations.payments.disputes import note_fraud_warning, settle_dispute
from shared.operations.payments.intent_events import IntentEvents
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.refunds import settle_refund
from shared.operations.payments.settle import SettlePolicy, settle_policy
from shared.operations.payments.stripe_events import Handler, StripeEvents
from shared.settings import Settings


def event_handlers(
    engine: AsyncEngine, payments: StripePayments, now: Callable[[], datetime], policy: SettlePolicy
) -> Mapping[str, Handler]:
    """Return the handler of each type of event. Source: https://docs.stripe.com/api/events/types."""
    intents = IntentEvents(engine, payments, now, policy)
    checkouts = Checkouts(engine, payments, now, policy)
    cards = CardEvents(engine, payments, now)
    refunds, disputes = StripeRefunds(payments.connection), StripeDisputes(payments.connection)

    async def refund(refund_id: str) -> Outcome:
        return await settle_refund(engine, await refunds.retrieve_refund(refund_id), now(), policy)

    async def dispute(dispute_id: str) -> Outcome:
        return await settle_dispute(engine, disputes, dispute_id, now(), policy)

    async def fraud_warning(warning_id: str) -> Outcome:
        return await note_fraud_warning(engine, disputes, warning_id, now())

    return {
        "charge.dispute.closed": dispute,
        "charge.dispute.created": dispute,
        "charge.dispute.updated": dispute,
        "checkout.session.async_payment_failed": checkouts.checkout_changed,
        "checkout.session.async_payment_succeeded": checkouts.checkout_changed,
        "checkout.session.completed": checkouts.checkout_changed,
        "checkout.session.expired": checkouts.checkout_changed,
        "customer.deleted": cards.customer_deleted,
        "payment_intent.canceled": intents.settle,
        "payment_intent.payment_failed": intents.settle,
        "payment_intent.processing": intents.settle,
        "payment_intent.requires_action": intents.settle,
        "payment_intent.succeeded": intents.settle,
        "payment_method.detached": cards.card_removed,
        "radar.early_fraud_warning.created": fraud_warning,
        "refund.created": refund,
        "refund.failed": refund,
        "refund.updated": refund,
        "setup_intent.succeeded": cards.card_saved,
    }


def configured_events(engine: AsyncEngine, payments: StripePayments, settings: Settings) -> StripeEvents:
    """Return the events of the Stripe account that the settings name."""
    return StripeEvents(engine, event_handlers(engine, payments, utc_now, settle_policy(settings)))
