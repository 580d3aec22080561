"""What the stages tell the gate: a record arrived, was debited, was parked.

Where Redis is away nothing waits for it: it is told again until it answers. If the process dies meanwhile, a
balance that Redis did not hear of is read from the books within a minute, and a hold is swept.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

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
#: So many accounts that Redis was not there to hear of are remembered, and told so many at a time.
_UNTOLD = 100_000
_A_CALL = 500
_AGAIN_AFTER_S = 1.0


class Holds:
    """The gate as the stages see it."""

    def __init__(
        self, engine: AsyncEngine, redis: RedisGate | None, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._engine = engine
        self._redis = redis
        self._now = now
        self._untold: deque[DebitedAccount] = deque(maxlen=_UNTOLD)
        self._telling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        if self._redis is not None:
            await self._redis.close()

    async def settling(self, hold_ids: Collection[str]) -> None:
        """Let the holds of records that arrived not expire before those are debited."""
        if self._redis is not None:
            try:
                await self._redis.settling(list(hold_ids), SETTLING_FOR)
            except GateUnavailableError as error:
                log.warning("holds may expire before their records are debited", error=str(error))
        if in_database := _in_database(hold_ids):
            now = self._now()
            async with self._engine.begin() as connection:
                await sql.prolong_holds(connection, in_database, now + SETTLING_FOR, now)

    async def parked(self, records: Iterable[tuple[str | None, str | None]]) -> None:
        """Give the holds of records back that were parked; each record is its account and its hold."""
        await self._tell(
            [
                DebitedAccount(account, None, [hold])
                for account, hold in records
                if account and hold and account_of_hold(hold) == account
            ]
        )

    async def debited(
        self, decisions: Iterable[Debit], batch: Mapping[AccountId, list[PricedUsage]], now: datetime
    ) -> None:
        """Tell of accounts whose debit was committed: holds are over, the standing is another.

        A hold of another account than the record's is not touched.
        """
        told, repeated = [], {}
        for decision in decisions:
            account_id = decision.after.account_id
            holds = _own_holds(account_id, batch[account_id])
            if decision.transfers:
                standing = Standing.of(decision.after, decision.before.version + 1, now)
                told.append(DebitedAccount(account_id, standing, holds, _spent(decision)))
            elif holds:
                repeated[account_id] = holds
        await self._tell(told + await self._repeated(repeated, now))

    async def _repeated(
        self, holds: Mapping[AccountId, Sequence[str]], now: datetime
    ) -> list[DebitedAccount]:
        """Return what to tell of records that were debited before, by a process that may have died untold."""
        if not holds:
            return []
        async with sql.one_view(self._engine) as connection:
            standings = await sql.load_standings(connection, holds, now)
        return [
            DebitedAccount(account_id, standings.get(account_id), over, all_spent=False)
            for account_id, over in holds.items()
        ]

    async def refresh(self, account_ids: Collection[str]) -> None:
        """Tell of changes that did not come from a debit: a credit, a setting, a correction."""
        if self._redis is None or not account_ids:
            return
        async with sql.one_view(self._engine) as connection:
            standings = await sql.load_standings(connection, account_ids, self._now())
        try:
            await self._redis.refresh(standings)
        except GateUnavailableError as error:
            log.warning("the gate hears of a change later", accounts=len(standings), error=str(error))

    async def catch_up(self, versions: Mapping[str, int]) -> None:
        """Tell of whatever changed accounts and was not told, as by a process that died.

        ``versions`` are those that the books have.
        """
        if self._redis is None or not versions:
            return
        try:
            known = await self._redis.versions(versions)
        except GateUnavailableError as error:
            log.warning("the gate hears of changes later", accounts=len(versions), error=str(error))
        else:
            await self.refresh([account for account, version in known.items() if version < versions[account]])

    async def _tell(self, accounts: Sequence[DebitedAccount]) -> None:
        in_database = _in_database(hold for account in accounts for hold in account.holds)
        if in_database:
            async with self._engine.begin() as connection:
                await sql.delete_holds(connection, in_database)
        if self._redis is None:
            return
        try:
            await self._redis.debited(accounts)
        except GateUnavailableError as error:
            log.warning("the gate hears of a batch later", accounts=len(accounts), error=str(error))
            self._untold.extend(accounts)
            if self._telling is None or self._telling.done():
                self._telling = asyncio.create_task(self._tell_later(self._redis))

    async def _tell_later(self, redis: RedisGate) -> None:
        """Tell what Redis was not there for, the oldest first. What it heard of meanwhile it passes over."""
        while self._untold:
            await asyncio.sleep(_AGAIN_AFTER_S)
            step = list(islice(self._untold, _A_CALL))
            with suppress(GateUnavailableError):
                await redis.debited(step)
                for account in step:
                    if self._untold[0] is account:  # else it was pushed out meanwhile
                        self._untold.popleft()


def configured_holds(engine: AsyncEngine, settings: Settings) -> Holds:
    """Return the gate that the settings name; without Redis only holds in the database are told."""
    return Holds(engine, RedisGate(settings.redis_url) if settings.redis_url else None)


def _in_database(hold_ids: Iterable[str]) -> list[str]:
    return [hold_id for hold_id in hold_ids if hold_id.endswith(IN_DATABASE)]


def _own_holds(account_id: str, records: Iterable[PricedUsage]) -> list[str]:
    return [
        usage.hold_id for usage in records if usage.hold_id and account_of_hold(usage.hold_id) == account_id
    ]


def _spent(decision: Debit) -> list[Spent]:
    """Return what keys spent, by UTC day: every period of a key begins and ends with one."""
    sums: dict[tuple[str, datetime], int] = defaultdict(int)
    for record in decision.records:
        if record.row.api_key_id is not None:
            sums[record.row.api_key_id, day_start(record.row.time)] += record.row.charge_nanos
    return [Spent(key, charge, day) for (key, day), charge in sums.items()]
