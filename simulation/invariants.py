"""What must hold after every commit, and what must have come about in the end."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from shared.domain.gate import Refused
from shared.domain.topup import OPEN_STATES
from shared.operations.audit import audit
from shared.operations.gate import Gate
from simulation import model
from simulation.model import ACCOUNTS, Record
from simulation.stages import World

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
            FROM alerts ORDER BY sequence) r),
        'topups', (SELECT json_agg(r) FROM (
            SELECT account_id, topup_id, state, amount_nanos, transfer_seq
            FROM topups ORDER BY created_at, topup_id) r),
        'quarantine', (SELECT json_agg(r) FROM (
            SELECT convert_from(raw, 'UTF8') AS raw, reason FROM quarantine ORDER BY entry_id) r))
"""
_AWAITED = """
    SELECT EXISTS (SELECT FROM topups WHERE state = ANY ($1)) OR EXISTS (
        SELECT FROM auto_topups s JOIN accounts a USING (account_id)
        WHERE s.enabled AND a.balance_nanos < s.threshold_nanos)
"""
#: All that was held is settled or over by then.
_HOLDS_END = timedelta(hours=2)
Row = Mapping[str, Any]
_ACCOUNTS = {account.account_id: account for account in ACCOUNTS}


class BrokenInvariantError(Exception):
    """Something that must hold does not."""


