"""Connections that can be cut: what a client sees when the network or the server fails in mid-request."""

import asyncio
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_TRANSPORT = "sandbox.transport"


class CuttableProtocol(H11Protocol):
    """HTTP/1.1 whose requests know the transport they came over."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        served = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_TRANSPORT] = self.transport
            await served(scope, receive, send)

        self.app = app


class Hangup(Response):
    """No answer at all: the connection is closed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut the connection and wait until the server has noticed, so that it does not answer instead."""
        del send
        scope[_TRANSPORT].abort()
        while (await receive())["type"] != "http.disconnect":
            pass
