"""A key's limit: told once when the spend of its period reaches it, from the books."""

from datetime import timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.domain.events import reread_event
from shared.domain.money import NANOS_PER_DOLLAR
from shared.domain.usage import PricedUsage
from shared.messaging.publisher import usage_event
from shared.operations.accounts import create_account
from shared.operations.keys import KeyLimit, create_key
from workers.debit import Debiting
from workers.thresholds import Thresholds

_TOLD = text("SELECT data FROM alerts WHERE type = 'key.limit_reached' ORDER BY sequence")


async def test_a_key_that_reaches_its_limit_is_told_once(engine: AsyncEngine) -> None:
    account_id, _ = await create_account(engine)
    limited = await create_key(engine, account_id, "ci", KeyLimit(NANOS_PER_DOLLAR, "month"))
    debiting = Debiting(engine, timedelta(hours=1), utc_now)
    thresholds = Thresholds(engine, utc_now, timedelta())
    due: list[int] = []
    for number in range(4):
        event = usage_event(id=f"r{number}", model="m", api_key_id=limited.api_key_id)
        raw = msgspec.json.encode(event)
        [to_thresholds] = await debiting.handle(
            [PricedUsage.of(reread_event(raw), raw, account_id, 1, 6 * NANOS_PER_DOLLAR // 10)]
        )
        due += to_thresholds.batch
        if number % 2:
            await thresholds.handle(due)
    async with engine.connect() as connection:
        told = list((await connection.execute(_TOLD)).scalars())
    assert [(alert["transfer_seq"], alert["spent_nanos"]) for alert in told] == [
        (2, 12 * NANOS_PER_DOLLAR // 10)
    ]
    assert told[0]["api_key_id"] == limited.api_key_id
