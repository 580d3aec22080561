"""The alerts of what accounts crossed, as they are written."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.db.alerts import NewAlert
from shared.db.evaluations import EvaluatedAccount, KeyCharge
from shared.domain.alert_rules import Rule, RuleKind, crosses
from shared.domain.alerts import Alert, AlertType, Entry, alert_data, as_text
from shared.domain.levels import level_of


def account_alert(account_id: str, alert: Alert) -> NewAlert:
    """Return the alert of a crossing that the fold found."""
    data = alert_data(account_id, alert.balance_nanos, alert.occurred_at, alert.level)
    data["transfer_seq"] = alert.transfer_seq
    if alert.tells_when_empty:
        data["empty_at"] = None if alert.empty_at is None else as_text(alert.empty_at)
    if alert.rule is not None:
        data["rule"] = alert.rule.data()
    return NewAlert(account_id, alert.type, data, alert.occurred_at)


def key_alerts(
    accounts: Sequence[EvaluatedAccount],
    entries: Mapping[str, Sequence[Entry]],
    charges: Sequence[tuple[KeyCharge, int]],
) -> list[NewAlert]:
    """Return an alert for each key whose spend reached its limit, or a share of it that has a rule."""
    if not charges:
        return []
    by_id = {account.account_id: account for account in accounts}
    by_transfer = {(account_id, entry.seq): entry for account_id, found in entries.items() for entry in found}
    new: list[NewAlert] = []
    for charge, before_nanos in charges:
        entry = by_transfer[charge.account_id, charge.transfer_seq]
        new += _of_charge(by_id[charge.account_id], entry, charge, before_nanos)
    return new


def _of_charge(
    account: EvaluatedAccount, entry: Entry, charge: KeyCharge, before_nanos: int
) -> list[NewAlert]:
    limit_nanos, after_nanos = charge.limit_nanos, before_nanos + charge.charge_nanos
    level = level_of(entry.balance_after_nanos, account.limits.bounds)
    data = alert_data(charge.account_id, entry.balance_after_nanos, entry.occurred_at, level) | {
        "transfer_seq": charge.transfer_seq,
        "api_key_id": charge.api_key_id,
        "limit_nanos": limit_nanos,
        "spent_nanos": after_nanos,
    }
    told: list[tuple[AlertType, dict[str, Any]]] = [
        (AlertType.RULE_KEY_LIMIT_SHARE, {"rule": rule.data()})
        for rule in _shares(account)
        if crosses(rule, before_nanos, after_nanos, limit_nanos)
    ]
    if before_nanos < limit_nanos <= after_nanos:
        told.append((AlertType.KEY_LIMIT_REACHED, {}))
    return [NewAlert(charge.account_id, type_, data | more, entry.occurred_at) for type_, more in told]


def _shares(account: EvaluatedAccount) -> list[Rule]:
    return [rule for rule in account.told.watched.rules if rule.kind is RuleKind.KEY_LIMIT_SHARE]
