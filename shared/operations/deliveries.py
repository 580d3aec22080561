"""Alerts for receivers of their own: who is to get them, written with the mark that the exchange has them.

A channel (webhooks, mail) knows its targets and how to send; what is common to all stands here and in
``delivery_loop``: what an hour may bring, attempts, digests, the log.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.deliveries import Channel, DeliveryError, Event, Receipt, Target, Wanted


class DeliveryChannel(Protocol):
    """One way to receivers. A target gets one event at a time, from one process; and some of them twice."""

    @property
    def name(self) -> Channel: ...

    async def wanted(self, connection: AsyncConnection, alerts: Sequence[RowMapping]) -> Sequence[Wanted]:
        """Return which targets are to get which of these alerts (rows of ``alerts``), in order."""

    async def send(self, target: Target, event: Event) -> Receipt:
        """Bring an event to a target, within seconds. Raises DeliveryError, which says whether to try again."""

    async def note_sent(self, connection: AsyncConnection, target: Target, now: datetime) -> None:
        """Note, in the transaction that records it, that a target took an event."""

    async def note_failed(
        self, connection: AsyncConnection, target: Target, error: DeliveryError, now: datetime
    ) -> None:
        """Note, in the transaction that records it, that an attempt failed."""
