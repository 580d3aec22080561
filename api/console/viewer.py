"""Who looks at a page, and whether they may: sessions, roles, and the token that every form brings back."""

import hmac
from typing import Annotated

from fastapi import Depends, Request

from api.console.security import is_own
from api.errors import ApiError
from api.services import Services, services_of
from shared.domain.access import Role
from shared.operations import console_sessions
from shared.operations.console_sessions import Session

COOKIE = "payg_session"
ServicesNow = Annotated[Services, Depends(services_of)]


class SignInNeededError(Exception):
    """Nobody is signed in."""


async def signed_in(request: Request, services: Services) -> Session | None:
    """Return the session of a request as it is now, None where it is over."""
    token = request.cookies.get(COOKIE)
    return await console_sessions.find(services.engine, token, admin_key(services)) if token else None


async def _viewer(request: Request, services: ServicesNow) -> Session:
    session = await signed_in(request, services)
    if session is None:
        raise SignInNeededError
    request.state.viewer = session
    if request.method != "GET":
        await _check_form(request, services, session)
    return session


async def _check_form(request: Request, services: Services, session: Session) -> None:
    form = await request.form()
    token = form.get("csrf")
    brought = isinstance(token, str) and hmac.compare_digest(token.encode(), session.csrf.encode())
    if not brought or not is_own(request.headers, services.settings):
        raise ApiError(403, "forged", "this form did not come from your page: load the page again")


def admin_key(services: Services) -> str | None:
    """Return the operator's key of the settings."""
    key = services.settings.admin_key
    return key.get_secret_value() if key else None


class Allowed:
    """A dependency: the session of a request, which must be of one of these roles."""

    def __init__(self, *roles: Role) -> None:
        self._roles = frozenset(roles)

    def __call__(self, viewer: Annotated[Session, Depends(_viewer)]) -> Session:
        if viewer.role not in self._roles:
            raise ApiError(403, "not_allowed", f"this page is not for you: your role is {viewer.role}")
        return viewer


Anyone = Annotated[Session, Depends(Allowed(*Role))]
#: Who sees an account, or changes it.
Reader = Annotated[Session, Depends(Allowed(Role.OWNER, Role.BILLING))]
Owner = Annotated[Session, Depends(Allowed(Role.OWNER))]
#: Who sees usage: a member that of its own key.
UsageReader = Annotated[Session, Depends(Allowed(Role.OWNER, Role.BILLING, Role.MEMBER))]
#: Who sees, or decides, who else may sign in.
TeamReader = Annotated[Session, Depends(Allowed(Role.OWNER, Role.BILLING, Role.OPERATOR, Role.AUDITOR))]
Head = Annotated[Session, Depends(Allowed(Role.OWNER, Role.OPERATOR))]
#: Who sees all accounts, or changes them.
Overseer = Annotated[Session, Depends(Allowed(Role.OPERATOR, Role.AUDITOR))]
Operator = Annotated[Session, Depends(Allowed(Role.OPERATOR))]
