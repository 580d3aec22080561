"""Who did what."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.console.pages import page
from api.console.viewer import Overseer, ServicesNow
from api.paging import cursor_of, key_of
from shared.db.operator_actions import page_actions

router = APIRouter()

_PAGE = 50


@router.get("/log")
async def show(
    request: Request,
    viewer: Overseer,
    services: ServicesNow,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """List what operators did, newest first."""
    before = key_of(cursor, int) if cursor else None
    async with services.engine.connect() as connection:
        rows = await page_actions(connection, _PAGE + 1, before)
    more = cursor_of(rows[_PAGE - 1]["action_id"]) if len(rows) > _PAGE else None
    return await page(request, viewer, "operator/log.html", rows=rows[:_PAGE], more=more)
