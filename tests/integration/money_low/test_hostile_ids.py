"""One account with the ids of another: on every route nothing is seen of it, and nothing changed."""

from typing import Any

import httpx
import pytest
from gate_api import Payer, serving, use
from low_money import LowMoney
from low_webhooks import api_settings
from openapi_routes import OPEN, Route, routes_of
from sqlalchemy import text

from shared.db.tables import metadata
from shared.domain.access import Role
from shared.domain.pricing import TokenRates
from shared.operations.accounts import create_account
from shared.operations.audit import audit
from shared.operations.keys import hash_of
from shared.operations.members import put_member
from shared.operations.prices import set_price

_SECRET = "sk-thief"  # noqa: S105 - of a test  # pragma: allowlist secret
#: Fields of bodies that take an id of a thing which belongs to an account.
_IN_BODIES = {"payment_method": "card_id", "api_key_id": "api_key_id", "topup_id": "topup_id"}


async def victim(money: LowMoney) -> dict[str, str]:
    """An account with something of everything; return its ids by the names of the routes."""
    account_id, topup_id = await money.by_hand()
    await money.execute("UPDATE accounts SET name = 'Victim Ltd' WHERE account_id = :id", id=account_id)
    (key,) = await money.rows("SELECT api_key_id FROM api_keys WHERE account_id = :id", id=account_id)
    await set_price(money.engine, None, "victims-model", TokenRates.inherit({"input": 1, "output": 1}), None)
    payer = Payer(account_id, key["api_key_id"], "")
    await use(money.engine, payer, "victims-request", 1, model="victims-model")
    await money.topups().handle([topup_id, f"inv_{topup_id}"])
    (invoice,) = await money.rows("SELECT document ->> 'number' AS number FROM invoices")
    _, card = await money.customer(account_id)
    await money.execute(
        "INSERT INTO mail_recipients (account_id, recipient_id, address, event_types)"
        " VALUES (:id, 'rcp_1', 'victim@example.com', '{}')",
        id=account_id,
    )
    await money.execute(
        "INSERT INTO webhook_endpoints (account_id, endpoint_id, url, event_types, secret, enabled)"
        " VALUES (:id, 'end_1', 'https://victim.example.com', '{}', 'whsec_x', true)",
        id=account_id,
    )
    member = await put_member(money.engine, account_id, "victim@example.com", Role.OWNER)
    return {
        "recipient_id": "rcp_1",
        "member_id": member["member_id"],
        "endpoint_id": "end_1",
        "delivery_id": "dlv_1",
        "month": "2020-01",
        "account_id": account_id,
        "api_key_id": key["api_key_id"],
        "topup_id": topup_id,
        "number": invoice["number"],
        "card_id": card,
    }


async def everything_of(money: LowMoney, account_id: str) -> dict[str, list[str]]:
    """Return every row of an account, of every table that has rows of accounts."""
    tables = [table.name for table in metadata.sorted_tables if "account_id" in table.columns]
    async with money.engine.connect() as connection:
        return {
            table: sorted(
                (
                    await connection.execute(
                        text(f"SELECT CAST(t AS text) FROM {table} t WHERE account_id = :id"),  # noqa: S608
                        {"id": account_id},
                    )
                ).scalars()
            )
            for table in tables
        }


def with_ids(route: Route, ids: dict[str, str]) -> Any:
    """Return the example of a route's body with another account's ids wherever it takes one."""
    body = route.body
    if body is None:
        return None
    if route.path == "/v1/usage":
        return body | {"data": body["data"] | {"api_key_id": ids["api_key_id"]}}
    if route.path == "/v1/authorize":
        return body | {"model": "victims-model", "api_key_id": ids["api_key_id"]}
    if route.path == "/v1/billing/members":
        return body | {"role": "member", "api_key_id": ids["api_key_id"]}
    if route.path.endswith("/auto-topup"):
        return {"preset": "regular", "payment_method": ids["card_id"]}
    return {name: ids.get(_IN_BODIES.get(name, ""), value) for name, value in body.items()}


@pytest.mark.slow
async def test_another_accounts_ids_open_nothing_on_any_route(money: LowMoney) -> None:
    ids = await victim(money)
    thief, key = await create_account(money.engine)
    await money.execute(
        "UPDATE api_keys SET secret_hash = :hash WHERE api_key_id = :id",
        hash=hash_of(_SECRET),
        id=key.api_key_id,
    )
    with serving(api_settings(money, admin_key="admin-secret", rate_limit_per_s=0)) as url:
        with httpx.Client(base_url=url, headers={"Authorization": "Bearer admin-secret"}) as service:
            asked = {"model": "victims-model", "input_tokens": 1, "max_output_tokens": 0}
            held = service.post("/v1/authorize", json=asked | {"api_key_id": ids["api_key_id"]}).json()
        ids["hold_id"] = held["hold_id"]
        before = await everything_of(money, ids["account_id"])
        held_by_it = ("accounts", "api_keys", "members", "topups", "invoices", "usage_records")
        assert all(before[table] for table in held_by_it)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {_SECRET}"}, timeout=20) as client:
            for route in routes_of(url):
                if route.path not in OPEN:
                    _ask_with_ids(client, route, ids)
    assert await everything_of(money, ids["account_id"]) == before
    assert (await audit(money.engine)).ok
    assert await money.charged_cents(thief) == []


def _ask_with_ids(client: httpx.Client, route: Route, ids: dict[str, str]) -> None:
    unknown = set(route.names) - set(ids) - {"seq"}
    assert not unknown, f"{route.path}: say here which id of an account {unknown} is"
    queries: list[dict[str, str]] = [{}]
    if route.path.startswith("/v1/billing") and route.method == "GET":
        queries += [{"account_id": ids["account_id"]}, {"api_key_id": ids["api_key_id"]}]
    for query in queries:
        body = with_ids(route, ids)
        answer = client.request(route.method, route.address(ids), json=body, params=query)
        assert answer.status_code < 500, (route, answer.text)
        if set(route.names) - {"seq"} or (body and body != route.body):
            assert answer.status_code in (403, 404, 409), (route, answer.text)
        told = answer.text
        for asked in sorted((*ids.values(), "victims-model"), key=len, reverse=True):
            # An answer may repeat what was asked for, and says no more of it than that it is not there.
            told = told.replace(asked, "") if answer.status_code >= 400 else told
        for mark in (*ids.values(), "Victim", "victims-request"):
            assert mark not in told, (route, answer.text)
