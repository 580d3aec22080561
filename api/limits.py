"""What no route should have to read is refused at the door; who takes no answer is let go."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Literal
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError

#: Parameters that may be given more than once; of any other that is twice there, which one counts?
REPEATABLE = frozenset({"by", "kind"})


class RequestLimits:
    """ASGI middleware: 413 for a body that is too large, announced or not, and 408 for one that is too slow.

    ``large_bodies`` are the paths that take more than ``max_bytes``. NUL in an address, which no text in
    the books can hold, a parameter that is there twice, and a body that is framed in two ways at once are
    answered with 400.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, large_bodies: Mapping[str, int], body_within_s: float
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._large_bodies = large_bodies
        self._body_within_s = body_within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = self._large_bodies.get(scope["path"], self._max_bytes)
        if refused := _unreadable(scope) or _announced_too_large(scope, max_bytes):
            await refused.response()(scope, receive, send)
            return
        await self._app(scope, _Body(receive, max_bytes, self._body_within_s).receive, send)


class _Body:
    """The messages of one request, counted and timed while its body comes in."""

    def __init__(self, receive: Receive, max_bytes: int, within_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._within_s = within_s
        self._give_up_at: float | None = asyncio.get_running_loop().time() + within_s
        self._received = 0

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(self._give_up_at):
                message = await self._receive()
        except TimeoutError:
            raise ApiError(408, "too_slow", f"a body comes within {self._within_s:g} seconds") from None
        if not message.get("more_body", False):
            self._give_up_at = None  # what comes now is the end of the connection, whenever that is
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise _too_large(self._max_bytes)
        return message


def _unreadable(scope: Scope) -> ApiError | None:
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        return ApiError(400, "invalid_request", "a path or a parameter holds NUL, which is no text")
    names = [name for name, _ in scope["headers"]]
    if b"content-length" in names and b"transfer-encoding" in names:
        refused = ApiError(400, "invalid_request", "send Content-Length or Transfer-Encoding, not both")
        # Where the next request begins nobody knows.
        refused.headers = {"Connection": "close"}
        return refused
    if b"&" in scope["query_string"]:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = Counter(name for name, _ in query)
        if twice := {name for name, times in given.items() if times > 1} - REPEATABLE:
            return ApiError(400, "invalid_request", f"{min(twice)}: give this parameter once")
    return None


def _announced_too_large(scope: Scope, max_bytes: int) -> ApiError | None:
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return _too_large(max_bytes) if announced.isdigit() and int(announced) > max_bytes else None


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, "too_large", f"a body has at most {max_bytes} bytes")


class Shedding:
    """ASGI middleware: 503 with Retry-After for requests beyond ``at_most`` at once, before they cost much.

    A request counts from when its body is in, so that slow clients take nobody's place, until its answer
    begins, so that streams and downloads do not either. ``never_refused`` are the paths of probes.
    """

    def __init__(self, app: ASGIApp, at_most: int, never_refused: Collection[str]) -> None:
        self._app = app
        self._at_most = at_most
        self._never_refused = never_refused
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._never_refused:
            await self._app(scope, receive, send)
            return
        place = _Place(self)

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                place.take()
            return message

        async def sending(message: Message) -> None:
            place.give_back()
            await send(message)

        try:
            if not _has_body(scope):
                place.take()
            await self._app(scope, receiving, sending)
        except ApiError as refused:
            await refused.response()(scope, receive, send)
        finally:
            place.give_back()

    def enter(self) -> None:
        """Count one more; raises ApiError where there are enough."""
        if self._under_way >= self._at_most:
            raise ApiError(503, "overloaded", "too much is under way; try again in a moment", retry_after_s=1)
        self._under_way += 1

    def leave(self) -> None:
        """Count one less."""
        self._under_way -= 1


class _Place:
    """The one place that a request takes, once, and gives back, once."""

    def __init__(self, shedding: Shedding) -> None:
        self._shedding = shedding
        self._state: Literal["none", "taken", "over"] = "none"

    def take(self) -> None:
        if self._state == "none":
            self._shedding.enter()
            self._state = "taken"

    def give_back(self) -> None:
        if self._state == "taken":
            self._shedding.leave()
        self._state = "over"


def _has_body(scope: Scope) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


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
