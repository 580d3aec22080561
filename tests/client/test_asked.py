"""What a request of OpenAI's API may cost, read from its body."""

import json
from typing import Any

import pytest

from payg_client.asked import ENDPOINTS, Asked, BadRequestError, read_request
from payg_client.tokens import estimate_input_tokens

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "one two three"}]


def read(path: str = CHAT, **body: Any) -> Asked:
    raw = json.dumps({"model": "m", "messages": MESSAGES} | body).encode()
    return read_request(raw, ENDPOINTS[path], estimate_input_tokens, 256)


def handed_on(path: str = CHAT, **body: Any) -> dict[str, Any]:
    return dict(json.loads(read(path, **body).body))


def test_the_output_is_bounded_by_what_the_request_says() -> None:
    assert read(max_tokens=7).max_output_tokens == 7
    assert read(max_completion_tokens=7).max_output_tokens == 7
    assert read("/v1/responses", input="x", max_output_tokens=7).max_output_tokens == 7


def test_of_two_bounds_the_larger_counts() -> None:
    assert read(max_tokens=7, max_completion_tokens=9).max_output_tokens == 9


def test_a_bound_is_written_into_a_request_that_has_none() -> None:
    assert handed_on()["max_completion_tokens"] == 256
    assert handed_on(max_tokens=None)["max_completion_tokens"] == 256
    assert handed_on("/v1/completions", prompt="x")["max_tokens"] == 16
    assert "max_tokens" not in handed_on("/v1/embeddings", input="x")


def test_every_choice_for_every_prompt_counts() -> None:
    assert read(max_tokens=7, n=3).max_output_tokens == 21
    assert read(max_tokens=7, n=0).max_output_tokens == 7
    completion = {"prompt": ["a", "b"], "max_tokens": 5, "best_of": 4, "n": 2}
    assert read("/v1/completions", **completion).max_output_tokens == 40
    assert read("/v1/completions", prompt=[1, 2, 3], max_tokens=5).max_output_tokens == 5


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, [7]])
def test_a_bound_that_is_no_count_is_refused(count: object) -> None:
    with pytest.raises(BadRequestError, match="max_tokens"):
        read(max_tokens=count)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"model": 7}', b'{"x": ' + b"[" * 10_000, b'{"model": ""}']
)
def test_a_body_that_cannot_be_read_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequestError):
        read_request(raw, ENDPOINTS[CHAT], estimate_input_tokens, 256)


def test_what_is_answered_elsewhere_is_refused() -> None:
    with pytest.raises(BadRequestError, match="background"):
        read("/v1/responses", input="x", background=True)


def test_a_stream_is_made_to_tell_its_usage() -> None:
    assert handed_on(stream=True)["stream_options"] == {"include_usage": True}
    more = {"include_usage": False, "continuous_usage_stats": True}
    assert handed_on(stream=True, stream_options=more)["stream_options"] == more | {"include_usage": True}
    assert "stream_options" not in handed_on()
    assert "stream_options" not in handed_on("/v1/responses", input="x", stream=True)


def test_usage_is_hidden_from_who_did_not_ask_for_it() -> None:
    assert read(stream=True).hides_usage
    assert read(stream=True, stream_options={"include_usage": False}).hides_usage
    assert not read(stream=True, stream_options={"include_usage": True}).hides_usage
    assert not read().hides_usage


def test_of_a_field_that_stands_twice_one_is_handed_on() -> None:
    raw = b'{"model": "m", "messages": [], "max_tokens": 1, "max_tokens": 900}'
    asked = read_request(raw, ENDPOINTS[CHAT], estimate_input_tokens, 256)
    assert asked.max_output_tokens == json.loads(asked.body)["max_tokens"]
    assert asked.body.count(b"max_tokens") == 1


def test_numbers_beyond_64_bits_do_no_harm() -> None:
    raw = b'{"model": "m", "messages": [], "max_tokens": 123456789012345678901234567890, "seed": -1e400}'
    try:
        asked = read_request(raw, ENDPOINTS[CHAT], estimate_input_tokens, 256)
    except BadRequestError:
        return
    assert asked.max_output_tokens > 10**9
