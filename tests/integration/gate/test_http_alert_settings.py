"""Alert settings over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gate_api import Payer

from shared.domain.money import NANOS_PER_DOLLAR

DOLLAR = NANOS_PER_DOLLAR
PATH = "/v1/billing/alert-settings"


@pytest.fixture
def owner(api_url: str, payer: Payer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api_url, headers={"Authorization": f"Bearer {payer.api_key}"}) as client:
        yield client


def test_at_first_they_are_those_of_everybody(owner: httpx.Client) -> None:
    shown = owner.get(PATH).json()
    assert [shown[f"{level}_nanos"] // DOLLAR for level in ("low", "warning", "critical")] == [20, 10, 5]
    assert shown["quiet_hours"] is None
    assert shown["quota_percent"] == shown["balance_nanos"] == []
    assert owner.get("/v1/billing/balance").json()["empty_at"] is None


def test_what_is_put_is_all_there_is(owner: httpx.Client) -> None:
    wanted: dict[str, Any] = {
        "low": "50",
        "quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"},
        "balance": ["1.50"],
        "quota_percent": [80],
        "spend_per_day": ["25"],
        "time_to_empty_minutes": [60],
    }
    put = owner.put(PATH, json=wanted)
    assert put.status_code == 200, put.text
    assert put.json() == owner.get(PATH).json()
    assert put.json()["low_nanos"] == 50 * DOLLAR
    assert put.json()["balance_nanos"] == [3 * DOLLAR // 2]
    assert put.json()["quiet_hours"]["start"] == "22:00:00"
    assert owner.get("/v1/billing/balance").json()["level"] == "critical"
    bare = owner.put(PATH, json={"quota_percent": [90]}).json()
    assert (bare["low_nanos"], bare["quiet_hours"]) == (20 * DOLLAR, None)
    assert (bare["quota_percent"], bare["balance_nanos"]) == ([90], [])


@pytest.mark.parametrize(
    "wanted",
    [
        {"low": "1"},
        {"low": "-1"},
        {"quota_percent": [100]},
        {"time_to_empty_minutes": [10**9]},
        {"balance": ["0"]},
        {"quiet_hours": {"start": "22:00", "end": "22:00", "time_zone": "UTC"}},
        {"quiet_hours": {"start": "22:00Z", "end": "07:00", "time_zone": "UTC"}},
        {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Nowhere"}},
    ],
)
def test_what_makes_no_sense_is_refused(owner: httpx.Client, wanted: dict[str, Any]) -> None:
    before = owner.get(PATH).json()
    answer = owner.put(PATH, json=wanted)
    assert answer.status_code in (404, 409, 422), answer.text
    assert answer.json()["error"]["message"]
    assert owner.get(PATH).json() == before
