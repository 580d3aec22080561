"""OpenAI's usage in payg's disjoint pools, and estimates where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payg_client.tokens import estimate_input_tokens, tokens_of_usage

COUNT = st.none() | st.integers(-5, 1000)
DETAILS = st.none() | st.dictionaries(
    st.sampled_from(["cached_tokens", "audio_tokens", "cache_creation_tokens", "reasoning_tokens"]), COUNT
)


def test_the_usage_of_a_chat_is_split_into_disjoint_pools() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10, "cache_creation_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 8},
    }
    assert tokens_of_usage(usage) == {
        "input_tokens": 25,
        "output_tokens": 42,
        "cache_read_tokens": 60,
        "cache_write_tokens": 5,
        "input_audio_tokens": 10,
        "output_audio_tokens": 8,
    }


def test_the_usage_of_a_response_is_read_likewise() -> None:
    usage = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 40}, "output_tokens": 7}
    tokens = tokens_of_usage(usage)
    assert tokens is not None
    assert (tokens["input_tokens"], tokens["cache_read_tokens"], tokens["output_tokens"]) == (60, 40, 7)


def test_embeddings_have_no_output() -> None:
    tokens = tokens_of_usage({"prompt_tokens": 9, "total_tokens": 9})
    assert tokens is not None
    assert (tokens["input_tokens"], tokens["output_tokens"]) == (9, 0)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "7"}, {"prompt_tokens": None}, {"total_tokens": -1}])
def test_what_tells_nothing_is_no_usage_of_zero(usage: dict[str, object]) -> None:
    assert tokens_of_usage(usage) is None


@given(st.integers(0, 1000), st.integers(0, 1000), DETAILS, DETAILS)
def test_the_pools_add_up_to_what_was_reported_whatever_the_details_say(
    prompt: int, completion: int, of_prompt: dict[str, int] | None, of_completion: dict[str, int] | None
) -> None:
    tokens = tokens_of_usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": of_prompt,
            "completion_tokens_details": of_completion,
        }
    )
    assert tokens is not None
    assert min(tokens.values()) >= 0
    output = tokens["output_tokens"] + tokens["output_audio_tokens"]
    assert (sum(tokens.values()) - output, output) == (prompt, completion)


def test_an_estimate_counts_text_wherever_it_is() -> None:
    message = {"role": "user", "content": "x" * 300}
    assert estimate_input_tokens({"messages": [message]}) >= 100
    assert estimate_input_tokens({"messages": [], "tools": [{"description": "x" * 300}]}) >= 100
    assert estimate_input_tokens({"input": ["x" * 300, "x" * 300]}) >= 200
    assert estimate_input_tokens({"prompt": list(range(500))}) == 500


def test_an_image_counts_as_an_image_and_not_as_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    tokens = estimate_input_tokens({"messages": [{"role": "user", "content": [image]}]})
    assert 1_500 <= tokens < 1_600
