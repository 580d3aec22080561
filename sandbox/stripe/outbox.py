"""Webhook endpoints and what is still to be sent to them, kept with the objects they tell of.

An event and its deliveries are one transaction, so that a crash loses neither.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from sandbox.stripe.objects import JsonObject, new_id
from sandbox.stripe.signatures import Signature
from sandbox.stripe.store import Store

_DELIVERIES = """
SELECT delivery.seq, delivery.endpoint, delivery.state, delivery.statuses, object.account, object.body
FROM delivery JOIN object ON object.id = delivery.event
WHERE (:endpoint IS NULL OR delivery.endpoint = :endpoint)
  AND (:state IS NULL OR delivery.state = :state)
  AND (:due_s IS NULL OR delivery.due_s <= :due_s)
ORDER BY delivery.seq
"""


class WebhookEndpoint(BaseModel):
    """Where events are sent, and how this is disturbed.

    `account` None stands for all accounts; `events` are types, `*` for any text in one. What happens while
    `hold` is kept back, what happens while `down` is never sent. `copies` of each event are sent, one after
    the other or `at_once`, each delivery `delay_ms` after its event, and again where no 2xx came back, after
    `retry_ms` and then twice as long each time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    secrets: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    id: str = Field(default_factory=lambda: new_id("we"))
    account: str | None = None
    events: tuple[str, ...] = ("*",)
    enabled: bool = True
    hold: bool = False
    down: bool = False
    copies: Annotated[int, Field(ge=1)] = 1
    at_once: bool = False
    delay_ms: Annotated[int, Field(ge=0)] = 0
    retry_ms: Annotated[int, Field(ge=1)] = 100
    signature: Signature = "valid"

    def wants(self, account: str, kind: str) -> bool:
        """Whether an event of an account is sent here."""
        ours = self.account in {None, account}
        return self.enabled and ours and any(fnmatchcase(kind, pattern) for pattern in self.events)


@dataclass(frozen=True)
class Delivery:
    """An event on its way; `statuses` are the HTTP statuses of the attempts so far, 0 where none came."""

    seq: int
    endpoint: str
    state: str
    statuses: list[int]
    account: str
    event: JsonObject


class Outbox:
    """Endpoints and deliveries of one stand-in; `changed` is set when there may be something to send."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.changed = asyncio.Event()

    def endpoints(self) -> list[WebhookEndpoint]:
        """Return the endpoints, the oldest first."""
        rows = self._store.db.execute("SELECT body FROM webhook_endpoint ORDER BY seq")
        return [WebhookEndpoint.model_validate_json(body) for (body,) in rows]

    def endpoint(self, endpoint_id: str) -> WebhookEndpoint | None:
        """Return one endpoint."""
        return next((each for each in self.endpoints() if each.id == endpoint_id), None)

    def keep(self, endpoint: WebhookEndpoint) -> None:
        """Add or change an endpoint; what waits goes out when it holds no more, never when it is down."""
        self._store.db.execute(
            "INSERT INTO webhook_endpoint (id, body) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (endpoint.id, endpoint.model_dump_json()),
        )
        if endpoint.down:
            self._store.db.execute(
                "UPDATE delivery SET state = 'dropped' WHERE endpoint = ? AND state IN ('pending', 'held')",
                (endpoint.id,),
            )
        elif not endpoint.hold:
            self._store.db.execute(
                "UPDATE delivery SET state = 'pending' WHERE endpoint = ? AND state = 'held'", (endpoint.id,)
            )
            self.changed.set()

    def remove(self, endpoint_id: str) -> None:
        """Forget an endpoint and all that was to be sent there."""
        self._store.db.execute("DELETE FROM delivery WHERE endpoint = ?", (endpoint_id,))
        self._store.db.execute("DELETE FROM webhook_endpoint WHERE id = ?", (endpoint_id,))

    def queue(self, account: str, event: JsonObject) -> int:
        """Note a delivery for each endpoint that wants the event; returns how many."""
        wanting = [each for each in self.endpoints() if each.wants(account, event["type"])]
        for endpoint in wanting:
            state = "dropped" if endpoint.down else "held" if endpoint.hold else "pending"
            self._store.db.execute(
                "INSERT INTO delivery (endpoint, event, state, due_s) VALUES (?, ?, ?, ?)",
                (endpoint.id, event["id"], state, time.time() + endpoint.delay_ms / 1000),
            )
        if wanting:
            self.changed.set()
        return len(wanting)

    def deliveries(
        self, endpoint_id: str | None = None, state: str | None = None, due_s: float | None = None
    ) -> list[Delivery]:
        """Return deliveries in the order of their events; `due_s` are unix seconds of the machine."""
        rows = self._store.db.execute(
            _DELIVERIES, {"endpoint": endpoint_id, "state": state, "due_s": due_s}
        ).fetchall()
        return [_delivery(row) for row in rows]

    def next_due_s(self) -> float | None:
        """Return when the next pending delivery is due."""
        row = self._store.db.execute("SELECT min(due_s) FROM delivery WHERE state = 'pending'").fetchone()
        return None if row[0] is None else float(row[0])

    def attempted(self, delivery: Delivery, statuses: list[int], state: str, due_s: float) -> None:
        """Note what came back; `state` is pending where it is to be sent again at `due_s`."""
        with self._store.transaction():
            self._store.db.execute(
                "UPDATE delivery SET state = ?, due_s = ?, statuses = ? WHERE seq = ?",
                (state, due_s, json.dumps(delivery.statuses + statuses), delivery.seq),
            )
            event = self._store.get(delivery.account, "event", delivery.event["id"])
            if event is not None and state == "delivered":
                event["pending_webhooks"] -= 1
                self._store.put(delivery.account, event)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    seq, endpoint, state, statuses, account, event = row
    return Delivery(seq, endpoint, state, json.loads(statuses), account, json.loads(event))
