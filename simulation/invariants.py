"""What must hold after every commit, and what must have come about in the end."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import asyncpg
import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.operations.audit import audit
from simulation import model
from simulation.model import ACCOUNTS, Record
from simulation.queues import Exchange, Queues

# One statement, so that one look sees one state.
_STATE = """
    SELECT json_build_object(
        'accounts', (SELECT json_agg(r) FROM (
            SELECT a.account_id, a.balance_nanos, a.seq, coalesce(e.evaluated_seq, 0) AS evaluated_seq
            FROM accounts a LEFT JOIN evaluations e USING (account_id) ORDER BY a.account_id) r),
        'transfers', (SELECT json_agg(r) FROM (
            SELECT account_id, seq, kind, amount_nanos, balance_after_nanos, quota_amount_nanos,
                   quota_after_nanos, idempotency_key
            FROM transfers ORDER BY account_id, seq) r),
        'usage', (SELECT json_agg(r) FROM (
            SELECT account_id, event_id, transfer_seq, list_nanos, charge_nanos, quota_nanos, balance_nanos,
                   uncollected_nanos
            FROM usage_records ORDER BY account_id, transfer_seq, time, event_id) r),
        'alerts', (SELECT json_agg(r) FROM (
            SELECT account_id, 'alert-' || sequence AS id, type, (data ->> 'transfer_seq')::bigint AS seq,
                   delivered_at IS NOT NULL AS delivered
            FROM alerts ORDER BY sequence) r))
"""
Row = Mapping[str, Any]


class BrokenInvariantError(Exception):
    """Something that must hold does not."""


def _expect(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise BrokenInvariantError(what)


class Invariants:
    """Compares the database of a run with the model. It knows what was sent and what was credited."""

    def __init__(
        self, connection: "asyncpg.Connection", records: Collection[Record], exchange: Exchange
    ) -> None:
        self._connection = connection
        self._records = {(r.account_id, r.event_id): r for r in records}
        self._exchange = exchange
        #: Credits by account and key: each counts once, however often it was asked for.
        self.credits: dict[tuple[str, str], int] = {}

    async def check_step(self) -> None:
        """Check what holds at every moment; raises BrokenInvariantError."""
        state = await self._look()
        usage, transfers = _by_account(state["usage"]), _by_account(state["transfers"])
        for row in state["accounts"]:
            account_id = row["account_id"]
            self._check_usage(account_id, usage[account_id])
            self._check_balance(row, transfers[account_id], usage[account_id])
            told = [(a["type"], a["seq"]) for a in state["alerts"] if a["account_id"] == account_id]
            due = model.alerts([t for t in transfers[account_id] if t["seq"] <= row["evaluated_seq"]])
            _expect(told == due, f"{account_id}: alerts {told} for transfers that give reason for {due}")
        written = {alert["id"] for alert in state["alerts"]}
        published = {event["id"] for event in self._exchange.published}
        stray = sorted(published - written)
        _expect(not stray, f"{stray} published, and what was published is not in the books")
        for alert in state["alerts"]:
            delivered = not alert["delivered"] or alert["id"] in published
            _expect(delivered, f"{alert['id']} counts as delivered and was never published")

    async def check_end(self, engine: AsyncEngine, queues: Queues) -> None:
        """Check what must have come about once all is quiet; raises BrokenInvariantError."""
        await self.check_step()
        state = await self._look()
        _expect(not queues.dead, f"{len(queues.dead)} messages ended as dead letters")
        debited = {(row["account_id"], row["event_id"]) for row in state["usage"]}
        lost = sorted(event_id for _, event_id in self._records.keys() - debited)
        _expect(not lost, f"records never debited: {lost}")
        made = {(t["account_id"], t["idempotency_key"]) for t in state["transfers"] if t["kind"] == "credit"}
        _expect(made == set(self.credits), f"credits asked for {sorted(self.credits)}, made {made}")
        for row in state["accounts"]:
            upto, seq = row["evaluated_seq"], row["seq"]
            _expect(upto == seq, f"{row['account_id']} was evaluated up to {upto} of {seq}")
        for alert in state["alerts"]:
            _expect(alert["delivered"], f"{alert['id']} was lost")
        report = await audit(engine)
        _expect(report.ok, f"payg audit: {report.fault}")

    async def _look(self) -> Mapping[str, list[Row]]:
        found = msgspec.json.decode(await self._connection.fetchval(_STATE))
        return {name: rows or [] for name, rows in found.items()}

    def _check_usage(self, account_id: str, rows: list[Row]) -> None:
        account = next(each for each in ACCOUNTS if each.account_id == account_id)
        twice = [event_id for event_id, n in Counter(row["event_id"] for row in rows).items() if n > 1]
        _expect(not twice, f"{account_id}: debited twice: {twice}")
        for row in rows:
            record = self._records[account_id, row["event_id"]]
            _expect(
                row["list_nanos"] == record.price,
                f"{record.event_id} cost {row['list_nanos']}, its price is {record.price}",
            )
        parts = [(row["quota_nanos"], row["balance_nanos"], row["uncollected_nanos"]) for row in rows]
        expected = model.split(account, [row["list_nanos"] for row in rows])
        _expect(parts == expected, f"{account_id}: parts {parts}, must be {expected}")
        for row, part in zip(rows, parts, strict=True):
            _expect(sum(part) == row["charge_nanos"], f"{row['event_id']}: parts do not sum to its charge")

    def _check_balance(self, row: Row, transfers: list[Row], usage: list[Row]) -> None:
        account_id, balance = row["account_id"], row["balance_nanos"]
        credited: dict[str, int] = defaultdict(int)
        for transfer in transfers:
            if transfer["kind"] == "credit":
                credited[transfer["idempotency_key"] or f"transfer {transfer['seq']}"] += transfer[
                    "amount_nanos"
                ]
        for key, amount in credited.items():
            asked = self.credits.get((account_id, key), 0)
            _expect(amount == asked, f"{account_id}: {key} credited {amount}, asked for {asked}")
        expected = sum(credited.values()) - sum(record["balance_nanos"] for record in usage)
        _expect(balance == expected, f"{account_id}: balance {balance}, must be {expected}")
        _expect(
            [t["seq"] for t in transfers] == list(range(1, row["seq"] + 1)),
            f"{account_id}: its transfers are not numbered without a gap",
        )


def _by_account(rows: list[Row]) -> dict[str, list[Row]]:
    accounts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        accounts[row["account_id"]].append(row)
    return accounts
