"""What an alert goes back to has one name, which `payg trace` takes."""

import pytest

from shared.domain.alerts import correlation_id
from shared.messaging.envelope import NO_ORIGIN, Origin


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"topup_id": "top_1", "transfer_seq": 3}, "top_1"),
        ({"entry_id": "qtn_1", "event_id": "req_1"}, "req_1"),
        ({"entry_id": "qtn_1", "event_id": None}, "qtn_1"),
        ({"transfer_seq": 3}, "acct_1/3"),
        ({}, None),
    ],
)
def test_the_name_is_that_of_the_nearest_thing_that_can_be_traced(
    data: dict[str, object], name: str | None
) -> None:
    assert correlation_id("acct_1", data) == name


@pytest.mark.parametrize("origin", [NO_ORIGIN, Origin("req_1"), Origin("req_1", "00-a-b-01")])
def test_an_origin_travels_in_the_options_of_a_message(origin: Origin) -> None:
    assert Origin.of(origin.options()) == origin
