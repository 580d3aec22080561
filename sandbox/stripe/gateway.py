"""The way of a request: faults, authentication, idempotency, check of the parameters, execution, answer."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response

from sandbox.stripe import form
from sandbox.stripe.call import API_VERSION, Call
from sandbox.stripe.connection import Hangup
from sandbox.stripe.errors import ApiError, invalid_request
from sandbox.stripe.expansion import expand
from sandbox.stripe.faults import Disturbance, Faults
from sandbox.stripe.idempotency import Answer, IdempotencyKeys, KeyedRequest
from sandbox.stripe.objects import JsonObject, new_id, public
from sandbox.stripe.parameters import Schema, check
from sandbox.stripe.store import Store


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
        self.faults = Faults()
        self.keys = IdempotencyKeys(store)

    async def serve(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer a request, or cut its connection where a fault says so."""
        encoded = request.url.query if request.method == "GET" else (await request.body()).decode()
        disturbance = self.faults.disturb(request.method, request.url.path)
        if disturbance.lose_request:
            return Hangup()
        request_id = new_id("req")
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        try:
            answer = await self._answer(endpoint, request, encoded, request_id, key, disturbance)
        except ApiError as error:
            answer = _error_answer(error, request_id)
        return Hangup() if disturbance.lose_response else _response(answer, request_id, key)

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
        account = _account(request.headers)
        given = form.decode(encoded)
        call = Call(
            store=self.store,
            account=account,
            request_id=request_id,
            idempotency_key=key,
            now_s=int(time.time()),
            base_url=str(request.base_url).rstrip("/"),
            hold=disturbance.hold,
        )
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


def _account(headers: Mapping[str, str]) -> str:
    """Return the account of a secret test key; each key is an account of its own."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if not key or scheme.lower() != "bearer":
        message = (
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
        raise invalid_request(message, status=401)
    if not key.startswith("sk_test_") or key == "sk_test_":
        raise invalid_request(f"Invalid API Key provided: {key[:8]}****", status=401)
    return "acct_" + hashlib.sha256(key.encode()).hexdigest()[:16]


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
