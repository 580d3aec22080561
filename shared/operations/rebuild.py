"""Compute everything that follows from the books afresh, and mend what differs, while the system runs.

The books are transfers and usage records. What else is kept of them is there to be fast: balances, what
cycles have left, what keys spent, sums by day and month, what Redis knows. Each is computed from nothing in a
transaction of its own that sees one moment; only what differs is locked, computed once more, and written.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.clock import utc_now
from shared.db import gate as gate_sql
from shared.db import periods
from shared.db import rebuilding as sql
from shared.gateways.redis_gate import Known, RedisGate

_PAGE = 500
_LOOKS = 5
_CHANGED_MEANWHILE = "40001"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not what the books say: where, what stood there, and what follows from the books.

    ``mended``: it was written. What cannot be computed, since transfers are missing, has ``because``.
    """

    account_id: str
    where: str
    stored: Mapping[str, Any] | None
    rebuilt: Mapping[str, Any] | None
    mended: bool = False
    because: str | None = None


async def rebuild(
    engine: AsyncEngine, redis: RedisGate | None, account_ids: Sequence[str] = (), *, write: bool
) -> AsyncIterator[tuple[str, list[Difference]]]:
    """Yield each account, all or those named, with what differs; with ``write`` it is mended by then.

    Raises GateUnavailableError where there is a Redis that does not answer.
    """
    since = await _computable_since(engine)
    async for account_id in _accounts(engine, account_ids):
        async with engine.connect() as connection:
            missing = await sql.missing_transfers(connection, account_id)
        if missing:
            yield account_id, [Difference(account_id, "transfers", None, None, because=missing)]
            continue
        found = [
            difference
            for projection in sql.PROJECTIONS
            for difference in await _rebuild_one(engine, projection, account_id, since, write=write)
        ]
        if redis is not None:
            found += await _rebuild_gate(engine, redis, account_id, write=write)
        yield account_id, found


async def _accounts(engine: AsyncEngine, account_ids: Sequence[str]) -> AsyncIterator[str]:
    if account_ids:
        for account_id in account_ids:
            yield account_id
        return
    after = ""
    while True:
        async with engine.connect() as connection:
            page = await sql.page_of_accounts(connection, after, _PAGE)
        for account_id in page:
            yield account_id
        if len(page) < _PAGE:
            return
        after = page[-1]


async def _computable_since(engine: AsyncEngine) -> datetime:
    """Return from when on sums can be computed: those of a month whose rows are away stay as they are.

    A record may be debited some minutes before its own time, and stated in the month after it.
    """
    async with engine.connect() as connection:
        away = await periods.recorded(connection)
    return max(away).plus(2).start if away else datetime.min.replace(tzinfo=UTC)


async def _rebuild_one(
    engine: AsyncEngine, projection: sql.Projection, account_id: str, since: datetime, *, write: bool
) -> list[Difference]:
    found = await _compare(engine, projection, account_id, since)
    if not found or not write:
        return found
    async with engine.begin() as connection:
        await sql.lock(connection, projection, account_id)
        mended = await _compute(connection, projection, account_id, since)
    return [replace(difference, mended=True) for difference in mended]


async def _compare(
    engine: AsyncEngine, projection: sql.Projection, account_id: str, since: datetime
) -> list[Difference]:
    """Return what differs, at one moment; nothing is kept of what was computed for it."""
    while True:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                return await _compute(connection, projection, account_id, since)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _CHANGED_MEANWHILE:
                    raise


async def _compute(
    connection: AsyncConnection, projection: sql.Projection, account_id: str, since: datetime
) -> list[Difference]:
    if projection.catch_up is not None:
        await projection.catch_up(connection, account_id)
    before = await sql.read_rows(connection, projection, account_id)
    await projection.rebuild(connection, account_id, since)
    after = await sql.read_rows(connection, projection, account_id)
    return [
        Difference(account_id, where, before.get(where), after.get(where))
        for where in sorted(before.keys() | after.keys())
        if before.get(where) != after.get(where)
    ]


async def _rebuild_gate(
    engine: AsyncEngine, redis: RedisGate, account_id: str, *, write: bool
) -> list[Difference]:
    """Compare what Redis knows; a change that is being told at this moment is no difference."""
    known, told = await _at_the_gate(engine, redis, account_id)
    for _ in range(_LOOKS):
        if known is None or int(known.fields["version"]) >= int(told["version"]):
            break
        known, told = await _at_the_gate(engine, redis, account_id)
    if known is None or known.fields == told:
        return []
    if write:
        await redis.forget(account_id)
        async with gate_sql.one_view(engine) as connection:
            standings = await gate_sql.load_standings(connection, [account_id], utc_now())
        await redis.load(account_id, standings[account_id], None)
    return [Difference(account_id, "redis", known.fields, told, mended=write)]


async def _at_the_gate(
    engine: AsyncEngine, redis: RedisGate, account_id: str
) -> tuple[Known | None, Mapping[str, str]]:
    """Return what Redis knows and, read after it, what it should know."""
    async with engine.connect() as connection:
        limited = await gate_sql.limited_keys(connection, account_id)
    known = await redis.known(account_id, limited)
    if known is None:
        return None, {}
    now = utc_now()
    async with gate_sql.one_view(engine) as connection:
        standings = await gate_sql.load_standings(connection, [account_id], now)
        found = [await gate_sql.load_key_period(connection, account_id, key, now) for key in known.keys]
    return known, known.as_in_books(standings[account_id], [period for period in found if period])
