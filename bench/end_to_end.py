"""End to end: from a full intake queue or the publisher until the last record is debited and evaluated."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.cpu import spent
from bench.pipeline import Pipeline, prefill
from bench.progress import until_debited
from bench.rig import Rig, connected
from bench.traffic import Traffic, bodies
from shared.messaging.publisher import Publisher
from shared.messaging.topology import Stage
from shared.operations.audit import audit

WARM_UP = 5_000
_PUBLISHED_AT_ONCE = 4_000
_WAL_BYTES = text("SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)")


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a run measured. ``cpu_s`` is by process, the servers among them; ``wal_bytes`` of PostgreSQL."""

    records: int
    seconds: float
    cpu_s: dict[str, float]
    wal_bytes: int

    @property
    def records_per_s(self) -> float:
        return self.records / self.seconds


class UnprovenError(Exception):
    """The books do not add up after a run: its figure is worth nothing."""


def end_to_end(rig: Rig, *, accounts: int, records: int, per_message: int) -> Throughput:
    """Drain a full intake queue, the workers being warm. Raises UnprovenError, TimeoutError."""
    traffic = Traffic(accounts)
    with Pipeline(rig, rig.database(accounts)) as pipeline:
        measured = asyncio.run(
            _drain(pipeline, traffic, bodies(traffic.events(records), per_message), records)
        )
    return _dropping(rig, pipeline, measured)


def published(rig: Rig, *, accounts: int, records: int) -> Throughput:
    """Publish events one by one through the Python publisher, from one process, and wait for the last."""
    traffic = Traffic(accounts)
    with Pipeline(rig, rig.database(accounts)) as pipeline:
        measured = asyncio.run(_publish(pipeline, traffic, records))
    return _dropping(rig, pipeline, measured)


def _dropping(rig: Rig, pipeline: Pipeline, measured: Throughput) -> Throughput:
    rig.drop(pipeline.database_url)
    return measured


async def warm_up(pipeline: Pipeline, engine: AsyncEngine, traffic: Traffic, records: int = WARM_UP) -> None:
    """Send records in messages of several sizes through all stages."""
    events = traffic.events(records)
    sizes = bodies(events[: records // 50], 1) + bodies(events[records // 50 :], 250)
    await prefill(pipeline.broker_url, sizes)
    await until_debited(engine, records, evaluated=True)


async def _drain(pipeline: Pipeline, traffic: Traffic, messages: Sequence[bytes], records: int) -> Throughput:
    async with connected(pipeline.database_url) as engine:
        await warm_up(pipeline, engine, traffic)
        pipeline.pause(Stage.INTAKE)
        await prefill(pipeline.broker_url, messages)
        return await _timed(pipeline, engine, records, begin=lambda: pipeline.resume(Stage.INTAKE))


async def _publish(pipeline: Pipeline, traffic: Traffic, records: int) -> Throughput:
    events = [msgspec.Raw(event) for event in traffic.events(records)]
    async with connected(pipeline.database_url) as engine, Publisher(pipeline.broker_url) as publisher:
        await warm_up(pipeline, engine, traffic)

        async def publish() -> None:
            for start in range(0, records, _PUBLISHED_AT_ONCE):
                part = events[start : start + _PUBLISHED_AT_ONCE]
                await asyncio.gather(*(publisher.publish(event) for event in part))

        started: list[asyncio.Task[None]] = []
        measured = await _timed(
            pipeline, engine, records, begin=lambda: started.append(asyncio.create_task(publish()))
        )
        await started[0]
        return measured


async def _timed(
    pipeline: Pipeline, engine: AsyncEngine, records: int, *, begin: Callable[[], object]
) -> Throughput:
    wal, cpu, started = await _wal_bytes(engine), [pipeline.cpu()], monotonic()
    begin()
    finished = await until_debited(
        engine, WARM_UP + records, evaluated=True, at_rest=lambda: cpu.append(pipeline.cpu())
    )
    written = await _wal_bytes(engine) - wal
    report = await audit(engine)
    if not report.ok or report.usage_records != WARM_UP + records:
        raise UnprovenError(str(report.fault) if report.fault else f"{report.usage_records} records")
    return Throughput(records, finished - started, spent(cpu[0], cpu[-1]), written)


async def _wal_bytes(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(_WAL_BYTES)).scalar_one())
