"""Stripe's error answers (docs.stripe.com/api/errors)."""

from sandbox.stripe.objects import JsonObject

_DOCUMENTS = "https://docs.stripe.com/error-codes/"


class ApiError(Exception):
    """An answer that is an error: an HTTP status and the `error` object of its body."""

    def __init__(self, status: int, error: JsonObject) -> None:
        super().__init__(error.get("message"))
        self.status = status
        self.error = error


def api_error(status: int, kind: str, message: str, code: str | None = None, **more: object) -> ApiError:
    """Build an error of type `kind`; fields that are None are left out."""
    error: JsonObject = {"code": code, "message": message, "type": kind, **more}
    if code is not None:
        error["doc_url"] = document_of(code)
    return ApiError(status, {name: value for name, value in error.items() if value is not None})


def invalid_request(
    message: str, code: str | None = None, param: str | None = None, status: int = 400, **more: object
) -> ApiError:
    """Build the error for a request that cannot be right as it is."""
    return api_error(status, "invalid_request_error", message, code, param=param, **more)


def document_of(code: str) -> str:
    """Return the page of Stripe's that explains an error code."""
    return _DOCUMENTS + code.replace("_", "-")
