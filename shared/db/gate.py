"""SQL of the gate: what an account can spend, and holds while Redis is away."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import books
from shared.db.tables import api_keys, gate_marker, holds
from shared.domain.gate import KeyPeriod, Standing, StoredHold
from shared.domain.ids import AccountId
from shared.domain.topup import day_start, month_start, next_day, next_month

# What thresholds has counted, and the records that it has not seen yet.
_KEY_SPENT = text("""
    SELECT coalesce((SELECT s.spent_nanos FROM key_spend s WHERE s.account_id = :account_id
                     AND s.api_key_id = :api_key_id AND s.period_start = :counted_from), 0)
         + coalesce((SELECT CAST(sum(u.charge_nanos) AS bigint) FROM usage_records u
                     WHERE u.account_id = :account_id AND u.api_key_id = :api_key_id
                     AND u.transfer_seq > coalesce((SELECT e.evaluated_seq FROM evaluations e
                                                    WHERE e.account_id = :account_id), 0)
                     AND (CAST(:starts AS timestamptz) IS NULL OR u.time >= :starts)
                     AND (CAST(:ends AS timestamptz) IS NULL OR u.time < :ends)), 0)
""")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:account_id, 402))")
# Whoever weighs in the database holds the row, so that nobody turns to Redis before its hold is committed.
_WEIGHS_IN_DATABASE = text("""
    SELECT turn FROM gate_mode WHERE away_since + CAST(:lease AS interval) <= clock_timestamp() FOR SHARE
""")
_MODE = text("""
    SELECT turn, away_since IS NOT NULL AS away, coalesce(away_until <= clock_timestamp(), false) AS over,
           greatest(away_since + CAST(:lease AS interval) - clock_timestamp(), interval '0') AS wait
    FROM gate_mode
""")
_LEAVE_REDIS = text("""
    UPDATE gate_mode
    SET turn = turn + CASE WHEN away_since IS NULL THEN 1 ELSE 0 END,
        away_since = coalesce(away_since, clock_timestamp()),
        away_until = clock_timestamp() + CAST(:away AS interval)
""")
_RETURN_TO_REDIS = text("""
    UPDATE gate_mode SET away_since = NULL, away_until = NULL WHERE away_until <= clock_timestamp()
