"""Errors over HTTP: ``{"error": {"message", "type", "code"}}``, whatever went wrong."""

from typing import Any

import asyncpg
import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException as RoutingError

from shared.domain.errors import (
    InvalidAmountError,
    MalformedError,
    NotFoundError,
    PriceNotSupportedError,
    RefusedError,
)
from shared.gateways.redis_gate import GateUnavailableError
from shared.gateways.stripe_connection import (
    CardDeclinedError,
    PaymentRefusedError,
    PaymentUnavailableError,
)
from shared.messaging.failure import is_transient
from shared.messaging.transport import TransportError
from shared.operations.gate import GateClosedError

log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 2
_MESSAGE_MAX = 1000


class ErrorDetail(BaseModel):
    """What went wrong: a message for people, a type and a code for programs."""

    message: str
    type: str
    code: str


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ApiError(HTTPException):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(status, message)
        self.code = code
        self.retry_after_s = retry_after_s

    def response(self) -> JSONResponse:
        headers = dict(self.headers or {})
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        type_ = _TYPES.get(self.status_code, "invalid_request_error")
        error = {"message": _told(self.detail), "type": type_, "code": self.code}
        return JSONResponse({"error": error}, self.status_code, headers)


def _told(message: str) -> str:
    """Return a message as it may be answered: what it repeats of a request can be long, or no text."""
    short = message if len(message) <= _MESSAGE_MAX else f"{message[:_MESSAGE_MAX]}…"
    return short.encode(errors="backslashreplace").decode()


_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
}
_CODES = {404: "not_found", 405: "method_not_allowed"}
STATUSES: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFoundError, 404, "not_found"),
    (RefusedError, 409, "refused"),
    (PaymentRefusedError, 409, "payment_refused"),
    (CardDeclinedError, 409, "card_declined"),
    (PriceNotSupportedError, 422, "price_not_supported"),
    (InvalidAmountError, 422, "invalid_amount"),
    (MalformedError, 422, "malformed"),
    (PaymentUnavailableError, 503, "payments_unavailable"),
    (TransportError, 503, "broker_unavailable"),
    (GateUnavailableError, 503, "gate_unavailable"),
    (GateClosedError, 503, "gate_unavailable"),
)
#: What the database's driver, its pool and the network raise.
_SURROUNDINGS = (
    DBAPIError,
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
#: What every route may answer, for the OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning}
    for status, meaning in {
        400: "the request cannot be read",
        401: "no key, or none that is known",
        403: "the key may not do this",
        404: "there is no such thing",
        408: "the body came too slowly",
        409: "the books or a setting forbid it",
        413: "the body is too large",
        415: "the content type is another",
        422: "a field is missing or malformed",
        429: "too many requests for this key",
        503: "a server behind is away, or there is too much to do; try again later",
    }.items()
}


def answer_errors(app: FastAPI) -> None:
    """Let every error leave in the one shape."""

    @app.exception_handler(ApiError)
    async def _(_request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RoutingError)
    async def _(_request: Request, error: RoutingError) -> JSONResponse:
        code = _CODES.get(error.status_code, "invalid_request")
        answer = ApiError(error.status_code, code, error.detail)
        answer.headers = error.headers
        return answer.response()

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        unreadable = first["type"] in ("json_invalid", "json_type")
        told = str(first["msg"]).removeprefix("Value error, ")
        message = f"{where}: {told}" if where and not unreadable else told
        return ApiError(400 if unreadable else 422, "invalid_request", message).response()

    @app.exception_handler(Exception)
    async def _(_request: Request, _error: Exception) -> JSONResponse:
        # Raised again once it is answered, so that the log has it.
        return ApiError(500, "internal_error", "a mistake of ours; it is in the log").response()

    for kind, status, code in STATUSES:
        app.add_exception_handler(kind, _answer(status, code))
    for kind in _SURROUNDINGS:
        app.add_exception_handler(kind, _answer_surroundings)


def _answer(status: int, code: str) -> Any:  # noqa: ANN401 - a handler, as Starlette wants it
    async def handle(_request: Request, error: Exception) -> JSONResponse:
        wait = _RETRY_AFTER_S if status == 503 else None
        return ApiError(status, code, str(error), retry_after_s=wait).response()

    return handle


async def _answer_surroundings(_request: Request, error: Exception) -> JSONResponse:
    """Answer 503 where a server behind is away; anything else is a mistake of ours, and is raised."""
    if not is_transient(error):
        raise error
    log.warning("a server behind is away", error=repr(error))
    message = "a server behind is away; try again in a moment"
    return ApiError(503, "unavailable", message, retry_after_s=_RETRY_AFTER_S).response()
