"""Books whose entries lie in months of choice, and the statements of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import books as sql
from shared.db import tables
from shared.db.statement_tables import statements as stored
from shared.domain.account import roll_over
from shared.domain.events import USAGE_TYPE, reread_event
from shared.domain.ids import AccountId
from shared.domain.invoice import Party
from shared.domain.ledger import TransferKind
from shared.domain.periods import Period
from shared.domain.pricing import TokenRates
from shared.domain.signature import SigningKey
from shared.domain.statement import Statement
from shared.domain.statement_check import Checked, check_statement
from shared.domain.statement_export import read_export
from shared.domain.usage import PricedUsage
from shared.operations.accounts import create_account, create_plan
from shared.operations.audit import audit
from shared.operations.money import commit_transfers
from shared.operations.prices import set_price
from shared.operations.statement_closing import StatementClosing
from shared.operations.statements import export_statement, show_statement
from workers.debit import Debiting

GRACE = timedelta(hours=1)
SELLER = Party(name="Northwind Inference Ltd", email="billing@example.com")
KEY, NEXT_KEY = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
CLOSE_AFTER = timedelta(hours=6)
SEPTEMBER, OCTOBER, NOVEMBER = Period(2026, 9), Period(2026, 10), Period(2026, 11)
MODELS = ("nano-small", "nano-large")


def day(text_: str) -> datetime:
    """Return a time of 2026 from a text such as ``10-31 23:59``."""
    return datetime.strptime(f"2026-{text_}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


@dataclass(frozen=True)
class StatementBooks:
    """A migrated database, with two models in which a token costs a nano."""

    engine: AsyncEngine
    url: str
    rates: dict[str, int]

    async def account(self, created: datetime = SEPTEMBER.start, **options: Any) -> AccountId:
        account_id, _ = await create_account(self.engine, **options)
        async with self.engine.begin() as connection:
            await connection.execute(
                text("UPDATE accounts SET created_at = :at WHERE account_id = :id"),
                {"at": created, "id": account_id},
            )
        return account_id

    async def subscriber(self, quota: int, anchor: datetime, **options: Any) -> AccountId:
        plan = await create_plan(
            self.engine, "pro", quota_nanos=quota, price_nanos=0, discount_ppm=0, zone="UTC"
        )
        account_id = await self.account(plan=plan, anchor=anchor, **options)
        cycle = {"id": account_id, "start": anchor, "end": Period.of(anchor).end}
        for table in ("accounts", "cycles"):
            change = f"UPDATE {table} SET cycle_start = :start, cycle_end = :end WHERE account_id = :id"  # noqa: S608 - two names
            async with self.engine.begin() as connection:
                await connection.execute(text(change), cycle)
        return account_id

    async def post(
        self,
        account_id: str,
        amount: int,
        now: datetime,
        kind: TransferKind = TransferKind.CREDIT,
        quota: int = 0,
        cause: str = "by hand",
    ) -> None:
        """Add an entry at a time of choice."""
        async with self.engine.begin() as connection:
            before = (await sql.load_accounts(connection, [AccountId(account_id)], now, GRACE))[
                AccountId(account_id)
            ]
            rolled, transfers = roll_over(before, now, GRACE)
            after, transfer = rolled.post(kind, amount, cause, now, quota_amount_nanos=quota)
            assert await commit_transfers(connection, before, after, (*transfers, transfer), {})

    async def use(
        self, account_id: str, records: Sequence[tuple[str, int]], now: datetime, model: str = MODELS[0]
    ) -> None:
        """Debit records, each an id and a number of tokens, at a time of choice."""
        batch = [self._record(account_id, event_id, tokens, now, model) for event_id, tokens in records]
        await Debiting(self.engine, GRACE, lambda: now).handle(batch)

    async def shown(self, account_id: str, period: Period, now: datetime) -> dict[str, Any]:
        return await show_statement(self.engine, account_id, period, SELLER, now)

    async def statement(self, account_id: str, period: Period, now: datetime) -> Statement:
        return msgspec.convert((await self.shown(account_id, period, now))["statement"], Statement)

    def closing(self, now: datetime, key: SigningKey | None = KEY) -> StatementClosing:
        return StatementClosing(self.engine, SELLER, key, lambda: now, CLOSE_AFTER)

    async def exported(self, account_id: str, period: Period, now: datetime, *, usage: bool) -> list[bytes]:
        signed = await self.shown(account_id, period, now)
        return [line async for line in export_statement(self.engine, account_id, signed, usage=usage)]

    async def stored(self) -> list[tuple[str, Period]]:
        """Return account and month of every statement that was closed."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                select(stored.c.account_id, stored.c.period_start).order_by(*stored.primary_key.columns)
            )
            return [(account_id, Period.of(start)) for account_id, start in rows]

    async def seq(self, account_id: str) -> int:
        async with self.engine.connect() as connection:
            query = select(tables.accounts.c.seq).where(tables.accounts.c.account_id == account_id)
            return int((await connection.execute(query)).scalar_one())

    async def assert_proven(self) -> None:
        report = await audit(self.engine)
        assert report.ok, str(report.fault)

    def _record(self, account_id: str, event_id: str, tokens: int, time: datetime, model: str) -> PricedUsage:
        envelope = {"specversion": "1.0", "type": USAGE_TYPE, "source": "gateway-1", "id": event_id}
        data = {"account_id": account_id, "model": model, "input_tokens": tokens, "provider": "nano"}
        raw = json.dumps({**envelope, "time": time.isoformat(), "data": data}).encode()
        return PricedUsage.of(reread_event(raw), raw, account_id, self.rates[model], tokens)


async def open_statement_books(engine: AsyncEngine, url: str) -> StatementBooks:
    nano = TokenRates.inherit({"input": 10**6, "output": 10**6})
    rates = {}
    for model in MODELS:
        _, rate = await set_price(engine, "nano", model, nano, None)
        rates[model] = rate.rate_id
    return StatementBooks(engine, url, rates)


def checked(lines: Sequence[bytes]) -> Checked:
    signed, entries = read_export(lines)
    assert signed is not None
    return check_statement(signed, entries, [KEY.public_key])
