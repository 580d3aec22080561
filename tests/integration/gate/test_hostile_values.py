"""Addresses, values and frames that mean harm: refused, or taken as the data that they are."""

import time
from collections.abc import Iterator

import httpx
import pytest
from gate_api import Payer, serving
from openapi_routes import Route, routes_of
from raw_http import RawConnection, raw_answer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.operations.audit import audit
from shared.settings import Settings

INJECTIONS = [
    "'; DROP TABLE accounts; --",
    "' OR '1'='1",
    '" OR ""="',
    "%",
    "_",
    "\\",
    "$1",
    ":account_id",
    "); DELETE FROM transfers; --",
    "a\r\nSet-Cookie: x=1",
]
ADMIN = "admin-secret"


@pytest.fixture
def operator(api_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=20) as client:
        yield client


@pytest.fixture
def owner(api_url: str, payer: Payer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {payer.api_key}"}) as client:
        yield client


def keys_for(route: Route, payer: Payer) -> dict[str, str]:
    """The key that a route is for."""
    secret = payer.api_key if route.path.startswith(("/v1/billing", "/api")) else ADMIN
    return {"Authorization": f"Bearer {secret}"}


def in_one_shape(answer: httpx.Response) -> bool:
    return set(answer.json()["error"]) == {"message", "type", "code"}


def test_nul_in_a_path_or_a_parameter_is_refused(operator: httpx.Client, owner: httpx.Client) -> None:
    for path in ("/v1/admin/accounts/%00", "/v1/admin/accounts?search=a%00", "/v1/admin/rates?model=%00"):
        assert operator.get(path).status_code == 400
    for path in ("/v1/billing/usage/records?model=%00", "/v1/billing/topups/x%00", "/%00"):
        assert owner.get(path).status_code == 400


@pytest.mark.parametrize(
    "cursor",
    [
        "OTIyMzM3MjAzNjg1NDc3NTgwOA",
        "LTE",
        "WzEsImEAIl0",
        "WzEsIlx1MDAwMCJd",
        "W10",
        "bnVsbA",
        "%FF",
        "é",
        "_",
    ],
)
def test_a_cursor_that_no_page_gave_is_refused(
    operator: httpx.Client, owner: httpx.Client, cursor: str
) -> None:
    for client, path in (
        (owner, "/v1/billing/transactions"),
        (owner, "/v1/billing/usage/records"),
        (operator, "/v1/admin/accounts"),
    ):
        answer = client.get(path, params={"cursor": cursor})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=99999999999999999999", "limit=1e3", "limit=", "limit=1&limit=2",
        "since=0001-01-01T00:00:00%2B14:00", "since=9999-12-31T23:59:59-14:00", "since=now", "since=1",
        "until=2026-11-23", "until=2026-11-23T12:00:00", "kind=none", "kind=",
    ],
)  # fmt: skip
def test_a_parameter_out_of_range_or_given_twice_is_refused(owner: httpx.Client, query: str) -> None:
    answer = owner.get(f"/v1/billing/transactions?{query}")
    assert answer.status_code in (400, 422), answer.text
    assert in_one_shape(answer)


def test_a_parameter_that_may_be_given_twice_is_a_list(owner: httpx.Client) -> None:
    assert owner.get("/v1/billing/usage?by=key&by=model").status_code == 200


@pytest.mark.parametrize("seq", ["0", "-1", str(2**63), "1" * 400, "1.5", "x"])
def test_a_number_that_no_column_holds_is_refused(owner: httpx.Client, seq: str) -> None:
    assert owner.get(f"/v1/billing/transactions/{seq}").status_code == 422


async def test_injected_sql_is_data(
    engine: AsyncEngine, operator: httpx.Client, owner: httpx.Client, payer: Payer
) -> None:
    for hostile in INJECTIONS:
        made = operator.post("/v1/admin/accounts", json={"name": hostile})
        assert made.status_code == 201
        found = operator.get("/v1/admin/accounts", params={"search": hostile}).json()["data"]
        assert [each["name"] for each in found] == [hostile]
        assert owner.post("/v1/billing/keys", json={"name": hostile}).status_code == 201
        path = f"/v1/admin/accounts/{payer.account_id}/adjustments"
        adjusted = operator.post(
            path, json={"amount": "1", "reason": hostile}, headers={"Idempotency-Key": hostile.split("\r")[0]}
        )
        assert adjusted.json()["cause"] == f"credit: {hostile}"
        nothing = owner.get("/v1/billing/usage/records", params={"model": hostile, "api_key_id": hostile})
        assert nothing.json()["data"] == []
        assert operator.get("/v1/admin/rates", params={"model": hostile}).status_code == 404
        named = [each["name"] for each in owner.get("/v1/billing/keys").json()["data"]]
        assert named[-1] == hostile
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM accounts"))).scalar_one() > 10
    assert (await audit(engine)).ok


