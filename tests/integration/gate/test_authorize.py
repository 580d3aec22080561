"""Asking over HTTP before a request is served."""

from datetime import UTC, datetime, timedelta
from typing import cast

import redis
from dramatiq import Broker
from gate_api import Client, Payer
from polling import eventually
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from shared.clock import utc_now
from shared.db import gate as sql
from shared.db.tables import holds
from shared.domain.gate import StoredHold
from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations.accounts import create_account, create_plan, set_account
from shared.operations.keys import KeyLimit, create_key, revoke_key
from shared.operations.money import credit_account
from workers.clock import Clock

GRACE = timedelta(hours=1)
CENT = NANOS_PER_DOLLAR // 100
HOURS_10_MINUTES = timedelta(minutes=10)


async def test_a_request_is_held_at_the_most_it_can_cost(service: Client, payer: Payer) -> None:
    hold = await service.hold(input_tokens=30, max_output_tokens=20, api_key_id=payer.api_key_id)
    assert hold["account_id"] == payer.account_id
    assert hold["api_key_id"] == payer.api_key_id
    assert hold["held_nanos"] == 50 * CENT
    life = datetime.fromisoformat(hold["expires_at"]) - utc_now()
    assert HOURS_10_MINUTES - timedelta(seconds=10) < life <= HOURS_10_MINUTES
    assert (await service.authorize(51, api_key_id=payer.api_key_id)).status_code == 402
    assert (await service.authorize(50, api_key_id=payer.api_key_id)).status_code == 200


async def test_the_answer_402_has_the_shape_of_the_contract(service: Client, payer: Payer) -> None:
    answer = await service.authorize(101, api_key_id=payer.api_key_id)
    assert answer.status_code == 402
    assert answer.json() == {
        "error": {
            "message": "Insufficient account balance",
            "type": "billing_error",
            "code": "insufficient_balance",
        }
    }
    assert "Retry-After" not in answer.headers


async def test_a_credit_turns_402_into_service(engine: AsyncEngine, service: Client, payer: Payer) -> None:
    assert (await service.authorize(101, api_key_id=payer.api_key_id)).status_code == 402
    await credit_account(engine, payer.account_id, CENT, "more", GRACE)
    assert (await service.authorize(101, api_key_id=payer.api_key_id)).status_code == 200


async def test_a_hold_is_given_back_once_and_extended_while_it_lives(service: Client, payer: Payer) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    path = f"/v1/holds/{hold['hold_id']}"
    extended = await service.http.post(f"{path}/extend")
    assert extended.status_code == 200
    assert extended.json()["expires_at"] >= hold["expires_at"]
    assert (await service.http.delete(path)).status_code == 204
    assert (await service.http.delete(path)).status_code == 404
    assert (await service.http.post(f"{path}/extend")).json()["error"]["code"] == "unknown_hold"
    await service.hold(input_tokens=100, api_key_id=payer.api_key_id)


async def test_an_account_asks_for_itself_and_for_nobody_else(
    engine: AsyncEngine, api_url: str, service: Client, payer: Payer
) -> None:
    _, other = await create_account(engine)
    hold = await service.hold(api_key_id=payer.api_key_id)
    async with Client(api_url, payer.api_key).http as http:
        mine = Client(api_url, payer.api_key)
        mine.http = http
        assert (await mine.hold())["account_id"] == payer.account_id
        assert (await mine.authorize(api_key_id=other.api_key_id)).status_code == 403
    async with Client(api_url, other.api_key).http as http:
        assert (await http.delete(f"/v1/holds/{hold['hold_id']}")).status_code == 404


async def test_a_frozen_account_is_refused_whatever_it_has(
    engine: AsyncEngine, service: Client, payer: Payer
) -> None:
    await set_account(engine, payer.account_id, {"frozen": True}, grace=GRACE)
    answer = await service.authorize(1, api_key_id=payer.api_key_id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "account_frozen")


