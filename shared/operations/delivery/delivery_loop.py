"""The loop that sends deliveries as they fall due: many targets at once, one event at a time to each.

What it promises: at least once, always with the same event id; to one target the first attempts in order of
``sequence`` among what is due. An event that failed does not hold up those after it. A target that is slow or
away holds up nobody else: one event at a time has a place, and what failed before has places of its own. A
process that dies between sending and recording leaves a delivery that is due again when its lease ends.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import deliveries as sql
from shared.domain.deliveries import DeliveryError, DeliveryState, Receipt, Target, next_attempt
from shared.messaging.failure import is_transient
from shared.operations.delivery.deliveries import DeliveryChannel, event_of, make_digests, write_deliveries

log = structlog.get_logger(__name__)

FIRST_ATTEMPTS_AT_ONCE = 100
RETRIES_AT_ONCE = 50
TICK_S = 0.5
#: An attempt may not take longer: then the delivery is anybody's again.
LEASE = timedelta(seconds=30)
SEND_S = 25.0
_STOP_S = 5.0


@dataclass(slots=True)
class _Lane:
    """First attempts of a channel, or its retries: each with places of its own."""

    channel: DeliveryChannel
    retries: bool
    places: int
    under_way: set[asyncio.Task[None]] = field(default_factory=set)


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
        self._lanes = [
            _Lane(channel, retries, RETRIES_AT_ONCE if retries else FIRST_ATTEMPTS_AT_ONCE)
            for channel in channels
            for retries in (False, True)
        ]

    async def write(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> None:
        """Write who is to get these alerts, in the transaction that marks them as delivered."""
        if alerts and self._channels:
            now = self._now()
            await write_deliveries(connection, self._channels, alerts, now, self._most_an_hour)

    def wake(self) -> None:
        """Look at once what is due."""
        self._news.set()

    async def run(self) -> None:
        """Send what falls due until cancelled; what is cut off then is sent again by another process."""
        try:
            while True:
                try:
                    await self._begin()
                except Exception as error:  # whatever it is, other deliveries go on
                    if is_transient(error):
                        log.warning("deliveries interrupted", error=repr(error))
                    else:
                        log.exception("deliveries interrupted")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), TICK_S)
                self._news.clear()
        finally:
            await self._stop()

    async def send_due(self) -> None:
        """Send what is due now, and what falls due by that, and return when it is done."""
        while await self._begin() or self._under_way():
            if tasks := self._under_way():
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Close what the channels hold open."""
        for channel in self._channels:
            await channel.close()

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for lane in self._lanes for task in lane.under_way]

    async def _begin(self) -> int:
        """Begin to send what is due, as far as there is room; return how much."""
        now, begun = self._now(), 0
        await make_digests(self._engine, [channel.name for channel in self._channels], now)
        for lane in self._lanes:
            for delivery in await self._take(lane, now):
                task = asyncio.create_task(self._deliver(lane.channel, delivery))
                lane.under_way.add(task)
                task.add_done_callback(partial(self._ended, lane))
                begun += 1
        return begun

    async def _take(self, lane: _Lane, now: datetime) -> Sequence[RowMapping]:
        room = lane.places - len(lane.under_way)
        if room <= 0:
            return ()
        async with self._engine.begin() as connection:
            return await sql.take_due(connection, lane.channel.name, now, LEASE, room, retries=lane.retries)

    def _ended(self, lane: _Lane, task: asyncio.Task[None]) -> None:
        lane.under_way.discard(task)
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
        except Exception as error:  # what a receiver does must not make us send for ever
            log.exception("delivery broke", channel=channel.name, target=target.target_id)
            await self._record_failure(channel, target, delivery, DeliveryError(repr(error)))
        else:
            await self._record_success(channel, target, delivery, receipt)

    async def _record_success(
        self, channel: DeliveryChannel, target: Target, delivery: RowMapping, receipt: Receipt
    ) -> None:
        values = _values(DeliveryState.SENT, None, receipt.status, receipt.detail)
        async with self._engine.begin() as connection:
            await sql.record(connection, delivery, values)
            await channel.note_sent(connection, target, self._now())

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

    async def _stop(self) -> None:
        """Let what is nearly done be done: what is cut off may arrive twice."""
        if tasks := self._under_way():
            _, late = await asyncio.wait(tasks, timeout=_STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _values(
    state: DeliveryState, next_attempt_at: datetime | None, status: int | None, detail: str
) -> dict[str, Any]:
    return {
        "state": state,
        "next_attempt_at": next_attempt_at,
        "status": status,
        "detail": detail.replace("\0", "\ufffd"),  # PostgreSQL keeps no NUL
    }
