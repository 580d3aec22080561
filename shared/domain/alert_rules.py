"""Rules that an account sets for itself, beside what everybody is told. Pure.

A rule is reached or not after each transfer. It is told once, and again only after it was re-armed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from shared.domain.errors import RefusedError
from shared.domain.money import format_dollars
from shared.domain.pace import HORIZON, Pace, empty_at
from shared.domain.topup import day_start

#: So many rules of one kind an account may have.
MOST_RULES = 10
_MOST_NANOS = 10**18


class RuleKind(StrEnum):
    """What a rule watches; the bound's unit is in the name's comment."""

    BALANCE = "balance"  # nanos: at this balance or below
    QUOTA_SHARE = "quota_share"  # percent of the cycle's quota is used
    SPENDING_LIMIT_SHARE = "spending_limit_share"  # percent of the spending limit is spent
    KEY_LIMIT_SHARE = "key_limit_share"  # percent of a key's limit is spent in its period
    SPEND_PER_HOUR = "spend_per_hour"  # nanos that usage took from the balance in an hour of UTC
    SPEND_PER_DAY = "spend_per_day"  # nanos, in a day of UTC
    TIME_TO_EMPTY = "time_to_empty"  # minutes, or fewer, that the balance lasts at this pace


SHARES = (RuleKind.QUOTA_SHARE, RuleKind.SPENDING_LIMIT_SHARE, RuleKind.KEY_LIMIT_SHARE)
SPENDING = (RuleKind.SPEND_PER_HOUR, RuleKind.SPEND_PER_DAY)


class Rule(NamedTuple):
    """One rule of an account."""

    kind: RuleKind
    bound: int

    def data(self) -> dict[str, Any]:
        """Return how an alert names the rule."""
        if self.kind in SHARES:
            return {"kind": str(self.kind), "percent": self.bound}
        if self.kind is RuleKind.TIME_TO_EMPTY:
            return {"kind": str(self.kind), "minutes": self.bound}
        return {"kind": str(self.kind), "bound_nanos": self.bound, "bound": format_dollars(self.bound)}


@dataclass(frozen=True, slots=True)
class RuleMemory:
    """Whether a rule was told and not yet re-armed; for rules on spending, what the period has seen."""

    told: bool = False
    period_start: datetime | None = None
    spent_nanos: int = 0


class Sight(NamedTuple):
    """What rules see of one transfer."""

    balance_nanos: int
    quota_after_nanos: int
    quota_granted_nanos: int
    cycle_spent_nanos: int
    spending_limit_nanos: int | None
    spent_nanos: int
    occurred_at: datetime
    pace: Pace | None


@dataclass(frozen=True, slots=True)
class Watched:
    """The rules of an account with what they remember."""

    rules: Mapping[Rule, RuleMemory]

    def see(self, sight: Sight) -> tuple["Watched", list[Rule]]:
        """Return what is remembered after a transfer, and the rules to tell."""
        seen = {rule: _weigh(rule, memory, sight) for rule, memory in self.rules.items()}
        told = [rule for rule, (_, tells) in seen.items() if tells]
        return Watched({rule: memory for rule, (memory, _) in seen.items()}), told


NOTHING_WATCHED = Watched({})


def crosses(rule: Rule, before_nanos: int, after_nanos: int, limit_nanos: int) -> bool:
    """Whether a sum that only grows passed that share of its limit."""
    return before_nanos * 100 < limit_nanos * rule.bound <= after_nanos * 100


def check_rule(rule: Rule) -> None:
    """Raise RefusedError for a bound that makes no sense."""
    if rule.kind in SHARES:
        if not 1 <= rule.bound <= 99:
            raise RefusedError("a share is between 1 and 99 percent: 100 is told anyway")
    elif rule.kind is RuleKind.TIME_TO_EMPTY:
        longest = HORIZON // timedelta(minutes=2)
        if not 1 <= rule.bound <= longest:
            raise RefusedError(f"a time to empty is between 1 and {longest:,} minutes")
    elif not 0 < rule.bound <= _MOST_NANOS:
        raise RefusedError("the bound of a rule is a positive amount")


def _weigh(rule: Rule, memory: RuleMemory, sight: Sight) -> tuple[RuleMemory, bool]:
    if rule.kind in SPENDING:
        memory = _spent(rule, memory, sight)
    reached, rearmed = _stands(rule, memory, sight)
    told = memory.told and not rearmed
    return replace(memory, told=told or reached), reached and not told


def _spent(rule: Rule, memory: RuleMemory, sight: Sight) -> RuleMemory:
    """Return what is remembered of the period: a new one begins with nothing spent and nothing told."""
    period = day_start(sight.occurred_at)
    if rule.kind is RuleKind.SPEND_PER_HOUR:
        period = sight.occurred_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if memory.period_start is None or memory.period_start < period:
        memory = RuleMemory(period_start=period)
    return replace(memory, spent_nanos=memory.spent_nanos + sight.spent_nanos)


def _stands(rule: Rule, memory: RuleMemory, sight: Sight) -> tuple[bool, bool]:
    """Return whether a rule is reached, and whether it may be told again."""
    if rule.kind is RuleKind.BALANCE:
        return sight.balance_nanos <= rule.bound, sight.balance_nanos * 10 >= rule.bound * 11
    if rule.kind is RuleKind.TIME_TO_EMPTY:
        return _runs_out(rule, sight, 2), not _runs_out(rule, sight, 3)
    if rule.kind in SPENDING:
        reached = memory.spent_nanos >= rule.bound
    elif rule.kind is RuleKind.QUOTA_SHARE:
        granted = sight.quota_granted_nanos
        reached = granted > 0 and (granted - sight.quota_after_nanos) * 100 >= granted * rule.bound
    elif rule.kind is RuleKind.SPENDING_LIMIT_SHARE:
        limit = sight.spending_limit_nanos or 0
        reached = limit > 0 and sight.cycle_spent_nanos * 100 >= limit * rule.bound
    else:
        reached = False  # a key's limit: see crosses
    return reached, not reached


def _runs_out(rule: Rule, sight: Sight, halves: int) -> bool:
    """Whether the balance lasts less than the bound, or than so many halves of it."""
    if sight.pace is None:
        return False
    within = timedelta(minutes=rule.bound) * halves / 2
    return empty_at(sight.pace, sight.balance_nanos, sight.occurred_at, within) is not None
