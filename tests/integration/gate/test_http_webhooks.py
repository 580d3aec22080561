"""Webhook endpoints over HTTP, as an account's owner and as an operator meet them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gate_api import Payer
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.clock import utc_now
from shared.db import alerts
from shared.db.alerts import NewAlert
from shared.domain.alerts import AlertType, alert_data
from shared.domain.levels import Level
from shared.gateways.public_http import PublicHttp
from shared.operations.accounts import create_account
from shared.operations.delivery.delivery_loop import Deliveries
from shared.operations.delivery.webhook_channel import WebhookChannel
from shared.operations.keys import create_key

_URL = "https://hooks.example/payg"
_HOOKS = "/v1/billing/webhooks"


@pytest.fixture
def owner(api_url: str, payer: Payer) -> Iterator[httpx.Client]:
    with _client(api_url, payer.api_key) as client:
        yield client


@pytest.fixture
def operator(api_url: str) -> Iterator[httpx.Client]:
    with _client(api_url, "admin-secret") as client:
        yield client


def _client(api_url: str, secret: str) -> httpx.Client:
    return httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {secret}"})


async def _publish(engine: AsyncEngine, account_id: str, count: int) -> None:
    """Let alerts be written, told to the exchange, and tried at endpoints whose names lead nowhere."""
    data = alert_data(account_id, 15, utc_now(), Level.LOW)
    new = NewAlert(account_id, AlertType.BALANCE_LOW, data, utc_now())

    async def nowhere(host: str, _port: int) -> list[str]:
        raise OSError(f"{host} is not known")

    http = PublicHttp(resolve=nowhere)
    deliveries = Deliveries(engine, [WebhookChannel(engine, http, utc_now)], utc_now, 0)
    async with engine.begin() as connection:
        sequences = await alerts.insert_alerts(connection, [new] * count)
        rows = await alerts.load_undelivered(connection, sequences)
        await alerts.mark_delivered(connection, sequences)
        await deliveries.write(connection, rows)
    await deliveries.send_due()
    await deliveries.close()


def test_an_owner_makes_changes_rotates_and_removes_an_endpoint(owner: httpx.Client, payer: Payer) -> None:
    made = owner.post(_HOOKS, json={"url": _URL, "event_types": ["balance.low"], "description": "ci"})
    assert made.status_code == 201
    endpoint = made.json()
    assert endpoint["secret"].startswith("whsec_")
    assert (endpoint["account_id"], endpoint["url"], endpoint["enabled"]) == (payer.account_id, _URL, True)
    path = f"{_HOOKS}/{endpoint['endpoint_id']}"
    (listed,) = owner.get(_HOOKS).json()["data"]
    assert listed == {name: value for name, value in endpoint.items() if name != "secret"}
    changed = owner.patch(path, json={"enabled": False}).json()
    assert (changed["enabled"], changed["event_types"]) == (False, ["balance.low"])
    assert changed["disabled_because"]
    changed = owner.patch(path, json={"enabled": True, "event_types": [], "url": _URL + "/2"}).json()
    assert (changed["enabled"], changed["event_types"], changed["url"]) == (True, [], _URL + "/2")
    rotated = owner.post(f"{path}/rotate").json()
    assert rotated["secret"] != endpoint["secret"]
    assert rotated["old_secret_until"] is not None
    assert owner.delete(path).status_code == 204
    assert owner.get(_HOOKS).json()["data"] == []
    assert owner.delete(path).status_code == 404


async def test_the_log_has_pages_and_an_event_is_sent_again(
    engine: AsyncEngine, owner: httpx.Client, payer: Payer
) -> None:
    path = f"{_HOOKS}/{owner.post(_HOOKS, json={'url': _URL}).json()['endpoint_id']}"
    began = utc_now()
    await _publish(engine, payer.account_id, 5)
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = owner.get(f"{path}/deliveries", params=query).json()
        seen += page["data"]
        if not (cursor := page["next_cursor"]):
            break
    assert len({each["delivery_id"] for each in seen}) == 5
    assert {(each["state"], each["attempts"], each["type"]) for each in seen} == {
        ("waiting", 1, "balance.low")
    }
    assert "hooks.example is not known" in seen[0]["detail"]
    assert owner.get(f"{path}/deliveries", params={"state": "sent"}).json()["data"] == []
    again = owner.post(f"{path}/deliveries/{seen[0]['delivery_id']}/replay")
    assert (again.status_code, again.json()) == (202, {"replayed": 1})
    (fresh,) = [each for each in owner.get(f"{path}/deliveries").json()["data"] if not each["attempts"]]
    assert fresh["delivery_id"] == seen[0]["delivery_id"]
    assert owner.post(f"{path}/replay", json={"since": began.isoformat()}).json() == {"replayed": 0}


async def test_who_may_only_read_changes_nothing(
    engine: AsyncEngine, api_url: str, owner: httpx.Client, payer: Payer
) -> None:
    path = f"{_HOOKS}/{owner.post(_HOOKS, json={'url': _URL}).json()['endpoint_id']}"
    reader = await create_key(engine, payer.account_id, "reader", None)
    with _client(api_url, reader.api_key) as client:
        assert client.get(_HOOKS).status_code == client.get(f"{path}/deliveries").status_code == 200
        assert client.post(_HOOKS, json={"url": _URL}).status_code == 403
        assert client.patch(path, json={"enabled": False}).status_code == 403
        assert client.post(f"{path}/rotate").status_code == 403
        assert client.delete(path).status_code == 403
        assert client.post(f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"}).status_code == 403


async def test_another_account_sees_nothing(engine: AsyncEngine, api_url: str, owner: httpx.Client) -> None:
    path = f"{_HOOKS}/{owner.post(_HOOKS, json={'url': _URL}).json()['endpoint_id']}"
    _, key = await create_account(engine)
    with _client(api_url, key.api_key) as stranger:
        assert stranger.get(_HOOKS).json()["data"] == []
        assert stranger.get(f"{path}/deliveries").status_code == 404
        assert stranger.patch(path, json={"enabled": False}).status_code == 404
        assert stranger.get("/v1/admin/webhooks").status_code == 403


def test_an_operator_has_endpoints_for_all_accounts_and_sees_those_of_one(
    operator: httpx.Client, owner: httpx.Client, payer: Payer
) -> None:
    mine = operator.post("/v1/admin/webhooks", json={"url": _URL}).json()
    assert mine["account_id"] is None
    owned = owner.post(_HOOKS, json={"url": _URL}).json()
    of_account = {"account_id": payer.account_id}
    assert _ids(operator.get("/v1/admin/webhooks")) == [mine["endpoint_id"]]
    assert _ids(operator.get("/v1/admin/webhooks", params=of_account)) == [owned["endpoint_id"]]
    path = f"/v1/admin/webhooks/{owned['endpoint_id']}"
    assert operator.patch(path, params=of_account, json={"enabled": False}).json()["enabled"] is False
    unknown = operator.post("/v1/admin/webhooks", params={"account_id": "acct_no"}, json={"url": _URL})
    assert unknown.status_code == 404


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({}, 422),
        ({"url": "http://hooks.example/"}, 409),
        ({"url": "https://127.0.0.1/"}, 409),
        ({"url": "https://hooks.example/" + "x" * 2000}, 422),
        ({"url": _URL, "event_types": ["balance.unknown"]}, 422),
    ],
)
def test_what_is_no_receiver_is_refused(owner: httpx.Client, wanted: dict[str, Any], status: int) -> None:
    assert owner.post(_HOOKS, json=wanted).status_code == status
    path = f"{_HOOKS}/{owner.post(_HOOKS, json={'url': _URL}).json()['endpoint_id']}"
    if wanted:
        assert owner.patch(path, json=wanted).status_code == status
    assert owner.patch(path, json={"enabled": None}).status_code == 422


def _ids(answer: httpx.Response) -> list[str]:
    return [each["endpoint_id"] for each in answer.json()["data"]]