""")
_FOR_EVER = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Mode(NamedTuple):
    """Where all processes weigh. ``turn`` counts how often they left Redis.

    While ``away``: after ``wait`` all of them know; once it is ``over``, Redis may be tried again.
    """

    turn: int
    away: bool
    over: bool
    wait: timedelta | None


@asynccontextmanager
async def one_view(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Yield a connection whose reads all see the same moment."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


async def lock_gate(connection: AsyncConnection, account_id: str) -> None:
    """Let one request of an account be weighed at a time, until the transaction ends."""
    await connection.execute(_LOCK, {"account_id": account_id})


async def load_standings(
    connection: AsyncConnection, account_ids: Collection[str], now: datetime
) -> dict[str, Standing]:
    """Return what those accounts that exist can spend now."""
    ids = [AccountId(account_id) for account_id in account_ids]
    states = await books.load_accounts(connection, ids, now, timedelta())
    return {account_id: Standing.of(state, state.version, now) for account_id, state in states.items()}


async def load_key_period(
    connection: AsyncConnection, account_id: str, api_key_id: str, now: datetime
) -> KeyPeriod | None:
    """Return what a key with a limit spent in the period that runs now; None where it has no limit."""
    query = select(api_keys.c.limit_nanos, api_keys.c.limit_period).where(
        api_keys.c.api_key_id == api_key_id, api_keys.c.account_id == account_id
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None or row.limit_nanos is None:
        return None
    starts, ends = _bounds(row.limit_period, now)
    names = {"account_id": account_id, "api_key_id": api_key_id, "starts": starts, "ends": ends}
    spent = (await connection.execute(_KEY_SPENT, names | {"counted_from": starts or _FOR_EVER})).scalar_one()
    return KeyPeriod(api_key_id, row.limit_nanos, spent, starts, ends)


async def limited_keys(connection: AsyncConnection, account_id: str) -> list[str]:
    """Return the keys of an account that have a limit."""
    query = select(api_keys.c.api_key_id).where(
        api_keys.c.account_id == account_id, api_keys.c.limit_nanos.is_not(None)
    )
    return list((await connection.execute(query.order_by(api_keys.c.api_key_id))).scalars())


async def live_holds(
    connection: AsyncConnection, now: datetime, account_id: str | None = None
) -> list[StoredHold]:
    """Return holds that were placed here and have not expired."""
    query = select(
        holds.c.account_id, holds.c.hold_id, holds.c.api_key_id, holds.c.list_nanos, holds.c.expires_at
    ).where(holds.c.expires_at > now)
    if account_id is not None:
        query = query.where(holds.c.account_id == account_id)
    return [StoredHold(*row) for row in await connection.execute(query)]


async def insert_hold(connection: AsyncConnection, hold: StoredHold) -> None:
    await connection.execute(insert(holds).values(hold._asdict()))


async def read_mode(connection: AsyncConnection, lease: timedelta) -> Mode:
    """Return where all processes weigh; each believes it for so long."""
    return Mode(*(await connection.execute(_MODE, {"lease": lease})).one())


async def leave_redis(connection: AsyncConnection, away: timedelta) -> None:
    """Let all processes weigh in the database, for so long at least."""
    await connection.execute(_LEAVE_REDIS, {"away": away})


async def return_to_redis(connection: AsyncConnection) -> None:
    """Let all processes weigh in Redis, if the time in the database is over."""
    await connection.execute(_RETURN_TO_REDIS)


async def weighs_in_database(connection: AsyncConnection, lease: timedelta) -> bool:
    """Return whether no process weighs in Redis; it stays so until the transaction ends."""
    found = await connection.execute(_WEIGHS_IN_DATABASE, {"lease": lease})
    return found.one_or_none() is not None


async def delete_placed(connection: AsyncConnection, placed: Collection[StoredHold]) -> None:
    """Forget holds that are in Redis now, unless they were prolonged meanwhile."""
    same = tuple_(holds.c.hold_id, holds.c.expires_at).in_([(h.hold_id, h.expires_at) for h in placed])
    await connection.execute(delete(holds).where(same))


async def delete_holds(connection: AsyncConnection, hold_ids: Collection[str]) -> int:
    """Forget holds; return how many there were."""
    gone = await connection.execute(delete(holds).where(holds.c.hold_id.in_(hold_ids)))
    return gone.rowcount


async def delete_expired(connection: AsyncConnection, now: datetime) -> None:
    """Forget holds whose time is over."""
    await connection.execute(delete(holds).where(holds.c.expires_at <= now))


async def prolong_holds(
    connection: AsyncConnection, hold_ids: Sequence[str], until: datetime, now: datetime
) -> dict[str, datetime]:
    """Let live holds expire no earlier than that; return those there are, with their expiry."""
    changed = await connection.execute(
        update(holds)
        .where(holds.c.hold_id.in_(hold_ids), holds.c.expires_at > now)
        .values(expires_at=text("greatest(expires_at, :until)").bindparams(until=until))
        .returning(holds.c.hold_id, holds.c.expires_at)
    )
    return {row.hold_id: row.expires_at for row in changed}


async def read_marker(connection: AsyncConnection) -> tuple[str, datetime | None] | None:
    """Return the mark that Redis must carry, and when it was last found without."""
    row = (await connection.execute(select(gate_marker.c.marker, gate_marker.c.emptied_at))).one_or_none()
    return (row.marker, row.emptied_at) if row else None


async def write_marker(connection: AsyncConnection, marker: str, emptied_at: datetime | None) -> None:
    values: dict[str, Any] = {"marker": marker, "emptied_at": emptied_at}
    statement = upsert(gate_marker).values(only_row=True, **values)
    await connection.execute(statement.on_conflict_do_update(constraint="gate_marker_pkey", set_=values))


def _bounds(period: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    if period == "day":
        return day_start(now), next_day(now)
    if period == "month":
        return month_start(now), next_month(now)
    return None, None
