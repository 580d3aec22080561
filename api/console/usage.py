"""What was used: by day, week or month, by model and by key; to look at, and as CSV to take away."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.console import charts
from api.console.pages import page
from api.console.viewer import ServicesNow, UsageReader
from api.services import Services
from shared.clock import utc_now
from shared.db import usage_days
from shared.db.usage_days import Facet, Step
from shared.domain.access import Role
from shared.domain.money import format_dollars
from shared.domain.topup import day_start
from shared.operations.console_sessions import Session
from shared.operations.keys import list_keys

router = APIRouter()

_SUMS = ("records", "input_tokens", "output_tokens", "list_nanos", "charge_nanos")
_PAID = ("quota_nanos", "balance_nanos", "uncollected_nanos")
_SHOWN = 12
Days = Annotated[int, Query(ge=1, le=366)]
Rows = Sequence[Mapping[str, Any]]


@router.get("/usage")
async def show(
    request: Request, viewer: UsageReader, services: ServicesNow, step: Step = Step.DAY, days: Days = 30
) -> Response:
    """Show usage as charts."""
    since = day_start(utc_now()) - timedelta(days=days - 1)
    rows = await _series(services, viewer, since, step, (Facet.MODEL, Facet.KEY))
    names = {}
    if viewer.role is not Role.MEMBER:
        found = await list_keys(services.engine, viewer.reads_account)
        names = {key["api_key_id"]: key["name"] or key["api_key_id"] for key in found}
    by_period = _summed(rows, "period")
    periods = charts.periods(since, utc_now(), step)
    by_key = [
        row | {"label": names.get(row["api_key_id"], row["api_key_id"])}
        for row in _ranked(rows, "api_key_id")
    ]
    return await page(
        request,
        viewer,
        "usage.html",
        step=step,
        days=days,
        periods=periods,
        by_period=by_period,
        chart=charts.chart(periods, by_period),
        models=[row | {"label": row["model"]} for row in _ranked(rows, "model")],
        keys=by_key,
        total=_total(rows),
    )


@router.get("/usage.csv")
async def take_away(
    viewer: UsageReader, services: ServicesNow, step: Step = Step.DAY, days: Days = 30
) -> Response:
    """Return usage by period, model and key, as CSV."""
    since = day_start(utc_now()) - timedelta(days=days - 1)
    rows = await _series(services, viewer, since, step, (Facet.MODEL, Facet.KEY))
    text = io.StringIO()
    names = ("provider", "model", "api_key_id")
    writer = csv.writer(text)
    writer.writerow(("period", *names, *_SUMS, *_PAID, "charge"))
    for row in rows:
        numbers = [int(row[name]) for name in (*_SUMS, *_PAID)]
        charge = format_dollars(int(row["charge_nanos"]))
        writer.writerow(
            (row["period"].date().isoformat(), *(_cell(row[name]) for name in names), *numbers, charge)
        )
    disposition = f'attachment; filename="usage-by-{step}.csv"'
    return Response(text.getvalue(), media_type="text/csv", headers={"Content-Disposition": disposition})


async def _series(
    services: Services, viewer: Session, since: datetime, step: Step, facets: Sequence[Facet]
) -> Rows:
    """Return the rows that a viewer may see: a member those of its own key."""
    account_id = viewer.reads_account
    own = viewer.actor if viewer.role is Role.MEMBER else None
    until = utc_now() + timedelta(days=1)
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, account_id)
        rows = await usage_days.read_series(connection, account_id, since, until, step, facets, own)
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _summed(rows: Rows, name: str) -> dict[Any, dict[str, Any]]:
    """Return the sums of rows by one of their columns."""
    sums: dict[Any, dict[str, Any]] = {}
    for row in rows:
        into = sums.setdefault(row[name], {name: row[name], **dict.fromkeys((*_SUMS, *_PAID), 0)})
        for each in (*_SUMS, *_PAID):
            into[each] += int(row[each])
    return sums


def _ranked(rows: Rows, name: str) -> list[dict[str, Any]]:
    """Return the sums by a column, the largest charge first; beyond a dozen the rest is one."""
    ranked = sorted(_summed(rows, name).values(), key=lambda row: -row["charge_nanos"])
    if len(ranked) <= _SHOWN:
        return ranked
    rest = _total(ranked[_SHOWN - 1 :]) | {name: f"{len(ranked) - _SHOWN + 1} others"}
    return [*ranked[: _SHOWN - 1], rest]


def _total(rows: Rows) -> dict[str, Any]:
    return {each: sum(int(row[each]) for row in rows) for each in (*_SUMS, *_PAID)}


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
