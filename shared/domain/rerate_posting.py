"""Reratings that are posted: what identifies one, and which may stand beside each other. Pure."""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple, Self

import msgspec

from shared.domain.ids import AccountId
from shared.domain.rerating import RerateLine

RERATE_KEY_PREFIX = "rerate|"


class RerateKey(NamedTuple):
    """The span of debits that a rerating took, in UTC, and the digest of the prices it priced them by.

    As text it is the idempotency key of the transfers that post it.
    """

    start: datetime
    end: datetime
    prices: str

    @classmethod
    def of(cls, start: datetime, end: datetime, prices: Any) -> Self:  # noqa: ANN401 - whatever JSON can say
        """Return the key of a rerating; equal prices in equal order give equal keys."""
        digest = sha256(msgspec.json.encode(prices)).hexdigest()
        return cls(start.astimezone(UTC), end.astimezone(UTC), digest)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a key back; None where somebody chose an idempotency key that only begins like one."""
        try:
            _, start, end, prices = text.split("|")
            return cls(_instant(start), _instant(end), prices)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{RERATE_KEY_PREFIX}{self.start.isoformat()}|{self.end.isoformat()}|{self.prices}"

    def overlaps(self, other: "RerateKey") -> bool:
        """Return whether some record may have been taken by both."""
        return self.start < other.end and other.start < self.end


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def corrections_of(lines: Iterable[RerateLine]) -> dict[AccountId, int]:
    """Return by account what its balance is to change by, in nanos: what it paid too much, or too little."""
    sums: dict[AccountId, int] = {}
    for line in lines:
        sums[line.account_id] = sums.get(line.account_id, 0) - line.balance_difference_nanos
    return {account_id: nanos for account_id, nanos in sums.items() if nanos}
