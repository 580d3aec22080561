"""Constant load: the real trace at an even rate, each record sent twice, whatever is away meanwhile."""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from time import monotonic
from typing import Any

import httpx
import msgspec

from chaos.world import World
from sandbox.trace import read_trace, replay
from shared.clock import utc_now
from shared.messaging.publisher import Publisher
from shared.messaging.transport import TransportError

Event = dict[str, Any]

_TICK_S = 0.25
_RETRY_S = 0.5
#: One in so many ticks goes by the HTTP tier, one record of it with a hold of the gate.
_BY_HTTP = 5
#: One in so many records is malformed.
_MALFORMED = 200
_HTTP_TIMEOUT_S = 15.0


class Load:
    """Sends until it is told to stop, and then until the broker confirmed all that it began to send."""

    def __init__(self, world: World, rate: float, again_s: float, seed: int) -> None:
        """``rate`` is distinct records a second; each comes again within ``again_s``."""
        self._world = world
        self._rate = rate
        self._again_s = again_s
        self._choose = random.Random(seed)
        self._events = _events(world, seed)
        #: What is good, and what is malformed, by id. Each was confirmed at least once when ``run`` is over.
        self.good: dict[str, Event] = {}
        self.malformed: dict[str, Event] = {}
        #: How often something good was confirmed.
        self.copies = 0
        self.held = 0
        self.refused_at_first = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the rate, also while nothing is confirmed."""
        headers = {"Authorization": f"Bearer {self._world.service_key}"}
        http = httpx.AsyncClient(base_url=self._world.api_url, headers=headers, timeout=_HTTP_TIMEOUT_S)
        async with (
            http,
            Publisher(self._world.settings.broker_url) as publisher,
            asyncio.TaskGroup() as sending,
        ):
            started, sent = monotonic(), 0
            for tick in count():
                due = int((monotonic() - started) * self._rate) - sent
                batch = [self._next() for _ in range(due)]
                sent += due
                if batch:
                    by_http = http if tick % _BY_HTTP == 0 else None
                    sending.create_task(self._send_twice(batch, publisher, by_http))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _TICK_S)
                    return

    def _next(self) -> Event:
        event = next(self._events) | {"time": utc_now()}
        if self._choose.randrange(_MALFORMED) == 0:
            event |= {"data": event["data"] | {"input_tokens": -1}}
            self.malformed[event["id"]] = event
        else:
            self.good[event["id"]] = event
        return event

    async def _send_twice(
        self, batch: Sequence[Event], publisher: Publisher, http: httpx.AsyncClient | None
    ) -> None:
        if http is None:
            await self._insist(batch, publisher)
        else:
            await self._insist_by_http(batch, http)
        await asyncio.sleep(self._choose.random() * self._again_s)
        await self._insist(batch, publisher)

    async def _insist(self, batch: Sequence[Event], publisher: Publisher) -> None:
        while True:
            try:
                await publisher.publish_all(batch)
            except TransportError:
                self.refused_at_first += 1
                await asyncio.sleep(_RETRY_S)
            else:
                self.copies += sum(event["id"] in self.good for event in batch)
                return

    async def _insist_by_http(self, batch: Sequence[Event], http: httpx.AsyncClient) -> None:
        """Ask the gate for the first record, and send all with what it said; malformed ones are refused."""
        first = batch[0]
        hold_id = await self._hold(first, http)
        data = first["data"] | ({"hold_id": hold_id} if hold_id else {})
        body = msgspec.json.encode([first | {"data": data}, *batch[1:]])
        while True:
            with suppress(httpx.TransportError):
                answer = await http.post(
                    "/v1/usage", content=body, headers={"Content-Type": "application/cloudevents-batch+json"}
                )
                if answer.status_code == httpx.codes.ACCEPTED:
                    self.copies += sum(each["status"] == "accepted" for each in answer.json()["events"])
                    return
                if answer.status_code < 500:
                    raise AssertionError(f"POST /v1/usage: {answer.status_code} {answer.text}")
            self.refused_at_first += 1
            await asyncio.sleep(_RETRY_S)

    async def _hold(self, event: Mapping[str, Any], http: httpx.AsyncClient) -> str | None:
        data = event["data"]
        tokens = sum(number for name, number in data.items() if name.endswith("_tokens"))
        named = {name: data[name] for name in ("api_key_id", "model", "provider") if name in data}
        asked = named | {"input_tokens": max(0, tokens), "max_output_tokens": data["output_tokens"]}
        with suppress(httpx.TransportError):
            answer = await http.post("/v1/authorize", json=asked)
            if answer.status_code == httpx.codes.OK:
                self.held += 1
                return str(answer.json()["hold_id"])
        return None


def _events(world: World, seed: int) -> Iterator[Event]:
    """Yield the trace again and again, with new ids each time."""
    payers = [payer for account in world.accounts for payer in account.payers]
    requests = read_trace()
    return chain.from_iterable(replay(requests, payers, utc_now(), seed * 1_000 + turn) for turn in count())
