"""What each stage does with a batch, and the clock's sweeps, put together by the settings.

Each imports what it alone needs: a debit worker neither waits for Stripe's SDK nor keeps it in memory.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.usage import PricedUsage
from shared.messaging.connect import open_transport
from shared.messaging.envelope import StageMessage
from shared.messaging.topology import Stage
from shared.operations.holds import configured_holds
from shared.settings import Settings

log = structlog.get_logger(__name__)

Sweep = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handling:
    """What a stage does with a batch: the type of its elements, the handler, and what to close at the end.

    ``beside`` goes on beside the stage, until it is cancelled.
    """

    element: type[Any]
    handle: Callable[[list[Any]], Awaitable[Sequence[StageMessage]]]
    close: Callable[[], Awaitable[None]] | None = None
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None


def handling(stage: Stage, engine: AsyncEngine, settings: Settings) -> Handling:
    """Return what a stage does with a batch; intake, which takes none, is put together where it runs."""
    return _HANDLINGS[stage](engine, settings)


def _pricing(engine: AsyncEngine, settings: Settings) -> Handling:
    from workers.pricing import Pricing

    holds = configured_holds(engine, settings)
    return Handling(msgspec.Raw, Pricing(engine, settings.debit_queues, holds).handle, holds.close)


def _debiting(engine: AsyncEngine, settings: Settings) -> Handling:
    from workers.debit import Debiting

    holds = configured_holds(engine, settings)
    debiting = Debiting(engine, settings.late_record_grace, utc_now, holds)
    return Handling(PricedUsage, debiting.handle, holds.close)


def _evaluating(engine: AsyncEngine, settings: Settings) -> Handling:
    from workers.thresholds import Thresholds

    holds, cooldown = configured_holds(engine, settings), timedelta(seconds=settings.topup_cooldown_s)
    return Handling(int, Thresholds(engine, utc_now, cooldown, holds).handle, holds.close)


def _topping_up(engine: AsyncEngine, settings: Settings) -> Handling:
    from shared.gateways.stripe_payments import configured_payments
    from shared.operations.payments.settle import settle_policy
    from workers.topup import TopUps

    payments = configured_payments(settings)
    if payments and not settings.seller_name:
        log.warning("invoices name no seller: PAYG_SELLER_NAME is not set")
    topups = TopUps(engine, payments, utc_now, settle_policy(settings), settings.issuer)
    return Handling(str, topups.handle)


def _notifying(engine: AsyncEngine, settings: Settings) -> Handling:
    from shared.operations.delivery.delivery_channels import configured_deliveries
    from workers.notifications import Notifications

    # Connections of its own: what is sent to receivers never waits for the stage, nor the stage for it.
    own_engine = create_engine(settings.database_url, application="payg deliveries")
    deliveries = configured_deliveries(own_engine, settings)
    notifications = Notifications(engine, partial(open_transport, settings.broker_url), deliveries)

    async def close() -> None:
        await notifications.close()
        await deliveries.close()
        await own_engine.dispose()

    return Handling(int, notifications.handle, close, deliveries.run)


_HANDLINGS: dict[Stage, Callable[[AsyncEngine, Settings], Handling]] = {
    Stage.PRICING: _pricing,
    Stage.DEBIT: _debiting,
    Stage.THRESHOLDS: _evaluating,
    Stage.TOPUP: _topping_up,
    Stage.NOTIFICATIONS: _notifying,
}


def closing_of_months(engine: AsyncEngine, settings: Settings) -> Sweep:
    """Return the sweep that closes the statements of months that are over."""
    from shared.operations.statement_closing import StatementClosing

    after = timedelta(seconds=settings.statement_close_s)
    return StatementClosing(engine, settings.issuer.seller, settings.signer(), utc_now, after).run_due


def looks_at_stripe(engine: AsyncEngine, settings: Settings) -> Sequence[Sweep]:
    """Return what the clock looks for at Stripe now and then; nothing where payments are off."""
    from shared.gateways.stripe_events import StripeEventList
    from shared.gateways.stripe_payments import configured_payments
    from shared.operations.payments.event_backfill import EventBackfill
    from shared.operations.payments.event_handlers import configured_events
    from shared.operations.payments.mend import menders
    from shared.operations.payments.reconcile import Reconciliation
    from shared.operations.payments.reconciliation_schedule import ReconciliationSchedule, warn
    from shared.operations.payments.settle import settle_policy

    payments = configured_payments(settings)
    if payments is None:
        return ()
    listed = StripeEventList(payments.connection)
    backfill = EventBackfill(engine, listed, configured_events(engine, payments, settings), utc_now)
    mending = menders(engine, payments, utc_now, settle_policy(settings))
    reconciliation = Reconciliation(engine, payments, utc_now, mending, warn)
    return backfill.look, ReconciliationSchedule(engine, reconciliation, utc_now).run_due
