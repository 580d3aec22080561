"""Billing over HTTP, as an account's owner and as an operator meet it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from gate_api import Client, Payer, use
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.access import Scope
from shared.domain.money import NANOS_PER_DOLLAR
from shared.operations.accounts import create_account, create_plan
from shared.operations.audit import audit
from shared.operations.keys import create_key
from shared.operations.money import credit_account, void_usage

GRACE = timedelta(hours=1)
CENT = NANOS_PER_DOLLAR // 100
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


pytestmark = pytest.mark.usefixtures("service")  # test-model has a price


@pytest.fixture
def owner(api_url: str, payer: Payer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {payer.api_key}"}) as client:
        yield client


@pytest.fixture
def operator(api_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, headers={"Authorization": "Bearer admin-secret"}) as client:
        yield client


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_clients_of_such_platforms_read_their_quota(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer
) -> None:
    await use(engine, payer, "req_1", 30)
    data = owner.get("/api/user/self").json()["data"]
    assert data["quota"] / 500_000 == 0.70
    assert data["used_quota"] == 150_000
    assert data["request_count"] == 1
    assert data["username"] == payer.account_id
    await use(engine, payer, "req_2", 71)
    assert owner.get("/api/user/self").json()["data"]["quota"] == -5_000


async def test_quota_units_are_rounded_down(engine: AsyncEngine, owner: httpx.Client, payer: Payer) -> None:
    await credit_account(engine, payer.account_id, 1_999, "dust", GRACE)
    assert owner.get("/api/user/self").json()["data"]["quota"] == 500_000


async def test_transactions_are_paged_newest_first_down_to_each_record(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer
) -> None:
    for number in range(5):
        await use(engine, payer, f"req_{number}", 1)
    seen, cursor = [], None
    while True:
        page = owner.get(
            "/v1/billing/transactions", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        seen += page.json()["data"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert [each["seq"] for each in seen] == [6, 5, 4, 3, 2, 1]
    assert {each["kind"] for each in seen} == {"usage", "credit"}
    only = owner.get("/v1/billing/transactions", params={"kind": "credit"}).json()["data"]
    assert [each["amount"] for each in only] == ["1.00"]
    detail = owner.get("/v1/billing/transactions/6").json()
    assert [record["id"] for record in detail["usage"]] == ["req_4"]
    assert code(owner.get("/v1/billing/transactions/7")) == (404, "not_found")
    assert code(owner.get("/v1/billing/transactions", params={"cursor": "x"})) == (400, "invalid_cursor")


async def test_usage_is_summed_by_day_week_and_month_by_model_and_key(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer
) -> None:
    other = await create_key(engine, payer.account_id, "second", None)
    second = Payer(payer.account_id, other.api_key_id, other.api_key)
    await use(engine, payer, "req_1", 1, NOON)
    await use(engine, second, "req_2", 2, NOON + timedelta(days=1))
    await use(engine, payer, "req_3", 4, NOON + timedelta(days=4))

    def series(**parameters: Any) -> list[tuple[Any, ...]]:
        span = {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
        points = owner.get("/v1/billing/usage", params=span | parameters).json()["data"]
        return [(each["period"][:10], each["api_key_id"], each["charge_nanos"] // CENT) for each in points]

    assert series() == [("2026-11-20", None, 1), ("2026-11-21", None, 2), ("2026-11-24", None, 4)]
    assert series(step="week") == [("2026-11-16", None, 3), ("2026-11-23", None, 4)]
    assert series(step="month", by="key") == sorted(
        [("2026-11-01", payer.api_key_id, 5), ("2026-11-01", other.api_key_id, 2)]
    )
    by_model = owner.get("/v1/billing/usage", params={"step": "month", "by": "model"}).json()["data"]
    assert [each["model"] for each in by_model] == ["test-model"]
    await void_usage(engine, payer.account_id, "req_3", "a mistake", GRACE)
    assert series(step="month") == [("2026-11-01", None, 3)]


async def test_usage_records_are_listed_and_filtered(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer
) -> None:
    for number in range(3):
        await use(engine, payer, f"req_{number}", 1)
    first = owner.get("/v1/billing/usage/records", params={"limit": 2}).json()
    rest = owner.get("/v1/billing/usage/records", params={"cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in first["data"] + rest["data"]] == ["req_2", "req_1", "req_0"]
    assert owner.get("/v1/billing/usage/records", params={"model": "other"}).json()["data"] == []


async def test_a_balance_survives_subscribing_switching_and_cancelling(
    engine: AsyncEngine, owner: httpx.Client
) -> None:
    small = await create_plan(engine, "small", quota_nanos=50, price_nanos=0, discount_ppm=0, zone="UTC")
    large = await create_plan(engine, "large", quota_nanos=90, price_nanos=0, discount_ppm=0, zone="UTC")
    assert owner.put("/v1/billing/subscription", json={"plan_id": small}).json()["quota_nanos"] == 50
    switched = owner.put("/v1/billing/subscription", json={"plan_id": large}).json()
    assert (switched["plan_id"], switched["next_plan_id"]) == (small, large)
    assert owner.delete("/v1/billing/subscription").json()["next_plan_id"] is None
    assert owner.get("/v1/billing/balance").json()["balance"] == "1.00"
    fallback = owner.put("/v1/billing/fallback", json={"enabled": True, "spending_limit": "2.5"}).json()
    assert (fallback["enabled"], fallback["spending_limit_nanos"]) == (True, 250 * CENT)
    assert len(owner.get("/v1/billing/plans").json()["data"]) == 2
    assert code(owner.put("/v1/billing/subscription", json={"plan_id": "plan_none"})) == (404, "not_found")


async def test_a_key_is_shown_once_and_its_use_is_remembered(api_url: str, owner: httpx.Client) -> None:
    made = owner.post("/v1/billing/keys", json={"name": "ci", "limit": {"amount": "20", "period": "month"}})
    assert made.status_code == 201
    listed = {each["api_key_id"]: each for each in owner.get("/v1/billing/keys").json()["data"]}
    assert "api_key" not in listed[made.json()["api_key_id"]]
    assert listed[made.json()["api_key_id"]]["limit_nanos"] == 20 * NANOS_PER_DOLLAR
    with httpx.Client(base_url=api_url) as member:
        member.headers["Authorization"] = f"Bearer {made.json()['api_key']}"
        assert member.get("/v1/billing/balance").status_code == 200
        assert code(member.post("/v1/billing/keys", json={})) == (403, "missing_scope")
    revoked = owner.delete(f"/v1/billing/keys/{made.json()['api_key_id']}")
    assert revoked.json()["revoked_at"]
    assert code(owner.delete("/v1/billing/keys/key_none")) == (404, "not_found")


async def test_an_owner_lets_people_in_and_no_more(owner: httpx.Client, payer: Payer) -> None:
    route = "/v1/billing/members"
    put = owner.post(route, json={"address": "Ann <Ann@example.com>", "role": "billing"}).json()
    assert (put["address"], put["role"], put["signed_in_at"]) == ("ann@example.com", "billing", None)
    key = {"role": "member", "api_key_id": payer.api_key_id}
    changed = owner.post(route, json={"address": "ann@example.com", **key}).json()
    assert changed == put | key
    assert owner.get(route).json()["data"] == [changed]
    assert code(owner.post(route, json={"address": "ann", "role": "owner"})) == (422, "malformed")
    assert code(owner.post(route, json={"address": "b@example.com", "role": "member"})) == (409, "refused")
    assert owner.post(route, json={"address": "b@example.com", "role": "operator"}).status_code == 422
    assert owner.delete(f"{route}/{put['member_id']}").json()["address"] == "ann@example.com"
    assert code(owner.delete(f"{route}/{put['member_id']}")) == (404, "not_found")


async def test_an_operator_makes_accounts_prices_and_adjustments(
    engine: AsyncEngine, operator: httpx.Client
) -> None:
    made = operator.post("/v1/admin/accounts", json={"name": "Acme"}).json()
    path = f"/v1/admin/accounts/{made['account_id']}"
    adjustment = {"amount": "12.5", "reason": "goodwill"}
    headers = {"Idempotency-Key": "once"}
    first = operator.post(f"{path}/adjustments", json=adjustment, headers=headers)
    again = operator.post(f"{path}/adjustments", json=adjustment, headers=headers)
    assert (first.status_code, first.json()) == (201, again.json())
    other = operator.post(f"{path}/adjustments", json=adjustment | {"amount": "13"}, headers=headers)
    assert code(other) == (409, "refused")
    taken = operator.post(f"{path}/adjustments", json={"amount": "-2.5", "reason": "a correction"}).json()
    assert (taken["kind"], taken["amount_nanos"]) == ("adjustment", -250 * CENT)
    assert operator.get(path).json()["balance_nanos"] == 10 * NANOS_PER_DOLLAR
    assert operator.patch(path, json={"frozen": True}).json()["frozen"] is True
    assert [each["name"] for each in operator.get("/v1/admin/accounts?search=acm").json()["data"]] == ["Acme"]
    rate = {"model": "m-1", "input": "2.50", "output": "10"}
    assert operator.post("/v1/admin/rates", json=rate).status_code == 201
    assert operator.get("/v1/admin/rates?model=m-1").json()["rates"][0]["tiers"][0]["output"] == 10**10
    assert (await audit(engine)).ok


async def test_only_an_operator_is_an_operator(owner: httpx.Client, service: Client) -> None:
    assert code(owner.get("/v1/admin/accounts")) == (403, "missing_scope")
    assert code(await service.http.get("/v1/admin/accounts")) == (403, "missing_scope")
    assert code(await service.http.get("/v1/billing/balance")) == (403, "missing_scope")


async def test_another_account_is_never_seen(engine: AsyncEngine, owner: httpx.Client) -> None:
    other_id, other = await create_account(engine)
    await use(engine, Payer(other_id, other.api_key_id, other.api_key), "theirs", 1)
    assert owner.get("/v1/billing/usage/records").json()["data"] == []
    assert code(owner.delete(f"/v1/billing/keys/{other.api_key_id}")) == (404, "not_found")


async def test_usage_over_http_is_answered_event_by_event(owner: httpx.Client, payer: Payer) -> None:
    good = {
        "specversion": "1.0", "type": "payg.usage.recorded.v1", "source": "test", "id": "req_1",
        "time": "2026-11-20T12:00:00Z",
        "data": {"api_key_id": payer.api_key_id, "model": "test-model", "input_tokens": 1},
    }  # fmt: skip
    bad = good | {"id": "req_2", "time": "never"}
    answer = owner.post("/v1/usage", json=[good, bad])
    assert answer.status_code == 202
    assert [(each["id"], each["status"]) for each in answer.json()["events"]] == [
        ("req_1", "accepted"),
        ("req_2", "malformed"),
    ]
    theirs = good | {"data": good["data"] | {"api_key_id": "key_of_others"}}
    assert code(owner.post("/v1/usage", json=[good, theirs])) == (403, "not_your_key")
    named = good | {"data": good["data"] | {"account_id": "acct_other"}}
    assert code(owner.post("/v1/usage", json=named)) == (403, "not_your_account")
    text = owner.post("/v1/usage", content=b"{}", headers={"Content-Type": "text/plain"})
    assert code(text) == (415, "unsupported_media_type")
    assert code(owner.post("/v1/usage", content=b"x" * (8 * 2**20 + 1))) == (413, "too_large")


async def test_without_a_key_nothing_is_told(api_url: str) -> None:
    with httpx.Client(base_url=api_url) as nobody:
        assert code(nobody.get("/v1/billing/balance")) == (401, "missing_api_key")
        nobody.headers["Authorization"] = "Bearer sk-wrong"
        assert code(nobody.get("/v1/billing/balance")) == (401, "invalid_api_key")
        assert nobody.get("/healthz").json() == {"status": "ok"}
        assert nobody.get("/readyz").json() == {"database": "ok", "broker": "ok"}


async def test_what_waits_and_how_long_answers_take_is_measured(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer, service: Client
) -> None:
    await service.hold(api_key_id=payer.api_key_id)
    await use(engine, payer, "req_1", 1)
    lines = owner.get("/metrics").text.splitlines()
    assert 'payg_up{server="database"} 1.0' in lines
    assert 'payg_up{server="broker"} 1.0' in lines
    assert any(line.startswith('payg_gate_answers_total{answer="held"} ') for line in lines)
    assert any(line.startswith("payg_due_evaluations ") for line in lines)
    assert any('route="/v1/authorize"' in line for line in lines)


async def test_scopes_bind(engine: AsyncEngine, api_url: str, payer: Payer) -> None:
    key = await create_key(engine, payer.account_id, "meter", None, [Scope.USAGE])
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {key.api_key}"}) as meter:
        assert code(meter.get("/v1/billing/balance")) == (403, "missing_scope")
        assert code(meter.get("/api/user/self")) == (403, "missing_scope")
