"""What moved an account's money, summed up by day and kind, and its usage by model. Pure.

The same sums come from the database, where they are kept up to date (``shared.db.statement_sums``); here they
are made from the entries themselves, so that whoever has those can check a statement.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date
from operator import add
from typing import NamedTuple

from shared.domain.ledger import Transfer, TransferKind, UsageRow


class Movement(NamedTuple):
    """All transfers of one kind on one UTC day. Amounts in nanos, signed as in the books."""

    day: date
    kind: TransferKind
    transfers: int
    amount_nanos: int
    quota_amount_nanos: int


class ModelUsage(NamedTuple):
    """All records of one model. Input tokens are all that went in, cached and audio ones too."""

    provider: str | None
    model: str | None
    records: int
    input_tokens: int
    output_tokens: int
    list_nanos: int
    charge_nanos: int
    quota_nanos: int
    balance_nanos: int
    uncollected_nanos: int


class Totals:
    """Sums up entries one by one."""

    def __init__(self) -> None:
        self._movements: dict[tuple[date, TransferKind], Sequence[int]] = defaultdict(lambda: (0, 0, 0))
        self._usage: dict[tuple[str | None, str | None], Sequence[int]] = defaultdict(lambda: (0,) * 8)

    def add(self, transfer: Transfer, rows: Iterable[UsageRow] = ()) -> None:
        """Count one transfer, with its usage rows where they are at hand."""
        key = (transfer.occurred_at.astimezone(UTC).date(), transfer.kind)
        one = (1, transfer.amount_nanos, transfer.quota_amount_nanos)
        self._movements[key] = tuple(map(add, self._movements[key], one))
        for row in rows:
            provider, model, *sums = usage_of(row)
            self._usage[provider, model] = tuple(map(add, self._usage[provider, model], sums))

    @property
    def movements(self) -> list[Movement]:
        return [Movement(*key, *sums) for key, sums in sorted(self._movements.items())]

    @property
    def usage(self) -> list[ModelUsage]:
        return [ModelUsage(*key, *sums) for key, sums in self._usage.items()]


def usage_of(row: UsageRow) -> ModelUsage:
    """Return what one record adds."""
    return ModelUsage(
        row.provider or None,
        row.model,
        1,
        row.input_tokens + row.cache_read_tokens + row.cache_write_tokens + row.input_audio_tokens,
        row.output_tokens + row.output_audio_tokens,
        row.list_nanos,
        row.charge_nanos,
        row.quota_nanos,
        row.balance_nanos,
        row.uncollected_nanos,
    )
