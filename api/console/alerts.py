"""What the account's owner was told of late."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.console.pages import page
from api.console.viewer import Reader, ServicesNow
from api.paging import cursor_of, key_of
from shared.db.alerts import page_alerts

router = APIRouter()

_PAGE = 30


@router.get("/alerts")
async def show(
    request: Request,
    viewer: Reader,
    services: ServicesNow,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """List alerts, newest first."""
    before = key_of(cursor, int) if cursor else None
    async with services.engine.connect() as connection:
        rows = await page_alerts(connection, viewer.reads_account, _PAGE + 1, before)
    more = cursor_of(rows[_PAGE - 1]["sequence"]) if len(rows) > _PAGE else None
    return await page(request, viewer, "alerts.html", rows=rows[:_PAGE], more=more)
