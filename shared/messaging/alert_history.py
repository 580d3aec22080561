"""Past alert events, for a subscriber that was not there: an account's over HTTP, or all."""

from collections.abc import AsyncIterator
from datetime import datetime

import httpx
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.alerts import alert_event, alerts_since
from shared.domain.alert_events import AlertEvent

_PAGE = 500


class _Page(msgspec.Struct):
    data: list[AlertEvent]
    next_cursor: str | None = None


async def history_over_http(url: str, api_key: str, since: datetime) -> AsyncIterator[AlertEvent]:
    """Yield the events of a key's account since then, oldest first. Raises httpx.HTTPError."""
    headers = {"Authorization": f"Bearer {api_key}"}
    asked: dict[str, str | int] = {"since": since.isoformat(), "limit": _PAGE}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http:
        while True:
            answer = await http.get("/v1/billing/events/history", params=asked)
            page = msgspec.json.decode(answer.raise_for_status().content, type=_Page)
            for event in page.data:
                yield event
            if page.next_cursor is None:
                return
            asked["cursor"] = page.next_cursor


async def history_of_all(engine: AsyncEngine, since: datetime) -> AsyncIterator[AlertEvent]:
    """Yield the events of all accounts since then, in order."""
    async with engine.connect() as connection:
        past = await alerts_since(connection, since)
    for row in past:
        yield msgspec.convert(alert_event(row), AlertEvent)
