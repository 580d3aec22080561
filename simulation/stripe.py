"""Stripe's stand-in in this process, behind the real SDK: requests and answers get lost, banks have moods."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import stripe
from starlette.requests import Request
from starlette.routing import compile_path
from starlette.types import Message

from sandbox.stripe import attempts, cardholder
from sandbox.stripe.accounts import account_of_key
from sandbox.stripe.call import Call
from sandbox.stripe.cards import INSUFFICIENT_FUNDS
from sandbox.stripe.clock import Clock
from sandbox.stripe.faults import Fault
from sandbox.stripe.gateway import Endpoint, Gateway
from sandbox.stripe.routes import ENDPOINTS
from sandbox.stripe.store import Store
from shared.domain.stripe_event import StripeEvent
from shared.gateways.stripe_connection import StripeConnection
from shared.gateways.stripe_payments import StripePayments
from simulation.scheduler import Scheduler

_KEY, _URL = "sk_test_simulated", "http://stripe.simulated"
_LOST_PERCENT, _BROKEN_PERCENT, _SLOW_PERCENT = 5, 3, 20
_GOOD, _OTHERS_PERCENT = "pm_card_visa", 40
_OTHERS = ("pm_card_chargeCustomerFail", "pm_card_authenticationRequired", "pm_card_chargeDeclinedLostCard")
_PATHS = [(endpoint.method, compile_path(endpoint.path)[0], endpoint) for endpoint in ENDPOINTS]


class SimulatedStripe(httpx.AsyncBaseTransport):
    """One account of Stripe, empty at the start of each run."""

    def __init__(self) -> None:
        connection = StripeConnection(_KEY, _URL)
        client = stripe.HTTPXClient(verify_ssl_certs=False)
        client._client_async = httpx.AsyncClient(transport=self)  # noqa: SLF001 - the SDK takes no transport
        connection.client = stripe.StripeClient(
            _KEY, max_network_retries=0, http_client=client, base_addresses={"api": _URL}
        )
        self.payments = StripePayments(connection)
        #: Events that no webhook has brought yet, oldest first.
        self.untold: list[StripeEvent] = []
        self._account = account_of_key(_KEY)

    def start(self, scheduler: Scheduler, now: Callable[[], datetime]) -> None:
        """Forget everything, for a run in which this scheduler says whose turn it is."""
        self._scheduler = scheduler
        self._gateway = Gateway(Store(Path(":memory:")))
        self._gateway.clock = self._gateway.keys._clock = _RunClock(now)  # noqa: SLF001
        self.untold.clear()
        self._told = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Serve a request of the SDK, unless it is lost on the way or its answer is."""
        scheduler, what = self._scheduler, f"{request.method} {request.url.path}"
        await scheduler.point(what)
        if scheduler.fault(_LOST_PERCENT, f"{what} does not reach Stripe"):
            raise httpx.ConnectError("the request is lost", request=request)
        endpoint, ids = _match(request.method, request.url.path)
        body = await request.aread()
        if request.url.path.endswith("/confirm"):
            self._choose_mood(body)
        if scheduler.fault(_BROKEN_PERCENT, f"{what} fails at Stripe with 500"):
            self._gateway.faults.standing.append(Fault("error", method=request.method))
        answer = await self._gateway.serve(endpoint, _as_received(request, body, ids))
        self._gateway.faults.standing.clear()
        if scheduler.running is not None:
            scheduler.tell(f"{scheduler.running.name}: Stripe answers {answer.status_code} to {what}")
        scheduler.changed = True
        self._note_events()
        if scheduler.fault(_LOST_PERCENT, f"the answer to {what} is lost"):
            raise httpx.ReadError("the answer is lost", request=request)
        return httpx.Response(
            answer.status_code, headers=answer.raw_headers, content=bytes(answer.body), request=request
        )

    def waiting(self, *, owners: bool) -> list[str]:
        """Return intents that wait for a bank or, with ``owners``, for the owner of the card."""
        awaited = ("processing", "requires_action") if owners else ("processing",)
        return [i["id"] for i in self._gateway.store.every("payment_intent") if i["status"] in awaited]

    def go_on(self, intent_id: str) -> None:
        """Let the bank decide a payment in processing, or its owner authenticate, or fail to."""
        call, succeeds = self._call(), not self._scheduler.fault(_OTHERS_PERCENT, f"{intent_id} fails")
        intent = call.find("payment_intent", intent_id, "intent")
        with self._gateway.store.transaction():
            if intent["status"] == "processing":
                method = call.find("payment_method", intent["payment_method"], "payment_method")
                attempts.settle(call, intent, method, None if succeeds else INSUFFICIENT_FUNDS)
            else:
                cardholder.authenticate(call, intent, succeeds=succeeds)
        self._scheduler.tell(f"{intent_id} goes on at Stripe")
        self._scheduler.changed = True
        self._note_events()

    def charged(self) -> Sequence[tuple[str, str, int]]:
        """Return the account, the top-up and the nanos of all payments that succeeded."""
        return [
            (i["metadata"]["account_id"], i["metadata"]["topup_id"], i["amount_received"] * 10**7)
            for i in self._gateway.store.every("payment_intent")
            if i["status"] == "succeeded"
        ]

    def _choose_mood(self, body: bytes) -> None:
        """Let the card be another one for this attempt, or the bank take its time."""
        scheduler = self._scheduler
        card = _GOOD
        if scheduler.faults and scheduler.choices.happens(_OTHERS_PERCENT):
            card = _OTHERS[scheduler.choices.below(len(_OTHERS))]
            scheduler.tell(f"the card is {card}")
        name = httpx.QueryParams(body.decode())["payment_method"]
        method = self._gateway.store.get(self._account, "payment_method", name)
        if method is not None:
            self._gateway.store.put(self._account, method | {"_card": card})
        if scheduler.fault(_SLOW_PERCENT, "the bank takes its time"):
            self._gateway.faults.standing.append(Fault("hold"))

    def _call(self) -> Call:
        gateway = self._gateway
        return Call(gateway.store, gateway.outbox, self._account, None, None, gateway.clock.now_s(), _URL)

    def _note_events(self) -> None:
        events = self._gateway.store.every("event")
        self.untold += [_event(event) for event in events[self._told :]]
        self._told = len(events)


class _RunClock(Clock):
    """Stripe's clock is that of the run."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._now = now

    def now_s(self) -> int:
        return int(self._now().timestamp())


def _match(method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    for of_method, pattern, endpoint in _PATHS:
        if method == of_method and (found := pattern.match(path)):
            return endpoint, found.groupdict()
    raise LookupError(f"{method} {path}")


def _as_received(request: httpx.Request, body: bytes, ids: dict[str, str]) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {
        "type": "http",
        "method": request.method,
        "scheme": "http",
        "server": ("stripe.simulated", 80),
        "path": request.url.path,
        "query_string": request.url.query,
        "headers": headers,
        "path_params": ids,
    }
    return Request(scope, receive)


def _event(event: dict[str, Any]) -> StripeEvent:
    created = datetime.fromtimestamp(event["created"], UTC)
    return StripeEvent(event["id"], event["type"], event["data"]["object"]["id"], created)
