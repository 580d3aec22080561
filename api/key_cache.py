"""Keys in memory, so that a request need not ask the database; gone at once where one changes.

PostgreSQL tells of every change (NOTIFY). While that connection is broken nothing is kept in memory.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

import asyncpg
import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import keys as sql
from shared.db.engine import behind_pooler
from shared.domain.access import Scope
from shared.operations.keys import hash_of

log = structlog.get_logger(__name__)

#: Should a message of a change be lost in spite of all, a key is read again after so long.
_KEPT_S = 30.0
_MAX_KEPT = 100_000
_WRITE_USED_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked. ``account_id`` is None for one of the platform."""

    api_key_id: str
    account_id: str | None
    scopes: frozenset[Scope]
    limited: bool

    @classmethod
    def of(cls, row: RowMapping) -> "Key":
        scopes = frozenset(Scope(scope) for scope in row["scopes"])
        return cls(row["api_key_id"], row["account_id"], scopes, row["limit_nanos"] is not None)


class KeyCache:
    """Finds keys by their secret or their id."""

    def __init__(self, engine: AsyncEngine, database_url: str) -> None:
        self._engine = engine
        self._url = database_url
        self._kept: dict[bytes | str, tuple[Key, float]] = {}
        self._listening = False
        self._used: dict[str, datetime] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._write_used())]
        # Behind pgbouncer nobody hears of changes: every key is read anew.
        if not behind_pooler(self._url):
            self._tasks.append(asyncio.create_task(self._listen()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            await self._flush_used()

    async def by_secret(self, secret: str) -> Key | None:
        """Return the key of a secret, None where there is none or it was revoked."""
        secret_hash = hash_of(secret)
        key = await self._find(secret_hash, secret_hash=secret_hash)
        if key is not None:
            self._used[key.api_key_id] = utc_now()
        return key

    async def by_id(self, api_key_id: str) -> Key | None:
        """Return a key by its id, None where there is none or it was revoked."""
        return await self._find(api_key_id, api_key_id=api_key_id)

    async def owner(self, api_key_id: str) -> str | None:
        """Return the account of a key, revoked or not: it belongs to it for ever."""
        if key := await self.by_id(api_key_id):
            return key.account_id
        async with self._engine.connect() as connection:
            row = await sql.find_key(connection, api_key_id=api_key_id)
        return row["account_id"] if row else None

    async def _find(self, name: bytes | str, **by: Any) -> Key | None:  # noqa: ANN401 - as find_key takes it
        kept = self._kept.get(name)
        if kept and kept[1] > monotonic():
            return kept[0]
        listening = self._listening
        async with self._engine.connect() as connection:
            row = await sql.find_key(connection, **by)
        if row is None or row["revoked_at"] is not None:
            return None
        key = Key.of(row)
        # What was read before we began to listen, or before a change, may be old already.
        if listening and self._listening:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[name] = (key, monotonic() + _KEPT_S)
        return key

    async def _listen(self) -> None:
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await asyncpg.connect(self._url, timeout=10)
                try:
                    await connection.add_listener(sql.CHANGED, lambda *_: self._forget())
                    self._forget()
                    self._listening = True
                    while not connection.is_closed():
                        await connection.execute("SELECT 1", timeout=5)
                        await asyncio.sleep(1)
                finally:
                    self._listening = False
                    self._forget()
                    connection.terminate()
            await asyncio.sleep(1)

    def _forget(self) -> None:
        self._kept = {}

    async def _write_used(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_USED_EVERY_S)
            try:
                await self._flush_used()
            except Exception as error:  # noqa: BLE001 - the next round writes what this one could not
                log.warning("when keys were used is written later", error=repr(error))

    async def _flush_used(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._engine.begin() as connection:
                await sql.note_used(connection, dict(sorted(used.items())))
        except BaseException:
            self._used = used | self._used
            raise
