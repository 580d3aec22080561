"""What the routes work with, made once a process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.alert_streams import AlertStreams
from api.key_cache import KeyCache
from api.rates import RateLimits
from shared.db import prices
from shared.db.engine import create_engine
from shared.domain.price_book import PriceBook
from shared.gateways.redis_gate import RedisGate
from shared.gateways.stripe_payments import StripePayments, configured_payments
from shared.messaging.publisher import Publisher
from shared.operations.event_handlers import configured_events
from shared.operations.gate import Gate, configured_gate
from shared.operations.holds import Holds
from shared.operations.stripe_events import StripeEvents
from shared.settings import Settings

_POOL = 10
_BOOK_BELIEVED_S = 1.0


class Services:
    """Connections that are opened when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: AsyncEngine = create_engine(
            settings.database_url, application="payg api", pool_size=_POOL
        )
        redis = RedisGate(settings.redis_url) if settings.redis_url else None
        self._redis = redis
        self.gate: Gate = configured_gate(self.engine, redis, settings)
        self.holds = Holds(self.engine, redis)
        self.alert_streams = AlertStreams(self.engine)
        self.keys = KeyCache(self.engine, settings.database_url)
        self.rates = RateLimits(settings.rate_limit_per_s)
        self.payments: StripePayments | None = configured_payments(settings)
        self.stripe_events: StripeEvents | None = (
            configured_events(self.engine, self.payments, settings) if self.payments else None
        )
        self._publisher: Publisher | None = None
        self._book: PriceBook | None = None
        self._book_seen_s = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what goes on beside the requests, and close everything in the end."""
        self.keys.start()
        try:
            yield
        finally:
            await self.alert_streams.close()
            await self.keys.stop()
            if self._publisher is not None:
                await self._publisher.__aexit__(None, None, None)
            if self._redis is not None:
                await self._redis.close()
            await self.engine.dispose()

    async def publisher(self) -> Publisher:
        """Return the publisher of usage; raises TransportError where the broker is away."""
        if self._publisher is None:
            publisher = Publisher(self.settings.broker_url)
            await publisher.__aenter__()
            if self._publisher is None:
                self._publisher = publisher
            else:
                await publisher.__aexit__(None, None, None)
        return self._publisher

    async def book(self) -> PriceBook:
        """Return the price book, at most a second old."""
        if self._book is not None and monotonic() - self._book_seen_s < _BOOK_BELIEVED_S:
            return self._book
        async with self.engine.connect() as connection:
            version = await prices.book_version(connection)
            if self._book is None or self._book.version != version:
                self._book = await prices.load_price_book(connection)
        self._book_seen_s = monotonic()
        return self._book

    async def save_learned(self, book: PriceBook) -> None:
        """Store the names that were resolved for the first time."""
        if learned := book.take_learned():
            async with self.engine.begin() as connection:
                await prices.save_aliases(connection, learned)


def services_of(request: Request) -> Services:
    """Return the services of the application that a request came to."""
    services: Services = request.app.state.services
    return services
