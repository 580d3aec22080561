"""The real processes of all stages and two clocks, and a subscriber to alerts that knows the contract."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aio_pika
from low_money import LowMoney
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, RabbitMQ
from sandbox.stripe import FakeStripe
from sandbox.stripe.controls import Controls
from sandbox.supervisor import Supervisor, read_procfile
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.pricing import TokenRates
from shared.messaging.connect import open_transport
from shared.operations.drain import drain
from shared.operations.prices import set_price
from shared.settings import Settings

_PROCFILE = Path(__file__).parents[3] / "Procfile"
COOLDOWN_S = 3
MODEL = "test-dollar"
TOKENS_A_DOLLAR = 1_000_000


@dataclass(frozen=True)
class Processes:
    """What runs, where, and at which account at Stripe."""

    supervisor: Supervisor
    settings: Settings
    env: dict[str, str]

    @asynccontextmanager
    async def money(self) -> AsyncIterator[LowMoney]:
        """Its database and its account at Stripe."""
        base, key = self.env["PAYG_STRIPE_API_BASE"], self.env["PAYG_STRIPE_API_KEY"]
        engine = create_engine(self.settings.database_url)
        with Controls(base) as controls:
            yield LowMoney(engine, self.settings.database_url, controls, base, key)
        await engine.dispose()

    async def publish(self, *events: dict[str, Any]) -> None:
        """Publish usage as a plain client of the broker."""
        connection = await aio_pika.connect(self.settings.broker_url)
        async with connection, connection.channel() as channel:
            exchange = await channel.get_exchange("usage", ensure=False)
            for event in events:
                message = aio_pika.Message(json.dumps(event).encode(), content_type="application/json")
                await exchange.publish(message, "usage.recorded", mandatory=True, timeout=10)

    async def drained(self, engine: AsyncEngine, timeout_s: float) -> str | None:
        async with open_transport(self.settings.broker_url) as transport:
            return await drain(engine, transport, self.settings.debit_queues, timeout_s)


@contextmanager
def started(postgres: Postgres, rabbitmq: RabbitMQ, stripe: FakeStripe, logs: Path) -> Iterator[Processes]:
    name = "money_low"
    postgres.create_database(name, template="payg_template")
    (broker_url,) = rabbitmq.create_virtual_hosts(name)
    settings = Settings(database_url=postgres.url_of(name), broker_url=broker_url)
    env = {
        **os.environ,
        "PAYG_DATABASE_URL": settings.database_url,
        "PAYG_BROKER_URL": settings.broker_url,
        "PAYG_STRIPE_API_KEY": "sk_test_low_processes",
        "PAYG_STRIPE_API_BASE": stripe.url,
        "PAYG_TOPUP_COOLDOWN_S": str(COOLDOWN_S),
    }
    stages = {name: command for name, command in read_procfile(_PROCFILE).items() if name != "api"}
    with Supervisor(stages, env, scale={"clock": 2}, logs=logs) as supervisor:
        asyncio.run(_open(settings))
        yield Processes(supervisor, settings, env)
    postgres.drop_database(name)


async def _open(settings: Settings) -> None:
    """Declare the exchanges, and set a price: a million tokens cost a dollar."""
    async with open_transport(settings.broker_url):
        pass
    engine = create_engine(settings.database_url)
    await set_price(engine, None, MODEL, TokenRates.inherit({"input": 10**9, "output": 10**9}), None)
    await engine.dispose()


def usage(event_id: str, account_id: str, dollars: float) -> dict[str, Any]:
    """Return a usage event that costs so many dollars."""
    return {
        "specversion": "1.0",
        "type": "payg.usage.recorded.v1",
        "source": "gateway-1",
        "id": event_id,
        "time": utc_now().isoformat(),
        "data": {
            "account_id": account_id,
            "model": MODEL,
            "input_tokens": round(dollars * TOKENS_A_DOLLAR),
            "output_tokens": 0,
        },
    }


@dataclass
class Subscriber:
    """Messages as they came over AMQP; of their alerts, those with a known id are dropped."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    routing_keys: dict[str, str] = field(default_factory=dict)
    came_at: dict[str, float] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        alert = json.loads(message.body)
        self.messages.append(alert)
        if alert["id"] not in self.alerts:
            self.alerts[alert["id"]] = alert
            self.routing_keys[alert["id"]] = message.routing_key or ""
            self.came_at[alert["id"]] = monotonic()
        self.news.set()

    def of(self, account_id: str) -> list[dict[str, Any]]:
        """Return what was told of an account, in order."""
        mine = (alert for alert in self.alerts.values() if alert["data"]["account_id"] == account_id)
        return sorted(mine, key=lambda alert: alert["sequence"])

    def types_of(self, account_id: str) -> list[str]:
        return [alert["type"].removeprefix("payg.").removesuffix(".v1") for alert in self.of(account_id)]

    async def first_of(self, account_id: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait for the first alert of an account."""
        async with asyncio.timeout(timeout_s):
            while not (found := self.of(account_id)):
                self.news.clear()
                await self.news.wait()
        return found[0]

    async def came(self, number: int) -> None:
        """Wait for so many messages in all."""
        async with asyncio.timeout(10):
            while len(self.messages) < number:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def subscribed(broker_url: str) -> AsyncIterator[Subscriber]:
    """Subscribe to all alerts with a plain AMQP client."""
    subscriber = Subscriber()
    connection = await aio_pika.connect(broker_url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(await channel.get_exchange("alerts"), "#")
        await queue.consume(subscriber.receive, no_ack=True)
        yield subscriber


def alerts_by_the_books(transfers: Sequence[Any]) -> list[tuple[int, str]]:
    """Return (seq, type) of the balance alerts that transfers in order give, by the words of the design."""
    reaches = {
        "low": lambda dollars: dollars <= 20,
        "warning": lambda dollars: dollars <= 10,
        "critical": lambda dollars: dollars < 5,
        "exhausted": lambda dollars: dollars <= 0,
    }
    rearms = {"low": 22, "warning": 11, "critical": 5.5, "exhausted": 0.5}
    told: set[str] = set()
    alerts = []
    for transfer in transfers:
        dollars = transfer["balance_after_nanos"] / 10**9
        before = bool(told)
        told -= {level for level, bound in rearms.items() if dollars >= bound}
        reached = [level for level, reached in reaches.items() if reached(dollars)]
        if new := [level for level in reached if level not in told]:
            alerts.append((transfer["seq"], f"balance.{new[-1]}"))
        elif before and not told:
            alerts.append((transfer["seq"], "balance.recovered"))
        told |= set(reached)
    return alerts