async def test_quota_fallback_and_limit_are_weighed_with_a_time_to_come_back(
    engine: AsyncEngine, service: Client
) -> None:
    plan = await create_plan(
        engine, "small", quota_nanos=50 * CENT, price_nanos=0, discount_ppm=0, zone="UTC"
    )
    account_id, key = await create_account(engine, plan=plan)
    await credit_account(engine, account_id, NANOS_PER_DOLLAR, "opening", GRACE)
    await service.hold(input_tokens=50, api_key_id=key.api_key_id)
    exhausted = await service.authorize(1, api_key_id=key.api_key_id)
    assert exhausted.json()["error"]["code"] == "quota_exhausted"
    assert 0 < int(exhausted.headers["Retry-After"]) <= timedelta(days=31).total_seconds()
    limited = {"fallback": True, "spending_limit_nanos": 20 * CENT}
    await set_account(engine, account_id, limited, grace=GRACE)
    await service.hold(input_tokens=20, api_key_id=key.api_key_id)
    reached = await service.authorize(1, api_key_id=key.api_key_id)
    assert reached.json()["error"]["code"] == "spending_limit_reached"


async def test_a_key_has_its_own_limit(engine: AsyncEngine, service: Client, payer: Payer) -> None:
    key = await create_key(engine, payer.account_id, "ci", KeyLimit(30 * CENT, "day"))
    await service.hold(input_tokens=30, api_key_id=key.api_key_id)
    answer = await service.authorize(1, api_key_id=key.api_key_id)
    assert answer.json()["error"]["code"] == "key_limit_reached"
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert abs(int(answer.headers["Retry-After"]) - (midnight - utc_now()).total_seconds()) < 5
    await service.hold(input_tokens=30, api_key_id=payer.api_key_id)


async def test_a_revoked_key_is_refused_at_once(
    engine: AsyncEngine, api_url: str, service: Client, payer: Payer
) -> None:
    await service.hold(api_key_id=payer.api_key_id)
    async with Client(api_url, payer.api_key).http as http:
        assert (await http.get("/api/user/self")).status_code == 200
        await revoke_key(engine, payer.api_key_id)

        async def refused() -> bool:
            return (await http.get("/api/user/self")).status_code == 401

        await eventually(refused, timeout_s=1)
    assert (await service.authorize(api_key_id=payer.api_key_id)).status_code == 404


async def test_an_unknown_model_is_never_free(service: Client, payer: Payer) -> None:
    answer = await service.authorize(api_key_id=payer.api_key_id, model="no-such-model")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")


async def test_without_redis_it_is_weighed_in_the_database_and_counted_when_redis_is_back(
    service: Client, payer: Payer, redis_server: Redis
) -> None:
    redis_server.pause()
    try:
        hold = await service.hold(input_tokens=60, api_key_id=payer.api_key_id)
        refused = await service.authorize(41, api_key_id=payer.api_key_id)
        assert refused.json()["error"]["code"] == "insufficient_balance"
        kept = await service.hold(input_tokens=40, api_key_id=payer.api_key_id)
        assert (await service.http.delete(f"/v1/holds/{kept['hold_id']}")).status_code == 204
    finally:
        redis_server.resume()
    assert hold["hold_id"].endswith(".db")

    async def back() -> bool:
        answer = await service.authorize(0, api_key_id=payer.api_key_id)
        return not answer.json()["hold_id"].endswith(".db")

    await eventually(back)
    assert (await service.authorize(41, api_key_id=payer.api_key_id)).status_code == 402
    assert (await service.authorize(40, api_key_id=payer.api_key_id)).status_code == 200


async def test_after_redis_was_emptied_who_has_little_waits_for_the_holds_that_were_lost(
    engine: AsyncEngine, service: Client, payer: Payer, redis_server: Redis
) -> None:
    poor, poor_key = await create_account(engine)
    await credit_account(engine, poor, 99 * CENT, "opening", GRACE)
    await service.hold(input_tokens=99, api_key_id=poor_key.api_key_id)
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushdb()
    await service.hold(input_tokens=1, api_key_id=payer.api_key_id)
    answer = await service.authorize(1, api_key_id=poor_key.api_key_id)
    assert answer.json()["error"]["code"] == "insufficient_balance"
    assert 590 < int(answer.headers["Retry-After"]) <= 600


async def test_holds_of_the_database_that_are_over_are_forgotten(engine: AsyncEngine, payer: Payer) -> None:
    now = utc_now()
    ends = {"over.db": now - timedelta(seconds=1), "live.db": now + GRACE}
    async with engine.begin() as connection:
        for hold_id, expires_at in ends.items():
            await sql.insert_hold(connection, StoredHold(payer.account_id, hold_id, None, CENT, expires_at))
    await Clock(engine, cast("Broker", None), utc_now, GRACE).forget_holds()
    async with engine.connect() as connection:
        kept = await connection.execute(select(holds.c.hold_id))
    assert list(kept.scalars()) == ["live.db"]
