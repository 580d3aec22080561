"""The state of one account as the books see it, and its roll-over into the next cycle. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from shared.domain.cycles import Cycle, cycle_at, time_zone
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind


class PlanTerms(msgspec.Struct, frozen=True, gc=False):
    """A subscription plan; the quota is granted afresh in each cycle."""

    plan_id: str
    quota_nanos: int
    discount_ppm: int
    time_zone: str


class CycleState(msgspec.Struct, frozen=True, gc=False):
    """One cycle of an account with the terms it was opened with, and what is left of it."""

    start: datetime
    end: datetime
    plan_id: str
    quota_nanos: int
    discount_ppm: int
    quota_remaining_nanos: int
    spent_nanos: int = 0

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


class AccountState(msgspec.Struct, frozen=True, gc=False):
    """What a decision about an account needs. ``version`` is the one that was read.

    ``plan`` holds the terms of the *next* cycle to open; ``cycles`` those that still take records, oldest
    first.
    """

    account_id: AccountId
    version: int
    seq: int
    head_hash: bytes
    balance_nanos: int
    fallback: bool = False
    spending_limit_nanos: int | None = None
    anchor: datetime | None = None
    plan: PlanTerms | None = None
    cycles: tuple[CycleState, ...] = ()
    frozen: bool = False

    def cycle_now(self, now: datetime) -> CycleState | None:
        """Return the current cycle, or None where the account has no running plan."""
        return next((cycle for cycle in reversed(self.cycles) if now in cycle), None)

    def cycle_for(self, time: datetime, now: datetime) -> CycleState | None:
        """Return the cycle a record counts in: that of its own time while open, else the current one."""
        for cycle in self.cycles:
            if cycle.start <= time < cycle.end:
                return cycle
        return self.cycle_now(now)

    def with_cycle(self, changed: CycleState) -> "AccountState":
        """Return the state with that cycle in the place of the one with the same start."""
        return replace(self, cycles=tuple(changed if c.start == changed.start else c for c in self.cycles))

    def post(
        self,
        kind: TransferKind,
        amount_nanos: int,
        cause: str,
        now: datetime,
        *,
        quota_amount_nanos: int = 0,
        rows_digest: bytes | None = None,
    ) -> tuple["AccountState", Transfer]:
        """Return the state after one more transfer, and that transfer, numbered and chained."""
        cycle = self.cycle_now(now)
        transfer = Transfer(
            seq=self.seq + 1,
            kind=kind,
            amount_nanos=amount_nanos,
            balance_after_nanos=self.balance_nanos + amount_nanos,
            quota_amount_nanos=quota_amount_nanos,
            quota_after_nanos=cycle.quota_remaining_nanos if cycle else 0,
            cycle_spent_after_nanos=cycle.spent_nanos if cycle else 0,
            cause=cause,
            occurred_at=now,
            rows_digest=rows_digest,
            hash=b"",
        ).with_hash(self.head_hash)
        after = replace(
            self, seq=transfer.seq, head_hash=transfer.hash, balance_nanos=transfer.balance_after_nanos
        )
        return after, transfer


def open_cycle(state: AccountState, cycle: Cycle) -> AccountState:
    """Return the state with one more cycle, on the terms of the plan."""
    if state.plan is None:
        return state
    opened = CycleState(
        start=cycle.start,
        end=cycle.end,
        plan_id=state.plan.plan_id,
        quota_nanos=state.plan.quota_nanos,
        discount_ppm=state.plan.discount_ppm,
        quota_remaining_nanos=state.plan.quota_nanos,
    )
    return replace(state, cycles=(*state.cycles, opened))


def roll_over(
    state: AccountState, now: datetime, grace: timedelta
) -> tuple[AccountState, tuple[Transfer, ...]]:
    """Open the cycles that are due, each with its transfer, and forget those that take no more records.

    A cycle that went by while nobody looked is opened too if it still takes late records.
    """
    transfers = []
    for cycle in _cycles_due(state, now, grace):
        state = open_cycle(state, cycle)
        cause = f"cycle {cycle.start.isoformat()}"
        granted = state.cycles[-1].quota_nanos
        state, transfer = state.post(TransferKind.QUOTA_RESET, 0, cause, now, quota_amount_nanos=granted)
        transfers.append(transfer)
    if state.cycles:
        state = replace(state, cycles=tuple(cycle for cycle in state.cycles if cycle.end + grace > now))
    return state, tuple(transfers)


def _cycles_due(state: AccountState, now: datetime, grace: timedelta) -> Iterator[Cycle]:
    if state.plan is None or state.anchor is None or not state.cycles:
        return
    last, zone = state.cycles[-1], time_zone(state.plan.time_zone)
    # Cycles that ended longer ago than the grace period are passed over: nothing can count in them.
    start = max(last.end, now - grace)
    while start <= now:
        cycle = cycle_at(state.anchor, zone, start)
        if cycle.end + grace > now:
            # No gap and no overlap, even where the new plan is in another time zone.
            yield Cycle(max(cycle.start, last.end), cycle.end)
        start = cycle.end
