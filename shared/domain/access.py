"""What a key of the HTTP tier may do."""

from enum import StrEnum


class Scope(StrEnum):
    """One thing that a key may do. ``service`` and ``admin`` are for keys that belong to no account."""

    USAGE = "usage"  # ask the gate, and send usage, for its own account
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    SERVICE = "service"  # what a gateway does: usage for any account
    ADMIN = "admin"  # everything


#: What the first key of an account may do: it is its owner's.
OWNER = (Scope.USAGE, Scope.BILLING_READ, Scope.BILLING_WRITE)
#: What another key of an account may do unless told otherwise.
MEMBER = (Scope.USAGE, Scope.BILLING_READ)
PLATFORM = frozenset((Scope.SERVICE, Scope.ADMIN))
