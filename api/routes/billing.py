"""What an account has, what moved it, and what was used."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel
from sqlalchemy import RowMapping

from api.access import ReadingAccount
from api.bodies import Instant
from api.errors import RESPONSES, ApiError
from api.paging import Cursor, Limit, Name, Page, Seq, cursor_of, key_of
from api.services import Services, services_of
from shared.clock import utc_now
from shared.db import pages, usage_days
from shared.db.pages import Span
from shared.db.usage_days import Facet, Step
from shared.domain.ledger import TransferKind
from shared.domain.money import format_dollars
from shared.domain.topup import day_start
from shared.operations.accounts import show_account

router = APIRouter(prefix="/v1/billing", tags=["billing"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]


class Balance(BaseModel):
    """What an account can spend, and how its subscription stands.

    At its present pace the balance is used up at ``empty_at``; null where that is unknown or far away.
    """

    account_id: str
    balance_nanos: int
    balance: str
    level: str
    alert_level: str
    empty_at: datetime | None
    quota_nanos: int
    quota_remaining_nanos: int
    cycle_spent_nanos: int
    cycle_start: datetime | None
    cycle_end: datetime | None
    fallback: bool
    spending_limit_nanos: int | None
    frozen: bool


class Transaction(BaseModel):
    """One movement of money or quota."""

    seq: int
    kind: str
    amount_nanos: int
    amount: str
    balance_after_nanos: int
    quota_amount_nanos: int
    quota_after_nanos: int
    cause: str
    occurred_at: datetime
    hash: str


class UsageRecord(BaseModel):
    """One record with who paid: ``charge = quota + balance + uncollected``."""

    id: str
    transfer_seq: int
    api_key_id: str | None
    provider: str | None
    model: str
    time: datetime
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    list_nanos: int
    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int


class TransactionDetail(Transaction):
    """A transaction with the usage records in it, the first 500."""

    usage: list[UsageRecord]


class UsagePoint(BaseModel):
    """Sums of one period; provider and model, or the key, where the series is split by them."""

    period: datetime
    provider: str | None = None
    model: str | None = None
    api_key_id: str | None = None
    records: int
    input_tokens: int
    output_tokens: int
    list_nanos: int
    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int


class UsageSeries(BaseModel):
    """Usage by period, oldest first."""

    step: Step
    data: list[UsagePoint]


@router.get("/balance")
async def balance(account_id: ReadingAccount, services: ServicesNow) -> Balance:
    """Show what the account can spend."""
    shown = await show_account(services.engine, account_id)
    fields = {name: shown[name] for name in Balance.model_fields if name in shown}
    return Balance(**fields, balance=format_dollars(shown["balance_nanos"]))


@router.get("/transactions")
async def transactions(
    account_id: ReadingAccount,
    services: ServicesNow,
    kind: Annotated[list[TransferKind] | None, Query(description="only these kinds")] = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Transaction]:
    """List what moved money or quota, newest first."""
    before = key_of(cursor, Seq) if cursor else None
    async with services.engine.connect() as connection:
        rows = await pages.page_transfers(
            connection, account_id, limit + 1, before, kind or (), Span(since, until)
        )
    found = [transaction_out(row) for row in rows]
    more = cursor_of(found[limit - 1].seq) if len(found) > limit else None
    return Page(data=found[:limit], next_cursor=more)


@router.get("/transactions/{seq}")
async def transaction(
    account_id: ReadingAccount, services: ServicesNow, seq: Annotated[int, Path(ge=1, lt=2**63)]
) -> TransactionDetail:
    """Show one transaction, down to each usage record."""
    async with services.engine.connect() as connection:
        row = await pages.find_transfer(connection, account_id, seq)
        usage = await pages.page_usage(connection, account_id, 500, transfer_seq=seq)
    if row is None:
        raise ApiError(404, "not_found", f"there is no transaction {seq}")
    return TransactionDetail(
        **transaction_out(row).model_dump(), usage=[usage_record(each) for each in usage]
    )


@router.get("/usage")
async def usage_series(
    account_id: ReadingAccount,
    services: ServicesNow,
    step: Step = Step.DAY,
    by: Annotated[list[Facet] | None, Query(description="split by model, by key, or both")] = None,
    since: Instant | None = None,
    until: Instant | None = None,
) -> UsageSeries:
    """Sum usage up by day, week or month of UTC; the last 30 days unless told otherwise."""
    until = until or utc_now() + timedelta(days=1)
    since = since or day_start(utc_now()) - timedelta(days=29)
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, account_id)
        rows = await usage_days.read_series(connection, account_id, since, until, step, by or ())
    return UsageSeries(step=step, data=[_point(row._mapping) for row in rows])  # noqa: SLF001 - its public name


@router.get("/usage/records")
async def usage_records(
    account_id: ReadingAccount,
    services: ServicesNow,
    api_key_id: Annotated[str | None, Query(max_length=512)] = None,
    model: Annotated[str | None, Query(max_length=512)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[UsageRecord]:
    """List usage records, newest debit first."""
    before = key_of(cursor, tuple[Seq, Name]) if cursor else None
    async with services.engine.connect() as connection:
        rows = await pages.page_usage(
            connection, account_id, limit + 1, before, api_key_id=api_key_id, model=model
        )
    found = [usage_record(row) for row in rows]
    last = found[limit - 1] if len(found) > limit else None
    return Page(data=found[:limit], next_cursor=cursor_of((last.transfer_seq, last.id)) if last else None)


def usage_record(row: RowMapping) -> UsageRecord:
    """Return a usage record as people see it."""
    names = set(UsageRecord.model_fields) - {"id"}
    return UsageRecord(id=row["event_id"], **{name: row[name] for name in names})


def transaction_out(row: RowMapping | Mapping[str, Any]) -> Transaction:
    """Return a transfer as people see it."""
    fields: dict[str, Any] = {name: row[name] for name in Transaction.model_fields if name in row}
    return Transaction(**fields | {"amount": format_dollars(row["amount_nanos"]), "hash": row["hash"].hex()})


def _point(row: RowMapping) -> UsagePoint:
    named = {name: row[name] or None for name in ("provider", "model", "api_key_id") if name in row}
    sums = {name: row[name] for name in UsagePoint.model_fields if name in row and name not in named}
    return UsagePoint(**named, **sums)
