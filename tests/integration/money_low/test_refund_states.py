"""What becomes of a refund, by what the network, the bank and Stripe's dashboard do."""

import asyncio
from datetime import timedelta

import pytest
from charged_money import ChargedMoney
from low_money import DOLLAR
from sqlalchemy import text

from shared.db.engine import create_engine
from shared.db.payment_steps import take_due_steps
from shared.domain.errors import RefusedError

_LEASE = timedelta(seconds=30)


async def test_a_committed_refund_is_found_by_the_clock(charged: ChargedMoney) -> None:
    _, topup_id, _ = await charged.charged()
    refund_id = (await charged.reserve(topup_id))["id"]
    async with charged.engine.begin() as connection:
        assert refund_id in await take_due_steps(connection, again_after=_LEASE, limit=10)


@pytest.mark.parametrize("kind", ["lose_request", "lose_response"])
@pytest.mark.parametrize("forgotten", [False, True], ids=["key known", "key forgotten"])
async def test_a_lost_request_or_answer_is_asked_again_and_refunds_once(
    charged: ChargedMoney, kind: str, *, forgotten: bool
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.fault(kind, path="/v1/refunds", method="POST")
    await charged.pay_back(refund_id)
    assert (await charged.refund(refund_id))["state"] == "reserved"
    if forgotten:
        charged.money.controls.forget_keys()
    await charged.pay_back(refund_id)
    assert charged.at_stripe(intent_id) == [(1_000, "succeeded")]
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await charged.assert_proven()


@pytest.mark.parametrize(
    ("status", "phase"),
    [(429, "before"), (409, "before"), (500, "before"), (500, "during"), (500, "after")],
)
async def test_stripe_out_of_order_is_waited_out(charged: ChargedMoney, status: int, phase: str) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.fault("error", path="/v1/refunds", method="POST", status=status, phase=phase)
    for _ in range(2):
        await charged.pay_back(refund_id)
    assert charged.at_stripe(intent_id) == [(1_000, "succeeded")]
    assert (await charged.refund(refund_id))["state"] == "succeeded"
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await charged.assert_proven()


async def test_errors_that_stripe_keeps_under_the_key_are_got_past_with_another(
    charged: ChargedMoney,
) -> None:
    _, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.fault("error", path="/v1/refunds", method="POST", phase="during", times=2)
    for _ in range(3):
        await charged.pay_back(refund_id)
    requests = charged.money.controls.requests(charged.money.stripe_key)
    keys = [made["idempotency_key"] for made in requests if made["path"] == "/v1/refunds"]
    assert [key for key in keys if key] == [
        *(f"refund:{refund_id}", f"refund:{refund_id}:2", f"refund:{refund_id}:3")
    ]
    assert charged.at_stripe(intent_id) == [(1_000, "succeeded")]
    await charged.assert_proven()


async def test_ten_workers_at_once_make_one_refund(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    engine = create_engine(charged.money.database_url)
    await asyncio.gather(*(charged.money.topups(engine).handle([refund_id]) for _ in range(10)))
    await engine.dispose()
    await charged.pay_back(refund_id)
    assert charged.at_stripe(intent_id) == [(1_000, "succeeded")]
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await charged.assert_proven()


async def test_a_pending_refund_is_looked_at_every_hour_until_it_is_over(charged: ChargedMoney) -> None:
    _, topup_id, _ = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.fault("hold", path="/v1/refunds", method="POST")
    for hours in range(3):
        await charged.pay_back(refund_id, ahead=timedelta(hours=hours))
        refund = await charged.refund(refund_id)
        wait = refund["next_step_at"] - refund["updated_at"] - timedelta(hours=hours)
        assert refund["state"] == "pending"
        assert timedelta(minutes=59) < wait < timedelta(minutes=61)
    charged.money.controls.settle_refund(refund["stripe_refund_id"], "succeed")
    await charged.pay_back(refund_id)
    assert (await charged.refund(refund_id))["state"] == "succeeded"
    await charged.assert_proven()


@pytest.mark.parametrize("pending", [False, True], ids=["after it succeeded", "while pending"])
async def test_a_refund_that_fails_days_later_is_given_back_once(
    charged: ChargedMoney, *, pending: bool
) -> None:
    account_id, topup_id, _ = await charged.charged()
    if pending:
        charged.money.controls.fault("hold", path="/v1/refunds", method="POST")
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    await charged.pay_back(refund_id)
    stripe_id = (await charged.refund(refund_id))["stripe_refund_id"]
    charged.money.controls.settle_refund(stripe_id, "fail")
    await asyncio.gather(*(charged.settle_refund(stripe_id) for _ in range(4)))
    refund = await charged.refund(refund_id)
    assert (refund["state"], refund["detail"]) == ("failed", "lost_or_stolen_card")
    assert await charged.moved(account_id) == [("refund", -1_000), ("refund_returned", 1_000)]
    assert (await charged.money.topup(topup_id))["refunded_nanos"] == 0
    await charged.pay_back((await charged.reserve(topup_id))["id"])
    assert await charged.cents(account_id) == 300
    await charged.assert_proven()


async def test_an_old_word_of_stripe_moves_nothing_back(charged: ChargedMoney) -> None:
    account_id, topup_id, _ = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    await charged.pay_back(refund_id)
    stripe_id = (await charged.refund(refund_id))["stripe_refund_id"]
    charged.money.controls.settle_refund(stripe_id, "fail")
    await charged.settle_refund(stripe_id)
    for status in ("pending", "succeeded"):
        charged.money.controls.alter(stripe_id, status=status)
        await charged.settle_refund(stripe_id)
    assert (await charged.refund(refund_id))["state"] == "failed"
    assert await charged.cents(account_id) == 2_800
    await charged.assert_proven()


async def test_a_refund_that_stripe_refuses_to_make_is_given_back(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.dispute(intent_id)
    await charged.pay_back(refund_id)
    refund = await charged.refund(refund_id)
    assert (refund["state"], refund["next_step_at"]) == ("failed", None)
    assert "charged back" in refund["detail"]
    assert await charged.moved(account_id) == [("refund", -1_000), ("refund_returned", 1_000)]
    await charged.assert_proven()


async def test_ten_workers_at_once_that_are_refused_give_back_once(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    charged.money.controls.dispute(intent_id)
    await asyncio.gather(*(charged.pay_back(refund_id) for _ in range(10)))
    await charged.pay_back(refund_id)
    assert await charged.moved(account_id) == [("refund", -1_000), ("refund_returned", 1_000)]
    await charged.assert_proven()


async def test_a_refund_of_a_payment_that_stripe_does_not_know_is_left_to_a_person(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    await _set_intent(charged, topup_id, "pi_none")
    await charged.pay_back(refund_id)
    refund = await charged.refund(refund_id)
    assert (refund["state"], refund["next_step_at"]) == ("quarantined", None)
    assert "pi_none" in refund["detail"]
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await _set_intent(charged, topup_id, intent_id)
    made = charged.connection.client.v1.refunds.create_async(
        params={"payment_intent": intent_id, "amount": 1_000, "metadata": {"refund_id": refund_id}}
    )
    await charged.settle_refund((await made).id)
    assert (await charged.refund(refund_id))["state"] == "succeeded"
    assert await charged.moved(account_id) == [("refund", -1_000)]
    await charged.assert_proven()


async def test_a_refund_made_in_the_dashboard_is_booked_once_even_below_zero(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    await charged.spend(account_id, 27 * DOLLAR)
    made = await charged.make_at_stripe(intent_id, 700)
    await asyncio.gather(*(charged.settle_refund(made) for _ in range(4)))
    assert await charged.cents(account_id) == -600
    (refund,) = await charged.refunds(topup_id)
    assert (refund["stripe_refund_id"], refund["state"], refund["reason"]) == (
        made,
        "succeeded",
        "made at Stripe",
    )
    assert not (await charged.money.auto(account_id))["enabled"]
    charged.money.controls.settle_refund(made, "fail")
    await charged.settle_refund(made)
    assert await charged.cents(account_id) == 100
    await charged.assert_proven()


async def test_a_refund_in_the_dashboard_that_was_quicker_than_a_reserved_one_takes_its_place(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 2_000))["id"]
    made = await charged.make_at_stripe(intent_id, 2_500)
    with pytest.raises(ConnectionError, match="waits for a refund that is reserved"):
        await charged.settle_refund(made)
    await charged.pay_back(refund_id)
    await charged.settle_refund(made)
    states = [(refund["state"], refund["amount_nanos"]) for refund in await charged.refunds(topup_id)]
    assert states == [("failed", 20 * DOLLAR), ("succeeded", 25 * DOLLAR)]
    assert await charged.cents(account_id) == 300
    await charged.assert_proven()


async def test_a_refund_that_says_it_is_ours_and_is_not_takes_no_others_place(charged: ChargedMoney) -> None:
    """Metadata altered: a refund over another amount, and one of another top-up, that name a reserved one."""
    account_id, topup_id, intent_id = await charged.charged()
    other_account, _, other_intent = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    for intent, cents in ((intent_id, 900), (other_intent, 1_000)):
        made = await charged.make_at_stripe(intent, cents)
        charged.money.controls.alter(made, metadata={"refund_id": refund_id})
        await charged.settle_refund(made)
    assert (await charged.refund(refund_id))["state"] == "reserved"
    await charged.pay_back(refund_id)
    assert [amount for amount, _ in charged.at_stripe(intent_id)] == [900, 1_000]
    assert await charged.moved(account_id) == [("refund", -1_000), ("refund", -900)]
    assert await charged.moved(other_account) == [("refund", -1_000)]
    await charged.assert_proven()


async def test_a_refund_of_a_charge_that_is_not_credited_yet_waits(charged: ChargedMoney) -> None:
    account_id, topup_id = await charged.money.by_hand()
    charged.money.controls.fault("lose_response", path="/v1/payment_intents/*/confirm")
    await charged.money.topups().handle([topup_id])
    intent_id = (await charged.money.topup(topup_id))["payment_intent_id"]
    made = await charged.make_at_stripe(intent_id, 2_500)
    with pytest.raises(ConnectionError, match="not credited yet"):
        await charged.settle_refund(made)
    await charged.money.topups().handle([topup_id])
    await charged.settle_refund(made)
    assert await charged.moved(account_id) == [("refund", -2_500)]
    await charged.assert_proven()


async def test_refunds_in_other_currencies_and_of_other_payments_are_not_booked(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    in_yen, of_another = [await charged.make_at_stripe(intent_id, 500) for _ in range(2)]
    charged.money.controls.alter(in_yen, currency="jpy")
    charged.money.controls.alter(of_another, payment_intent="pi_of_another_shop")
    for made in (in_yen, of_another):
        await charged.settle_refund(made)
    assert (await charged.moved(account_id), await charged.refunds(topup_id)) == ([], [])
    await charged.assert_proven()


async def test_a_disputed_top_up_is_not_refunded(charged: ChargedMoney) -> None:
    _, topup_id, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id, 500)
    await charged.settle_dispute(dispute_id)
    with pytest.raises(RefusedError, match="is disputed"):
        await charged.reserve(topup_id, 500)
    charged.money.controls.end_dispute(dispute_id, "won")
    await charged.settle_dispute(dispute_id)
    await charged.pay_back((await charged.reserve(topup_id))["id"])
    assert charged.at_stripe(intent_id) == [(2_500, "succeeded")]
    await charged.assert_proven()


async def _set_intent(charged: ChargedMoney, topup_id: str, intent_id: str) -> None:
    async with charged.engine.begin() as connection:
        await connection.execute(
            text("UPDATE topups SET payment_intent_id = :intent WHERE topup_id = :id"),
            {"intent": intent_id, "id": topup_id},
        )
