"""One request as its endpoint sees it: whose it is, when it came, and what it may read and write."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.stripe.errors import invalid_request
from sandbox.stripe.objects import JsonObject, new_id, public
from sandbox.stripe.outbox import Outbox
from sandbox.stripe.store import Page, Store

API_VERSION = "2026-10-28.endive"

_SPOKEN = {"payment_method": "PaymentMethod"}
_IN_PATH = frozenset({"id", "intent", "session"})


@dataclass(frozen=True)
class Call:
    """A request of `account`, at `now_s` (unix seconds).

    `hold` tells, once for each attempt to charge, whether that attempt is to stay in `processing`.
    `base_url` is how the client reaches this server.
    """

    store: Store
    outbox: Outbox
    account: str
    request_id: str | None
    idempotency_key: str | None
    now_s: int
    base_url: str
    hold: Callable[[], bool] = lambda: False

    def find(self, kind: str, object_id: str, param: str) -> JsonObject:
        """Return an object of the account; raises `ApiError` resource_missing: 404 for one in the path."""
        found = self.store.get(self.account, kind, object_id)
        if found is None or found.get("deleted", False):
            raise invalid_request(
                f"No such {_SPOKEN.get(kind, kind)}: '{object_id}'",
                "resource_missing",
                param,
                status=404 if param in _IN_PATH else 400,
            )
        return found

    def those(self, kind: str, **only: object) -> list[JsonObject]:
        """Return the objects of a kind whose fields are these, the newest first."""
        return self.store.page(Page(self.account, kind, limit=-1, only=json.dumps(only)))

    def save(self, stored: JsonObject) -> None:
        """Add or replace an object of the account."""
        self.store.put(self.account, stored)

    def emit(self, kind: str, about: JsonObject) -> None:
        """Append an event with the object as it is now, and leave it for the webhooks to tell.

        Source: docs.stripe.com/api/events/object.
        """
        event: JsonObject = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now_s,
            "data": {"object": json.loads(json.dumps(public(about)))},
            "livemode": False,
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": kind,
        }
        self.save(event | {"pending_webhooks": self.outbox.queue(self.account, event)})
