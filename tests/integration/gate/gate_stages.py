"""The stages that tell the gate of a record, one by one and in this process."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.domain.usage import PricedUsage
from shared.messaging.envelope import NO_ORIGIN, Origin
from shared.messaging.stage_broker import stage_broker
from shared.messaging.topology import Stage
from shared.operations.holds import Holds
from shared.settings import Settings
from workers.debit import Debiting
from workers.intake import Intake
from workers.pricing import Pricing
from workers.thresholds import Thresholds

GRACE = timedelta(hours=1)
_numbers = count()
_DUE = text("SELECT due_id FROM due_evaluations")


@dataclass(frozen=True)
class Arrived:
    """A message as the broker delivers it."""

    body: bytes
    content_type: str | None = None
    sent_at: datetime | None = None
    origin: Origin = NO_ORIGIN


@dataclass(frozen=True)
class Stages:
    """Intake, pricing, debit and thresholds at one gate."""

    engine: AsyncEngine
    settings: Settings
    holds: Holds

    async def arrive(self, event: bytes) -> None:
        """Let intake accept a record."""
        broker = stage_broker(self.settings.broker_url)
        intake = Intake(broker, self.engine, self.settings, self.holds)
        await intake.handle([Arrived(event)])
        intake.close()
        broker.close()

    async def price(self, *events: bytes) -> list[PricedUsage]:
        pricing = Pricing(self.engine, 1, self.holds)
        messages = await pricing.handle([msgspec.Raw(event) for event in events])
        return [usage for message in messages if message.stage is Stage.DEBIT for usage in message.batch]

    async def debit(self, *events: bytes, told: bool = True) -> None:
        """Price and debit records; not told, as by a process that died when the debit was committed."""
        debiting = Debiting(self.engine, GRACE, utc_now, self.holds if told else None)
        if batch := await self.price(*events):
            await debiting.handle(batch)

    async def evaluate(self) -> None:
        """Let thresholds look at every account that is due."""
        async with self.engine.connect() as connection:
            due = list((await connection.execute(_DUE)).scalars())
        await Thresholds(self.engine, utc_now, timedelta(), self.holds).handle(due)


def record(
    api_key_id: str,
    tokens: int,
    hold_id: str | None = None,
    model: str = "test-model",
    id: str | None = None,  # noqa: A002
) -> bytes:
    """Return a usage event."""
    data: dict[str, Any] = {"api_key_id": api_key_id, "model": model, "input_tokens": tokens}
    return json.dumps(
        {
            "specversion": "1.0",
            "type": "payg.usage.recorded.v1",
            "source": "gateway-1",
            "id": id or f"req_{next(_numbers)}",
            "time": utc_now().isoformat(),
            "data": data | ({"hold_id": hold_id} if hold_id else {}),
        }
    ).encode()
