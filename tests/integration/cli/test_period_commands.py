"""payg usage periods, detach, attach, as programs see them."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from payg_command import Payg

from sandbox.servers import Postgres
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.events import USAGE_TYPE, reread_event
from shared.domain.periods import Period
from shared.domain.usage import PricedUsage
from shared.operations.periods import keep_periods
from workers.debit import Debiting
from workers.thresholds import Thresholds

_OLD, _PREVIOUS = Period.of(utc_now()).plus(-3), Period.of(utc_now()).plus(-1)
_FIELDS = {"period", "start", "end", "table", "rows", "bytes", "state", "detached_at", "digest"}


async def _debit_old_record(url: str, account_id: str, rate_id: int) -> None:
    """Debit a record three months ago, as the stages would have done then."""
    engine, then = create_engine(url), _OLD.start + timedelta(days=3)
    event = {"specversion": "1.0", "type": USAGE_TYPE, "source": "gw", "id": "req_old"}
    event |= {"time": then.isoformat(), "data": {"model": "m-1", "account_id": account_id, "input_tokens": 1}}
    raw = json.dumps(event).encode()
    record = PricedUsage.of(reread_event(raw), raw, account_id, rate_id, 1_000)
    (message,) = await Debiting(engine, timedelta(hours=1), lambda: then).handle([record])
    await Thresholds(engine, utc_now, timedelta()).handle(list(message.batch))
    await keep_periods(engine, utc_now())
    await engine.dispose()


@pytest.fixture(scope="module")
def old_payg(payg: Payg, postgres: Postgres) -> Iterator[Payg]:
    """The command on a database of its own, with a record of three months ago."""
    url = postgres.create_database("old_commands")
    command = Payg({**payg.env, "PAYG_DATABASE_URL": url}, payg.directory)
    assert command("migrate").object == {"migrated": True}
    command("prices", "set", "m-1", "--input", "1", "--output", "1")
    account_id = command("account", "create").object["account_id"]
    asyncio.run(_debit_old_record(url, account_id, 1))
    yield command
    postgres.drop_database("old_commands")


def test_an_old_month_goes_and_comes_back(old_payg: Payg) -> None:
    listed = old_payg("usage", "periods").objects
    assert all(set(period) == _FIELDS for period in listed)
    assert [p["period"] for p in listed] == [
        str(p) for p in [_OLD, *(_PREVIOUS.plus(n) for n in range(1, 5))]
    ]
    assert datetime.fromisoformat(listed[0]["start"]) == datetime(_OLD.year, _OLD.month, 1, tzinfo=UTC)
    assert (listed[0]["rows"], listed[0]["state"], listed[0]["digest"]) == (1, "attached", None)

    detached = old_payg("usage", "detach", "--before", str(_PREVIOUS)).object
    assert (detached["period"], detached["state"], detached["rows"]) == (str(_OLD), "detached", 1)
    assert len(detached["digest"]) == 64
    assert old_payg("usage", "periods").objects == [detached, *listed[1:]]
    assert old_payg("usage", "list").out == ""
    audit = old_payg("audit").object
    assert (audit["ok"], audit["usage_records"], audit["detached_periods"]) == (True, 0, 1)
    assert old_payg("usage", "detach", "--before", str(_PREVIOUS)).objects == []

    assert old_payg("usage", "attach", str(_OLD)).object == listed[0]
    (row,) = old_payg("usage", "list", "--id", "req_old").objects
    assert row["charge_nanos"] == 1_000
    assert old_payg("audit").object["usage_records"] == 1


def test_recent_months_are_refused(old_payg: Payg) -> None:
    old_payg("usage", "detach", "--before", str(_PREVIOUS.plus(1))).assert_fails(1, str(_PREVIOUS))


def test_a_month_that_is_not_away_cannot_come_back(old_payg: Payg) -> None:
    old_payg("usage", "attach", str(_PREVIOUS)).assert_fails(1, "not detached")


def test_books_that_do_not_add_up_are_not_touched(old_payg: Payg, postgres: Postgres) -> None:
    async def shift(nanos: int) -> None:
        engine = create_engine(postgres.url_of("old_commands"))
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "UPDATE accounts SET balance_nanos = balance_nanos + $1::bigint", (nanos,)
            )
        await engine.dispose()

    asyncio.run(shift(1))
    old_payg("usage", "detach", "--before", str(_PREVIOUS)).assert_fails(1, "do not add up", "accounts acct_")
    asyncio.run(shift(-1))
    assert {period["state"] for period in old_payg("usage", "periods").objects} == {"attached"}
