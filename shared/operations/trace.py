"""Follow one id through the books: what it names, what came of it, and who was told.

An id is that of a usage event, a transfer (``ACCOUNT/SEQ``, as the audit names it), an alert, a top-up, a
refund, an entry in quarantine, or of a payment, page, refund, dispute or event of Stripe's.
"""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.db import trace as sql
from shared.db.alerts import NOBODY
from shared.db.engine import snapshot
from shared.domain.errors import NotFoundError
from shared.domain.ids import AccountId
from shared.domain.ledger import Transfer, TransferKind, UsageRow, chain_hash, digest_of_rows, genesis_hash
from shared.operations.payments.topups import show_topup

#: One thing on the way; ``step`` says what it is.
Step = dict[str, Any]

_TRANSFER = re.compile(r"(?P<account>.+)/(?P<seq>\d{1,18})")
_ALERT = re.compile(r"alert-(?P<sequence>\d{1,18})")
_RAW_SHOWN = 2_000


async def trace(engine: AsyncEngine, record_id: str, account_id: str | None) -> Sequence[Step]:
    """Return all that an id names and what followed, in order; an event's only in one account, if given.

    Raises NotFoundError where it is nowhere in the database.
    """
    async with snapshot(engine) as connection:
        ways = (
            _event(connection, record_id, account_id),
            _transfer_named(connection, record_id),
            _alert_named(connection, record_id),
            _parked(connection, record_id),
            _payment(connection, record_id),
        )
        # What several ways lead to, such as the alert of a top-up and of its transfer, stands once.
        steps = {(step["step"], step["id"]): step for way in ways async for step in way}
    if not steps:
        raise NotFoundError(
            f"{record_id} is nowhere in the books, the quarantine, the payments or the alerts"
        )
    return list(steps.values())


async def _event(connection: AsyncConnection, event_id: str, account_id: str | None) -> AsyncIterator[Step]:
    for debit in await sql.debits_of_event(connection, event_id, account_id):
        owner, seq = debit["account_id"], debit["transfer_seq"]
        async for step in _transfer(connection, owner, seq, event_id):
            yield step
        for void in await sql.voids_of_event(connection, owner, event_id):
            async for step in _transfer(connection, owner, void):
                yield step


async def _transfer_named(connection: AsyncConnection, record_id: str) -> AsyncIterator[Step]:
    if not (named := _TRANSFER.fullmatch(record_id)):
        return
    account_id, seq = named["account"], int(named["seq"])
    for topup in await sql.topup_credited_by(connection, account_id, seq):
        yield {"step": "topup", **show_topup(topup)}
    async for step in _transfer(connection, account_id, seq):
        yield step


async def _transfer(
    connection: AsyncConnection, account_id: str, seq: int, event_id: str | None = None
) -> AsyncIterator[Step]:
    """Yield one record of a transfer, if asked for, then the transfer and what followed from it."""
    transfer = await sql.find_transfer(connection, account_id, seq)
    if transfer is None:
        return
    rows = await sql.usage_of_transfer(connection, account_id, transfer)
    for row in rows:
        if row["event_id"] == event_id:
            yield await _usage(connection, row)
    before = await sql.find_transfer(connection, account_id, seq - 1)
    yield {
        "step": "transfer",
        "id": f"{account_id}/{seq}",
        "account_id": account_id,
        **{name: getattr(transfer, name) for name in Transfer.__struct_fields__},
        "usage_records": len(rows),
        "record_detached": event_id is not None and not any(row["event_id"] == event_id for row in rows),
        "chain_intact": _is_chained(account_id, before, transfer) and _rows_are_proven(transfer, rows),
        "evaluated": await sql.evaluated_seq(connection, account_id) >= seq,
    }
    async for step in _told(connection, await sql.alerts_at(connection, account_id, transfer.occurred_at)):
        yield step


async def _usage(connection: AsyncConnection, row: RowMapping) -> Step:
    rate = await sql.find_rate(connection, row["rate_id"])
    fields = {name: row[name] for name in UsageRow._fields if name != "event_id"}
    return {
        "step": "usage_record",
        "id": row["event_id"],
        **fields,
        "rate_effective_from": rate["effective_from"],
        "rate_tiers": rate["tiers"],
        "row_intact": _usage_row(row).digest() == row["digest"],
    }


def _usage_row(row: RowMapping) -> UsageRow:
    return UsageRow(**{name: row[name] for name in UsageRow._fields})


