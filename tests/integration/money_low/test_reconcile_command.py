"""What operators see of differences with Stripe: the commands, and what the clock tells."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from low_money import LowMoney, later
from low_reconciliation import (
    HOUR,
    Told,
    charge_outside,
    charged,
    charged_in_vain,
    named,
    reconcile,
    reconciliation,
)
from polling import eventually

from shared.clock import utc_now
from shared.messaging.stage_broker import stage_broker
from shared.operations.payments.reconciliation_schedule import ReconciliationSchedule
from shared.settings import Settings
from workers.clock import Clock

_PAYG = Path(sys.executable).with_name("payg")


async def _payg(money: LowMoney, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PAYG_DATABASE_URL": money.database_url,
        "PAYG_BROKER_URL": "amqp://127.0.0.1:1",
        "PAYG_STRIPE_API_KEY": money.stripe_key,
        "PAYG_STRIPE_API_BASE": money.stripe_url,
        **settings,
    }
    return await asyncio.to_thread(
        subprocess.run, [_PAYG, *arguments], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def _objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


async def _age(money: LowMoney, *intents: str) -> None:
    """Let what happened be long enough ago."""
    ago = int((utc_now() - timedelta(minutes=5)).timestamp())
    for intent in intents:
        charge = (await money.payments.retrieve_intent(intent)).charge_id
        money.controls.alter(intent, created=ago)
        money.controls.alter(str(charge), created=ago)


async def test_what_remains_is_printed_and_told_by_the_exit_status(money: LowMoney) -> None:
    await charged(money)
    clean = await _payg(money, "reconcile", "--json")
    assert clean.returncode == 0, clean.stderr
    assert _objects(clean)[0]["open"] == 0
    intent_id = await charge_outside(money)
    await _age(money, intent_id)
    done = await _payg(money, "reconcile", "--json")
    assert done.returncode == 1
    (report,) = _objects(done)
    assert (report["new"], report["mended"], report["open"]) == (1, 0, 1)
    assert {"from", "to", "payments", "refunds", "disputes"} < report.keys()
    (difference,) = report["differences"]
    assert (difference["kind"], difference["stripe_id"]) == ("foreign_intent", intent_id)
    (listed,) = _objects(await _payg(money, "differences", "list", "--json"))
    assert listed == difference
    table = await _payg(money, "reconcile", COLUMNS="300")
    assert table.returncode == 1
    assert "foreign_intent" in table.stdout


async def test_what_was_dismissed_stays_so(money: LowMoney) -> None:
    intent_id = await charge_outside(money)
    (found,) = (await reconcile(money)).open
    dismissed = await _payg(money, "differences", "dismiss", found["id"], "--because", "not ours", "--json")
    assert _objects(dismissed) == [{"dismissed": 1, "ids": [found["id"]]}]
    report = await reconcile(money, thorough=True)
    assert (report.new, report.open) == ([], [])
    assert await named(money, "dismissed") == {intent_id: "foreign_intent"}
    (listed,) = _objects(await _payg(money, "differences", "list", "--all", "--json"))
    assert (listed["state"], listed["dismissed_because"]) == ("dismissed", "not ours")
    again = await _payg(money, "differences", "dismiss", found["id"], "--because", "once more")
    assert (again.returncode, again.stdout) == (1, "")
    assert f"{found['id']} is dismissed" in again.stderr
    unknown = await _payg(money, "differences", "dismiss", "dif_1", "--because", "x")
    assert (unknown.returncode, "there is no difference dif_1" in unknown.stderr) == (1, True)


async def test_a_span_by_hand_takes_in_that_span_alone(money: LowMoney) -> None:
    await charge_outside(money)
    span = [(utc_now() - ago).isoformat() for ago in (timedelta(days=2), timedelta(days=1))]
    done = await _payg(money, "reconcile", "--from", span[0], "--to", span[1], "--json")
    assert (done.returncode, _objects(done)[0]["payments"]) == (0, 0)
    wrong = await _payg(money, "reconcile", "--from", span[1], "--to", span[0])
    assert wrong.returncode == 2


async def test_one_line_says_that_stripe_is_away_or_payments_are_off(money: LowMoney) -> None:
    away = await _payg(money, "reconcile", PAYG_STRIPE_API_BASE="http://127.0.0.1:9")
    assert (away.returncode, away.stdout) == (1, "")
    assert "Stripe did not do it" in away.stderr
    assert "Traceback" not in away.stderr
    async with asyncio.timeout(30):
        off = await asyncio.to_thread(_without_stripe, money.database_url)
    assert (off.returncode, off.stderr.strip()) == (
        1,
        "payg: payments are off: PAYG_STRIPE_API_KEY is not set",
    )


def _without_stripe(database_url: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PAYG_")}
    env |= {"PAYG_DATABASE_URL": database_url, "PAYG_BROKER_URL": "amqp://127.0.0.1:1"}
    return subprocess.run(
        [_PAYG, "reconcile"], env=env, capture_output=True, text=True, check=False, timeout=30
    )


async def test_the_clock_finds_a_charge_without_a_credit_within_minutes(
    money: LowMoney, settings: Settings
) -> None:
    account_id, topup_id, _ = await charged_in_vain(money)
    soon, told = later(timedelta(minutes=2)), Told()
    schedule = ReconciliationSchedule(money.engine, reconciliation(money, soon, told=told), soon)
    broker = stage_broker(settings.broker_url)
    clock = Clock(money.engine, broker, soon, HOUR, [schedule.run_due])
    running = asyncio.create_task(clock.run())

    async def credited() -> bool:
        return await money.state(topup_id) == "succeeded" and await named(money) == {}

    await eventually(credited, 20)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    clock.close()
    broker.close()
    assert told.lines == [
        ("stripe and the books differ", "charge_without_credit"),
        ("stripe and the books agree again", "charge_without_credit"),
    ]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_slow_answers_of_stripe_hold_up_no_sweep(money: LowMoney, settings: Settings) -> None:
    money.controls.fault("delay", path="/v1/payment_intents", delay_ms=8_000)
    _, topup_id = await money.by_hand()
    schedule = ReconciliationSchedule(money.engine, reconciliation(money), later())
    broker = stage_broker(settings.broker_url)
    clock = Clock(money.engine, broker, later(), HOUR, [schedule.run_due])
    running = asyncio.create_task(clock.run())

    async def sent() -> bool:
        return bool((await money.topup(topup_id))["next_step_at"] > utc_now() + timedelta(seconds=10))

    await eventually(sent, 4)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    clock.close()
    broker.close()


async def test_clocks_compare_every_two_minutes_whoever_of_them_is_first(money: LowMoney) -> None:
    ahead = timedelta(0)

    def now() -> datetime:
        return utc_now() + ahead

    def requests() -> int:
        return len(money.controls.requests(money.stripe_key))

    clocks = [ReconciliationSchedule(money.engine, reconciliation(money, now), now) for _ in range(2)]
    for clock in clocks:
        await clock.run_due()  # each is thorough when it starts
    made = requests()
    for ahead in (timedelta(minutes=1), timedelta(minutes=3), timedelta(minutes=4)):  # noqa: B007
        for clock in clocks:
            await clock.run_due()
    assert requests() == made + 4


@pytest.mark.parametrize("times", [1, 2])
async def test_the_clock_tries_again_while_stripe_is_away(money: LowMoney, times: int) -> None:
    account_id, _, _ = await charged_in_vain(money)
    soon = later(timedelta(minutes=2))
    schedule = ReconciliationSchedule(money.engine, reconciliation(money, soon), soon)
    money.controls.fault("error", path="/v1/charges", status=503, times=times)
    for _ in range(times):
        with pytest.raises(ConnectionError):
            await schedule.run_due()
    await schedule.run_due()
    await money.assert_charged_and_credited(account_id, 2_500)
