"""Books with a price list of their own, in which a token costs a nano, and ways to read them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, Select, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import tables
from shared.domain.events import USAGE_TYPE, reread_event
from shared.domain.ids import AccountId
from shared.domain.pricing import TokenRates
from shared.domain.usage import PricedUsage
from shared.operations.accounts import create_account, create_plan
from shared.operations.audit import audit
from shared.operations.prices import set_price
from workers.debit import Debiting

GRACE = timedelta(hours=1)
MODEL = "test-nano"
#: Nanos per million tokens: a record costs as many nanos as it has tokens.
NANO_A_TOKEN = 10**6


def event(event_id: str, tokens: int = 100, time: datetime | None = None, **data: Any) -> bytes:
    """Return a usage event as JSON; ``data`` goes over what it has."""
    fields = {"model": MODEL, "input_tokens": tokens, **data}
    stamp = (time or utc_now()).astimezone(UTC).isoformat()
    envelope = {"specversion": "1.0", "type": USAGE_TYPE, "source": "gateway-1", "id": event_id}
    return json.dumps({**envelope, "time": stamp, "data": fields}).encode()


@dataclass(frozen=True)
class Books:
    """A migrated database with one price."""

    engine: AsyncEngine
    rate_id: int

    async def account(self, **options: Any) -> AccountId:
        """Create an account and return its id."""
        account_id, _ = await create_account(self.engine, **options)
        return account_id

    async def subscriber(self, quota: int, discount_ppm: int = 0, **options: Any) -> AccountId:
        """Create an account with a plan of its own; by default its cycle began ten days ago."""
        plan = await create_plan(
            self.engine, "pro", quota_nanos=quota, price_nanos=0, discount_ppm=discount_ppm, zone="UTC"
        )
        anchor = options.pop("anchor", None) or utc_now() - timedelta(days=10)
        return await self.account(plan=plan, anchor=anchor, **options)

    def record(
        self,
        account_id: AccountId,
        event_id: str,
        tokens: int = 100,
        time: datetime | None = None,
        **data: Any,
    ) -> PricedUsage:
        """Return a record as pricing hands it to debit."""
        raw = event(event_id, tokens, time, account_id=account_id, **data)
        return PricedUsage.of(reread_event(raw), raw, account_id, self.rate_id, tokens)

    async def debit(self, batch: Sequence[PricedUsage], now: datetime | None = None) -> None:
        """Run the debit stage on a batch, at a time of choice."""
        await Debiting(self.engine, GRACE, lambda: now or utc_now()).handle(list(batch))

    async def usage(self, account_id: AccountId | None = None) -> Sequence[RowMapping]:
        records = tables.usage_records
        query = select(records).order_by(records.c.account_id, records.c.event_id)
        return await self._all(query if account_id is None else query.where(_of(records, account_id)))

    async def transfers(self, account_id: AccountId) -> Sequence[RowMapping]:
        rows = tables.transfers
        return await self._all(select(rows).where(_of(rows, account_id)).order_by(rows.c.seq))

    async def cycles(self, account_id: AccountId) -> Sequence[RowMapping]:
        rows = tables.cycles
        return await self._all(select(rows).where(_of(rows, account_id)).order_by(rows.c.cycle_start))

    async def stored(self, account_id: AccountId) -> RowMapping:
        """Return the row of an account."""
        return (await self._all(select(tables.accounts).where(_of(tables.accounts, account_id))))[0]

    async def parked(self) -> Sequence[RowMapping]:
        """Return what is in quarantine."""
        return await self._all(select(tables.quarantine).order_by(tables.quarantine.c.event_id))

    async def assert_proven(self) -> None:
        """The audit finds no fault."""
        report = await audit(self.engine)
        assert report.ok, str(report.fault)

    async def _all(self, query: "Select[Any]") -> Sequence[RowMapping]:
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).mappings().all()


async def open_books(engine: AsyncEngine) -> Books:
    """Give the database of ``engine`` its price."""
    rates = TokenRates.inherit({"input": NANO_A_TOKEN, "output": NANO_A_TOKEN})
    _, rate = await set_price(engine, None, MODEL, rates, None)
    return Books(engine, rate.rate_id)


def content(rows: Iterable[RowMapping]) -> list[dict[str, Any]]:
    """Return usage rows without what depends on how they were batched."""
    return [
        {k: v for k, v in row.items() if k not in ("transfer_seq", "digest", "debited_at")} for row in rows
    ]


def paid(rows: Iterable[RowMapping]) -> dict[str, tuple[int, int, int, int]]:
    """Return by event what was charged, and the quota's, the balance's and nobody's share of it."""
    parts = ("charge_nanos", "quota_nanos", "balance_nanos", "uncollected_nanos")
    return {row["event_id"]: tuple(row[part] for part in parts) for row in rows}  # type: ignore[misc]


async def run_sql(engine: AsyncEngine, statement: str, **values: Any) -> int:
    """Run one statement and return how many rows it changed."""
    async with engine.begin() as connection:
        return (await connection.execute(text(statement), values)).rowcount


def _of(table: Any, account_id: AccountId) -> Any:
    return table.c.account_id == account_id
