"""Opening a page to pay at: one for each top-up, whatever Stripe does meanwhile."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from checkout_pages import begin, begun, pay
from low_money import DAY, DOLLAR, LowMoney
from stripe_spec import faults_of

from shared.clock import utc_now
from shared.db import topups
from shared.domain.errors import NotFoundError, RefusedError
from shared.gateways.stripe_connection import PaymentRefusedError
from shared.operations.payments.cards import save_card
from shared.operations.payments.checkout import create_checkout, open_page

_SESSIONS = "/v1/checkout/sessions"
_FAULTS: dict[str, dict[str, Any]] = {
    "request lost": {"kind": "lose_request"},
    "answer lost": {"kind": "lose_response"},
    "500, nothing done": {"kind": "error", "phase": "during"},
    "500, all done": {"kind": "error", "phase": "after"},
    "too many requests": {"kind": "error", "status": 429},
}


@pytest.mark.parametrize("fault", _FAULTS)
async def test_stripe_away_leaves_a_top_up_whose_page_is_opened_once_it_is_back(
    money: LowMoney, fault: str
) -> None:
    money.controls.fault(**_FAULTS[fault], path=_SESSIONS, method="POST")
    account_id, topup = await begun(money, idempotency_key="k")
    assert (topup["state"], topup["checkout_url"]) == ("pending", None)
    assert "once Stripe answers" in topup["detail"]
    await money.topups().handle([topup["id"]])
    opened = await begin(money, account_id, idempotency_key="k")
    assert (opened["id"], opened["state"]) == (topup["id"], "created")
    pay(opened)
    await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_page_that_could_not_be_opened_for_a_day_is_given_up(money: LowMoney) -> None:
    money.controls.fault("lose_request", path=_SESSIONS, method="POST")
    account_id, topup = await begun(money)
    await money.topups(ahead=DAY).handle([topup["id"]])
    assert await money.state(topup["id"]) == "canceled"
    await money.assert_charged_and_credited(account_id)


async def test_what_stripe_refuses_is_parked_and_told(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    money.controls.fault("error", path=_SESSIONS, method="POST", status=400)
    with pytest.raises(PaymentRefusedError):
        await begin(money, account_id)
    rows = await money.rows("SELECT state FROM topups")
    assert [row["state"] for row in rows] == ["quarantined"]
    assert await money.alerts(account_id) == ["topup.failed"]


async def test_two_that_open_the_page_at_once_give_the_same_address(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    both = await asyncio.gather(*(begin(money, account_id, idempotency_key="k") for _ in range(2)))
    again = await begin(money, account_id, idempotency_key="k")
    assert {each["id"] for each in both} == {again["id"]}
    assert {each["checkout_url"] for each in both} <= {again["checkout_url"], None}
    assert len(await money.rows("SELECT topup_id FROM topups")) == 1


async def test_of_two_pages_that_were_opened_the_one_committed_first_counts(money: LowMoney) -> None:
    money.controls.fault("lose_request", path=_SESSIONS, method="POST")
    account_id, topup = await begun(money)
    async with money.engine.connect() as connection:
        pending = await topups.load_topup(connection, topup["id"])
    assert pending is not None
    pages = []
    for attempt in (1, 2):
        seen = replace(pending, create_attempt=attempt)
        await open_page(money.engine, money.payments, seen, utc_now())
        pages.append((await money.topup(topup["id"]))["checkout_url"])
    assert pages[0] == pages[1]
    pay({"checkout_url": pages[0]})
    await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_key_that_was_used_for_another_top_up_is_refused(money: LowMoney) -> None:
    account_id, _ = await begun(money, idempotency_key="k")
    with pytest.raises(RefusedError, match="another top-up"):
        await begin(money, account_id, idempotency_key="k", saves_card=True)


@pytest.mark.parametrize("nanos", [4_990_000_000, 10**15, 25 * DOLLAR + 1])
async def test_an_amount_out_of_range_is_refused_and_stripe_not_asked(money: LowMoney, nanos: int) -> None:
    account_id = await money.account_without_topup()
    with pytest.raises(RefusedError):
        await create_checkout(money.engine, money.payments, account_id, nanos)
    assert money.controls.requests(money.stripe_key) == []
    assert await money.rows("SELECT topup_id FROM topups") == []


async def test_an_unknown_account_and_payments_that_are_off_are_told_apart(money: LowMoney) -> None:
    with pytest.raises(NotFoundError):
        await begin(money, "acct_unknown")
    with pytest.raises(RefusedError, match="PAYG_STRIPE_API_KEY"):
        await create_checkout(money.engine, None, "acct_unknown", 25 * DOLLAR)


async def test_a_customer_deleted_at_stripe_is_made_anew_for_the_page(money: LowMoney) -> None:
    account_id = await money.account_without_topup()
    await save_card(money.engine, money.payments, account_id, "pm_card_visa")
    (before,) = await money.rows("SELECT customer_id FROM payment_customers")
    await money.payments.connection.client.v1.customers.delete_async(before["customer_id"])
    topup = await begin(money, account_id)
    pay(topup)
    await money.topups().handle([topup["id"]])
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_stripe_would_accept_all_that_checkout_asks(money: LowMoney) -> None:
    _, topup = await begun(money, saves_card=True)
    pay(topup)
    await money.topups().handle([topup["id"]])
    made = money.controls.requests(money.stripe_key)
    assert [each["path"].rpartition("/")[0] for each in made] == [
        *("/v1", "/v1/checkout"),
        *("/v1/checkout/sessions", "/v1/payment_methods", "/v1/payment_intents"),
    ]
    assert faults_of(made) == []
    keys = [each["idempotency_key"] for each in made if each["method"] == "POST"]
    assert keys[1] == f"topup:{topup['id']}:checkout"
