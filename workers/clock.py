"""Clock: the one scheduled process. It finds what time, or a process that died, left undone.

Every second: accounts that are due for evaluation, alerts that were not delivered, payments whose next step
is due, cycles that ended; every two seconds how much waits where; every hour the months of usage to come;
every few minutes what Stripe's webhooks did not bring, where Stripe and the books differ, and statements of
months that are over.
Two clocks at once do no harm: what one takes the other does not, or does again without effect.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import monotonic

import dramatiq
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import alerts, books, evaluations, gate, payment_steps
from shared.gateways.stripe_connection import PaymentRefusedError
from shared.messaging.envelope import messages_to
from shared.messaging.failure import is_transient
from shared.messaging.topology import Stage
from shared.operations.accounts import roll_over_account
from shared.operations.periods import keep_periods

log = structlog.get_logger(__name__)

Sweep = Callable[[], Awaitable[None]]

TICK_S = 1.0
_STRIPE_TICK_S = 15.0
_WATCH_S = 2.0
_BATCH = 500
#: A message from the stage that gave the reason is quicker than this; then it is the clock's turn.
_DUE_FOR_S = 1.0
_AGAIN_AFTER_S = 3.0
_UNDELIVERED_FOR = timedelta(seconds=2)
_STEP_AGAIN_AFTER = timedelta(seconds=30)
_PERIODS_EVERY = timedelta(hours=1)
_PERIODS_AGAIN_AFTER = timedelta(minutes=1)


class Clock:
    """The sweeps, each a unit of work of its own."""

    def __init__(
        self,
        engine: AsyncEngine,
        broker: dramatiq.Broker,
        now: Callable[[], datetime],
        grace: timedelta,
        looks_at_stripe: Sequence[Sweep] = (),
        closings: Sequence[Sweep] = (),
        watch: Sweep | None = None,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._now = now
        self._grace = grace
        self._looks_at_stripe = looks_at_stripe
        self._closings = closings
        self._watches = (watch,) if watch else ()
        self._periods_due: datetime | None = None
        #: When all sweeps of a second were last done with, on the monotonic clock.
        self.swept_at = monotonic()
        # dramatiq's connections belong to a thread, so one thread does all the publishing.
        self._publisher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publisher")

    def close(self) -> None:
        """Wait for a publish that is under way; the broker may be closed after that."""
        self._publisher.shutdown(wait=True, cancel_futures=True)

    async def run(self) -> None:
        """Sweep every second until cancelled; a sweep that fails is tried again at the next tick.

        What asks Stripe, closes a month, or looks at the queues goes on beside the others: they do not wait
        for it.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_repeat(self._sweeps(), TICK_S))
            for look in self._looks_at_stripe:
                tasks.create_task(_repeat((look,), _STRIPE_TICK_S))
            tasks.create_task(_repeat(self._closings, TICK_S))
            tasks.create_task(_repeat(self._watches, _WATCH_S))

    def _sweeps(self) -> Sequence[Sweep]:
        return (
            self.roll_cycles,
            self.evaluate_due,
            self.deliver_alerts,
            self.advance_payments,
            self.make_periods,
            self.forget_holds,
            self._end_round,
        )

    async def _end_round(self) -> None:
        self.swept_at = monotonic()

    async def evaluate_due(self) -> None:
        """Send accounts to thresholds that are due and were not evaluated."""
        async with self._engine.begin() as connection:
            due = await evaluations.overdue(
                connection, older_than_s=_DUE_FOR_S, again_after_s=_AGAIN_AFTER_S, limit=_BATCH
            )
        await self._send(Stage.THRESHOLDS, due)

    async def deliver_alerts(self) -> None:
        """Send alerts to notifications that a process died with."""
        async with self._engine.connect() as connection:
            overdue = await alerts.overdue_alerts(connection, self._now() - _UNDELIVERED_FOR, _BATCH)
        await self._send(Stage.NOTIFICATIONS, overdue)

    async def advance_payments(self) -> None:
        """Send on what has a step due at Stripe: a retry, an expiry, or one that a process died with."""
        async with self._engine.begin() as connection:
            due = await payment_steps.take_due_steps(connection, again_after=_STEP_AGAIN_AFTER, limit=_BATCH)
        await self._send(Stage.TOPUP, due)

    async def roll_cycles(self) -> None:
        """Open the next cycle of accounts whose last one ended."""
        async with self._engine.connect() as connection:
            ended = await books.accounts_to_roll(connection, self._now(), _BATCH)
        for account_id in ended:
            await roll_over_account(self._engine, account_id, self._grace)

    async def forget_holds(self) -> None:
        """Delete holds of the database whose time is over; they count for nothing any more."""
        async with self._engine.begin() as connection:
            await gate.delete_expired(connection, self._now())

    async def make_periods(self) -> None:
        """Make the months that usage will need soon: at the start, then every hour."""
        now = self._now()
        if self._periods_due and now < self._periods_due:
            return
        # Whoever reads the whole table for long, as an audit does, keeps a month from being made meanwhile.
        self._periods_due = now + _PERIODS_AGAIN_AFTER
        if made := await keep_periods(self._engine, now):
            log.info("made months of usage", months=[str(period) for period in made])
        self._periods_due = now + _PERIODS_EVERY

    async def _send(self, stage: Stage, elements: Sequence[object]) -> None:
        loop = asyncio.get_running_loop()
        for message in messages_to(stage, elements):
            await loop.run_in_executor(self._publisher, self._broker.enqueue, message.encode())


async def _repeat(sweeps: Sequence[Sweep], pause_s: float) -> None:
    """Sweep for ever. What Stripe refuses is a setting to put right, and no reason to stop the rest."""
    while sweeps:
        for sweep in sweeps:
            try:
                await sweep()
            except PaymentRefusedError:
                log.exception("stripe refuses")
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("sweep interrupted", error=repr(error))
        await asyncio.sleep(pause_s)
