"""ASGI middleware for OpenAI-compatible endpoints: nothing is served that is not paid.

A request is held at the most it can cost before it reaches the application; what its answer says it used is
sent to payg, an aborted stream's too; where nothing was produced the hold is given back. Streams pass as they
come.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payg_client import answers
from payg_client.asked import ENDPOINTS, Asked, BadRequestError, Endpoint, Estimator, read_request
from payg_client.call import Call
from payg_client.callers import Caller, KnownCallers, bearer_of
from payg_client.client import Hold, PaygClient
from payg_client.errors import PaygClientError, RefusedError
from payg_client.holding import Background, Holding
from payg_client.tokens import estimate_input_tokens

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 32 * 1024 * 1024


class _AnswersError(Exception):
    """The middleware answers itself."""

    def __init__(self, answer: answers.Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class BillingMiddleware:
    """Bills what passes the paths of ``endpoints``; a path that is not among them is not billed.

    - ``caller`` says whose request it is, None to answer 401: by default the bearer key of the request, which
      is a key that payg gave out. Where callers have keys of the gateway's own, return
      ``Caller(api_key_id=…)``.
    - ``provider`` of the models, as the price list names it; None finds the model by its name alone.
    - ``estimate`` returns about the most input tokens of a body; it also counts the input where a stream was
      aborted before it told its usage.
    - ``max_output_tokens`` bounds the output of a request that names no bound itself; it is written into it.
    - ``fail_open`` serves those who were served in the last hour while payg is away, without a hold. Else
      they are answered 503.

    The application finds the hold of a request in ``scope["payg_hold"]``. The client is closed with it.
    """

    def __init__(  # noqa: PLR0913 - settings, each by its name
        self,
        app: ASGIApp,
        client: PaygClient,
        *,
        caller: Callable[[Scope], Caller | None] = bearer_of,
        provider: str | None = None,
        estimate: Estimator = estimate_input_tokens,
        max_output_tokens: int = 4096,
        endpoints: Mapping[str, Endpoint] = ENDPOINTS,
        fail_open: bool = False,
    ) -> None:
        self._app = app
        self._client = client
        self._caller = caller
        self._provider = provider
        self._estimate = estimate
        self._max_output_tokens = max_output_tokens
        self._endpoints = endpoints
        self._fail_open = fail_open
        self._known = KnownCallers()
        self._background = Background()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
            return
        endpoint = self._endpoint_of(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        began_at = datetime.now(UTC)
        try:
            caller = self._caller_of(scope)
            asked = await self._read(receive, endpoint)
            if asked is None:
                return  # the caller went before it had asked
            hold, api_key_id = await self._hold(caller, asked)
        except _AnswersError as error:
            await error.answer.send(send)
            return
        await self._serve(Call(scope, receive, send, asked, hold, api_key_id, began_at))

    def _endpoint_of(self, scope: Scope) -> Endpoint | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = "/" + "/".join(part for part in scope["path"].split("/") if part)
        return self._endpoints.get(path)

    def _caller_of(self, scope: Scope) -> Caller:
        caller = self._caller(scope)
        if caller is None:
            raise _AnswersError(answers.NO_KEY)
        return caller

    async def _read(self, receive: Receive, endpoint: Endpoint) -> Asked | None:
        body = await _body(receive)
        if body is None:
            return None
        try:
            return read_request(body, endpoint, self._estimate, self._max_output_tokens)
        except BadRequestError as error:
            raise _AnswersError(answers.bad_request(error)) from None

    async def _hold(self, caller: Caller, asked: Asked) -> tuple[Hold | None, str]:
        """Return the hold of a request, and whose key it came under."""
        try:
            hold = await self._client.authorize(
                model=asked.model,
                provider=self._provider,
                input_tokens=asked.input_tokens,
                max_output_tokens=asked.max_output_tokens,
                secret=caller.secret,
                api_key_id=caller.api_key_id,
            )
        except RefusedError as error:
            self._known.forget(caller)
            if caller.secret is None and error.status in (401, 403):
                log.error("payg refuses this gateway's own key: %s", error)  # noqa: TRY400 - all is said
                raise _AnswersError(answers.unavailable(error)) from error
            raise _AnswersError(answers.refusal(error)) from error
        except PaygClientError as error:
            known = self._known.api_key_id(caller) if self._fail_open else None
            log.error("payg is away, the request is %s: %s", "served" if known else "refused", error)  # noqa: TRY400
            if known is None:
                raise _AnswersError(answers.unavailable(error)) from error
            return None, known
        self._known.note(caller, hold)
        return hold, hold.api_key_id

    async def _serve(self, call: Call) -> None:
        holding = Holding(self._client, call.hold, self._background) if call.hold else None
        try:
            await self._app(call.inner_scope(), call.receive, call.send)
        finally:
            event = call.event(self._client.source, self._provider)
            if event is not None:
                self._client.send_usage(event)
            if holding is not None:
                holding.end() if event else holding.give_back()

    def _closing(self, send: Send) -> Send:
        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._background.done()
                await self._client.aclose()
            await send(message)

        return closing


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request, None where its caller went away."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY_BYTES:
            raise _AnswersError(answers.TOO_LARGE)
        if not message.get("more_body", False):
            return b"".join(parts)
