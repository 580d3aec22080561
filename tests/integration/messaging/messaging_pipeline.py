"""The worker processes, started as a Procfile runner would start them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.db.processes import list_processes

STAGES = ("intake", "pricing", "debit", "thresholds", "notifications")


@dataclass(frozen=True)
class Pipeline:
    """Running workers, and where they find database and broker."""

    database_url: str
    broker_url: str
    workers: Supervisor
    expected: int

    def engine(self) -> AsyncEngine:
        return create_engine(self.database_url)

    async def started(self) -> None:
        """Wait until every process has reported for the first time."""
        engine = self.engine()

        async def all_report() -> bool:
            async with engine.connect() as connection:
                return len(await list_processes(connection)) == self.expected

        await eventually(all_report)
        await engine.dispose()

    async def holder(self, engine: AsyncEngine) -> int:
        """Wait for a debit process that holds a message; return its pid."""

        async def holding() -> list[int]:
            async with engine.connect() as connection:
                rows = await list_processes(connection)
            return [
                int(row["process_id"].rpartition("-")[2])
                for row in rows
                if row["stage"] == "debit" and row["in_flight"]
            ]

        return (await eventually(holding))[0]


@contextmanager
def pipeline(database_url: str, broker_url: str, logs: Path, *, debit: int = 1) -> Iterator[Pipeline]:
    """Run the stages that a record passes, and the clock, until the block ends."""
    env = {"PAYG_DATABASE_URL": database_url, "PAYG_BROKER_URL": broker_url}
    commands = {"clock": "payg clock"} | {stage: f"payg worker {stage}" for stage in STAGES}
    with Supervisor(commands, env, scale={"debit": debit}, logs=logs) as workers:
        yield Pipeline(database_url, broker_url, workers, len(STAGES) - 1 + debit)
