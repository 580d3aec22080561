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
from shared.db.usage_days import SUMS, Facet, Step
from shared.domain.access import Role
from shared.domain.money import format_dollars
from shared.domain.topup import day_start
from shared.operations.console_sessions import Session
from shared.operations.keys import list_keys

router = APIRouter()

_SHOWN = 12
_SPLIT = ("period", "provider", "model", "api_key_id")
Days = Annotated[int, Query(ge=1, le=366)]
Rows = Sequence[Mapping[str, Any]]


@router.get("/usage")
async def show(
    request: Request, viewer: UsageReader, services: ServicesNow, step: Step = Step.DAY, days: Days = 30
) -> Response:
    """Show usage as charts."""
    since = day_start(utc_now()) - timedelta(days=days - 1)
    rows = await _summary(services, viewer, since, step)
    names = {}
    if viewer.role is not Role.MEMBER:
        found = await list_keys(services.engine, viewer.reads_account)
        names = {key["api_key_id"]: key["name"] or key["api_key_id"] for key in found}
    by_period = {row["period"]: row for row in rows if row["period"] is not None}
    keys = [row for row in rows if row["api_key_id"] is not None]
    periods = charts.periods(since, utc_now(), step)
    return await page(
        request,
        viewer,
        "usage.html",
        step=step,
        days=days,
        periods=periods,
        by_period=by_period,
        chart=charts.chart(periods, by_period),
        models=_ranking([row | {"label": row["model"]} for row in rows if row["model"] is not None]),
        keys=_ranking([row | {"label": names.get(row["api_key_id"], row["api_key_id"])} for row in keys]),
        total=_total(list(by_period.values())),
    )


@router.get("/usage.csv")
async def take_away(
    viewer: UsageReader, services: ServicesNow, step: Step = Step.DAY, days: Days = 30
) -> Response:
    """Return usage by period, model and key, as CSV."""
    since, until = day_start(utc_now()) - timedelta(days=days - 1), utc_now() + timedelta(days=1)
    account_id, facets = viewer.reads_account, (Facet.MODEL, Facet.KEY)
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, account_id)
        rows = await usage_days.read_series(
            connection, account_id, since, until, step, facets, _own_key(viewer)
        )
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((*_SPLIT, *SUMS, "charge"))
    for row in rows:
        names = map(_cell, (row.provider, row.model, row.api_key_id))
        charge = format_dollars(int(row.charge_nanos))
        writer.writerow((f"{row.period:%Y-%m-%d}", *names, *row[len(_SPLIT) :], charge))
    disposition = f'attachment; filename="usage-by-{step}.csv"'
    return Response(text.getvalue(), media_type="text/csv", headers={"Content-Disposition": disposition})


async def _summary(services: Services, viewer: Session, since: datetime, step: Step) -> list[dict[str, Any]]:
    """Return the sums that a viewer may see: a member those of its own key."""
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, viewer.reads_account)
        rows = await usage_days.read_summary(connection, viewer.reads_account, since, step, _own_key(viewer))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name for it


def _own_key(viewer: Session) -> str | None:
    return viewer.api_key_id if viewer.role is Role.MEMBER else None


def _ranking(ranked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sums, the largest charge first; beyond a dozen the rest is one."""
    if len(ranked) <= _SHOWN:
        return ranked
    rest = _total(ranked[_SHOWN - 1 :]) | {"label": f"{len(ranked) - _SHOWN + 1} others"}
    return [*ranked[: _SHOWN - 1], rest]


def _total(rows: Rows) -> dict[str, int]:
    return {each: sum(row[each] for row in rows) for each in SUMS}


def _cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
