"""Books for a test: its own migrated database, with a price list in which a token costs a nano."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from books_builders import Books, open_books
from books_pipeline import Pipeline
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres, RabbitMQ, as_user
from sandbox.supervisor import Supervisor


@pytest.fixture
async def books(engine: AsyncEngine) -> Books:
    return await open_books(engine)


@pytest.fixture(scope="session")
def pipeline(postgres: Postgres, rabbitmq: RabbitMQ, servers_directory: Path) -> Iterator[Pipeline]:
    """The real processes that a record passes, on a database and a virtual host of their own."""
    postgres.create_database("pipeline", template="payg_template")
    (broker_url,) = rabbitmq.create_virtual_hosts("pipeline")
    stages = {"clock": "payg clock"}
    stages |= {
        stage: f"payg worker {stage}"
        for stage in ("intake", "pricing", "debit", "thresholds", "notifications")
    }
    pipeline = Pipeline(postgres.url_of("pipeline"), broker_url)
    limited = {**pipeline.env, "PAYG_DATABASE_URL": as_user(pipeline.database_url, "workers")}
    with Supervisor(stages, limited, logs=servers_directory / "pipeline") as supervisor:
        pipeline.open()
        yield pipeline
        assert not any(supervisor.deaths.values()), supervisor.deaths
    postgres.drop_database("pipeline")
