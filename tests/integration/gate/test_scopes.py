"""Every route with every scope: who may, and that nobody else does."""

from collections.abc import AsyncIterator

import httpx
import pytest
from gate_api import Payer
from openapi_routes import OPEN, Route, routes_of
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.access import PLATFORM, Scope
from shared.operations.keys import create_key, create_platform_key, revoke_key


def scopes_that_may(route: Route) -> set[Scope]:
    """Who may use a route. A route that is new falls under the strictest rule of its place."""
    if route.path.startswith("/v1/admin/"):
        return {Scope.ADMIN, Scope.AUDIT_READ} if route.method == "GET" else {Scope.ADMIN}
    if route.path in ("/v1/authorize", "/v1/usage") or route.path.startswith("/v1/holds/"):
        return {Scope.USAGE, Scope.SERVICE, Scope.ADMIN}
    if route.path == "/v1/models":
        return set(Scope)
    return {Scope.BILLING_READ if route.method == "GET" else Scope.BILLING_WRITE, Scope.ADMIN}


@pytest.fixture
async def nobody(api_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api_url) as client:
        yield client


async def ask(client: httpx.AsyncClient, route: Route, secret: str | bytes | None) -> tuple[int, str]:
    """Ask a route; return the status, and the code of what is no success."""
    headers = {} if secret is None else {b"Authorization": b"Bearer " + _bytes(secret)}
    # Streamed, for some answers have no end.
    async with client.stream(route.method, route.address(), json=route.body, headers=headers) as answer:
        if answer.status_code < 400:
            return answer.status_code, ""
        await answer.aread()
        return answer.status_code, answer.json()["error"]["code"]


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_scope_opens_its_routes_and_no_other(
    scope: Scope, engine: AsyncEngine, api_url: str, nobody: httpx.AsyncClient, payer: Payer
) -> None:
    if scope in PLATFORM:
        key = await create_platform_key(engine, "platform", scope)
    else:
        key = await create_key(engine, payer.account_id, "member", None, [scope])
    opened, refused = [], []
    for route in routes_of(api_url, streams=True):
        if route.path in OPEN:
            continue
        status, code = await ask(nobody, route, key.api_key)
        is_refused = (status, code) == (403, "missing_scope")
        (refused if is_refused else opened).append((route.method, route.path))
        assert status != 401
        assert is_refused is (scope not in scopes_that_may(route)), (route, status, code)
        if scope is Scope.ADMIN and scopes_that_may(route) & {Scope.BILLING_READ, Scope.BILLING_WRITE}:
            assert route.path == "/v1/models" or code == "no_account", route
    assert opened
    assert refused or scope is Scope.ADMIN


async def test_without_a_key_and_with_a_revoked_or_unknown_one_every_route_is_closed(
    engine: AsyncEngine, api_url: str, nobody: httpx.AsyncClient, payer: Payer
) -> None:
    revoked = await create_platform_key(engine, "gateway", Scope.ADMIN)
    await revoke_key(engine, revoked.api_key_id)
    await revoke_key(engine, payer.api_key_id)
    secrets = (None, revoked.api_key, payer.api_key, "sk-unknown", "admin-secre", "admin-secret2")
    for route in routes_of(api_url, streams=True):
        if route.path in OPEN:
            continue
        for secret in secrets:
            code = "missing_api_key" if secret is None else "invalid_api_key"
            assert await ask(nobody, route, secret) == (401, code), (route, secret)


@pytest.mark.parametrize(
    "secret", ["ädmin-secret".encode(), b"\xff\xfe", "ключ".encode(), b"admin-secret\xe9"]
)
async def test_an_admin_key_that_is_not_ascii_is_unknown(
    secret: bytes, api_url: str, nobody: httpx.AsyncClient
) -> None:
    route = next(each for each in routes_of(api_url, streams=True) if each.path == "/v1/admin/accounts")
    assert await ask(nobody, route, secret) == (401, "invalid_api_key")


@pytest.mark.parametrize("header", ["admin-secret", "Basic admin-secret", "Bearer", "bearer"])
async def test_a_key_is_a_bearer_key(nobody: httpx.AsyncClient, header: str) -> None:
    answer = await nobody.get("/v1/admin/accounts", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_that_is_revoked_is_refused_at_once(
    engine: AsyncEngine, nobody: httpx.AsyncClient, payer: Payer
) -> None:
    other = await create_key(engine, payer.account_id, "leaked", None)
    for path in ("/v1/billing/balance", "/v1/models"):
        headers = {"Authorization": f"Bearer {other.api_key}"}
        assert (await nobody.get(path, headers=headers)).status_code == 200
    owner = {"Authorization": f"Bearer {payer.api_key}"}
    assert (await nobody.delete(f"/v1/billing/keys/{other.api_key_id}", headers=owner)).status_code == 200
    for path in ("/v1/billing/balance", "/v1/models"):
        headers = {"Authorization": f"Bearer {other.api_key}"}
        assert (await nobody.get(path, headers=headers)).status_code == 401
