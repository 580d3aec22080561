"""What is told about an account, and when: a pure fold over its transfers in order of ``seq``.

The fold has memory: a level is told once, and again only after the balance has risen a tenth above its bound.
So a dip that recovered before anybody looked is told, a balance that hovers around a bound is told once, and
the alerts follow from the books alone. What an account spends, condensed to its pace, and the rules that it
has set for itself are remembered in the same way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from shared.domain.alert_rules import NOTHING_WATCHED, Rule, RuleKind, Sight, Watched
from shared.domain.ledger import TransferKind
from shared.domain.levels import DEFAULT_BOUNDS, Bounds, Level, level_of
from shared.domain.money import format_dollars
from shared.domain.pace import Pace, empty_at, spend

_BY_SEVERITY = tuple(Level)
_SEVERITY = {level: number for number, level in enumerate(_BY_SEVERITY)}


class AlertType(StrEnum):
    """Alert types, which are their routing keys: the contract's, then those of an account's own rules.

    The latter share a first word that no type of the contract has, so that a consumer bound to ``balance.*``
    never sees them, and one bound to all of them sees them only for accounts that asked.
    """

    BALANCE_LOW = "balance.low"
    BALANCE_WARNING = "balance.warning"
    BALANCE_CRITICAL = "balance.critical"
    BALANCE_EXHAUSTED = "balance.exhausted"
    BALANCE_RECOVERED = "balance.recovered"
    TOPUP_SUCCEEDED = "topup.succeeded"
    TOPUP_FAILED = "topup.failed"
    TOPUP_ACTION_REQUIRED = "topup.action_required"
    TOPUP_DISABLED = "topup.disabled"
    QUOTA_EXHAUSTED = "quota.exhausted"
    QUOTA_RESET = "quota.reset"
    SPENDING_LIMIT_REACHED = "spending_limit.reached"
    KEY_LIMIT_REACHED = "key.limit_reached"
    USAGE_QUARANTINED = "usage.quarantined"
    # Beyond the contract:
    WEBHOOK_DISABLED = "webhook.disabled"

    RULE_BALANCE = "rule.balance"
    RULE_QUOTA_SHARE = "rule.quota_share"
    RULE_SPENDING_LIMIT_SHARE = "rule.spending_limit_share"
    RULE_KEY_LIMIT_SHARE = "rule.key_limit_share"
    RULE_SPEND = "rule.spend"
    RULE_TIME_TO_EMPTY = "rule.time_to_empty"


RULE_TYPES = {
    RuleKind.BALANCE: AlertType.RULE_BALANCE,
    RuleKind.QUOTA_SHARE: AlertType.RULE_QUOTA_SHARE,
    RuleKind.SPENDING_LIMIT_SHARE: AlertType.RULE_SPENDING_LIMIT_SHARE,
    RuleKind.KEY_LIMIT_SHARE: AlertType.RULE_KEY_LIMIT_SHARE,
    RuleKind.SPEND_PER_HOUR: AlertType.RULE_SPEND,
    RuleKind.SPEND_PER_DAY: AlertType.RULE_SPEND,
    RuleKind.TIME_TO_EMPTY: AlertType.RULE_TIME_TO_EMPTY,
}


class Entry(NamedTuple):
    """What the fold needs of a transfer. The quota of its cycle is known where a rule asks for it."""

    seq: int
    kind: str
    balance_after_nanos: int
    quota_amount_nanos: int
    quota_after_nanos: int
    cycle_spent_after_nanos: int
    occurred_at: datetime
    amount_nanos: int = 0
    quota_granted_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What an account was told and not yet re-armed for. A new account starts armed and silent."""

    level: Level = Level.NORMAL
    quota: bool = False
    spending_limit: bool = False
    pace: Pace | None = None
    watched: Watched = NOTHING_WATCHED


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of an account that alerts depend on."""

    bounds: Bounds = DEFAULT_BOUNDS
    spending_limit_nanos: int | None = None


class Alert(NamedTuple):
    """One thing to tell. ``balance_nanos`` is that after the transfer it is about.

    At the pace of that moment the balance is used up at ``empty_at``: said of balances, None where unknown.
    """

    type: AlertType
    transfer_seq: int
    level: Level
    balance_nanos: int
    occurred_at: datetime
    empty_at: datetime | None = None
    rule: Rule | None = None

    @property
    def tells_when_empty(self) -> bool:
        """Whether it is about a balance."""
        return self.type.startswith("balance.") or self.type in _ON_BALANCE


_ON_BALANCE = (AlertType.RULE_BALANCE, AlertType.RULE_TIME_TO_EMPTY)


def alert_data(
    account_id: str | None, balance_nanos: int | None, occurred_at: datetime, level: Level | None
) -> dict[str, Any]:
    """Return what every alert says in its ``data``; balance and level are None where there is no account."""
    return {
        "account_id": account_id,
        "level": None if level is None else str(level),
        "balance_nanos": balance_nanos,
        "balance": None if balance_nanos is None else format_dollars(balance_nanos),
        "occurred_at": as_text(occurred_at),
    }


def correlation_id(account_id: str, data: Mapping[str, Any]) -> str | None:
    """Return the id by which ``payg trace`` finds what an alert goes back to, None where it is about nothing.

    For an alert about usage that is not this, but the id of the last record that the transfer covers.
    """
    named = (data.get(name) for name in ("topup_id", "event_id", "entry_id"))
    if found := next((each for each in named if each), None):
        return str(found)
    return f"{account_id}/{data['transfer_seq']}" if "transfer_seq" in data else None


def as_text(time: datetime) -> str:
    """Return a time as alerts say it: RFC 3339, UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def fold(told: Told, entries: Iterable[Entry], limits: Limits) -> tuple[Told, list[Alert]]:
    """Return what the account has been told after these transfers, and the alerts on the way."""
    alerts: list[Alert] = []
    for entry in entries:
        level = level_of(entry.balance_after_nanos, limits.bounds)
        told, types = _step(told, entry, level, limits)
        found: list[tuple[AlertType, Rule | None]] = [(type_, None) for type_ in types]
        if told.watched.rules:
            watched, rules = told.watched.see(_sight(told.pace, entry, limits))
            told = replace(told, watched=watched)
            found += ((RULE_TYPES[rule.kind], rule) for rule in rules)
        alerts += (_alert(type_, rule, entry, level, told.pace) for type_, rule in found)
    return told, alerts


