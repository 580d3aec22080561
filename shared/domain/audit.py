"""What makes the books of one account right. Pure; ``shared.operations.audit`` feeds it from a snapshot.

Proved for each account: usage rows are what their transfer digested, and add up to it; transfers are numbered
without gaps and chained; the balance is the sum of all transfers; each record was charged at its rate; cycles
have left what their records did not take. What payments say is proved in ``payment_audit``.

Where the usage rows of a month are detached, its transfers are proven all the same: chain, numbers, balances.
What those rows took from each cycle was noted when they went, and must agree with their transfers.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from shared.domain.errors import PriceNotSupportedError
from shared.domain.events import content_fingerprint
from shared.domain.ids import AccountId, EventId
from shared.domain.ledger import Transfer, TransferKind, UsageRow, chain_hash, digest_of_rows, genesis_hash
from shared.domain.pricing import Tier, list_price_nanos
from shared.domain.tokens import TokenCounts


class Fault(Exception):  # noqa: N818 - a finding, not an error of ours
    """A row of the books that is wrong: the table, its key, and what is wrong with it."""

    def __init__(self, table: str, key: str, what: str) -> None:
        super().__init__(f"{table} {key}: {what}")
        self.table = table
        self.key = key
        self.what = what


class StoredUsage(msgspec.Struct, frozen=True, gc=False):
    """A usage row with the digest and the fingerprint that are stored beside it."""

    row: UsageRow
    digest: bytes
    debited_at: datetime
    fingerprint: bytes | None


class StoredVoid(msgspec.Struct, frozen=True):
    """A void, what it gave back, and the transfer that had taken it."""

    event_id: EventId
    amount_nanos: int
    quota_amount_nanos: int
    taken_by_seq: int | None


class StoredCycle(msgspec.Struct, frozen=True):
    """What a cycle says it has left."""

    start: datetime
    quota_nanos: int
    quota_remaining_nanos: int
    spent_nanos: int


class CarriedCycle(msgspec.Struct, frozen=True):
    """What detached records, other than voided ones, took from a cycle."""

    start: datetime
    quota_nanos: int
    balance_nanos: int


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """What an account says about its own books."""

    account_id: AccountId
    balance_nanos: int
    seq: int
    head_hash: bytes


class AccountAudit:
    """Walks the books of one account in order; every method raises Fault at the first row that is wrong."""

    def __init__(
        self,
        account: StoredAccount,
        rates: Mapping[int, Sequence[Tier]],
        voids: Sequence[StoredVoid] = (),
        carried: Sequence[CarriedCycle] = (),
    ) -> None:
        self._account = account
        self._rates = rates
        self._voids = {void.event_id: void for void in voids}
        self._seq = 0
        self._head = genesis_hash(account.account_id)
        self._balance = 0
        self._quota_taken: dict[datetime, int] = defaultdict(int)
        self._spent: dict[datetime, int] = defaultdict(int)
        self._detached: set[int] = set()
        #: Quota that detached records took, as far as voids and the sums of cycles do not account for it.
        self._detached_quota = -sum(cycle.quota_nanos for cycle in carried)
        for cycle in carried:
            self._quota_taken[cycle.start] += cycle.quota_nanos
            self._spent[cycle.start] += cycle.balance_nanos

    def check_transfer(self, transfer: Transfer, usage: Sequence[StoredUsage], *, detached: bool) -> None:
        """Check the next transfer and the usage rows that name it; ``detached`` they must be away."""
        for stored in usage:
            self._check_usage(stored)
        key = f"{self._account.account_id}/{transfer.seq}"
        if transfer.seq != self._seq + 1:
            raise Fault("transfers", key, f"expected number {self._seq + 1}")
        if transfer.hash != chain_hash(self._head, transfer):
            raise Fault("transfers", key, "the hash chain breaks here")
        if transfer.balance_after_nanos != self._balance + transfer.amount_nanos:
            raise Fault("transfers", key, "balance_after is not the balance before plus the amount")
        if detached and transfer.kind == TransferKind.USAGE:
            self._check_detached(transfer, usage)
        else:
            _check_sums(key, transfer, usage)
        self._seq, self._head, self._balance = transfer.seq, transfer.hash, transfer.balance_after_nanos

    def check_end(self, cycles: Sequence[StoredCycle]) -> None:
        """Check what the account and its cycles say against all that was walked."""
        account = self._account
        if account.balance_nanos != self._balance:
            what = f"balance {account.balance_nanos}, its transfers sum to {self._balance}"
            raise Fault("accounts", account.account_id, what)
        if (account.seq, account.head_hash) != (self._seq, self._head):
            raise Fault("accounts", account.account_id, "seq or head_hash is not that of the last transfer")
        self._check_left_over()
        for cycle in cycles:
            left = cycle.quota_nanos - self._quota_taken[cycle.start]
            if (cycle.quota_remaining_nanos, cycle.spent_nanos) != (left, self._spent[cycle.start]):
                key = f"{account.account_id}/{cycle.start.isoformat()}"
                raise Fault("cycles", key, "what is left of it is not what its records did not take")
        known = {cycle.start for cycle in cycles}
        for start in sorted(self._quota_taken.keys() - known):
            raise Fault(
                "cycles", f"{account.account_id}/{start.isoformat()}", "records count in it, and it is gone"
            )

    def _check_detached(self, transfer: Transfer, usage: Sequence[StoredUsage]) -> None:
        for stored in usage:
            key = f"{stored.row.account_id}/{stored.row.event_id}"
            raise Fault("usage_records", key, "its month is detached, by usage_periods, and it is still here")
        self._detached.add(transfer.seq)
        self._detached_quota -= transfer.quota_amount_nanos

    def _check_left_over(self) -> None:
        """Voids of rows that were not met are those of detached ones, which account for the rest of quota."""
        account_id = self._account.account_id
        for void in self._voids.values():
            if void.taken_by_seq not in self._detached:
                raise Fault("transfers", f"{account_id}/{void.event_id}", "a void of no usage record")
            self._detached_quota -= void.quota_amount_nanos
        if self._detached_quota:
            what = "they do not add up to the quota that transfers of detached months took"
            raise Fault("usage_period_cycles", account_id, what)

    def _check_usage(self, stored: StoredUsage) -> None:
        row = stored.row
        key = f"{row.account_id}/{row.event_id}"
        if stored.digest != row.digest():
            raise Fault("usage_records", key, "a value was changed: its digest does not match")
        if row.charge_nanos != row.quota_nanos + row.balance_nanos + row.uncollected_nanos:
            raise Fault("usage_records", key, "charge is not quota + balance + uncollected")
        if row.list_nanos != self._list_price(row, key):
            raise Fault("usage_records", key, f"list price is not that of rate {row.rate_id}")
        if stored.fingerprint != _fingerprint(row):
            raise Fault("usage_ids", key, "the fingerprint is missing or not that of the record")
        self._count(row, key)

    def _count(self, row: UsageRow, key: str) -> None:
        void = self._voids.pop(row.event_id, None)
        if void and (void.amount_nanos, void.quota_amount_nanos) != (row.balance_nanos, row.quota_nanos):
            raise Fault("transfers", key, "a void gives back something else than the record took")
        if row.cycle_start is not None and not void:
            self._quota_taken[row.cycle_start] += row.quota_nanos
            self._spent[row.cycle_start] += row.balance_nanos

    def _list_price(self, row: UsageRow, key: str) -> int:
        tiers = self._rates.get(row.rate_id)
        if tiers is None:
            raise Fault("usage_records", key, f"there is no rate {row.rate_id}")
        try:
            return list_price_nanos(tiers, _tokens(row))
        except PriceNotSupportedError as error:
            raise Fault("usage_records", key, str(error)) from None


def _check_sums(key: str, transfer: Transfer, usage: Sequence[StoredUsage]) -> None:
    if transfer.kind != TransferKind.USAGE:
        if usage:
            raise Fault("transfers", key, f"usage rows name a transfer of kind {transfer.kind}")
        return
    for stored in usage:
        if stored.debited_at != transfer.occurred_at:
            stored_key = f"{stored.row.account_id}/{stored.row.event_id}"
            raise Fault("usage_records", stored_key, "debited_at is not the time of its transfer")
    if transfer.rows_digest != digest_of_rows((u.row.event_id, u.digest) for u in usage):
        raise Fault("transfers", key, "its usage rows are not those it was made of: one was added or removed")
    if transfer.amount_nanos != -sum(u.row.balance_nanos for u in usage):
        raise Fault("transfers", key, "its amount is not the sum of its usage rows")
    if transfer.quota_amount_nanos != -sum(u.row.quota_nanos for u in usage):
        raise Fault("transfers", key, "its quota amount is not the sum of its usage rows")


def _tokens(row: UsageRow) -> TokenCounts:
    return TokenCounts(
        row.input_tokens,
        row.output_tokens,
        row.cache_read_tokens,
        row.cache_write_tokens,
        row.input_audio_tokens,
        row.output_audio_tokens,
    )


def _fingerprint(row: UsageRow) -> bytes:
    return content_fingerprint(
        row.account_id, row.api_key_id, row.provider, row.model, row.time, _tokens(row)
    )
