"""Usage events that are taken, as they came."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from domain_builders import COUNTS, EVENT, LIMITS, NOW, decoded, event_json, nested, with_extra, with_metadata

from shared.domain.events import MAX_METADATA_BYTES, MAX_NAME_LENGTH, decode_event
from shared.domain.tokens import MAX_TOKENS, TokenCounts

GOOD = event_json()


def test_the_fields_arrive_as_they_were_sent() -> None:
    event = decoded({"account_id": "acc_1", "hold_id": "hold_1"}, id="req_9")
    assert (event.id, event.source, event.time) == ("req_9", "gateway-eu-1", NOW)
    assert (event.data.api_key_id, event.data.account_id) == ("key_1", "acc_1")
    assert (event.data.provider, event.data.model, event.data.hold_id) == ("openai", "gpt-4o", "hold_1")


def test_the_documented_example_is_accepted() -> None:
    zero = dict.fromkeys(COUNTS[2:], 0)
    event = decoded({**zero, "hold_id": "hold_1", "metadata": {}}, time="2026-11-23T12:00:00.000Z")
    assert event.tokens == TokenCounts(374, 44)


def test_absent_counts_are_zero_and_the_largest_is_taken() -> None:
    data = {"account_id": "acc_1", "model": "m", "output_audio_tokens": MAX_TOKENS}
    event = decode_event(json.dumps({**EVENT, "data": data}).encode(), LIMITS, NOW)
    assert event.tokens == TokenCounts(0, 0, 0, 0, 0, MAX_TOKENS)
    assert (event.data.provider, event.data.api_key_id, event.data.hold_id) == (None, None, None)
    assert event.metadata_json is None


def test_each_count_fills_its_own_pool() -> None:
    assert decoded({kind: number for number, kind in enumerate(COUNTS, 1)}).tokens == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    "extra", [b"1", b"null", b'{"deep": [{"er": 1.5e300}]}', b"1" * 300, nested(b"1", 100)]
)
def test_unknown_fields_are_ignored(extra: bytes) -> None:
    assert decode_event(with_extra(extra), LIMITS, NOW) == decoded()


@pytest.mark.parametrize(
    ("time", "instant"),
    [
        ("2026-11-23T13:00:00+01:00", NOW),
        ("2026-11-23T17:45:00+05:45", NOW),
        ("2026-11-22T22:00:00-14:00", NOW),
        ("2026-11-23T12:00:00-00:00", NOW),
        ("2026-11-23T11:59:59.5Z", NOW - timedelta(milliseconds=500)),
        ("2026-11-23T12:10:00Z", NOW + timedelta(minutes=10)),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2020-01-01T05:00:00+05:00", datetime(2020, 1, 1, tzinfo=UTC)),
        ("2024-02-29T23:59:59.999999Z", datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_time_may_have_any_offset_within_the_limits(time: str, instant: datetime) -> None:
    assert decoded(time=time).time == instant


@pytest.mark.parametrize("name", ["x" * MAX_NAME_LENGTH, "é" * MAX_NAME_LENGTH, " ", "a/b c", "模型", "\x7f"])
def test_any_storable_name_is_taken_literally(name: str) -> None:
    event = decoded({"model": name}, id=name)
    assert (event.id, event.data.model) == (name, name)


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    raw = event_json({"model": "😀"}, id="😀", extra="😀")
    assert rb"\ud83d\ude00" in raw
    assert decode_event(raw, LIMITS, NOW).data.model == "😀"


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800", r"\\udfff", r"C:\ud8\u0000"])
def test_text_that_only_looks_like_an_escape_is_text(text: str) -> None:
    event = decoded({"model": text}, id=text, extra=[text])
    assert (event.id, event.data.model) == (text, text)


def test_whitespace_around_an_event_is_no_harm() -> None:
    assert decode_event(b" \r\n\t" + GOOD + b"\n ", LIMITS, NOW) == decoded()


@pytest.mark.parametrize(
    "metadata", [b'{"team":  1}', '{"é": [1, 2.50]}'.encode(), rb'{"e": "\ud83d\ude00"}']
)
def test_metadata_is_kept_as_it_was_written(metadata: bytes) -> None:
    assert decode_event(with_metadata(metadata), LIMITS, NOW).metadata_json == metadata.decode()


@pytest.mark.parametrize("metadata", [b"null", b"{}"])
def test_empty_metadata_is_none(metadata: bytes) -> None:
    assert decode_event(with_metadata(metadata), LIMITS, NOW).metadata_json is None


def test_the_most_metadata_that_is_kept() -> None:
    metadata = json.dumps({"a": "x" * (MAX_METADATA_BYTES - len('{"a": ""}'))})
    assert decode_event(with_metadata(metadata.encode()), LIMITS, NOW).metadata_json == metadata
