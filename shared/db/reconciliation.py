"""SQL that reads, for a comparison with Stripe, what the books have of payments, refunds and disputes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.payment_differences import Amount, BookedDispute, BookedRefund, BookedTopup
from shared.domain.reconciliation import Credit, InBooks, Wanted
from shared.domain.topup import TopupState


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows are read beside those that are wanted by name.

    Those that moved from ``start`` to ``end``; with ``standing`` top-ups and refunds that are open, however
    long ago they moved; with ``undecided`` disputes likewise.
    """

    start: datetime
    end: datetime
    standing: bool = False
    undecided: bool = False


# A credit is a transfer: what the top-up itself says of it is no proof.
_TOPUPS = text("""
    WITH wanted AS (
        SELECT account_id, topup_id FROM topups
        WHERE payment_intent_id = ANY (CAST(:payments AS text[]))
        UNION
        SELECT account_id, topup_id
        FROM unnest(CAST(:accounts AS text[]), CAST(:topups AS text[])) AS named (account_id, topup_id)
        UNION
        SELECT account_id, substr(idempotency_key, length('topup:') + 1) FROM transfers
        WHERE kind = 'topup' AND occurred_at >= :start AND occurred_at < :end
        UNION
        SELECT account_id, topup_id FROM topups
        WHERE :standing AND state IN
            ('pending', 'created', 'confirming', 'processing', 'retry_wait', 'action_required')
    )
    SELECT t.account_id, t.topup_id, t.state, t.channel, t.amount_nanos, t.payment_intent_id, c.customer_id,
           m.amount_nanos AS credited_nanos, t.updated_at
    FROM wanted JOIN topups t USING (account_id, topup_id)
    LEFT JOIN payment_customers c USING (account_id)
    LEFT JOIN transfers m ON m.account_id = t.account_id AND m.kind = 'topup'
        AND m.idempotency_key = 'topup:' || t.topup_id
    ORDER BY t.created_at, t.topup_id
""")

_CREDITS_OF_NOTHING = text("""
    WITH wanted AS (
        SELECT account_id, seq FROM transfers
        WHERE kind = 'topup' AND occurred_at >= :start AND occurred_at < :end
        UNION
        SELECT * FROM unnest(CAST(:accounts AS text[]), CAST(:seqs AS bigint[]))
    )
    SELECT account_id, seq, m.amount_nanos FROM wanted JOIN transfers m USING (account_id, seq)
    WHERE m.kind = 'topup' AND NOT EXISTS (
        SELECT FROM topups t
        WHERE t.account_id = m.account_id AND t.topup_id = substr(m.idempotency_key, length('topup:') + 1))
    ORDER BY account_id, seq
""")

_REFUNDS = text("""
    SELECT account_id, refund_id, topup_id, state, amount_nanos, stripe_refund_id, updated_at FROM refunds
    WHERE stripe_refund_id = ANY (CAST(:ids AS text[])) OR refund_id = ANY (CAST(:ids AS text[]))
       OR (updated_at >= :start AND updated_at < :end) OR (:standing AND state IN ('reserved', 'pending'))
    ORDER BY account_id, refund_id
""")

_DISPUTES = text("""
    SELECT account_id, dispute_id, topup_id, status, amount_nanos, updated_at FROM disputes
    WHERE dispute_id = ANY (CAST(:ids AS text[])) OR (updated_at >= :start AND updated_at < :end)
       OR (:undecided AND status NOT IN ('won', 'lost', 'warning_closed', 'prevented'))
    ORDER BY account_id, dispute_id
""")


async def load_books(connection: AsyncConnection, wanted: Wanted, scope: Scope, currency: str) -> InBooks:
    """Return what the books have of what is wanted and of what lies in scope; they are in one currency."""
    span: dict[str, Any] = {"start": scope.start, "end": scope.end}
    named = {
        "payments": list(wanted.payments),
        "accounts": [account_id for account_id, _ in wanted.topups],
        "topups": [topup_id for _, topup_id in wanted.topups],
    }
    topups = await connection.execute(_TOPUPS, named | span | {"standing": scope.standing})
    ids = [*wanted.refunds, *wanted.booked_refunds]
    refunds = await connection.execute(_REFUNDS, {"ids": ids, **span, "standing": scope.standing})
    disputes = await connection.execute(
        _DISPUTES, {"ids": list(wanted.disputes), **span, "undecided": scope.undecided}
    )
    accounts, seqs = [key[0] for key in wanted.credits], [key[1] for key in wanted.credits]
    strays = await connection.execute(_CREDITS_OF_NOTHING, {"accounts": accounts, "seqs": seqs, **span})
    return InBooks(
        [_topup(row, currency) for row in topups.mappings()],
        [_refund(row, currency) for row in refunds.mappings()],
        [_dispute(row, currency) for row in disputes.mappings()],
        [Credit(row[0], row[1], Amount(row[2], currency)) for row in strays],
    )


def _topup(row: RowMapping, currency: str) -> BookedTopup:
    credited_nanos = row["credited_nanos"]
    return BookedTopup(
        account_id=row["account_id"],
        topup_id=row["topup_id"],
        state=TopupState(row["state"]),
        by_checkout=row["channel"] == "checkout",
        amount=Amount(row["amount_nanos"], currency),
        payment_id=row["payment_intent_id"],
        customer_id=row["customer_id"],
        credited=None if credited_nanos is None else Amount(credited_nanos, currency),
        changed_at=row["updated_at"],
    )


def _refund(row: RowMapping, currency: str) -> BookedRefund:
    return BookedRefund(
        account_id=row["account_id"],
        refund_id=row["refund_id"],
        topup_id=row["topup_id"],
        state=row["state"],
        amount=Amount(row["amount_nanos"], currency),
        stripe_refund_id=row["stripe_refund_id"],
        changed_at=row["updated_at"],
    )


def _dispute(row: RowMapping, currency: str) -> BookedDispute:
    return BookedDispute(
        account_id=row["account_id"],
        dispute_id=row["dispute_id"],
        topup_id=row["topup_id"],
        status=row["status"],
        amount=Amount(row["amount_nanos"], currency),
        changed_at=row["updated_at"],
    )
