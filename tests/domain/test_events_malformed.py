"""Usage events that are refused: each is malformed for a reason that is told, and nothing else can happen."""

import json
from typing import Any

import pytest
from domain_builders import (
    COUNTS,
    EVENT,
    LIMITS,
    NOW,
    decoded,
    event_json,
    nested,
    with_count,
    with_extra,
    with_metadata,
    without,
)
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import MalformedError
from shared.domain.events import MAX_METADATA_BYTES, MAX_NAME_LENGTH, UsageEvent, decode_event
from shared.domain.tokens import MAX_TOKENS

GOOD = event_json()

MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not JSON"),
    ("only spaces", b"  \n", "not JSON"),
    ("not JSON", b"hello", "not JSON"),
    ("truncated", GOOD[:-20], "not JSON"),
    ("trailing garbage", GOOD + b"x", "not JSON"),
    ("two events in a row", GOOD + GOOD, "not JSON"),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD, "not JSON"),
    ("UTF-16", GOOD.decode().encode("utf-16"), "^not UTF-8$"),
    ("invalid UTF-8", event_json(id="@").replace(b"@", b"\xff\xfe"), "^not UTF-8$"),
    ("invalid UTF-8 in an unknown field", with_extra(b'"\xc3"'), "^not UTF-8$"),
    ("an encoded surrogate", with_extra(b'"\xed\xa0\x80"'), "^not UTF-8$"),
    ("NaN", with_extra(b"NaN"), "not JSON"),
    ("Infinity", with_extra(b"-Infinity"), "not JSON"),
    ("single quotes", GOOD.replace(b'"', b"'"), "not JSON"),
    ("a comma too many", GOOD[:-1] + b",}", "not JSON"),
    ("a bare control character", with_extra(b'"\x01"'), "not JSON"),
    ("null", b"null", "object"),
    ("a number", b"42", "object"),
    ("a string", b'"event"', "object"),
    ("an array within the array", b"[" + GOOD + b"]", "object"),
    ("wrong specversion", event_json(specversion="0.3"), "specversion"),
    ("specversion as a number", event_json(specversion=1.0), "specversion"),
    ("no specversion", without("specversion"), "specversion"),
    ("wrong type", event_json(type="payg.usage.recorded.v2"), "type"),
    ("no type", without("type"), "`type`"),
    ("no source", without("source"), "source"),
    ("empty source", event_json(source=""), "source"),
    ("no id", without("id"), "`id`"),
    ("empty id", event_json(id=""), r"\.id"),
    ("null id", event_json(id=None), r"\.id"),
    ("an id that is a number", event_json(id=17), r"\.id"),
    ("too long an id", event_json(id="x" * (MAX_NAME_LENGTH + 1)), r"\.id"),
    ("no time", without("time"), "`time`"),
    ("null time", event_json(time=None), "time"),
    ("time as a number", event_json(time=1_790_000_000), "time"),
    ("nonsense time", event_json(time="yesterday"), "time"),
    ("a date alone", event_json(time="2026-11-23"), "time"),
    ("30 February", event_json(time="2026-02-30T12:00:00Z"), "time"),
    ("hour 24", event_json(time="2026-11-22T24:00:00Z"), "time"),
    ("a leap second", event_json(time="2016-12-31T23:59:60Z"), "time"),
    ("a naive time", event_json(time="2026-11-23T12:00:00"), "time"),
    ("a time before 2020", event_json(time="2019-12-31T23:59:59.999999Z"), "lies before 2020"),
    ("the first of all times", event_json(time="0001-01-01T00:00:00+14:00"), "lies before 2020"),
    ("too far ahead", event_json(time="2026-11-23T12:10:00.000001Z"), "ahead"),
    ("the last of all times", event_json(time="9999-12-31T23:59:59-14:00"), "ahead"),
    ("no data", without("data"), "`data`"),
    ("null data", event_json().replace(b'"data": {', b'"data": null, "x": {'), "data"),
    ("data as an array", json.dumps({**EVENT, "data": [1]}).encode(), "data"),
    ("no model", json.dumps({**EVENT, "data": {"account_id": "a"}}).encode(), "`model`"),
    ("empty model", event_json({"model": ""}), "model"),
    (
        "neither key nor account",
        json.dumps({**EVENT, "data": {"model": "m"}}).encode(),
        "^data names neither api_key_id nor account_id$",
    ),
    (
        "a payer of null",
        event_json({"api_key_id": None, "account_id": None}),
        "^data names neither api_key_id nor account_id$",
    ),
    ("an empty key", event_json({"api_key_id": ""}), "api_key_id"),
    ("an account that is a number", event_json({"account_id": 5}), "account_id"),
    ("a negative count", with_count("-1"), "input_tokens"),
    ("a fractional count", with_count("1.5"), "input_tokens"),
    ("a count that is a float", with_count("1.0"), "input_tokens"),
    ("a count with an exponent", with_count("1e3"), "input_tokens"),
    ("a boolean count", with_count("true"), "input_tokens"),
    ("a count in a string", with_count('"7"'), "input_tokens"),
    ("a null count", with_count("null"), "input_tokens"),
    ("a count above a milliard", with_count(str(MAX_TOKENS + 1)), "input_tokens"),
    ("a count of 5,000 digits", with_count("1" * 5_000), "input_tokens"),
    ("an infinite count", with_count("1e400"), "input_tokens"),
    ("NUL in the id", event_json(id="a\0b"), "^a string holds NUL$"),
    ("NUL in the model", event_json({"model": "\0"}), "^a string holds NUL$"),
    ("NUL in nested metadata", event_json({"metadata": {"a": [{"b": "\0"}]}}), "^a string holds NUL$"),
    ("NUL in a key of metadata", event_json({"metadata": {"a\0": 1}}), "^a string holds NUL$"),
    ("NUL in an unknown field", event_json(extra={"x": ["\0"]}), "^a string holds NUL$"),
    ("a bare NUL", with_extra(b'"\x00"'), "NUL|not JSON"),
    ("NUL behind a repeated key", with_metadata(rb'{"a": "\u0000", "a": 1}'), "^a string holds NUL$"),
    ("a lone surrogate in the id", event_json(id="\ud800"), "surrogate"),
    ("a lone low surrogate in the id", event_json(id="\udc00x"), "surrogate"),
    ("a lone surrogate in the model", event_json({"model": "m\udfff"}), "surrogate"),
    ("a lone surrogate in metadata", event_json({"metadata": {"a": ["\udbff"]}}), "surrogate"),
    ("a lone surrogate in an unknown field", event_json(extra="\ud83d"), "surrogate"),
    ("surrogates the wrong way round", event_json(id="\ude00\ud83d"), "surrogate"),
    ("metadata as an array", event_json({"metadata": [1]}), "^metadata is not an object$"),
    ("metadata as a string", event_json({"metadata": "team a"}), "^metadata is not an object$"),
    ("metadata as a number", event_json({"metadata": 0}), "^metadata is not an object$"),
    ("metadata as a boolean", event_json({"metadata": False}), "^metadata is not an object$"),
    ("too much metadata", event_json({"metadata": {"a": "x" * MAX_METADATA_BYTES}}), "metadata is too large"),
    ("deep nesting in an unknown field", with_extra(nested(b"1", 100_000)), "^nested too deeply$"),
    ("deep nesting in metadata", with_metadata(b'{"a":' + nested(b"1", 7_000) + b"}"), "^nested too deeply$"),
]


