"""Webhooks that never came: the clock finds their events in Stripe's own list."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from low_money import DAY, GRACE, LowMoney, later
from low_webhooks import Webhooks, events_of, handle_events, stored
from polling import eventually
from stripe_spec import faults_of
from structlog.testing import capture_logs

from shared.clock import utc_now
from shared.domain.stripe_event import StripeEvent
from shared.gateways import stripe_events
from shared.gateways.stripe_connection import PaymentRefusedError, PaymentUnavailableError
from shared.gateways.stripe_events import StripeEventList
from shared.messaging.failure import is_transient
from shared.messaging.stage_broker import stage_broker
from shared.operations.payments.event_backfill import LOOK_EVERY, EventBackfill
from shared.operations.payments.payment_steps import Outcome
from shared.operations.payments.stripe_events import StripeEvents
from shared.settings import Settings
from workers.clock import Clock

LATER = LOOK_EVERY + timedelta(seconds=1)
FOUR_DAYS = 4 * DAY


def backfill(
    money: LowMoney, ahead: timedelta = timedelta(0), events: StripeEvents | None = None
) -> EventBackfill:
    listed = StripeEventList(money.payments.connection)
    return EventBackfill(money.engine, listed, events or events_of(money), later(ahead))


async def test_webhooks_that_were_down_for_four_days_cost_no_event(
    money: LowMoney, webhooks: Webhooks
) -> None:
    await backfill(money).look()
    webhooks.change(down=True)
    account_id, topup_id = await money.due()
    money.controls.fault("hold")
    await money.topups().handle([topup_id])
    money.controls.release((await money.topup(topup_id))["payment_intent_id"], "succeed")
    assert await stored(money) == []
    money.controls.advance_clock(FOUR_DAYS.total_seconds())
    webhooks.change(down=False)
    other_id, later_id = await money.by_hand()
    await money.topups().handle([later_id])
    webhooks.all_sent_or_dropped()
    assert await stored(money) == ["payment_intent.succeeded"]
    await backfill(money, FOUR_DAYS).look()
    assert sorted(await stored(money)) == ["payment_intent.processing"] + ["payment_intent.succeeded"] * 2
    await handle_events(money)
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)
    await money.assert_charged_and_credited(other_id, 2_500)
    assert faults_of(money.controls.requests(money.stripe_key)) == []


async def test_the_cursor_stays_until_every_page_is_stored(
    money: LowMoney, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe_events, "_PAGE", 2)
    await backfill(money).look()
    before = await _progress(money)
    for _ in range(3):
        _, topup_id = await money.by_hand()
        await money.topups().handle([topup_id])
    with pytest.raises(PaymentUnavailableError):
        await backfill(money, LATER, _ThenStripeIsAway(money)).look()
    assert len(await stored(money)) == 2
    assert await _progress(money) == before
    await backfill(money, LATER).look()
    assert len(await stored(money)) == 3
    assert (await _progress(money))["done_until"] > before["done_until"]


async def test_the_cursor_is_stripes_newest_event_and_a_look_begins_before_it(money: LowMoney) -> None:
    await _paid(money)
    await backfill(money).look()
    newest = (await money.rows("SELECT max(created_at) AS at FROM stripe_events"))[0]["at"]
    assert (await _progress(money))["done_until"] == newest
    await backfill(money, LATER).look()
    assert (await _progress(money))["done_until"] == newest
    first, second = _looks(money)
    assert int(_since(second)) < newest.timestamp() < int(_since(first)) + 25 * 3600


@pytest.mark.parametrize("hours", [-3, 3])
async def test_a_clock_of_ours_that_is_wrong_misses_no_event(money: LowMoney, hours: int) -> None:
    wrong = timedelta(hours=hours)
    await backfill(money, wrong).look()
    for number in range(1, 4):
        await _paid(money)
        await backfill(money, wrong + number * LATER).look()
        assert len(await stored(money)) == number


async def test_the_first_look_goes_back_a_day(money: LowMoney) -> None:
    await backfill(money).look()
    (first,) = _looks(money)
    since = datetime.fromtimestamp(int(_since(first)), utc_now().tzinfo)
    assert DAY < utc_now() - since < DAY + timedelta(hours=1)


async def test_what_a_webhook_brought_is_not_stored_again(money: LowMoney, webhooks: Webhooks) -> None:
    await _paid(money)
    webhooks.all_sent()
    await handle_events(money)
    await backfill(money).look()
    assert await stored(money) == ["payment_intent.succeeded"]
    assert await handle_events(money) == []


async def test_many_clocks_ask_stripe_once_every_few_minutes(money: LowMoney) -> None:
    await _paid(money)
    await backfill(money).look()
    for _ in range(5):
        await backfill(money).look()
    assert len(_looks(money)) == 1
    await asyncio.gather(*(backfill(money, LATER).look() for _ in range(2)))
    assert await stored(money) == ["payment_intent.succeeded"]


async def test_more_types_than_stripe_takes_at_once_are_asked_for_in_parts(money: LowMoney) -> None:
    async def nothing(_object_id: str) -> Outcome:
        return Outcome()

    types = [f"payment_intent.kind_{number}" for number in range(40)] + ["payment_intent.succeeded"]
    events = StripeEvents(money.engine, dict.fromkeys(types, nothing))
    await _paid(money)
    await backfill(money, events=events).look()
    assert await stored(money) == ["payment_intent.succeeded"]
    asked = [[value for name, value in made["parameters"] if "types" in name] for made in _looks(money)]
    assert [len(some) for some in asked] == [20, 20, 1]
    assert sorted(kind for some in asked for kind in some) == sorted(types)


async def test_events_that_stripe_forgot_are_told_of_loudly(money: LowMoney) -> None:
    await backfill(money).look()
    with capture_logs() as logs:
        await backfill(money, 29 * DAY).look()
        assert [entry for entry in logs if entry["log_level"] == "error"] == []
        await backfill(money, 60 * DAY).look()
    (told,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert "payg reconcile" in told["event"]


async def test_stripe_that_does_not_answer_holds_no_sweep_up(money: LowMoney, settings: Settings) -> None:
    asked = asyncio.Event()

    async def never_answered() -> None:
        asked.set()
        await asyncio.Event().wait()

    await _sweeps_go_on(money, settings, never_answered, asked)


@pytest.mark.parametrize("error", [PaymentRefusedError("no"), PaymentUnavailableError("later")], ids=repr)
async def test_stripe_that_refuses_does_not_stop_the_clock(
    money: LowMoney, settings: Settings, error: Exception
) -> None:
    asked = asyncio.Event()

    async def refused() -> None:
        asked.set()
        raise error

    await _sweeps_go_on(money, settings, refused, asked)


def test_stripe_away_is_waited_out() -> None:
    assert is_transient(PaymentUnavailableError("Stripe did not do it"))


class _ThenStripeIsAway(StripeEvents):
    """Stores a page; after that Stripe answers no more."""

    def __init__(self, money: LowMoney) -> None:
        super().__init__(money.engine, dict.fromkeys(events_of(money).types, _never))
        self._controls = money.controls

    async def store(self, events: Sequence[StripeEvent]) -> list[str]:
        self._controls.fault("error", path="/v1/events")
        return await super().store(events)


async def _never(object_id: str) -> Outcome:
    raise AssertionError(object_id)


async def _sweeps_go_on(money: LowMoney, settings: Settings, look: Any, asked: asyncio.Event) -> None:
    """The clock still sends a top-up on, while and after it looked at Stripe."""
    _, topup_id = await money.by_hand()
    before = (await money.topup(topup_id))["next_step_at"]
    broker = stage_broker(settings.broker_url)
    clock = Clock(money.engine, broker, utc_now, GRACE, [look])
    running = asyncio.create_task(clock.run())
    await asyncio.wait_for(asked.wait(), 10)
    await eventually(partial(_moved, money, topup_id, before))
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    clock.close()
    broker.close()


async def _moved(money: LowMoney, topup_id: str, before: datetime) -> bool:
    return bool((await money.topup(topup_id))["next_step_at"] != before)


async def _paid(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def _progress(money: LowMoney) -> dict[str, Any]:
    (row,) = await money.rows("SELECT * FROM stripe_progress")
    return dict(row)


def _looks(money: LowMoney) -> list[dict[str, Any]]:
    return [made for made in money.controls.requests(money.stripe_key) if made["path"] == "/v1/events"]


def _since(look: dict[str, Any]) -> str:
    return str(dict(look["parameters"])["created[gte]"])
