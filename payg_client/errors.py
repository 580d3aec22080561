"""What can come of asking payg."""

from typing import Any

import httpx
import msgspec


class PaygClientError(Exception):
    """Payg did not do what it was asked."""


class UnavailableError(PaygClientError):
    """Payg is away, or cannot work now; ``retry_after`` is what it said, in seconds, None where nothing."""

    def __init__(self, message: str, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RefusedError(PaygClientError):
    """Payg refused; ``body`` and ``retry_after`` are its answer as it came, to be handed on."""

    def __init__(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        self.status = status
        self.body = body
        self.retry_after = retry_after
        self.error = error_in(body)
        super().__init__(f"{status} {self.code}: {self.error.get('message', body[:200])}")

    @property
    def code(self) -> str | None:
        """Say why, for programs: `insufficient_balance`, `unknown_model` and so on."""
        return self.error.get("code")


class PaymentRequiredError(RefusedError):
    """402: the request cannot be paid. The code tells what would help."""


def raise_for(answer: httpx.Response) -> None:
    """Raise the error that an answer is, if it is one."""
    if answer.is_success:
        return
    retry_after = answer.headers.get("Retry-After")
    if answer.status_code >= 500 or answer.status_code < 400:
        raise UnavailableError(f"payg answered {answer.status_code}", retry_after)
    kind = PaymentRequiredError if answer.status_code == 402 else RefusedError
    raise kind(answer.status_code, answer.content, retry_after)


def error_in(body: bytes) -> dict[str, Any]:
    """Return message, type and code of an answer; nothing where it has another shape."""
    try:
        return msgspec.json.decode(body, type=dict[str, dict[str, Any]])["error"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return {}
