"""What an account was told: as a stream of server-sent events, and page by page."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel
from sqlalchemy import RowMapping

from api.access import ReadingAccount
from api.alert_streams import Reader
from api.bodies import Instant
from api.errors import RESPONSES
from api.paging import Cursor, Limit, Page, cursor_of, key_of
from api.services import Services, services_of
from shared.clock import utc_now
from shared.db.alert_stream import page_alerts
from shared.db.alerts import alert_event

router = APIRouter(prefix="/v1/billing/events", tags=["alerts"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]

_RETRY_MS = 3_000
_DEFAULT_PAST = timedelta(days=30)
LastEventId = Annotated[
    int | None,
    Header(
        ge=0, lt=2**63, description="`id` of the event that was seen last: what came after it comes first"
    ),
]


class AlertEvent(BaseModel):
    """A CloudEvent as it stands on the exchange `alerts`: drop known ids, sort by `sequence`."""

    specversion: str
    type: str
    source: str
    id: str
    time: datetime
    datacontenttype: str
    subject: str | None
    sequence: int
    data: dict[str, Any]


@router.get("", response_class=EventSourceResponse)
async def stream(
    account_id: ReadingAccount,
    services: ServicesNow,
    request: Request,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow what the account is told, within a second, as server-sent events.

    The data of each event is a CloudEvent, its id the alert's `sequence`. Begins with what came after
    `Last-Event-ID`, or without it now. While there is nothing to tell, a comment comes every 15 seconds.
    """
    async with services.alert_streams.reading(account_id) as reader:
        yield ServerSentEvent(comment="alerts", retry=_RETRY_MS)
        if last_event_id is not None:
            async for page in services.alert_streams.replay(account_id, last_event_id, reader):
                for alert in page:
                    yield _sent(alert)
        async for alert in _live(reader, services, request.state.key.api_key_id):
            yield _sent(alert)


@router.get("/history")
async def history(
    account_id: ReadingAccount,
    services: ServicesNow,
    since: Annotated[Instant | None, "the last 30 days unless told otherwise"] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[AlertEvent]:
    """List what the account was told since then, oldest first; the last 30 days unless told otherwise."""
    after = key_of(cursor, int) if cursor else None
    since = since or utc_now() - _DEFAULT_PAST
    async with services.engine.connect() as connection:
        rows = await page_alerts(connection, account_id, since, limit + 1, after)
    found = [AlertEvent(**alert_event(row)) for row in rows]
    more = cursor_of(found[limit - 1].sequence) if len(found) > limit else None
    return Page(data=found[:limit], next_cursor=more)


async def _live(reader: Reader, services: Services, api_key_id: str) -> AsyncIterator[RowMapping]:
    """Yield alerts as they come, as long as the key may read them."""
    while alerts := await reader.receive():
        if not await services.keys.by_id(api_key_id):
            return
        for alert in alerts:
            yield alert


def _sent(alert: RowMapping) -> ServerSentEvent:
    event = msgspec.json.encode(alert_event(alert)).decode()
    return ServerSentEvent(id=str(alert["sequence"]), raw_data=event)
