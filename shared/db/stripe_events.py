"""SQL of Stripe's events: each stored once by its id, however often it comes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import stripe_events
from shared.domain.stripe_event import StripeEvent

_OPEN = stripe_events.c.processed_at.is_(None)


async def store_events(connection: AsyncConnection, events: Sequence[StripeEvent]) -> list[str]:
    """Store events, due at once; return the ids of those that were not known."""
    if not events:
        return []
    # In one order everywhere, so that two who store the same events do not wait for each other.
    ordered = sorted(events, key=lambda event: event.event_id)
    rows = [asdict(event) | {"next_step_at": func.clock_timestamp()} for event in ordered]
    statement = insert(stripe_events).values(rows).on_conflict_do_nothing(constraint="stripe_events_pkey")
    return list((await connection.execute(statement.returning(stripe_events.c.event_id))).scalars())


async def find_open_event(connection: AsyncConnection, event_id: str) -> RowMapping | None:
    """Return an event that was not processed yet."""
    query = select(stripe_events).where(stripe_events.c.event_id == event_id, _OPEN)
    return (await connection.execute(query)).mappings().one_or_none()


async def mark_processed(connection: AsyncConnection, event_id: str, detail: str | None) -> None:
    """Note that nothing is left to do for an event."""
    done = {"processed_at": func.clock_timestamp(), "detail": detail, "next_step_at": None}
    await _change(connection, event_id, done)


async def look_again(connection: AsyncConnection, event_id: str, at: datetime) -> None:
    """Let an event that was not processed be taken up again then."""
    await _change(connection, event_id, {"next_step_at": at})


async def park_event(connection: AsyncConnection, event_id: str, why: str) -> None:
    """Leave an event to a person: it stays unprocessed, and nobody takes it up again."""
    await _change(connection, event_id, {"detail": why, "next_step_at": None})


async def list_events(connection: AsyncConnection, *, everything: bool) -> Sequence[RowMapping]:
    """Return events, oldest first: those that were not processed, or all."""
    query = select(stripe_events).order_by(stripe_events.c.received_at, stripe_events.c.event_id)
    return (await connection.execute(query if everything else query.where(_OPEN))).mappings().all()


async def retry_events(connection: AsyncConnection, event_ids: Sequence[str]) -> list[str]:
    """Let parked events be due; return the ids of those that were parked."""
    parked = stripe_events.c.event_id.in_(event_ids) & _OPEN & stripe_events.c.next_step_at.is_(None)
    again = {"next_step_at": func.clock_timestamp(), "detail": None}
    statement = update(stripe_events).where(parked).values(again).returning(stripe_events.c.event_id)
    return list((await connection.execute(statement)).scalars())


async def _change(connection: AsyncConnection, event_id: str, values: Mapping[str, object]) -> None:
    await connection.execute(
        update(stripe_events).where(stripe_events.c.event_id == event_id, _OPEN).values(**values)
    )
