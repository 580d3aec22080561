"""A system is upgraded under load: the released code and this code work side by side, and no record is lost.

The released code is kept beside this file; `make released REF=…` renews it after a release. It makes the
schema, opens the books and takes the first records; then the schema is migrated under it, the new processes
come, and the old ones are told to go.
"""

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Self

import pytest
from messaging_books import MODEL, debited, event
from polling import eventually
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.servers import Postgres
from sandbox.supervisor import Supervisor
from shared.db.engine import create_engine
from shared.db.processes import list_processes
from shared.db.schema import migrate, revisions
from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher
from shared.operations.audit import audit
from shared.operations.drain import drain

HERE = Path(__file__).parent
MIGRATIONS = HERE.parents[1] / "shared/db/migrations/versions"
STAGES = ("intake", "pricing", "debit", "thresholds")
DEBIT_QUEUES = 4
#: What would break the code of the release before: it comes one release later, when nobody needs it any more.
CONTRACTING = re.compile(
    r"drop_(column|table)|rename_table|new_column_name|DROP (COLUMN|TABLE)|RENAME|SET NOT NULL"
)
#: What the released code does first. Accounts are many, so that every debit queue has work to share.
_OPEN_BOOKS = """
import asyncio, os, sys
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_account
from shared.operations.prices import set_price

async def open_books():
    engine = create_engine(os.environ["PAYG_DATABASE_URL"])
    await migrate(engine)
    await set_price(engine, None, sys.argv[1], TokenRates.inherit({"input": 10**9, "output": 10**9}), None)
    for _ in range(20):
        print((await create_account(engine))[0])
    await engine.dispose()

asyncio.run(open_books())
"""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the last release."""
    place = tmp_path_factory.mktemp("released")
    with tarfile.open(HERE / "released.tar.xz") as archive:
        archive.extractall(place, filter="data")
    return place


@pytest.fixture
def upgraded_url(postgres: Postgres) -> Iterator[str]:
    yield postgres.create_database("upgraded")
    postgres.drop_database("upgraded")


def command(code: Path | None, *arguments: str) -> list[str]:
    """Return a command of payg, with the code of that folder or with this code."""
    path = [f"PYTHONPATH={code}"] if code else []
    return ["env", *path, sys.executable, "-P", "-c", "from cli.main import main; main()", *arguments]


def workers(version: str, code: Path | None, *more: str) -> dict[str, str]:
    return {f"{version}-{stage}": shlex.join(command(code, "worker", stage)) for stage in (*STAGES, *more)}


class Load:
    """Records that come all the time, until the block ends."""

    def __init__(self, broker_url: str, accounts: list[str]) -> None:
        self._broker_url = broker_url
        self._accounts = accounts
        self.sent: set[str] = set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._publish())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._going = False
        await self._task

    async def _publish(self) -> None:
        self._going = True
        async with Publisher(self._broker_url, max_events=5) as publisher:
            for number in count():
                payers = {f"{number}-{part}": payer for part, payer in enumerate(self._accounts)}
                await publisher.publish_all([event(each, payer) for each, payer in payers.items()])
                self.sent.update(payers)
                if not self._going:
                    return
                await asyncio.sleep(0.05)

    async def arrives(self, engine: AsyncEngine) -> None:
        """Wait until a record that is sent from now on is debited."""
        before = set(self.sent)
        await eventually(lambda: self._newer(engine, before))

    async def _newer(self, engine: AsyncEngine, before: set[str]) -> bool:
        return bool(await debited(engine) & (self.sent - before))


async def test_a_running_system_is_upgraded_under_load_without_losing_a_record(
    released: Path, upgraded_url: str, broker_url: str, tmp_path: Path
) -> None:
    env = {"PAYG_DATABASE_URL": upgraded_url, "PAYG_BROKER_URL": broker_url}
    accounts = await asyncio.to_thread(_books_of, released, env)
    engine = create_engine(upgraded_url)
    async with engine.connect() as connection:
        before = await revisions(connection)
    assert before.current != before.head
    with ExitStack() as stack:
        async with Load(broker_url, accounts) as load:
            with Supervisor(workers("old", released), env, logs=tmp_path) as old:
                await load.arrives(engine)  # the old code on the old schema
                await migrate(engine)
                await load.arrives(engine)  # the old code on the new schema
                new = stack.enter_context(
                    Supervisor(workers("new", None, "notifications"), env, logs=tmp_path)
                )
                pids = old.pids() | new.pids()
                both = {pids[f"{version}-{stage}"] for version in ("old", "new") for stage in STAGES}
                await eventually(lambda: _all_work(engine, both), 120)
            await load.arrives(engine)  # the new code alone
        async with open_transport(broker_url) as transport:
            assert await drain(engine, transport, DEBIT_QUEUES, 60) is None
    assert await debited(engine) == load.sent
    assert (await audit(engine)).fault is None
    assert not [name for name, statuses in {**old.deaths, **new.deaths}.items() if statuses]
    await engine.dispose()


def _books_of(code: Path, env: dict[str, str]) -> list[str]:
    """Let the released code make its schema, a price and accounts; return those."""
    python = [part for part in command(code) if "cli.main" not in part]
    done = subprocess.run(
        [*python, _OPEN_BOOKS, MODEL], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


async def _all_work(engine: AsyncEngine, pids: set[int]) -> bool:
    """Return whether each of these processes has taken a message: old and new beside each other."""
    async with engine.connect() as connection:
        rows = await list_processes(connection)
    working = {int(row["process_id"].rpartition("-")[2]) for row in rows if row["received"]}
    return working >= pids


def test_what_was_migrated_since_the_release_breaks_nothing_of_it(released: Path) -> None:
    there = {path.name for path in (released / "shared/db/migrations/versions").glob("*.py")}
    newer = [path for path in sorted(MIGRATIONS.glob("*.py")) if path.name not in there]
    upgrades = {path.name: path.read_text().partition("def downgrade")[0] for path in newer}
    assert not {
        name: CONTRACTING.findall(code) for name, code in upgrades.items() if CONTRACTING.search(code)
    }
