"""What a request of OpenAI's API asks for, and how far it may go. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from payg_client.errors import PaygClientError

#: Returns about the most input tokens that a request's body has.
Estimator = Callable[[Mapping[str, Any]], int]


class Endpoint(NamedTuple):
    """One path of the API.

    ``limits`` are the fields that bound the output, first the one that is set where a request has none;
    ``default`` is the API's own bound then, None where there is none.
    """

    limits: tuple[str, ...] = ()
    default: int | None = None
    has_stream_options: bool = False


ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(("max_completion_tokens", "max_tokens"), has_stream_options=True),
    "/v1/completions": Endpoint(("max_tokens",), 16, has_stream_options=True),
    "/v1/responses": Endpoint(("max_output_tokens",)),
    "/v1/embeddings": Endpoint(),
}


class BadRequestError(PaygClientError):
    """The request cannot be read, so that nobody could say what it costs."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what it may cost, and its body as it is handed on.

    ``hides_usage`` where the stream is made to tell its usage although the caller did not ask for it.
    """

    model: str
    input_tokens: int
    max_output_tokens: int
    body: bytes
    hides_usage: bool


def read_request(raw: bytes, endpoint: Endpoint, estimate: Estimator, max_output_tokens: int) -> Asked:
    """Return what a body asks for. It is handed on with a bound on its output, and tells its usage.

    ``max_output_tokens`` is for requests that name no bound themselves. Raises BadRequestError.
    """
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is no JSON object: {error}") from None
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequestError("model: say which")
    if body.get("background"):
        raise BadRequestError("background: what is not answered here cannot be billed here")
    most = bound_output(body, endpoint, max_output_tokens)
    hides_usage = endpoint.has_stream_options and _tell_usage(body)
    return Asked(model, estimate(body), most, msgspec.json.encode(body), hides_usage)


def bound_output(body: dict[str, Any], endpoint: Endpoint, max_output_tokens: int) -> int:
    """Return the most output tokens that a request can have; where it names no bound, give it one.

    Raises BadRequestError for a bound that is none.
    """
    if not endpoint.limits:
        return 0
    return _limit(body, endpoint, max_output_tokens) * _answers(body)


def _limit(body: dict[str, Any], endpoint: Endpoint, max_output_tokens: int) -> int:
    """Return the bound on the output of one answer, and set it where there is none."""
    limits = [_whole(body, name) for name in endpoint.limits if body.get(name) is not None]
    if limits:
        return max(limits)
    limit = min(endpoint.default or max_output_tokens, max_output_tokens)
    for name in endpoint.limits[:1]:
        body[name] = limit
    return limit


def _answers(body: Mapping[str, Any]) -> int:
    """Return how many answers of one bound each are made: choices for every prompt."""
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and not all(isinstance(p, int) for p in prompt) else 1
    choices = [_whole(body, name) for name in ("n", "best_of") if body.get(name) is not None]
    return prompts * max([1, *choices])


def _whole(body: Mapping[str, Any], name: str) -> int:
    value = body[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadRequestError(f"{name}: a whole number, 0 or more")
    return value


def _tell_usage(body: dict[str, Any]) -> bool:
    """Let a stream tell its usage; return whether the caller had not asked for that."""
    if not body.get("stream"):
        return False
    options = body.get("stream_options")
    asked = dict(options) if isinstance(options, dict) else {}
    body["stream_options"] = asked | {"include_usage": True}
    return asked.get("include_usage") is not True
