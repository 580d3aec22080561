"""A payment is found by any of its names, with what was credited, taken back and told."""

from charged_money import ChargedMoney

from shared.clock import utc_now
from shared.db import stripe_events
from shared.domain.stripe_event import StripeEvent
from shared.operations.trace import trace


async def test_a_payment_is_found_by_any_of_its_names(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund = await charged.reserve(topup_id, 750)
    await charged.pay_back(refund["id"])
    dispute_id = charged.money.controls.dispute(intent_id, 500)
    await charged.settle_dispute(dispute_id)
    event = StripeEvent("evt_t1", "payment_intent.succeeded", intent_id, utc_now())
    async with charged.engine.begin() as connection:
        await stripe_events.store_events(connection, [event])

    steps = await trace(charged.engine, topup_id, None)
    found = [(step["step"], step["id"]) for step in steps]
    assert found[:3] == [("topup", topup_id), ("refund", refund["id"]), ("dispute", dispute_id)]
    transfers = [step for step in steps if step["step"] == "transfer"]
    assert [step["kind"] for step in transfers][:2] == ["topup", "refund"]
    assert all(step["chain_intact"] for step in transfers)
    assert "topup.succeeded" in {step["type"] for step in steps if step["step"] == "alert"}
    for name in (intent_id, refund["id"], dispute_id):
        assert await trace(charged.engine, name, None) == steps
    by_event = await trace(charged.engine, "evt_t1", None)
    assert (by_event[0]["step"], by_event[0]["object_id"]) == ("stripe_event", intent_id)
    assert by_event[1:] == steps
    (credit,) = (step for step in transfers if step["kind"] == "topup")
    assert [step["step"] for step in await trace(charged.engine, credit["id"], account_id)][:2] == [
        "topup",
        "transfer",
    ]
