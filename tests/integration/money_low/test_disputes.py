"""Disputes, inquiries and early fraud warnings: what they take, give back, freeze and suspend."""

import asyncio

import pytest
from charged_money import POLICY, ChargedMoney
from low_money import DAY, DOLLAR, elements
from sqlalchemy import text

from shared.clock import utc_now
from shared.domain.errors import RefusedError
from shared.gateways.stripe_disputes import StripeDispute, StripeDisputes
from shared.messaging.topology import Stage
from shared.operations.payments.disputes import list_disputes, settle_dispute


async def test_a_dispute_after_everything_was_spent_takes_the_balance_below_zero_and_freezes(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    await charged.spend(account_id, 28 * DOLLAR)
    dispute_id = charged.money.controls.dispute(intent_id)
    outcome = await charged.settle_dispute(dispute_id)
    assert await charged.money.named_by(outcome.due) == [account_id]
    assert (await charged.cents(account_id), await charged.frozen(account_id)) == (-2_500, True)
    assert await charged.moved(account_id) == [("credit", -2_800), ("dispute", -2_500)]
    auto = await charged.money.auto(account_id)
    assert (auto["enabled"], auto["disabled_because"]) == (
        False,
        f"top-up {topup_id} is disputed: fraudulent",
    )
    assert await charged.money.alerts(account_id) == ["topup.succeeded", "topup.disabled"]
    assert elements(await charged.money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    await charged.assert_proven()


async def test_a_dispute_told_ten_times_at_once_takes_once(charged: ChargedMoney) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id, 700)
    await asyncio.gather(*(charged.settle_dispute(dispute_id) for _ in range(10)))
    assert await charged.moved(account_id) == [("dispute", -700)]
    assert await charged.money.alerts(account_id) == ["topup.succeeded", "topup.disabled"]
    await charged.assert_proven()


async def test_what_is_won_comes_back_once_and_the_account_stays_frozen(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    charged.money.controls.end_dispute(dispute_id, "won")
    await asyncio.gather(*(charged.settle_dispute(dispute_id) for _ in range(4)))
    assert await charged.moved(account_id) == [("dispute", -2_500), ("dispute_reinstated", 2_500)]
    assert (await charged.dispute(dispute_id))["taken_nanos"] == 0
    assert (await charged.money.topup(topup_id))["disputed_nanos"] == 0
    assert await charged.frozen(account_id)
    causes = await charged.money.rows("SELECT cause FROM transfers WHERE kind = 'dispute_reinstated'")
    assert [row["cause"] for row in causes] == [
        f"dispute {dispute_id} won: the account stays frozen until it is looked at"
    ]
    await charged.assert_proven()


async def test_what_is_lost_stays_taken(charged: ChargedMoney) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    charged.money.controls.end_dispute(dispute_id, "lost")
    await charged.settle_dispute(dispute_id)
    assert await charged.moved(account_id) == [("dispute", -2_500)]
    (listed,) = await list_disputes(charged.engine, account_id)
    assert (listed["id"], listed["status"], listed["taken_nanos"]) == (dispute_id, "lost", 25 * DOLLAR)
    with pytest.raises(RefusedError, match="is disputed"):
        await charged.reserve(topup_id)
    await charged.assert_proven()


async def test_an_account_that_was_thawed_is_not_frozen_again_by_the_same_dispute(
    charged: ChargedMoney,
) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    async with charged.engine.begin() as connection:
        await connection.execute(text("UPDATE accounts SET frozen = false"))
        await connection.execute(text("UPDATE auto_topups SET enabled = true"))
    charged.money.controls.end_dispute(dispute_id, "lost")
    await charged.settle_dispute(dispute_id)
    assert not await charged.frozen(account_id)
    assert (await charged.money.auto(account_id))["enabled"]
    await charged.assert_proven()


async def test_a_dispute_first_heard_of_when_it_is_won_takes_nothing(charged: ChargedMoney) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id)
    charged.money.controls.end_dispute(dispute_id, "won")
    await charged.settle_dispute(dispute_id)
    assert (await charged.moved(account_id), await charged.frozen(account_id)) == ([], False)
    await charged.assert_proven()


async def test_an_inquiry_takes_nothing_and_freezes_nothing_but_suspends_automatic_top_up(
    charged: ChargedMoney,
) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id, inquiry=True)
    await charged.settle_dispute(dispute_id)
    assert (await charged.moved(account_id), await charged.frozen(account_id)) == ([], False)
    assert not (await charged.money.auto(account_id))["enabled"]
    charged.money.controls.end_dispute(dispute_id, "lost")
    await charged.settle_dispute(dispute_id)
    assert (await charged.dispute(dispute_id))["status"] == "warning_closed"
    assert (await charged.moved(account_id), await charged.frozen(account_id)) == ([], False)
    assert await charged.money.alerts(account_id) == ["topup.succeeded", "topup.disabled"]
    await charged.assert_proven()


async def test_an_inquiry_that_becomes_a_dispute_takes_and_freezes(charged: ChargedMoney) -> None:
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id, inquiry=True)
    await charged.settle_dispute(dispute_id)
    async with charged.engine.begin() as connection:
        await connection.execute(text("UPDATE auto_topups SET enabled = true"))
    charged.money.controls.escalate_dispute(dispute_id)
    await charged.settle_dispute(dispute_id)
    assert await charged.moved(account_id) == [("dispute", -2_500)]
    assert await charged.frozen(account_id)
    assert await charged.money.alerts(account_id) == ["topup.succeeded"] + ["topup.disabled"] * 2
    await charged.assert_proven()


