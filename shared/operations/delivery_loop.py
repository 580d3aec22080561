"""The loop that sends deliveries as they fall due: many targets at once, one event at a time to each.

What it promises: at least once, always with the same event id; to one target in order of ``sequence`` among
what is due. An event that failed does not hold up those after it, and a target that is slow or away holds up
nobody else: it has one of many places at a time. A process that dies between sending and recording leaves a
delivery that is due again when its lease ends.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import deliveries as sql
from shared.domain.deliveries import DeliveryError, DeliveryState, Target, next_attempt
from shared.messaging.failure import is_transient
from shared.operations.deliveries import DeliveryChannel, event_of, make_digests, write_deliveries

log = structlog.get_logger(__name__)

AT_ONCE = 100
TICK_S = 0.5
#: An attempt may not take longer: then the delivery is anybody's again.
LEASE = timedelta(seconds=30)
SEND_S = 25.0


class Deliveries:
    """Deliveries over some channels."""

    def __init__(
        self,
        engine: AsyncEngine,
        channels: Sequence[DeliveryChannel],
        now: Callable[[], datetime],
        most_an_hour: int,
    ) -> None:
        self._engine = engine
        self._channels = channels
        self._now = now
        self._most_an_hour = most_an_hour
        self._news = asyncio.Event()
        self._under_way: dict[DeliveryChannel, set[asyncio.Task[None]]] = {each: set() for each in channels}

    async def write(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> None:
        """Write who is to get these alerts, in the transaction that marks them as delivered."""
        if alerts and self._channels:
            now = self._now()
            await write_deliveries(connection, self._channels, alerts, now, self._most_an_hour)

    def wake(self) -> None:
        """Look at once what is due."""
        self._news.set()

    async def run(self) -> None:
        """Send what falls due until cancelled; what is under way then is sent again by another process."""
        try:
            while True:
                await self._begin_what_it_can()
                try:
                    await asyncio.wait_for(self._news.wait(), TICK_S)
                except TimeoutError:
                    pass
                self._news.clear()
        finally:
            await self._cancel()

    async def send_due(self) -> None:
        """Send what is due now, and what falls due by that, and return when it is done."""
        while await self._begin() or any(self._under_way.values()):
            tasks = [task for each in self._under_way.values() for task in each]
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _begin_what_it_can(self) -> None:
        try:
            await self._begin()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("deliveries interrupted", error=repr(error))

    async def _begin(self) -> int:
        """Begin to send what is due, as far as there is room; return how much."""
        now, begun = self._now(), 0
        await make_digests(self._engine, [channel.name for channel in self._channels], now)
        for channel, under_way in self._under_way.items():
            room = AT_ONCE - len(under_way)
            for delivery in await self._take(channel, now, room) if room else ():
                task = asyncio.create_task(self._deliver(channel, delivery))
                under_way.add(task)
                task.add_done_callback(lambda done, those=under_way: self._ended(done, those))
                begun += 1
        return begun

    async def _take(self, channel: DeliveryChannel, now: datetime, room: int) -> Sequence[RowMapping]:
        async with self._engine.begin() as connection:
            return await sql.take_due(connection, channel.name, now, LEASE, room)

    def _ended(self, task: asyncio.Task[None], those: set[asyncio.Task[None]]) -> None:
        those.discard(task)
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # It could not be recorded: the lease ends, and it is sent again.
            log.warning("delivery interrupted", error=repr(error))

    async def _deliver(self, channel: DeliveryChannel, delivery: RowMapping) -> None:
        target = Target(delivery["account_id"], delivery["target_id"])
        async with self._engine.connect() as connection:
            event = event_of(delivery, await sql.load_alerts(connection, delivery))
        try:
            async with asyncio.timeout(SEND_S):
                receipt = await channel.send(target, event)
        except DeliveryError as error:
            await self._record_failure(channel, target, delivery, error)
        except TimeoutError:
            await self._record_failure(channel, target, delivery, DeliveryError("it took too long"))
        else:
            now = self._now()
            async with self._engine.begin() as connection:
                values = _values(DeliveryState.SENT, None, receipt.status, receipt.detail)
                await sql.record(connection, delivery, values)
                await channel.note_sent(connection, target, now)

    async def _record_failure(
        self, channel: DeliveryChannel, target: Target, delivery: RowMapping, error: DeliveryError
    ) -> None:
        now = self._now()
        again_at = next_attempt(error, delivery["attempts"] + 1, now, random.random())  # noqa: S311 - jitter
        state = DeliveryState.FAILED if again_at is None else DeliveryState.WAITING
        async with self._engine.begin() as connection:
            values = _values(state, again_at, error.status, error.detail)
            if await sql.record(connection, delivery, values):
                await channel.note_failed(connection, target, error, now)
        log.info("not delivered", channel=channel.name, target=target.target_id, why=error.detail[:200])

    async def _cancel(self) -> None:
        tasks = [task for each in self._under_way.values() for task in each]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _values(
    state: DeliveryState, next_attempt_at: datetime | None, status: int | None, detail: str
) -> dict[str, Any]:
    return {
        "state": state,
        "next_attempt_at": next_attempt_at,
        "status": status,
        "detail": detail.replace("\0", "\ufffd"),  # PostgreSQL keeps no NUL
    }
