"""One worker process: ``payg worker STAGE``. It runs until SIGTERM or SIGINT and finishes what it holds."""

import asyncio
import gc
import signal
import threading
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import dramatiq
import structlog
import uvloop
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import Middleware
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import processes
from shared.db.engine import create_engine
from shared.liveness import Liveness
from shared.messaging.connect import broker_reachable, open_transport
from shared.messaging.lane import MERGED_MESSAGES
from shared.messaging.stage_broker import stage_broker
from shared.messaging.stage_runner import StageRunner, Stopping
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.waits import Waits
from shared.metrics import COUNTED, serve_metrics
from shared.operations.holds import configured_holds
from shared.settings import Settings
from shared.tracing import trace_to
from workers.reports import PROCESS_ID, Reports
from workers.stages import Handling, closing_of_months, handling, looks_at_stripe

log = structlog.get_logger(__name__)


def run_stage(stage: Stage, settings: Settings) -> None:
    """Run one stage until the process is told to stop."""
    log.info("worker starts", stage=str(stage), process=PROCESS_ID)
    _show_metrics(settings)
    if settings.traces_url:
        trace_to(settings.traces_url, f"payg-{stage}")
    uvloop.install()
    if stage is Stage.INTAKE:
        asyncio.run(_run_intake(settings))
    else:
        _run_actor(stage, settings)
    log.info("worker stopped", stage=str(stage), process=PROCESS_ID)


def run_clock(settings: Settings) -> None:
    """Run the clock until the process is told to stop."""
    log.info("clock starts", process=PROCESS_ID)
    _show_metrics(settings)
    asyncio.run(_run_clock(settings))
    log.info("clock stopped", process=PROCESS_ID)


def _show_metrics(settings: Settings) -> None:
    if settings.metrics_port:
        port = serve_metrics(settings.metrics_host, settings.metrics_port)
        log.info("metrics are served", process=PROCESS_ID, host=settings.metrics_host, port=port)


async def _run_intake(settings: Settings) -> None:
    from workers.intake import Intake  # noqa: PLC0415 - no other process needs it

    engine = create_engine(settings.database_url, application="payg intake")
    broker = stage_broker(settings.broker_url)
    holds = configured_holds(engine, settings)
    intake = Intake(broker, engine, settings, holds)
    queues = stage_queues(Stage.INTAKE, settings.debit_queues)
    liveness = Liveness(settings.stuck_s)
    liveness.check_busy(lambda: intake.busy_since)
    liveness.check_quiet(lambda: intake.away_since, "usage is not consumed", partial(_broker_away, settings))
    liveness.touch(settings.alive_file)
    reports = asyncio.create_task(
        Reports(engine, Stage.INTAKE, queues, intake.counts).write_until_cancelled()
    )
    async with liveness.beating():
        await _until_told(intake.run(partial(open_transport, settings.broker_url)))
    reports.cancel()
    await asyncio.gather(reports, return_exceptions=True)
    await holds.close()
    await engine.dispose()
    intake.close()
    broker.close()


async def _run_clock(settings: Settings) -> None:
    from shared.operations.watch import Watch  # noqa: PLC0415 - no other process needs them
    from workers.clock import Clock  # noqa: PLC0415

    engine = create_engine(settings.database_url, application="payg clock")
    broker = stage_broker(settings.broker_url)
    looks, closing = looks_at_stripe(engine, settings), closing_of_months(engine, settings)
    watch = Watch(engine, partial(open_transport, settings.broker_url), settings.debit_queues, utc_now)
    COUNTED.register(watch.gauges)
    clock = Clock(engine, broker, utc_now, settings.late_record_grace, looks, (closing,), watch.look)
    liveness = Liveness(settings.stuck_s)
    liveness.check_busy(lambda: clock.swept_at)
    liveness.touch(settings.alive_file)
    async with liveness.beating():
        await _until_told(clock.run())
    await watch.close()
    await engine.dispose()
    clock.close()
    broker.close()


def _broker_away(settings: Settings) -> bool:
    return not broker_reachable(settings.broker_url)


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
    waits, liveness = Waits(), Liveness(settings.stuck_s)
    on_the_loop = _OnTheLoop(engine, stage, queues, handled, waits, liveness)
    broker = stage_broker(settings.broker_url, stopping, waits, on_the_loop)
    handle = liveness.watched(handled.handle)
    StageRunner(stage, broker, stopping, handled.element, handle).register(queues)
    worker = dramatiq.Worker(broker, queues=set(queues), worker_threads=MERGED_MESSAGES * len(queues))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    worker.start()
    liveness.check_consumed(broker.pulled_at, queues, settings.broker_url)  # type: ignore[attr-defined]
    liveness.touch(settings.alive_file)
    _collect_seldom()
    stop.wait()
    worker.stop(timeout=settings.shutdown_s * 1000)
    broker.close()


class _OnTheLoop(Middleware):
    """What lives on the worker's event loop beside the stage, the reports first; and what is closed there."""

    def __init__(
        self,
        engine: AsyncEngine,
        stage: Stage,
        queues: list[str],
        handled: Handling,
        waits: Waits,
        liveness: Liveness,
    ) -> None:
        self._engine = engine
        self._stage = stage
        self._queues = queues
        self._handled = handled
        self._waits = waits
        self._liveness = liveness
        self._tasks: list[asyncio.Task[None]] = []

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        asyncio.run_coroutine_threadsafe(self._start(broker), _event_loop()).result()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:  # noqa: ARG002
        asyncio.run_coroutine_threadsafe(self._stop(), _event_loop()).result(timeout=10)

    async def _start(self, broker: dramatiq.Broker) -> None:
        reports = Reports(self._engine, self._stage, self._queues, partial(_counts, broker, self._waits))
        share = partial(_share_queues, broker, len(self._queues))
        self._tasks.append(asyncio.create_task(reports.write_until_cancelled(share)))
        self._tasks.append(asyncio.create_task(self._liveness.beat()))
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


def _counts(broker: dramatiq.Broker, waits: Waits) -> processes.Counts:
    return processes.Counts(broker.in_flight, broker.received, waits.taken_until)  # type: ignore[attr-defined]


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
