"""Measure the plain actor: fill its queue, let it go, and wait until the last record is in its ledger."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import IO

import asyncpg
import dramatiq

from bench.plain_actor import QUEUE, TABLES, plain_broker
from bench.rig import Rig

_ACCOUNTS = (
    "INSERT INTO accounts SELECT 'acct_' || n, 0 FROM generate_series(0, CAST($1 AS integer) - 1) AS n"
)
_SIZE = "SELECT pg_relation_size('ledger')"
_COUNT = "SELECT count(*) FROM ledger"
_POLL_S = 0.02
_TIMEOUT_S = 300.0


def plain(rig: Rig, *, accounts: int, records: int) -> float:
    """Return how many records a second the plain actor debits from a full queue."""
    url = rig.postgres.create_database(f"plain_{accounts}")
    _fill(rig.rabbitmq.url, accounts, records)
    with _worker(rig, url) as orders:
        seconds = asyncio.run(_measure(url, accounts, records, orders))
    rig.drop(url)
    return records / seconds


def _fill(broker_url: str, accounts: int, records: int) -> None:
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(dramatiq.JSONEncoder())
    broker = plain_broker(broker_url)
    choose = random.Random(1)
    actor = broker.get_actor(QUEUE)
    for number in range(records):
        actor.send(f"acct_{choose.randrange(accounts)}", f"req_{number:010d}", "gpt-4o", 374, 1_375_000)
    broker.close()
    dramatiq.set_encoder(before)


@contextmanager
def _worker(rig: Rig, database_url: str) -> Iterator[IO[str]]:
    """Run the actor's process; what is written to it is an order: to begin, to end."""
    env = os.environ | {"PLAIN_DATABASE_URL": database_url, "PLAIN_BROKER_URL": rig.rabbitmq.url}
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.plain_actor"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process has no pipes")
    try:
        process.stdout.readline()
        yield process.stdin
        process.stdin.write("end\n")
        process.stdin.flush()
        process.wait(30)
    finally:
        process.kill()


async def _measure(url: str, accounts: int, records: int, orders: IO[str]) -> float:
    connection = await asyncpg.connect(url)
    await connection.execute(TABLES)
    await connection.execute(_ACCOUNTS, accounts)
    orders.write("begin\n")
    orders.flush()
    started, before = monotonic(), -1
    while True:
        size = await connection.fetchval(_SIZE)
        if size == before and await connection.fetchval(_COUNT) >= records:
            break
        if monotonic() - started > _TIMEOUT_S:
            raise TimeoutError(f"the plain actor did not finish within {_TIMEOUT_S:.0f} s")
        before = size
        await asyncio.sleep(_POLL_S)
    seconds = monotonic() - started
    await connection.close()
    return seconds
