"""Top-up: whatever has a next step at Stripe takes it: charges of saved cards, and events.

Each step is committed before the next one is taken, and Stripe is never asked inside a transaction.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.invoice import Issuer
from shared.gateways.stripe_connection import PaymentRefusedError, PaymentUnavailableError
from shared.gateways.stripe_payments import StripePayments
from shared.gateways.stripe_refunds import StripeRefunds
from shared.messaging.envelope import StageMessage, messages_to
from shared.messaging.topology import Stage
from shared.metrics import PAYMENT_STEPS
from shared.operations.payments.charge import Charging
from shared.operations.payments.event_handlers import event_handlers
from shared.operations.payments.invoices import Invoicing
from shared.operations.payments.payment_steps import Outcome, PaymentSteps
from shared.operations.payments.refunding import Refunding
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.stripe_events import StripeEvents

log = structlog.get_logger(__name__)

_STRIPE_AWAY = timedelta(seconds=10)


class TopUps:
    """The top-up stage. Without payments nothing is taken up: the clock comes again with what is due."""

    def __init__(
        self,
        engine: AsyncEngine,
        payments: StripePayments | None,
        now: Callable[[], datetime],
        policy: SettlePolicy,
        issuer: Issuer | None = None,
    ) -> None:
        self._now = now
        self._steps: Mapping[str, PaymentSteps] = {}
        if payments:
            self._steps = {
                "top": Charging(engine, payments, now, policy),
                "ref": Refunding(engine, StripeRefunds(payments.connection), now, policy),
                "inv": Invoicing(engine, issuer or Issuer()),
                "evt": StripeEvents(engine, event_handlers(engine, payments, now, policy)),
            }

    async def handle(self, step_ids: list[str]) -> Sequence[StageMessage]:
        """Take each as far as it goes now."""
        outcome = Outcome()
        if self._steps:
            for step_id in step_ids:
                outcome += await self._advance(self._steps[step_id.partition("_")[0]], step_id)
        else:
            log.warning("payments are off: PAYG_STRIPE_API_KEY is not set", steps=len(step_ids))
        return [
            *messages_to(Stage.NOTIFICATIONS, outcome.alerts),
            *messages_to(Stage.THRESHOLDS, outcome.due),
            *messages_to(Stage.TOPUP, outcome.steps),
        ]

    async def _advance(self, steps: PaymentSteps, step_id: str) -> Outcome:
        kind = step_id.partition("_")[0]
        try:
            outcome = await steps.advance(step_id)
        except PaymentUnavailableError as error:
            PAYMENT_STEPS.labels(kind, "stripe_away").inc()
            log.warning("stripe is away", step=step_id, error=str(error))
            await steps.look_again(step_id, self._now() + _STRIPE_AWAY)
            return Outcome()
        except PaymentRefusedError as error:
            PAYMENT_STEPS.labels(kind, "refused").inc()
            log.exception("stripe refuses", step=step_id)
            return await steps.park(step_id, str(error))
        PAYMENT_STEPS.labels(kind, "taken").inc()
        return outcome
