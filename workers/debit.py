"""Debit: take each record out of its account's quota and balance, exactly once.

One transaction a batch. The versions of the accounts decide: the accounts that nobody else changed since they
were read are committed with all that belongs to them; the others are read, decided and tried again. After the
commit the gate is told: the records' holds are over, the balances are others.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import books
from shared.db.quarantine import add_rejections
from shared.domain.debit import Debit, debit
from shared.domain.ids import AccountId
from shared.domain.quarantine import Reason, Rejection
from shared.domain.usage import PricedUsage
from shared.messaging.envelope import StageMessage, messages_to
from shared.messaging.topology import Stage
from shared.metrics import CHARGED, HOLDS, LOST_RACES, RECORD_AGE, RECORDS
from shared.operations.holds import Holds

log = structlog.get_logger(__name__)

Batch = dict[AccountId, list[PricedUsage]]


class Debiting:
    """The debit stage."""

    def __init__(
        self,
        engine: AsyncEngine,
        grace: timedelta,
        now: Callable[[], datetime],
        holds: Holds | None = None,
    ) -> None:
        self._engine = engine
        self._grace = grace
        self._now = now
        self._holds = holds

    async def handle(self, batch: list[PricedUsage]) -> Sequence[StageMessage]:
        """Debit a batch. When this returns, every record is in the books, or parked as a conflict."""
        remaining = by_account(batch)
        due: list[int] = []
        alerts: list[int] = []
        while remaining:
            won, due_id, raised = await self._debit(remaining)
            due += [due_id] if due_id else []
            alerts += raised
            lost = {account_id: usage for account_id, usage in remaining.items() if account_id not in won}
            if lost:
                LOST_RACES.inc(len(lost))
                log.debug("lost races", accounts=len(lost), of=len(remaining))
            remaining = lost
        return messages_to(Stage.THRESHOLDS, due) + messages_to(Stage.NOTIFICATIONS, alerts)

    async def _debit(self, batch: Batch) -> tuple[set[AccountId], int | None, list[int]]:
        """Try to debit all accounts in one transaction; return those done, what is due, alerts raised."""
        async with self._engine.begin() as connection:
            decisions = await self._decide(connection, batch)
            changes = [(d.before, d.after) for d in decisions if d.transfers]
            moved = await books.move_versions(connection, changes)
            done = [d for d in decisions if d.before.account_id in moved.account_ids or not d.transfers]
            alerts = await _commit(connection, done)
        _count(done, self._now())
        if self._holds:
            await self._holds.debited(done, batch, self._now())
        return {decision.before.account_id for decision in done}, moved.due_id, alerts

    async def _decide(self, connection: AsyncConnection, batch: Batch) -> list[Debit]:
        # The accounts first: an id that is inserted after they were read moves a version, and we lose.
        now = self._now()
        states = await books.load_accounts(connection, batch.keys(), now, self._grace)
        ids = [(account_id, usage.event_id) for account_id, records in batch.items() for usage in records]
        known = await books.known_ids(connection, ids)
        return [
            debit(states[account_id], records, known.get(account_id, {}), now, self._grace)
            for account_id, records in sorted(batch.items())
        ]


def by_account(batch: Sequence[PricedUsage]) -> Batch:
    """Part a batch by account, keeping the order of arrival."""
    accounts: Batch = defaultdict(list)
    for usage in batch:
        accounts[usage.account_id].append(usage)
    return dict(accounts)


async def _commit(connection: AsyncConnection, decisions: Sequence[Debit]) -> list[int]:
    transfers = [(d.after.account_id, transfer) for d in decisions for transfer in d.transfers]
    records = [record for d in decisions for record in d.records]
    if transfers:
        await books.insert_transfers(connection, transfers)
    if records:
        await books.insert_usage(connection, records)
    return await add_rejections(connection, [_conflict(usage) for d in decisions for usage in d.conflicts])


def _count(done: Sequence[Debit], now: datetime) -> None:
    rows = [record.row for decision in done for record in decision.records]
    RECORDS.labels("debit", "debited").inc(len(rows))
    RECORDS.labels("debit", "duplicate").inc(sum(decision.duplicates for decision in done))
    RECORDS.labels("debit", Reason.CONFLICT).inc(sum(len(decision.conflicts) for decision in done))
    if rows:
        CHARGED.labels("quota").inc(sum(row.quota_nanos for row in rows))
        CHARGED.labels("balance").inc(sum(row.balance_nanos for row in rows))
        CHARGED.labels("uncollected").inc(sum(row.uncollected_nanos for row in rows))
        HOLDS.labels("billed").inc(sum(row.hold_id is not None for row in rows))
        RECORD_AGE.observe(max(0.0, (now - min(row.time for row in rows)).total_seconds()))


def _conflict(usage: PricedUsage) -> Rejection:
    detail = f"account {usage.account_id} has a record {usage.event_id} with other content"
    return Rejection(Reason.CONFLICT, detail, bytes(usage.raw), usage.account_id, usage.event_id)
