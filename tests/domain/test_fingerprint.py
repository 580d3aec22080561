"""The fingerprint of a record: equal for equal content, and what makes a second event a conflict."""

import json
from itertools import combinations
from typing import Any

import pytest
from domain_builders import ACCOUNT, COUNTS, EVENT, LIMITS, NOW, decoded
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.events import UsageEvent, decode_event
from shared.domain.usage import PricedUsage

ZERO = dict.fromkeys(COUNTS, 0)


def of(event: UsageEvent, account: str = ACCOUNT) -> bytes:
    return PricedUsage.of(event, b"{}", account, 1, 1).fingerprint


BASE = of(decoded())


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "gateway-us-7"},
        {"time": "2026-11-23T13:00:00+01:00"},
        {"time": "2026-11-23T12:00:00.000000Z"},
        {"data": {"metadata": None}},
        {"data": {"metadata": {"team": 1}}},
        {"data": {"hold_id": "hold_9"}},
        {"data": {"cache_read_tokens": 0, "output_audio_tokens": 0}},
        {"data": {"account_id": ACCOUNT}},
        {"data": {"unknown": 1}, "subject": "also unknown"},
        {"id": "req_2"},
    ],
    ids=str,
)
def test_what_is_no_content_makes_no_difference(fields: dict[str, Any]) -> None:
    assert of(decoded(**fields)) == BASE


def test_formatting_makes_no_difference() -> None:
    raw = str(EVENT).replace("'", '"').replace(",", " ,\n").replace("gpt-4o", "gpt\\u002d4o").encode()
    assert of(decode_event(raw, LIMITS, NOW)) == BASE


def test_a_provider_of_null_is_no_provider() -> None:
    data = {key: value for key, value in EVENT["data"].items() if key != "provider"}
    absent = decode_event(json.dumps({**EVENT, "data": data}).encode(), LIMITS, NOW)
    assert of(absent) == of(decoded({"provider": None}))


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "2026-11-23T12:00:00.000001Z"},
        {"time": "2026-11-23T12:00:00+01:00"},
        {"data": {"api_key_id": "key_2"}},
        {"data": {"api_key_id": None, "account_id": ACCOUNT}},
        {"data": {"provider": None}},
        {"data": {"provider": "azure"}},
        {"data": {"model": "gpt-4o-mini"}},
        *({"data": {kind: 9}} for kind in COUNTS),
    ],
    ids=str,
)
def test_other_content_has_another_fingerprint(fields: dict[str, Any]) -> None:
    assert of(decoded(**fields)) != BASE


def test_another_account_has_another_fingerprint() -> None:
    assert of(decoded(), "acc_2") != BASE


def test_the_same_number_in_another_pool_is_other_content() -> None:
    prints = {of(decoded({**ZERO, kind: 9})) for kind in COUNTS}
    assert len(prints) == len(COUNTS)


def test_neighbouring_fields_do_not_run_together() -> None:
    prints = [
        of(decoded({"provider": provider, "model": model, "api_key_id": key}), account)
        for account, key, provider, model in [
            ("a", "b", "c", "de"),
            ("a", "b", "cd", "e"),
            ("a", "bc", "d", "e"),
            ("ab", "c", "d", "e"),
            ("a", "b", 'c","d', "e"),
            ("a", 'b","c', "d", "e"),
            ("a", "b", "null", "cde"),
            ("a", "b", None, "cde"),
        ]
    ]
    assert all(one != other for one, other in combinations(prints, 2))


def test_neighbouring_counts_do_not_run_together() -> None:
    assert of(decoded({"input_tokens": 1, "output_tokens": 23})) != of(
        decoded({"input_tokens": 12, "output_tokens": 3})
    )


names = st.text(st.sampled_from("ab\"',\\[]é "), min_size=1, max_size=3)
contents = st.fixed_dictionaries(
    {"api_key_id": names, "provider": st.none() | names, "model": names}
    | {kind: st.integers(0, 11) for kind in COUNTS[:3]}
)


@given(contents, contents, st.sampled_from(["s1", "s2"]))
def test_fingerprints_are_equal_exactly_when_contents_are(
    one: dict[str, Any], other: dict[str, Any], source: str
) -> None:
    assert (of(decoded(one)) == of(decoded(other, source=source))) == (one == other)


def test_the_fingerprint_is_the_same_for_ever() -> None:
    """It is stored: a change of this value would turn repetitions of old records into conflicts."""
    assert BASE.hex() == "4b51f6bb3e6cbb3687d174582ff9e1c8"
