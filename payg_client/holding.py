"""A hold while its request is served: it lives as long as that takes, then ends or is given back."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from payg_client.client import Hold, PaygClient
from payg_client.errors import PaygClientError

log = logging.getLogger(__name__)

_SOONEST_S = 0.2
_AGAIN_S = 1.0


class Background:
    """Small tasks beside the requests, which are waited for in the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def done(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Holding:
    """Extends a hold at half of its life, again and again, until it is ended."""

    def __init__(self, client: PaygClient, hold: Hold, background: Background) -> None:
        self._client = client
        self._hold_id = hold.hold_id
        self._background = background
        self._ended = False
        self._wait(_half_of(hold.expires_at))

    def end(self) -> None:
        """Extend it no more; its usage is sent."""
        self._ended = True
        self._timer.cancel()

    def give_back(self) -> None:
        self.end()
        self._background.run(self._release())

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            seconds, lambda: self._background.run(self._extend())
        )

    async def _extend(self) -> None:
        wait_s = _AGAIN_S
        try:
            expires_at = await self._client.extend(self._hold_id)
        except PaygClientError as error:
            log.warning("hold %s is extended later: %s", self._hold_id, error)
        else:
            if expires_at is None:
                log.warning("hold %s expired while its request was served", self._hold_id)
                return
            wait_s = _half_of(expires_at)
        if not self._ended:
            self._wait(wait_s)

    async def _release(self) -> None:
        try:
            await self._client.release(self._hold_id)
        except PaygClientError as error:
            log.warning("hold %s is left to expire: %s", self._hold_id, error)


def _half_of(expires_at: datetime) -> float:
    return max(_SOONEST_S, (expires_at - datetime.now(UTC)).total_seconds() / 2)
