"""Which of Stripe's events are handled, and by what. Others are neither stored nor asked for."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.gateways.stripe_payments import StripePayments
from shared.operations.intent_events import IntentEvents
from shared.operations.settle import SettlePolicy, settle_policy
from shared.operations.stripe_events import Handler, StripeEvents
from shared.settings import Settings


def event_handlers(
    engine: AsyncEngine, payments: StripePayments, now: Callable[[], datetime], policy: SettlePolicy
) -> Mapping[str, Handler]:
    """Return the handler of each type of event. Source: https://docs.stripe.com/api/events/types."""
    intents = IntentEvents(engine, payments, now, policy)
    return {
        "payment_intent.canceled": intents.settle,
        "payment_intent.payment_failed": intents.settle,
        "payment_intent.processing": intents.settle,
        "payment_intent.requires_action": intents.settle,
        "payment_intent.succeeded": intents.settle,
    }


def configured_events(engine: AsyncEngine, payments: StripePayments, settings: Settings) -> StripeEvents:
    """Return the events of the Stripe account that the settings name."""
    return StripeEvents(engine, event_handlers(engine, payments, utc_now, settle_policy(settings)))