@pytest.mark.parametrize(("raw", "why"), [pytest.param(raw, why, id=name) for name, raw, why in MALFORMED])
def test_a_malformed_event_is_refused_saying_why(raw: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        decode_event(raw, LIMITS, NOW)


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("count", [-1, 0.5, None, True, "1", MAX_TOKENS + 1])
def test_every_count_is_checked(kind: str, count: Any) -> None:
    with pytest.raises(MalformedError, match=kind):
        decoded({kind: count})


def judged(raw: bytes) -> UsageEvent | str:
    """Return the event, or why it is malformed; any other exception is a bug."""
    try:
        return decode_event(raw, LIMITS, NOW)
    except MalformedError as error:
        return str(error)


@pytest.mark.parametrize("escape", [b'"a"', rb'"\ud83d\ude00"', rb'"\u0000"', rb'"\ud800"'])
@pytest.mark.parametrize("depth", [50, 300, 600, 900, 990, 1_500, 50_000])
def test_nesting_of_any_depth_is_judged_whatever_it_holds(depth: int, escape: bytes) -> None:
    assert judged(with_extra(nested(escape, depth)))


@pytest.mark.parametrize("escape", [b'"a"', rb'"\ud83d\ude00"', rb'"\u0000"'])
def test_a_number_of_any_length_is_judged_whatever_stands_beside_it(escape: bytes) -> None:
    assert judged(with_extra(b"[" + b"1" * 5_000 + b"," + escape + b"]"))


@given(st.binary(max_size=40), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_any_bytes_are_an_event_or_malformed(junk: bytes, start: int, end: int) -> None:
    assert judged(junk)
    assert judged(GOOD[:start] + junk + GOOD[end:])


texts = st.text(
    st.sampled_from(["a", '"', "\\", "u", "0", "d", "8", "é", "\0", "\ud83d", "\ude00", "\udfff"]), max_size=9
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def strings_in(value: Any) -> str:
    """Return all text in a JSON value, objects being lists of pairs."""
    if isinstance(value, str):
        return value
    return "".join(map(strings_in, value)) if isinstance(value, list | tuple) else ""


@given(json_values)
def test_an_unknown_field_matters_only_if_its_text_cannot_be_stored(value: Any) -> None:
    literal = json.dumps(value)
    text = strings_in(json.loads(literal, object_pairs_hook=list))
    unstorable = any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)
    assert isinstance(judged(with_extra(literal.encode())), str) == unstorable
