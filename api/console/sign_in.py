"""Sign in with a key or with a link that comes by mail, and out again."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from api.console.navigation import menu
from api.console.pages import ROOT, bare
from api.console.security import is_own
from api.console.tries import Tries
from api.console.viewer import COOKIE, Anyone, ServicesNow, admin_key
from api.errors import ApiError
from api.services import Services
from shared.operations import console_sessions, sign_in_links

router = APIRouter()

#: An operator's key may be short enough to guess, and nobody's mailbox is to be filled.
TRIES, IN_S = 10, 60.0
_WRONG = "This key is unknown, was revoked, or may not see billing."
_OVER = "This link was used, or it is older than 15 minutes. Ask for another."
Secret = Annotated[str, Form(max_length=500)]


@router.get("/sign-in")
async def show(services: ServicesNow) -> Response:
    """Ask for an address or a key."""
    return _door(services)


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesNow, key: Secret = "") -> Response:
    """Begin a session with a key, and go to the first page of its role."""
    _check_own(request, services)
    failed: Tries = request.app.state.failed_keys
    if failed.too_many(_address(request)):
        return _too_many(services)
    token = await console_sessions.sign_in(services.engine, key.strip(), admin_key(services))
    if token is None:
        failed.add(_address(request))
        return _door(services, 401, _WRONG)
    return await _signed_in(services, token)


@router.post("/sign-in/mail")
async def ask_for_link(
    request: Request, services: ServicesNow, address: Annotated[str, Form(max_length=320)] = ""
) -> Response:
    """Send a link to an address that may sign in; whether it may, the answer does not tell."""
    _check_own(request, services)
    if services.sign_in_mail is None:
        raise ApiError(404, "no_mail", "this server sends no mail: sign in with a key")
    asked: Tries = request.app.state.asked_for_links
    if asked.too_many(_address(request)):
        return _too_many(services)
    asked.add(_address(request))
    services.sign_in_mail.ask(address)
    return bare("sign_in_sent.html", address=address.strip())


@router.get("/sign-in/link")
async def show_link(services: ServicesNow, token: Annotated[str, Query(max_length=500)] = "") -> Response:
    """Ask whether to go in: programs that look at mail open links too, and must not use them up."""
    found = await sign_in_links.find_link(services.engine, token)
    if found is None:
        return _door(services, 401, _OVER)
    return bare("sign_in_link.html", found=found, token=token)


@router.post("/sign-in/link")
async def use_link(request: Request, services: ServicesNow, token: Secret = "") -> Response:
    """Use a link up, and go to the first page of its role."""
    _check_own(request, services)
    session = await sign_in_links.use_link(services.engine, token)
    return _door(services, 401, _OVER) if session is None else await _signed_in(services, session)


@router.post("/sign-out")
async def sign_out(viewer: Anyone, services: ServicesNow) -> Response:
    """End the session."""
    await console_sessions.sign_out(services.engine, viewer.token_hash)
    answer = RedirectResponse(f"{ROOT}/sign-in", 303)
    answer.delete_cookie(COOKIE, path=ROOT)
    return answer


async def _signed_in(services: Services, token: str) -> Response:
    session = await console_sessions.find(services.engine, token, admin_key(services))
    first = menu(session.role)[0].path if session else ""
    answer = RedirectResponse(f"{ROOT}/{first}", 303)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(console_sessions.LIVES.total_seconds()),
        path=ROOT,
        secure=services.settings.public_url.startswith("https://"),
        httponly=True,
        samesite="lax",
    )
    return answer


def _door(services: Services, status: int = 200, problem: str | None = None) -> Response:
    return bare("sign_in.html", status=status, problem=problem, mail=services.sign_in_mail is not None)


def _too_many(services: Services) -> Response:
    refusal = _door(services, 429, "Too many tries. Wait a minute, then try again.")
    refusal.headers["Retry-After"] = str(int(IN_S))
    return refusal


def _check_own(request: Request, services: Services) -> None:
    if not is_own(request.headers, services.settings):
        raise ApiError(403, "forged", "this form did not come from our page")


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
