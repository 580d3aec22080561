"""A callback for LiteLLM's proxy.

In a file beside its ``config.yaml``, which names it in ``litellm_settings: {callbacks: [that_file.payg]}``:

    from payg_client import PaygClient
    from payg_client.litellm import PaygLogger

    payg = PaygLogger(PaygClient("http://127.0.0.1:8080", "sk-…"))

A key of LiteLLM, or its team, says who pays: ``metadata: {"payg_api_key_id": "key_…"}``.

Needs the extra ``litellm``, which pins the version that this was tried with. A hold is not extended: a call
that takes longer than a hold lives is billed all the same, but not held in its last part.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any
from uuid import uuid4

from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import ProxyException
from pydantic import BaseModel

from payg_client import answers
from payg_client.asked import ENDPOINTS, BadRequestError, Endpoint, Estimator, bound_output
from payg_client.client import Hold, PaygClient
from payg_client.errors import PaygClientError, RefusedError, error_in
from payg_client.events import usage_event
from payg_client.tokens import estimate_input_tokens, tokens_of_usage

log = logging.getLogger(__name__)

_CHAT = ENDPOINTS["/v1/chat/completions"]
_RESPONSES = ENDPOINTS["/v1/responses"]
_BILLED: Mapping[str, Endpoint] = {
    "completion": _CHAT,
    "acompletion": _CHAT,
    "text_completion": ENDPOINTS["/v1/completions"],
    "atext_completion": ENDPOINTS["/v1/completions"],
    "embedding": ENDPOINTS["/v1/embeddings"],
    "aembedding": ENDPOINTS["/v1/embeddings"],
    "responses": _RESPONSES,
    "aresponses": _RESPONSES,
    "anthropic_messages": Endpoint(("max_tokens",)),
}
_REQUEST = "payg_request"
_FORGOTTEN_AFTER_S = 3600.0


@dataclass(slots=True)
class _Served:
    """A request that LiteLLM serves. ``hold`` is None once it was given back or its usage was sent."""

    hold: Hold | None
    api_key_id: str
    model: str
    began_at: datetime
    began_s: float
    records: int = 0


def key_of(user_api_key: Any) -> str | None:  # noqa: ANN401 - LiteLLM's UserAPIKeyAuth
    """Return whose key in payg pays for a key of LiteLLM: what its metadata say, or those of its team."""
    for metadata in (user_api_key.metadata, user_api_key.team_metadata):
        if named := (metadata or {}).get("payg_api_key_id"):
            return str(named)
    return None


class PaygLogger(CustomLogger):  # type: ignore[misc, unused-ignore] # is Any where LiteLLM is not installed
    """Authorises before a call, and sends what LiteLLM says it used. An answer from LiteLLM's cache is free.

    ``key_of`` names the payer of a LiteLLM key; the rest is as for BillingMiddleware.
    """

    def __init__(
        self,
        client: PaygClient,
        *,
        key_of: Callable[[Any], str | None] = key_of,
        provider: str | None = None,
        estimate: Estimator = estimate_input_tokens,
        max_output_tokens: int = 4096,
        fail_open: bool = False,
    ) -> None:
        super().__init__()
        self._client = client
        self._key_of = key_of
        self._provider = provider
        self._estimate = estimate
        self._max_output_tokens = max_output_tokens
        self._fail_open = fail_open
        self._served: dict[str, _Served] = {}

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,  # noqa: ANN401 - LiteLLM's types
        cache: Any,  # noqa: ANN401, ARG002
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any] | None:
        """Hold the most that a call can cost, or answer why not."""
        endpoint = _BILLED.get(call_type)
        if endpoint is None:
            return None
        api_key_id = self._key_of(user_api_key_dict)
        if api_key_id is None:
            message = "this key has no payg_api_key_id in its metadata"
            raise _AnswerError(answers.error(403, "permission_error", "no_payer", message))
        hold = await self._hold(api_key_id, endpoint, data)
        self._forget_old()
        request = uuid4().hex
        began = datetime.now(UTC), monotonic()
        self._served[request] = _Served(hold, api_key_id, str(data["model"]), *began)
        # Unguessable, and known to this process alone: what a caller writes there himself is nothing.
        _metadata_of(data)[_REQUEST] = request
        return data

    async def async_log_success_event(
        self,
        kwargs: Mapping[str, Any],
        response_obj: Any,  # noqa: ANN401
        start_time: object,  # noqa: ARG002
        end_time: object,  # noqa: ARG002
    ) -> None:
        """Send what a call used; a stream's once, when it is over or its caller has gone."""
        request = self._request_in(kwargs.get("litellm_params") or {})
        served = self._served.pop(request, None)
        if served is None:
            return
        tokens = None if kwargs.get("cache_hit") else _tokens(kwargs, response_obj)
        if tokens is None:
            await self._release(served)
        else:
            self._send(request, served, tokens, getattr(response_obj, "id", None))

    async def async_log_failure_event(
        self,
        kwargs: Mapping[str, Any],
        response_obj: Any,  # noqa: ANN401
        start_time: object,  # noqa: ARG002
        end_time: object,  # noqa: ARG002
    ) -> None:
        """Send what a stream used before it broke. One attempt failed; another may follow under the hold."""
        request = self._request_in(kwargs.get("litellm_params") or {})
        served, tokens = self._served.get(request), _tokens(kwargs, response_obj)
        if served is not None and tokens is not None and any(tokens.values()):
            self._send(request, served, tokens, None)

    async def async_post_call_failure_hook(
        self,
        request_data: Mapping[str, Any],
        original_exception: Exception,  # noqa: ARG002
        user_api_key_dict: Any,  # noqa: ANN401, ARG002
        traceback_str: str | None = None,  # noqa: ARG002
    ) -> None:
        """Give the hold back: all attempts failed."""
        served = self._served.get(self._request_in(request_data))
        if served is not None:
            await self._release(served)

    async def _hold(self, api_key_id: str, endpoint: Endpoint, data: dict[str, Any]) -> Hold | None:
        try:
            return await self._client.authorize(
                model=str(data["model"]),
                provider=self._provider,
                input_tokens=self._estimate(data),
                max_output_tokens=bound_output(data, endpoint, self._max_output_tokens),
                api_key_id=api_key_id,
            )
        except BadRequestError as error:
            raise _AnswerError(answers.bad_request(error)) from None
        except RefusedError as error:
            if error.status in (401, 403):
                log.error("payg refuses this proxy's own key: %s", error)  # noqa: TRY400 - all is said
                raise _AnswerError(answers.unavailable(error)) from error
            raise _AnswerError(answers.refusal(error)) from error
        except PaygClientError as error:
            log.error("payg is away: %s", error)  # noqa: TRY400
            if self._fail_open:
                return None
            raise _AnswerError(answers.unavailable(error)) from error

    def _send(self, request: str, served: _Served, tokens: Mapping[str, int], response_id: object) -> None:
        event = usage_event(
            id=f"req_{request}.{served.records}" if served.records else f"req_{request}",
            model=served.model,
            source=self._client.source,
            time=served.began_at,
            api_key_id=served.api_key_id,
            provider=self._provider,
            hold_id=served.hold.hold_id if served.hold else None,
            metadata={"response_id": response_id if isinstance(response_id, str) else None},
            **tokens,
        )
        served.records += 1
        served.hold = None
        self._client.send_usage(event)

    async def _release(self, served: _Served) -> None:
        hold, served.hold = served.hold, None
        if hold is None:
            return
        try:
            await self._client.release(hold.hold_id)
        except PaygClientError as error:
            log.warning("hold %s is left to expire: %s", hold.hold_id, error)

    def _request_in(self, of: Mapping[str, Any]) -> str:
        """Return the request that metadata of LiteLLM name, "" where none."""
        found = ((of.get(name) or {}).get(_REQUEST) for name in ("litellm_metadata", "metadata"))
        return next((request for request in found if request in self._served), "")

    def _forget_old(self) -> None:
        """Forget requests of which LiteLLM never told an end; their holds have expired."""
        long_ago_s = monotonic() - _FORGOTTEN_AFTER_S
        while self._served and next(iter(self._served.values())).began_s < long_ago_s:
            del self._served[next(iter(self._served))]


