"""What makes the payments of one account right, beside its transfers. Pure.

Proved: top-ups credited are those that succeeded; what reverses a transfer takes at most what remains of it;
refunds and disputes are what their transfers say, and what each top-up says was refunded and disputed.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from shared.domain.audit import Fault
from shared.domain.corrections import Reversals, Reversible
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind
from shared.domain.refunds import RefundState, dispute_cause, refund_cause


class StoredTopup(msgspec.Struct, frozen=True):
    """A top-up that succeeded, or that says that something was taken of it; and what credited it."""

    topup_id: str
    succeeded: bool
    amount_nanos: int
    transfer_seq: int | None
    refunded_nanos: int = 0
    disputed_nanos: int = 0


class StoredRefund(msgspec.Struct, frozen=True):
    """A refund, the transfer that reserved it, and the one that gave it back where it failed."""

    refund_id: str
    topup_id: str
    state: str
    amount_nanos: int
    transfer_seq: int
    returned_seq: int | None


class StoredDispute(msgspec.Struct, frozen=True):
    """A dispute, and how much it holds."""

    dispute_id: str
    topup_id: str
    taken_nanos: int


class StoredPayments(msgspec.Struct, frozen=True):
    """All that an account's tables of payments say."""

    topups: Sequence[StoredTopup] = ()
    refunds: Sequence[StoredRefund] = ()
    disputes: Sequence[StoredDispute] = ()


class PaymentAudit:
    """Walks the transfers of one account; every method raises Fault at the first row that is wrong."""

    def __init__(self, account_id: AccountId) -> None:
        self._account_id = account_id
        self._reversals = Reversals()
        #: Transfers that no row of a top-up, a refund or a dispute has named yet.
        self._unclaimed: set[int] = set()

    def check_transfer(self, transfer: Transfer, reverses_seq: int | None) -> None:
        """Check the next transfer against those before it."""
        stored = Reversible(transfer.kind, transfer.amount_nanos, transfer.cause, reverses_seq)
        try:
            self._reversals.add(transfer.seq, stored)
        except ValueError as error:
            raise Fault("transfers", self._key(transfer.seq), str(error)) from None
        if transfer.seq in self._reversals.by_seq:
            self._unclaimed.add(transfer.seq)

    def check_end(self, stored: StoredPayments) -> None:
        """Check what the tables of payments say against all that was walked."""
        credits_ = {topup.topup_id: topup.transfer_seq for topup in stored.topups}
        for topup in stored.topups:
            self._check_credit(topup)
        for refund in stored.refunds:
            self._check_refund(refund, credits_.get(refund.topup_id))
        for dispute in stored.disputes:
            self._check_dispute(dispute, credits_.get(dispute.topup_id))
        for seq in sorted(self._unclaimed):
            kind = self._reversals.by_seq[seq].kind
            what = (
                "a credit of no top-up that succeeded" if kind == TransferKind.TOPUP else f"a {kind} of none"
            )
            raise Fault("transfers", self._key(seq), what)
        for topup in stored.topups:
            self._check_taken(topup)

    def _check_credit(self, topup: StoredTopup) -> None:
        if topup.succeeded and not self._claim(topup.transfer_seq, TransferKind.TOPUP, topup.amount_nanos):
            what = "it succeeded, and was not credited with its amount"
            raise Fault("topups", self._key(topup.topup_id), what)

    def _check_refund(self, refund: StoredRefund, credit_seq: int | None) -> None:
        key, amount, reserved = self._key(refund.refund_id), refund.amount_nanos, refund.transfer_seq
        is_its_own = self._claim(reserved, TransferKind.REFUND, -amount, credit_seq)
        if not is_its_own or not self._cause(reserved).startswith(refund_cause(refund.refund_id, "")):
            raise Fault("refunds", key, f"number {reserved} is not the transfer that reserved it")
        if (refund.state == RefundState.FAILED) != (refund.returned_seq is not None):
            raise Fault("refunds", key, f"it is {refund.state}, returned by {refund.returned_seq}")
        if refund.returned_seq is not None and not self._claim(
            refund.returned_seq, TransferKind.REFUND_RETURNED, amount, reserved
        ):
            raise Fault("refunds", key, f"number {refund.returned_seq} is not the transfer that returned it")

    def _check_dispute(self, dispute: StoredDispute, credit_seq: int | None) -> None:
        takings = self._reversals.reversers_of(credit_seq or 0, TransferKind.DISPUTE)
        its_own = [seq for seq in takings if self._cause(seq) == dispute_cause(dispute.dispute_id)]
        for seq in its_own:
            self._unclaimed.discard(seq)
            self._unclaimed -= set(self._reversals.reversers_of(seq, TransferKind.DISPUTE_REINSTATED))
        remains = sum(self._reversals.remains_of(seq) for seq in its_own)
        if remains != dispute.taken_nanos:
            what = f"it holds {dispute.taken_nanos}, its transfers {remains}"
            raise Fault("disputes", self._key(dispute.dispute_id), what)

    def _check_taken(self, topup: StoredTopup) -> None:
        taken: dict[TransferKind, int] = defaultdict(int)
        if topup.succeeded and topup.transfer_seq is not None:
            for kind in (TransferKind.REFUND, TransferKind.DISPUTE):
                reversers = self._reversals.reversers_of(topup.transfer_seq, kind)
                taken[kind] = sum(self._reversals.remains_of(seq) for seq in reversers)
        told = (topup.refunded_nanos, topup.disputed_nanos)
        found = (taken[TransferKind.REFUND], taken[TransferKind.DISPUTE])
        if told != found:
            what = f"refunded and disputed are {told}, by its transfers {found}"
            raise Fault("topups", self._key(topup.topup_id), what)

    def _claim(self, seq: int | None, kind: TransferKind, amount: int, reverses: int | None = None) -> bool:
        """Whether that transfer is of this kind, amount and chain, and no other row's own."""
        if seq is None or seq not in self._unclaimed:
            return False
        self._unclaimed.discard(seq)
        transfer = self._reversals.by_seq[seq]
        return (transfer.kind, transfer.amount_nanos, transfer.reverses_seq) == (kind, amount, reverses)

    def _cause(self, seq: int) -> str:
        return self._reversals.by_seq[seq].cause

    def _key(self, name: object) -> str:
        return f"{self._account_id}/{name}"
