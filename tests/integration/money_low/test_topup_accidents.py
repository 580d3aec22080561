"""What can go wrong between a decision and its charge; each time the books and Stripe agree afterwards."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from low_money import DAY, DOLLAR, RETRY, LowMoney, elements
from sqlalchemy import text
from stripe_spec import faults_of
from topup_accidents import beside, stripe_of

from shared.db.payment_steps import take_due_steps
from shared.messaging.topology import Stage
from shared.operations.cards import save_card
from shared.operations.topups import create_topup, set_auto_topup, switch_off_auto_topup

AFTER_RETRY = RETRY + timedelta(seconds=5)
CONFIRM = {"path": "/v1/payment_intents/*/confirm", "method": "POST"}
CREATE = {"path": "/v1/payment_intents", "method": "POST"}
DECLINED = "pm_card_chargeDeclined"


async def test_a_new_key_is_used_only_where_the_old_one_is_of_no_use(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", phase="during", **CREATE)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    row = await money.topup(topup_id)
    assert (row["state"], row["create_attempt"], row["attempt"]) == ("succeeded", 2, 1)
    made = money.controls.requests(money.stripe_key)
    keys = [each["idempotency_key"] for each in made if str(each["idempotency_key"]).startswith("topup:")]
    first, second = f"topup:{topup_id}:create", f"topup:{topup_id}:create:2"
    assert keys == [first, first, second, f"topup:{topup_id}:confirm:1"]
    assert faults_of(made) == []
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_an_intent_that_was_created_behind_a_repeated_error_is_taken(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", phase="after", **CREATE)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    assert len(await _intents(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_decline_behind_a_repeated_error_is_counted_and_not_tried_again(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    money.controls.fault("error", phase="after", **CONFIRM)
    await money.topups().handle([topup_id])
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "retry_wait"
    assert len(await _attempts(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id)


async def test_a_key_forgotten_after_a_day_makes_no_second_intent(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("lose_response", **CREATE)
    await money.topups().handle([topup_id])
    money.controls.forget_keys()
    await money.topups(ahead=DAY).handle([topup_id])
    assert len(await _intents(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize(("card", "charged"), [("pm_card_visa", [2_500]), (DECLINED, [])])
async def test_a_key_forgotten_after_a_day_makes_no_second_attempt(
    money: LowMoney, card: str, charged: list[int]
) -> None:
    account_id, topup_id = await money.due(card=card)
    money.controls.fault("lose_response", **CONFIRM)
    await money.topups().handle([topup_id])
    money.controls.forget_keys()
    await money.topups(ahead=DAY).handle([topup_id])
    assert await money.state(topup_id) == ("succeeded" if charged else "retry_wait")
    assert len(await _attempts(money, account_id)) == 1
    await money.assert_charged_and_credited(account_id, *charged)


async def test_a_storm_of_too_many_requests_delays_and_doubles_nothing(money: LowMoney) -> None:
    due = [await money.due() for _ in range(4)]
    for number in range(1, 4):
        money.controls.fault("error", status=429, times=2 * number, path="/v1/payment_intents")
        await asyncio.gather(*(money.topups().handle([topup_id]) for _, topup_id in due))
    money.controls.clear_faults()
    await asyncio.gather(*(money.topups().handle([topup_id]) for _, topup_id in due))
    for account_id, _ in due:
        await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_late_word_of_the_first_decline_is_not_counted_for_the_second_attempt(
    money: LowMoney,
) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    late = await money.payments.retrieve_intent(intent_id)
    await beside(money, "confirm_intent", AFTER_RETRY).until_killed(topup_id)
    assert await money.state(topup_id) == "confirming"
    await money.settle(topup_id, late)
    assert await money.state(topup_id) == "confirming"
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.change_card(account_id, "pm_card_visa")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_decline_without_a_charge_counts_only_as_the_answer_to_the_attempt(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    await beside(money, "confirm_intent", AFTER_RETRY).until_killed(topup_id)
    row = await money.topup(topup_id)
    intent = await money.payments.retrieve_intent(row["payment_intent_id"])
    await money.settle(topup_id, intent, failed_charge_id=None)
    assert (await money.auto(account_id))["soft_declines"] == 1
    for _ in range(2):
        await money.settle(topup_id, intent, failed_charge_id=None, attempt=row["attempt"])
    assert (await money.auto(account_id))["soft_declines"] == 2
    await money.assert_charged_and_credited(account_id)


@pytest.mark.parametrize("status", ["processing", "requires_action"])
async def test_an_old_word_moves_a_top_up_that_waits_for_its_retry_nowhere(
    money: LowMoney, status: str
) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    intent_id = (await money.topup(topup_id))["payment_intent_id"]
    await money.settle(topup_id, await money.payments.retrieve_intent(intent_id), status=status)
    assert await money.state(topup_id) == "retry_wait"
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_a_retry_charges_the_card_that_is_saved_by_then(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    card = await save_card(money.engine, money.payments, account_id, "pm_card_mastercard")
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert [c["payment_method"] for c in await _attempts(money, account_id)][-1] == card
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
    await _run(money, "UPDATE payment_customers SET payment_method_id = NULL")
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
    await _run(money, "UPDATE payment_customers SET customer_id = :id", id=customer.id)
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
    assert [intent.status for intent in await _intents(money, account_id)] in ([], ["canceled"])
    assert await money.alerts(account_id) == []
    await money.assert_charged_and_credited(account_id)


async def test_switched_off_while_a_retry_waits_it_is_canceled(money: LowMoney) -> None:
    account_id, topup_id = await money.due(card=DECLINED)
    await money.topups().handle([topup_id])
    await switch_off_auto_topup(money.engine, account_id)
    await money.topups(ahead=AFTER_RETRY).handle([topup_id])
    assert await money.state(topup_id) == "canceled"
    assert [intent.status for intent in await _intents(money, account_id)] == ["canceled"]
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


async def test_one_by_hand_races_the_automatic_one_and_each_is_charged_once(money: LowMoney) -> None:
    account_id = await money.account()

    async def automatic() -> None:
        begun = elements(await money.thresholds().handle([account_id]), Stage.TOPUP)
        await money.topups().handle(begun)

    async def by_hand() -> None:
        topup_id = (await create_topup(money.engine, account_id, 30 * DOLLAR))["id"]
        await asyncio.gather(*(money.topups().handle([topup_id]) for _ in range(3)))

    await asyncio.gather(automatic(), by_hand(), automatic())
    charged = await money.charged_cents(account_id)
    assert sorted(charged) in ([3_000], [2_500, 3_000])
    assert sorted(await money.credited_cents(account_id)) == sorted(charged)
    assert elements(await money.thresholds(ahead=DAY).handle([account_id]), Stage.TOPUP) == []
    assert await money.balance(account_id) == 3 * DOLLAR + sum(charged) * DOLLAR // 100


async def test_a_parked_top_up_is_credited_when_exactly_its_money_comes(money: LowMoney) -> None:
    account_id, topup_id = await money.due()
    money.controls.fault("error", status=400, **CONFIRM)
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "quarantined"
    row = await money.topup(topup_id)
    paid = await money.payments.confirm_intent(
        topup_id, row["payment_intent_id"], row["payment_method_id"], 2
    )
    for wrong in ({"amount": 2_499}, {"currency": "eur"}, {"intent_id": "pi_other"}):
        await money.settle(topup_id, paid, **wrong)
        assert await money.state(topup_id) == "quarantined"
    for _ in range(2):
        await money.settle(topup_id, paid)
    assert await money.state(topup_id) == "succeeded"
    assert await money.alerts(account_id) == ["topup.failed", "topup.disabled", "topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_clocks_that_differ_by_minutes_lose_and_double_nothing(money: LowMoney, minutes: int) -> None:
    skew = timedelta(minutes=minutes)
    account_id = await money.account()
    await money.change_card(account_id, DECLINED)
    (topup_id,) = elements(await money.thresholds(ahead=skew).handle([account_id]), Stage.TOPUP)
    for ahead in (skew, -skew, skew):
        await money.topups(ahead=ahead).handle([topup_id])
    assert (await money.auto(account_id))["soft_declines"] == 1
    await money.change_card(account_id, "pm_card_visa")
    # The database's clock says when a step is due, whatever the stages' clocks say.
    due = (await money.topup(topup_id))["next_step_at"] - (await money.topup(topup_id))["updated_at"]
    assert RETRY - timedelta(seconds=1) < due < RETRY + timedelta(seconds=1)
    for ahead in (AFTER_RETRY + skew, AFTER_RETRY - skew):
        await money.topups(ahead=ahead).handle([topup_id])
    assert await money.state(topup_id) == "succeeded"
    assert elements(await money.thresholds(ahead=-skew).handle([account_id]), Stage.TOPUP) == []
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_top_up_by_checkout_is_left_to_its_page(money: LowMoney) -> None:
    account_id, topup_id = await money.by_hand()
    await _run(money, "UPDATE topups SET channel = 'checkout', state = 'created', payment_method_id = NULL")
    asked = len(money.controls.requests(money.stripe_key))
    await money.topups(ahead=DAY).handle([topup_id])
    assert len(money.controls.requests(money.stripe_key)) == asked
    customer, _ = await money.customer(account_id)
    intent = await money.payments.create_intent(topup_id, account_id, customer, 25 * DOLLAR)
    await _run(money, "UPDATE topups SET payment_intent_id = :id", id=intent.intent_id)
    await money.topups(ahead=DAY).handle([topup_id])
    assert await money.state(topup_id) == "created"
    stripe_of(money).v1.payment_intents.confirm(intent.intent_id, {"payment_method": "pm_card_visa"})
    await money.topups(ahead=DAY).handle([topup_id])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_the_clock_finds_a_step_that_a_process_died_with(money: LowMoney) -> None:
    _, topup_id = await money.due()
    await beside(money, "confirm_intent").until_killed(topup_id)
    await _run(money, "UPDATE topups SET next_step_at = next_step_at - interval '30 seconds'")
    async with money.engine.begin() as connection:
        found = await take_due_steps(connection, again_after=timedelta(seconds=30), limit=10)
    assert found == [topup_id]


async def _intents(money: LowMoney, account_id: str) -> list[Any]:
    customer, _ = await money.customer(account_id)
    return stripe_of(money).v1.payment_intents.list({"customer": customer}).data


async def _attempts(money: LowMoney, account_id: str) -> list[dict[str, Any]]:
    """Return what Stripe tried to take, declined or not."""
    customer, _ = await money.customer(account_id)
    return [charge for charge in money.controls.charges() if charge["customer"] == customer]


async def _run(money: LowMoney, statement: str, **values: Any) -> None:
    async with money.engine.begin() as connection:
        await connection.execute(text(statement), values)
