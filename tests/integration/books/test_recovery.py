"""The database is destroyed and restored to a point in time; what came later is sent again."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from books_builders import GRACE, open_books
from polling import eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres
from shared.db.engine import create_engine, database_time
from shared.db.schema import migrate
from shared.operations.money import credit_account
from shared.operations.rebuild import rebuild

DEPLOY = Path(__file__).parents[3] / "deploy"
NOBODY = 65_534


@pytest.fixture(scope="module")
def archive(servers_directory: Path) -> Path:
    archive = servers_directory / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    return archive


@pytest.fixture(scope="module")
def archived(servers_directory: Path, archive: Path) -> Iterator[Postgres]:
    """A server that archives its WAL, as docs/recovery.md says."""
    settings = {
        "archive_mode": "on",
        "archive_library": "basic_archive",
        "basic_archive.archive_directory": str(archive),
        "shared_buffers": "16MB",
    }
    with Postgres(servers_directory / "archived", settings=settings) as server:
        yield server


def script(server: Postgres, name: str, *arguments: str | Path) -> str:
    env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "payg"}
    env |= {"PGDATABASE": "postgres", "PG_BIN": str(server.bin_dir)}
    done = subprocess.run(
        [DEPLOY / name, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def test_what_was_lost_after_the_point_in_time_is_sent_again_and_charged_once(
    archived: Postgres, archive: Path, servers_directory: Path
) -> None:
    engine = create_engine(archived.url)
    await migrate(engine)
    books = await open_books(engine)
    account_id = await books.account()
    await credit_account(engine, account_id, 10_000, "opening", GRACE, "once")
    records = [books.record(account_id, f"req_{n}", n + 1) for n in range(9)]
    await books.debit(records[:3])
    backup = script(archived, "backup", servers_directory / "backups")
    await books.debit(records[3:6])
    async with engine.connect() as connection:
        point = await database_time(connection)
    await books.debit(records[6:])
    await _archive_all(engine, archive)
    await engine.dispose()

    archived.kill()
    shutil.rmtree(archived.data)
    script(archived, "restore", backup, archive, archived.data, point.isoformat())
    if os.geteuid() == 0:  # the server runs as nobody then
        for path in (archived.data, *archived.data.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    archived.start()

    engine = books.engine
    await eventually(lambda: _promoted(engine))
    await books.assert_proven()
    assert [row["event_id"] for row in await books.usage()] == [f"req_{n}" for n in range(6)]
    assert [found async for _, found in rebuild(engine, None, write=False)] == [[]]
    await _skip_alert_numbers(engine)
    # Nobody knows what was acknowledged since: upstream sends all of it again, in other batches.
    for start in (0, 2, 4, 6, 8):
        await books.debit(records[start : start + 4])
    await credit_account(engine, account_id, 10_000, "opening", GRACE, "once")
    await books.assert_proven()
    assert [row["charge_nanos"] for row in await books.usage()] == list(range(1, 10))
    assert (await books.stored(account_id))["balance_nanos"] == 10_000 - 45
    await engine.dispose()


async def _archive_all(engine: AsyncEngine, archive: Path) -> None:
    async with engine.connect() as connection:
        query = text("SELECT pg_walfile_name(pg_switch_wal())")
        segment: str = (await connection.execute(query)).scalar_one()

    async def there() -> bool:
        return (archive / segment).exists()

    await eventually(there)


async def _skip_alert_numbers(engine: AsyncEngine) -> None:
    """Do what the document says: numbers of alerts that were told and are lost are not given again."""
    (statement,) = re.findall(r'psql -c "(.*)"', (DEPLOY.parent / "docs" / "recovery.md").read_text())
    async with engine.begin() as connection:
        assert (await connection.execute(text(statement))).scalar_one() > 1_000_000


async def _promoted(engine: AsyncEngine) -> bool:
    async with engine.connect() as connection:
        return not (await connection.execute(text("SELECT pg_is_in_recovery()"))).scalar_one()


def test_a_restore_never_overwrites_a_data_directory(archived: Postgres, archive: Path) -> None:
    with pytest.raises(AssertionError, match="is there already"):
        script(archived, "restore", archive, archive, archived.data)


def test_a_backup_that_was_changed_is_not_restored(
    archived: Postgres, archive: Path, servers_directory: Path
) -> None:
    backup = Path(script(archived, "backup", servers_directory / "changed"))
    (changed,) = backup.glob("base/1/PG_VERSION")
    changed.write_text("99\n")
    with pytest.raises(AssertionError, match="PG_VERSION"):
        script(archived, "restore", backup, archive, servers_directory / "fresh")
    assert not (servers_directory / "fresh").exists()