def _alert(type_: AlertType, rule: Rule | None, entry: Entry, level: Level, pace: Pace | None) -> Alert:
    alert = Alert(type_, entry.seq, level, entry.balance_after_nanos, entry.occurred_at, rule=rule)
    if not alert.tells_when_empty:
        return alert
    return alert._replace(empty_at=empty_at(pace, alert.balance_nanos, alert.occurred_at))


def _spent(entry: Entry) -> int:
    """Return what usage took from the balance."""
    return -entry.amount_nanos if entry.kind == TransferKind.USAGE else 0


def _sight(pace: Pace | None, entry: Entry, limits: Limits) -> Sight:
    return Sight(
        balance_nanos=entry.balance_after_nanos,
        quota_after_nanos=entry.quota_after_nanos,
        quota_granted_nanos=entry.quota_granted_nanos,
        cycle_spent_nanos=entry.cycle_spent_after_nanos,
        spending_limit_nanos=limits.spending_limit_nanos,
        spent_nanos=_spent(entry),
        occurred_at=entry.occurred_at,
        pace=pace,
    )


def _step(told: Told, entry: Entry, level: Level, limits: Limits) -> tuple[Told, list[AlertType]]:
    types = []
    alert_level, balance_alert = _balance(told.level, level, entry.balance_after_nanos, limits.bounds)
    if balance_alert:
        types.append(balance_alert)
    if entry.kind == TransferKind.QUOTA_RESET:
        types.append(AlertType.QUOTA_RESET)
    took_quota = entry.kind == TransferKind.USAGE and entry.quota_amount_nanos < 0
    if took_quota and entry.quota_after_nanos == 0 and not told.quota:
        types.append(AlertType.QUOTA_EXHAUSTED)
    limit = limits.spending_limit_nanos
    reached = limit is not None and 0 < limit <= entry.cycle_spent_after_nanos
    if reached and not told.spending_limit:
        types.append(AlertType.SPENDING_LIMIT_REACHED)
    quota_told = entry.quota_after_nanos == 0 and (told.quota or took_quota)
    spent_nanos = _spent(entry)
    pace = spend(told.pace, spent_nanos, entry.occurred_at) if spent_nanos > 0 else told.pace
    return Told(alert_level, quota_told, reached, pace, told.watched), types


def _balance(told: Level, level: Level, balance_nanos: int, bounds: Bounds) -> tuple[Level, AlertType | None]:
    """Return the level told after a balance was seen, and the alert for it: at most one, the worst."""
    armed = told
    while armed is not Level.NORMAL and balance_nanos * 10 >= _rearms_at_tenths(armed, bounds):
        armed = _BY_SEVERITY[_SEVERITY[armed] - 1]
    if _SEVERITY[level] > _SEVERITY[armed]:
        return level, AlertType(f"balance.{level}")
    if armed is Level.NORMAL and told is not Level.NORMAL:
        return armed, AlertType.BALANCE_RECOVERED
    return armed, None


def _rearms_at_tenths(level: Level, bounds: Bounds) -> int:
    """Return ten times the balance at which a level can be told again."""
    all_bounds = bounds.low_nanos, bounds.warning_nanos, bounds.critical_nanos
    return {
        Level.LOW: 11 * bounds.low_nanos,
        Level.WARNING: 11 * bounds.warning_nanos,
        Level.CRITICAL: 11 * bounds.critical_nanos,
        Level.EXHAUSTED: min((bound for bound in all_bounds if bound > 0), default=1),
    }[level]
