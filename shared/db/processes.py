"""SQL of the worker processes: what each holds right now, reported a few times a second."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.tables import processes

#: A report that is older than this comes from a process that stands still or is gone.
FRESH_S = 1.5
_FORGOTTEN_AFTER = "1 hour"


class Counts(NamedTuple):
    """How many messages a process holds, and how many it received so far.

    ``taken_until`` is by queue when the newest message was sent that it began to handle, in Unix ms.
    """

    in_flight: int
    received: int
    taken_until: Mapping[str, int]


async def report(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Write what a process holds, on the database's clock."""
    now = func.clock_timestamp()
    statement = upsert(processes).values(**values, started_at=now, seen_at=now)
    await connection.execute(
        statement.on_conflict_do_update(
            constraint="processes_pkey",
            set_={
                "in_flight": statement.excluded.in_flight,
                "received": statement.excluded.received,
                "taken_until": statement.excluded.taken_until,
                "seen_at": now,
            },
        )
    )


async def sign_off(connection: AsyncConnection, process_id: str) -> None:
    """Forget a process that stopped, and those that died long ago."""
    old = processes.c.seen_at < func.now() - text(f"interval '{_FORGOTTEN_AFTER}'")
    await connection.execute(delete(processes).where((processes.c.process_id == process_id) | old))


async def list_processes(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return all processes, each with how many seconds ago it was heard of."""
    age_s = func.extract("epoch", func.clock_timestamp() - processes.c.seen_at).label("age_s")
    fresh = (age_s < literal(FRESH_S)).label("fresh")
    query = select(processes, age_s, fresh).order_by(processes.c.stage, processes.c.started_at)
    return (await connection.execute(query)).mappings().all()


async def count_fresh(connection: AsyncConnection, stage: str) -> int:
    """Return how many processes of a stage reported just now."""
    fresh = processes.c.seen_at > func.clock_timestamp() - text(f"interval '{FRESH_S} seconds'")
    query = select(func.count()).where((processes.c.stage == stage) & fresh)
    return int((await connection.execute(query)).scalar_one())