async def test_a_refund_and_a_dispute_share_the_charge_and_nothing_is_taken_twice(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id, 1_000))["id"]
    await charged.pay_back(refund_id)
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    assert await charged.moved(account_id) == [("refund", -1_000), ("dispute", -1_500)]
    topup = await charged.money.topup(topup_id)
    assert (topup["refunded_nanos"], topup["disputed_nanos"]) == (10 * DOLLAR, 15 * DOLLAR)
    await charged.assert_proven()
    charged.money.controls.settle_refund((await charged.refund(refund_id))["stripe_refund_id"], "fail")
    await charged.settle_refund((await charged.refund(refund_id))["stripe_refund_id"])
    assert (await charged.moved(account_id))[2:] == [("refund_returned", 1_000), ("dispute", -1_000)]
    assert (await charged.dispute(dispute_id))["taken_nanos"] == 25 * DOLLAR
    await charged.assert_proven()
    charged.money.controls.end_dispute(dispute_id, "won")
    await charged.settle_dispute(dispute_id)
    assert (await charged.moved(account_id))[4:] == [
        ("dispute_reinstated", 1_500),
        ("dispute_reinstated", 1_000),
    ]
    assert await charged.cents(account_id) == 2_800
    await charged.assert_proven()


async def test_a_dispute_that_comes_between_reservation_and_refund_takes_what_the_refund_gives_up(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    refund_id = (await charged.reserve(topup_id))["id"]
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    assert (await charged.frozen(account_id), await charged.moved(account_id)) == (
        True,
        [("refund", -2_500)],
    )
    await charged.pay_back(refund_id)
    assert (await charged.refund(refund_id))["state"] == "failed"
    assert (await charged.moved(account_id))[1:] == [("refund_returned", 2_500), ("dispute", -2_500)]
    assert await charged.cents(account_id) == 300
    await charged.assert_proven()


async def test_disputes_refunds_and_spending_all_at_once_take_no_more_than_was_charged(
    charged: ChargedMoney,
) -> None:
    account_id, topup_id, intent_id = await charged.charged()
    disputes = [charged.money.controls.dispute(intent_id, 1_000) for _ in range(3)]
    await asyncio.gather(
        *(charged.settle_dispute(dispute_id) for dispute_id in disputes),
        *(charged.reserve(topup_id, 700) for _ in range(3)),
        return_exceptions=True,
    )
    for dispute_id in disputes:
        await charged.settle_dispute(dispute_id)
    topup = await charged.money.topup(topup_id)
    assert topup["refunded_nanos"] + topup["disputed_nanos"] == 25 * DOLLAR
    assert await charged.cents(account_id) == 300
    await charged.assert_proven()


async def test_an_older_word_of_stripe_than_what_is_written_is_not_believed(charged: ChargedMoney) -> None:
    """Asked before the dispute was won, settled after somebody else had settled that it was."""
    account_id, _, intent_id = await charged.charged()
    dispute_id = charged.money.controls.dispute(intent_id)
    await charged.settle_dispute(dispute_id)
    asked = _Slow(charged, dispute_id)
    await settle_dispute(charged.engine, asked, dispute_id, utc_now(), POLICY)
    assert asked.times == 2
    assert (await charged.dispute(dispute_id))["status"] == "won"
    assert await charged.cents(account_id) == 2_800
    await charged.assert_proven()


async def test_a_dispute_in_another_currency_or_of_another_payment_takes_nothing(
    charged: ChargedMoney,
) -> None:
    account_id, _, intent_id = await charged.charged()
    in_dinars, of_another = [charged.money.controls.dispute(intent_id, 500) for _ in range(2)]
    charged.money.controls.alter(in_dinars, currency="kwd")
    charged.money.controls.alter(of_another, payment_intent="pi_of_another_shop")
    for dispute_id in (in_dinars, of_another):
        await charged.settle_dispute(dispute_id)
    assert (await charged.moved(account_id), await charged.frozen(account_id)) == ([], False)
    await charged.assert_proven()


async def test_a_fraud_warning_suspends_automatic_top_up_with_one_alert_and_refunds_nothing(
    charged: ChargedMoney,
) -> None:
    account_id, _, intent_id = await charged.charged()
    warning_id = charged.money.controls.warn_of_fraud(intent_id)
    await asyncio.gather(*(charged.warn(warning_id) for _ in range(4)))
    assert await charged.money.alerts(account_id) == ["topup.succeeded", "topup.disabled"]
    auto = await charged.money.auto(account_id)
    assert auto["disabled_because"] == "the issuer of the card warns of fraud: made_with_stolen_card"
    assert (charged.at_stripe(intent_id), await charged.moved(account_id)) == ([], [])
    async with charged.engine.begin() as connection:
        await connection.execute(text("UPDATE auto_topups SET enabled = true"))
    await charged.warn(warning_id)
    assert (await charged.money.auto(account_id))["enabled"]
    await charged.assert_proven()


class _Slow(StripeDisputes):
    """Stripe's answer arrives after the dispute was won, and after somebody else settled that."""

    def __init__(self, charged: ChargedMoney, dispute_id: str) -> None:
        super().__init__(charged.connection)
        self._charged = charged
        self._dispute_id = dispute_id
        self.times = 0

    async def retrieve_dispute(self, dispute_id: str) -> StripeDispute:
        answer = await super().retrieve_dispute(dispute_id)
        self.times += 1
        if self.times == 1:
            self._charged.money.controls.end_dispute(self._dispute_id, "won")
            await self._charged.settle_dispute(self._dispute_id)
        return answer
