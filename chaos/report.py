"""A campaign as Markdown."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from chaos.campaign import Plan, Story
from chaos.verdict import Verdict
from shared.domain.money import format_dollars


def as_markdown(plan: Plan, story: Story, verdict: Verdict, ended_at: datetime) -> str:
    """Return the counts of a campaign, what was wrong, and what it ran on."""
    head = (
        f"Seed {plan.seed}, {plan.seconds / 60:g} minutes at {plan.rate:g} records a second, twice each, "
        f"on {plan.nodes} node(s) of RabbitMQ; ended {ended_at:%Y-%m-%d %H:%M} UTC. {machine()}"
    )
    lines = [
        head,
        "",
        _table(("what", "count"), _counts(story, verdict)),
        "",
        f"Faults injected: {story.faults.total()}.",
        "",
        _table(("fault", "times"), ((kind, str(times)) for kind, times in sorted(story.faults.items()))),
        "",
    ]
    if story.no_disk_filled:
        lines += ["No disk was filled: mounting a small one is not allowed on this machine.", ""]
    lines += [f"- WRONG: {what}" for what in verdict.wrong] or ["Nothing is wrong."]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return one sentence on what this runs on."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"Machine: {model}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}."
    )


def _counts(story: Story, verdict: Verdict) -> list[tuple[str, str]]:
    return [
        ("records in", f"{verdict.records_in:,}"),
        ("copies of them that the broker confirmed", f"{verdict.copies_in:,}"),
        ("records debited", f"{verdict.records_debited:,}"),
        ("duplicates refused", f"{verdict.duplicates_refused:,}"),
        ("list price of what came in", _dollars(verdict.priced_nanos)),
        ("list price of what was debited", _dollars(verdict.debited_nanos)),
        ("money lost", _dollars(verdict.lost_nanos)),
        ("money taken twice", _dollars(verdict.doubled_nanos)),
        ("malformed records in, quarantined", f"{verdict.malformed_in}, {verdict.quarantined}"),
        ("top-ups charged, credited", f"{verdict.charges}, {verdict.topups}"),
        (
            "dollars charged, credited",
            f"{_dollars(verdict.charged_nanos)}, {_dollars(verdict.credited_nanos)}",
        ),
        ("alerts that the model says, told", f"{verdict.alerts_due:,}, {verdict.alerts_told:,}"),
        ("holds given", f"{verdict.holds:,}"),
        ("dead letters", str(verdict.dead_letters)),
        ("transfers audited", f"{verdict.audited_transfers:,}"),
        ("processes that died, and were started again", str(story.deaths)),
        ("seconds until all was settled", f"{story.drained_s:.0f}"),
    ]


def _dollars(nanos: int) -> str:
    return f"${format_dollars(nanos)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ("---", "---:"), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
