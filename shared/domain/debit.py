"""What to do with the priced records of one account: the decision of the debit stage. Pure.

Invariants, kept here and checked by ``payg audit``:
- a record is debited once, whoever sends it again; other content under its id is a conflict;
- one transfer per account and batch covers exactly the rows that are new, and none is written for none;
- records are allocated in order of (time, id).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from msgspec.structs import replace

from shared.domain.account import AccountState, CycleState, roll_over
from shared.domain.allocation import NO_PLAN, Allocation, Payer, allocate
from shared.domain.ids import EventId
from shared.domain.ledger import Transfer, TransferKind, UsageRow, digest_of_rows
from shared.domain.usage import PricedUsage

_time_and_id = attrgetter("time", "event_id")


class DebitedRecord(NamedTuple):
    """A new row of the books with what guards it: the fingerprint of its content, the digest of the row.

    ``debited_at`` is the time of its transfer: the two belong to one period.
    """

    row: UsageRow
    fingerprint: bytes
    digest: bytes
    debited_at: datetime


@dataclass(frozen=True, slots=True)
class Debit:
    """What a batch changes in one account."""

    before: AccountState
    after: AccountState
    transfers: tuple[Transfer, ...]
    records: tuple[DebitedRecord, ...]
    duplicates: int
    conflicts: tuple[PricedUsage, ...]


def debit(
    state: AccountState,
    batch: Iterable[PricedUsage],
    known: Mapping[EventId, bytes],
    now: datetime,
    grace: timedelta,
) -> Debit:
    """Decide what the records of one account do to it.

    ``known`` maps the ids among them that the books already hold to the fingerprints they hold.
    """
    fresh, duplicates, conflicts = _sort_out(batch, known)
    if not fresh:
        return Debit(state, state, (), (), duplicates, conflicts)
    rolled, transfers = roll_over(state, now, grace)
    seq = rolled.seq + 1
    charged, records = _charge(rolled, fresh, seq, now)
    after, transfer = charged.post(
        TransferKind.USAGE,
        -sum(record.row.balance_nanos for record in records),
        _cause(records),
        now,
        quota_amount_nanos=-sum(record.row.quota_nanos for record in records),
        rows_digest=digest_of_rows((record.row.event_id, record.digest) for record in records),
    )
    return Debit(state, after, (*transfers, transfer), tuple(records), duplicates, conflicts)


def _sort_out(
    batch: Iterable[PricedUsage], known: Mapping[EventId, bytes]
) -> tuple[list[PricedUsage], int, tuple[PricedUsage, ...]]:
    """Part a batch into new records, repetitions and conflicts; inside the batch the first one wins."""
    seen = dict(known)
    fresh: list[PricedUsage] = []
    conflicts: list[PricedUsage] = []
    duplicates = 0
    for usage in batch:
        first = seen.get(usage.event_id)
        if first is None:
            seen[usage.event_id] = usage.fingerprint
            fresh.append(usage)
        elif first == usage.fingerprint:
            duplicates += 1
        else:
            conflicts.append(usage)
    fresh.sort(key=_time_and_id)
    return fresh, duplicates, tuple(conflicts)


class _Meter:
    """A cycle while records are charged to it."""

    __slots__ = ("cycle", "quota_remaining_nanos", "spent_nanos")

    def __init__(self, cycle: CycleState) -> None:
        self.cycle = cycle
        self.quota_remaining_nanos = cycle.quota_remaining_nanos
        self.spent_nanos = cycle.spent_nanos

    def charge(self, list_nanos: int, state: AccountState) -> Allocation:
        """Split a charge between quota and balance, and count it."""
        cycle = self.cycle
        allocation = allocate(
            list_nanos,
            Payer(
                True,  # noqa: FBT003 - has_plan; by position, this runs for every record
                cycle.discount_ppm,
                self.quota_remaining_nanos,
                state.fallback,
                state.spending_limit_nanos,
                self.spent_nanos,
            ),
        )
        self.quota_remaining_nanos -= allocation.quota_nanos
        self.spent_nanos += allocation.balance_nanos
        return allocation

    def read(self) -> CycleState:
        return replace(
            self.cycle, quota_remaining_nanos=self.quota_remaining_nanos, spent_nanos=self.spent_nanos
        )


def _charge(
    state: AccountState, fresh: Sequence[PricedUsage], seq: int, now: datetime
) -> tuple[AccountState, list[DebitedRecord]]:
    meters = {cycle.start: _Meter(cycle) for cycle in state.cycles}
    records = []
    for usage in fresh:
        cycle = state.cycle_for(usage.time, now)
        if cycle is None:
            row = _row(usage, allocate(usage.list_nanos, NO_PLAN), None, seq)
        else:
            row = _row(usage, meters[cycle.start].charge(usage.list_nanos, state), cycle.start, seq)
        records.append(DebitedRecord(row, usage.fingerprint, row.digest(), now))
    if meters:
        state = replace(state, cycles=tuple(meter.read() for meter in meters.values()))
    return state, records


def _row(usage: PricedUsage, allocation: Allocation, cycle_start: datetime | None, seq: int) -> UsageRow:
    return UsageRow(
        usage.account_id,
        seq,
        usage.event_id,
        usage.source,
        usage.api_key_id,
        usage.provider,
        usage.model,
        usage.rate_id,
        usage.time,
        cycle_start,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.list_nanos,
        *allocation,
        usage.hold_id,
        usage.metadata,
    )


def _cause(records: Sequence[DebitedRecord]) -> str:
    return f"{len(records)} usage record{'s' if len(records) > 1 else ''}"
