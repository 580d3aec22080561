"""The HTTP tier as a process of its own, with an account that can pay."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import httpx
import msgspec
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine

from api.server import create_app
from sandbox.servers import as_user
from shared.clock import utc_now
from shared.messaging.publisher import usage_event
from shared.messaging.topology import Stage
from shared.operations.holds import Holds
from shared.settings import Settings
from workers.debit import Debiting
from workers.pricing import Pricing


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the HTTP tier on a free port of loopback, with the rights of its role; yields its address."""
    settings = settings.model_copy(update={"database_url": as_user(settings.database_url, "api")})
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Payer(NamedTuple):
    """An account and its first key."""

    account_id: str
    api_key_id: str
    api_key: str


class Client:
    """One key at the HTTP tier."""

    def __init__(self, url: str, secret: str) -> None:
        self.secret = secret
        self.http = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {secret}"})

    async def authorize(
        self, input_tokens: int = 10, max_output_tokens: int = 0, **more: Any
    ) -> httpx.Response:
        asked = {"model": "test-model", "input_tokens": input_tokens, "max_output_tokens": max_output_tokens}
        return await self.http.post("/v1/authorize", json=asked | more)

    async def hold(self, **asked: Any) -> dict[str, Any]:
        answer = await self.authorize(**asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


async def use(
    engine: AsyncEngine,
    payer: Payer,
    event_id: str,
    tokens: int,
    time: datetime | None = None,
    holds: Holds | None = None,
    **data: Any,
) -> None:
    """Price and debit one record of so many input tokens of `test-model`."""
    fields = {"model": "test-model", "api_key_id": payer.api_key_id, "input_tokens": tokens} | data
    model = str(fields.pop("model"))
    event = usage_event(id=event_id, model=model, time=time, **fields)
    raw = msgspec.Raw(msgspec.json.encode(event))
    for message in await Pricing(engine, 1, holds).handle([raw]):
        if message.stage is Stage.DEBIT:
            await Debiting(engine, timedelta(hours=1), utc_now, holds).handle(list(message.batch))
