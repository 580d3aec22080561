"""Sends webhooks in the background, and again until the receiver says 2xx (docs.stripe.com/webhooks)."""

import asyncio
import contextlib
import json
import time

import httpx

from sandbox.stripe import signatures
from sandbox.stripe.clock import Clock
from sandbox.stripe.objects import JsonObject
from sandbox.stripe.outbox import Delivery, Outbox, WebhookEndpoint

ATTEMPTS_MAX = 16
_RETRY_MAX_S = 60.0
_TIMEOUT_S = 10.0
_AT_A_TIME = 16


class Courier:
    """Delivers what is in the outbox while `run` runs; nothing is promised on the order."""

    def __init__(self, outbox: Outbox, clock: Clock) -> None:
        self._outbox = outbox
        self._clock = clock
        self._under_way: dict[int, asyncio.Task[int]] = {}
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S)

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with self._http:
            while True:
                self._outbox.changed.clear()
                for delivery in self._outbox.deliveries(state="pending", due_s=time.time()):
                    if delivery.seq not in self._under_way and len(self._under_way) < _AT_A_TIME:
                        self._start(delivery)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._outbox.changed.wait(), self._idle_s())

    async def deliver(self, delivery: Delivery) -> int:
        """Send a delivery and note what came of it; returns the best of the HTTP statuses, 0 for none."""
        endpoint = self._outbox.endpoint(delivery.endpoint)
        if endpoint is None:
            return 0
        statuses = await self.send(endpoint, event_body(delivery.event))
        attempts = len(delivery.statuses) // endpoint.copies + 1
        good = any(_is_good(status) for status in statuses)
        state = "delivered" if good else "pending" if attempts < ATTEMPTS_MAX else "failed"
        wait_s = min(endpoint.retry_ms / 1000 * 2 ** (attempts - 1), _RETRY_MAX_S)
        self._outbox.attempted(delivery, statuses, state, time.time() + wait_s)
        return next(filter(_is_good, statuses), statuses[-1])

    async def send(self, endpoint: WebhookEndpoint, body: bytes) -> list[int]:
        """Post a body as often and in the way the endpoint says; returns the HTTP statuses."""
        if endpoint.at_once:
            return list(await asyncio.gather(*(self._post(endpoint, body) for _ in range(endpoint.copies))))
        return [await self._post(endpoint, body) for _ in range(endpoint.copies)]

    async def _post(self, endpoint: WebhookEndpoint, body: bytes) -> int:
        signed = signatures.header(body, endpoint.secrets, self._clock.signing_s(), endpoint.signature)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        if signed is not None:
            headers["Stripe-Signature"] = signed
        try:
            answer = await self._http.post(endpoint.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL):
            return 0
        return answer.status_code

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self.deliver(delivery))
        self._under_way[delivery.seq] = task
        task.add_done_callback(lambda _: self._ended(delivery.seq))

    def _ended(self, seq: int) -> None:
        del self._under_way[seq]
        self._outbox.changed.set()

    def _idle_s(self) -> float | None:
        """Return how long nothing will be due; what is due but must wait for another is woken by its end."""
        due_s = self._outbox.next_due_s()
        if due_s is None or self._under_way:
            return None if due_s is None else 0.05
        return max(due_s - time.time(), 0.0)


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def event_body(event: JsonObject) -> bytes:
    """Return an event as it is sent."""
    return json.dumps(event, indent=2).encode()
