"""What the middleware answers itself, in the shape of OpenAI's errors."""

from dataclasses import dataclass

import msgspec
from starlette.types import Send

from payg_client.errors import PaygClientError, RefusedError, UnavailableError

_RETRY_AFTER_S = "2"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is no success."""

    status: int
    body: bytes
    retry_after: str | None = None

    async def send(self, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        if self.retry_after is not None:
            headers.append((b"retry-after", self.retry_after.encode("latin-1")))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def error(status: int, type_: str, code: str, message: str, retry_after: str | None = None) -> Answer:
    body = msgspec.json.encode({"error": {"message": message, "type": type_, "code": code}})
    return Answer(status, body, retry_after)


NO_KEY = error(401, "authentication_error", "missing_api_key", "send an API key: Authorization: Bearer sk-…")
TOO_LARGE = error(413, "invalid_request_error", "too_large", "the body is too large")


def bad_request(why: PaygClientError) -> Answer:
    return error(400, "invalid_request_error", "invalid_request", str(why))


def refusal(why: RefusedError) -> Answer:
    """Hand payg's own answer on as it came."""
    return Answer(why.status, why.body, why.retry_after)


def unavailable(why: PaygClientError) -> Answer:
    """Nothing is served that nobody can bill; the caller had better try again."""
    retry_after = why.retry_after if isinstance(why, UnavailableError) else None
    message = "billing is away; try again in a moment"
    return error(503, "api_error", "billing_unavailable", message, retry_after or _RETRY_AFTER_S)
