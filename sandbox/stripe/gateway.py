"""The way of a request: faults, authentication, idempotency, check of the parameters, execution, answer."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from fastapi import Request, Response

from sandbox.stripe import form
from sandbox.stripe.accounts import account_of
from sandbox.stripe.call import API_VERSION, Call
from sandbox.stripe.clock import Clock
from sandbox.stripe.connection import Hangup
from sandbox.stripe.courier import Courier
from sandbox.stripe.errors import ApiError
from sandbox.stripe.expansion import expand
from sandbox.stripe.faults import Disturbance, Faults
from sandbox.stripe.idempotency import Answer, IdempotencyKeys, KeyedRequest
from sandbox.stripe.objects import JsonObject, new_id, public
from sandbox.stripe.outbox import Outbox
from sandbox.stripe.parameters import Schema, check
from sandbox.stripe.store import Store

REQUESTS_KEPT = 20_000


@dataclass(frozen=True)
class Endpoint:
    """A method and a path of the API, what it accepts, and what it does.

    `run` takes the call, the checked parameters and the ids in the path.
    """

    method: str
    path: str
    accepts: Schema
    run: Callable[..., JsonObject]


class Gateway:
    """Serves the endpoints of one stand-in."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.outbox = Outbox(store)
        self.courier = Courier(self.outbox, self.clock)
        self.faults = Faults()
        self.keys = IdempotencyKeys(store, self.clock)
        self.requests: deque[JsonObject] = deque(maxlen=REQUESTS_KEPT)

    async def serve(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request, or cut its connection where a fault says so."""
        encoded = (await request.body()).decode() if request.method == "POST" else request.url.query
        record = _record(request, encoded)
        self.requests.append(record)
        disturbance = self.faults.disturb(request.method, request.url.path)
        if disturbance.lose_request:
            return Hangup()
        request_id = new_id("req")
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        try:
            answer = await self._answer(endpoint, request, encoded, request_id, key, disturbance)
        except ApiError as error:
            answer = _error_answer(error, request_id)
        record["status"] = answer.status
        return Hangup() if disturbance.lose_response else _response(answer, request_id, key)

    def call(
        self,
        account: str,
        request: Request,
        *,
        request_id: str | None = None,
        key: str | None = None,
        hold: Callable[[], bool] = lambda: False,
    ) -> Call:
        """Return what an endpoint works with; an order of `/_control/` has neither request id nor key."""
        return Call(
            store=self.store,
            outbox=self.outbox,
            account=account,
            request_id=request_id,
            idempotency_key=key,
            now_s=self.clock.now_s(),
            base_url=str(request.base_url).rstrip("/"),
            hold=hold,
        )

    async def _answer(
        self,
        endpoint: Endpoint,
        request: Request,
        encoded: str,
        request_id: str,
        key: str | None,
        disturbance: Disturbance,
    ) -> Answer:
        _raise(disturbance.error_in("before"))
        account = account_of(request.headers)
        given = form.decode(encoded)
        call = self.call(account, request, request_id=request_id, key=key, hold=disturbance.hold)
        if key is None:
            accepted = check(given, endpoint.accepts)
            await asyncio.sleep(disturbance.delay_s)
            return self._execute(endpoint, call, accepted, request.path_params, None, disturbance)
        keyed = KeyedRequest(account, key, request.url.path, _fingerprint(given))
        earlier = self.keys.earlier_answer(keyed)
        if earlier is not None:
            await asyncio.sleep(disturbance.delay_s)
            _raise(disturbance.error_in("during") or disturbance.error_in("after"))
            return earlier
        accepted = check(given, endpoint.accepts)
        with self.keys.in_flight(keyed):
            await asyncio.sleep(disturbance.delay_s)
            return self._execute(endpoint, call, accepted, request.path_params, keyed, disturbance)

    def _execute(
        self,
        endpoint: Endpoint,
        call: Call,
        given: JsonObject,
        ids: Mapping[str, str],
        keyed: KeyedRequest | None,
        disturbance: Disturbance,
    ) -> Answer:
        """Do it and keep the answer, in one transaction: a crash leaves both or neither."""
        with self.store.transaction():
            answer = _run(endpoint, call, given, ids, disturbance)
            if keyed is not None:
                self.keys.remember(keyed, answer)
        return answer


def _run(
    endpoint: Endpoint, call: Call, given: JsonObject, ids: Mapping[str, str], disturbance: Disturbance
) -> Answer:
    """Return the answer, be it an error: the traces of a decline stay.

    Raises `ApiError` where the answer cannot be expanded as asked, which undoes all.
    """
    request_id = str(call.request_id)
    try:
        _raise(disturbance.error_in("during"))
        done = public(endpoint.run(call, given, *ids.values()))
        _raise(disturbance.error_in("after"))
    except ApiError as error:
        return _error_answer(error, request_id)
    return Answer(200, json.dumps(expand(call, done, given.get("expand", []))), request_id)


def _raise(error: ApiError | None) -> None:
    if error is not None:
        raise error


def _record(request: Request, encoded: str) -> JsonObject:
    """Return what is remembered of a request: its parameters are pairs of name and value, as they came."""
    try:
        account = account_of(request.headers)
    except ApiError:
        account = None
    return {
        "account": account,
        "method": request.method,
        "path": request.url.path,
        "parameters": parse_qsl(encoded, keep_blank_values=True),
        "idempotency_key": request.headers.get("idempotency-key"),
        "version": request.headers.get("stripe-version"),
        "status": None,
    }


def _fingerprint(given: JsonObject) -> str:
    return hashlib.sha256(json.dumps(sorted(form.flattened(given))).encode()).hexdigest()


def _error_answer(error: ApiError, request_id: str) -> Answer:
    return Answer(error.status, json.dumps({"error": error.error}), request_id)


def _response(answer: Answer, request_id: str, key: str | None) -> Response:
    headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
    if key is not None:
        headers["Idempotency-Key"] = key
    if answer.request_id != request_id:
        headers |= {"Idempotent-Replayed": "true", "Original-Request": answer.request_id}
    return Response(answer.body, answer.status, headers, "application/json")
