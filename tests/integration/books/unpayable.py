"""Kinds of records that cannot be processed, each with the reason that the contract gives it."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from books_builders import MODEL, event
from books_pipeline import Pipeline

from shared.clock import utc_now


@dataclass(frozen=True)
class Kind:
    """A body and why it is parked. One that stands ``alone`` is no element of an array."""

    raw: bytes
    reason: str
    alone: bool = False
    content_type: str | None = None


def kinds(pipeline: Pipeline) -> dict[str, Kind]:
    """Return all kinds by name; conflicts assume that the events of ``first_ones`` are debited."""
    return {
        **{name: Kind(raw, "malformed") for name, raw in _malformed(pipeline).items()},
        **_whole_bodies(pipeline),
        **{name: Kind(raw, name.split(":", maxsplit=1)[0]) for name, raw in _unpayable(pipeline).items()},
    }


def first_ones(pipeline: Pipeline) -> list[bytes]:
    """Return what the conflicts conflict with."""
    return [_event(pipeline, "first_1", 5), _event(pipeline, "first_2", 5)]


def _event(pipeline: Pipeline, event_id: str, tokens: int = 5, **data: Any) -> bytes:
    return event(
        event_id, tokens, utc_now().replace(microsecond=0), **{"api_key_id": pipeline.api_key_id, **data}
    )


def _written(pipeline: Pipeline, event_id: str, literal: bytes) -> bytes:
    """Return an event whose count of input tokens is written exactly so."""
    return _event(pipeline, event_id).replace(b'"input_tokens": 5', b'"input_tokens": ' + literal)


def _malformed(pipeline: Pipeline) -> dict[str, bytes]:
    good = json.loads(_event(pipeline, "good"))
    fields: dict[str, dict[str, Any]] = {
        "specversion 0.3": {"specversion": "0.3"},
        "another type": {"type": "payg.usage.recorded.v2"},
        "empty id": {"id": ""},
        "numeric id": {"id": 7},
        "endless id": {"id": "x" * 513},
        "NUL in the id": {"id": "a\x00b"},
        "lone surrogate in the id": {"id": "a\ud800b"},
        "empty source": {"source": ""},
        "time in words": {"time": "yesterday"},
        "time without an offset": {"time": "2026-11-23T12:00:00"},
        "time as a number": {"time": 1795435200},
        "time before 2020": {"time": "2019-12-31T23:59:59Z"},
        "time too far ahead": {"time": (utc_now() + timedelta(minutes=12)).isoformat()},
        "data null": {"data": None},
        "data an array": {"data": [1]},
    }
    data: dict[str, dict[str, Any]] = {
        "no model": {"model": None},
        "empty model": {"model": ""},
        "NUL in the model": {"model": "a\x00b"},
        "neither key nor account": {"api_key_id": None},
        "negative count": {"input_tokens": -1},
        "fractional count": {"input_tokens": 1.5},
        "count as a string": {"input_tokens": "5"},
        "count as a boolean": {"output_tokens": True},
        "count null": {"cache_read_tokens": None},
        "count above 10^9": {"cache_write_tokens": 10**9 + 1},
        "count of 31 digits": {"input_audio_tokens": 10**30},
        "metadata a list": {"metadata": [1]},
        "metadata too large": {"metadata": {"x": "y" * 17_000}},
        "NUL in metadata": {"metadata": {"x": "\x00"}},
        "lone surrogate in metadata": {"metadata": {"x": "\udc00"}},
    }
    found = {name: json.dumps({**good, **changes}).encode() for name, changes in fields.items()}
    found |= {name: _event(pipeline, "bad", **changes) for name, changes in data.items()}
    missing = ("specversion", "type", "source", "id", "time", "data")
    found |= {
        f"no {name}": json.dumps({k: v for k, v in good.items() if k != name}).encode() for name in missing
    }
    return found | {
        "count NaN": _written(pipeline, "nan", b"NaN"),
        "count infinite": _written(pipeline, "infinite", b"1e400"),
        "not UTF-8": _event(pipeline, "latin").replace(b"latin", b"caf\xe9"),
        "raw control character": _event(pipeline, "control").replace(b"control", b"con\x01trol"),
        "a bare word": b"nope",
        "a number": b"42",
        "a string": b'"usage"',
        "null": b"null",
        "an empty object": b"{}",
    }


def _whole_bodies(pipeline: Pipeline) -> dict[str, Kind]:
    raw = _event(pipeline, "whole")
    return {
        "empty body": Kind(b"", "malformed", alone=True),
        "cut off": Kind(raw[:-3], "malformed", alone=True),
        "cut off array": Kind(b"[" + raw + b",", "malformed", alone=True),
        "array of none": Kind(b"[ ]", "malformed", alone=True),
        "two events in a row": Kind(raw + b"\n" + raw, "malformed", alone=True),
        "another content type": Kind(raw, "malformed", alone=True, content_type="text/plain"),
        "10,001 events": Kind(b"[" + b",".join([b"{}"] * 10_001) + b"]", "malformed", alone=True),
        "above 8 MiB": Kind(raw + b" " * 8 * 2**20, "malformed", alone=True),
    }


def _unpayable(pipeline: Pipeline) -> dict[str, bytes]:
    first_1, first_2 = first_ones(pipeline)
    mismatched = {"account_id": pipeline.other_id}
    return {
        "unknown_key": _event(pipeline, "u1", api_key_id="key_nobody"),
        "unknown_key: and an account": _event(
            pipeline, "u2", api_key_id="key_no", account_id=pipeline.account_id
        ),
        "unknown_account": _event(pipeline, "u3", api_key_id=None, account_id="acct_nobody"),
        "key_account_mismatch": _event(pipeline, "u4", **mismatched),
        "key_account_mismatch: no such account": _event(pipeline, "u5", account_id="acct_nobody"),
        "unknown_model": _event(pipeline, "u6", model="nobody-knows"),
        "unknown_model: in other letters": _event(pipeline, "u7", model=MODEL.upper()),
        "unknown_model: as it was written": _event(pipeline, "u8", model="nobody").replace(b": ", b" :\t"),
        "price_not_supported": _event(pipeline, "u9", model="by-the-hour", provider="acme"),
        "price_not_supported: output of an embedding": _event(
            pipeline, "u10", model="embedding", provider="acme", output_tokens=1
        ),
        "price_not_supported: before its first rate": _event(pipeline, "u11", model="new", provider="acme"),
        "conflict": first_1.replace(b'"input_tokens": 5', b'"input_tokens": 6'),
        "conflict: a provider": first_2.replace(b'"model"', b'"provider": "acme", "model"'),
    }
