"""Tokens in the terms of OpenAI, and in those of payg. Pure."""

from collections.abc import Mapping
from math import ceil
from typing import Any

_BYTES_A_TOKEN_AT_LEAST = 3
_BYTES_A_TOKEN_USUALLY = 4
_TOKENS_A_NODE = 4
_TOKENS_AN_IMAGE = 1_500
#: Base64 of half a token's worth of 24 kbit/s speech: what compresses better is cheaper than thought.
_AUDIO_BASE64_A_TOKEN = 300
_PROMPT_FIELDS = (
    "messages",
    "prompt",
    "suffix",
    "input",
    "instructions",
    "tools",
    "functions",
    "response_format",
    "text",
    "prediction",
)


def estimate_input_tokens(body: Mapping[str, Any]) -> int:
    """Return about the most input tokens that a request of OpenAI's API has, without a tokenizer.

    A token for every three bytes of text and four for every object (a message, a tool, …): above what common
    tokenizers make of European languages, Chinese and code; not above rare scripts or noise, where a token
    may be one byte. An image counts as 1,500 tokens. What a request refers to by id is not seen.
    """
    tokens, waiting = 0, [body[name] for name in _PROMPT_FIELDS if name in body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            tokens += ceil(len(node.encode()) / _BYTES_A_TOKEN_AT_LEAST)
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            tokens += _TOKENS_A_NODE + _of_media(node)
            waiting.extend(value for name, value in node.items() if name not in _MEDIA)
            waiting.extend(node)
        else:
            tokens += 1  # a number: in a list of them, it is a token itself
    return tokens


def estimate_output_tokens(text_bytes: int) -> int:
    """Return about how many tokens a text has that was streamed before its usage could be told."""
    return ceil(text_bytes / _BYTES_A_TOKEN_USUALLY)


def tokens_of_usage(usage: Mapping[str, Any]) -> dict[str, int] | None:
    """Return payg's disjoint pools for the ``usage`` of an answer; None where it tells nothing.

    OpenAI's ``prompt_tokens`` (``input_tokens`` of the Responses API) include those that were read from or
    written to a cache and those of audio; ``completion_tokens`` include audio and reasoning.
    Source: https://platform.openai.com/docs/api-reference/chat/object
    """
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    completion = _count(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    of_prompt = _details(usage, "prompt_tokens_details", "input_tokens_details")
    of_completion = _details(usage, "completion_tokens_details", "output_tokens_details")
    cache_read = min(_count(of_prompt, "cached_tokens") or 0, prompt)
    cache_write = min(
        _count(of_prompt, "cache_creation_tokens", "cache_write_tokens") or 0, prompt - cache_read
    )
    audio_in = min(_count(of_prompt, "audio_tokens") or 0, prompt - cache_read - cache_write)
    audio_out = min(_count(of_completion, "audio_tokens") or 0, completion)
    return {
        "input_tokens": prompt - cache_read - cache_write - audio_in,
        "output_tokens": completion - audio_out,
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "input_audio_tokens": audio_in,
        "output_audio_tokens": audio_out,
    }


def _count(of: Mapping[str, Any], *names: str) -> int | None:
    """Return the first count there is under these names; what is no count is none."""
    for name in names:
        value = of.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping)), {})


_MEDIA = ("image_url", "input_audio")


def _of_media(node: Mapping[str, Any]) -> int:
    tokens = _TOKENS_AN_IMAGE if "image_url" in node else 0
    audio = node.get("input_audio")
    if isinstance(audio, Mapping) and isinstance(audio.get("data"), str):
        tokens += ceil(len(audio["data"]) / _AUDIO_BASE64_A_TOKEN)
    return tokens
