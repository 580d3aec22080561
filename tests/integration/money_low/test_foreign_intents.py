"""Which intents are not those of a top-up, whatever their metadata says: nothing of ours moves for them."""

import pytest
from low_money import LowMoney
from low_webhooks import Webhooks, assert_credited, charge, event, handle_events, pay_on_session


async def test_an_intent_of_nobody_is_noted_and_left_alone(money: LowMoney, webhooks: Webhooks) -> None:
    account_id, _ = await money.by_hand()
    await charge(money, account_id, metadata={})
    webhooks.all_sent()
    (paid,) = await handle_events(money)
    row = await event(money, paid)
    assert row["processed_at"] is not None
    assert (row["next_step_at"], row["detail"]) == (None, "not ours")
    await assert_credited(money, account_id)


async def test_metadata_altered_to_another_account_moves_nothing_there(
    money: LowMoney, webhooks: Webhooks
) -> None:
    _, theirs = await money.due()
    account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    victim = await money.topup(theirs)
    money.controls.alter(intent_id, metadata={"topup_id": theirs, "account_id": victim["account_id"]})
    await pay_on_session(money, topup_id)
    webhooks.all_sent()
    await handle_events(money)
    assert await money.topup(theirs) == victim
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)
    await money.assert_charged_and_credited(victim["account_id"])


@pytest.mark.parametrize("lie", ["customer", "account", "amount", "currency"])
async def test_an_intent_that_only_names_a_top_up_is_not_its_intent(
    money: LowMoney, webhooks: Webhooks, lie: str
) -> None:
    account_id, topup_id = await money.due()
    other_id, _ = await money.by_hand()
    payer = other_id if lie == "customer" else account_id
    metadata = {"topup_id": topup_id, "account_id": other_id if lie == "account" else account_id}
    changes = {"amount": {"amount": 999}, "currency": {"currency": "jpy"}}.get(lie, {})
    await charge(money, payer, metadata=metadata, **changes)
    before = await money.topup(topup_id)
    webhooks.all_sent()
    (paid,) = await handle_events(money)
    assert await money.topup(topup_id) == before
    assert topup_id in (await event(money, paid))["detail"]
    await assert_credited(money, account_id)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    await assert_credited(money, account_id, 2_500)


async def test_a_second_intent_that_names_a_top_up_is_not_its_intent(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    before = await money.topup(topup_id)
    await money.change_card(account_id, "pm_card_visa")
    webhooks.change(hold=True)
    await charge(money, account_id, metadata={"topup_id": topup_id, "account_id": account_id})
    paid = webhooks.happened("payment_intent.succeeded")
    webhooks.release(paid)
    await money.topups().handle(paid)
    assert await money.topup(topup_id) == before
    assert before["payment_intent_id"] in (await event(money, paid[0]))["detail"]
    assert await money.alerts(account_id) == ["topup.action_required"]
