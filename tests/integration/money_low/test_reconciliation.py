"""Stripe against the books: a charge without a credit, a credit without a charge, and all between them."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from low_money import DOLLAR, LowMoney, later
from low_reconciliation import (
    HOUR,
    by_hand,
    charge_outside,
    charged,
    charged_in_vain,
    named,
    progress,
    reconcile,
    reconciliation,
)
from stripe_spec import faults_of

from shared.clock import utc_now
from shared.operations.audit import audit


async def _books_are_right(money: LowMoney) -> bool:
    return (await audit(money.engine)).ok


@pytest.mark.parametrize("intent_known", [True, False], ids=["intent committed", "intent lost"])
async def test_a_charge_that_nobody_told_of_is_credited_once(money: LowMoney, *, intent_known: bool) -> None:
    account_id, topup_id, intent_id = await charged_in_vain(money, intent_known=intent_known)
    report = await reconcile(money)
    assert [d["kind"] for d in report.new] == ["charge_without_credit"]
    assert [d["state"] for d in report.mended] == ["mended"]
    assert "mended" in report.mended[0]["detail"]
    assert report.open == []
    assert await named(money, "mended") == {intent_id: "charge_without_credit"}
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.succeeded"]
    again = await reconcile(money)
    assert (again.new, again.mended) == ([], [])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_charge_whose_process_was_killed_before_the_answer_is_credited(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    third_request = ("after", "request", "3")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        Path(__file__).with_name("die_in_topup.py"),
        *(money.database_url, money.stripe_url, money.stripe_key, topup_id, *third_request),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    assert await money.state(topup_id) == "confirming"
    await reconcile(money)
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_two_runs_at_once_credit_it_once(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged_in_vain(money)
    await asyncio.gather(*(reconcile(money) for _ in range(4)))
    assert await named(money) == {}
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_what_moved_a_moment_ago_is_in_flight(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged_in_vain(money)
    report = await reconciliation(money, utc_now).run(utc_now() - HOUR)
    assert report.new == []
    assert await money.state(topup_id) == "confirming"
    await reconcile(money)
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_books_that_agree_differ_in_nothing(money: LowMoney) -> None:
    account_id, _, _ = await charged(money)
    report = await reconcile(money, thorough=True)
    assert (len(report.payments), report.new, report.open) == (1, [], [])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_payment_in_the_second_where_windows_meet_counts_once(money: LowMoney) -> None:
    _, topup_id, _ = await charged(money)
    moved_at = (await money.topup(topup_id))["updated_at"].replace(microsecond=0)
    for meeting in (timedelta(seconds=s) for s in (-0.5, 0.5, 1.5)):
        report = await reconciliation(money).run(moved_at + meeting - timedelta(days=1))
        assert len(report.payments) == 1


async def test_a_late_charge_of_an_old_intent_is_found(money: LowMoney) -> None:
    """Its charge is new, its intent is older than the window, and the top-up was given up."""
    account_id, topup_id = await money.by_hand(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    topup = await money.topup(topup_id)
    await money.change_card(account_id, "pm_card_visa")
    money.controls.alter(topup["payment_intent_id"], created=int(utc_now().timestamp()))
    money.controls.advance_clock(7200)
    try:
        await money.payments.confirm_intent(
            topup_id, topup["payment_intent_id"], topup["payment_method_id"], 2
        )
    finally:
        money.controls.reset_clock()
    two_hours_on = reconciliation(money, later(timedelta(hours=2, minutes=5)))
    report = await two_hours_on.run(utc_now() + HOUR)
    assert [d["kind"] for d in report.mended] == ["charge_without_credit"]
    assert await money.state(topup_id) == "succeeded"
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_credit_whose_intent_was_not_charged_is_named_and_left(money: LowMoney) -> None:
    _, _, intent_id = await charged(money)
    money.controls.alter(intent_id, status="requires_confirmation", amount_received=0)
    report = await reconcile(money)
    assert await named(money) == {intent_id: "credit_without_charge"}
    assert report.mended == []
    assert "25.00 usd" in report.open[0]["detail"]
    assert await _books_are_right(money)


async def test_a_credit_whose_intent_stripe_does_not_know_is_named(money: LowMoney) -> None:
    _, topup_id, intent_id = await charged(money)
    for gone in (intent_id, (await money.topup(topup_id))["charge_id"]):
        money.controls.alter(gone, deleted=True)
    report = await reconcile(money)
    assert len(report.payments) == 0
    assert await named(money) == {intent_id: "credit_without_charge"}
    assert await _books_are_right(money)


async def test_a_credit_without_any_top_up_is_named(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    await by_hand(money, "DELETE FROM topups WHERE topup_id = :id", id=topup_id)
    await reconcile(money)
    assert await named(money) == {f"{account_id}/2": "credit_without_charge", intent_id: "foreign_intent"}
    assert not await _books_are_right(money)


async def test_one_charge_pays_for_one_of_two_top_ups_that_claim_it(money: LowMoney) -> None:
    _, _, intent_id = await charged(money)
    _, second, other = await charged(money)
    await by_hand(
        money,
        "UPDATE topups SET payment_intent_id = :intent WHERE topup_id = :id",
        id=second,
        intent=intent_id,
    )
    await reconcile(money)
    assert await named(money) == {intent_id: "credit_without_charge", other: "foreign_intent"}
    assert await _books_are_right(money)


async def test_an_amount_that_differs_is_parked(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged_in_vain(money)
    await by_hand(
        money, "UPDATE topups SET amount_nanos = :nanos WHERE topup_id = :id", id=topup_id, nanos=30 * DOLLAR
    )
    report = await reconcile(money)
    assert await named(money) == {intent_id: "amount_differs"}
    assert "Stripe took 25.00 usd" in report.open[0]["detail"]
    assert await money.credited_cents(account_id) == []
    assert await _books_are_right(money)


async def test_a_charge_in_yen_is_not_taken_for_dollars(money: LowMoney) -> None:
    account_id, _, intent_id = await charged_in_vain(money)
    money.controls.alter(intent_id, currency="jpy")
    report = await reconcile(money)
    assert await named(money) == {intent_id: "amount_differs"}
    assert "2500.00 jpy" in report.open[0]["detail"]
    assert await money.credited_cents(account_id) == []
    assert await _books_are_right(money)


async def test_a_top_up_whose_intent_moved_on_follows_it(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    topup = await money.topup(topup_id)
    assert topup["state"] == "action_required"
    await money.payments.cancel_intent(topup_id, topup["payment_intent_id"])
    report = await reconcile(money)
    assert [d["kind"] for d in report.mended] == ["topup_behind"]
    assert await money.state(topup_id) == "canceled"
    await money.assert_charged_and_credited(account_id)


async def test_a_decline_is_left_to_the_stage_that_counts_attempts(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    await by_hand(money, "UPDATE topups SET state = 'confirming' WHERE topup_id = :id", id=topup_id)
    report = await reconcile(money)
    assert report.new == []
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.assert_charged_and_credited(account_id)


async def test_a_top_up_that_stands_still_is_named_until_it_moves(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    await reconciliation(money, later(timedelta(minutes=10))).run(utc_now() - HOUR)
    assert await named(money) == {}
    await reconciliation(money, later(HOUR)).run(utc_now() - HOUR)
    assert await named(money) == {topup_id: "topup_stuck"}
    await money.topups().handle([topup_id])
    report = await reconciliation(money, later(HOUR)).run(utc_now() - HOUR)
    assert "gone by" in report.mended[0]["detail"]
    assert await named(money) == {}
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_open_top_up_of_an_intent_that_stripe_does_not_know_is_stuck(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    await by_hand(
        money,
        "UPDATE topups SET payment_intent_id = 'pi_gone', state = 'created' WHERE topup_id = :id",
        id=topup_id,
    )
    report = await reconciliation(money, later(HOUR)).run(utc_now() - HOUR)
    assert await named(money) == {topup_id: "topup_stuck"}
    assert "does not know its intent pi_gone" in report.open[0]["detail"]
    await money.assert_charged_and_credited(account_id)


async def test_a_charge_made_past_payg_is_named_and_not_credited(money: LowMoney) -> None:
    account_id, topup_id, _ = await charged(money)
    stranger = await charge_outside(money)
    pretender = await charge_outside(money, topup_id=topup_id, account_id=account_id)
    await reconcile(money)
    assert await named(money) == {stranger: "foreign_intent", pretender: "foreign_intent"}
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_metadata_alone_does_not_credit_a_pending_top_up(money: LowMoney) -> None:
    """The intent names a top-up without one, and its account, and is not of the account's customer."""
    account_id, topup_id = await money.by_hand()
    pretender = await charge_outside(money, topup_id=topup_id, account_id=account_id)
    await reconcile(money)
    assert await named(money) == {pretender: "foreign_intent"}
    assert await money.state(topup_id) == "pending"
    await money.assert_charged_and_credited(account_id)


