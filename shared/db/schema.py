"""Bring the database's schema to the newest revision."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db import console_tables, delivery_tables, payment_tables, statement_tables

#: Any number will do, as long as nobody else in this database takes it.
_MIGRATION_LOCK = 7_294_000_001
#: That of all tables, once their modules are imported.
_TABLES = (payment_tables, delivery_tables, statement_tables, console_tables)
(_METADATA,) = {module.metadata for module in _TABLES}


async def migrate(engine: AsyncEngine, revision: str = "head") -> None:
    """Run the migrations that are missing. Safe to run twice, and from several processes at once."""
    async with engine.begin() as connection:
        # Held until the transaction ends: whoever comes second finds the work done.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        await connection.run_sync(_upgrade, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = _METADATA
    command.upgrade(config, revision)
