"""payg migrate, publish, audit, drain: the whole system at once."""

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Annotated, TypeVar

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.output import print_object, progress_bar, remarks
from cli.session import with_database, with_transport
from shared.db.schema import migrate as run_migrations
from shared.domain.errors import PaygError
from shared.messaging.publisher import Publisher
from shared.messaging.transport import Transport
from shared.operations import audit as auditing
from shared.operations.drain import drain as wait_until_drained
from shared.settings import load_settings

Decoded = TypeVar("Decoded")

_CHUNK = 5_000


def register(app: typer.Typer) -> None:
    for command in (migrate, publish, audit, drain):
        app.command()(command)


def migrate() -> None:
    """Bring the database's schema to the newest revision; safe to run twice and at once."""
    if missing := with_database(run_migrations):
        remarks.print(
            f"payg: this user may make no roles; without {', '.join(missing)} each process takes a user that "
            "may do all: see docs/roles.md",
            soft_wrap=True,
        )
    print_object({"migrated": True})


def publish(
    file: Annotated[
        Path, typer.Argument(help="CloudEvents: JSON lines, or one array; - for standard input.")
    ],
) -> None:
    """Publish usage events; returns when the broker has all of them safe."""
    events = _events(file)
    published = 0

    async def send(_engine: AsyncEngine) -> None:
        nonlocal published
        async with Publisher(load_settings().broker_url) as publisher:
            with progress_bar("events published") as progress:
                task = progress.add_task("publishing", total=None)
                while chunk := list(islice(events, _CHUNK)):
                    await publisher.publish_all(chunk)
                    published += len(chunk)
                    progress.update(task, completed=published)

    with_database(send)
    print_object({"published": published})


def audit() -> None:
    """Prove the books: balances, usage rows, numbering, hash chain. Exit status 1 if they are not right."""

    async def check(engine: AsyncEngine) -> tuple[auditing.AuditReport, bool]:
        with progress_bar("accounts") as progress:
            task = progress.add_task("auditing", total=None)
            report = await auditing.audit(
                engine, lambda done, of: progress.update(task, completed=done, total=of)
            )
        return report, await auditing.note_audit(engine, report)

    report, noted = with_database(check)
    fault = report.fault
    print_object(
        {
            "ok": report.ok,
            "accounts": report.accounts,
            "transfers": report.transfers,
            "usage_records": report.usage_records,
            "detached_periods": report.detached_periods,
            "first_fault": None if fault is None else str(fault),
            "fault_table": fault.table if fault else None,
            "fault_key": fault.key if fault else None,
            "noted": noted,
        }
    )
    if not report.ok:
        raise SystemExit(1)


def drain(
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 60.0,
) -> None:
    """Wait until every record published before is debited, quarantined or dead-lettered."""
    started = monotonic()

    async def wait(engine: AsyncEngine, transport: Transport) -> str | None:
        return await wait_until_drained(engine, transport, load_settings().debit_queues, timeout)

    waiting = with_transport(wait)
    print_object(
        {"drained": waiting is None, "waiting_for": waiting, "seconds": round(monotonic() - started, 3)}
    )
    if waiting is not None:
        raise SystemExit(1)


def _events(file: Path) -> Iterator[msgspec.Raw]:
    """Yield the events of a file, each as it stands there."""
    source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with source as lines:
        head = next((line for line in lines if line.strip()), b"")
        if head.lstrip().startswith(b"["):
            yield from _decoded(head + lines.read(), list[msgspec.Raw], file, 1)
            return
        if head:
            yield _decoded(head, msgspec.Raw, file, 1)
        for number, line in enumerate(lines, start=2):
            if line.strip():
                yield _decoded(line, msgspec.Raw, file, number)


def _decoded(text: bytes, kind: type[Decoded], file: Path, line: int) -> Decoded:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PaygError(f"{file}, line {line}: not JSON: {error}") from None
