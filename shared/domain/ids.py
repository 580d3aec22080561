"""Identifiers that would cost money if they were mixed up."""

from typing import NewType

AccountId = NewType("AccountId", str)
ApiKeyId = NewType("ApiKeyId", str)
#: The id of a usage event; unique per account, across sources.
EventId = NewType("EventId", str)
