"""Message bodies: one event or an array of them, each handed on byte by byte, a bad one refused alone."""

import json

import pytest
from domain_builders import LIMITS, NOW, event_json, nested, with_extra
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import MalformedError
from shared.domain.events import MAX_BODY_BYTES, MAX_EVENTS, decode_event, split_body

GOOD = event_json()
LONE_SURROGATE = event_json(id="\ud800")
INVALID_UTF8 = event_json(id="@").replace(b"@", b"\xff")
#: Bad elements whose ends can all be found: each is malformed, none harms its neighbours.
BAD_ELEMENTS = {
    "null": b"null",
    "a number": b"-1.5e3",
    "a string": b'"text, with ] and , and \\" in it"',
    "an array": b"[" + GOOD + b"]",
    "wrong type": event_json(type="other"),
    "a bad count": event_json({"input_tokens": -1}),
    "a lone surrogate": LONE_SURROGATE,
    "a lone surrogate in metadata": event_json({"metadata": {"a": ["\udfff"]}}),
    "a lone surrogate in an unknown field": event_json(extra={"\ud800": ["]"]}),
    "NUL": event_json(id="\0"),
    "invalid UTF-8": INVALID_UTF8,
    "NaN": with_extra(b"NaN"),
    "5,000 digits as a count": event_json({"input_tokens": "@"}).replace(b'"@"', b"1" * 5_000),
    "nesting 900 deep around NUL": with_extra(nested(rb'"\u0000"', 900)),
    "nesting 100,000 deep": with_extra(nested(b"1", 100_000)),
}


def array(*elements: bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def is_malformed(raw: bytes) -> bool:
    try:
        decode_event(raw, LIMITS, NOW)
    except MalformedError:
        return True
    return False


def test_a_single_event_is_the_body_itself() -> None:
    assert [decode_event(raw, LIMITS, NOW).id for raw in split_body(GOOD)] == ["req_1"]


def test_the_elements_of_an_array_are_byte_identical_to_what_was_sent() -> None:
    odd = b'{ "id" :\t"\xc3\xa9\\u00e9", "n": [1.50, 1e2 ,{}] }'
    body = b" \r\n[ " + GOOD + b" ,\n\t" + odd + b"," + GOOD + b" ]\n"
    assert split_body(body) == [GOOD, odd, GOOD]


def test_they_are_byte_identical_beside_a_lone_surrogate_too() -> None:
    odd = b'{ "id" :\t"\xc3\xa9\\u00e9", "n": [1.50, 1e2 ,{}] }'
    body = b" \r\n[ " + odd + b" ,\n\t" + LONE_SURROGATE + b" , " + odd + b" ]\n"
    assert split_body(body) == [odd, LONE_SURROGATE, odd]


@pytest.mark.parametrize("bad", BAD_ELEMENTS.values(), ids=BAD_ELEMENTS.keys())
def test_one_bad_element_goes_alone(bad: bytes) -> None:
    elements = split_body(array(GOOD, bad, GOOD))
    assert elements == [GOOD, bad, GOOD]
    assert [is_malformed(raw) for raw in elements] == [False, True, False]


@pytest.mark.parametrize("bad", BAD_ELEMENTS.values(), ids=BAD_ELEMENTS.keys())
def test_bad_elements_go_alone_beside_a_lone_surrogate_too(bad: bytes) -> None:
    elements = split_body(array(bad, GOOD, LONE_SURROGATE, GOOD))
    assert elements == [bad, GOOD, LONE_SURROGATE, GOOD]
    assert [is_malformed(raw) for raw in elements] == [True, False, True, False]


texts = st.text(
    st.sampled_from(["a", "é", "😀", '"', "\\", "]", ",", "[", "{", "\0", "\ud83d", "\ude00"]), max_size=6
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
spaces = st.text(" \t\r\n", max_size=2).map(str.encode)
elements_with_spaces = st.lists(st.tuples(spaces, json_values, spaces), min_size=1, max_size=6)


@given(elements_with_spaces)
def test_an_array_of_any_values_is_split_where_they_end(drawn: list[tuple[bytes, object, bytes]]) -> None:
    values = [json.dumps(value).encode() for _, value, _ in drawn]
    padded = [before + raw + after for (before, _, after), raw in zip(drawn, values, strict=True)]
    assert split_body(array(*padded)) == values


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\n]\n"])
def test_an_array_without_events_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^an array without events$"):
        split_body(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        array(GOOD)[:-1],
        array(GOOD, GOOD[:-1]),
        array(GOOD) + b"x",
        array(GOOD) + array(GOOD),
        array(GOOD, LONE_SURROGATE)[:-1],
        array(LONE_SURROGATE) + b"x",
        b"[,]",
        array(GOOD, b"", GOOD),
        array(GOOD, b""),
        b'["a string without an end, {}]',
        array(LONE_SURROGATE) + b"\f",
    ],
)
def test_an_array_whose_end_is_not_where_it_should_be_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(MalformedError, match=r"^not JSON: the array cannot be read$"):
        split_body(body)