def _is_chained(account_id: str, before: Transfer | None, transfer: Transfer) -> bool:
    if transfer.seq == 1:
        return chain_hash(genesis_hash(AccountId(account_id)), transfer) == transfer.hash
    return before is not None and chain_hash(before.hash, transfer) == transfer.hash


def _rows_are_proven(transfer: Transfer, rows: Sequence[RowMapping]) -> bool:
    """Say whether the rows are those that were hashed; rows of a detached month are not here to be read."""
    if transfer.kind != TransferKind.USAGE or not rows:
        return True
    digests = [(row["event_id"], _usage_row(row).digest()) for row in rows]
    return digest_of_rows(digests) == transfer.rows_digest


async def _told(connection: AsyncConnection, alerts: Sequence[RowMapping]) -> AsyncIterator[Step]:
    for alert in alerts:
        yield {
            "step": "alert",
            "id": f"alert-{alert['sequence']}",
            **{name: alert[name] for name in ("account_id", "type", "occurred_at", "delivered_at", "data")},
        }
        deliveries = await sql.deliveries_of_alert(connection, alert["account_id"], alert["sequence"])
        for delivery in deliveries:
            names = ("channel", "target_id", "state", "attempts", "next_attempt_at", "status", "detail")
            yield {
                "step": "delivery",
                "id": delivery["delivery_id"],
                "alert": f"alert-{alert['sequence']}",
                **{name: delivery[name] for name in (*names, "digest_id")},
            }


async def _alert_named(connection: AsyncConnection, record_id: str) -> AsyncIterator[Step]:
    if named := _ALERT.fullmatch(record_id):
        alerts = await sql.alerts_numbered(connection, int(named["sequence"]))
        for alert in alerts:
            if (seq := alert["data"].get("transfer_seq")) is not None:
                async for step in _transfer(connection, alert["account_id"], seq):
                    yield step
        async for step in _told(connection, alerts):
            yield step


async def _parked(connection: AsyncConnection, record_id: str) -> AsyncIterator[Step]:
    for entry in await sql.parked(connection, record_id):
        names = ("event_id", "account_id", "reason", "detail", "count", "status", "dismissed_because")
        yield {
            "step": "quarantine",
            "id": entry["entry_id"],
            **{name: entry[name] for name in (*names, "first_seen_at", "last_seen_at")},
            "raw": entry["raw"][:_RAW_SHOWN].decode(errors="replace"),
        }
        owner = entry["account_id"] or NOBODY
        told = await sql.alerts_about(
            connection, owner, entry["first_seen_at"], "entry_id", entry["entry_id"]
        )
        async for step in _told(connection, told):
            yield step


async def _payment(connection: AsyncConnection, record_id: str) -> AsyncIterator[Step]:
    names = [record_id]
    for event in await sql.stripe_events_named(connection, record_id):
        yield {"step": "stripe_event", "id": record_id, **{k: v for k, v in event.items() if k != "event_id"}}
        names.append(event["object_id"])
    topups: dict[str, RowMapping] = {}
    for name in names:
        taken = [*await sql.refunds_named(connection, name), *await sql.disputes_named(connection, name)]
        for topup_name in (name, *(each["topup_id"] for each in taken)):
            for topup in await sql.topups_named(connection, topup_name):
                topups[topup["topup_id"]] = topup
    for topup in topups.values():
        async for step in _topup(connection, topup):
            yield step


async def _topup(connection: AsyncConnection, topup: RowMapping) -> AsyncIterator[Step]:
    account_id, topup_id = topup["account_id"], topup["topup_id"]
    yield {"step": "topup", **show_topup(topup)}
    seqs = [topup["transfer_seq"]]
    refunds, disputes = await sql.taken_of_topup(connection, account_id, topup_id)
    for refund in refunds:
        yield {"step": "refund", "id": refund["refund_id"], **_but(refund, "refund_id", "idempotency_key")}
        seqs += [refund["transfer_seq"], refund["returned_seq"]]
    for dispute in disputes:
        yield {"step": "dispute", "id": dispute["dispute_id"], **_but(dispute, "dispute_id")}
    for seq in seqs:
        if seq is not None:
            async for step in _transfer(connection, account_id, seq):
                yield step
    told = await sql.alerts_about(connection, account_id, topup["created_at"], "topup_id", topup_id)
    async for step in _told(connection, told):
        yield step


def _but(row: RowMapping, *left_out: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in left_out}
