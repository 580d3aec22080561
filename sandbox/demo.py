"""``payg demo``: an hour of real traffic through every stage, in half a minute, with nothing installed."""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pydantic import SecretStr
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from sandbox.accounts import SeededAccount, seed_accounts
from sandbox.environment import embedded
from sandbox.supervisor import Supervisor, read_procfile
from sandbox.trace import read_trace, replay
from shared.clock import utc_now
from shared.db.engine import create_engine
from shared.db.schema import migrate
from shared.domain.money import NANOS_PER_DOLLAR
from shared.gateways.genai_prices import catalog
from shared.gateways.stripe_payments import configured_payments
from shared.messaging.connect import open_transport
from shared.messaging.publisher import Publisher
from shared.operations.audit import AuditReport, audit
from shared.operations.drain import drain
from shared.operations.prices import import_models
from shared.settings import Settings

ACCOUNTS = 300
SEED = 2023
RECORDS_PER_S = 1_000
_DRAIN_TIMEOUT_S = 60.0

_SPENT = text("""
    SELECT count(*) AS records, coalesce(sum(quota_nanos), 0) AS quota_nanos,
           coalesce(sum(balance_nanos), 0) AS balance_nanos,
           coalesce(sum(uncollected_nanos), 0) AS uncollected_nanos
    FROM usage_records
""")
_BY_ACCOUNT = text("""
    SELECT account_id, count(*) AS records, sum(list_nanos) AS list_nanos, sum(quota_nanos) AS quota_nanos,
           sum(balance_nanos) AS balance_nanos, sum(uncollected_nanos) AS uncollected_nanos
    FROM usage_records GROUP BY account_id
""")
_TOPUPS = text("SELECT state, count(*), sum(amount_nanos)::bigint FROM topups GROUP BY state ORDER BY state")
_ALERTS = text("SELECT type, count(*) FROM alerts GROUP BY type ORDER BY count(*) DESC, type")


@dataclass
class _Progress:
    """How far the replay is."""

    total: int
    published: int = 0
    started_at: float = 0.0
    debited: int = 0
    quota_nanos: int = 0
    balance_nanos: int = 0
    uncollected_nanos: int = 0

    def __rich__(self) -> Group:
        elapsed = max(monotonic() - self.started_at, 0.001)
        table = Table.grid(padding=(0, 2))
        table.add_row("published", f"{self.published:,}", "debited", f"{self.debited:,} of {self.total:,}")
        table.add_row(
            "debited/s", f"{self.debited / elapsed:,.0f}", "lag", f"{self.published - self.debited:,} records"
        )
        table.add_row("paid by quota", _dollars(self.quota_nanos), "by balance", _dollars(self.balance_nanos))
        table.add_row("uncollected", _dollars(self.uncollected_nanos), "elapsed", f"{elapsed:.0f} s")
        return Group(table, ProgressBar(total=self.total, completed=self.debited, width=60))


def run_demo(procfile: Path, console: Console) -> bool:
    """Run the demo; return whether the books add up."""
    console.rule("payg demo")
    with tempfile.TemporaryDirectory(prefix="payg-demo-", ignore_cleanup_errors=True) as directory:
        console.print("starting PostgreSQL and Redis from their wheels, and a fake Stripe …")
        with embedded(Path(directory)) as urls:
            settings = Settings(
                database_url=urls["PAYG_DATABASE_URL"],
                broker_url=urls["PAYG_BROKER_URL"],
                stripe_api_key=SecretStr(urls["PAYG_STRIPE_API_KEY"]),
                stripe_api_base=urls["PAYG_STRIPE_API_BASE"],
            )
            stages = {k: v for k, v in read_procfile(procfile).items() if k != "api"}
            asyncio.run(_prepare(settings, console))
            with Supervisor(stages, urls, logs=Path(directory) / "logs"):
                return asyncio.run(_replay(settings, console))


