"""Everything that moved money or quota, down to how each record was priced, and who paid."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BeforeValidator

from api.console.pages import page
from api.console.viewer import Reader, ServicesNow
from api.errors import ApiError
from api.paging import cursor_of, key_of
from api.services import Services
from shared.db import pages, prices
from shared.db.pages import Span
from shared.domain.ledger import TransferKind
from shared.domain.pricing import Tier, tier_for
from shared.domain.tokens import TOKEN_KINDS, TokenCounts
from shared.operations.keys import list_keys

router = APIRouter()

_PAGE, _RECORDS = 25, 200


def _day(text: object) -> object:
    return None if text == "" else text


Day = Annotated[date | None, BeforeValidator(_day)]
Seq = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/transactions")
async def show(
    request: Request,
    viewer: Reader,
    services: ServicesNow,
    kind: Annotated[list[TransferKind] | None, Query()] = None,
    since: Day = None,
    until: Day = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """List what moved money, newest first."""
    before = key_of(cursor, int) if cursor else None
    span = Span(_midnight(since), _midnight(until + timedelta(days=1) if until else None))
    async with services.engine.connect() as connection:
        rows = await pages.page_transfers(
            connection, viewer.reads_account, _PAGE + 1, before, kind or (), span
        )
    more = cursor_of(rows[_PAGE - 1]["seq"]) if len(rows) > _PAGE else None
    return await page(
        request,
        viewer,
        "transactions.html",
        rows=rows[:_PAGE],
        more=more,
        paged=cursor is not None,
        kinds=list(TransferKind),
        kind=kind or [],
        since=since,
        until=until,
    )


@router.get("/transactions/{seq}")
async def detail(request: Request, viewer: Reader, services: ServicesNow, seq: Seq) -> Response:
    """Show one transaction with its usage records."""
    found = await find_transaction(services, viewer.reads_account, seq)
    return await page(request, viewer, "transaction.html", **found)


async def find_transaction(services: Services, account_id: str, seq: int) -> dict[str, Any]:
    """Return a transaction with its records and how each was priced; raises ApiError 404."""
    async with services.engine.connect() as connection:
        row = await pages.find_transfer(connection, account_id, seq)
        usage = await pages.page_usage(connection, account_id, _RECORDS + 1, transfer_seq=seq)
        tiers = await prices.find_tiers(connection, {record["rate_id"] for record in usage})
    if row is None:
        raise ApiError(404, "not_found", f"There is no transaction {seq}.")
    names = {key["api_key_id"]: key["name"] for key in await list_keys(services.engine, account_id)}
    records = [
        dict(record)
        | {"lines": priced(dict(record), tiers[record["rate_id"]]), "key": names.get(record["api_key_id"])}
        for record in usage[:_RECORDS]
    ]
    return {"row": row, "records": records, "cut": len(usage) > _RECORDS}


def priced(record: Mapping[str, Any], tiers: Sequence[Tier]) -> list[dict[str, Any]]:
    """Return how a record was priced: tokens of each kind times their rate, in millionths of a nano."""
    tokens = TokenCounts(*(record[f"{kind}_tokens"] for kind in TOKEN_KINDS))
    rates = tier_for(tiers, tokens.total_input).rates
    return [
        {"kind": kind, "tokens": amount, "rate_nanos": rate, "price": amount * (rate or 0)}
        for kind, amount, rate in zip(TOKEN_KINDS, tokens, rates, strict=True)
        if amount
    ]


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None
