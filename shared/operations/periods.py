"""Usage periods: make the months to come, detach old ones, bring them back.

An id outlives its row (``usage_ids``), so a record that is sent again after its month was detached is still a
duplicate. Transfers stay as well: they prove the chain, and what the rows that are away must be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import periods as sql
from shared.db.engine import database_time
from shared.domain.errors import NotFoundError, RefusedError
from shared.domain.ledger import digest_of_rows
from shared.domain.periods import Period, PeriodProof, PeriodSum
from shared.operations.audit import AuditReport, Progress, audit

_ATTEMPTS = 30
_PAUSE_S = 1.0
_LOCK_NOT_AVAILABLE = "55P03"


async def keep_periods(engine: AsyncEngine, now: datetime) -> list[Period]:
    """Make the months that are missing: this one, the next three, and those of rows that had none.

    Return those that were made: none where somebody else is at work on the months, which may take minutes.
    """
    async with engine.connect() as connection:
        if not await sql.missing(connection, now):
            return []
    async with engine.begin() as connection:
        if not await sql.try_lock_periods(connection):
            return []
        missing = await sql.missing(connection, now)
        await _create(connection, missing)
    return missing


async def list_periods(engine: AsyncEngine) -> list[Mapping[str, Any]]:
    """Return all months, attached or not, oldest first."""
    async with engine.connect() as connection:
        away = await sql.recorded(connection)
        there = await sql.attached(connection)
        return [await _listed(connection, period, away.get(period)) for period in sorted({*away, *there})]


async def detach_periods(
    engine: AsyncEngine, before: Period, grace: timedelta, progress: Progress = lambda _done, _of: None
) -> list[Mapping[str, Any]]:
    """Detach all months before that one, once the books are proven with their rows; return them.

    Raises RefusedError where the rows may still be needed, where the books do not add up, and where others
    keep the table busy. Then nothing is detached.
    """
    async with engine.connect() as connection:
        now = await database_time(connection)
    if before > Period.of(now).plus(-1):
        raise RefusedError(f"this month and the one before stay attached: --before {Period.of(now).plus(-1)}")
    async with engine.begin() as connection:
        await sql.lock_periods(connection)
        missing = await sql.missing(connection, now)
        await _politely(connection, lambda: _create(connection, missing))
    async with engine.begin() as connection:
        await sql.lock_periods(connection)
        closing = [period for period in await sql.attached(connection) if period < before]
        if not closing:
            return []
        if need := await sql.still_needed(connection, closing[-1].end, now - grace):
            raise RefusedError(f"usage before {closing[-1].end:%Y-%m} is still needed: {need}")
        # From here to the commit nobody changes these rows, so they are those that the audit proves.
        await _politely(connection, lambda: sql.freeze(connection, closing))
        report = await audit(engine, progress)
        if report.fault is not None:
            raise RefusedError(f"nothing was detached, the books do not add up: {report.fault}")
        await _politely(connection, lambda: _detach(connection, closing, report))
        away = await sql.recorded(connection)
        return [await _listed(connection, period, away[period]) for period in closing]


async def attach_period(engine: AsyncEngine, period: Period) -> Mapping[str, Any]:
    """Bring a month back, if its rows are those that were detached.

    Raises NotFoundError for a month that is not away, RefusedError where its table is gone or was changed.
    """
    async with engine.begin() as connection:
        await sql.lock_periods(connection)
        away = (await sql.recorded(connection)).get(period)
        if away is None:
            raise NotFoundError(f"{period} is not detached; `payg usage periods` lists the months")
        if await sql.size_bytes(connection, period) is None:
            raise RefusedError(f"there is no table {away.table}: restore it from its dump first")
        await _politely(connection, lambda: sql.freeze(connection, [period]))
        await _prove(connection, period, away.proof)
        await _politely(connection, lambda: sql.attach(connection, period))
        await sql.forget(connection, period)
        return await _listed(connection, period, None)


async def _create(connection: AsyncConnection, periods: Sequence[Period]) -> None:
    for period in periods:
        await sql.create(connection, period)


async def _detach(connection: AsyncConnection, closing: Sequence[Period], report: AuditReport) -> None:
    voids = await sql.count_voids(connection)
    for period in closing:
        await sql.carry(connection, period)
        await sql.record(connection, period, report.proofs.get(period, PeriodSum().proof))
    await sql.detach(connection, closing)
    # Whoever voids has read the row first, so by now has ended, or will find it gone.
    if await sql.count_voids(connection) != voids:
        raise RefusedError("a record was voided meanwhile: nothing was detached, run it again")


async def _politely(connection: AsyncConnection, work: Callable[[], Awaitable[None]]) -> None:
    """Do what needs a lock, again and again with pauses: while it waits for one, debits wait behind it."""
    for _ in range(_ATTEMPTS):
        try:
            async with connection.begin_nested():
                await work()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
        else:
            return
        await asyncio.sleep(_PAUSE_S)
    raise RefusedError("others keep usage_records busy (an audit, a dump, a long listing): try again later")


async def _prove(connection: AsyncConnection, period: Period, proof: PeriodProof) -> None:
    """Raise RefusedError unless the rows of a detached month are those that were detached."""
    found = PeriodSum()
    key: tuple[str, int] | None = None
    rows: list[tuple[Any, bytes]] = []
    async for row, digest in sql.stream_rows(connection, period):
        if row.digest() != digest:
            raise RefusedError(f"{period}: the record {row.event_id} of {row.account_id} was changed")
        if key not in {None, (row.account_id, row.transfer_seq)}:
            found.add(digest_of_rows(rows), len(rows))
            rows = []
        key = (row.account_id, row.transfer_seq)
        rows.append((row.event_id, digest))
    if rows:
        found.add(digest_of_rows(rows), len(rows))
    if found.proof != proof:
        raise RefusedError(
            f"{period}: its {found.rows} rows are not the {proof.rows} that were detached; "
            "bring back the table as it was"
        )


async def _listed(
    connection: AsyncConnection, period: Period, away: sql.Recorded | None
) -> Mapping[str, Any]:
    return {
        "period": str(period),
        "start": period.start,
        "end": period.end,
        "table": away.table if away else sql.table_name(period),
        "rows": away.proof.rows if away else await sql.count_rows(connection, period),
        "bytes": await sql.size_bytes(connection, period),
        "state": "detached" if away else "attached",
        "detached_at": away.detached_at if away else None,
        "digest": away.proof.digest if away else None,
    }
