"""Tells open pages that their account changed: one query for all of them, three times a second."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.account_changes import change_marks

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 0.3


class AccountWatch:
    """All open pages of a process, by their account; looks while there are any."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._pages: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._marks: dict[str, str] = {}
        self._looking: asyncio.Task[None] | None = None
        self.closed = False

    @asynccontextmanager
    async def watching(self, account_id: str) -> AsyncIterator[asyncio.Event]:
        """Yield what is set at every change from now on, and when the process stops."""
        changed = asyncio.Event()
        if account_id not in self._marks:
            self._marks |= await change_marks(self._engine, [account_id])
        self._pages[account_id].add(changed)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_forever())
        try:
            yield changed
        finally:
            self._pages[account_id].discard(changed)
            if not self._pages[account_id]:
                del self._pages[account_id]
                self._marks.pop(account_id, None)

    async def close(self) -> None:
        """Wake all pages up: they are over."""
        self.closed = True
        for pages in self._pages.values():
            for changed in pages:
                changed.set()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if self._pages:
                    await self._look()
            except Exception as error:  # noqa: BLE001 - what changed is found at the next look
                log.warning("open pages hear of changes later", error=repr(error))

    async def _look(self) -> None:
        marks = await change_marks(self._engine, list(self._pages))
        for account_id, mark in marks.items():
            if account_id in self._pages and self._marks.get(account_id) != mark:
                self._marks[account_id] = mark
                for changed in self._pages[account_id]:
                    changed.set()
