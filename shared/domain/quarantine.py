"""Why a record was parked instead of debited."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The contract's reasons."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    UNKNOWN_ACCOUNT = "unknown_account"
    KEY_ACCOUNT_MISMATCH = "key_account_mismatch"
    UNKNOWN_MODEL = "unknown_model"
    PRICE_NOT_SUPPORTED = "price_not_supported"
    CONFLICT = "conflict"

    @property
    def releasable(self) -> bool:
        """Whether the cause can go away, so that the record can be debited after all."""
        return self not in (Reason.MALFORMED, Reason.CONFLICT)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that cannot be processed: its raw body, the reason, and a detail for people."""

    reason: Reason
    detail: str
    raw: bytes
    account_id: str | None = None
    event_id: str | None = None
