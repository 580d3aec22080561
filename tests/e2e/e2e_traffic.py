"""Real traffic from a plain AMQP client that knows nothing of payg but its contract."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.accounts import seed_accounts
from sandbox.trace import Request, read_trace, replay
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.gateways.genai_prices import catalog
from shared.gateways.stripe_payments import configured_payments
from shared.messaging.connect import open_transport
from shared.operations.drain import drain
from shared.operations.prices import import_models
from shared.settings import Settings

_CONTENT_TYPES = ("application/cloudevents-batch+json", "application/json", None)


async def prepare(settings: Settings, *, accounts: int, records: int, seed: int) -> list[dict[str, Any]]:
    """Import prices, seed accounts, and return the trace as events of them.

    Where the settings have a Stripe, some accounts top themselves up.
    """
    engine = create_engine(settings.database_url)
    await import_models(engine, "genai-prices", catalog())
    seeded = await seed_accounts(engine, settings, accounts, seed, configured_payments(settings))
    await engine.dispose()
    # The queue exists before the first message: an exchange drops what it cannot route.
    async with open_transport(settings.broker_url):
        pass
    payers = [payer for account in seeded for payer in account.payers]
    requests: Sequence[Request] = read_trace()[:records]
    return list(replay(requests, payers, utc_now(), seed))


def messages(events: Sequence[dict[str, Any]], seed: int) -> list[bytes]:
    """Return the events twice, each time in another order, single ones and arrays mixed."""
    choose = random.Random(seed)
    bodies: list[bytes] = []
    for _ in range(2):
        shuffled = list(events)
        choose.shuffle(shuffled)
        while shuffled:
            size = choose.choice((1, 1, 1, 7, 50, 300))
            taken, shuffled = shuffled[:size], shuffled[size:]
            bodies.append(_encode(taken[0] if size == 1 else taken))
    choose.shuffle(bodies)
    return bodies


async def publish(broker_url: str, bodies: Sequence[bytes], *, over_s: float = 0.0) -> None:
    """Publish with confirms, at an even pace; while the broker is away, try the same message again."""
    started = monotonic()
    position = 0
    while position < len(bodies):
        try:
            connection = await aio_pika.connect(broker_url, timeout=5)
            async with connection, connection.channel() as channel:
                exchange = await channel.get_exchange("usage", ensure=False)
                while position < len(bodies):
                    step = bodies[position : position + 20]
                    await asyncio.gather(*(_publish_one(exchange, body) for body in step))
                    position += len(step)
                    ahead_s = over_s * position / len(bodies) - (monotonic() - started)
                    await asyncio.sleep(max(0.0, ahead_s))
        except (AMQPError, ConnectionError, TimeoutError, asyncio.InvalidStateError, RuntimeError):
            await asyncio.sleep(0.2)


async def drained(engine: AsyncEngine, settings: Settings, timeout_s: float) -> str | None:
    async with open_transport(settings.broker_url) as transport:
        return await drain(engine, transport, settings.debit_queues, timeout_s)


async def _publish_one(exchange: aio_pika.abc.AbstractExchange, body: bytes) -> None:
    message = aio_pika.Message(
        body,
        content_type=_CONTENT_TYPES[len(body) % 3]
        if body.startswith(b"[")
        else "application/cloudevents+json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await exchange.publish(message, "usage.recorded", mandatory=True, timeout=10)


def _encode(value: Any) -> bytes:
    return json.dumps(value, default=_rfc3339).encode()


def _rfc3339(value: datetime) -> str:
    return value.isoformat()


@asynccontextmanager
async def subscribed(broker_url: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Collect alert events as a consumer that knows only the contract, over restarts of the broker."""
    events: list[dict[str, Any]] = []
    task = asyncio.create_task(_collect(broker_url, events))
    await asyncio.sleep(0)
    try:
        yield events
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _collect(broker_url: str, events: list[dict[str, Any]]) -> None:
    while True:
        try:
            connection = await aio_pika.connect(broker_url, timeout=5)
            async with connection, connection.channel() as channel:
                queue = await channel.declare_queue(
                    "consumer", durable=True, arguments={"x-queue-type": "quorum"}
                )
                await queue.bind("alerts", "#")
                async with queue.iterator() as messages:
                    async for message in messages:
                        events.append(json.loads(message.body))
                        await message.ack()
        except (AMQPError, ConnectionError, TimeoutError, asyncio.InvalidStateError, RuntimeError):
            pass
        await asyncio.sleep(0.2)
