"""What keeps the console's pages safe in a browser: headers on every answer, and where a form comes from."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.settings import Settings

#: Stripe's page: browsers hold redirects after a form to the same rule as the form.
_CHECKOUT = "https://checkout.stripe.com"
_STATIC = "/static/"


def content_policy(settings: Settings) -> str:
    """Return the Content-Security-Policy: our own files and nothing else, nothing inline."""
    pay_at = settings.stripe_api_base and origin_of(settings.stripe_api_base)
    forms = " ".join(filter(None, ("'self'", _CHECKOUT, pay_at)))
    return (
        f"default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action {forms}"
    )


class SafeHeaders:
    """ASGI middleware: the headers of every answer. Pages are kept nowhere, static files for ever."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._policy = content_policy(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), _STATIC in scope["path"])
            await send(message)

        await self._app(scope, receive, with_headers)

    def _add(self, headers: MutableHeaders, static: bool) -> None:  # noqa: FBT001 - which of two kinds
        headers["Content-Security-Policy"] = self._policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=()"
        headers["Cache-Control"] = "public, max-age=31536000, immutable" if static else "no-store"


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def is_own(headers: Headers, settings: Settings) -> bool:
    """Whether a form was sent by one of our own pages; every browser says so."""
    origin = headers.get("origin")
    if origin is None or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return origin == origin_of(settings.public_url) or urlsplit(origin).netloc == headers.get("host")
