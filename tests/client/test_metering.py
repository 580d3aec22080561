"""Reading what an answer used, while it passes."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payg_client.metering import JsonMeter, StreamMeter

USAGE = {"prompt_tokens": 5, "completion_tokens": 2}


def event(**chunk: Any) -> bytes:
    return b"data: " + json.dumps({"id": "c1", **chunk}).encode() + b"\n\n"


def said(text: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {"role": "assistant", "content": text}}], usage=None)


TELLING = event(choices=[], usage=USAGE)
STREAM = said("one ") + said("zwölf") + TELLING + b"data: [DONE]\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=8), st.booleans())
def test_a_stream_is_read_alike_however_it_is_cut(cuts: list[int], hides: bool) -> None:  # noqa: FBT001
    meter = StreamMeter(hides_usage=hides)
    bounds = [0, *sorted(cuts), len(STREAM)]
    passed = b"".join(meter.feed(STREAM[a:b], more=True) for a, b in itertools.pairwise(bounds))
    passed += meter.feed(b"", more=False)
    assert passed == (STREAM.replace(TELLING, b"") if hides else STREAM)
    assert meter.tokens is not None
    assert (meter.tokens["input_tokens"], meter.text_bytes, meter.response_id) == (5, 10, "c1")


def test_an_event_is_passed_on_as_soon_as_it_is_complete() -> None:
    meter = StreamMeter(hides_usage=True)
    assert meter.feed(said("one") + b"data: {", more=True) == said("one")
    assert meter.produced


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_events_end_as_the_standard_allows(end: bytes) -> None:
    meter = StreamMeter(hides_usage=True)
    assert meter.feed(TELLING.replace(b"\n\n", end) + said("x"), more=True) == said("x")
    assert meter.tokens is not None


def test_usage_beside_text_is_never_hidden_and_the_last_counts() -> None:
    meter = StreamMeter(hides_usage=True)
    first = event(choices=[{"delta": {"content": "x"}}], usage={"prompt_tokens": 5, "completion_tokens": 1})
    last = event(choices=[{"delta": {"content": "y"}}], usage=USAGE)
    assert meter.feed(first + last, more=True) == first + last
    assert meter.tokens is not None
    assert meter.tokens["output_tokens"] == 2


def test_a_stream_of_the_responses_api_tells_its_usage_in_its_last_event() -> None:
    meter = StreamMeter(hides_usage=False)
    delta = b"event: response.output_text.delta\n" + event(delta="four")
    done = {"id": "resp_1", "usage": {"input_tokens": 7, "output_tokens": 1}}
    meter.feed(delta + event(type="response.completed", response=done), more=False)
    assert meter.text_bytes == 4
    assert meter.tokens is not None
    assert meter.tokens["input_tokens"] == 7


@pytest.mark.parametrize(
    "junk", [b": ping\n\n", b"data: {not json\n\n", b"data: 7\n\n", b"\n\n", b"data: {}\n\n"]
)
def test_what_is_no_chunk_passes_unread(junk: bytes) -> None:
    meter = StreamMeter(hides_usage=True)
    assert meter.feed(junk, more=True) == junk
    assert not meter.produced


def test_a_role_alone_or_an_error_is_nothing_produced() -> None:
    meter = StreamMeter(hides_usage=False)
    meter.feed(said("") + event(error={"message": "overloaded"}), more=False)
    assert not meter.produced


def test_arguments_of_a_tool_are_text_too() -> None:
    meter = StreamMeter(hides_usage=False)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"arguments": '{"x":'}}
    meter.feed(event(choices=[{"delta": {"tool_calls": [call]}}]), more=True)
    assert meter.text_bytes == 5


def test_a_whole_answer_is_read_at_its_end_in_however_many_parts() -> None:
    meter = JsonMeter()
    body = json.dumps({"id": "c1", "choices": [], "usage": USAGE}).encode()
    assert meter.feed(body[:9], more=True) + meter.feed(body[9:], more=False) == body
    assert meter.tokens is not None
    assert (meter.tokens["output_tokens"], meter.response_id) == (2, "c1")


def test_an_answer_that_broke_off_counts_as_its_bytes() -> None:
    meter = JsonMeter()
    meter.feed(b'{"choices": [{"message": {"content": "most of it', more=True)
    assert (meter.tokens, meter.produced) == (None, True)
    assert meter.text_bytes == 48
