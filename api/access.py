"""Who asks, and what they may do."""

import hmac
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import ApiError
from api.key_cache import Key
from api.services import Services, services_of
from shared.domain.access import Scope
from shared.operations.operator_log import written_down

_bearer = HTTPBearer(auto_error=False, description="an API key, sk-…")
_OPERATOR = Key("admin", None, frozenset((Scope.ADMIN,)), limited=False)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def asker(
    request: Request, credentials: Bearer, services: Annotated[Services, Depends(services_of)]
) -> Key:
    """Return the key of a request; raises ApiError 401, 429."""
    if credentials is None:
        raise ApiError(401, "missing_api_key", "send an API key: Authorization: Bearer sk-…")
    secret = credentials.credentials
    key = _operator(secret, services) or await services.keys.by_secret(secret)
    if key is None:
        raise ApiError(401, "invalid_api_key", "the API key is unknown or was revoked")
    if wait_s := services.rates.wait_s(key):
        message = f"too many requests for this key: at most {services.rates.per_second} a second"
        raise ApiError(429, "rate_limited", message, retry_after_s=wait_s)
    request.state.key = key
    return key


def _operator(secret: str, services: Services) -> Key | None:
    admin = services.settings.admin_key
    known = admin is not None and hmac.compare_digest(secret.encode(), admin.get_secret_value().encode())
    return _OPERATOR if known else None


class Needs:
    """A dependency: the key of the request, which must have one of these scopes. An operator may do all."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = frozenset((*scopes, Scope.ADMIN))

    def __call__(self, key: Annotated[Key, Depends(asker)]) -> Key:
        if not key.scopes & self._scopes:
            wanted = " or ".join(sorted(self._scopes - {Scope.ADMIN}) or [Scope.ADMIN])
            raise ApiError(403, "missing_scope", f"this needs a key with the scope {wanted}")
        return key


async def overseeing(
    request: Request,
    key: Annotated[Key, Depends(asker)],
    services: Annotated[Services, Depends(services_of)],
) -> AsyncIterator[Key]:
    """Let operators in, and auditors who only look. What an operator does is written down."""
    if request.method == "GET":
        yield Needs(Scope.AUDIT_READ)(key)
        return
    operator = Needs()(key)
    action = f"{request.method} {request.url.path}"
    detail = (await request.body()).decode(errors="replace")
    account_id = request.path_params.get("account_id")
    engine, actor = services.engine, operator.api_key_id
    async with written_down(engine, actor, action, account_id=account_id, detail=detail):
        yield operator


def account_of(key: Key) -> str:
    """Return the account of a key; raises ApiError 403 for one of the platform."""
    if key.account_id is None:
        raise ApiError(403, "no_account", "this key belongs to no account")
    return key.account_id


def _reading(key: Annotated[Key, Depends(Needs(Scope.BILLING_READ))]) -> str:
    return account_of(key)


def _writing(key: Annotated[Key, Depends(Needs(Scope.BILLING_WRITE))]) -> str:
    return account_of(key)


#: The account of a key that may read its billing, or change it.
ReadingAccount = Annotated[str, Depends(_reading)]
WritingAccount = Annotated[str, Depends(_writing)]
Asking = Annotated[Key, Depends(Needs(Scope.USAGE, Scope.SERVICE))]
Operating = Annotated[Key, Depends(Needs(Scope.ADMIN))]
