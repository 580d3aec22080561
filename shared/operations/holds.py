"""What the stages tell the gate: a record arrived, was debited, was parked.

Where Redis is away nothing waits for it. A hold that it then keeps expires; a balance that it did not hear of
is read from the books within a minute.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import gate as sql
from shared.domain.debit import Debit
from shared.domain.gate import IN_DATABASE, Standing, account_of_hold
from shared.domain.ids import AccountId
from shared.domain.topup import day_start
from shared.domain.usage import PricedUsage
from shared.gateways.redis_gate import DebitedAccount, GateUnavailableError, RedisGate, Spent
from shared.settings import Settings

log = structlog.get_logger(__name__)

#: A hold whose record has arrived waits so long for its debit; then it is swept.
SETTLING_FOR = timedelta(hours=1)


class Holds:
    """The gate as the stages see it."""

    def __init__(self, engine: AsyncEngine, redis: RedisGate | None) -> None:
        self._engine = engine
        self._redis = redis

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.close()

    async def settling(self, hold_ids: Collection[str]) -> None:
        """Let the holds of records that arrived not expire before those are debited."""
        ours, in_database = _parted(hold_ids)
        try:
            if ours and self._redis is not None:
                await self._redis.prolong(ours, SETTLING_FOR)
        except GateUnavailableError as error:
            log.warning("holds may expire before their records are debited", error=str(error))
        if in_database:
            now = utc_now()
            async with self._engine.begin() as connection:
                await sql.prolong_holds(connection, in_database, now + SETTLING_FOR, now)

    async def parked(self, records: Iterable[tuple[str | None, str | None]]) -> None:
        """Give the holds of records back that were parked; each record is its account and its hold."""
        await self._tell(
            [DebitedAccount(account, None, [hold]) for account, hold in records if account and hold]
        )

    async def debited(
        self, decisions: Sequence[Debit], batch: Mapping[AccountId, list[PricedUsage]], now: datetime
    ) -> None:
        """Tell of accounts whose debit was committed: holds are over, the standing is another."""
        await self._tell(
            [
                DebitedAccount(
                    decision.after.account_id,
                    Standing.of(decision.after, decision.before.version + 1, now)
                    if decision.transfers
                    else None,
                    [usage.hold_id for usage in batch[decision.after.account_id] if usage.hold_id],
                    _spent(decision),
                )
                for decision in decisions
            ]
        )

    async def refresh(self, account_ids: Collection[str]) -> None:
        """Tell of changes that did not come from a debit: a credit, a setting, a correction."""
        if self._redis is None or not account_ids:
            return
        async with sql.one_view(self._engine) as connection:
            standings = await sql.load_standings(connection, account_ids, utc_now())
        try:
            await asyncio.gather(
                *(self._redis.load(account_id, standing, None) for account_id, standing in standings.items())
            )
        except GateUnavailableError as error:
            log.warning("the gate hears of a change later", accounts=len(standings), error=str(error))

    async def _tell(self, accounts: Iterable[DebitedAccount]) -> None:
        """Tell the gate; a hold of another account than the record's is not touched."""
        told, in_database = [], []
        for account in accounts:
            ours, others = _parted(
                [hold for hold in account.holds if account_of_hold(hold) == account.account_id]
            )
            in_database += others
            told.append(account._replace(holds=ours + others))
        try:
            if self._redis is not None:
                await self._redis.debited(told)
        except GateUnavailableError as error:
            log.warning("the gate hears of a batch later", error=str(error))
        if in_database:
            async with self._engine.begin() as connection:
                await sql.delete_holds(connection, in_database)


def configured_holds(engine: AsyncEngine, settings: Settings) -> Holds:
    """Return the gate that the settings name; without Redis only holds in the database are told."""
    return Holds(engine, RedisGate(settings.redis_url) if settings.redis_url else None)


def _parted(hold_ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """Part holds into those placed in Redis and those placed in the database."""
    ours: list[str] = []
    in_database: list[str] = []
    for hold_id in hold_ids:
        (in_database if hold_id.endswith(IN_DATABASE) else ours).append(hold_id)
    return ours, in_database


def _spent(decision: Debit) -> list[Spent]:
    """Return what keys spent, by UTC day: every period of a key begins and ends with one."""
    sums: dict[tuple[str, datetime], int] = defaultdict(int)
    for record in decision.records:
        if record.row.api_key_id is not None:
            sums[record.row.api_key_id, day_start(record.row.time)] += record.row.charge_nanos
    return [Spent(key, charge, day) for (key, day), charge in sums.items()]
