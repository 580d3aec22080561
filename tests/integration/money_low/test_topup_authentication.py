"""A charge its owner has to authenticate: told once with a link that works, and ended one way or another."""

from datetime import timedelta

import httpx
import pytest
from low_money import COOLDOWN, DAY, DOLLAR, LowMoney, elements
from topup_accidents import beside, stripe_of

from shared.messaging.topology import Stage
from shared.operations.payments.topups import create_topup

SECONDS = timedelta(seconds=5)
AUTHENTICATES = "pm_card_authenticationRequired"


async def test_the_alert_has_a_link_where_the_owner_can_authenticate(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    query = "SELECT data FROM alerts WHERE account_id = :id AND type = 'topup.action_required'"
    (alert,) = await money.rows(query, id=account_id)
    assert alert["data"]["link"] == (await money.topup(topup_id))["action_url"]
    async with httpx.AsyncClient() as browser:
        page = await browser.get(alert["data"]["link"])
        assert "Confirm your payment of" in page.text
        answered = await browser.post(alert["data"]["link"], data={"outcome": "succeed"})
    assert answered.headers["location"].startswith("http://127.0.0.1:8080/console?")
    await money.topups().handle([topup_id])
    assert await money.alerts(account_id) == ["topup.action_required", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_intent_that_waits_for_its_owner_without_a_link_gets_one(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    topups = beside(money, "retrieve_intent")
    await topups.until_killed(topup_id)
    row = await money.topup(topup_id)
    await money.change_card(account_id, AUTHENTICATES)
    confirm = {"payment_method": row["payment_method_id"]}
    stripe_of(money).v1.payment_intents.confirm(row["payment_intent_id"], confirm)  # type: ignore[arg-type]
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    assert (await money.topup(topup_id))["action_url"] is not None
    await money.assert_charged_and_credited(account_id)


async def test_while_one_waits_there_is_no_other_automatic_top_up_and_one_by_hand_goes_through(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    assert elements(await money.thresholds(ahead=COOLDOWN).handle([account_id]), Stage.TOPUP) == []
    await money.change_card(account_id, "pm_card_visa")
    by_hand = (await create_topup(money.engine, account_id, 30 * DOLLAR))["id"]
    await money.topups().handle([by_hand, topup_id])
    assert await money.state(topup_id) == "action_required"
    await money.assert_charged_and_credited(account_id, 3_000)
    money.controls.authenticate((await money.topup(topup_id))["payment_intent_id"])
    await money.topups().handle([topup_id])
    await money.assert_charged_and_credited(account_id, 3_000, 2_500)


async def test_paid_in_the_moment_before_it_is_canceled_it_is_credited(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    topups = beside(money, "cancel_intent", ahead=DAY + SECONDS)
    topups.before = lambda: money.controls.authenticate(intent_id)
    await topups.handle(topup_id)
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_paid_after_a_cancellation_that_got_lost_it_is_credited(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    money.controls.fault("lose_request", path="/v1/payment_intents/*/cancel")
    await money.topups(ahead=DAY + SECONDS).handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    money.controls.authenticate((await money.topup(topup_id))["payment_intent_id"])
    await money.topups(ahead=DAY + SECONDS).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_error_repeated_for_a_cancellation_keeps_no_top_up_open(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    money.controls.fault("error", path="/v1/payment_intents/*/cancel")
    for _ in range(2):
        await money.topups(ahead=DAY + SECONDS).handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    await money.assert_charged_and_credited(account_id)


async def test_authentication_that_fails_is_a_soft_decline_and_the_next_attempt_asks_again(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due(card=AUTHENTICATES)
    await money.topups().handle([topup_id])
    money.controls.authenticate((await money.topup(topup_id))["payment_intent_id"], "fail")
    for _ in range(3):
        await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.topups(ahead=timedelta(hours=2)).handle([topup_id])
    asked = "topup.action_required"
    assert await money.alerts(account_id) == [asked, "topup.failed", asked]
    await money.assert_charged_and_credited(account_id)


@pytest.mark.parametrize("phase", ["during", "after"])
async def test_an_error_repeated_where_the_page_is_asked_for_is_asked_under_another_key(
    money: LowMoney, phase: str
) -> None:
    account_id, topup_id = await money.due()
    topups = beside(money, "confirm_intent")
    await topups.until_killed(topup_id)
    await money.change_card(account_id, AUTHENTICATES)
    topups = beside(money, "ask_owner")
    topups.before = lambda: money.controls.fault("error", path="/v1/payment_intents/*/confirm", phase=phase)
    await topups.handle(topup_id)
    assert await money.state(topup_id) == "confirming"
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    assert await money.alerts(account_id) == ["topup.action_required"]
    await money.assert_charged_and_credited(account_id)
