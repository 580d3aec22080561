"""Everybody who can be told of alerts, each as it is in the world: restarted, cut off, refusing at times."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import msgspec
from event_stream import open_stream
from hook_receiver import Receiver, answers
from mail_server import MailServer

from shared.domain.alert_events import AlertEvent
from shared.messaging.connect import open_transport
from shared.messaging.subscriber import Subscriber

_RECONNECT_S = 0.2


@dataclass
class RestartedSubscriber:
    """payg's own subscriber, in the life of which its process begins anew."""

    url: str
    queue: str = "python-service"
    events: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await _cancelled(task)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(4):
                    await Subscriber(self.url, self.queue).run(self._handle)

    async def _handle(self, event: AlertEvent) -> None:
        self.events.append(msgspec.json.decode(msgspec.json.encode(event)))


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Collect alerts as the few lines of the README do, over any transport."""
    events: list[dict[str, Any]] = []

    async def read() -> None:
        async with open_transport(url) as transport, transport.subscribe_alerts(queue="reader") as alerts:
            async for alert in alerts:
                events.append(msgspec.json.decode(alert.body))  # noqa: PERF401 - others read it meanwhile

    task = asyncio.create_task(read())
    try:
        yield events
    finally:
        await _cancelled(task)


@dataclass
class EventStream:
    """A client of one account's server-sent events, which goes on after the last one that it has."""

    url: str
    api_key: str
    events: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    async def run(self, client: httpx.AsyncClient) -> None:
        last = 0
        while True:
            with suppress(httpx.HTTPError, StopAsyncIteration):
                async with open_stream(client, self.url, self.api_key, last_event_id=last) as sent:
                    self.connections += 1
                    async for event in sent:
                        if event.data is not None:
                            self.events.append(event.data)
                            last = event.number
            await asyncio.sleep(_RECONNECT_S)


@asynccontextmanager
async def streaming(streams: list[EventStream]) -> AsyncIterator[None]:
    """Keep streams open."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        tasks = [asyncio.create_task(stream.run(client)) for stream in streams]
        try:
            yield
        finally:
            for task in tasks:
                await _cancelled(task)


class FlakyReceiver(Receiver):
    """A receiver of webhooks that answers 500 to every fifth post; it has what it answered 200 to."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__(fixed_port=port, behaviour=self._answer)
        self._choose = random.Random(seed)
        self._taken: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.fixed_port}/hooks"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [post.event for post in list(self.posts) if post.event_id in self._taken]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if self._choose.random() < 0.2:
            answers(500, b"\xff garbage")(request)
            return
        self._taken.add(request.headers["webhook-id"])
        answers(200)(request)


def mailed(server: MailServer) -> Iterator[tuple[str, str]]:
    """Yield the recipient and the id of the event of each mail that a server took."""
    for mail in list(server.taken):
        yield str(mail["To"]), str(mail["Message-ID"]).strip("<>").partition("@")[0]


def printed(log: Path) -> list[dict[str, Any]]:
    """Return the events that the example in Node wrote; a last line may be cut off by a kill."""
    lines = re.findall(r"^\{.*\}$", log.read_text(), re.MULTILINE) if log.exists() else []
    return [msgspec.json.decode(line) for line in lines]


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