def test_an_id_with_sql_in_it_is_nobodys(api_url: str, operator: httpx.Client, payer: Payer) -> None:
    for route in routes_of(api_url):
        for name in set(route.names) - {"seq", "card_id"}:
            for hostile in INJECTIONS[:5]:
                address = route.address({name: hostile.replace("/", "").replace("%", "%25")})
                answer = operator.request(
                    route.method, address, json=route.body, headers=keys_for(route, payer)
                )
                assert answer.status_code == 404 or name == "hold_id", (route, answer.text)
                assert answer.status_code < 500


def test_no_header_repeats_what_was_asked(operator: httpx.Client, owner: httpx.Client) -> None:
    hostile = "INV-00000001\r\nX-Injected: 1"
    for answer in (
        owner.get(f"/v1/billing/invoices/{httpx.QueryParams({'a': hostile})!s}/pdf".replace("a=", "")),
        operator.get("/v1/admin/accounts/a%0d%0aX-Injected:%201"),
        operator.get("/v1/admin/accounts?search=a%0d%0aX-Injected:%201"),
        owner.delete("/v1/billing/keys/a%0d%0aX-Injected:%201"),
    ):
        assert "x-injected" not in answer.headers
        assert answer.status_code in (200, 404)


def test_an_idempotency_key_may_be_any_header_that_http_can_carry(
    operator: httpx.Client, payer: Payer
) -> None:
    path = f"/v1/admin/accounts/{payer.account_id}/adjustments"
    for key, statuses in ((b"\xff\xe9", {201}), (b"a" * 256, {422}), (b"", {422}), ("ключ".encode(), {201})):
        headers = {b"Idempotency-Key": key}
        answer = operator.post(path, json={"amount": "1", "reason": "x"}, headers=headers)
        assert answer.status_code in statuses, (key, answer.text)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        ((b"content-length: 5", b"content-length: 40"), b"{}"),
        ((b"content-length: 2", b"transfer-encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n"),
        ((b"transfer-encoding: chunked", b"transfer-encoding: identity"), b"0\r\n\r\n"),
        ((b"content-length: -1",), b""),
        ((b"content-length: 2\x00",), b"{}"),
        ((b"x-name: a\x00b",), b""),
        ((b"x y: z",), b""),
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    api_url: str, lines: tuple[bytes, ...], body: bytes
) -> None:
    hidden = b"GET /v1/admin/accounts HTTP/1.1\r\nhost: payg\r\nauthorization: Bearer admin-secret\r\n\r\n"
    status, told = raw_answer(
        api_url,
        b"POST /v1/usage HTTP/1.1",
        b"authorization: Bearer admin-secret",
        *lines,
        body=body + hidden,
    )
    assert status in (400, 501), told
    assert b"next_cursor" not in told


def test_slow_bodies_hold_nobody_up(api_url: str, owner: httpx.Client) -> None:
    slow = [RawConnection(api_url) for _ in range(60)]
    for connection in slow:
        connection.send(
            b"POST /v1/usage HTTP/1.1",
            b"authorization: Bearer admin-secret",
            b"content-length: 999",
            body=b"{",
        )
    started = time.monotonic()
    assert [owner.get("/v1/billing/balance").status_code for _ in range(20)] == [200] * 20
    assert time.monotonic() - started < 10
    for connection in slow:
        connection.close()


def test_a_body_that_never_comes_is_given_up(api_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server._BODY_WITHIN_S", 0.2)
    with serving(api_settings) as url:
        for path in (b"/v1/usage", b"/v1/admin/accounts", b"/webhooks/stripe"):
            status, told = raw_answer(
                url,
                b"POST " + path + b" HTTP/1.1",
                b"authorization: Bearer admin-secret",
                b"content-type: application/json",
                b"content-length: 999",
                body=b"{",
            )
            assert (status, b"too_slow" in told) == (408, True), told
