"""Refunds as they are asked for: how much, what they take, and that nobody is charged because of one."""

import asyncio
from datetime import timedelta

import pytest
import stripe_spec
from charged_money import ChargedMoney
from low_money import DAY, DOLLAR, elements

from shared.domain.errors import NotFoundError, RefusedError
from shared.messaging.topology import Stage
from shared.operations.payments.refund_requests import list_refunds, reserve_refund
from shared.operations.payments.topups import create_topup

HOUR = timedelta(hours=1)


async def test_a_whole_top_up_goes_back_to_the_card_that_paid(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    reserved = await charged.reserve(topup_id)
    assert (reserved["state"], reserved["amount_nanos"]) == ("reserved", 25 * DOLLAR)
    assert (await charged.cents(account_id), charged.at_stripe(intent_id)) == (300, [])
    await charged.pay_back(reserved["id"])
    assert charged.at_stripe(intent_id) == [(2_500, "succeeded")]
    refund = await charged.refund(reserved["id"])
    assert (refund["state"], refund["next_step_at"]) == ("succeeded", None)
    assert (await charged.money.topup(topup_id))["refunded_nanos"] == 25 * DOLLAR
    assert await charged.moved(account_id) == [("refund", -2_500)]
    await charged.assert_proven()


async def test_parts_go_back_until_nothing_is_left(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    for cents in (1, 999, None):
        await charged.pay_back((await charged.reserve(topup_id, cents))["id"])
    assert [amount for amount, _ in charged.at_stripe(intent_id)] == [1, 999, 1_500]
    with pytest.raises(RefusedError, match=r"at most \$0.00 .* \$0.00 of its charge are left"):
        await charged.reserve(topup_id, 1)
    assert await charged.cents(account_id) == 300
    await charged.assert_proven()


async def test_what_is_spent_cannot_be_refunded_and_no_automatic_top_up_follows(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    await charged.spend(account_id, 20 * DOLLAR + 1)  # $28 were there
    with pytest.raises(RefusedError, match=r"at most \$7.99 .* \$7.999999999 of the balance are unspent"):
        await charged.reserve(topup_id, 800)
    refund = await charged.reserve(topup_id)
    await charged.pay_back(refund["id"])
    assert charged.at_stripe(intent_id) == [(799, "succeeded")]
    assert await charged.money.balance(account_id) == 9_999_999
    assert elements(await charged.money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    await charged.money.assert_charged_and_credited(account_id, 2_500)


async def test_a_refund_suspends_automatic_top_up_with_one_alert(charged: ChargedMoney) -> None:
    account_id, topup_id, _ = await charged.charged()
    for _ in range(2):
        await charged.reserve(topup_id, 100)
    auto = await charged.money.auto(account_id)
    assert (auto["enabled"], auto["disabled_because"]) == (False, "a refund of $1.00: asked for")
    assert await charged.money.alerts(account_id) == ["topup.succeeded", "topup.disabled"]
    await charged.assert_proven()


async def test_what_an_automatic_top_up_has_begun_is_looked_at_when_a_refund_suspends_it(
    charged: ChargedMoney,
) -> None:
    account_id, first, _ = await charged.charged()
    await charged.spend(account_id, 20 * DOLLAR)
    await charged.money.change_card(account_id, "pm_card_chargeDeclined")
    (second,) = elements(await charged.money.thresholds(ahead=HOUR).handle([account_id]), Stage.TOPUP)
    await charged.money.topups().handle([second])
    assert await charged.money.state(second) == "retry_wait"
    await charged.reserve(first)
    rows = await charged.money.rows("SELECT topup_id FROM topups WHERE next_step_at <= clock_timestamp()")
    assert [row["topup_id"] for row in rows] == [second]


@pytest.mark.parametrize("nanos", [0, -DOLLAR, 9_999_999, 10_000_001])
async def test_a_refund_is_a_whole_number_of_cents_and_at_least_one(
    charged: ChargedMoney, nanos: int
) -> None:
    _, topup_id, _ = await charged.charged()
    with pytest.raises(RefusedError, match="a whole number of cents, at least one"):
        await reserve_refund(charged.engine, topup_id, nanos, "no", HOUR)


async def test_only_what_was_charged_can_be_refunded(charged: ChargedMoney) -> None:
    _, topup_id = await charged.money.by_hand()
    with pytest.raises(RefusedError, match="is pending: nothing was charged"):
        await charged.reserve(topup_id)
    with pytest.raises(NotFoundError, match="there is no top-up top_none"):
        await charged.reserve("top_none")


async def test_the_same_key_gives_the_same_refund_and_is_refused_for_another(charged: ChargedMoney) -> None:
    account_id, topup_id, _ = await charged.charged()
    first = await charged.reserve(topup_id, 500, key="k1")
    assert (await charged.reserve(topup_id, 500, key="k1"))["id"] == first["id"]
    for cents, reason in ((501, "asked for"), (500, "other")):
        with pytest.raises(RefusedError, match="k1 was used for another refund"):
            await charged.reserve(topup_id, cents, reason, key="k1")
    assert await charged.moved(account_id) == [("refund", -500)]
    assert [refund["id"] for refund in await list_refunds(charged.engine, account_id)] == [first["id"]]
    await charged.assert_proven()


async def test_ten_at_once_with_one_key_are_one_refund(charged: ChargedMoney) -> None:
    account_id, topup_id, _ = await charged.charged()
    reserved = await asyncio.gather(*(charged.reserve(topup_id, 500, key="k1") for _ in range(10)))
    assert len({refund["id"] for refund in reserved}) == 1
    assert await charged.moved(account_id) == [("refund", -500)]
    await charged.assert_proven()


async def test_of_two_refunds_at_once_over_the_remainder_one_wins(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    answers = await asyncio.gather(
        *(charged.reserve(topup_id, 1_300) for _ in range(2)), return_exceptions=True
    )
    (refused,) = (answer for answer in answers if isinstance(answer, BaseException))
    assert isinstance(refused, RefusedError)
    assert "at most $12.00" in str(refused)
    (won,) = (answer for answer in answers if not isinstance(answer, BaseException))
    await charged.pay_back(won["id"])
    assert charged.at_stripe(intent_id) == [(1_300, "succeeded")]
    assert await charged.cents(account_id) == 1_500
    await charged.assert_proven()


async def test_ten_at_once_over_one_balance_never_take_more_than_there_is(charged: ChargedMoney) -> None:
    account_id, topup_id, _ = await charged.charged()
    await charged.spend(account_id, 18 * DOLLAR)
    answers = await asyncio.gather(
        *(charged.reserve(topup_id, 300) for _ in range(10)), return_exceptions=True
    )
    assert [isinstance(answer, RefusedError) for answer in answers].count(False) == 3
    assert await charged.cents(account_id) == 100
    await charged.assert_proven()


async def test_refunds_of_two_top_ups_at_once_share_what_is_unspent(charged: ChargedMoney) -> None:
    account_id, first, _ = await charged.charged()
    second = (await create_topup(charged.engine, account_id, 25 * DOLLAR))["id"]
    await charged.money.topups().handle([second])
    await charged.spend(account_id, 43 * DOLLAR)
    answers = await asyncio.gather(
        *(charged.reserve(topup_id, 600, key=key) for topup_id in (first, second) for key in "ab"),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(answer) for answer in refused] == [RefusedError] * 3
    assert await charged.cents(account_id) == 400
    await charged.assert_proven()


async def test_stripe_would_accept_each_request(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund = await charged.reserve(topup_id, 500)
    await charged.pay_back(refund["id"])
    await charged.settle_refund((await charged.refund(refund["id"]))["stripe_refund_id"])
    await charged.settle_dispute(charged.money.controls.dispute(intent_id, 100))
    await charged.warn(charged.money.controls.warn_of_fraud(intent_id))
    requests = charged.money.controls.requests(charged.money.stripe_key)
    assert {"/v1/refunds", "/v1/disputes", "/v1/radar"} <= {
        "/".join(made["path"].split("/")[:3]) for made in requests
    }
    assert stripe_spec.faults_of(requests) == []
    assert await charged.frozen(account_id)
