"""Sign in with a key, and out again."""

from collections import defaultdict, deque
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from api.console.navigation import menu
from api.console.pages import ROOT, bare
from api.console.security import is_own
from api.console.viewer import COOKIE, Anyone, ServicesNow, admin_key
from api.errors import ApiError
from shared.operations import console_sessions

router = APIRouter()

_TRIES, _IN_S = 10, 60.0
_MAX_KNOWN = 10_000
_WRONG = "This key is unknown, was revoked, or may not see billing."


class FailedTries:
    """Counts failed tries by address, in one process: an operator's key may be short enough to guess."""

    def __init__(self) -> None:
        self._tries: dict[str, deque[float]] = defaultdict(deque)

    def too_many(self, address: str) -> bool:
        """Whether an address failed too often of late."""
        tries = self._tries.get(address, deque())
        while tries and tries[0] < monotonic() - _IN_S:
            tries.popleft()
        return len(tries) >= _TRIES

    def add(self, address: str) -> None:
        if len(self._tries) > _MAX_KNOWN:
            self._tries.clear()
        self._tries[address].append(monotonic())


def _failed(request: Request) -> FailedTries:
    state = request.app.state
    if not hasattr(state, "failed_tries"):
        state.failed_tries = FailedTries()
    failed: FailedTries = state.failed_tries
    return failed


@router.get("/sign-in")
async def show() -> Response:
    """Ask for a key."""
    return bare("sign_in.html", problem=None)


@router.post("/sign-in")
async def sign_in(
    request: Request, services: ServicesNow, key: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """Begin a session, and go to the first page of its role."""
    if not is_own(request.headers, services.settings):
        raise ApiError(403, "forged", "this form did not come from our page")
    failed, address = _failed(request), request.client.host if request.client else ""
    if failed.too_many(address):
        refusal = bare("sign_in.html", status=429, problem="Too many tries. Wait a minute, then try again.")
        refusal.headers["Retry-After"] = str(int(_IN_S))
        return refusal
    token = await console_sessions.sign_in(services.engine, key.strip(), admin_key(services))
    if token is None:
        failed.add(address)
        return bare("sign_in.html", status=401, problem=_WRONG)
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


@router.post("/sign-out")
async def sign_out(viewer: Anyone, services: ServicesNow) -> Response:
    """End the session."""
    await console_sessions.sign_out(services.engine, viewer.token_hash)
    answer = RedirectResponse(f"{ROOT}/sign-in", 303)
    answer.delete_cookie(COOKIE, path=ROOT)
    return answer
