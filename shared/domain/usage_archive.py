"""A record of usage as an archive keeps it: with all that its charge follows from. Pure."""

from datetime import datetime
from typing import NamedTuple

from shared.domain.ids import AccountId, EventId
from shared.domain.rerating import DebitedUsage
from shared.domain.tokens import TOKEN_KINDS, TokenCounts


class ArchivedUsage(NamedTuple):
    """A debited record, who paid for it, and the rate it was charged at. Amounts in nanos, times in UTC.

    ``voided`` is whether it was given back by then. ``tiers`` is the JSON of the rate's tiers, as the books
    have it: nanos per million tokens.
    """

    account_id: AccountId
    event_id: EventId
    transfer_seq: int
    debited_at: datetime
    source: str
    api_key_id: str | None
    provider: str | None
    model: str
    time: datetime
    cycle_start: datetime | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    list_nanos: int
    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int
    voided: bool
    rate_id: int
    rate_provider: str
    rate_model: str
    rate_from: datetime
    tiers: str

    def debited(self) -> DebitedUsage:
        """Return what there is to re-price of it."""
        return DebitedUsage(
            self.account_id,
            self.provider,
            self.model,
            self.time,
            TokenCounts(**{kind: getattr(self, f"{kind}_tokens") for kind in TOKEN_KINDS}),
            self.list_nanos,
            self.balance_nanos,
            has_plan=self.cycle_start is not None,
        )
