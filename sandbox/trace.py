"""Real traffic to replay: arrival times and token counts of an hour of a production LLM service.

The trace (see ``data/README.md``) says when a request came and how many tokens it took. Who sent it, to which
model, and what came from a cache is assigned here from a seed: models by a long-tailed choice, each named as
some gateways name it (with its provider, bare, or by a dated alias); a third of the requests read part of
their context from a cache; one in fifty comes from an agent with a long cached context, so that price tiers
above 200,000 tokens are met.
"""

import csv
import gzip
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

from shared.messaging.publisher import usage_event

#: (provider, model) as a gateway reports them; tiered and aliased ones among them.
MODELS: tuple[tuple[str | None, str], ...] = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    (None, "claude-sonnet-4-5-20250929"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    (None, "gpt-4.1"),
    ("openai", "gpt-4.1-mini"),
    ("openai", "gpt-4.1-nano"),
    ("openai", "o3"),
    ("openai", "o4-mini"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-4o-2024-08-06"),
    (None, "gpt-4o-mini-2024-07-18"),
    ("azure", "gpt-4o"),
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-4-1"),
    ("anthropic", "claude-3-haiku"),
    (None, "claude-3-5-haiku-latest"),
    ("anthropic", "claude-sonnet-4-0"),
    ("google", "gemini-2.0-flash"),
    ("google", "gemini-2.5-flash-lite"),
    (None, "gemini-2.5-pro"),
    ("google", "gemini-3-pro-preview"),
    ("mistral", "mistral-large-latest"),
    ("mistral", "mistral-small-latest"),
    ("mistral", "codestral-2508"),
    ("x-ai", "grok-3"),
    ("x-ai", "grok-4-0709"),
    ("groq", "llama-3.3-70b-versatile"),
    ("groq", "llama-3.1-8b-instant"),
    ("cohere", "command-r-plus"),
    ("cohere", "command-r"),
    ("aws", "amazon.nova-pro-v1:0"),
    ("aws", "amazon.nova-lite-v1:0"),
    ("perplexity", "r1-1776"),
    ("deepseek", "deepseek-v3.2"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the trace; ``offset`` is the time since the first one."""

    offset: timedelta
    context_tokens: int
    generated_tokens: int


def read_trace() -> list[Request]:
    """Return the 19,366 requests of the trace in order of arrival."""
    packed = files("sandbox").joinpath("data/azure_llm_conv_2023.csv.gz").read_bytes()
    rows = list(csv.DictReader(gzip.decompress(packed).decode().splitlines()))
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC) for row in rows]
    return [
        Request(time - times[0], int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for time, row in zip(times, rows, strict=True)
    ]


def replay(
    requests: Sequence[Request], payers: Sequence[dict[str, str]], end: datetime, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the trace as usage events, the last one of which happened at ``end``; a seed is repeatable.

    ``payers`` are what names the payer of an event, such as ``{"api_key_id": "key_…"}``; the first ones send
    more than the last.
    """
    choose = random.Random(seed)
    start = end - requests[-1].offset
    payer_weights = [1 / (rank + 5) for rank in range(len(payers))]
    model_weights = [1 / (rank + 3) for rank in range(len(MODELS))]
    for number, request in enumerate(requests):
        (payer,) = choose.choices(payers, payer_weights)
        ((provider, model),) = choose.choices(MODELS, model_weights)
        tokens = _tokens(request, choose)
        named = {"provider": provider} if provider else {}
        yield usage_event(
            id=f"req_{seed}_{number:06d}",
            model=model,
            source=f"gateway-{choose.randrange(3)}",
            time=start + request.offset,
            **payer,
            **named,
            **tokens,
        )


def _tokens(request: Request, choose: random.Random) -> dict[str, int]:
    context = request.context_tokens
    cached = choose.randrange(context + 1) if choose.random() < 1 / 3 else 0
    written = choose.randrange(context - cached + 1) if choose.random() < 1 / 10 else 0
    agent = choose.randrange(150_000, 400_000) if choose.random() < 1 / 50 else 0
    tokens = {"input_tokens": context - cached - written, "output_tokens": request.generated_tokens}
    if cached + agent:
        tokens["cache_read_tokens"] = cached + agent
    if written:
        tokens["cache_write_tokens"] = written
    return tokens
