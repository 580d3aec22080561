"""Pages for people, with no script and nothing from elsewhere: how their templates are filled."""

from functools import cache
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from fastapi.responses import HTMLResponse

_FOLDER = Path(__file__).with_name("pages")


class Html(str):
    """Text that is HTML already; all other text is escaped where it is filled in."""

    __slots__ = ()


def fill(template: str, **values: str) -> Html:
    """Return a template with its `$names` replaced."""
    safe = {name: value if isinstance(value, Html) else escape(value) for name, value in values.items()}
    return Html(Template(template).substitute(safe))


def page(
    name: str, title: str, *, status: int = 200, leads_to: tuple[str | None, ...] = (), **values: str
) -> HTMLResponse:
    """Return a page from its template.

    `leads_to` are URLs that its form may end at: browsers hold a redirect after a form to the policy too.
    """
    body = fill(_template(f"{name}.html"), title=title, **values)
    html = fill(_template("layout.html"), title=title, body=body)
    targets = " ".join(["'self'", *sorted({_origin(url) for url in leads_to if url})])
    policy = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {targets}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status, headers)


def style() -> str:
    """Return the style sheet of all pages."""
    return _template("style.css")


@cache
def _template(name: str) -> str:
    return (_FOLDER / name).read_text()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
