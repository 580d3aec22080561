"""Bring the database's schema to the newest revision."""

from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import console_tables, delivery_tables, payment_tables, statement_tables
from shared.db.roles import grant_roles

_MIGRATIONS = str(Path(__file__).parent / "migrations")
#: Any number will do, as long as nobody else in this database takes it.
_MIGRATION_LOCK = 7_294_000_001
#: That of all tables, once their modules are imported.
_TABLES = (payment_tables, delivery_tables, statement_tables, console_tables)
(_METADATA,) = {module.metadata for module in _TABLES}


async def migrate(engine: AsyncEngine, revision: str = "head") -> list[str]:
    """Run the migrations that are missing, and grant the roles what they may.

    Return the roles that are missing, since this user may not make any. Safe to run twice, and from several
    processes at once.
    """
    async with engine.begin() as connection:
        # Held until the transaction ends: whoever comes second finds the work done.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
        await connection.run_sync(_upgrade, revision)
        return await grant_roles(connection) if revision == "head" else []


class Revisions(NamedTuple):
    """The revision that a schema is at, None for none, and the one that this code is written for."""

    current: str | None
    head: str


async def revisions(connection: AsyncConnection) -> Revisions:
    """Return where the schema is, and where it should be."""
    there = await connection.execute(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
    current = None
    if there.scalar_one():
        current = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
    return Revisions(current, ScriptDirectory(_MIGRATIONS).get_current_head() or "")


def _upgrade(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", _MIGRATIONS)
    config.attributes["connection"] = connection
    config.attributes["metadata"] = _METADATA
    command.upgrade(config, revision)
