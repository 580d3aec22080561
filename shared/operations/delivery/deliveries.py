"""Alerts for receivers of their own: who is to get them, written with the mark that the exchange has them.

A channel (webhooks, mail) knows its targets and how to send; what is common to all stands here and in
``delivery_loop``: what an hour may bring, attempts, digests, the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import deliveries as sql
from shared.db.alerts import alert_event
from shared.domain.deliveries import (
    DIGEST_ALERTS,
    Channel,
    DeliveryError,
    DeliveryState,
    Event,
    Receipt,
    Target,
    Wanted,
    digest_event,
    hour_of,
)
from shared.ids import new_id

_HELD_AT_ONCE = 10_000


class DeliveryChannel(Protocol):
    """One way to receivers. A target gets one event at a time, from one process; and some of them twice."""

    @property
    def name(self) -> Channel: ...

    async def wanted(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> Sequence[Wanted]:
        """Return which targets are to get which of these alerts (rows of ``alerts``), in order."""

    async def send(self, target: Target, event: Event) -> Receipt:
        """Bring an event to a target, within 20 s. Raises DeliveryError, which says whether to try again."""

    async def note_sent(self, connection: AsyncConnection, target: Target, now: datetime) -> None:
        """Note, in the transaction that records it, that a target took an event."""

    async def note_failed(
        self, connection: AsyncConnection, target: Target, error: DeliveryError, now: datetime
    ) -> None:
        """Note, in the transaction that records it, that an attempt failed."""

    async def close(self) -> None:
        """Close what is held open."""


async def write_deliveries(
    connection: AsyncConnection,
    channels: Iterable[DeliveryChannel],
    alerts: Sequence[RowMapping],
    now: datetime,
    most_an_hour: int,
) -> bool:
    """Write who is to get these alerts, in the transaction that marks them; return whether anybody is.

    A target gets at most so many one by one in an hour of UTC, 0 for as many as there are; the others are
    held until the hour is over. Mail waits for the end of quiet hours; programs have none.
    """
    quiet = {alert["sequence"]: alert["quiet_until"] for alert in alerts if alert["quiet_until"] is not None}
    wanted = {channel.name: await channel.wanted(connection, alerts) for channel in channels}
    if not any(wanted.values()):
        return False
    await sql.hold_writing(connection)
    for name, those in wanted.items():
        targets = {each.target for each in those}
        before = await sql.count_let_through(connection, name, targets, hour_of(now)[0]) if targets else {}
        await sql.insert_deliveries(connection, _rows(name, those, before, now, most_an_hour, quiet))
    return True


def _rows(
    channel: Channel,
    wanted: Sequence[Wanted],
    before: Mapping[Target, int],
    now: datetime,
    most_an_hour: int,
    quiet: Mapping[int, datetime] | None = None,
) -> list[dict[str, Any]]:
    let_through, rows = dict(before), []
    for each in wanted:
        count = let_through[each.target] = let_through.get(each.target, 0) + 1
        held = 0 < most_an_hour < count
        until = (quiet or {}).get(each.sequence, now) if channel is Channel.MAIL else now
        rows.append(
            _row(channel, each.target, now)
            | {
                "alert_account_id": each.alert_account_id,
                "sequence": each.sequence,
                "state": DeliveryState.HELD if held else DeliveryState.WAITING,
                "next_attempt_at": max(hour_of(now)[1] if held else now, until),
            }
        )
    return rows


def _row(channel: Channel, target: Target, now: datetime) -> dict[str, Any]:
    return {
        "account_id": target.account_id,
        "delivery_id": new_id("dlv"),
        "channel": channel,
        "target_id": target.target_id,
        "attempts": 0,
        "created_at": now,
        "updated_at": now,
    }


def new_deliveries(channel: Channel, wanted: Sequence[Wanted], now: datetime) -> list[dict[str, Any]]:
    """Return deliveries that are due at once, however many there are."""
    return _rows(channel, wanted, {}, now, 0)


async def make_digests(engine: AsyncEngine, channels: Sequence[Channel], now: datetime) -> int:
    """Put what was held in hours that are over into digests, one a target; return how many digests."""
    made = 0
    async with engine.begin() as connection:
        if not await sql.try_hold_writing(connection):
            return 0
        for held in await sql.held_until(connection, channels, now, _HELD_AT_ONCE):
            target = Target(held["account_id"], held["target_id"])
            for start in range(0, len(held["delivery_ids"]), DIGEST_ALERTS):
                digest = _row(held["channel"], target, now) | {
                    "state": DeliveryState.WAITING,
                    "next_attempt_at": now,
                }
                await sql.insert_deliveries(connection, [digest])
                carried = held["delivery_ids"][start : start + DIGEST_ALERTS]
                await sql.put_into_digest(connection, target.account_id, carried, digest["delivery_id"])
                made += 1
    return made


def event_of(delivery: RowMapping, alerts: Sequence[RowMapping]) -> Event:
    """Return what a delivery brings: its alert, or a digest of several."""
    events = [alert_event(alert) for alert in alerts]
    if delivery["sequence"] is None:
        return digest_event(delivery["delivery_id"], delivery["account_id"], delivery["created_at"], events)
    (event,) = events
    return Event(event["id"], event)
