"""The processes between the entrance and the books, seen from outside: publish, wait, look, command."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aio_pika
import aio_pika.exceptions
import asyncpg
from books_builders import Books, open_books
from polling import until

from shared.db.engine import create_engine
from shared.domain.pricing import TokenRates
from shared.domain.quarantine import Reason
from shared.messaging.connect import open_transport
from shared.operations.accounts import create_account
from shared.operations.drain import drain
from shared.operations.prices import set_price
from shared.operations.quarantine import release

Result = TypeVar("Result")

#: A client knows the exchange and the key, and nothing else of ours.
EXCHANGE, ROUTING_KEY = "usage", "usage.recorded"


@dataclass
class Pipeline:
    """Intake, pricing and debit with their database and broker."""

    database_url: str
    broker_url: str
    account_id: str = ""
    api_key_id: str = ""
    other_id: str = ""
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        urls = {"PAYG_DATABASE_URL": self.database_url, "PAYG_BROKER_URL": self.broker_url}
        self.env = {**os.environ, **urls, "PAYG_DEBIT_QUEUES": "2"}

    def open(self) -> None:
        """Set the price, create two accounts, and wait until every stage works."""

        async def prepare(books: Books) -> None:
            self.account_id, key = await create_account(books.engine)
            self.api_key_id = key.api_key_id
            self.other_id, _ = await create_account(books.engine)

        self.with_books(prepare)
        stages = "SELECT count(DISTINCT stage) AS n FROM processes"
        until(lambda: self.sql(stages)[0]["n"] == 5)
        until(self._takes_usage)

    def with_books(self, work: Callable[[Books], Awaitable[Result]]) -> Result:
        async def run() -> Result:
            engine = create_engine(self.database_url)
            try:
                return await work(await open_books(engine) if not self.account_id else Books(engine, 1))
            finally:
                await engine.dispose()

        return asyncio.run(run())

    def sql(self, query: str, *values: Any) -> list[Any]:
        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.fetch(query, *values)
            finally:
                await connection.close()

        return asyncio.run(run())

    def _takes_usage(self) -> bool:
        async def run() -> bool:
            async with await aio_pika.connect(self.broker_url) as connection:
                channel = await connection.channel()
                try:
                    queue = await channel.declare_queue("usage.intake", passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    return False
                return bool(queue.declaration_result.consumer_count)

        return asyncio.run(run())

    def publish(self, *bodies: bytes, content_type: str | None = None) -> None:
        """Publish each body as one confirmed message, as a service of somebody else would."""

        async def run() -> None:
            async with await aio_pika.connect(self.broker_url) as connection:
                channel = await connection.channel(on_return_raises=True)
                exchange = await channel.get_exchange(EXCHANGE)
                for body in bodies:
                    await exchange.publish(
                        aio_pika.Message(body, content_type=content_type), ROUTING_KEY, mandatory=True
                    )

        asyncio.run(run())

    def payg(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """Run a command and return what it printed, one object a line."""
        payg = Path(sys.executable).with_name("payg")
        done = subprocess.run(
            [payg, "--json", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def set_price(self, model: str, tokens_cost_nanos: int) -> None:
        """Give a model a price for any provider."""
        rates = TokenRates.inherit({"input": tokens_cost_nanos * 10**6})
        self.with_books(lambda books: set_price(books.engine, None, model, rates, None))

    def release(self, *entry_ids: str, reason: Reason | None = None) -> list[str]:
        """Release entries as the command does."""

        async def run(books: Books) -> list[str]:
            async with open_transport(self.broker_url) as transport:
                return await release(books.engine, transport, entry_ids or None, reason)

        return self.with_books(run)

    def drain(self) -> None:
        """Wait until nothing is on its way."""

        async def run(books: Books) -> str | None:
            async with open_transport(self.broker_url) as transport:
                return await drain(books.engine, transport, 2, 60)

        assert self.with_books(run) is None

    def parked(self, event_id: str) -> Any:
        """Return the entry of an event in quarantine."""
        rows = self.sql("SELECT * FROM quarantine WHERE event_id = $1", event_id)
        return rows[0] if rows else None

    def until_parked(self, event_id: str, count: int = 1) -> Any:
        """Wait until an event is in quarantine, open, for that many times; return its entry."""

        def there() -> bool:
            entry = self.parked(event_id)
            return entry is not None and entry["count"] == count and entry["status"] == "open"

        until(there)
        return self.parked(event_id)

    def debited(self, event_id: str) -> int:
        """Return how often an event stands in the books."""
        return len(self.sql("SELECT 1 FROM usage_records WHERE event_id = $1", event_id))

    def until_debited(self, event_id: str) -> None:
        until(lambda: self.debited(event_id) == 1)
