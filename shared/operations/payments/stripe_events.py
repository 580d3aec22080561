"""Stripe's events: stored once and answered at once; a worker then asks Stripe what became of the object."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import stripe_events as sql
from shared.domain.errors import NotFoundError
from shared.domain.stripe_event import StripeEvent
from shared.operations.payments.payment_steps import NotOursError, Outcome

log = structlog.get_logger(__name__)

#: Brings whatever belongs to an object of Stripe, named by its id, to where that is now. Raises NotOursError,
#: PaymentUnavailableError, PaymentRefusedError.
Handler = Callable[[str], Awaitable[Outcome]]


class StripeEvents:
    """The steps of Stripe's events, ``evt_…``, each type with its handler."""

    def __init__(self, engine: AsyncEngine, handlers: Mapping[str, Handler]) -> None:
        self._engine = engine
        self._handlers = handlers

    @property
    def types(self) -> frozenset[str]:
        """The types of events that are handled."""
        return frozenset(self._handlers)

    async def store(self, events: Sequence[StripeEvent]) -> list[str]:
        """Store those that are handled and were not known; return their ids. The clock sends them on."""
        handled = [event for event in events if event.type in self._handlers]
        if not handled:
            return []
        async with self._engine.begin() as connection:
            return await sql.store_events(connection, handled)

    async def advance(self, step_id: str) -> Outcome:
        """Handle an event that was not processed yet. What dies in between is handled again."""
        async with self._engine.connect() as connection:
            event = await sql.find_open_event(connection, step_id)
        if event is None:
            return Outcome()
        handler = self._handlers.get(event["type"])
        if handler is None:
            log.warning("a newer release handles this event; it stays due", step=step_id, type=event["type"])
            return Outcome()
        detail = None
        try:
            outcome = await handler(event["object_id"])
        except NotOursError as error:
            outcome, detail = Outcome(), str(error)
        async with self._engine.begin() as connection:
            await sql.mark_processed(connection, step_id, detail)
        return outcome

    async def look_again(self, step_id: str, at: datetime) -> None:
        async with self._engine.begin() as connection:
            await sql.look_again(connection, step_id, at)

    async def park(self, step_id: str, why: str) -> Outcome:
        async with self._engine.begin() as connection:
            await sql.park_event(connection, step_id, why)
        return Outcome()


async def list_events(engine: AsyncEngine, *, everything: bool) -> Sequence[Mapping[str, Any]]:
    """Return events, oldest first: due ones and parked ones, or those that were processed too."""
    async with engine.connect() as connection:
        rows = await sql.list_events(connection, everything=everything)
    return [
        {
            "id": row["event_id"],
            "type": row["type"],
            "object": row["object_id"],
            "state": _state(row),
            "created_at": row["created_at"],
            "received_at": row["received_at"],
            "processed_at": row["processed_at"],
            "detail": row["detail"],
        }
        for row in rows
    ]


async def retry_events(engine: AsyncEngine, event_ids: Sequence[str]) -> Mapping[str, Any]:
    """Let parked events be taken up again. Raises NotFoundError where one is not parked."""
    async with engine.begin() as connection:
        retried = await sql.retry_events(connection, event_ids)
        if missing := sorted(set(event_ids) - set(retried)):
            raise NotFoundError(f"there is no parked event {', '.join(missing)}")
    return {"retried": len(retried)}


def _state(row: RowMapping) -> str:
    if row["processed_at"] is not None:
        return "processed"
    return "parked" if row["next_step_at"] is None else "due"
