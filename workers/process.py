"""One worker process: ``payg worker STAGE``. It runs until SIGTERM or SIGINT and finishes what it holds."""

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import dramatiq
import msgspec
import structlog
import uvloop
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import processes
from shared.db.engine import create_engine
from shared.domain.usage import PricedUsage
from shared.gateways.stripe_events import StripeEventList
from shared.gateways.stripe_payments import configured_payments
from shared.messaging.envelope import StageMessage
from shared.messaging.lane import MERGED_MESSAGES
from shared.messaging.stage_broker import stage_broker
from shared.messaging.stage_runner import StageRunner, Stopping
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.transport import open_transport
from shared.operations.delivery.delivery_channels import configured_deliveries
from shared.operations.holds import configured_holds
from shared.operations.payments.event_backfill import EventBackfill
from shared.operations.payments.event_handlers import configured_events
from shared.operations.payments.mend import menders
from shared.operations.payments.reconcile import Reconciliation
from shared.operations.payments.reconciliation_schedule import ReconciliationSchedule, warn
from shared.operations.payments.settle import settle_policy
from shared.operations.statement_closing import StatementClosing
from shared.settings import Settings
from workers.clock import Clock
from workers.debit import Debiting
from workers.intake import Intake
from workers.notifications import Notifications
from workers.pricing import Pricing
from workers.thresholds import Thresholds
from workers.topup import TopUps

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 0.25
_REPORTS_BETWEEN_LOOKS = 20
PROCESS_ID = f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Handling:
    """What a stage does with a batch: the type of its elements, the handler, and what to close at the end.

    ``beside`` goes on beside the stage, until it is cancelled.
    """

    element: type[Any]
    handle: Callable[[list[Any]], Awaitable[Sequence[StageMessage]]]
    close: Callable[[], Awaitable[None]] | None = None
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None


def run_stage(stage: Stage, settings: Settings) -> None:
    """Run one stage until the process is told to stop."""
    log.info("worker starts", stage=str(stage), process=PROCESS_ID)
    uvloop.install()
    if stage is Stage.INTAKE:
        asyncio.run(_run_intake(settings))
    else:
        _run_actor(stage, settings)
    log.info("worker stopped", stage=str(stage), process=PROCESS_ID)


def run_clock(settings: Settings) -> None:
    """Run the clock until the process is told to stop."""
    log.info("clock starts", process=PROCESS_ID)
    asyncio.run(_run_clock(settings))
    log.info("clock stopped", process=PROCESS_ID)


def handling(stage: Stage, engine: AsyncEngine, settings: Settings) -> Handling:
    """Return what a stage does with a batch."""
    grace = settings.late_record_grace
    if stage is Stage.PRICING:
        holds = configured_holds(engine, settings)
        return Handling(msgspec.Raw, Pricing(engine, settings.debit_queues, holds).handle, holds.close)
    if stage is Stage.DEBIT:
        holds = configured_holds(engine, settings)
        return Handling(PricedUsage, Debiting(engine, grace, utc_now, holds).handle, holds.close)
    if stage is Stage.THRESHOLDS:
        holds, cooldown = configured_holds(engine, settings), timedelta(seconds=settings.topup_cooldown_s)
        return Handling(int, Thresholds(engine, utc_now, cooldown, holds).handle, holds.close)
    if stage is Stage.NOTIFICATIONS:
        return _notifying(engine, settings)
    payments = configured_payments(settings)
    if payments and not settings.seller_name:
        log.warning("invoices name no seller: PAYG_SELLER_NAME is not set")
    topups = TopUps(engine, payments, utc_now, settle_policy(settings), settings.issuer)
    return Handling(str, topups.handle)


def _notifying(engine: AsyncEngine, settings: Settings) -> Handling:
    # Connections of its own: what is sent to receivers never waits for the stage, nor the stage for it.
    own_engine = create_engine(settings.database_url, application="payg deliveries")
    deliveries = configured_deliveries(own_engine, settings)
    notifications = Notifications(engine, partial(open_transport, settings.broker_url), deliveries)

    async def close() -> None:
        await notifications.close()
        await deliveries.close()
        await own_engine.dispose()

    return Handling(int, notifications.handle, close, deliveries.run)


class Reports:
    """Tells the database several times a second what this process holds."""

    def __init__(
        self, engine: AsyncEngine, stage: Stage, queues: list[str], counts: Callable[[], tuple[int, int]]
    ) -> None:
        self._engine = engine
        self._stage = str(stage)
        self._queues = queues
        self._counts = counts

    async def write_until_cancelled(self, on_peers: Callable[[int], object] = lambda _peers: None) -> None:
        """Report for ever, and tell ``on_peers`` now and then how many processes share the stage."""
        try:
            for number in count():
                # A database that is away for a while is no reason to stop: reports then are merely old.
                with suppress(Exception):
                    await self._write()
                    if number % _REPORTS_BETWEEN_LOOKS == _REPORTS_BETWEEN_LOOKS - 1:
                        on_peers(await self._peers())
                await asyncio.sleep(REPORT_EVERY_S)
        finally:
            with suppress(Exception):
                async with self._engine.begin() as connection:
                    await processes.sign_off(connection, PROCESS_ID)

    async def _write(self) -> None:
        in_flight, received = self._counts()
        values = {
            "process_id": PROCESS_ID,
            "stage": self._stage,
            "queues": self._queues,
            "in_flight": in_flight,
            "received": received,
        }
        async with self._engine.begin() as connection:
            await processes.report(connection, values)

    async def _peers(self) -> int:
        async with self._engine.connect() as connection:
            return max(1, await processes.count_fresh(connection, self._stage))


