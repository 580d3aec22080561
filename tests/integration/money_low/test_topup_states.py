"""What becomes of a top-up, by what the card, its owner and Stripe do."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from low_money import COOLDOWN, DAY, DOLLAR, RETRY, LowMoney, elements
from polling import eventually
from sqlalchemy import text

from shared.messaging.topology import Stage
from shared.operations.money import credit_account
from shared.operations.payments.cards import save_card

SECONDS = timedelta(seconds=5)
AFTER_RETRY = RETRY + SECONDS


async def test_a_good_card_is_charged_and_the_balance_credited(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    messages = await money.topups().handle([topup_id])
    assert await money.named_by(elements(messages, Stage.THRESHOLDS)) == [account_id]
    assert await money.state(topup_id) == "succeeded"
    assert await money.balance(account_id) == 28 * DOLLAR
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_top_up_that_succeeded_is_not_touched_by_a_message_that_comes_again(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    for _ in range(3):
        await money.topups(ahead=DAY).handle([topup_id])
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_softly_declined_card_is_tried_again_and_a_success_resets_the_count(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclinedInsufficientFunds")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert (await money.auto(account_id))["soft_declines"] == 1
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    await money.change_card(account_id, "pm_card_visa")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    assert (await money.auto(account_id))["soft_declines"] == 0
    assert await money.alerts(account_id) == ["topup.failed", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_message_that_comes_again_does_not_cut_the_wait_for_a_retry_short(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    for _ in range(5):
        await money.topups().handle([topup_id])
    await money.topups(ahead=RETRY - SECONDS).handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert (await money.auto(account_id))["soft_declines"] == 1
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_three_soft_declines_in_a_row_end_it_and_switch_automatic_top_up_off(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    counted = []
    waits = (timedelta(0), RETRY - SECONDS, AFTER_RETRY, 4 * RETRY - SECONDS, 4 * RETRY + SECONDS, DAY)
    for wait in waits:
        await money.topups(ahead=wait).handle([topup_id])
        counted.append((await money.auto(account_id))["soft_declines"])
    assert counted == [1, 1, 2, 2, 3, 3]
    assert await money.state(topup_id) == "failed"
    auto = await money.auto(account_id)
    assert (auto["enabled"], auto["soft_declines"]) == (False, 3)
    assert await money.alerts(account_id) == ["topup.failed"] * 3 + ["topup.disabled"]
    assert elements(await money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    await money.assert_charged_and_credited(account_id)


async def test_a_new_card_resets_the_count_of_declines(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    await save_card(money.engine, money.payments, account_id, "pm_card_mastercard")
    assert (await money.auto(account_id))["soft_declines"] == 0


@pytest.mark.parametrize("card", ["StolenCard", "LostCard", "ExpiredCard", "Fraudulent"])
async def test_one_hard_decline_switches_automatic_top_up_off(money: LowMoney, card: str) -> None:
    account_id, topup_id = await money.due(card=f"pm_card_chargeDeclined{card}")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "failed"
    assert (await money.auto(account_id))["enabled"] is False
    assert await money.alerts(account_id) == ["topup.failed", "topup.disabled"]
    await money.assert_charged_and_credited(account_id)


async def test_a_declined_top_up_by_hand_is_over_and_leaves_automatic_ones_alone(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand("pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "failed"
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_authentication_is_asked_for_once_and_not_cancelled_by_a_message_that_comes_again(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    for _ in range(4):
        await money.topups().handle([topup_id])
    await money.topups(ahead=DAY - SECONDS).handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    assert await money.alerts(account_id) == ["topup.action_required"]
    assert (await money.auto(account_id))["enabled"] is True
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []


async def test_authentication_that_nobody_gave_in_a_day_cancels_the_intent(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    messages = await money.topups(ahead=DAY + SECONDS).handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    intent = (await money.topup(topup_id))["payment_intent_id"]
    assert (await money.payments.retrieve_intent(intent)).status == "canceled"
    assert await money.named_by(elements(messages, Stage.THRESHOLDS)) == [account_id]
    await money.assert_charged_and_credited(account_id)


@pytest.mark.parametrize("outcome", ["succeed", "fail"])
async def test_a_payment_in_processing_ends_as_stripe_says(money: LowMoney, outcome: Any) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("hold")
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "processing"
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    money.controls.release((await money.topup(topup_id))["payment_intent_id"], outcome)
    await asyncio.gather(*(money.topups().handle([topup_id]) for _ in range(5)))
    if outcome == "succeed":
        assert await money.state(topup_id) == "succeeded"
        await money.assert_charged_and_credited(account_id, 2_500)
    else:
        assert await money.state(topup_id) == "retry_wait"
        assert (await money.auto(account_id))["soft_declines"] == 1
        await money.assert_charged_and_credited(account_id)


async def test_an_intent_over_another_amount_is_parked_and_automatic_top_up_switched_off(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("hold")
    await money.topups().handle([topup_id])
    row = await money.topup(topup_id)
    await _run(money, "UPDATE topups SET amount_nanos = 30000000000 WHERE topup_id = :id", id=topup_id)
    money.controls.release(row["payment_intent_id"], "succeed")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "quarantined"
    assert row["payment_intent_id"] in (await money.topup(topup_id))["detail"]
    assert (await money.auto(account_id))["enabled"] is False
    assert await money.alerts(account_id) == ["topup.failed", "topup.disabled"]
    assert await money.credited_cents(account_id) == []


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/payment_intents/*/confirm"])
async def test_what_stripe_refuses_for_good_is_parked_and_automatic_top_up_switched_off(
    money: LowMoney, path: str
) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", path=path, method="POST", status=400)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "quarantined"
    assert (await money.auto(account_id))["enabled"] is False
    assert await money.alerts(account_id) == ["topup.failed", "topup.disabled"]
    assert elements(await money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    await money.assert_charged_and_credited(account_id)


_REQUESTS = {
    "create": {"path": "/v1/payment_intents", "method": "POST"},
    "look": {"path": "/v1/payment_intents/", "method": "GET"},
    "confirm": {"path": "/v1/payment_intents/*/confirm", "method": "POST"},
}
_FAULTS: dict[str, dict[str, Any]] = {
    "request lost": {"kind": "lose_request"},
    "answer lost": {"kind": "lose_response"},
    "500 at the door": {"kind": "error", "phase": "before"},
    "500, nothing done, repeated for a day": {"kind": "error", "phase": "during"},
    "500, all done, repeated for a day": {"kind": "error", "phase": "after"},
    "too many requests": {"kind": "error", "status": 429},
    "the key is in use": {"kind": "error", "status": 409, "phase": "before"},
}


@pytest.mark.parametrize("fault", _FAULTS)
@pytest.mark.parametrize("request_named", _REQUESTS)
async def test_stripe_away_leaves_one_charge_and_one_credit_once_it_is_back(
    money: LowMoney, request_named: str, fault: str
) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault(**_FAULTS[fault], **_REQUESTS[request_named])
    assert await money.topups().handle([topup_id]) == []
    assert await money.state(topup_id) in {"pending", "created", "confirming"}
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("request_named", _REQUESTS)
async def test_an_answer_that_takes_too_long_leaves_one_charge_and_one_credit(
    money: LowMoney, request_named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("delay", delay_ms=700, **_REQUESTS[request_named])
    with monkeypatch.context() as hasty:
        hasty.setattr("shared.gateways.stripe_connection._TIMEOUT_S", 0.3)
        assert await money.topups().handle([topup_id]) == []
    await _until_succeeded(money, topup_id)
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_top_up_that_fell_short_is_followed_by_another_after_the_cool_down(money: LowMoney) -> None:
    account_id = await money.account(balance=0)
    await _run(money, "UPDATE auto_topups SET threshold_nanos = 40000000000")
    (first,) = elements(await money.thresholds().handle([account_id]), Stage.TOPUP)
    await money.topups().handle([first])
    assert elements(await money.thresholds().handle([account_id]), Stage.TOPUP) == []
    looks = await money.rows("SELECT look_again_at FROM evaluations WHERE account_id = :id", id=account_id)
    assert looks[0]["look_again_at"] == (await money.topup(first))["updated_at"] + COOLDOWN
    again = elements(await money.thresholds(ahead=COOLDOWN + SECONDS).handle([account_id]), Stage.TOPUP)
    assert len(again) == 1
    await money.topups().handle(again)
    await money.assert_charged_and_credited(account_id, 2_500, 2_500)


async def test_a_cap_of_the_day_holds_until_the_next_and_money_from_elsewhere_ends_the_need(
    money: LowMoney,
) -> None:
    account_id = await money.account(balance=0)
    await _run(money, "UPDATE auto_topups SET threshold_nanos = 24000000000, max_per_day = 1")
    (first,) = elements(await money.thresholds().handle([account_id]), Stage.TOPUP)
    await money.topups().handle([first])
    await _run(money, "UPDATE auto_topups SET threshold_nanos = 26000000000")
    assert elements(await money.thresholds(ahead=timedelta(0)).handle([account_id]), Stage.TOPUP) == []
    assert len(elements(await money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP)) == 1
    await credit_account(money.engine, account_id, 50 * DOLLAR, "a cheque", timedelta(hours=1))
    assert elements(await money.thresholds(ahead=2 * DAY).handle([account_id]), Stage.TOPUP) == []


async def _until_succeeded(money: LowMoney, topup_id: str) -> None:
    """A request that ran out of time may still be at work: its key is in use until then."""

    async def again() -> bool:
        await money.topups().handle([topup_id])
        return await money.state(topup_id) == "succeeded"

    await eventually(again)


async def _run(money: LowMoney, statement: str, **values: Any) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)
