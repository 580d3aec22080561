"""A record and its hold: from its arrival on it does not expire, and it is over when the record is."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from gate_api import Client, Payer
from gate_stages import GRACE, Stages, record
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Redis
from shared.clock import utc_now
from shared.operations.accounts import create_account, set_account
from shared.operations.audit import audit
from shared.operations.holds import configured_holds
from shared.settings import Settings


@pytest.fixture
def api_settings(api_settings: Settings) -> Settings:
    """A hold lives for a second."""
    return api_settings.model_copy(update={"hold_life_s": 1})


@pytest.fixture
async def stages(engine: AsyncEngine, api_settings: Settings) -> AsyncIterator[Stages]:
    holds = configured_holds(engine, api_settings)
    yield Stages(engine, api_settings, holds)
    await holds.close()
    assert (await audit(engine)).fault is None


async def until_expired(hold: dict[str, Any]) -> None:
    await asyncio.sleep((datetime.fromisoformat(hold["expires_at"]) - utc_now()).total_seconds() + 0.05)


async def can_hold(service: Client, payer: Payer, tokens: int) -> bool:
    """Whether so many tokens can be held and not one more; what was held for that is given back."""
    more = await service.authorize(tokens + 1, api_key_id=payer.api_key_id)
    answer = await service.authorize(tokens, api_key_id=payer.api_key_id)
    for held in (more, answer):
        if held.status_code == 200:
            await service.http.delete(f"/v1/holds/{held.json()['hold_id']}")
    return more.status_code == 402 and answer.status_code == 200


async def test_a_hold_without_a_record_expires(service: Client, payer: Payer) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    assert await can_hold(service, payer, 0)
    await until_expired(hold)
    assert await can_hold(service, payer, 100)


async def test_from_its_arrival_to_its_debit_a_record_keeps_its_hold(
    service: Client, payer: Payer, stages: Stages
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    usage = record(payer.api_key_id, 40, hold["hold_id"])
    for _ in range(2):
        await stages.arrive(usage)
    await until_expired(hold)
    assert await can_hold(service, payer, 0)
    await stages.debit(usage)
    assert await can_hold(service, payer, 60)
    await stages.arrive(usage)
    await stages.debit(usage)
    assert await can_hold(service, payer, 60)


async def test_a_hold_whose_record_has_arrived_is_not_given_back(
    service: Client, payer: Payer, stages: Stages
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    await stages.arrive(record(payer.api_key_id, 40, hold["hold_id"]))
    assert (await service.http.delete(f"/v1/holds/{hold['hold_id']}")).status_code == 404
    assert await can_hold(service, payer, 0)


async def test_an_aborted_stream_gives_its_hold_back_and_pays_for_what_it_used(
    service: Client, payer: Payer, stages: Stages
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    assert (await service.http.delete(f"/v1/holds/{hold['hold_id']}")).status_code == 204
    assert await can_hold(service, payer, 100)
    await stages.debit(record(payer.api_key_id, 7, hold["hold_id"]))
    assert await can_hold(service, payer, 93)


async def test_what_a_dead_process_did_not_tell_is_told_on_redelivery(
    service: Client, payer: Payer, stages: Stages
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    usage = record(payer.api_key_id, 40, hold["hold_id"])
    await stages.debit(usage, told=False)
    await stages.debit(usage)
    held = await service.hold(input_tokens=60, api_key_id=payer.api_key_id)
    assert (await service.authorize(1, api_key_id=payer.api_key_id)).status_code == 402
    assert held["held_nanos"] == 600_000_000


async def test_what_a_dead_process_did_not_tell_thresholds_notices(
    service: Client, payer: Payer, stages: Stages
) -> None:
    await service.hold(input_tokens=1, api_key_id=payer.api_key_id)
    await stages.debit(record(payer.api_key_id, 40), told=False)
    await stages.evaluate()
    answer = await service.authorize(60, api_key_id=payer.api_key_id)
    assert answer.json()["error"]["code"] == "insufficient_balance"


async def test_a_record_of_another_account_does_not_touch_a_hold(
    engine: AsyncEngine, service: Client, payer: Payer, stages: Stages
) -> None:
    _, other = await create_account(engine)
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    await stages.debit(record(other.api_key_id, 1, hold["hold_id"]))
    await stages.price(record(other.api_key_id, 1, hold["hold_id"], model="no-such-model"))
    assert await can_hold(service, payer, 0)


async def test_a_record_that_is_quarantined_gives_its_hold_back(
    service: Client, payer: Payer, stages: Stages
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    usage = record(payer.api_key_id, 40, hold["hold_id"], model="no-such-model")
    await stages.arrive(usage)
    assert await can_hold(service, payer, 0)
    assert await stages.price(usage) == []
    assert await can_hold(service, payer, 100)


async def test_a_conflict_gives_its_hold_back(service: Client, payer: Payer, stages: Stages) -> None:
    await stages.debit(record(payer.api_key_id, 10, id="req_same"))
    hold = await service.hold(input_tokens=90, api_key_id=payer.api_key_id)
    conflict = record(payer.api_key_id, 20, hold["hold_id"], id="req_same")
    await stages.arrive(conflict)
    await stages.debit(conflict)
    assert await can_hold(service, payer, 90)


async def test_a_setting_is_told_though_no_money_moved(
    engine: AsyncEngine, service: Client, payer: Payer, stages: Stages
) -> None:
    await service.hold(input_tokens=1, api_key_id=payer.api_key_id)
    await set_account(engine, payer.account_id, {"frozen": True}, grace=GRACE)
    await stages.evaluate()
    answer = await service.authorize(1, api_key_id=payer.api_key_id)
    assert answer.json()["error"]["code"] == "account_frozen"


async def test_a_debit_while_redis_is_away_is_told_when_it_is_back(
    service: Client, payer: Payer, stages: Stages, redis_server: Redis
) -> None:
    hold = await service.hold(input_tokens=100, api_key_id=payer.api_key_id)
    usage = record(payer.api_key_id, 40, hold["hold_id"])
    await stages.arrive(usage)
    redis_server.pause()
    try:
        await stages.debit(usage)
    finally:
        redis_server.resume()
    await eventually(lambda: can_hold(service, payer, 60))