async def _prepare(settings: Settings, console: Console) -> None:
    engine = create_engine(settings.database_url)
    await migrate(engine)
    result = await import_models(engine, "genai-prices", catalog())
    console.print(f"{result.models:,} models, {result.unsupported} of them with prices payg does not express")
    await engine.dispose()


async def _replay(settings: Settings, console: Console) -> bool:
    engine = create_engine(settings.database_url)
    seeded = await seed_accounts(engine, settings, ACCOUNTS, SEED, configured_payments(settings))
    payers = [payer for account in seeded for payer in account.payers]
    requests = read_trace()
    console.print(f"{len(seeded)} accounts, {len(payers)} keys; replaying {len(requests):,} real requests")
    events = list(replay(requests, payers, utc_now(), SEED))
    progress = _Progress(len(events), started_at=monotonic())
    with Live(progress, console=console, refresh_per_second=8):
        watching = asyncio.create_task(_watch(engine, progress))
        await _publish(settings, events, progress)
        async with open_transport(settings.broker_url) as transport:
            waiting = await drain(engine, transport, settings.debit_queues, _DRAIN_TIMEOUT_S)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await _read(engine, progress)
    console.print("\n")
    report = await audit(engine)
    await _summarise(engine, seeded, report, console)
    await engine.dispose()
    if waiting:
        console.print(f"[red]not drained: {waiting}")
    return report.ok and waiting is None and progress.debited == len(events)


async def _publish(settings: Settings, events: Sequence[dict[str, Any]], progress: _Progress) -> None:
    """Publish at a steady pace, so that there is something to watch."""
    async with Publisher(settings.broker_url) as publisher:
        step = RECORDS_PER_S // 20
        for start in range(0, len(events), step):
            await publisher.publish_all(events[start : start + step])
            progress.published = min(start + step, len(events))
            ahead_s = progress.published / RECORDS_PER_S - (monotonic() - progress.started_at)
            await asyncio.sleep(max(0.0, ahead_s))


async def _watch(engine: AsyncEngine, progress: _Progress) -> None:
    while True:
        await _read(engine, progress)
        await asyncio.sleep(0.25)


async def _read(engine: AsyncEngine, progress: _Progress) -> None:
    async with engine.connect() as connection:
        row = (await connection.execute(_SPENT)).one()
    progress.debited = row.records
    progress.quota_nanos, progress.balance_nanos = int(row.quota_nanos), int(row.balance_nanos)
    progress.uncollected_nanos = int(row.uncollected_nanos)


async def _summarise(
    engine: AsyncEngine, seeded: Sequence[SeededAccount], report: AuditReport, console: Console
) -> None:
    kinds = {account.account_id: account.kind for account in seeded}
    totals: dict[str, list[int]] = {account.kind: [0] * 5 for account in seeded}
    async with engine.connect() as connection:
        for account_id, *sums in await connection.execute(_BY_ACCOUNT):
            kind = totals[kinds[account_id]]
            kind[:] = [total + int(part) for total, part in zip(kind, sums, strict=True)]
    table = Table("accounts", "records", "list price", "paid by quota", "by balance", "uncollected")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (records, *nanos) in totals.items():
        table.add_row(name, f"{records:,}", *(_dollars(part) for part in nanos))
    console.print(table)
    async with engine.connect() as connection:
        topups = (await connection.execute(_TOPUPS)).all()
        alerts = (await connection.execute(_ALERTS)).all()
    for state, count, nanos in topups:
        console.print(f"top-ups {state}: {count:,}, {_dollars(nanos)} charged at the fake Stripe")
    console.print("alerts: " + ", ".join(f"{count:,} {name}" for name, count in alerts))
    verdict = "[green]the books add up" if report.ok else f"[red]FAULT: {report.fault}"
    console.print(
        f"audit: {report.accounts:,} accounts, {report.transfers:,} transfers, "
        f"{report.usage_records:,} usage records: {verdict}"
    )


def _dollars(nanos: int) -> str:
    """Return an amount rounded to the cent, for the eye."""
    return f"${nanos / NANOS_PER_DOLLAR:,.2f}"
