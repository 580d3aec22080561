"""A Redis for the gate, empty for each test."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
import redis
from gate_api import Client, Payer, serving
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from shared.domain.access import Scope
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.pricing import TokenRates
from shared.gateways.redis_gate import RedisGate
from shared.operations.accounts import create_account
from shared.operations.keys import create_platform_key
from shared.operations.money import credit_account
from shared.operations.prices import set_price
from shared.settings import Settings


@pytest.fixture
async def redis_gate(redis_server: Redis) -> AsyncIterator[RedisGate]:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
    gate = RedisGate(redis_server.url)
    yield gate
    await gate.close()


@pytest.fixture
def api_settings(database_url: str, broker_url: str, redis_server: Redis) -> Settings:
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        redis_url=redis_server.url,
        admin_key="admin-secret",  # type: ignore[arg-type]
        rate_limit_per_s=0,
    )


@pytest.fixture
def api_url(api_settings: Settings, redis_gate: RedisGate) -> Iterator[str]:  # noqa: ARG001 - an empty Redis
    with serving(api_settings) as url:
        yield url


@pytest.fixture
async def service(engine: AsyncEngine, api_url: str) -> AsyncIterator[Client]:
    """A gateway's client; a token of `test-model` costs $0.01."""
    dear = TokenRates.inherit({"input": 10**13, "output": 10**13})
    await set_price(engine, None, "test-model", dear, None)
    key = await create_platform_key(engine, "gateway", Scope.SERVICE)
    client = Client(api_url, key.api_key)
    async with client.http:
        yield client


@pytest.fixture
async def payer(engine: AsyncEngine) -> Payer:
    """An account with $1."""
    account_id, key = await create_account(engine)
    await credit_account(engine, account_id, NANOS_PER_DOLLAR, "opening", timedelta(hours=1))
    return Payer(account_id, key.api_key_id, key.api_key)
