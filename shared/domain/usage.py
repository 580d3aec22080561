"""A usage record between pricing and the books: who pays and the list price are known. Pure."""

from datetime import UTC, datetime
from typing import Self

import msgspec

from shared.domain.events import UsageEvent, content_fingerprint
from shared.domain.ids import AccountId, EventId


class PricedUsage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the debit needs of a record, decoded once by pricing; on its way it is a JSON array.

    ``time`` is in UTC. ``fingerprint`` tells records apart that bear one id; ``raw`` is the event as it came,
    for the one that is refused.
    """

    account_id: AccountId
    event_id: EventId
    source: str
    api_key_id: str | None
    provider: str | None
    model: str
    rate_id: int
    time: datetime
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    list_nanos: int
    hold_id: str | None
    metadata: str | None
    fingerprint: bytes
    raw: msgspec.Raw

    @classmethod
    def of(cls, event: UsageEvent, raw: bytes, account_id: str, rate_id: int, list_nanos: int) -> Self:
        """Return what an event becomes once its payer, its rate and its list price in nanos are known."""
        data, tokens, time = event.data, event.tokens, event.time.astimezone(UTC)
        return cls(
            AccountId(account_id),
            EventId(event.id),
            event.source,
            data.api_key_id,
            data.provider,
            data.model,
            rate_id,
            time,
            *tokens,
            list_nanos,
            data.hold_id,
            event.metadata_json,
            content_fingerprint(account_id, data.api_key_id, data.provider, data.model, time, tokens),
            msgspec.Raw(raw),
        )
