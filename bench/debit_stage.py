"""The debit stage alone: full debit queues, a debit worker or more, until the last record is in the books."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

import dramatiq
import msgspec

from bench.cpu import spent
from bench.end_to_end import WARM_UP, Throughput
from bench.pipeline import Pipeline
from bench.progress import debited, until_debited
from bench.rig import Rig, connected
from bench.traffic import Traffic
from shared.domain.usage import PricedUsage
from shared.messaging.envelope import StageMessage
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage
from shared.settings import Settings
from workers.pricing import Pricing

BATCH = 500
GRACE = timedelta(hours=1)
#: Workers share out the queues among them within this time.
SHARED_OUT_S = 12.0


def debit_stage(
    rig: Rig, database_url: str, traffic: Traffic, records: int, *, workers: int = 1
) -> Throughput:
    """Drain full debit queues with workers that are warm. The database stays, for another round."""
    with Pipeline(rig, database_url, [Stage.DEBIT], copies=workers) as pipeline:
        return asyncio.run(_drain(pipeline, traffic, records, workers))


async def price(database_url: str, events: Sequence[bytes]) -> dict[str, list[PricedUsage]]:
    """Return what pricing makes of events, by debit queue."""
    queues: dict[str, list[PricedUsage]] = defaultdict(list)
    async with connected(database_url) as engine:
        pricing = Pricing(engine, Settings.model_fields["debit_queues"].default)
        for start in range(0, len(events), BATCH):
            for message in await pricing.handle([msgspec.Raw(e) for e in events[start : start + BATCH]]):
                queues[message.queue] += message.batch
    return queues


async def _drain(pipeline: Pipeline, traffic: Traffic, records: int, workers: int) -> Throughput:
    broker = stage_broker(pipeline.broker_url)
    async with connected(pipeline.database_url) as engine:
        there = await debited(engine)
        await _fill(broker, pipeline.database_url, traffic.events(WARM_UP))
        await until_debited(engine, there + WARM_UP)
        if workers > 1:
            await asyncio.sleep(SHARED_OUT_S)
        pipeline.pause(Stage.DEBIT)
        await _fill(broker, pipeline.database_url, traffic.events(records))
        cpu, started = [pipeline.cpu()], monotonic()
        pipeline.resume(Stage.DEBIT)
        finished = await until_debited(
            engine, there + WARM_UP + records, at_rest=lambda: cpu.append(pipeline.cpu())
        )
    broker.flush(str(Stage.THRESHOLDS))
    broker.close()
    return Throughput(records, finished - started, spent(cpu[0], cpu[-1]), 0)


async def _fill(broker: dramatiq.Broker, database_url: str, events: Sequence[bytes]) -> None:
    for queue, priced in (await price(database_url, events)).items():
        broker.declare_queue(queue)
        for start in range(0, len(priced), BATCH):
            broker.enqueue(StageMessage(Stage.DEBIT, queue, priced[start : start + BATCH]).encode())