def _metadata_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return where LiteLLM keeps what is its own: not always ``metadata``, which some calls hand on."""
    name = "litellm_metadata" if isinstance(data.get("litellm_metadata"), dict) else "metadata"
    if not isinstance(data.get(name), dict):
        data[name] = {}
    metadata: dict[str, Any] = data[name]
    return metadata


def _tokens(kwargs: Mapping[str, Any], response: object) -> dict[str, int] | None:
    """Return what LiteLLM counted: in its payload for loggers, or else in the response."""
    payload = kwargs.get("standard_logging_object") or {}
    for usage in ((payload.get("metadata") or {}).get("usage_object"), getattr(response, "usage", None)):
        dumped = usage.model_dump() if isinstance(usage, BaseModel) else usage
        if isinstance(dumped, Mapping) and (tokens := tokens_of_usage(dumped)) is not None:
            return tokens
    return None


class _AnswerError(ProxyException):  # type: ignore[misc, unused-ignore] # is Any where LiteLLM is not installed
    """An answer that leaves LiteLLM's proxy in payg's own words, its code not replaced by the status."""

    def __init__(self, answer: answers.Answer) -> None:
        self._error = error_in(answer.body)
        headers = {"Retry-After": answer.retry_after} if answer.retry_after is not None else {}
        message, type_ = self._error.get("message", "refused"), self._error.get("type", "api_error")
        super().__init__(message, type_, None, answer.status, headers)

    def to_dict(self) -> dict[str, Any]:
        return self._error or dict(super().to_dict())
