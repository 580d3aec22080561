"""POST /webhooks/stripe: what is believed, what is stored, and what is answered. Over HTTP."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from low_money import LowMoney
from low_webhooks import (
    Webhooks,
    api_settings,
    event,
    handle_events,
    post,
    post_signed,
    serving,
    signed,
    stored,
)
from webhook_receiver import SECRET

from shared.operations.audit import audit

OLD = "whsec_old"
NEW = "whsec_new"


async def test_an_event_is_stored_and_answered_without_a_word_to_stripe(
    money: LowMoney, webhooks: Webhooks
) -> None:
    webhooks.change(hold=True)
    _, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    asked = len(money.controls.requests(money.stripe_key))
    (paid,) = webhooks.happened("payment_intent.succeeded")
    assert webhooks.release([paid]) == [200]
    assert len(money.controls.requests(money.stripe_key)) == asked
    row = await event(money, paid)
    intent = (await money.topup(topup_id))["payment_intent_id"]
    assert (row["type"], row["object_id"]) == ("payment_intent.succeeded", intent)
    assert row["processed_at"] is None
    assert row["next_step_at"] is not None


async def test_one_event_delivered_ten_times_at_once_is_one(money: LowMoney, webhooks: Webhooks) -> None:
    webhooks.change(hold=True)
    account_id, paid = await _paid_unseen(money, webhooks)
    assert webhooks.send(paid, copies=10, at_once=True) == [200] * 10
    assert await stored(money) == ["payment_intent.succeeded"]
    await asyncio.gather(*(money.topups().handle([paid]) for _ in range(10)))
    assert webhooks.send(paid) == [200]
    assert await handle_events(money) == []
    assert await money.alerts(account_id) == ["topup.succeeded"]
    await money.assert_charged_and_credited(account_id, 2_500)


async def test_a_type_that_nobody_handles_is_answered_and_not_stored(
    money: LowMoney, webhooks: Webhooks
) -> None:
    await money.by_hand()
    webhooks.all_sent()
    assert "customer.created" in [each["type"] for each in money.controls.deliveries(webhooks.endpoint)]
    assert await stored(money) == []


@pytest.mark.parametrize("signature", ["forged", "stale", "missing"])
async def test_what_stripe_did_not_sign_just_now_is_refused(
    money: LowMoney, webhooks: Webhooks, signature: Any
) -> None:
    body = _body()
    answer = post(webhooks.url, body, signed(body, how=signature))
    _assert_refused(answer, 400, "invalid_webhook")
    assert await stored(money) == []


@pytest.mark.parametrize(("seconds", "status"), [(-290, 200), (-310, 400), (290, 200), (310, 400)])
async def test_a_signature_counts_for_five_minutes_either_way(
    webhooks: Webhooks, seconds: int, status: int
) -> None:
    assert post_signed(webhooks.url, _body(), time.time() + seconds).status_code == status


@pytest.mark.parametrize(
    ("ours", "theirs", "status"),
    [
        (OLD, (OLD, NEW), 200),
        (NEW, (OLD, NEW), 200),
        (f"{OLD}, {NEW}", (OLD,), 200),
        (f"{OLD},{NEW}", (NEW,), 200),
        (NEW, (OLD,), 400),
    ],
)
async def test_a_secret_is_replaced_without_a_webhook_lost(
    money: LowMoney, ours: str, theirs: tuple[str, ...], status: int
) -> None:
    with serving(api_settings(money, stripe_webhook_secret=ours)) as url:
        endpoint = money.controls.add_webhook(url, *theirs, api_key=money.stripe_key, hold=True)
        assert money.controls.send_webhook(endpoint, body=_body().decode()) == [status]
        money.controls.remove_webhook(endpoint)
    assert len(await stored(money)) == (status == 200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b"7",
        b"{}",
        b'{"object": "event"}',
        b"\xff\xfe",
        b'{"id": "\xed\xa0\x80"}',
        b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
async def test_a_signed_body_that_is_no_event_is_refused(
    money: LowMoney, webhooks: Webhooks, body: bytes
) -> None:
    _assert_refused(post_signed(webhooks.url, body), 400, "invalid_webhook")
    assert await stored(money) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "top_1"},
        {"id": "evt_\u0000"},
        {"id": "evt_" + "1" * 999},
        {"created": -1},
        {"created": 10**20},
        {"created": "now"},
        {"object": "v2.core.event"},
        {"data": {"object": {"id": "pi_1\n"}}},
        {"data": {"object": {}}},
    ],
    ids=str,
)
async def test_a_signed_event_that_could_not_be_stored_is_refused(
    money: LowMoney, webhooks: Webhooks, changes: dict[str, Any]
) -> None:
    _assert_refused(post_signed(webhooks.url, _body(**changes)), 400, "invalid_webhook")
    assert await stored(money) == []


@pytest.mark.parametrize(
    "signature", ["t=1,v1=\u00e9", "t=x,v1=1", "v1=1", "t=1", ",", "t", "t=" + "9" * 999 + ",v1=1"]
)
async def test_a_header_that_is_no_signature_is_refused(webhooks: Webhooks, signature: str) -> None:
    _assert_refused(post(webhooks.url, _body(), signature), 400, "invalid_webhook")


async def test_a_live_event_at_a_test_key_is_refused(money: LowMoney, webhooks: Webhooks) -> None:
    _assert_refused(post_signed(webhooks.url, _body(livemode=True)), 400, "livemode_mismatch")
    assert await stored(money) == []
    assert post_signed(webhooks.url, _body()).status_code == 200


async def test_a_test_event_at_a_live_key_is_refused(money: LowMoney) -> None:
    live = {"stripe_api_key": "sk_live_never_used", "stripe_api_base": None}  # pragma: allowlist secret
    with serving(api_settings(money, **live)) as url:
        answer = post_signed(url, _body())
    _assert_refused(answer, 400, "livemode_mismatch")
    assert await stored(money) == []


async def test_a_body_without_end_is_refused(webhooks: Webhooks) -> None:
    body = _body(filling="x" * 1024 * 1024)
    _assert_refused(post_signed(webhooks.url, body), 413, "too_large")


@pytest.mark.parametrize(
    "off",
    [
        {"stripe_webhook_secret": None},
        {"stripe_webhook_secret": " , "},
        {"stripe_api_key": None, "stripe_api_base": None},
    ],
    ids=str,
)
async def test_without_a_secret_or_a_key_stripe_is_told_to_come_back(
    money: LowMoney, off: dict[str, Any]
) -> None:
    with serving(api_settings(money, **off)) as url:
        answer = post_signed(url, _body())
    _assert_refused(answer, 503, "webhooks_off")
    assert "PAYG_STRIPE_WEBHOOK_SECRET" in answer.json()["error"]["message"]


async def test_while_the_database_is_away_stripe_is_told_to_come_back(money: LowMoney) -> None:
    with serving(api_settings(money, database_url="postgresql://payg@127.0.0.1:9/payg")) as url:
        answer = post_signed(url, _body())
    _assert_refused(answer, 503, "unavailable")


async def test_the_books_add_up_after_a_top_up_whose_every_event_came_thrice(
    money: LowMoney, webhooks: Webhooks
) -> None:
    webhooks.change(copies=3, at_once=True)
    account_id, topup_id = await money.by_hand()
    await money.topups().handle([topup_id])
    webhooks.all_sent()
    assert await stored(money) == ["payment_intent.succeeded"]
    await handle_events(money)
    await money.assert_charged_and_credited(account_id, 2_500)
    assert (await audit(money.engine)).ok


async def _paid_unseen(money: LowMoney, webhooks: Webhooks) -> tuple[str, str]:
    """A top-up that was charged, while its worker heard no answer; return its account and Stripe's event."""
    account_id, topup_id = await money.by_hand()
    money.controls.fault("lose_response", path="/v1/payment_intents/*/confirm")
    await money.topups().handle([topup_id])
    assert await money.state(topup_id) == "confirming"
    (paid,) = webhooks.happened("payment_intent.succeeded")
    return account_id, paid


def _body(**changes: Any) -> bytes:
    """An event about an intent that there is not, which is told by nothing but its own fields."""
    told = {
        "id": "evt_1",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": {"id": "pi_nobodys", "object": "payment_intent"}},
    }
    return json.dumps(told | changes).encode()


def _assert_refused(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code"}
    assert error["code"] == code
    assert SECRET not in error["message"]
