"""SQL of charged top-ups as what follows a charge sees them: what refunds and disputes have taken."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.payment_tables import topups
from shared.domain.topup import TopupState


@dataclass(frozen=True, slots=True)
class ChargedTopup:
    """A top-up, the transfer that credited it, and what refunds reserved and disputes took of it."""

    account_id: str
    topup_id: str
    state: TopupState
    amount_nanos: int
    payment_intent_id: str | None
    transfer_seq: int | None
    refunded_nanos: int
    disputed_nanos: int

    @property
    def left_nanos(self) -> int:
        """What of the charge can still be taken back."""
        return self.amount_nanos - self.refunded_nanos - self.disputed_nanos


# One that has a payment at Stripe under way and could charge a card by itself. Whoever works on one right now
# holds its lock, and may wait for ours: it is passed over.
_WAKE_AUTOMATIC = text("""
    UPDATE topups SET next_step_at = clock_timestamp(), waits_until = NULL
    WHERE (account_id, topup_id) IN (
        SELECT account_id, topup_id FROM topups
        WHERE account_id = :account_id AND automatic AND state IN ('pending', 'created', 'retry_wait')
        FOR UPDATE SKIP LOCKED)
    RETURNING topup_id
""")


async def lock_topup(connection: AsyncConnection, topup_id: str) -> ChargedTopup | None:
    """Return a top-up; nobody else changes it until the transaction ends."""
    return await _locked(connection, _CHARGED.where(topups.c.topup_id == topup_id))


async def lock_topup_of_intent(connection: AsyncConnection, intent_id: str) -> ChargedTopup | None:
    """Return the top-up that a payment was made for, locked likewise."""
    return await _locked(connection, _CHARGED.where(topups.c.payment_intent_id == intent_id))


async def add_taken(
    connection: AsyncConnection, topup: ChargedTopup, *, refunded_nanos: int = 0, disputed_nanos: int = 0
) -> None:
    """Count what was taken of a top-up, or given back."""
    mine = (topups.c.account_id == topup.account_id) & (topups.c.topup_id == topup.topup_id)
    await connection.execute(
        update(topups)
        .where(mine)
        .values(
            refunded_nanos=topups.c.refunded_nanos + refunded_nanos,
            disputed_nanos=topups.c.disputed_nanos + disputed_nanos,
            updated_at=func.clock_timestamp(),
        )
    )


async def wake_automatic_topups(connection: AsyncConnection, account_id: str) -> list[str]:
    """Let automatic top-ups that have not charged a card yet be looked at now; return their ids."""
    return list((await connection.execute(_WAKE_AUTOMATIC, {"account_id": account_id})).scalars())


_CHARGED: Select[Any] = select(
    topups.c.account_id,
    topups.c.topup_id,
    topups.c.state,
    topups.c.amount_nanos,
    topups.c.payment_intent_id,
    topups.c.transfer_seq,
    topups.c.refunded_nanos,
    topups.c.disputed_nanos,
)


async def _locked(connection: AsyncConnection, query: Select[Any]) -> ChargedTopup | None:
    row = (await connection.execute(query.with_for_update())).one_or_none()
    return ChargedTopup(row[0], row[1], TopupState(row[2]), *row[3:]) if row else None
