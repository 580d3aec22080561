"""What becomes of an event: the intent is asked for anew, and its top-up brought to where that is."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from low_money import RETRY, LowMoney
from low_webhooks import (
    Webhooks,
    assert_credited,
    charged_unknown,
    due_events,
    event,
    events_of,
    handle_events,
    pay_on_session,
    stored,
)
from stripe_spec import faults_of

from shared.clock import utc_now
from shared.domain.errors import NotFoundError
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import Intent, StripePayments
from shared.operations.payments.settle import SettlePolicy
from shared.operations.payments.stripe_events import StripeEvents, list_events, retry_events
from workers.topup import TopUps

AFTER_RETRY = RETRY + timedelta(seconds=5)


async def test_an_event_that_comes_before_the_answer_credits_once(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due()
    payments = _LateAnswers(StripeConnection(money.stripe_key, money.stripe_url))
    stage = TopUps(money.engine, payments, utc_now, SettlePolicy(RETRY, timedelta(hours=1)))
    answered = asyncio.create_task(stage.handle([topup_id]))
    await payments.charged.wait()
    webhooks.all_sent()
    assert len(await handle_events(money)) == 1
    assert await money.state(topup_id) == "succeeded"
    payments.answer.set()
    await answered
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)
    assert faults_of(money.controls.requests(money.stripe_key)) == []


async def test_an_event_that_comes_before_the_intents_id_was_committed_credits_once(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due()
    intent = await charged_unknown(money, topup_id)
    webhooks.all_sent()
    assert (await money.topup(topup_id))["payment_intent_id"] is None
    await handle_events(money)
    topup = await money.topup(topup_id)
    assert (topup["state"], topup["payment_intent_id"]) == ("succeeded", intent.intent_id)
    await money.topups().handle([topup_id])
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_answer_that_comes_while_its_event_is_handled_credits_once(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due()
    await charged_unknown(money, topup_id)
    webhooks.all_sent()
    paid = await due_events(money)
    stages = [money.topups().handle([step_id]) for _ in range(8) for step_id in (topup_id, *paid)]
    await asyncio.gather(*stages)
    await money.topups().handle([topup_id, *paid])
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_failed_after_succeeded_changes_nothing(money: LowMoney, webhooks: Webhooks) -> None:
    webhooks.change(hold=True)
    account_id, topup_id = await money.due(card="pm_card_chargeDeclinedInsufficientFunds")
    await money.topups().handle([topup_id])
    await money.change_card(account_id, "pm_card_visa")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    failed, succeeded = _outcomes(webhooks)
    for step_id in (succeeded, failed):
        assert webhooks.release([step_id]) == [200]
        assert await handle_events(money) == [step_id]
    assert await money.state(topup_id) == "succeeded"
    assert (await money.auto(account_id))["soft_declines"] == 0
    assert await money.alerts(account_id) == ["topup.failed", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_failure_told_late_is_not_that_of_the_attempt_under_way(
    money: LowMoney, webhooks: Webhooks
) -> None:
    webhooks.change(hold=True)
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    money.controls.fault("lose_request", path="/v1/payment_intents/*/confirm")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.state(topup_id) == "confirming"
    webhooks.release()
    assert len(await handle_events(money)) == 1
    assert await money.state(topup_id) == "confirming"
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.change_card(account_id, "pm_card_visa")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_event_of_a_decline_does_not_cut_the_wait_for_a_retry_short(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due(card="pm_card_chargeDeclined")
    await money.topups().handle([topup_id])
    due = (await money.topup(topup_id))["next_step_at"]
    webhooks.all_sent()
    assert len(await handle_events(money)) == 1
    assert (await money.topup(topup_id))["next_step_at"] == due
    assert (await money.auto(account_id))["soft_declines"] == 1
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_what_the_owner_authenticates_is_credited_long_before_the_day_is_over(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "action_required"
    await pay_on_session(money, topup_id)
    webhooks.all_sent()
    assert "payment_intent.requires_action" in await stored(money)
    await handle_events(money)
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.action_required", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_owner_who_fails_to_authenticate_can_still_do_so(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    await pay_on_session(money, topup_id, "fail")
    webhooks.all_sent()
    await handle_events(money)
    assert await money.state(topup_id) == "action_required"
    await pay_on_session(money, topup_id)
    webhooks.all_sent()
    await handle_events(money)
    assert await money.alerts(account_id) == ["topup.action_required", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(("outcome", "state"), [("succeed", "succeeded"), ("fail", "retry_wait")])
async def test_the_end_of_processing_is_told_by_its_event(
    money: LowMoney, webhooks: Webhooks, outcome: Any, state: str
) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("hold")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "processing"
    money.controls.release((await money.topup(topup_id))["payment_intent_id"], outcome)
    webhooks.all_sent()
    await handle_events(money)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == state
    assert (await money.auto(account_id))["soft_declines"] == (outcome == "fail")
    await money.assert_charged_and_credited(account_id, *([2_500] if outcome == "succeed" else []))


async def test_an_intent_that_somebody_cancelled_at_stripe_ends_its_top_up(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.due(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    await money.payments.cancel_intent("by hand", (await money.topup(topup_id))["payment_intent_id"])
    webhooks.all_sent()
    await handle_events(money)
    assert await money.state(topup_id) == "canceled"
    await money.assert_charged_and_credited(account_id)


async def test_an_event_that_was_processed_is_not_looked_into_again(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    webhooks.all_sent()
    (paid,) = await handle_events(money)
    asked = len(money.controls.requests(money.stripe_key))
    await money.topups().handle([paid])
    assert len(money.controls.requests(money.stripe_key)) == asked
    await events_of(money).look_again(paid, utc_now())
    await events_of(money).park(paid, "too late")
    row = await event(money, paid)
    assert (row["next_step_at"], row["detail"]) == (None, None)
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(
    "fault", [{"kind": "lose_request"}, {"kind": "error", "status": 500}, {"kind": "error", "status": 429}]
)
async def test_while_stripe_is_away_an_event_waits(
    money: LowMoney, webhooks: Webhooks, fault: dict[str, Any]
) -> None:
    account_id, topup_id = await _waiting_for_its_owner(money)
    await pay_on_session(money, topup_id)
    webhooks.all_sent()
    (*_, paid) = await due_events(money)
    money.controls.fault(**fault, path="/v1/payment_intents/", method="GET")
    began = utc_now()
    await money.topups().handle([paid])
    row = await event(money, paid)
    assert row["processed_at"] is None
    assert timedelta(seconds=9) < row["next_step_at"] - began < timedelta(seconds=20)
    await money.topups().handle([paid])
    assert (await event(money, paid))["processed_at"] is not None
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_what_stripe_refuses_to_tell_is_parked_and_taken_up_again_on_request(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await _waiting_for_its_owner(money)
    await pay_on_session(money, topup_id)
    webhooks.all_sent()
    (*_, paid) = await due_events(money)
    money.controls.fault("error", status=400, path="/v1/payment_intents/", method="GET")
    await money.topups().handle([paid])
    row = await event(money, paid)
    assert (row["processed_at"], row["next_step_at"]) == (None, None)
    assert "Stripe refuses" in row["detail"]
    assert await money.state(topup_id) == "action_required"
    await assert_credited(money, account_id)
    (shown,) = [each for each in await list_events(money.engine, everything=False) if each["id"] == paid]
    assert (shown["state"], shown["detail"]) == ("parked", row["detail"])
    assert await retry_events(money.engine, [paid]) == {"retried": 1}
    await handle_events(money)
    with pytest.raises(NotFoundError, match=paid):
        await retry_events(money.engine, [paid])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_event_that_only_a_newer_release_handles_stays_due(
    money: LowMoney, webhooks: Webhooks
) -> None:
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    webhooks.all_sent()
    (paid,) = await due_events(money)
    await StripeEvents(money.engine, {}).advance(paid)
    assert await due_events(money) == [paid]
    await money.assert_charged_and_credited(account_id, 2_500)


class _LateAnswers(StripePayments):
    """Charges, and keeps the answer back until it is asked for."""

    def __init__(self, connection: StripeConnection) -> None:
        super().__init__(connection)
        self.charged, self.answer = asyncio.Event(), asyncio.Event()

    async def confirm_intent(self, *arguments: Any) -> Intent:
        intent = await super().confirm_intent(*arguments)
        self.charged.set()
        await self.answer.wait()
        return intent


async def _waiting_for_its_owner(money: LowMoney) -> tuple[str, str]:
    account_id, topup_id = await money.by_hand(card="pm_card_authenticationRequired")
    await money.topups().handle([topup_id])
    return account_id, topup_id


def _outcomes(webhooks: Webhooks) -> list[str]:
    deliveries = webhooks.money.controls.deliveries(webhooks.endpoint)
    kinds = ("payment_intent.payment_failed", "payment_intent.succeeded")
    return [each["event"] for each in deliveries if each["type"] in kinds]
