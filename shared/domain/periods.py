"""Periods of usage: calendar months in UTC. A row belongs to the month in which it was debited. Pure."""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A month: from ``start`` (in) to ``end`` (out). Its text is ``2026-03``."""

    year: int
    month: int

    @classmethod
    def of(cls, instant: datetime) -> "Period":
        """Return the period that holds an instant."""
        utc = instant.astimezone(UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def parse(cls, text: str) -> "Period":
        """Return the period of a text such as ``2026-03``; raises ValueError."""
        found = _MONTH.fullmatch(text)
        if found is None or int(found[1]) == 0:
            raise ValueError(f"{text!r} is no month; an example is 2026-03")
        return cls(int(found[1]), int(found[2]))

    @property
    def start(self) -> datetime:
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        return self.plus(1).start

    def plus(self, months: int) -> "Period":
        """Return the period so many months later."""
        year, month0 = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Period(year, month0 + 1)

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


@dataclass(frozen=True, slots=True)
class PeriodProof:
    """How many usage rows a period has, and the digest over their digests."""

    rows: int
    digest: bytes


@dataclass(slots=True)
class PeriodSum:
    """Sums up a period, transfer by transfer in order of account and number.

    Its digest is the SHA-256 of the transfers' ``rows_digest``, each of which is over the digests of its
    rows: so rows prove it, and so do the transfers alone when the rows are away.
    """

    rows: int = 0
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, rows_digest: bytes, rows: int) -> None:
        """Count one transfer of usage."""
        self._hash.update(rows_digest)
        self.rows += rows

    @property
    def proof(self) -> PeriodProof:
        return PeriodProof(self.rows, self._hash.digest())
