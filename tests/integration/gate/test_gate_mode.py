"""All processes weigh in Redis, or all in the database: what one holds, every other counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic

import pytest
from gate_api import Payer
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from shared.clock import utc_now
from shared.domain.gate import Refused
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.redis_gate import GateUnavailableError, RedisGate
from shared.operations.gate import Gate, Hold, configured_gate, return_holds
from shared.settings import Settings

CENT = NANOS_PER_DOLLAR // 100
IN_DATABASE = ".db"


class CutOff(RedisGate):
    """Redis as one process sees it whose network is cut, while the others reach it."""

    cut = False

    async def _guard(self, call):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        if self.cut:
            call.close()
            raise GateUnavailableError("cut off")
        return await super()._guard(call)


@pytest.fixture
async def here(
    engine: AsyncEngine, redis_server: Redis, api_settings: Settings
) -> AsyncIterator[tuple[Gate, CutOff]]:
    redis = CutOff(redis_server.url)
    yield configured_gate(engine, redis, api_settings), redis
    await redis.close()


@pytest.fixture
async def there(engine: AsyncEngine, redis_gate: RedisGate, api_settings: Settings) -> Gate:
    return configured_gate(engine, redis_gate, api_settings)


async def held(gate: Gate, payer: Payer, cents: int) -> Hold:
    answer = await gate.authorize(payer.account_id, cents * CENT, None)
    assert isinstance(answer, Hold)
    return answer


async def refused(gate: Gate, payer: Payer, cents: int) -> bool:
    return isinstance(await gate.authorize(payer.account_id, cents * CENT, None), Refused)


async def test_what_one_process_can_not_reach_no_other_asks(
    here: tuple[Gate, CutOff], there: Gate, payer: Payer
) -> None:
    gate, redis = here
    assert not (await held(there, payer, 1)).hold_id.endswith(IN_DATABASE)
    redis.cut = True
    assert (await held(gate, payer, 60)).hold_id.endswith(IN_DATABASE)
    assert await refused(there, payer, 41)
    assert (await held(there, payer, 40)).hold_id.endswith(IN_DATABASE)
    assert await refused(gate, payer, 1)


async def test_a_process_that_starts_does_not_take_holds_away_from_the_others(
    engine: AsyncEngine,
    here: tuple[Gate, CutOff],
    redis_gate: RedisGate,
    api_settings: Settings,
    payer: Payer,
) -> None:
    gate, redis = here
    redis.cut = True
    await held(gate, payer, 100)
    started = configured_gate(engine, redis_gate, api_settings)
    assert await refused(started, payer, 1)
    assert await refused(gate, payer, 1)


async def test_back_in_redis_all_that_was_held_in_the_database_counts(
    here: tuple[Gate, CutOff], there: Gate, payer: Payer
) -> None:
    gate, redis = here
    redis.cut = True
    in_database = await held(gate, payer, 70)
    redis.cut = False
    end = monotonic() + 20
    while (await held(there, payer, 0)).hold_id.endswith(IN_DATABASE):
        assert monotonic() < end
        await asyncio.sleep(0.1)
    for each in (there, gate):
        assert await refused(each, payer, 31)
    assert await there.release(in_database.hold_id)
    assert not (await held(gate, payer, 100)).hold_id.endswith(IN_DATABASE)


async def test_holds_are_moved_once_whoever_moves_them(
    engine: AsyncEngine, here: tuple[Gate, CutOff], redis_gate: RedisGate, payer: Payer
) -> None:
    gate, redis = here
    redis.cut = True
    kept, given_back = await held(gate, payer, 30), await held(gate, payer, 30)
    moves = (return_holds(engine, redis_gate, utc_now()) for _ in range(3))

    async def give_back() -> None:
        with suppress(GateUnavailableError):  # it was moved to where this process does not reach
            await gate.release(given_back.hold_id)

    await asyncio.gather(*moves, give_back())
    await return_holds(engine, redis_gate, utc_now())
    assert await redis_gate.release(kept.hold_id)
    assert not await redis_gate.release(kept.hold_id)
