"""The HTTP tier as a process of its own, with an account that can pay."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import uvicorn

from api.server import create_app
from shared.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Serve the HTTP tier on a free port of loopback; yields its address."""
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
