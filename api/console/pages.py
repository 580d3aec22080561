"""Pages from templates, and the way back to one after a form."""

import hashlib
import secrets
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from api.console.formats import FILTERS, share
from api.console.navigation import menu
from api.services import Services, services_of
from shared.domain.access import Role
from shared.operations import console_sessions
from shared.operations.console_sessions import Session

ROOT = "/console"
STATIC = files("api.console") / "static"


def _version() -> str:
    """Return what changes with the static files, which browsers keep for ever."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.iterdir(), key=lambda each: each.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals |= {"root": ROOT, "version": _version(), "share": share, "menu": menu, "Role": Role}
    return environment


_TEMPLATES = _environment()


async def page(
    request: Request,
    viewer: Session,
    template: str,
    *,
    status: int = 200,
    **context: Any,  # noqa: ANN401
) -> HTMLResponse:
    """Return a page with the menu of its viewer, and say once what was to be said."""
    path = request.url.path.removeprefix(ROOT).strip("/")
    # A form that is sent twice does its work once.
    frame = {"viewer": viewer, "path": path, "notice": viewer.notice, "once": secrets.token_urlsafe(16)}
    html = _TEMPLATES.get_template(template).render(frame | context)
    if viewer.notice:
        await console_sessions.told(services_of(request).engine, viewer)
    return HTMLResponse(html, status)


def bare(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:  # noqa: ANN401
    """Return a page without a viewer, or a piece of one."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(context), status)


async def done(services: Services, viewer: Session, to: str, text: str) -> RedirectResponse:
    """Go to a page, and say there what was done."""
    await console_sessions.tell(services.engine, viewer, "done", text)
    return RedirectResponse(f"{ROOT}/{to}", 303)


async def sorry(request: Request, viewer: Session, text: str) -> RedirectResponse:
    """Go back to the page of a form, and say there what is wrong."""
    await console_sessions.tell(services_of(request).engine, viewer, "problem", text)
    came_from = urlsplit(request.headers.get("referer", ""))
    ours = came_from.path.startswith(f"{ROOT}/") and came_from.netloc == request.url.netloc
    query = f"?{came_from.query}" if came_from.query else ""
    return RedirectResponse(came_from.path + query if ours else f"{ROOT}/", 303)
