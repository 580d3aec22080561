"""Answers that are repeated, lost or late: a new key where the old one is of no use, and only there."""

import asyncio

import pytest
from low_money import DAY, LowMoney
from stripe_spec import faults_of
from topup_accidents import (
    AFTER_RETRY,
    CONFIRM,
    CREATE,
    DECLINED,
    attempts_of,
    beside,
    intents_of,
)


async def test_a_new_key_is_used_only_where_the_old_one_is_of_no_use(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", phase="during", **CREATE)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    row = await money.topup(topup_id)
    assert (row["state"], row["create_attempt"], row["attempt"]) == ("succeeded", 2, 1)
    made = money.controls.requests(money.stripe_key)
    keys = [each["idempotency_key"] for each in made if str(each["idempotency_key"]).startswith("topup:")]
    first, second = f"topup:{topup_id}:create", f"topup:{topup_id}:create:2"
    assert keys == [first, first, second, f"topup:{topup_id}:confirm:1"]
    assert faults_of(made) == []
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_intent_that_was_created_behind_a_repeated_error_is_taken(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", phase="after", **CREATE)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    assert len(await intents_of(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_decline_behind_a_repeated_error_is_counted_and_not_tried_again(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    money.controls.fault("error", phase="after", **CONFIRM)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert len(await attempts_of(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id)


async def test_a_key_forgotten_after_a_day_makes_no_second_intent(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("lose_response", **CREATE)
    await money.topups().handle([topup_id])
    money.controls.forget_keys()
    await money.topups(ahead=DAY).handle([topup_id])
    assert len(await intents_of(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(("card", "charged"), [("pm_card_visa", [2_500]), (DECLINED, [])])
async def test_a_key_forgotten_after_a_day_makes_no_second_attempt(
    money: LowMoney, card: str, charged: list[int]
) -> None:
    account_id, topup_id = await money.due(card=card)
    money.controls.fault("lose_response", **CONFIRM)
    await money.topups().handle([topup_id])
    money.controls.forget_keys()
    await money.topups(ahead=DAY).handle([topup_id])
    assert await money.state(topup_id) == ("succeeded" if charged else "retry_wait")
    assert len(await attempts_of(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, *charged)


async def test_a_storm_of_too_many_requests_delays_and_doubles_nothing(money: LowMoney) -> None:
    due = [await money.due() for _ in range(4)]
    for number in range(1, 4):
        money.controls.fault("error", status=429, times=2 * number, path="/v1/payment_intents")
        await asyncio.gather(*(money.topups().handle([topup_id]) for _, topup_id in due))
    money.controls.clear_faults()
    await asyncio.gather(*(money.topups().handle([topup_id]) for _, topup_id in due))
    for account_id, _ in due:
        await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_late_word_of_the_first_decline_is_not_counted_for_the_second_attempt(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    late = await money.payments.retrieve_intent(intent_id)
    await beside(money, "confirm_intent", AFTER_RETRY).until_killed(topup_id)
    assert await money.state(topup_id) == "confirming"
    await money.settle(topup_id, late)
    assert await money.state(topup_id) == "confirming"
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.change_card(account_id, "pm_card_visa")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_decline_without_a_charge_counts_only_as_the_answer_to_the_attempt(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    await beside(money, "confirm_intent", AFTER_RETRY).until_killed(topup_id)
    row = await money.topup(topup_id)
    intent = await money.payments.retrieve_intent(row["payment_intent_id"])
    await money.settle(topup_id, intent, failed_charge_id=None)
    assert (await money.auto(account_id))["soft_declines"] == 1
    for _ in range(2):
        await money.settle(topup_id, intent, failed_charge_id=None, attempt=row["attempt"])
    assert (await money.auto(account_id))["soft_declines"] == 2
    await money.assert_charged_and_credited(account_id)


@pytest.mark.parametrize("status", ["processing", "requires_action"])
async def test_an_old_word_moves_a_top_up_that_waits_for_its_retry_nowhere(
    money: LowMoney, status: str
) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    await money.settle(topup_id, await money.payments.retrieve_intent(intent_id), status=status)
    assert await money.state(topup_id) == "retry_wait"
    assert await money.alerts(account_id) == ["topup.failed"]
