"""What pricing passes on of a record."""

import json

from domain_builders import ACCOUNT, LIMITS, NOW, event_json

from shared.domain.events import decode_event
from shared.domain.usage import PricedUsage


def test_a_priced_record_brings_along_what_came_with_it() -> None:
    raw = event_json({"hold_id": "hold_9", "metadata": {"team": 1}})
    priced = PricedUsage.of(decode_event(raw, LIMITS, NOW), raw, ACCOUNT, rate_id=7, list_nanos=11)
    assert (priced.account_id, priced.event_id, priced.source) == (ACCOUNT, "req_1", "gateway-eu-1")
    assert (priced.api_key_id, priced.provider, priced.model) == ("key_1", "openai", "gpt-4o")
    assert (priced.rate_id, priced.list_nanos, priced.hold_id) == (7, 11, "hold_9")
    assert json.loads(priced.metadata or "") == {"team": 1}
    assert bytes(priced.raw) == raw
