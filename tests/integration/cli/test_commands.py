"""Every command of the contract, run as a program: what it prints for programs, field by field."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from payg_command import Done, Payg
from sqlalchemy import text

from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.domain.events import USAGE_TYPE
from shared.messaging.connect import open_transport
from shared.messaging.topology import Stage
from workers.debit import Debiting
from workers.notifications import Notifications
from workers.pricing import Pricing
from workers.thresholds import Thresholds

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_TIMES = ("_at", "_start", "_end", "_from", "time")
_COUNTS = ["input_tokens", "output_tokens", "cache_read_tokens"]
_COUNTS += ["cache_write_tokens", "input_audio_tokens", "output_audio_tokens"]


@dataclass(frozen=True)
class Shop:
    """Two accounts with a history, and what the commands said."""

    said: Mapping[str, Done]
    plain: str
    member: str


def _event(event_id: str, tokens: int, **data: Any) -> bytes:
    fields = {"specversion": "1.0", "type": USAGE_TYPE, "source": "gw", "id": event_id}
    fields["time"] = utc_now().isoformat()
    return json.dumps({**fields, "data": {"model": "m-1", "input_tokens": tokens, **data}}).encode()


async def _process(url: str, raws: Sequence[bytes]) -> None:
    """Run records through pricing and debit."""
    engine = create_engine(url)
    debiting = Debiting(engine, timedelta(hours=1), utc_now)
    for message in await Pricing(engine, 1).handle([msgspec.Raw(raw) for raw in raws]):
        if message.stage is Stage.DEBIT:
            await debiting.handle(list(message.batch))
    await engine.dispose()


async def _evaluate(url: str, broker_url: str) -> None:
    """Evaluate what is due and deliver what there is to tell, as the later stages do."""
    engine = create_engine(url)
    notifications = Notifications(engine, partial(open_transport, broker_url))
    async with engine.connect() as connection:
        due = list((await connection.execute(text("SELECT due_id FROM due_evaluations"))).scalars())
    await Thresholds(engine, utc_now, timedelta()).handle(due)
    async with engine.connect() as connection:
        alerts = list((await connection.execute(text("SELECT sequence FROM alerts"))).scalars())
    await notifications.handle(alerts)
    await notifications.close()
    await engine.dispose()


@pytest.fixture(scope="module")
def shop(payg: Payg) -> Shop:
    said: dict[str, Done] = {}

    def run(**commands: str) -> None:
        for name, done in zip(commands, payg.all(*commands.values()), strict=True):
            assert done.status == 0, (name, done.err)
            said[name] = done

    run(
        plan="plan create pro --quota 0.001 --price 20 --discount 20 --time-zone Europe/Berlin",
        price="prices set m-1 --input 1 --output 2 --cache-read 0.5",
        account="account create --name Ann",
    )
    plain, plan = said["account"].object["account_id"], said["plan"].object["plan_id"]
    start = "--anchor 2026-01-31T00:00:00+01:00"
    run(
        member=f"account create --plan pro {start} --fallback on --spending-limit 5",
        credit=f"account credit {plain} 12.50 --reason start --idempotency-key k1",
        again=f"account credit {plain} 12.50 --reason start --idempotency-key k1",
        key=f"key create {plain} --name ci --limit 5 --period month",
    )
    member = said["member"].object["account_id"]
    revoked, unlimited = said["key"].object["api_key_id"], said["account"].object["api_key_id"]
    run(revoke=f"key revoke {revoked}", set=f"account set {member} --spending-limit none --frozen on")
    records = [_event("req_1", 1_000_000, api_key_id=revoked, provider="acme", output_tokens=3)]
    records += [_event("req_2", 50, api_key_id=unlimited), _event("req_3", 2_000, account_id=member)]
    records += [_event("req_4", 5, api_key_id=unlimited, model="unknown")]
    asyncio.run(_process(payg.env["PAYG_DATABASE_URL"], records))
    run(
        void=f"usage void req_2 --account {plain} --reason mistake",
        price_shown="prices show m-1",
        parked="quarantine list",
        letters="dead-letters list",
    )
    asyncio.run(_evaluate(payg.env["PAYG_DATABASE_URL"], payg.env["PAYG_BROKER_URL"]))
    run(
        shown=f"account show {plain}",
        member_shown=f"account show {member}",
        usage=f"usage list --account {plain}",
        one="usage list --id req_3",
        transfers=f"transfers list --account {plain}",
        audit="audit",
        replayed="dead-letters replay",
        drained="drain --timeout 20",
        dismissed=f"quarantine dismiss {said['parked'].object['id']} --because test",
    )
    assert plan == said["member_shown"].object["plan_id"]
    return Shop(said, plain, member)


def test_everything_printed_is_objects_with_whole_amounts_and_utc_times(shop: Shop) -> None:
    seen: set[str] = set()
    for name, done in shop.said.items():
        assert done.err == "", name
        for fields in done.objects:
            _check(fields, seen)
    assert {"balance_nanos", "charge_nanos", "occurred_at", "cycle_end", "effective_from", "time"} <= seen


def _check(fields: Mapping[str, Any], seen: set[str]) -> None:
    seen.update(fields)
    for name, value in fields.items():
        if name.endswith("_nanos") and value is not None:
            assert type(value) is int, name
        if name.endswith(_TIMES) and value is not None:
            assert _INSTANT.fullmatch(value), (name, value)
        if isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    _check(each, seen)


def test_account_create_shows_the_key_once(shop: Shop) -> None:
    created = shop.said["account"].object
    assert set(created) == {"account_id", "api_key_id", "api_key"}
    assert created["api_key"].startswith("sk-")
    assert created["api_key"] not in "".join(done.out for n, done in shop.said.items() if n != "account")


def test_account_show_of_an_account_without_a_plan(shop: Shop) -> None:
    shown = shop.said["shown"].object
    assert shown["balance_nanos"] == 12_500_000_000 - 1_000_006_000
    assert (shown["level"], shown["name"], shown["cycle_start"]) == ("low", "Ann", None)
    assert (shown["quota_remaining_nanos"], shown["cycle_spent_nanos"], shown["fallback"]) == (0, 0, False)
    assert shown["version"] >= shown["seq"] == 3


def test_account_show_of_a_member(shop: Shop) -> None:
    shown = shop.said["member_shown"].object
    quota, overflow = 1_000_000, 750_000
    assert (shown["quota_remaining_nanos"], shown["cycle_spent_nanos"]) == (0, overflow)
    assert (shown["quota_nanos"], shown["discount_ppm"], shown["frozen"]) == (quota, 200_000, True)
    assert (shown["balance_nanos"], shown["level"]) == (-overflow, "exhausted")
    assert (shown["fallback"], shown["spending_limit_nanos"]) == (True, None)
    start, end = (datetime.fromisoformat(shown[name]) for name in ("cycle_start", "cycle_end"))
    assert start <= datetime.now(UTC) < end
    assert {start.hour, end.hour} <= {22, 23}  # midnight in Berlin


def test_account_set_prints_the_account(shop: Shop) -> None:
    assert set(shop.said["set"].object) == set(shop.said["member_shown"].object)


def test_account_credit_prints_the_transfer_and_the_same_key_gives_the_same(shop: Shop) -> None:
    credit = shop.said["credit"].object
    assert (credit["seq"], credit["kind"], credit["amount_nanos"]) == (1, "credit", 12_500_000_000)
    assert (credit["balance_after_nanos"], credit["account_id"]) == (12_500_000_000, shop.plain)
    assert "start" in credit["cause"]
    assert shop.said["again"].object == credit


def test_an_idempotency_key_for_another_amount_is_refused(shop: Shop, payg: Payg) -> None:
    credit = ("account", "credit", shop.plain, "13", "--reason", "start", "--idempotency-key", "k1")
    payg(*credit).assert_fails(1, "k1")


def test_usage_list_has_the_fields_of_the_contract(shop: Shop) -> None:
    first, second = shop.said["usage"].objects
    wanted = {"id", "account_id", "api_key_id", "provider", "model", *_COUNTS, "list_nanos", "charge_nanos"}
    wanted |= {"quota_nanos", "balance_nanos", "uncollected_nanos", "time", "transfer_seq"}
    assert wanted <= set(first)
    assert (first["id"], first["provider"], first["charge_nanos"]) == ("req_1", "acme", 1_000_006_000)
    assert (second["id"], second["provider"], second["balance_nanos"]) == ("req_2", None, 50_000)


def test_records_of_a_revoked_key_are_still_debited(shop: Shop) -> None:
    revoked = shop.said["revoke"].object
    assert revoked["revoked_at"] is not None
    assert shop.said["usage"].objects[0]["api_key_id"] == revoked["api_key_id"]


def test_usage_list_finds_one_event_in_any_account(shop: Shop) -> None:
    found = shop.said["one"].object
    assert (found["account_id"], found["charge_nanos"]) == (shop.member, 1_750_000)
    assert (found["quota_nanos"], found["balance_nanos"]) == (1_000_000, 750_000)


def test_transfers_list_numbers_and_chains_them(shop: Shop) -> None:
    listed = shop.said["transfers"].objects
    assert [(t["seq"], t["kind"]) for t in listed] == [(1, "credit"), (2, "usage"), (3, "void")]
    for transfer in listed:
        assert {"seq", "kind", "amount_nanos", "balance_after_nanos", "cause", "hash"} <= set(transfer)
        assert re.fullmatch("[0-9a-f]{64}", transfer["hash"])
    assert listed[-1]["amount_nanos"] == shop.said["void"].object["amount_nanos"] == 50_000


def test_prices_show_dollars_a_million_tokens(shop: Shop) -> None:
    for name in ("price", "price_shown"):
        shown = shop.said[name].object
        assert (shown["model"], shown["provider"], shown["known_rates"]) == ("m-1", None, 1)
        assert (shown["input"], shown["output"], shown["cache_read"]) == ("1.00", "2.00", "0.50")
        assert shown["effective_from"].startswith("1970-01-01")
        assert shown["tiers"][0]["cache_write_nanos"] == 10**9


def test_quarantine_list_has_the_fields_of_the_contract(shop: Shop) -> None:
    parked = shop.said["parked"].object
    assert (parked["reason"], parked["count"]) == ("unknown_model", 1)
    assert json.loads(parked["raw"])["id"] == "req_4"
    assert "unknown" in parked["detail"]
    assert shop.said["dismissed"].object == {"dismissed": 1, "ids": [parked["id"]]}


def test_audit_drain_and_dead_letters(shop: Shop) -> None:
    audit = shop.said["audit"].object
    assert (audit["ok"], audit["usage_records"], audit["first_fault"]) == (True, 3, None)
    assert min(audit["accounts"], audit["transfers"]) >= 2
    assert shop.said["drained"].object["drained"] is True
    assert shop.said["letters"].out == ""
    assert shop.said["replayed"].object == {"replayed": 0}
