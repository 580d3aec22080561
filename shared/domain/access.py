"""What a key of the HTTP tier may do, and who its holder is in the console."""

from collections.abc import Collection
from enum import StrEnum


class Scope(StrEnum):
    """One thing that a key may do. The last three are for keys that belong to no account."""

    USAGE = "usage"  # ask the gate, and send usage, for its own account
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    SERVICE = "service"  # what a gateway does: usage for any account
    AUDIT_READ = "audit:read"  # what an auditor does: see all, change nothing
    ADMIN = "admin"  # everything


#: What the first key of an account may do: it is its owner's.
OWNER = (Scope.USAGE, Scope.BILLING_READ, Scope.BILLING_WRITE)
#: What another key of an account may do unless told otherwise.
MEMBER = (Scope.USAGE, Scope.BILLING_READ)
PLATFORM = frozenset((Scope.SERVICE, Scope.AUDIT_READ, Scope.ADMIN))


class Role(StrEnum):
    """Who looks at the console."""

    OWNER = "owner"  # sees its account, and changes it
    BILLING = "billing"  # sees its account
    MEMBER = "member"  # sees what its own key used
    OPERATOR = "operator"  # sees all accounts, and changes them
    AUDITOR = "auditor"  # sees all accounts


#: What a person may be in an account, and what on the platform.
ACCOUNT_ROLES = (Role.OWNER, Role.BILLING, Role.MEMBER)
PLATFORM_ROLES = (Role.OPERATOR, Role.AUDITOR)

_ROLES = (
    (Scope.ADMIN, Role.OPERATOR),
    (Scope.AUDIT_READ, Role.AUDITOR),
    (Scope.BILLING_WRITE, Role.OWNER),
    (Scope.BILLING_READ, Role.BILLING),
    (Scope.USAGE, Role.MEMBER),
)


def role_of(scopes: Collection[Scope]) -> Role | None:
    """Return the role that a key's scopes give; None for a gateway's, which has no business here."""
    return next((role for scope, role in _ROLES if scope in scopes), None)
