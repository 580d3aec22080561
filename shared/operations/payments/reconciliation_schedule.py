"""Reconciliation by the clock: every two minutes what is new, once a day what may have come late."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import stripe_progress
from shared.operations.payments.reconcile import LOOK_BACK, TASK, Reconciliation, compared_until

log = structlog.get_logger(__name__)

_EVERY = timedelta(minutes=2)
_THOROUGH_EVERY = timedelta(days=1)
#: Windows overlap by so much: what moved late, or by a clock that is wrong, is still in one.
_OVERLAP = timedelta(hours=3)


class ReconciliationSchedule:
    """When the clock compares, and from when on."""

    def __init__(
        self, engine: AsyncEngine, reconciliation: Reconciliation, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._reconciliation = reconciliation
        self._now = now
        self._thorough_due: datetime | None = None

    async def run_due(self) -> None:
        """Compare, unless it was done lately."""
        now = self._now()
        async with self._engine.connect() as connection:
            row = await stripe_progress.find_progress(connection, TASK)
            start = await compared_until(connection, now) - _OVERLAP
        thorough = self._thorough_due is None or now >= self._thorough_due
        if row and now < row["finished_at"] + _EVERY and not thorough:
            return
        if thorough:
            start = min(start, now - LOOK_BACK)
        await self._reconciliation.run(start, thorough=thorough)
        if thorough:
            self._thorough_due = now + _THOROUGH_EVERY


def warn(what: str, difference: Mapping[str, Any]) -> None:
    """Write a line for an operator."""
    names = ("id", "kind", "stripe_id", "account_id", "topup_id", "detail")
    log.warning(what, **{name: difference[name] for name in names})
