"""Adding funds, cards, invoices and refunds over HTTP, against the stand-in for Stripe."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gate_api import serving
from low_money import DOLLAR, LowMoney
from low_webhooks import api_settings

from shared.operations.audit import audit
from shared.operations.keys import hash_of

_SECRET = "sk-owner"  # noqa: S105 - of a test  # pragma: allowlist secret


@pytest.fixture
def api(money: LowMoney) -> Iterator[str]:
    with serving(api_settings(money, admin_key="admin-secret", rate_limit_per_s=0)) as url:
        yield url


async def owner_of(money: LowMoney, account_id: str, url: str) -> httpx.Client:
    """A client with the account's own key."""
    await money.execute(
        "UPDATE api_keys SET secret_hash = :hash WHERE account_id = :id", hash=hash_of(_SECRET), id=account_id
    )
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {_SECRET}"})


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_card_is_saved_charged_and_removed(money: LowMoney, api: str) -> None:
    account_id = await money.account_without_topup()
    with await owner_of(money, account_id, api) as owner:
        assert code(owner.post("/v1/billing/topups", json={"amount": "25"})) == (409, "refused")
        card = owner.post("/v1/billing/payment-methods", json={"payment_method": "pm_card_visa"}).json()["id"]
        listed = owner.get("/v1/billing/payment-methods").json()["data"]
        assert [(each["id"], each["last4"], each["default"]) for each in listed] == [(card, "4242", True)]
        once = {"Idempotency-Key": "a"}
        begun = owner.post("/v1/billing/topups", json={"amount": "25"}, headers=once)
        assert begun.status_code == 202
        assert owner.post("/v1/billing/topups", json={"amount": "25"}, headers=once).json() == begun.json()
        other = owner.post("/v1/billing/topups", json={"amount": "26"}, headers=once)
        assert code(other) == (409, "refused")
        await money.topups().handle([begun.json()["id"]])
        paid = owner.get(f"/v1/billing/topups/{begun.json()['id']}").json()
        assert (paid["state"], paid["amount_nanos"]) == ("succeeded", 25 * DOLLAR)
        assert paid["receipt_url"].startswith("http")
        assert owner.get("/v1/billing/balance").json()["balance"] == "28.00"
        await money.topups().handle([f"inv_{paid['id']}"])
        (invoice,) = owner.get("/v1/billing/invoices").json()["data"]
        pdf = owner.get(f"/v1/billing/invoices/{invoice['number']}/pdf")
        assert pdf.content.startswith(b"%PDF")
        assert owner.get(f"/v1/billing/invoices/{invoice['number']}").json()["document"]
        assert owner.delete(f"/v1/billing/payment-methods/{card}").status_code == 200
        assert owner.get("/v1/billing/payment-methods").json()["data"] == []
    await money.assert_charged_and_credited(account_id, 2_500)


@pytest.mark.parametrize("amount", ["4.99", "5.001", "-5", "1000000", "0", "x", ""])
async def test_an_amount_out_of_range_is_refused(money: LowMoney, api: str, amount: str) -> None:
    account_id, _ = await money.by_hand()
    with await owner_of(money, account_id, api) as owner:
        answer = owner.post("/v1/billing/topups", json={"amount": amount})
        assert answer.status_code in (409, 422)
        assert answer.json()["error"]["message"]


async def test_checkout_gives_a_page_to_pay_at(money: LowMoney, api: str) -> None:
    account_id = await money.account_without_topup()
    with await owner_of(money, account_id, api) as owner:
        begun = owner.post("/v1/billing/topups/checkout", json={"amount": "25", "save_card": True})
        assert begun.status_code == 202
        assert begun.json()["url"].startswith(money.stripe_url)
        assert owner.post("/v1/billing/payment-methods/setup").json()["client_secret"]
        assert owner.post("/v1/billing/payment-methods/setup-page").json()["url"].startswith("http")


async def test_automatic_top_up_is_set_by_preset_and_by_hand(money: LowMoney, api: str) -> None:
    account_id, _ = await money.by_hand()
    with await owner_of(money, account_id, api) as owner:
        path = "/v1/billing/auto-topup"
        assert owner.get(path).json()["enabled"] is False
        names = [each["name"] for each in owner.get(f"{path}/presets").json()["data"]]
        assert names == ["light", "regular", "heavy", "production"]
        set_to = owner.put(path, json={"preset": "regular", "max_per_month_usd": "200"}).json()
        assert (set_to["threshold_nanos"], set_to["amount_nanos"]) == (20 * DOLLAR, 50 * DOLLAR)
        assert set_to["max_per_month_nanos"] == 200 * DOLLAR
        assert owner.put(path, json={"enabled": False}).json()["enabled"] is False
        assert code(owner.put(path, json={"preset": "huge"})) == (422, "invalid_request")
        assert code(owner.put(path, json={"threshold": "5"})) == (422, "invalid_request")


async def test_an_operator_refunds_and_reconciles(money: LowMoney, api: str) -> None:
    _, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    with httpx.Client(base_url=api, headers={"Authorization": "Bearer admin-secret"}, timeout=30) as operator:
        wanted = {"topup_id": topup_id, "amount": "5", "reason": "asked"}
        refund = operator.post("/v1/admin/refunds", json=wanted, headers={"Idempotency-Key": "r"})
        assert refund.status_code == 202
        await money.topups().handle([refund.json()["id"]])
        (listed,) = operator.get("/v1/admin/refunds").json()["data"]
        assert (listed["state"], listed["amount_nanos"]) == ("succeeded", 5 * DOLLAR)
        assert code(operator.post("/v1/admin/refunds", json=wanted | {"amount": "500"})) == (409, "refused")
        assert operator.get("/v1/admin/disputes").json()["data"] == []
        assert operator.post("/v1/admin/reconcile").json()["open"] == 0
        assert operator.get("/v1/admin/differences").json()["data"] == []
    assert (await audit(money.engine)).ok


async def test_another_accounts_payments_are_never_seen(money: LowMoney, api: str) -> None:
    mine = await money.account_without_topup()
    theirs, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    await money.topups().handle([f"inv_{topup_id}"])
    number = (await money.rows("SELECT document ->> 'number' AS number FROM invoices"))[0]["number"]
    card = (await money.rows("SELECT payment_method_id AS id FROM payment_customers"))[0]["id"]
    with await owner_of(money, mine, api) as owner:
        refused: list[Any] = [
            owner.get(f"/v1/billing/topups/{topup_id}"),
            owner.get(f"/v1/billing/invoices/{number}"),
            owner.get(f"/v1/billing/invoices/{number}/pdf"),
            owner.post(f"/v1/billing/payment-methods/{card}/default"),
            owner.delete(f"/v1/billing/payment-methods/{card}"),
        ]
        assert [answer.status_code for answer in refused] == [404] * 5
        assert owner.get("/v1/billing/topups").json()["data"] == []
        assert owner.get("/v1/billing/invoices").json()["data"] == []
    assert await money.balance(theirs) > 0
