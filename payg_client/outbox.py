"""Usage events on their way to payg: sent together, kept while it is away, and never lost in silence."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import httpx
import msgspec

from payg_client.errors import PaygClientError, RefusedError, UnavailableError
from payg_client.events import Event

log = logging.getLogger(__name__)

#: Told of every trouble: what is wrong, and the events that are lost by it (none where they are kept).
OnProblem = Callable[[str, Sequence[Event]], None]

_MAX_EVENTS_A_REQUEST = 500
_LINGER_S = 0.005
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0


class _Verdict(msgspec.Struct):
    status: str
    detail: str | None = None


class _Verdicts(msgspec.Struct):
    events: list[_Verdict]


class Outbox:
    """Sends events in the order they come in, as many as there are in one request. One event loop."""

    def __init__(
        self,
        post: Callable[[bytes], Awaitable[httpx.Response]],
        max_events: int,
        on_problem: OnProblem | None,
    ) -> None:
        self._post = post
        self._max_events = max_events
        self._on_problem = on_problem
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, events: Iterable[Event]) -> None:
        """Take events; returns at once. They must be JSON."""
        raw = [msgspec.json.encode(event) for event in events]
        room = 0 if self._closed else self._max_events - len(self._waiting)
        if raw[room:]:
            self._problem("the outbox is closed" if self._closed else "the outbox is full", raw[room:])
        if not raw[:room]:
            return
        self._waiting.extend(raw[:room])
        self._idle.clear()
        self._wake.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_forever())

    async def flush(self, timeout_s: float) -> bool:
        """Wait until payg has everything; return whether it does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return self._idle.is_set()

    async def close(self, timeout_s: float) -> None:
        """Send what is left; what payg does not take by then is lost, and told."""
        await self.flush(timeout_s)
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._waiting:
            self._problem("payg did not take it before the service stopped", list(self._waiting))
            self._waiting.clear()

    async def _send_forever(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(_LINGER_S)
            try:
                await self._send(min(len(self._waiting), _MAX_EVENTS_A_REQUEST))
            except PaygClientError as error:
                self._problem(f"{len(self._waiting)} usage events wait for payg: {error}")
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            if not self._waiting:
                self._wake.clear()
                self._idle.set()

    async def _send(self, number: int) -> None:
        """Send the first events. What is refused together is halved, until the guilty one stands alone."""
        batch = list(islice(self._waiting, number))
        try:
            answer = await self._post(b"[" + b",".join(batch) + b"]")
        except RefusedError as error:
            if _may_pass(error):
                raise
            if number == 1:
                self._waiting.popleft()
                self._problem(f"payg refuses it: {error}", batch)
                return
            await self._send(number // 2)
            await self._send(number - number // 2)
            return
        self._read_verdicts(answer.content, batch)
        for _ in batch:
            self._waiting.popleft()

    def _read_verdicts(self, body: bytes, batch: Sequence[bytes]) -> None:
        try:
            verdicts = msgspec.json.decode(body, type=_Verdicts).events
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"payg's answer cannot be read: {error}") from error
        for raw, verdict in zip(batch, verdicts, strict=False):
            if verdict.status != "accepted":
                self._problem(f"payg refuses it: {verdict.status}: {verdict.detail}", [raw])

    def _problem(self, why: str, lost: Sequence[bytes] = ()) -> None:
        if lost:
            log.error("usage is lost, %d events: %s", len(lost), why)
        else:
            log.warning("%s", why)
        if self._on_problem is not None:
            events: list[dict[str, Any]] = [msgspec.json.decode(raw) for raw in lost]
            self._on_problem(why, events)


def _may_pass(refusal: RefusedError) -> bool:
    """Whether the events are good and the same request may be taken later, once somebody mends the key."""
    return refusal.status in (401, 408, 429) or refusal.code == "missing_scope"
