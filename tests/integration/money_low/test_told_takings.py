"""Refunds and disputes that happen at Stripe reach the books by an event, or else by the reconciler."""

from charged_money import ChargedMoney
from low_reconciliation import named, reconcile
from low_webhooks import Webhooks, handle_events


async def handled(webhooks: Webhooks) -> None:
    webhooks.all_sent()
    await handle_events(webhooks.money)


async def test_a_refund_made_at_stripe_is_booked_by_its_event(
    webhooks: Webhooks, charged: ChargedMoney
) -> None:
    account_id, _, intent_id = await charged.charged()
    await charged.make_at_stripe(intent_id, 700)
    await handled(webhooks)
    assert await charged.moved(account_id) == [("refund", -700)]
    await charged.assert_proven()


async def test_a_dispute_freezes_and_takes_by_its_event_and_gives_back_when_it_is_won(
    webhooks: Webhooks, charged: ChargedMoney
) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute = charged.money.controls.dispute(intent_id)
    await handled(webhooks)
    assert await charged.frozen(account_id)
    charged.money.controls.end_dispute(dispute, "won")
    await handled(webhooks)
    assert await charged.moved(account_id) == [("dispute", -2500), ("dispute_reinstated", 2500)]
    await charged.assert_proven()


async def test_a_fraud_warning_stops_automatic_top_ups_by_its_event(
    webhooks: Webhooks, charged: ChargedMoney
) -> None:
    account_id, _, intent_id = await charged.charged()
    charged.money.controls.warn_of_fraud(intent_id)
    await handled(webhooks)
    assert not (await charged.money.auto(account_id))["enabled"]
    assert (await charged.money.alerts(account_id))[-1] == "topup.disabled"


async def test_takings_that_no_event_told_of_are_booked_by_the_reconciler(charged: ChargedMoney) -> None:
    account_id, _, refunded = await charged.charged()
    other_id, _, disputed = await charged.charged()
    await charged.make_at_stripe(refunded, 700)
    charged.money.controls.dispute(disputed)
    await reconcile(charged.money)
    assert await charged.moved(account_id) == [("refund", -700)]
    assert await charged.moved(other_id) == [("dispute", -2500)]
    assert set((await named(charged.money, "mended")).values()) == {"refund_not_booked", "dispute_not_booked"}
    assert await named(charged.money) == {}
    await charged.assert_proven()
