"""One Stripe account, through the real SDK: our time-outs and keys, errors sorted by what to do next.

Sources: https://docs.stripe.com/api/idempotent_requests, https://docs.stripe.com/error-handling
"""

from collections.abc import Awaitable, Mapping
from typing import Any, cast

import stripe

from shared.domain.errors import PaygError
from shared.settings import LOCAL_URL, Settings

_TIMEOUT_S = 20.0

#: No word on the payment itself. A wrong key belongs here too: it is put right, and then it goes on.
_COME_BACK = (
    stripe.APIConnectionError,
    stripe.APIError,
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
)


class PaymentUnavailableError(PaygError, ConnectionError):
    """Stripe did not answer, or asks to come back later. Nothing is known of what it did."""


class AnswerRepeatedError(PaymentUnavailableError):
    """Stripe repeats an error of its own from before, and will for a day: ask under another key."""


class PaymentRefusedError(PaygError):
    """Stripe will not do this, now or later: a mistake of ours or of a setting."""


class KeyUsedError(PaymentRefusedError):
    """An idempotency key was used for something else: ask under another one."""


class NoSuchObjectError(PaymentRefusedError):
    """Stripe does not know an object: it is gone, or the API key is that of another account."""


class CardDeclinedError(PaygError):
    """The card was declined; the object that was asked about tells why."""


class StripeConnection:
    """A client of one account. ``base_url`` is only for a fake, and a live key never talks to one.

    ``public_url`` is where Stripe sends people back to.
    """

    def __init__(self, api_key: str, base_url: str | None = None, public_url: str = LOCAL_URL) -> None:
        if base_url and not api_key.startswith("sk_test_"):
            raise PaymentRefusedError("PAYG_STRIPE_API_BASE is for a fake Stripe, which takes only test keys")
        self.public_url = public_url.rstrip("/")
        self.live = not api_key.startswith(("sk_test_", "rk_test_"))
        addresses = {"base_addresses": {"api": base_url}} if base_url else {}
        self.client: Any = stripe.StripeClient(
            api_key,
            max_network_retries=0,  # whoever asks tries again, with the same keys
            http_client=stripe.HTTPXClient(timeout=_TIMEOUT_S),
            **cast("Any", addresses),
        )

    async def call(self, request: Awaitable[Any]) -> Any:  # noqa: ANN401 - a Stripe object
        """Return Stripe's answer.

        Raises CardDeclinedError, PaymentUnavailableError, PaymentRefusedError, and the special cases of both.
        """
        try:
            return await request
        except stripe.CardError as error:
            raise CardDeclinedError(str(error.user_message or error)) from error
        except _COME_BACK as error:
            unavailable = AnswerRepeatedError if _is_repeated(error) else PaymentUnavailableError
            raise unavailable(f"Stripe did not do it: {error}") from error
        except stripe.IdempotencyError as error:
            raise KeyUsedError(f"an idempotency key was used for something else: {error}") from error
        except stripe.InvalidRequestError as error:
            refused = NoSuchObjectError if error.code == "resource_missing" else PaymentRefusedError
            raise refused(f"Stripe refuses: {error}") from error
        except stripe.StripeError as error:
            raise PaymentRefusedError(f"Stripe refuses: {error}") from error


def is_replay(headers: Mapping[str, str] | None) -> bool:
    """Whether an answer with these headers was given before, under the same idempotency key."""
    return (headers or {}).get("idempotent-replayed") == "true"


def _is_repeated(error: stripe.StripeError) -> bool:
    return (error.http_status or 0) >= 500 and is_replay(error.headers)


def configured_connection(settings: Settings) -> StripeConnection | None:
    """Return the Stripe account that the settings name, or None where payments are off."""
    if settings.stripe_api_key is None:
        return None
    return StripeConnection(
        settings.stripe_api_key.get_secret_value(), settings.stripe_api_base, settings.public_url
    )


def id_of(reference: Any) -> str | None:  # noqa: ANN401 - an id, or the object it stands for
    """Return the id in a field of a Stripe object that is an id or, expanded, the object itself."""
    if reference is None:
        return None
    return reference if isinstance(reference, str) else str(reference.id)
