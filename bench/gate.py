"""The gate beside its baselines: the script in Redis, and the route of the HTTP tier, in the same rounds."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from time import monotonic, perf_counter, sleep

import msgspec
from sqlalchemy import text

from bench.gate_load import CLIENTS, Load
from bench.gate_server import BASELINE, READ_AND_WRITE
from bench.percentiles import Figure
from bench.plan import Plan
from bench.rig import Rig, connected
from sandbox.servers.network import free_port, listening
from shared.clock import utc_now
from shared.domain.allocation import Payer
from shared.domain.gate import MAX_HELD_NANOS, Placed, Standing, StoredHold
from shared.gateways.redis_gate import RedisGate, connect
from shared.ids import new_id

IN_REDIS, READ_WRITE = "the gate's script", "EVALSHA of one HGET and one HSET"
OVER_HTTP, ROUND_TRIP = "POST /v1/authorize", "POST with one round trip to Redis"
_PATHS = {OVER_HTTP: "/v1/authorize", ROUND_TRIP: BASELINE}
ACCOUNTS = 200
#: So many requests of an account are under way when it is asked about one more.
LIVE_HOLDS = 100
_LIFE = timedelta(minutes=10)
_START_TIMEOUT_S = 30.0
#: What takes so long is slow, and is measured.
_PATIENCE_S = 30.0
_HALF = 0.5
_TURNS = 10
_GIVE_MONEY = text("UPDATE accounts SET balance_nanos = :nanos")

Say = Callable[[str], None]
Ask = Callable[[int], Awaitable[object]]


class RefusedError(Exception):
    """A request was refused: what was measured is not the gate that holds."""


def gate(rig: Rig, plan: Plan, say: Say) -> tuple[dict[str, Figure], dict[str, dict[str, float]]]:
    """Return calls a second by case over all rounds, and milliseconds at half of each route's rate."""
    rates: dict[str, list[float]] = defaultdict(list)
    milliseconds = {}
    with _serving(rig) as port:
        for number in range(plan.rounds):
            for name, rate in {
                **asyncio.run(_in_redis(rig, plan.gate_s)),
                **_over_http(port, plan.gate_s),
            }.items():
                rates[name].append(rate)
                say(f"round {number + 1} of {plan.rounds}: {name}: {rate:,.0f} calls/s")
        for name, path in _PATHS.items():
            half = Figure(tuple(rates[name])).median * _HALF
            (load,) = _loads(port, plan.gate_s, half, [path])
            milliseconds[name] = {"p50": load.p50_ms, "p99": load.p99_ms}
            say(f"half load: {name}: p50 {load.p50_ms:.2f} ms, p99 {load.p99_ms:.2f} ms")
    return {name: Figure(tuple(values)) for name, values in rates.items()}, milliseconds


async def _in_redis(rig: Rig, seconds: float) -> dict[str, float]:
    """Measure both scripts on as many accounts, each with as many fields in its hash."""
    client, holds = connect(rig.redis.url, _PATIENCE_S), RedisGate(rig.redis.url, _PATIENCE_S)
    numbers = [f"bench_{number}" for number in range(ACCOUNTS)]
    for number in numbers:
        await _fill(holds, number)
        await client.hset(f"bench:{number}", mapping={f"hold_{n}": "" for n in range(LIVE_HOLDS)})
    script = client.register_script(READ_AND_WRITE)

    async def authorize(number: int) -> None:
        account = numbers[number % ACCOUNTS]
        answer = await holds.authorize(account, f"{new_id('hold')}.{account}", 1, _LIFE, None)
        if not isinstance(answer, Placed):
            raise RefusedError(str(answer))

    async def read_and_write(number: int) -> None:
        account = numbers[number % ACCOUNTS]
        await script(keys=[f"bench:{account}"], args=[f"{new_id('hold')}.{account}", "1:1:1:0:"])

    rates = await _rates({IN_REDIS: authorize, READ_WRITE: read_and_write}, seconds)
    await holds.close()
    await client.flushdb()
    await client.aclose()
    return rates


async def _fill(gate_in_redis: RedisGate, account: str) -> None:
    """Load an account that can pay, with requests under way."""
    live = [
        StoredHold(account, f"{new_id('hold')}.{account}", None, 1, utc_now() + _LIFE)
        for _ in range(LIVE_HOLDS)
    ]
    await gate_in_redis.place(live)
    await gate_in_redis.authorize(account, "none", 1, _LIFE, None)  # it is asked about first
    await gate_in_redis.load(account, Standing(1, MAX_HELD_NANOS, False, Payer()), None)  # noqa: FBT003


async def _rates(cases: Mapping[str, Ask], seconds: float) -> dict[str, float]:
    """Return calls a second of each case, in short turns: what disturbs the machine disturbs both."""
    asked, took = dict.fromkeys(cases, 0), dict.fromkeys(cases, 0.0)
    for _ in range(_TURNS):
        for name, ask in cases.items():
            begun = perf_counter()
            asked[name] += await _asked(ask, asked[name], begun + seconds / _TURNS)
            took[name] += perf_counter() - begun
    return {name: asked[name] / took[name] for name in cases}


async def _asked(ask: Ask, first: int, until: float) -> int:
    """Return how often so many tasks asked, each again as soon as it was answered."""
    numbers = count(first)

    async def task() -> None:
        while perf_counter() < until:
            await ask(next(numbers))

    await asyncio.gather(*(task() for _ in range(CLIENTS)))
    return next(numbers) - first


def _over_http(port: int, seconds: float) -> dict[str, float]:
    loads = _loads(port, seconds, 0, list(_PATHS.values()))
    return {name: load.answers / load.seconds for name, load in zip(_PATHS, loads, strict=True)}


def _loads(port: int, seconds: float, per_second: float, paths: Sequence[str]) -> list[Load]:
    arguments = [str(part) for part in (port, ACCOUNTS, seconds, per_second, *paths)]
    command = [sys.executable, "-m", "bench.gate_load", *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    loads = msgspec.json.decode(printed, type=list[Load])
    for path, load in zip(paths, loads, strict=True):
        if load.refused:
            raise RefusedError(f"{path}: {load.refused} of {load.answers}")
    return loads


@contextmanager
def _serving(rig: Rig) -> Iterator[int]:
    """Run the HTTP tier with its baseline; yields its port."""
    port, url = free_port(), rig.database(ACCOUNTS)
    asyncio.run(_give_money(url))
    env = {
        "PAYG_DATABASE_URL": url,
        "PAYG_BROKER_URL": rig.rabbitmq.url,
        "PAYG_REDIS_URL": rig.redis.url,
        "PAYG_API_PORT": str(port),
        "PAYG_RATE_LIMIT_PER_S": "0",
    }
    with (rig.place / "gate.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.gate_server"], env=os.environ | env, stdout=log, stderr=log
        )
        try:
            _until_listening(port)
            yield port
        finally:
            server.terminate()
            server.wait()
    rig.drop(url)


async def _give_money(url: str) -> None:
    """Let every account pay for all that comes, the books aside."""
    async with connected(url) as engine, engine.begin() as connection:
        await connection.execute(_GIVE_MONEY, {"nanos": MAX_HELD_NANOS})


def _until_listening(port: int) -> None:
    deadline = monotonic() + _START_TIMEOUT_S
    while not listening(port):
        if monotonic() > deadline:
            raise TimeoutError("the HTTP tier did not start")
        sleep(0.05)
