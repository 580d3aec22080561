"""One worker process: ``payg worker STAGE``. It runs until SIGTERM or SIGINT and finishes what it holds."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import dramatiq
import msgspec
import structlog
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import processes
from shared.db.engine import create_engine
from shared.messaging.envelope import PricedEvent
from shared.messaging.stage_broker import stage_broker
from shared.messaging.stage_runner import StageRunner, Stopping
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.transport import open_transport
from shared.settings import Settings
from workers.debit import Debiting
from workers.intake import Intake
from workers.pricing import Pricing

log = structlog.get_logger(__name__)

THREADS = 2
REPORT_EVERY_S = 0.25
PROCESS_ID = f"{socket.gethostname()}-{os.getpid()}"

#: The stages that run today; the others have their place in the topology.
STAGES = (Stage.INTAKE, Stage.PRICING, Stage.DEBIT)


def run_stage(stage: Stage, settings: Settings) -> None:
    """Run one stage until the process is told to stop."""
    log.info("worker starts", stage=str(stage), process=PROCESS_ID)
    if stage is Stage.INTAKE:
        asyncio.run(_run_intake(settings))
    else:
        _run_actor(stage, settings)
    log.info("worker stopped", stage=str(stage), process=PROCESS_ID)


async def report_until_cancelled(
    engine: AsyncEngine, stage: Stage, queues: list[str], counts: Callable[[], tuple[int, int]]
) -> None:
    """Write several times a second what this process holds; ``counts`` gives (in flight, received)."""
    try:
        while True:
            in_flight, received = counts()
            # A database that is away for a while is no reason to stop: reports then are merely old.
            with suppress(Exception):
                async with engine.begin() as connection:
                    await processes.report(
                        connection,
                        {
                            "process_id": PROCESS_ID,
                            "stage": str(stage),
                            "queues": queues,
                            "in_flight": in_flight,
                            "received": received,
                        },
                    )
            await asyncio.sleep(REPORT_EVERY_S)
    finally:
        with suppress(Exception):
            async with engine.begin() as connection:
                await processes.sign_off(connection, PROCESS_ID)


async def _run_intake(settings: Settings) -> None:
    engine = create_engine(settings.database_url, application="payg intake")
    broker = stage_broker(settings.broker_url)
    intake = Intake(broker, engine, settings)
    queues = stage_queues(Stage.INTAKE, settings.debit_queues)
    consume = asyncio.create_task(intake.run(partial(open_transport, settings.broker_url)))
    reports = asyncio.create_task(report_until_cancelled(engine, Stage.INTAKE, queues, intake.counts))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, consume.cancel)
    try:
        await consume
    except asyncio.CancelledError:
        pass
    finally:
        reports.cancel()
        await asyncio.gather(reports, return_exceptions=True)
        await engine.dispose()
        broker.close()


def _run_actor(stage: Stage, settings: Settings) -> None:
    stopping = Stopping()
    engine = create_engine(settings.database_url, application=f"payg {stage}")
    queues = stage_queues(stage, settings.debit_queues)
    broker = stage_broker(settings.broker_url, stopping, _Resources(engine, stage, queues))
    if stage is Stage.PRICING:
        pricing = Pricing(engine, settings.debit_queues)
        StageRunner(stage, broker, stopping, msgspec.Raw, pricing.handle).register(queues)
    else:
        debiting = Debiting(engine, settings.late_record_grace, utc_now)
        StageRunner(stage, broker, stopping, PricedEvent, debiting.handle).register(queues)
    worker = dramatiq.Worker(broker, queues=set(queues), worker_threads=THREADS)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    stop.wait()
    worker.stop(timeout=settings.shutdown_s * 1000)
    broker.close()


class _Resources(Middleware):
    """What lives on the worker's event loop: the reports, and the connections to the database."""

    def __init__(self, engine: AsyncEngine, stage: Stage, queues: list[str]) -> None:
        self._engine = engine
        self._stage = stage
        self._queues = queues

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        counts = partial(_counts, broker)
        reports = report_until_cancelled(self._engine, self._stage, self._queues, counts)
        loop = _event_loop()
        self._reports = asyncio.run_coroutine_threadsafe(reports, loop)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        self._reports.cancel()
        asyncio.run_coroutine_threadsafe(self._engine.dispose(), _event_loop()).result(timeout=5)


def _counts(broker: dramatiq.Broker) -> tuple[int, int]:
    return broker.in_flight, broker.received  # type: ignore[attr-defined]


def _event_loop() -> asyncio.AbstractEventLoop:
    thread = get_event_loop_thread()
    if thread is None:
        raise RuntimeError("the worker's event loop is not running")
    return thread.loop
