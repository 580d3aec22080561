"""payg rerate, as programs see it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import msgspec
import pytest
from payg_command import Inside, Payg

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.events import USAGE_TYPE
from shared.messaging.topology import Stage
from workers.debit import Debiting
from workers.pricing import Pricing

_ALWAYS = "--from 2020-01-01 --to 2100-01-01"
_DEBITED_AT = utc_now() - timedelta(hours=2)


async def _process(url: str, raws: Sequence[bytes]) -> None:
    """Run records through pricing and debit."""
    engine = create_engine(url)
    debiting = Debiting(engine, timedelta(hours=1), lambda: _DEBITED_AT)
    for message in await Pricing(engine, 1).handle([msgspec.Raw(raw) for raw in raws]):
        if message.stage is Stage.DEBIT:
            await debiting.handle(list(message.batch))
    await engine.dispose()


def _event(account_id: str, event_id: str, **tokens: int) -> bytes:
    data = {"model": "rerate-small", "provider": "acme", "account_id": account_id, **tokens}
    envelope = {"specversion": "1.0", "type": USAGE_TYPE, "source": "gw", "id": event_id}
    return json.dumps({**envelope, "time": utc_now().isoformat(), "data": data}).encode()


@pytest.fixture(scope="module")
def account_id(payg: Payg) -> str:
    """An account with two records on a small model, beside a large one that it might have used."""
    small, large, account = payg.all(
        "prices set rerate-small --input 1 --output 2",
        "prices set rerate-large --input 10 --output 20 --cache-read 1",
        "account create",
    )
    assert (small.status, large.status) == (0, 0)
    account_id: str = account.object["account_id"]
    raws = [_event(account_id, "req_1", input_tokens=1_000, output_tokens=3)]
    raws += [_event(account_id, "req_2", cache_read_tokens=500)]
    asyncio.run(_process(payg.env["PAYG_DATABASE_URL"], raws))
    return account_id


def test_usage_on_another_model(inside: Inside, account_id: str) -> None:
    found = inside(f"rerate --account {account_id} {_ALWAYS} --model rerate-large").object
    sums = {"records": 2, "list_nanos": 1_506_000, "rerated_nanos": 10_560_000, "difference_nanos": 9_054_000}
    sums |= {"balance_difference_nanos": 9_054_000, "unpriced_records": 0, "unpriced_nanos": 0}
    who = {"account_id": account_id, "provider": "acme", "model": "rerate-small"}
    assert found == {**sums, "lines": [{**who, **sums}]}
    assert inside(f"rerate --account {account_id} {_ALWAYS}").object["difference_nanos"] == 0


def test_usage_at_the_prices_of_a_file_from_the_day_they_begin(
    payg: Payg, inside: Inside, account_id: str
) -> None:
    file = payg.directory / "new-prices.csv"
    file.write_text("provider,model,input,output,from\nacme,rerate-small,0.5,2,2090-01-01\n")
    asked = f"rerate --account {account_id} {_ALWAYS} --prices {file}"
    assert inside(f"{asked} --at 2090-01-01").object["difference_nanos"] == -750_000
    unpriced = inside(asked)
    assert unpriced.status == 1
    (found,) = unpriced.objects
    assert (found["records"], found["unpriced_records"], found["unpriced_nanos"]) == (0, 2, 1_506_000)


def test_an_archive_prices_again_without_a_database_to_the_same_figures(
    payg: Payg, inside: Inside, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, prices = payg.directory / "usage.parquet", payg.directory / "large.csv"
    prices.write_text("provider,model,input,output,cache_read\nacme,rerate-large,10,20,1\n")
    made = inside(f"usage archive {file} {_ALWAYS} --account {account_id}").object
    assert made == {"file": str(file), "records": 2, "bytes": file.stat().st_size}
    inside(f"usage archive {file} {_ALWAYS}").assert_fails(1, "exists")
    other = f"--model rerate-large --provider acme --prices {prices}"
    expected = [inside(f"rerate {_ALWAYS} --account {account_id} {more}").object for more in ("", other)]
    assert expected[1]["difference_nanos"] == 9_054_000
    monkeypatch.setenv("PAYG_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert [inside(f"rerate --archive {file} {more}").object for more in ("", other)] == expected
    inside(f"rerate --archive {file} --model rerate-large").assert_fails(1, "rerate-large")
    inside(f"rerate --archive {file} --account acct_none").assert_fails(1, "acct_none")
    inside(f"rerate --archive {prices}").assert_fails(1, "Parquet")
    inside(f"rerate --archive {file} --post --reason agreed").assert_fails(2, "--archive")


def test_the_difference_is_posted_when_told_to_and_only_once(inside: Inside, account_id: str) -> None:
    until = (_DEBITED_AT + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = f"rerate --account {account_id} --from 2020-01-01 --to {until} --model rerate-large"
    (shown,) = inside(f"transfers list --account {account_id}").objects
    assert "posted" not in inside(asked).object
    assert inside(f"transfers list --account {account_id}").objects == [shown]
    first = inside(f"{asked} --post --reason agreed").object
    (made,) = first["posted"]
    assert (made["account_id"], made["seq"], made["kind"]) == (account_id, 2, "adjustment")
    assert (made["amount_nanos"], made["posted_before"]) == (-9_054_000, False)
    assert inside(f"{asked} --post --reason agreed").object["posted"] == [{**made, "posted_before": True}]
    (_, booked) = inside(f"transfers list --account {account_id}").objects
    assert (booked["amount_nanos"], booked["cause"]) == (-9_054_000, made["cause"])
    assert inside("audit").object["ok"]


def test_what_cannot_be_is_refused(inside: Inside) -> None:
    inside(f"rerate --account acct_none {_ALWAYS}").assert_fails(1, "acct_none")
    inside(f"rerate {_ALWAYS} --model no-such-model").assert_fails(1, "no-such-model")
    inside("rerate --from 2026-02-01 --to 2026-01-01").assert_fails(2, "--from")
    inside(f"rerate {_ALWAYS} --provider acme").assert_fails(2, "--provider")
    inside("rerate --from 2026-02-01").assert_fails(2, "--to")
    inside(f"rerate {_ALWAYS} --post").assert_fails(2, "--reason")
    inside(f"rerate {_ALWAYS} --reason agreed").assert_fails(2, "--post")
    inside(f"rerate {_ALWAYS} --post --reason agreed").assert_fails(1, "over")
