"""For services that ask payg: may this request be served, and here is what it used.

An OpenAI-compatible gateway in FastAPI needs two lines of it:

    client = PaygClient("http://127.0.0.1:8080", "sk-…")  # a key made with `payg key create --service`
    app.add_middleware(BillingMiddleware, client=client)

Imports nothing else of payg: it can be copied into a service of its own.
"""

from payg_client.callers import Caller, bearer_of
from payg_client.client import Hold, PaygClient
from payg_client.errors import PaygClientError, PaymentRequiredError, RefusedError, UnavailableError
from payg_client.events import usage_event
from payg_client.middleware import BillingMiddleware
from payg_client.tokens import estimate_input_tokens, tokens_of_usage

__all__ = [
    "BillingMiddleware",
    "Caller",
    "Hold",
    "PaygClient",
    "PaygClientError",
    "PaymentRequiredError",
    "RefusedError",
    "UnavailableError",
    "bearer_of",
    "estimate_input_tokens",
    "tokens_of_usage",
    "usage_event",
]
