"""What refunds and disputes have in common: the charge they are about, and transfers that reverse others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import charged as sql
from shared.db.books import Marks
from shared.db.charged import ChargedTopup
from shared.domain.account import AccountState
from shared.domain.corrections import Correction
from shared.domain.ledger import Transfer
from shared.domain.topup import TopupState
from shared.gateways.stripe_connection import PaymentUnavailableError
from shared.gateways.stripe_payments import CURRENCY
from shared.operations.money import commit_transfers

log = structlog.get_logger(__name__)

#: An account as it was read, as it is after a roll-over that is due, and the transfers of that.
ReadAccount = tuple[AccountState, AccountState, tuple[Transfer, ...]]


class NotYetError(PaymentUnavailableError):
    """Something else has to happen to the charge first: come back later."""


@dataclass(frozen=True, slots=True)
class Posted:
    """Transfers that were written, and the note that their account is due for evaluation."""

    seqs: tuple[int, ...]
    due: list[int]


async def lock_charge(
    connection: AsyncConnection, what: str, intent_id: str | None, currency: str = CURRENCY
) -> ChargedTopup | None:
    """Return the credited top-up that a payment was made for, locked; None for a payment that is not ours.

    Raises NotYetError where it may still be credited.
    """
    topup = await sql.lock_topup_of_intent(connection, intent_id) if intent_id else None
    if topup is None:
        log.info("not about a top-up of ours", object=what, intent=intent_id)
        return None
    if topup.state is TopupState.QUARANTINED or currency != CURRENCY:
        log.error("left to a person", object=what, topup=topup.topup_id, state=topup.state, currency=currency)
        return None
    if topup.transfer_seq is None:
        raise NotYetError(f"{what} is about top-up {topup.topup_id}, which is not credited yet")
    return topup


async def commit_corrections(
    connection: AsyncConnection, read: ReadAccount, corrections: Sequence[Correction], now: datetime
) -> Posted | None:
    """Write transfers, each of which reverses another; return None where the account has changed.

    Nothing may have been written before in the same transaction: whoever is told None begins again.
    """
    before, after, transfers = read
    posted: list[Transfer] = []
    for correction in corrections:
        after, transfer = after.post(correction.kind, correction.amount_nanos, correction.cause, now)
        posted.append(transfer)
    seqs = tuple(transfer.seq for transfer in posted)
    marks: dict[int, Marks] = {
        seq: {"reverses_seq": correction.reverses_seq}
        for seq, correction in zip(seqs, corrections, strict=True)
    }
    moved = await commit_transfers(connection, before, after, (*transfers, *posted), marks)
    if not moved:
        return None
    return Posted(seqs, [] if moved.due_id is None else [moved.due_id])
