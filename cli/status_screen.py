"""The screen of ``payg status`` and ``payg top``."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shared.operations.status import LATE_S, Queue, Status

_BAR = 24


class Rates(NamedTuple):
    """What passes in a second: records that are debited, and by stage messages that are received."""

    debited_per_s: float | None = None
    messages_per_s: Mapping[str, float] | None = None


def rates_between(before: Status, after: Status, seconds: float) -> Rates:
    """Return the rates from one look to the next; a process that ended or started counts as nothing."""
    received = {stage.stage: stage.received for stage in before.stages}
    return Rates(
        max(0.0, after.debited - before.debited) / seconds,
        {
            stage.stage: max(0.0, stage.received - received.get(stage.stage, stage.received)) / seconds
            for stage in after.stages
        },
    )


def screen(
    status: Status, wrong: Sequence[str], worth_a_look: Sequence[str], rates: Rates | None = None
) -> RenderableType:
    """Return everything on one screen, what is wrong first."""
    parts: list[RenderableType] = [_head(status, rates)]
    parts += [Text(f"✗ {line}", style="bold red") for line in wrong]
    parts += [Text(f"! {line}", style="yellow") for line in worth_a_look]
    if not wrong:
        parts.append(Text("✓ nothing is wrong", style="green"))
    if status.queues:
        parts.append(_queues(status.queues))
    if status.stages:
        parts.append(_stages(status, rates))
    if waiting := _waiting(status):
        parts.append(waiting)
    return Group(*parts)


def _head(status: Status, rates: Rates | None) -> Text:
    head = Text()
    for server in status.servers:
        head.append(f"● {server.name}  ", style="red" if server.problem else "green")
    if status.schema:
        current = status.schema.current == status.schema.head
        head.append(f"schema {status.schema.current}  ", style="" if current else "red")
    if rates is not None and rates.debited_per_s is not None:
        head.append(f"{rates.debited_per_s:,.0f} records debited/s", style="bold")
    return head


def _queues(queues: Sequence[Queue]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("queue")
    for name in ("ready", "oldest, at most", "consumers", "dead letters"):
        table.add_column(name, justify="right")
    table.add_column("", no_wrap=True)
    most = max(1, *(queue.ready for queue in queues))
    for queue in queues:
        age_s = queue.oldest_age_s
        table.add_row(
            queue.queue,
            f"{queue.ready:,}",
            Text(_age(age_s), style="red" if (age_s or 0) > LATE_S else ""),
            "-" if queue.consumers is None else str(queue.consumers),
            Text(str(queue.dead), style="red" if queue.dead else ""),
            Text("█" * round(_BAR * queue.ready / most), style="cyan"),
        )
    return table


def _stages(status: Status, rates: Rates | None) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage")
    for name in ("processes", "unacknowledged", *(["messages/s"] if rates is not None else [])):
        table.add_column(name, justify="right")
    for stage in status.stages:
        row = [str(stage.processes), f"{stage.in_flight:,}"]
        if rates is not None:
            per_s = (rates.messages_per_s or {}).get(stage.stage)
            row.append("-" if per_s is None else f"{per_s:,.1f}")
        table.add_row(stage.stage, *row)
    return table


def _waiting(status: Status) -> Table | None:
    rows = [
        ("quarantine", _counts(status.gauges.get("quarantine_entries", {}))),
        ("top-ups", _counts(status.gauges.get("topups", {}))),
        ("differences", _counts(status.gauges.get("payment_differences", {}))),
        ("last audit", _age(status.value("audit_age_seconds"))),
    ]
    if not status.schema:
        return None
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    return table


def _counts(by_label: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {number:,.0f}" for label, number in sorted(by_label.items())) or "none"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
