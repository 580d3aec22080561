"""What changes between a decision and its charge: the card, its customer, the settings."""

import pytest
from low_money import DOLLAR, LowMoney
from stripe_spec import faults_of
from topup_accidents import (
    AFTER_RETRY,
    CONFIRM,
    DECLINED,
    attempts_of,
    beside,
    intents_of,
    run_sql,
    stripe_of,
)

from shared.operations.payments.topups import save_card, set_auto_topup, switch_off_auto_topup


async def test_a_retry_charges_the_card_that_is_saved_by_then(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    card = await save_card(money.engine, money.payments, account_id, "pm_card_mastercard")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert [c["payment_method"] for c in await attempts_of(money, account_id)][-1] == card
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("gone", ["removed", "removed before", "customer deleted", "deleted before"])
async def test_a_card_that_goes_in_flight_ends_the_top_up_and_says_so(
    money: LowMoney, gone: str, *, automatic: bool
) -> None:
    account_id, topup_id = await (money.due() if automatic else money.by_hand())
    customer, card = await money.customer(account_id)

    def go() -> None:
        if "removed" in gone:
            stripe_of(money).v1.payment_methods.detach(card)
        else:
            stripe_of(money).v1.customers.delete(customer)

    topups = beside(money, "create_intent" if "before" in gone else "confirm_intent")
    topups.before = go
    await topups.handle(topup_id)
    assert await money.state(topup_id) == "failed"
    row = await money.topup(topup_id)
    assert ("removed" if "removed" in gone else "deleted") in row["detail"]
    assert row["attempt"] == 1
    told = ["topup.failed", "topup.disabled"] if automatic else ["topup.failed"]
    assert await money.alerts(account_id) == told
    assert faults_of(money.controls.requests(money.stripe_key)) == []
    await money.assert_charged_and_credited(account_id)


async def test_a_card_that_is_replaced_in_flight_is_charged_in_place_of_the_old_one(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    await beside(money, "confirm_intent").until_killed(topup_id)
    _, card = await money.customer(account_id)
    await save_card(money.engine, money.payments, account_id, "pm_card_mastercard")
    stripe_of(money).v1.payment_methods.detach(card)
    await money.topups().handle([topup_id])
    assert (await money.topup(topup_id))["attempt"] == 2
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_card_forgotten_while_a_retry_waits_ends_the_top_up(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    await run_sql(money, "UPDATE payment_customers SET payment_method_id = NULL")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.alerts(account_id) == ["topup.failed", "topup.failed", "topup.disabled"]
    await money.assert_charged_and_credited(account_id)


@pytest.mark.parametrize("automatic", [True, False])
async def test_an_intent_of_a_customer_who_was_replaced_is_canceled(
    money: LowMoney, *, automatic: bool
) -> None:
    account_id, topup_id = await (money.due() if automatic else money.by_hand())
    await beside(money, "confirm_intent").until_killed(topup_id)
    customer = stripe_of(money).v1.customers.create()
    await run_sql(money, "UPDATE payment_customers SET customer_id = :id", id=customer.id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    await money.assert_charged_and_credited(account_id)


async def test_a_key_of_another_account_gives_nothing_up_and_is_seen(money: LowMoney) -> None:
    due = [await money.due(), await money.due()]
    await beside(money, "confirm_intent").until_killed(due[1][1])
    wrong = LowMoney(money.engine, money.database_url, money.controls, money.stripe_url, "sk_test_other")
    for account_id, topup_id in due:
        state = await money.state(topup_id)
        await wrong.topups().handle([topup_id])
        assert await money.state(topup_id) == state
        assert "No such" in (await money.topup(topup_id))["detail"]
        await money.topups().handle([topup_id])
        await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("request_named", ["create_intent", "retrieve_intent", "confirm_intent"])
async def test_switched_off_before_it_is_charged_it_is_canceled(money: LowMoney, request_named: str) -> None:
    account_id, topup_id = await money.due()
    await beside(money, request_named).until_killed(topup_id)
    await switch_off_auto_topup(money.engine, account_id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    assert [intent.status for intent in await intents_of(money, account_id)] in ([], ["canceled"])
    assert await money.alerts(account_id) == []
    await money.assert_charged_and_credited(account_id)


async def test_switched_off_while_a_retry_waits_it_is_canceled(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    await switch_off_auto_topup(money.engine, account_id)
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    assert [intent.status for intent in await intents_of(money, account_id)] == ["canceled"]
    await money.assert_charged_and_credited(account_id)


async def test_what_its_owner_switched_off_is_not_switched_off_again_by_a_decline(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclinedStolenCard")
    money.controls.fault("lose_response", **CONFIRM)
    await money.topups().handle([topup_id])
    await switch_off_auto_topup(money.engine, account_id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "failed"
    assert await money.alerts(account_id) == ["topup.failed"]
    assert (await money.auto(account_id))["disabled_because"] == "switched off"
    await money.assert_charged_and_credited(account_id)


async def test_switched_off_after_the_money_was_taken_it_is_credited(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("lose_response", **CONFIRM)
    await money.topups().handle([topup_id])
    await switch_off_auto_topup(money.engine, account_id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_other_settings_in_flight_leave_the_amount_that_was_decided(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    await set_auto_topup(
        money.engine,
        money.payments,
        account_id,
        threshold_nanos=DOLLAR,
        amount_nanos=90 * DOLLAR,
        payment_method=None,
    )
    await money.topups().handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)