@pytest.mark.parametrize(
    "broken", [b"", b"nonsense", GOOD + GOOD, with_extra(b'"\x01"'), with_extra(rb'"\q"')]
)
@pytest.mark.parametrize("neighbour", [GOOD, LONE_SURROGATE])
def test_what_is_no_json_inside_an_array_is_never_an_event(broken: bytes, neighbour: bytes) -> None:
    try:
        elements = split_body(array(neighbour, broken))
    except MalformedError:
        return
    assert elements[0] == neighbour
    assert all(map(is_malformed, elements[1:]))


def test_a_form_feed_is_no_space() -> None:
    assert split_body(b"\f" + array(GOOD)) == [b"\f" + array(GOOD)]
    assert split_body(array(b"\f" + GOOD, LONE_SURROGATE)) == [b"\f" + GOOD, LONE_SURROGATE]


@given(st.binary(max_size=60), st.integers(0, 80), st.sampled_from([b"", b"[", b"[1,", b'["\\ud800",']))
def test_any_bytes_are_split_or_malformed(junk: bytes, cut: int, start: bytes) -> None:
    body = start + junk + GOOD[:cut]
    try:
        elements = split_body(body)
    except MalformedError:
        return
    assert all(element in body for element in elements)


def test_a_message_of_8_mib_is_taken_and_one_byte_more_refused() -> None:
    largest = GOOD.ljust(MAX_BODY_BYTES)
    assert len(largest) == 8 * 1024 * 1024
    assert not is_malformed(split_body(largest)[0])
    with pytest.raises(MalformedError, match="too large"):
        split_body(largest + b" ")


def test_10_000_events_are_taken_and_one_more_refused() -> None:
    assert len(split_body(array(*[b"{}"] * 10_000))) == MAX_EVENTS
    with pytest.raises(MalformedError, match="too large: 10001 events"):
        split_body(array(*[b"{}"] * 10_001))
    with pytest.raises(MalformedError, match="too large: 10001 events"):
        split_body(array(LONE_SURROGATE, *[b"{}"] * 10_000))


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/cloudevents+json; charset=utf-8",
        "Application/JSON ;charset=UTF-8",
    ],
)
def test_the_content_types_of_the_contract_are_taken(content_type: str | None) -> None:
    assert split_body(GOOD, content_type) == [GOOD]
    assert split_body(array(GOOD, GOOD), content_type) == [GOOD, GOOD]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/jsonx", "json", ";"])
def test_another_content_type_is_refused_by_name(content_type: str) -> None:
    taken = "application/cloudevents+json, application/cloudevents-batch+json, application/json"
    with pytest.raises(MalformedError) as refused:
        split_body(GOOD, content_type)
    assert str(refused.value) == f"content type {content_type!r} is not one of {taken}"
