"""JSON that means harm: what no decoder expects, alone and in every place of a good document."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Documents to each decoder; `make fuzz` sets some thousands.
EXAMPLES = int(os.environ.get("PAYG_FUZZ_EXAMPLES", "150"))
fuzzed = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

_DEEP = 50_000
_DIGITS = 5_000
_PLACE = "a place for what means harm"
#: JSON values as they are written, and what only looks like them.
VALUES = [
    b"null",
    b"true",
    b"-0",
    b"-1",
    b"1.5",
    b"1e3",
    b"1e400",
    b"9223372036854775808",
    b"9" * 4_000,
    b"1" * _DIGITS,
    b"-" + b"1" * _DIGITS,
    b"NaN",
    b"-Infinity",
    b'""',
    b"[]",
    b"{}",
    b'{"a": 1, "a": 2}',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff\xfe"',
    b'"' + b"x" * 100_000 + b'"',
    b'"0001-01-01T00:00:00+14:00"',
    b'"9999-12-31T23:59:59-14:00"',
    b'"2026-11-23T12:00:00"',
    b'"' + b"0" * 63 + b'g"',
    b"[" * _DEEP + b"]" * _DEEP,
    b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    b"[" * _DEEP,
]


def documents(good: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """Draw bytes: a good document with harm in it somewhere, cut off, or doubled; or no document at all."""
    text = json.dumps(good).encode()
    return st.one_of(
        _with_harm(good),
        st.sampled_from(VALUES),
        st.binary(max_size=200),
        st.integers(0, len(text)).map(lambda end: text[:end]),
        st.tuples(st.integers(0, len(text)), st.binary(max_size=4)).map(
            lambda spliced: text[: spliced[0]] + spliced[1] + text[spliced[0] :]
        ),
    )


def _with_harm(good: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    templates = [json.dumps(each).encode() for each in _with_place(good)]
    return st.builds(
        lambda template, value: template.replace(json.dumps(_PLACE).encode(), value),
        st.sampled_from(templates),
        st.sampled_from(VALUES),
    )


def _with_place(document: Any) -> Iterator[Any]:
    """Yield the document once for every value in it, with the place in its stead or beside it."""
    yield _PLACE
    if isinstance(document, Mapping):
        yield {**document, "unknown": _PLACE}
        for name, value in document.items():
            yield from ({**document, name: inner} for inner in _with_place(value))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from ([*document[:number], inner, *document[number + 1 :]] for inner in _with_place(value))
