"""What became of the money of a top-up: transfers that reverse others, each at most what remains of it. Pure.

Chains are short: a top-up is reversed by refunds and disputes, and what they took is given back where a
refund failed or a dispute was won.

    topup ← refund ← refund_returned
    topup ← dispute ← dispute_reinstated
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from shared.domain.ledger import TransferKind

#: What a transfer of each of these kinds reverses.
REVERSED_KIND: Mapping[TransferKind, TransferKind] = {
    TransferKind.REFUND: TransferKind.TOPUP,
    TransferKind.REFUND_RETURNED: TransferKind.REFUND,
    TransferKind.DISPUTE: TransferKind.TOPUP,
    TransferKind.DISPUTE_REINSTATED: TransferKind.DISPUTE,
}
_TAKES = (TransferKind.REFUND, TransferKind.DISPUTE)


class Correction(NamedTuple):
    """A transfer to be made: by ``amount_nanos`` the balance changes, up or down."""

    kind: TransferKind
    amount_nanos: int
    cause: str
    reverses_seq: int


class Reversible(NamedTuple):
    """A transfer that others may reverse, or that reverses one."""

    kind: TransferKind
    amount_nanos: int
    cause: str
    reverses_seq: int | None


class Reversals:
    """The transfers of one account that reverse others or are reversed, in order of their numbers."""

    def __init__(self) -> None:
        self.by_seq: dict[int, Reversible] = {}
        self._reversers: dict[int, list[int]] = defaultdict(list)

    def add(self, seq: int, transfer: Reversible) -> None:
        """Take one more; raises ValueError, with what is wrong, for a correction that may not be."""
        reversed_kind = REVERSED_KIND.get(transfer.kind)
        if (reversed_kind is None) != (transfer.reverses_seq is None):
            raise ValueError(f"a transfer of kind {transfer.kind} with reverses_seq {transfer.reverses_seq}")
        if reversed_kind is None or transfer.reverses_seq is None:
            if transfer.kind == TransferKind.TOPUP:
                self.by_seq[seq] = transfer
            return
        target = self.by_seq.get(transfer.reverses_seq)
        if target is None or target.kind != reversed_kind:
            raise ValueError(f"it reverses number {transfer.reverses_seq}, which is no {reversed_kind}")
        if (transfer.amount_nanos < 0) != (transfer.kind in _TAKES):
            raise ValueError(f"a {transfer.kind} of {transfer.amount_nanos}")
        if abs(transfer.amount_nanos) > self.remains_of(transfer.reverses_seq):
            raise ValueError(f"it reverses more than remains of number {transfer.reverses_seq}")
        self.by_seq[seq] = transfer
        self._reversers[transfer.reverses_seq].append(seq)

    def remains_of(self, seq: int) -> int:
        """Return what of a transfer was not reversed, in nanos: its amount less what remains of reversers."""
        taken = sum(self.remains_of(reverser) for reverser in self._reversers.get(seq, ()))
        return abs(self.by_seq[seq].amount_nanos) - taken

    def reversers_of(self, seq: int, kind: TransferKind) -> list[int]:
        """Return the numbers of those of a kind that reverse a transfer."""
        return [number for number in self._reversers.get(seq, ()) if self.by_seq[number].kind == kind]
