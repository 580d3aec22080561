"""A client of server-sent events, as the standard describes one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import msgspec


class Sent(NamedTuple):
    """One event: its id, its data, and the comment or the retry where there is no data."""

    id: str | None
    data: dict[str, Any] | None
    comment: str | None
    retry: int | None

    @property
    def number(self) -> int:
        return int(self.id or 0)


@asynccontextmanager
async def open_stream(
    client: httpx.AsyncClient, url: str, secret: str, last_event_id: int | None = None
) -> AsyncIterator[AsyncIterator[Sent]]:
    """Open a stream; returns when it has begun. Yields everything but the beginning."""
    headers = {"Authorization": f"Bearer {secret}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    async with client.stream("GET", f"{url}/v1/billing/events", headers=headers, timeout=30) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = _events(answer.aiter_lines())
        first = await anext(events)
        assert (first.data, first.retry) == (None, 3000)
        yield events


async def numbers(events: AsyncIterator[Sent], count: int) -> list[int]:
    """Return the numbers of the next so many alerts."""
    found: list[int] = []
    async with asyncio.timeout(12):
        while len(found) < count:
            event = await anext(events)
            if event.data is not None:
                found.append(event.number)
    return found


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[Sent]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            data = msgspec.json.decode(fields["data"]) if "data" in fields else None
            retry = int(fields["retry"]) if "retry" in fields else None
            yield Sent(fields.get("id"), data, fields.get(""), retry)
            fields = {}
