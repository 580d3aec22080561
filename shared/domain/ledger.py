"""The books of one account: transfers, numbered without gaps, each chained to the one before by a hash.

``hash = SHA-256(previous hash ‖ canonical JSON of the transfer)``, and the transfer of a batch of usage holds
the digest of its rows. So no digit in any row can change without breaking the chain. The first transfer of an
account chains to a hash of the account's id: a chain cannot be moved to another account.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import msgspec

from shared.domain.ids import AccountId, EventId

_encode = msgspec.json.Encoder().encode


class TransferKind(StrEnum):
    """Why money, or quota, moved."""

    USAGE = "usage"
    CREDIT = "credit"
    ADJUSTMENT = "adjustment"
    TOPUP = "topup"
    VOID = "void"
    QUOTA_RESET = "quota_reset"
    REFUND = "refund"
    REFUND_RETURNED = "refund_returned"
    DISPUTE = "dispute"
    DISPUTE_REINSTATED = "dispute_reinstated"


class UsageRow(NamedTuple):
    """One debited usage record as it stands in the books. Amounts in nanos, times in UTC.

    ``charge == quota + balance + uncollected``. ``cycle_start`` names the cycle it counts in, if any.
    """

    account_id: AccountId
    transfer_seq: int
    event_id: EventId
    source: str
    api_key_id: str | None
    provider: str | None
    model: str
    rate_id: int
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
    hold_id: str | None
    metadata: str | None

    def digest(self) -> bytes:
        """Return the SHA-256 of the whole row."""
        return sha256(_encode(self)).digest()


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One movement on the customer's side of the books. ``amount_nanos`` is what the balance changed by.

    ``quota_after`` and ``cycle_spent_after`` are those of the account's current cycle, 0 without one.
    """

    seq: int
    kind: TransferKind
    amount_nanos: int
    balance_after_nanos: int
    quota_amount_nanos: int
    quota_after_nanos: int
    cycle_spent_after_nanos: int
    cause: str
    occurred_at: datetime
    rows_digest: bytes | None
    hash: bytes

    def with_hash(self, previous: bytes) -> "Transfer":
        """Return the same transfer, chained to the one before it."""
        return msgspec.structs.replace(self, hash=chain_hash(previous, self))


def genesis_hash(account_id: AccountId) -> bytes:
    """Return what the first transfer of an account is chained to."""
    return sha256(b"payg:account:" + account_id.encode()).digest()


def chain_hash(previous: bytes, transfer: Transfer) -> bytes:
    """Return the hash that a transfer must carry, given the hash of the one before it."""
    return sha256(previous + canonical_json(transfer)).digest()


class _Canonical(msgspec.Struct, frozen=True, gc=False):
    """What is hashed of a transfer; the fields stand in the order of their names."""

    amount: int
    balance_after: int
    cause: str
    cycle_spent_after: int
    kind: str
    occurred_at: datetime
    quota_after: int
    quota_amount: int
    rows_digest: str | None
    seq: int


def canonical_json(transfer: Transfer) -> bytes:
    """Return the one JSON text of a transfer: sorted keys, no spaces, RFC 3339 UTC times, digests in hex."""
    return _encode(
        _Canonical(
            transfer.amount_nanos,
            transfer.balance_after_nanos,
            transfer.cause,
            transfer.cycle_spent_after_nanos,
            transfer.kind,
            transfer.occurred_at.astimezone(UTC),
            transfer.quota_after_nanos,
            transfer.quota_amount_nanos,
            transfer.rows_digest.hex() if transfer.rows_digest else None,
            transfer.seq,
        )
    )


def digest_of_rows(digests: Iterable[tuple[EventId, bytes]]) -> bytes:
    """Return the digest over the usage rows of one transfer, given each row's, in order of id."""
    return sha256(b"".join([digest for _, digest in sorted(digests)])).digest()
