"""Bodies that are too large are refused before they are in memory; who takes no answer is let go."""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError


class BodyLimit:
    """ASGI middleware: 413 for a body of more than so many bytes, announced or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await self._refusal(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise ApiError(413, "too_large", f"a body has at most {self._max_bytes} bytes")
            return message

        await self._app(scope, counted, send)

    async def _refusal(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = ApiError(413, "too_large", f"a body has at most {self._max_bytes} bytes").response()
        await refusal(scope, receive, send)


class SendLimit:
    """ASGI middleware: ends an answer of which the client has taken nothing for so long."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await send(message)
            except TimeoutError:
                raise _NotTakenError from None

        with suppress(_NotTakenError):
            await self._app(scope, receive, sending)


class _NotTakenError(Exception):
    """The client takes nothing of its answer; the server closes the connection of one that has no end."""
