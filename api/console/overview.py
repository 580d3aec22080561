"""The first page of an account: what it can spend, and what happened of late."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.console.auto_topup import auto_settings
from api.console.navigation import menu
from api.console.pages import ROOT, bare, page
from api.console.viewer import Anyone, Reader, ServicesNow, signed_in
from api.services import Services
from shared.clock import utc_now
from shared.db import pages, usage_days
from shared.db.usage_days import Step
from shared.domain.access import Role
from shared.domain.pace import at_average
from shared.domain.topup import day_start
from shared.operations.accounts import show_account
from shared.operations.payments import topups

router = APIRouter()

_PACE = timedelta(days=7)
_RECENT = 8
#: A stream of somebody who signed out ends so soon.
_SIGNED_IN_WITHIN_S = 15
_CHANGED = ServerSentEvent(event="changed", raw_data="now")


@router.get("/")
async def overview(
    request: Request,
    viewer: Anyone,
    services: ServicesNow,
    topup: str | None = None,
    checkout: str | None = None,
) -> Response:
    """Show the overview; for those who have none, their own first page."""
    if viewer.role not in (Role.OWNER, Role.BILLING):
        return RedirectResponse(f"{ROOT}/{menu(viewer.role)[0].path}", 303)
    now = await _now(services, viewer.reads_account)
    back = {"topup": topup, "canceled": checkout == "canceled"} if topup else None
    return await page(request, viewer, "overview.html", **now, back=back)


@router.get("/now")
async def fragment(viewer: Reader, services: ServicesNow) -> Response:
    """Return the part of the overview that changes."""
    now = await _now(services, viewer.reads_account)
    return bare("overview_now.html", **now, viewer=viewer)


@router.get("/live", response_class=EventSourceResponse)
async def live(request: Request, viewer: Reader, services: ServicesNow) -> AsyncIterator[ServerSentEvent]:
    """Say whenever the overview is another one, as server-sent events, while the session lasts."""
    watch = services.account_watch
    async with watch.watching(viewer.reads_account) as changed:
        # The page was made before this began to look.
        yield _CHANGED
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _SIGNED_IN_WITHIN_S)
            if watch.closed or await signed_in(request, services) is None:
                return
            if changed.is_set():
                changed.clear()
                yield _CHANGED


async def _now(services: Services, account_id: str) -> dict[str, Any]:
    account = await show_account(services.engine, account_id)
    now = utc_now()
    async with services.engine.begin() as connection:
        await usage_days.roll_up(connection, account_id)
        days = await usage_days.read_series(
            connection, account_id, day_start(now) - _PACE, now + timedelta(days=1), Step.DAY, ()
        )
        recent = await pages.page_transfers(connection, account_id, _RECENT)
    spent = sum(int(row.balance_nanos) for row in days)
    today = sum(int(row.charge_nanos) for row in days if row.period >= day_start(now))
    return {
        "account": account,
        "recent": recent,
        "pace_nanos": spent // (_PACE.days + 1),
        "today_nanos": today,
        "lasts": _lasts(account, spent, now),
        "topups": await topups.recent_topups(services.engine, account_id, 5),
        "auto": await auto_settings(services, account_id),
        "now": now,
    }


def _lasts(account: Mapping[str, Any], spent_nanos: int, now: datetime) -> timedelta | None:
    """Return how long the balance lasts: as alerts say it, and further ahead at the average of the week."""
    empty_at: datetime | None = account["empty_at"]
    if empty_at is not None:
        return max(timedelta(0), empty_at - now)
    return at_average(account["balance_nanos"], spent_nanos, now - day_start(now) + _PACE)
