"""Which intents become money: those of the top-up, over its amount, in its currency; late ones too."""

from datetime import timedelta

import pytest
from low_money import GRACE, RETRY, LowMoney

from shared.clock import utc_now
from shared.operations.payments.settle import SettlePolicy, settle

POLICY = SettlePolicy(RETRY, GRACE)


async def test_what_was_credited_is_due_for_an_invoice_and_nothing_else_is(money: LowMoney) -> None:
    for card, due in (("pm_card_visa", True), ("pm_card_chargeDeclined", False)):
        _, topup_id = await money.by_hand(card=card)
        await money.topups().handle([topup_id])
        assert ((await money.topup(topup_id))["invoice_due_at"] is not None) is due


@pytest.mark.parametrize("currency", ["jpy", "kwd"])
async def test_the_same_number_in_another_currency_is_parked(money: LowMoney, currency: str) -> None:
    account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    money.controls.alter(intent_id, currency=currency)
    intent = await money.payments.retrieve_intent(intent_id)
    await settle(money.engine, topup_id, intent, utc_now(), POLICY)
    assert await money.state(topup_id) == "quarantined"
    await money.assert_charged_and_credited(account_id)


async def test_what_was_charged_after_the_top_up_was_given_up_is_credited_once(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "failed"
    await money.change_card(account_id, "pm_card_visa")
    topup = await money.topup(topup_id)
    intent = await money.payments.confirm_intent(
        topup_id, topup["payment_intent_id"], topup["payment_method_id"], 2
    )
    assert intent.status == "succeeded"
    for _ in range(2):
        await settle(money.engine, topup_id, intent, utc_now() + timedelta(seconds=1), POLICY)
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)
