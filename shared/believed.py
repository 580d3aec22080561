"""What was read a moment ago and is believed for a while, so that not everybody has to read it."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

import structlog

Value = TypeVar("Value")
log = structlog.get_logger(__name__)


class Believed(Generic[Value]):
    """A value that is at most so old. In the second half of its time it is read anew while it is used."""

    def __init__(self, read: Callable[[], Awaitable[Value]], life_s: float) -> None:
        self._read = read
        self._life_s = life_s
        self._lock = asyncio.Lock()
        self._value: Value | None = None
        self._read_at_s = float("-inf")
        self._ahead: asyncio.Task[None] | None = None

    async def get(self) -> Value:
        """Return the value; raises whatever reading it raises."""
        age_s = monotonic() - self._read_at_s
        if self._value is None or age_s >= self._life_s:
            return await self.renew(older_than_s=self._life_s)
        if age_s >= self._life_s / 2 and (self._ahead is None or self._ahead.done()):
            self._ahead = asyncio.create_task(self._read_ahead())
        return self._value

    async def renew(self, older_than_s: float = 0.0) -> Value:
        """Return the value, read anew unless somebody did that meanwhile."""
        async with self._lock:
            if self._value is None or monotonic() - self._read_at_s >= older_than_s:
                began_s = monotonic()
                self._value = await self._read()
                self._read_at_s = began_s
            return self._value

    async def _read_ahead(self) -> None:
        try:
            await self.renew(older_than_s=self._life_s / 2)
        except Exception as error:  # noqa: BLE001 - raised to whoever needs it when its time is over
            log.warning("not read ahead of its time", error=repr(error))
