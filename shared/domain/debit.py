"""What to do with the priced records of one account: the decision of the debit stage. Pure.

Invariants, kept here and checked by ``payg audit``:
- a record is debited once, whoever sends it again; other content under its id is a conflict;
- one transfer per account and batch covers exactly the rows that are new, and none is written for none;
- records are allocated in order of (time, id).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from shared.domain.account import AccountState, CycleState, roll_over
from shared.domain.allocation import Allocation, allocate
from shared.domain.events import UsageEvent, fingerprint
from shared.domain.ids import AccountId, EventId
from shared.domain.ledger import Transfer, TransferKind, UsageRow, digest_of_rows


class PricedUsage(msgspec.Struct, frozen=True, gc=False):
    """A usage record whose payer and list price are known; ``raw`` is the event as it came."""

    account_id: AccountId
    rate_id: int
    list_nanos: int
    event: UsageEvent
    raw: bytes

    def fingerprint(self) -> bytes:
        return fingerprint(self.event, self.account_id)


class DebitedRecord(msgspec.Struct, frozen=True, gc=False):
    """A new row of the books with what guards it: the fingerprint of its content, the digest of the row."""

    row: UsageRow
    fingerprint: bytes
    digest: bytes


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
) -> tuple[list[tuple[PricedUsage, bytes]], int, tuple[PricedUsage, ...]]:
    """Part a batch into new records, repetitions and conflicts; inside the batch the first one wins."""
    seen = dict(known)
    fresh: list[tuple[PricedUsage, bytes]] = []
    conflicts: list[PricedUsage] = []
    duplicates = 0
    for usage in batch:
        content = usage.fingerprint()
        first = seen.setdefault(EventId(usage.event.id), content)
        if first is content:
            fresh.append((usage, content))
        elif first == content:
            duplicates += 1
        else:
            conflicts.append(usage)
    fresh.sort(key=lambda item: (item[0].event.time, item[0].event.id))
    return fresh, duplicates, tuple(conflicts)


def _charge(
    state: AccountState, fresh: Sequence[tuple[PricedUsage, bytes]], seq: int, now: datetime
) -> tuple[AccountState, list[DebitedRecord]]:
    records = []
    for usage, content in fresh:
        cycle = state.cycle_for(usage.event.time, now)
        allocation = allocate(usage.list_nanos, state.payer(cycle))
        if cycle is not None:
            state = state.with_cycle(_spend(cycle, allocation))
        row = _row(usage, allocation, cycle, seq)
        records.append(DebitedRecord(row, content, row.digest()))
    return state, records


def _spend(cycle: CycleState, allocation: Allocation) -> CycleState:
    return replace(
        cycle,
        quota_remaining_nanos=cycle.quota_remaining_nanos - allocation.quota_nanos,
        spent_nanos=cycle.spent_nanos + allocation.balance_nanos,
    )


def _row(usage: PricedUsage, allocation: Allocation, cycle: CycleState | None, seq: int) -> UsageRow:
    event, data = usage.event, usage.event.data
    return UsageRow(
        usage.account_id,
        seq,
        EventId(event.id),
        event.source,
        data.api_key_id,
        data.provider,
        data.model,
        usage.rate_id,
        event.time.astimezone(UTC),
        cycle.start if cycle else None,
        *event.tokens,
        usage.list_nanos,
        *allocation,
        data.hold_id,
        event.metadata_json,
    )


def _cause(records: Sequence[DebitedRecord]) -> str:
    return f"{len(records)} usage record{'s' if len(records) > 1 else ''}"
