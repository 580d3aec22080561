"""A Redis for the gate, empty for each test."""

from collections.abc import AsyncIterator

import pytest
import redis

from sandbox.servers import Redis
from shared.gateways.redis_gate import RedisGate


@pytest.fixture
async def redis_gate(redis_server: Redis) -> AsyncIterator[RedisGate]:
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
    gate = RedisGate(redis_server.url)
    yield gate
    await gate.close()
