"""What goes wrong in a campaign: each kind lasts for a time, and is over when its function returns."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chaos.world import World
from sandbox.stripe.controls import Controls

Inject = Callable[[World, random.Random, float], Awaitable[str]]

DISK_FULL = "database-disk-full"
_SLOW_MS = 3_000
_SERVES_TIMEOUT_S = 120.0
_POLL_S = 0.2
_FILLS = text("CREATE TEMPORARY TABLE ballast AS SELECT repeat('x', 100) FROM generate_series(1, 100000)")


def deck(seed: int, kinds: Sequence[str]) -> Iterator[str]:
    """Yield kinds for ever: each once, in an order of the seed's, then each once again."""
    choose = random.Random(seed)
    while True:
        yield from choose.sample(kinds, len(kinds))


def kinds_of(nodes: int) -> list[str]:
    """Return the kinds of fault that so many nodes of RabbitMQ can have."""
    return [kind for kind in FAULTS if nodes > 1 or not kind.startswith("broker-node")]


def kill_one(world: World, choose: random.Random) -> str | None:
    """SIGKILL a process; None where none runs just now."""
    running = sorted(world.processes.pids())
    if not running:
        return None
    name = choose.choice(running)
    with suppress(KeyError, ProcessLookupError):  # it has just died
        world.processes.kill(name)
    return name


async def _process_stopped(world: World, choose: random.Random, hold_s: float) -> str:
    name, pid = choose.choice(sorted(world.processes.pids().items()))
    with suppress(ProcessLookupError):  # killed meanwhile
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(hold_s)
        os.kill(pid, signal.SIGCONT)
    return f"{name} stood still for {hold_s:.0f} s"


async def _broker_restarted(world: World, choose: random.Random, _hold_s: float) -> str:
    crash = choose.random() < 1 / 2
    await asyncio.to_thread(world.rabbitmq.restart, crash=crash)
    await _until_brokers_serve(world)
    return f"all nodes, {_manner(crash=crash)}"


async def _broker_node_killed(world: World, choose: random.Random, hold_s: float) -> str:
    number = choose.randrange(len(world.rabbitmq.nodes))
    node = world.rabbitmq.nodes[number]
    await asyncio.to_thread(node.kill)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(node.start)
    await _until_brokers_serve(world)
    return f"node {number + 1} was away for {hold_s:.0f} s"


async def _broker_node_cut_off(world: World, choose: random.Random, hold_s: float) -> str:
    number = choose.randrange(len(world.rabbitmq.nodes))
    await asyncio.to_thread(world.rabbitmq.cut_off, number)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(world.rabbitmq.let_back, number)
    await _until_brokers_serve(world)
    return f"node {number + 1} heard nothing of the others for {hold_s:.0f} s"


async def _until_brokers_serve(world: World) -> None:
    async with asyncio.timeout(_SERVES_TIMEOUT_S):
        while not await asyncio.to_thread(world.rabbitmq.all_serve):  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(_POLL_S)


async def _database_restarted(world: World, choose: random.Random, _hold_s: float) -> str:
    crash = choose.random() < 1 / 2
    await asyncio.to_thread(world.postgres.restart, crash=crash)
    return f"the primary, {_manner(crash=crash)}"


async def _database_failed_over(world: World, _choose: random.Random, _hold_s: float) -> str:
    await asyncio.to_thread(world.postgres.fail_over)
    return "the primary was killed for good, its standby promoted, and a new one made"


async def _database_away(world: World, _choose: random.Random, hold_s: float) -> str:
    await asyncio.to_thread(world.postgres.stop)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(world.postgres.start)
    return f"both servers were away for {hold_s:.0f} s"


async def _database_disk_full(world: World, _choose: random.Random, hold_s: float) -> str:
    await asyncio.to_thread(world.postgres.fill_disk)
    refused = await _refused_for(world)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(world.postgres.free_disk)
    return f"for {hold_s:.0f} s; a write was refused with {refused}"


async def _refused_for(world: World) -> str:
    """Return how the database refuses what would take more disk than there is."""
    async with world.engine() as engine:
        try:
            async with engine.begin() as connection:
                await connection.execute(_FILLS)
        except DBAPIError as error:
            return type(error.orig.__cause__ or error.orig).__name__ if error.orig else "no connection"
        except OSError as error:
            return type(error).__name__
    raise AssertionError("the disk is not full: the fault was none")


async def _redis_flushed(world: World, _choose: random.Random, _hold_s: float) -> str:
    def flush() -> None:
        with redis.Redis.from_url(world.redis.url) as client:
            client.flushall()

    await asyncio.to_thread(flush)
    return "all holds and balances of the gate are gone"


async def _redis_restarted(world: World, _choose: random.Random, hold_s: float) -> str:
    await asyncio.to_thread(world.redis.kill)
    await asyncio.sleep(hold_s / 2)
    await asyncio.to_thread(world.redis.start)
    return f"killed, and away for {hold_s / 2:.0f} s"


async def _stripe_slow(world: World, _choose: random.Random, hold_s: float) -> str:
    await _stripe_faulty(world, hold_s, "delay", delay_ms=_SLOW_MS)
    return f"every answer took {_SLOW_MS / 1000:.0f} s, for {hold_s:.0f} s"


async def _stripe_loses_answers(world: World, _choose: random.Random, hold_s: float) -> str:
    await _stripe_faulty(world, hold_s, "lose_response", path="/v1/payment_intents")
    return f"payments were made and nothing was answered, for {hold_s:.0f} s"


async def _stripe_faulty(world: World, hold_s: float, kind: str, **settings: object) -> None:
    with Controls(world.stripe.url) as controls:
        await asyncio.to_thread(controls.fault, kind, times=None, **settings)
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(controls.clear_faults)


async def _stripe_down(world: World, _choose: random.Random, hold_s: float) -> str:
    await asyncio.to_thread(world.stripe.kill)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(world.stripe.start)
    return f"killed, and away for {hold_s:.0f} s"


def _manner(*, crash: bool) -> str:
    return "killed" if crash else "stopped in order"


FAULTS: dict[str, Inject] = {
    "process-stopped": _process_stopped,
    "broker-restarted": _broker_restarted,
    "broker-node-killed": _broker_node_killed,
    "broker-node-cut-off": _broker_node_cut_off,
    "database-restarted": _database_restarted,
    "database-failed-over": _database_failed_over,
    "database-away": _database_away,
    DISK_FULL: _database_disk_full,
    "redis-flushed": _redis_flushed,
    "redis-restarted": _redis_restarted,
    "stripe-slow": _stripe_slow,
    "stripe-loses-answers": _stripe_loses_answers,
    "stripe-down": _stripe_down,
}
