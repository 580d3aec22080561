"""The main job: the real trace, published twice out of order by a plain client, is debited exactly once."""

from pathlib import Path

import pytest
from e2e_reference import assert_books_match
from e2e_traffic import drained, messages, prepare, publish
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.supervisor import Supervisor, read_procfile
from shared.messaging.connect import open_transport
from shared.messaging.topology import Stage, stage_queues
from shared.operations.audit import audit
from shared.settings import Settings

_RECORDS = 19_366
_PROCFILE = Path(__file__).parents[2] / "Procfile"


@pytest.mark.slow
async def test_the_trace_published_twice_is_debited_once_at_its_list_price(
    settings: Settings, engine: AsyncEngine, payg_env: dict[str, str], tmp_path: Path
) -> None:
    events = await prepare(settings, accounts=120, records=_RECORDS, seed=7)
    stages = {name: command for name, command in read_procfile(_PROCFILE).items() if name != "api"}
    with Supervisor(stages, payg_env, scale={"debit": 2, "pricing": 2}, logs=tmp_path):
        await publish(settings.broker_url, messages(events, seed=11))
        assert await drained(engine, settings, timeout_s=120) is None
        # Drained means drained: nothing may arrive after this.
        async with engine.connect() as connection:
            assert (
                await connection.execute(text("SELECT count(*) FROM usage_records"))
            ).scalar_one() == _RECORDS
            assert (await connection.execute(text("SELECT count(*) FROM quarantine"))).scalar_one() == 0
    await assert_books_match(engine, events)
    report = await audit(engine)
    assert report.fault is None
    assert report.usage_records == _RECORDS
    await assert_no_dead_letters(settings)


async def assert_no_dead_letters(settings: Settings) -> None:
    queues = [queue for stage in Stage for queue in stage_queues(stage, settings.debit_queues)]
    async with open_transport(settings.broker_url) as transport:
        assert [letter async for letter in transport.dead_letters(queues)] == []
