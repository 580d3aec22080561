"""The pages that each role finds in its menu."""

from typing import NamedTuple

from shared.domain.access import Role


class Entry(NamedTuple):
    """A page in the menu; ``icon`` names one in icons.svg."""

    path: str
    label: str
    icon: str


_ACCOUNT = (
    Entry("", "Overview", "overview"),
    Entry("usage", "Usage", "usage"),
    Entry("transactions", "Transactions", "transactions"),
    Entry("add-funds", "Add funds", "add"),
    Entry("auto-topup", "Auto top-up", "auto"),
    Entry("cards", "Payment methods", "card"),
    Entry("subscription", "Subscription", "subscription"),
    Entry("keys", "API keys", "key"),
    Entry("team", "Team", "team"),
    Entry("statements", "Statements", "statement"),
    Entry("invoices", "Invoices", "invoice"),
    Entry("alerts", "Alerts", "alert"),
    Entry("models", "Models & prices", "models"),
)
_OPERATOR = (
    Entry("accounts", "Accounts", "accounts"),
    Entry("prices", "Prices", "models"),
    Entry("quarantine", "Quarantine", "quarantine"),
    Entry("queues", "Queues", "queues"),
    Entry("reconciliation", "Reconciliation", "reconcile"),
    Entry("team", "Team", "team"),
    Entry("log", "Audit log", "log"),
)
_MEMBER = (Entry("usage", "My usage", "usage"), Entry("models", "Models & prices", "models"))
_MENUS = {
    Role.OWNER: _ACCOUNT,
    Role.BILLING: _ACCOUNT,
    Role.MEMBER: _MEMBER,
    Role.OPERATOR: _OPERATOR,
    Role.AUDITOR: _OPERATOR,
}


def menu(role: Role) -> tuple[Entry, ...]:
    """Return the menu of a role; its first page is where it begins."""
    return _MENUS[role]