@dataclass(slots=True)
class Sent:
    """What services sent and people asked for, as far as it must have come about in the end."""

    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    #: Credits by account and key: each counts once, however often it was asked for.
    credits: dict[tuple[str, str], int] = field(default_factory=dict)
    malformed: list[bytes] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Note a record that was sent."""
        self.records[record.account_id, record.event_id] = record


def _expect(holds: bool, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise BrokenInvariantError(what)


class Invariants:
    """Compares the servers of a run with the model."""

    def __init__(self, world: World, sent: Sent) -> None:
        self._world = world
        self._sent = sent
        self._observer = world.servers.database.observer

    async def check_step(self) -> None:
        """Check what holds at every moment; raises BrokenInvariantError."""
        state = await self._look()
        usage, transfers = _by_account(state["usage"]), _by_account(state["transfers"])
        topups, alerts = _by_account(state["topups"]), _by_account(state["alerts"])
        for row in state["accounts"]:
            account_id = row["account_id"]
            self._check_usage(account_id, usage[account_id])
            self._check_topups(account_id, topups[account_id], transfers[account_id])
            self._check_balance(row, transfers[account_id], usage[account_id])
            _check_alerts(row, alerts[account_id], transfers[account_id])
        written = {alert["id"] for alert in state["alerts"]}
        published = {event["id"] for event in self._world.exchange.published}
        stray = sorted(published - written)
        _expect(not stray, f"{stray} published, and what was published is not in the books")
        for alert in state["alerts"]:
            delivered = not alert["delivered"] or alert["id"] in published
            _expect(delivered, f"{alert['id']} counts as delivered and was never published")

    async def is_money_awaited(self) -> bool:
        """Whether a top-up is under way, or due after a wait."""
        return bool(await self._observer.fetchval(_AWAITED, list(OPEN_STATES)))

    async def check_end(self, gate: Gate) -> None:
        """Check what must have come about once all is quiet; raises BrokenInvariantError."""
        await self.check_step()
        state = await self._look()
        dead = self._world.queues.dead
        _expect(not dead, f"{len(dead)} messages ended as dead letters")
        debited = {(row["account_id"], row["event_id"]) for row in state["usage"]}
        lost = sorted(event_id for _, event_id in self._sent.records.keys() - debited)
        _expect(not lost, f"records never debited: {lost}")
        made = {(t["account_id"], t["idempotency_key"]) for t in state["transfers"] if t["kind"] == "credit"}
        asked = set(self._sent.credits)
        _expect(made == asked, f"credits asked for {sorted(asked)}, made {made}")
        parked = sorted(row["raw"].encode() for row in state["quarantine"])
        _expect(parked == sorted(self._sent.malformed), f"parked {parked}, malformed {self._sent.malformed}")
        for row in state["accounts"]:
            upto, seq = row["evaluated_seq"], row["seq"]
            _expect(upto == seq, f"{row['account_id']} was evaluated up to {upto} of {seq}")
        for alert in state["alerts"]:
            _expect(alert["delivered"], f"{alert['id']} was lost")
        self._check_payments(state["topups"])
        _expect(not await self.is_money_awaited(), "a top-up never ends, or never begins")
        report = await audit(self._world.engine)
        _expect(report.ok, f"payg audit: {report.fault}")
        await self._check_holds(state["accounts"], gate)

    async def _look(self) -> Mapping[str, list[Row]]:
        found = msgspec.json.decode(await self._observer.fetchval(_STATE))
        return {name: rows or [] for name, rows in found.items()}

    def _check_usage(self, account_id: str, rows: list[Row]) -> None:
        account = _ACCOUNTS[account_id]
        twice = [event_id for event_id, n in Counter(row["event_id"] for row in rows).items() if n > 1]
        _expect(not twice, f"{account_id}: debited twice: {twice}")
        for row in rows:
            record = self._sent.records[account_id, row["event_id"]]
            _expect(
                row["list_nanos"] == record.price,
                f"{record.event_id} cost {row['list_nanos']}, its price is {record.price}",
            )
        parts = [(row["quota_nanos"], row["balance_nanos"], row["uncollected_nanos"]) for row in rows]
        expected = model.split(account, [row["list_nanos"] for row in rows])
        _expect(parts == expected, f"{account_id}: parts {parts}, must be {expected}")
        for row, part in zip(rows, parts, strict=True):
            _expect(sum(part) == row["charge_nanos"], f"{row['event_id']}: parts do not sum to its charge")

    def _check_topups(self, account_id: str, topups: list[Row], transfers: list[Row]) -> None:
        """Check that one is open at most, and that what was credited was charged before."""
        opened = [row["topup_id"] for row in topups if row["state"] in OPEN_STATES]
        _expect(len(opened) <= 1, f"{account_id}: automatic top-ups open at once: {opened}")
        credited = {t["idempotency_key"]: t["amount_nanos"] for t in transfers if t["kind"] == "topup"}
        counted = sum(t["kind"] == "topup" for t in transfers)
        _expect(counted == len(credited), f"{account_id}: a top-up is credited twice")
        charged = {f"topup:{topup}": amount for _, topup, amount in self._world.servers.stripe.charged()}
        for key, amount in credited.items():
            _expect(charged.get(key) == amount, f"{key} credited {amount}, charged {charged.get(key, 0)}")

    def _check_payments(self, topups: list[Row]) -> None:
        """Check that what Stripe charged is credited, and once for each top-up."""
        charged = sorted((topup, amount) for _, topup, amount in self._world.servers.stripe.charged())
        credited = sorted((r["topup_id"], r["amount_nanos"]) for r in topups if r["transfer_seq"] is not None)
        _expect(charged == credited, f"charged {charged}, credited {credited}")

    def _check_balance(self, row: Row, transfers: list[Row], usage: list[Row]) -> None:
        account_id, balance = row["account_id"], row["balance_nanos"]
        credited: dict[str, int] = defaultdict(int)
        for transfer in transfers:
            if transfer["kind"] == "credit":
                key = transfer["idempotency_key"] or f"transfer {transfer['seq']}"
                credited[key] += transfer["amount_nanos"]
        for key, amount in credited.items():
            asked = self._sent.credits.get((account_id, key), 0)
            _expect(amount == asked, f"{account_id}: {key} credited {amount}, asked for {asked}")
        paid_in = sum(credited.values()) + sum(t["amount_nanos"] for t in transfers if t["kind"] == "topup")
        expected = paid_in - sum(record["balance_nanos"] for record in usage)
        _expect(balance == expected, f"{account_id}: balance {balance}, must be {expected}")
        _expect(
            [t["seq"] for t in transfers] == list(range(1, row["seq"] + 1)),
            f"{account_id}: its transfers are not numbered without a gap",
        )
        promised = _ACCOUNTS[account_id].gated and not self._world.servers.redis.emptied
        _expect(balance >= 0 or not promised, f"{account_id}: balance {balance}, and the gate kept its holds")

    async def _check_holds(self, accounts: list[Row], gate: Gate) -> None:
        """Check that, once their time is over, no hold is left: all of the balance can be held."""
        await self._world.servers.clock.advance(_HOLDS_END.total_seconds())
        for row in accounts:
            account_id, balance = row["account_id"], row["balance_nanos"]
            if not _ACCOUNTS[account_id].gated or balance <= 0:
                continue
            answer = await gate.authorize(account_id, balance, None)
            _expect(not isinstance(answer, Refused), f"{account_id}: of {balance} something is still held")
            answer = await gate.authorize(account_id, 1, None)
            _expect(isinstance(answer, Refused), f"{account_id}: more than {balance} can be held")


def _check_alerts(row: Row, alerts: list[Row], transfers: list[Row]) -> None:
    told = [(a["type"], a["seq"]) for a in alerts if not a["type"].startswith("topup.")]
    due = model.alerts([t for t in transfers if t["seq"] <= row["evaluated_seq"]])
    _expect(told == due, f"{row['account_id']}: alerts {told} for transfers that give reason for {due}")
    paid = [t["seq"] for t in transfers if t["kind"] == "topup"]
    told_paid = [a["seq"] for a in alerts if a["type"] == "topup.succeeded"]
    _expect(told_paid == paid, f"{row['account_id']}: top-ups {paid}, told {told_paid}")


def _by_account(rows: list[Row]) -> dict[str, list[Row]]:
    accounts: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        accounts[row["account_id"]].append(row)
    return accounts
