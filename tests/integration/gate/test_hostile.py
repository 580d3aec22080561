"""Bodies that mean harm, or are broken as no client would break them: refused, each for its reason."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gate_api import Client, Payer
from openapi_routes import Route, routes_of
from raw_http import nested, with_surrogate

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


def posts(url: str) -> list[Route]:
    """Every route that takes a body, and Stripe's webhooks, whose body no document describes."""
    return [route for route in routes_of(url) if route.takes_body or route.path == "/webhooks/stripe"]


def in_one_shape(answer: httpx.Response) -> bool:
    return set(answer.json()["error"]) == {"message", "type", "code"}


def test_fields_of_another_type_are_refused_by_every_route(
    api_url: str, operator: httpx.Client, payer: Payer
) -> None:
    other: list[Any] = [[], {}, 1.5, "x" * 2000, -1, 10**30, True]
    for route in posts(api_url):
        if not route.takes_body or route.path == "/v1/usage":
            continue  # what is wrong with an event is said event by event
        for field, value in route.body.items():
            wrong = [each for each in other if type(each) is not type(value)]
            for bad in wrong:
                answer = operator.request(
                    route.method,
                    route.address(),
                    json=route.body | {field: bad},
                    headers=keys_for(route, payer),
                )
                assert answer.status_code == 422, (route, field, bad, answer.text)
                assert field in answer.json()["error"]["message"]


def test_a_field_that_is_not_known_is_refused_where_something_changes(
    api_url: str, operator: httpx.Client, payer: Payer
) -> None:
    for route in posts(api_url):
        if not route.takes_body or route.path in ("/v1/usage", "/v1/authorize"):
            continue
        answer = operator.request(
            route.method,
            route.address(),
            json=route.body | {"ammount": "1"},
            headers=keys_for(route, payer),
        )
        assert answer.status_code == 422, route
        assert "ammount" in answer.json()["error"]["message"]


async def test_what_a_newer_gateway_adds_is_ignored(service: Client, payer: Payer) -> None:
    assert (await service.authorize(api_key_id=payer.api_key_id, stream=True)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"NaN", b"1" * 5000])
def test_what_is_no_object_is_refused_by_every_route(
    api_url: str, operator: httpx.Client, payer: Payer, body: bytes
) -> None:
    for route in posts(api_url):
        headers = keys_for(route, payer) | {"Content-Type": "application/json"}
        answer = operator.request(route.method, route.address(), content=body, headers=headers)
        if route.path == "/webhooks/stripe":
            assert answer.status_code in (400, 503)
        else:
            assert answer.status_code in (400, 422), (route, answer.text)
        assert in_one_shape(answer)


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_body_that_is_nested_deeply_is_refused_by_every_route(
    api_url: str, operator: httpx.Client, payer: Payer, brackets: str
) -> None:
    body = nested(100_000, brackets)
    for route in posts(api_url):
        headers = keys_for(route, payer) | {"Content-Type": "application/json"}
        answer = operator.request(route.method, route.address(), content=body, headers=headers)
        if route.path == "/v1/usage" and brackets == "[]":
            # An array with one bad element, and that one is refused alone.
            assert [each["status"] for each in answer.json()["events"]] == ["malformed"]
            continue
        assert answer.status_code in (400, 422, 503), (route, answer.text)
        assert in_one_shape(answer)


def test_eight_mebibytes_of_brackets_hold_nobody_up(operator: httpx.Client, owner: httpx.Client) -> None:
    body = b"[" * (8 * 1024 * 1024)
    started = time.monotonic()
    answer = operator.post("/v1/usage", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert time.monotonic() - started < 15
    assert owner.get("/v1/billing/balance").status_code == 200


@pytest.mark.parametrize("sent", ["announced", "chunked"])
def test_a_body_that_is_too_large_is_refused_by_every_route(
    api_url: str, operator: httpx.Client, payer: Payer, sent: str
) -> None:
    piece = b" " * (256 * 1024)
    for route in posts(api_url):
        content: Any = (piece for _ in range(40)) if sent == "chunked" else piece * 40
        headers = keys_for(route, payer) | {"Content-Type": "application/json"}
        try:
            answer = operator.request(route.method, route.address(), content=content, headers=headers)
        except (httpx.WriteError, httpx.ReadError):
            continue  # it closed the connection while we were sending: refused as well
        allowed = (413, 503) if route.path == "/webhooks/stripe" else (413,)
        assert answer.status_code in allowed, (route, answer.text)
        assert in_one_shape(answer)


def test_text_that_no_table_can_hold_is_refused_in_every_field(
    api_url: str, operator: httpx.Client, payer: Payer
) -> None:
    for route in posts(api_url):
        if not route.takes_body or route.path == "/v1/usage":
            continue
        for field, value in route.body.items():
            if isinstance(value, str):
                for bad in ({field: "a\0b"}, None):
                    headers = keys_for(route, payer) | {"Content-Type": "application/json"}
                    body: dict[str, Any] = (
                        {"json": route.body | bad} if bad else {"content": with_surrogate(route.body, field)}
                    )
                    answer = operator.request(route.method, route.address(), headers=headers, **body)
                    assert answer.status_code == 422, (route, field, answer.text)


def test_the_name_of_a_field_that_is_no_text_is_refused(operator: httpx.Client) -> None:
    for name in (r"\ud800", r"\u0000", "x" * 100_000):
        body = f'{{"name": "a", "{name}": 1}}'.encode()
        answer = operator.post(
            "/v1/admin/accounts", content=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422
        assert len(answer.json()["error"]["message"]) < 1100
