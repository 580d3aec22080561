"""A process of debit tasks: ``debit_racer.py URL``, the batches of each task as JSON on standard input."""

import asyncio
import json
import sys
from datetime import timedelta

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.events import reread_event
from shared.domain.usage import PricedUsage
from workers.debit import Debiting


async def _debit(url: str, batches: list[list[list[object]]]) -> None:
    engine = create_engine(url, pool_size=1)
    debiting = Debiting(engine, timedelta(hours=1), utc_now)
    for batch in batches:
        await debiting.handle([_record(*fields) for fields in batch])
    await engine.dispose()


def _record(account_id: str, rate_id: int, list_nanos: int, event: str) -> PricedUsage:
    raw = event.encode()
    return PricedUsage.of(reread_event(raw), raw, account_id, rate_id, list_nanos)


async def _run(url: str, tasks: list[list[list[list[object]]]]) -> None:
    await asyncio.gather(*(_debit(url, batches) for batches in tasks))


if __name__ == "__main__":
    print("ready", flush=True)  # noqa: T201 - whoever started us waits for all to be there
    asyncio.run(_run(sys.argv[1], json.load(sys.stdin)))
