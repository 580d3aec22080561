"""What the routes work with, made once a process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from api.account_watch import AccountWatch
from api.alert_streams import AlertStreams
from api.key_cache import KeyCache
from api.rates import RateLimits
from api.sign_in_mail import SignInMail, configured_sign_in_mail
from shared.believed import Believed
from shared.db import prices
from shared.db.engine import create_engine
from shared.domain.price_book import PriceBook
from shared.gateways.redis_gate import RedisGate
from shared.gateways.stripe_payments import StripePayments, configured_payments
from shared.messaging.publisher import Event, Publisher
from shared.messaging.transport import TransportError
from shared.operations.gate import Gate, configured_gate
from shared.operations.holds import Holds
from shared.operations.payments.event_handlers import configured_events
from shared.operations.payments.stripe_events import StripeEvents
from shared.settings import Settings

_POOL = 10
#: Whoever waits longer for a connection is told to come back.
_POOL_TIMEOUT_S = 3.0
#: The broker has so long to confirm; whoever sends usage sends it again, and it counts once.
_CONFIRM_WITHIN_S = 5.0
_BOOK_BELIEVED_S = 1.0


class Services:
    """Connections that are opened when they are first needed."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine: AsyncEngine = create_engine(
            settings.database_url, application="payg api", pool_size=_POOL, pool_timeout_s=_POOL_TIMEOUT_S
        )
        redis = RedisGate(settings.redis_url) if settings.redis_url else None
        self._redis = redis
        self.gate: Gate = configured_gate(self.engine, redis, settings)
        self.holds = Holds(self.engine, redis)
        self.alert_streams = AlertStreams(self.engine)
        self.account_watch = AccountWatch(self.engine)
        self.keys = KeyCache(self.engine, settings.database_url)
        self.sign_in_mail: SignInMail | None = configured_sign_in_mail(self.engine, settings)
        self.rates = RateLimits(settings.rate_limit_per_s)
        self.payments: StripePayments | None = configured_payments(settings)
        self.stripe_events: StripeEvents | None = (
            configured_events(self.engine, self.payments, settings) if self.payments else None
        )
        self._publisher: Publisher | None = None
        self._connecting = asyncio.Lock()
        self._book: PriceBook | None = None
        self._books = Believed(self._read_book, _BOOK_BELIEVED_S)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run what goes on beside the requests, and close everything in the end."""
        self.keys.start()
        try:
            yield
        finally:
            await self.end_streams()
            await self.keys.stop()
            if self.sign_in_mail is not None:
                await self.sign_in_mail.close()
            if self._publisher is not None:
                await self._publisher.__aexit__(None, None, None)
            if self._redis is not None:
                await self._redis.close()
            await self.engine.dispose()

    async def end_streams(self) -> None:
        """End what would never end by itself."""
        await self.alert_streams.close()
        await self.account_watch.close()

    async def publish(self, events: Sequence[Event]) -> None:
        """Publish usage; returns when the broker has it safe, raises TransportError where it is not."""
        try:
            async with asyncio.timeout(_CONFIRM_WITHIN_S):
                await (await self._usage_publisher()).publish_all(events)
        except TimeoutError:
            raise TransportError(f"the broker did not confirm within {_CONFIRM_WITHIN_S:g} s") from None

    async def _usage_publisher(self) -> Publisher:
        async with self._connecting:  # one connection, however many wait for it
            if self._publisher is None:
                self._publisher = await Publisher(self.settings.broker_url).__aenter__()
            return self._publisher

    async def book(self) -> PriceBook:
        """Return the price book, at most a second old."""
        return await self._books.get()

    async def renew_book(self) -> None:
        """Read the price book anew: a price was set, and who set it looks at it."""
        await self._books.renew()

    async def _read_book(self) -> PriceBook:
        async with self.engine.connect() as connection:
            version = await prices.book_version(connection)
            if self._book is None or self._book.version != version:
                self._book = await prices.load_price_book(connection)
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
