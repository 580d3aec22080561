"""The console as an application of its own, mounted at /console: its errors are pages."""

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DBAPIError, InterfaceError
from starlette.exceptions import HTTPException

from api.console import (
    alert_mail,
    alert_settings,
    alerts,
    auto_topup,
    cards,
    funds,
    invoices,
    keys,
    models,
    overview,
    sign_in,
    statements,
    subscription,
    team,
    transactions,
    usage,
    webhooks,
)
from api.console.operator import account, accounts, actions, differences, prices, quarantine, queues
from api.console.pages import ROOT, bare, page, sorry
from api.console.security import SafeHeaders
from api.console.tries import Tries
from api.console.viewer import SignInNeededError
from api.errors import STATUSES
from api.services import Services
from shared.messaging.failure import is_transient
from shared.operations.console_sessions import Session

log = structlog.get_logger(__name__)

_PAGES = (
    sign_in,
    overview,
    usage,
    transactions,
    funds,
    cards,
    auto_topup,
    subscription,
    keys,
    team,
    alerts,
    alert_settings,
    alert_mail,
    webhooks,
    statements,
    invoices,
    models,
    accounts,
    account,
    prices,
    quarantine,
    queues,
    differences,
    actions,
)


def create_console(services: Services) -> FastAPI:
    """Return the application of the console."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.state.failed_keys = Tries(sign_in.TRIES, sign_in.IN_S)
    app.state.asked_for_links = Tries(sign_in.TRIES, sign_in.IN_S)
    app.add_middleware(SafeHeaders, settings=services.settings)
    app.mount("/static", StaticFiles(packages=[("api.console", "static")]))
    for pages in _PAGES:
        app.include_router(pages.router)
    app.add_exception_handler(SignInNeededError, _sign_in)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _malformed)
    for fault in (DBAPIError, InterfaceError, OSError, TimeoutError):
        app.add_exception_handler(fault, _away)
    for kind, status, _ in STATUSES:
        app.add_exception_handler(kind, _refusal(status))
    return app


async def _sign_in(request: Request, _error: Exception) -> Response:
    if request.headers.get("x-fragment"):
        return Response(status_code=401)
    return RedirectResponse(f"{ROOT}/sign-in", 303)


async def _http_error(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    text = "There is nothing at this address." if status == 404 and detail == "Not Found" else detail
    return await _error_page(request, status, text)


async def _away(_request: Request, error: Exception) -> Response:
    """Say that a server behind is away; anything else is a mistake of ours, and is raised."""
    if not is_transient(error):
        raise error
    log.warning("a server behind is away", error=repr(error))
    text = "A server behind this page is away. Try again in a moment."
    return bare("error_bare.html", status=503, text=text, code=503)


async def _malformed(request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": ""}
    # In a field of several values the place of the wrong one comes last.
    names = [part for part in first["loc"] if isinstance(part, str)]
    field = names[-1].replace("_", " ") if names else "form"
    message = str(first["msg"]).removeprefix("Value error, ")
    return await _answer(request, 422, f"{field.capitalize()}: {message}.")


def _refusal(status: int):  # type: ignore[no-untyped-def] # noqa: ANN202 - a handler, as Starlette wants it
    async def handle(request: Request, error: Exception) -> Response:
        text = str(error)
        return await _answer(request, status, text[:1].upper() + text[1:] + ("" if text[-1:] == "." else "."))

    return handle


async def _answer(request: Request, status: int, text: str) -> Response:
    """Say what is wrong: after a form on the page it came from, else on a page of its own."""
    viewer: Session | None = getattr(request.state, "viewer", None)
    if viewer is not None and request.method == "POST":
        return await sorry(request, viewer, text)
    return await _error_page(request, status, text)


async def _error_page(request: Request, status: int, text: str) -> Response:
    viewer: Session | None = getattr(request.state, "viewer", None)
    if viewer is None:
        return bare("error_bare.html", status=status, text=text, code=status)
    return await page(request, viewer, "error.html", status=status, text=text, code=status)
