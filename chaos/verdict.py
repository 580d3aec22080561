"""What a campaign left, held against what was sent, what Stripe took and what a model of the books says."""

import signal
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chaos.load import Load
from chaos.model import expected_alerts, list_price_nanos, topup_faults
from chaos.world import World
from sandbox.stripe.controls import Controls
from shared.domain.alert_events import AlertEvent
from shared.messaging.connect import open_transport
from shared.messaging.topology import Stage, stage_queues
from shared.operations.audit import audit

_NANOS_PER_CENT = 10**7
_USAGE = text("SELECT event_id, list_nanos FROM usage_records")
_QUARANTINED = text("SELECT count(*) FROM quarantine")
_TOPUPS = text("SELECT count(*), coalesce(sum(amount_nanos), 0)::bigint FROM transfers WHERE kind = 'topup'")
_OPEN = text("""
    SELECT count(*) FROM topups WHERE state NOT IN ('succeeded', 'failed', 'canceled', 'quarantined')
""")


@dataclass
class Verdict:
    """The counts, and all that is wrong. Amounts are nanos."""

    records_in: int = 0
    copies_in: int = 0
    records_debited: int = 0
    priced_nanos: int = 0
    debited_nanos: int = 0
    lost_nanos: int = 0
    doubled_nanos: int = 0
    malformed_in: int = 0
    quarantined: int = 0
    charges: int = 0
    charged_nanos: int = 0
    topups: int = 0
    credited_nanos: int = 0
    alerts_due: int = 0
    alerts_told: int = 0
    holds: int = 0
    dead_letters: int = 0
    audited_transfers: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def duplicates_refused(self) -> int:
        """Copies of records that the broker confirmed, and that were not debited."""
        return self.copies_in - self.records_debited

    def expect(self, holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note what is wrong where it does not hold."""
        if not holds:
            self.wrong.append(what)


async def unsettled(engine: AsyncEngine) -> str | None:
    """Return what of the payments is still on its way, None for nothing."""
    async with engine.connect() as connection:
        still_open = (await connection.execute(_OPEN)).scalar_one()
    if still_open:
        return f"{still_open} top-ups are open"
    return next((fault for fault in await topup_faults(engine) if "not topped up" in fault), None)


async def judge(world: World, load: Load, heard: Collection[AlertEvent]) -> Verdict:
    """Compare everything; the system is drained."""
    verdict = Verdict(holds=load.held)
    async with world.engine() as engine:
        await _judge_usage(verdict, engine, load)
        await _judge_payments(verdict, engine, world)
        await _judge_alerts(verdict, engine, heard)
        report = await audit(engine)
    for name, statuses in world.processes.deaths.items():
        by_itself = [status for status in statuses if status != -signal.SIGKILL]
        verdict.expect(not by_itself, f"{name} died by itself, with status {by_itself}")
    verdict.audited_transfers = report.transfers
    verdict.expect(report.ok, f"payg audit: {report.fault}")
    await _judge_dead_letters(verdict, world)
    return verdict


async def _judge_usage(verdict: Verdict, engine: AsyncEngine, load: Load) -> None:
    async with engine.connect() as connection:
        rows = (await connection.execute(_USAGE)).all()
        verdict.quarantined = (await connection.execute(_QUARANTINED)).scalar_one()
    prices = {event_id: list_price_nanos(event) for event_id, event in load.good.items()}
    debited: Counter[str] = Counter()
    for event_id, nanos in rows:
        debited[event_id] += nanos
    verdict.records_in, verdict.copies_in = len(load.good), load.copies
    verdict.records_debited, verdict.malformed_in = len(rows), len(load.malformed)
    verdict.priced_nanos, verdict.debited_nanos = sum(prices.values()), sum(debited.values())
    verdict.lost_nanos = sum(max(0, nanos - debited[event_id]) for event_id, nanos in prices.items())
    verdict.doubled_nanos = sum(max(0, nanos - prices.get(each, 0)) for each, nanos in debited.items())
    missing, strange = prices.keys() - debited.keys(), debited.keys() - prices.keys()
    verdict.expect(not missing, f"{len(missing)} records were never debited, such as {sorted(missing)[:3]}")
    verdict.expect(not strange, f"{len(strange)} records were never sent, such as {sorted(strange)[:3]}")
    verdict.expect(len(rows) == len(debited), f"{len(rows) - len(debited)} records were debited twice")
    verdict.expect(verdict.lost_nanos == 0, f"{verdict.lost_nanos} nanos were lost")
    verdict.expect(verdict.doubled_nanos == 0, f"{verdict.doubled_nanos} nanos were taken too much")
    verdict.expect(
        verdict.quarantined == verdict.malformed_in,
        f"{verdict.quarantined} entries of quarantine for {verdict.malformed_in} malformed records",
    )


async def _judge_payments(verdict: Verdict, engine: AsyncEngine, world: World) -> None:
    with Controls(world.stripe.url) as controls:
        charged = [charge for charge in controls.objects("charge") if charge["status"] == "succeeded"]
    verdict.charges = len(charged)
    verdict.charged_nanos = sum(charge["amount"] for charge in charged) * _NANOS_PER_CENT
    async with engine.connect() as connection:
        verdict.topups, verdict.credited_nanos = (await connection.execute(_TOPUPS)).one()
    verdict.expect(verdict.charges == verdict.topups, f"{verdict.charges} charges, {verdict.topups} credits")
    verdict.expect(
        verdict.charged_nanos == verdict.credited_nanos,
        f"{verdict.charged_nanos} nanos charged, {verdict.credited_nanos} credited",
    )
    verdict.wrong += await topup_faults(engine)


async def _judge_alerts(verdict: Verdict, engine: AsyncEngine, heard: Collection[AlertEvent]) -> None:
    due = {account: sorted(alerts) for account, alerts in (await expected_alerts(engine)).items() if alerts}
    told = _by_account(heard)
    verdict.alerts_due, verdict.alerts_told = sum(map(len, due.values())), sum(map(len, told.values()))
    for account in sorted(due.keys() | told.keys()):
        is_due, was_told = due.get(account, []), told.get(account, [])
        missed, invented = Counter(is_due) - Counter(was_told), Counter(was_told) - Counter(is_due)
        verdict.expect(not missed, f"{account} was never told of {sorted(missed)}")
        verdict.expect(not invented, f"{account} was told of {sorted(invented)}, which is not so")
    quarantined = sum(event.alert_type == "usage.quarantined" for event in heard)
    verdict.expect(
        quarantined == verdict.quarantined,
        f"{quarantined} alerts of quarantine for {verdict.quarantined} entries",
    )


def _by_account(heard: Collection[AlertEvent]) -> dict[str, Sequence[tuple[str, Any]]]:
    told: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for event in sorted(heard, key=attrgetter("sequence")):
        if event.alert_type != "usage.quarantined":
            told[event.data["account_id"]].append((event.alert_type, event.data.get("transfer_seq")))
    return {account: sorted(alerts) for account, alerts in told.items()}


async def _judge_dead_letters(verdict: Verdict, world: World) -> None:
    queues = [name for stage in Stage for name in stage_queues(stage, world.settings.debit_queues)]
    async with open_transport(world.settings.broker_url) as transport:
        dead = Counter([letter.queue async for letter in transport.dead_letters(queues)])
    verdict.dead_letters = dead.total()
    verdict.expect(not dead, f"dead letters by queue: {dict(dead)}")