async def _run_intake(settings: Settings) -> None:
    engine = create_engine(settings.database_url, application="payg intake")
    broker = stage_broker(settings.broker_url)
    holds = configured_holds(engine, settings)
    intake = Intake(broker, engine, settings, holds)
    queues = stage_queues(Stage.INTAKE, settings.debit_queues)
    reports = asyncio.create_task(
        Reports(engine, Stage.INTAKE, queues, intake.counts).write_until_cancelled()
    )
    await _until_told(intake.run(partial(open_transport, settings.broker_url)))
    reports.cancel()
    await asyncio.gather(reports, return_exceptions=True)
    await holds.close()
    await engine.dispose()
    intake.close()
    broker.close()


async def _run_clock(settings: Settings) -> None:
    engine = create_engine(settings.database_url, application="payg clock")
    broker = stage_broker(settings.broker_url)
    closing_after = timedelta(seconds=settings.statement_close_s)
    closing = StatementClosing(engine, settings.issuer.seller, settings.signer(), utc_now, closing_after)
    looks = _looks_at_stripe(engine, settings)
    clock = Clock(engine, broker, utc_now, settings.late_record_grace, looks, (closing.run_due,))
    await _until_told(clock.run())
    await engine.dispose()
    clock.close()
    broker.close()


def _looks_at_stripe(engine: AsyncEngine, settings: Settings) -> Sequence[Callable[[], Awaitable[None]]]:
    """Return what the clock looks for at Stripe now and then; nothing where payments are off."""
    payments = configured_payments(settings)
    if payments is None:
        return ()
    listed = StripeEventList(payments.connection)
    backfill = EventBackfill(engine, listed, configured_events(engine, payments, settings), utc_now)
    mending = menders(engine, payments, utc_now, settle_policy(settings))
    reconciliation = Reconciliation(engine, payments, utc_now, mending, warn)
    return backfill.look, ReconciliationSchedule(engine, reconciliation, utc_now).run_due


def _collect_seldom() -> None:
    """Let the garbage collector pass over what lives as long as the process, and over a batch under way."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it fails, or SIGTERM or SIGINT comes."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _run_actor(stage: Stage, settings: Settings) -> None:
    stopping = Stopping()
    engine = create_engine(settings.database_url, application=f"payg {stage}")
    queues = stage_queues(stage, settings.debit_queues)
    handled = handling(stage, engine, settings)
    broker = stage_broker(settings.broker_url, stopping, _OnTheLoop(engine, stage, queues, handled))
    StageRunner(stage, broker, stopping, handled.element, handled.handle).register(queues)
    worker = dramatiq.Worker(broker, queues=set(queues), worker_threads=MERGED_MESSAGES * len(queues))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    _collect_seldom()
    stop.wait()
    worker.stop(timeout=settings.shutdown_s * 1000)
    broker.close()


class _OnTheLoop(Middleware):
    """What lives on the worker's event loop beside the stage, the reports first; and what is closed there."""

    def __init__(self, engine: AsyncEngine, stage: Stage, queues: list[str], handled: Handling) -> None:
        self._engine = engine
        self._stage = stage
        self._queues = queues
        self._handled = handled
        self._tasks: list[asyncio.Task[None]] = []

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        asyncio.run_coroutine_threadsafe(self._start(broker), _event_loop()).result()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        asyncio.run_coroutine_threadsafe(self._stop(), _event_loop()).result(timeout=10)

    async def _start(self, broker: dramatiq.Broker) -> None:
        reports = Reports(self._engine, self._stage, self._queues, partial(_counts, broker))
        share = partial(_share_queues, broker, len(self._queues))
        self._tasks.append(asyncio.create_task(reports.write_until_cancelled(share)))
        if self._handled.beside is not None:
            self._tasks.append(asyncio.create_task(self._handled.beside()))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            if self._handled.close is not None:
                await self._handled.close()
        await self._engine.dispose()


def _counts(broker: dramatiq.Broker) -> tuple[int, int]:
    return broker.in_flight, broker.received  # type: ignore[attr-defined]


def _share_queues(broker: dramatiq.Broker, queues: int, processes_of_stage: int) -> None:
    """Let other processes of the stage have their share, where a queue has one consumer at a time."""
    if queues > 1:
        given = broker.hand_over(-(-queues // processes_of_stage))  # type: ignore[attr-defined]
        if given:
            log.info("handing queues over", queues=given, processes=processes_of_stage)


def _event_loop() -> asyncio.AbstractEventLoop:
    thread = get_event_loop_thread()
    if thread is None:
        raise RuntimeError("the worker's event loop is not running")
    return thread.loop
