"""payg trace: from any id to the books, and who was told."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aio_pika
import msgspec
import pytest
from payg_command import Inside, Payg, migrated
from sqlalchemy import text

from sandbox.servers import Postgres, RabbitMQ
from shared.clock import utc_now
from shared.db.deliveries import insert_deliveries
from shared.db.engine import create_engine
from shared.domain.deliveries import Channel, DeliveryState
from shared.domain.events import USAGE_TYPE
from shared.messaging.topology import Stage, dead_letter_arguments, dead_letter_queue
from workers.debit import Debiting
from workers.pricing import Pricing
from workers.thresholds import Thresholds


@dataclass(frozen=True)
class Traced:
    """An account with $25 of which record ``req_t1`` took $6, and one that could not be priced."""

    account_id: str
    alert_id: str


def _event(event_id: str, account_id: str, model: str = "m-t") -> msgspec.Raw:
    return msgspec.Raw(
        json.dumps(
            {
                "specversion": "1.0",
                "type": USAGE_TYPE,
                "source": "gw",
                "id": event_id,
                "time": utc_now().isoformat(),
                "data": {"model": model, "input_tokens": 6_000_000, "account_id": account_id},
            }
        ).encode()
    )


@pytest.fixture(scope="module")
def payg(postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payg]:
    """What is found here must not be in the way of other tests."""
    with migrated(postgres, rabbitmq, "traces", tmp_path_factory.mktemp("traces")) as payg:
        yield payg


@pytest.fixture(scope="module")
def traced(payg: Payg) -> Traced:
    payg("prices", "set", "m-t", "--input", "1", "--output", "2")
    account_id = payg("account", "create").object["account_id"]
    payg("account", "credit", account_id, "25", "--reason", "start")
    return Traced(account_id, asyncio.run(_live(payg.env["PAYG_DATABASE_URL"], account_id)))


async def _debit(url: str, *records: msgspec.Raw) -> None:
    engine = create_engine(url)
    debiting = Debiting(engine, timedelta(hours=1), utc_now)
    for message in await Pricing(engine, 1).handle(list(records)):
        if message.stage is Stage.DEBIT:
            await debiting.handle(list(message.batch))
    await engine.dispose()


async def _live(url: str, account_id: str) -> str:
    """Run two records through the stages; return the alert that followed, with a delivery of it."""
    await _debit(url, _event("req_t1", account_id), _event("req_t2", account_id, "no-such-model"))
    engine = create_engine(url)
    async with engine.connect() as connection:
        due = list((await connection.execute(text("SELECT due_id FROM due_evaluations"))).scalars())
    await Thresholds(engine, utc_now, timedelta()).handle(due)
    of_account = {"account": account_id}
    async with engine.begin() as connection:
        query = "SELECT sequence FROM alerts WHERE account_id = :account AND type = 'balance.low'"
        sequence: int = (await connection.execute(text(query), of_account)).scalar_one()
        await insert_deliveries(connection, [_delivery(account_id, sequence)])
    await engine.dispose()
    return f"alert-{sequence}"


def _delivery(account_id: str, sequence: int) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "delivery_id": "dlv_t1",
        "channel": Channel.WEBHOOK,
        "target_id": "whe_t1",
        "alert_account_id": account_id,
        "sequence": sequence,
        "state": DeliveryState.FAILED,
        "attempts": 9,
        "status": 503,
        "created_at": utc_now(),
        "updated_at": utc_now(),
    }


def _steps(inside: Inside, command: str) -> list[dict[str, Any]]:
    return list(inside(f"trace {command}").object["steps"])


def test_an_event_leads_to_its_price_its_transfer_and_the_alert(traced: Traced, inside: Inside) -> None:
    usage, transfer, alert, delivery = steps = _steps(inside, "req_t1")
    assert [each["step"] for each in steps] == ["usage_record", "transfer", "alert", "delivery"]
    assert (usage["id"], usage["charge_nanos"], usage["balance_nanos"]) == ("req_t1", 6 * 10**9, 6 * 10**9)
    assert usage["rate_tiers"][0]["input"] == 10**9
    assert usage["row_intact"] is True
    assert (transfer["id"], transfer["amount_nanos"]) == (f"{traced.account_id}/2", -6 * 10**9)
    assert (transfer["chain_intact"], transfer["evaluated"]) == (True, True)
    assert (alert["id"], alert["type"]) == (traced.alert_id, "balance.low")
    assert (delivery["id"], delivery["state"], delivery["status"]) == ("dlv_t1", "failed", 503)


def test_a_transfer_and_an_alert_lead_to_each_other(traced: Traced, inside: Inside) -> None:
    steps = _steps(inside, f"{traced.account_id}/2")
    assert [step["step"] for step in steps] == ["transfer", "alert", "delivery"]
    assert _steps(inside, traced.alert_id) == steps


def test_an_event_is_looked_for_in_one_account_where_one_is_named(traced: Traced, inside: Inside) -> None:
    assert len(_steps(inside, f"req_t1 --account {traced.account_id}")) == 4
    inside("trace req_t1 --account acct_other").assert_fails(1, "req_t1", "nowhere")


@pytest.mark.usefixtures("traced")
def test_a_record_that_was_given_back_shows_both_transfers(payg: Payg, inside: Inside) -> None:
    account_id = inside("account create").object["account_id"]
    asyncio.run(_debit(payg.env["PAYG_DATABASE_URL"], _event("req_t3", account_id)))
    inside(f"usage void req_t3 --account {account_id} --reason mistake")
    kinds = [step["kind"] for step in _steps(inside, "req_t3") if step["step"] == "transfer"]
    assert kinds == ["usage", "void"]


@pytest.mark.usefixtures("traced")
def test_a_record_in_quarantine_says_why_and_who_was_told(inside: Inside) -> None:
    parked, alert = steps = _steps(inside, "req_t2")
    assert [step["step"] for step in steps] == ["quarantine", "alert"]
    assert (parked["reason"], parked["status"], parked["event_id"]) == ("unknown_model", "open", "req_t2")
    assert json.loads(parked["raw"])["id"] == "req_t2"
    assert alert["type"] == "usage.quarantined"
    assert _steps(inside, parked["id"]) == steps


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfers SET amount_nanos = amount_nanos + {by} WHERE account_id = :account AND seq = 2",
        "UPDATE usage_records SET output_tokens = output_tokens + {by} WHERE event_id = 'req_t1'",
    ],
)
def test_a_digit_that_was_changed_shows(traced: Traced, payg: Payg, inside: Inside, change: str) -> None:
    url = payg.env["PAYG_DATABASE_URL"]
    asyncio.run(_tamper(url, change.format(by=1), traced.account_id))
    try:
        assert _steps(inside, f"{traced.account_id}/2")[0]["chain_intact"] is False
    finally:
        asyncio.run(_tamper(url, change.format(by=-1), traced.account_id))
    assert _steps(inside, f"{traced.account_id}/2")[0]["chain_intact"] is True


def test_a_record_that_the_broker_gave_up_on_is_found(payg: Payg, inside: Inside) -> None:
    letter = {"message_id": "m1", "message_timestamp": 0, "args": [[{"id": "req_dead"}]]}
    asyncio.run(_give_up(payg.env["PAYG_BROKER_URL"], json.dumps(letter, separators=(",", ":")).encode()))
    (found,) = _steps(inside, "req_dead")
    assert (found["step"], found["queue"], found["message_id"]) == ("dead_letter", "pricing", "m1")


def test_what_is_nowhere_is_said_to_be_nowhere(inside: Inside) -> None:
    for nothing in ("req_none", "alert-999999", "acct_none/1", "pi_none"):
        inside(f"trace {nothing}").assert_fails(1, nothing, "nowhere", "dead letter")


def test_people_read_it_as_text(traced: Traced, payg: Payg) -> None:
    shown = payg("trace", "req_t1", json=False)
    assert shown.status == 0
    words = shown.out.split()
    for word in ("usage", "transfer", "alert", "delivery", "$6.00", traced.alert_id):
        assert word in words, shown.out


async def _tamper(url: str, change: str, account_id: str) -> None:
    engine = create_engine(url)
    async with engine.begin() as connection:
        statement = text(change)
        await connection.execute(statement, {"account": account_id} if ":account" in change else {})
    await engine.dispose()


async def _give_up(broker_url: str, body: bytes) -> None:
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(
            dead_letter_queue(Stage.PRICING), durable=True, arguments=dead_letter_arguments()
        )
        await channel.default_exchange.publish(aio_pika.Message(body), queue.name)