async def test_altered_metadata_takes_no_charge_from_its_top_up(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged_in_vain(money)
    other = await money.account_without_topup()
    money.controls.alter(intent_id, metadata={"topup_id": topup_id, "account_id": other})
    await reconcile(money)
    assert await money.credited_cents(other) == []
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_more_than_a_page_is_compared_to_the_last(money: LowMoney) -> None:
    first = await charge_outside(money)
    for _ in range(4):
        await asyncio.gather(*(charge_outside(money) for _ in range(26)))
    report = await reconcile(money)
    assert len(report.payments) == 105
    assert len(await named(money)) == 105
    assert first in await named(money)
    assert faults_of(money.controls.requests(money.stripe_key)) == []


async def test_stripe_away_in_the_middle_leaves_the_run_to_be_made_again(money: LowMoney) -> None:
    account_id, _, _ = await charged_in_vain(money)
    money.controls.fault("error", path="/v1/disputes", status=500)
    with pytest.raises(ConnectionError):
        await reconcile(money, timedelta(days=4))
    assert await progress(money) is None
    await reconcile(money, timedelta(days=4))
    reached = await progress(money)
    assert reached is not None
    money.controls.fault("error", path="/v1/refunds", status=500)
    with pytest.raises(ConnectionError):
        await reconcile(money)
    assert await progress(money) == reached
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_span_that_leaves_a_hole_does_not_count_as_progress(money: LowMoney) -> None:
    await reconcile(money, timedelta(days=4))
    reached = await progress(money)
    assert reached is not None
    day_on = reconciliation(money, later(timedelta(days=1)))
    await day_on.run(reached + HOUR)
    assert await progress(money) == reached
    await day_on.run(reached - HOUR, reached - HOUR / 2)
    assert await progress(money) == reached
    await day_on.run(reached)
    assert await progress(money) > reached


async def test_overlapping_windows_name_a_difference_once(money: LowMoney) -> None:
    intent_id = await charge_outside(money)
    first = await reconcile(money)
    second = await reconcile(money)
    assert (len(first.new), len(second.new)) == (1, 0)
    assert [d["stripe_id"] for d in second.open] == [intent_id]
    assert len(await money.rows("SELECT * FROM payment_differences")) == 1


async def test_what_is_open_is_looked_at_after_its_window_went_by(money: LowMoney) -> None:
    account_id, topup_id, intent_id = await charged(money)
    await by_hand(money, "UPDATE topups SET payment_intent_id = NULL WHERE topup_id = :id", id=topup_id)
    money.controls.alter(intent_id, metadata={})
    await reconcile(money)
    assert (await named(money))[intent_id] == "foreign_intent"
    days_on = reconciliation(money, later(timedelta(days=5)))
    still = await days_on.run(utc_now() + timedelta(days=4))
    assert intent_id in {d["stripe_id"] for d in still.open}
    await by_hand(
        money, "UPDATE topups SET payment_intent_id = :pi WHERE topup_id = :id", id=topup_id, pi=intent_id
    )
    after = await days_on.run(utc_now() + timedelta(days=4))
    assert after.open == []
    assert all("gone by" in d["detail"] for d in after.mended)
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("skew_s", [3600, -3600])
async def test_a_clock_that_is_wrong_at_stripe_hides_nothing(money: LowMoney, skew_s: int) -> None:
    money.controls.skew_clock(skew_s)
    try:
        account_id, _, _ = await charged_in_vain(money)
    finally:
        money.controls.reset_clock()
    report = await reconcile(money, timedelta(hours=3))
    assert [d["kind"] for d in report.mended] == ["charge_without_credit"]
    await money.assert_charged_and_credited(account_id, 2_500)
