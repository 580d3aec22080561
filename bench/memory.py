"""Memory of every worker under a steady load: it must not grow with what went through."""

import asyncio
from dataclasses import dataclass
from statistics import median

from bench.cpu import resident_bytes
from bench.end_to_end import warm_up
from bench.latency import send
from bench.pipeline import Pipeline
from bench.rig import Rig, connected
from bench.traffic import Traffic
from shared.messaging.publisher import Publisher

_SAMPLE_S = 2.0
#: The first part of a run still fills caches and pools.
_WARM_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of one process: median of the first half of a run after its warm-up, and of the second."""

    process: str
    first_mb: float
    second_mb: float


def memory(rig: Rig, *, accounts: int, records_per_s: float, seconds: float) -> list[Memory]:
    """Watch the workers while records come evenly."""
    with Pipeline(rig, rig.database(accounts)) as pipeline:
        samples = asyncio.run(_watch(pipeline, accounts, records_per_s, seconds))
    rig.drop(pipeline.database_url)
    return [_halves(process, sizes) for process, sizes in samples.items()]


async def _watch(
    pipeline: Pipeline, accounts: int, records_per_s: float, seconds: float
) -> dict[str, list[int]]:
    traffic = Traffic(accounts)
    samples: dict[str, list[int]] = {name: [] for name in pipeline.pids()}
    async with connected(pipeline.database_url) as engine, Publisher(pipeline.broker_url) as publisher:
        await warm_up(pipeline, engine, traffic)
        sending = asyncio.create_task(send(publisher, traffic, records_per_s, seconds))
        while not sending.done():
            for name, pid in pipeline.pids().items():
                samples[name].append(resident_bytes(pid))
            await asyncio.wait([sending], timeout=_SAMPLE_S)
        await sending
    return samples


def _halves(process: str, sizes: list[int]) -> Memory:
    warm = sizes[int(len(sizes) * _WARM_SHARE) :]
    middle = len(warm) // 2
    return Memory(process, median(warm[:middle]) / 1e6, median(warm[middle:]) / 1e6)
