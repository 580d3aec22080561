"""What webhooks did not bring: Stripe's own list of events, read again and again from where it was left.

The cursor is the newest event that was read, in Stripe's time: it does not depend on what our clock says. It
moves once all pages are stored, and each look begins a little before it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import stripe_progress
from shared.gateways.stripe_events import KEPT_FOR, StripeEventList
from shared.operations.payments.stripe_events import StripeEvents

log = structlog.get_logger(__name__)

LOOK_EVERY = timedelta(minutes=2)
#: Events are listed some seconds after they are dated.
_OVERLAP = timedelta(minutes=10)
#: A top-up waits for its owner for a day: what happened before payg was installed is of no use.
_FIRST_LOOK = timedelta(days=1)
_TASK = "events"


class EventBackfill:
    """Stores the events that never came."""

    def __init__(
        self, engine: AsyncEngine, listed: StripeEventList, events: StripeEvents, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._listed = listed
        self._events = events
        self._now = now

    async def look(self) -> None:
        """Look at Stripe's list if no clock did so lately.

        Raises PaymentUnavailableError, PaymentRefusedError; the next look then begins where this one did.
        """
        now = self._now()
        async with self._engine.connect() as connection:
            progress = await stripe_progress.find_progress(connection, _TASK)
        if progress and now - progress["finished_at"] < LOOK_EVERY:
            return
        _tell_what_is_gone(progress, now)
        newest = progress["done_until"] if progress else now - _FIRST_LOOK
        missed: list[str] = []
        async for page in self._listed.pages(self._events.types, newest - _OVERLAP):
            missed += await self._events.store(page)
            newest = max([newest, *(event.created_at for event in page)])
        async with self._engine.begin() as connection:
            await stripe_progress.save_progress(connection, _TASK, newest, now)
        if missed:
            log.info("events that no webhook had brought", events=len(missed))


def _tell_what_is_gone(progress: RowMapping | None, now: datetime) -> None:
    if progress and now - progress["finished_at"] > KEPT_FOR:
        log.error(
            "events of Stripe are gone: they are kept for 30 days, and were read last before that; "
            "run `payg reconcile`",
            read_last=progress["finished_at"].isoformat(),
        )
