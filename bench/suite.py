"""The whole suite: what ``payg bench`` runs, and what it leaves behind."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.console import Milliseconds, console
from bench.end_to_end import Throughput, published
from bench.gate import gate
from bench.growth import Growth, by_accounts, by_rows
from bench.latency import Latency, latency
from bench.memory import Memory, memory
from bench.percentiles import Figure
from bench.plan import UNIFORM, Plan
from bench.rig import Rig, running_rig
from bench.throughput import measure

SECTIONS = ("throughput", "latency", "growth", "memory", "gate", "console")
PUBLISHED = "end to end with the publisher, uniform"
#: Memory is watched at a load that the machine carries with ease.
_MEMORY_LOAD = 0.3

Say = Callable[[str], None]


@dataclass
class Results:
    """What a run measured; a part that was not asked for is empty."""

    machine: dict[str, str]
    throughput: dict[str, Figure] = field(default_factory=dict)
    runs: dict[str, Throughput] = field(default_factory=dict)
    latency: list[tuple[float, Latency]] = field(default_factory=list)
    by_rows: list[Growth] = field(default_factory=list)
    by_random_ids: list[Growth] = field(default_factory=list)
    by_accounts: list[Growth] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    gate: dict[str, Figure] = field(default_factory=dict)
    gate_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    console: dict[str, Milliseconds] = field(default_factory=dict)


def run_suite(sections: Sequence[str], plan: Plan, say: Say) -> Results:
    """Run some sections of the suite on servers of its own; ``say`` hears how far it is."""
    with running_rig() as rig:
        results = Results(machine())
        if "throughput" in sections:
            results.throughput, results.runs = measure(rig, plan, say)
        if "latency" in sections:
            _measure_latency(rig, plan, results, say)
        if "growth" in sections:
            _measure_growth(rig, plan, results, say)
        if "gate" in sections:
            results.gate, results.gate_ms = gate(rig, plan, say)
        if "console" in sections:
            say(f"console: an account with {plan.console_rows:,} usage rows")
            results.console = console(rig, usage_rows=plan.console_rows, requests=plan.console_requests)
        if "memory" in sections:
            say(f"memory: a steady load for {plan.memory_s:.0f} s")
            rate = _capacity(rig, plan, results) * _MEMORY_LOAD
            results.memory = memory(rig, accounts=UNIFORM, records_per_s=rate, seconds=plan.memory_s)
    return results


def machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _measure_latency(rig: Rig, plan: Plan, results: Results, say: Say) -> None:
    capacity = _capacity(rig, plan, results)
    for share in plan.latency_shares:
        measured = latency(rig, accounts=UNIFORM, records_per_s=capacity * share, seconds=plan.latency_s)
        results.latency.append((share, measured))
        say(
            f"latency at {share:.0%}: debited {measured.debited_ms}, alert {measured.alert_ms}, "
            f"debit to alert {measured.debit_to_alert_ms}"
        )


def _capacity(rig: Rig, plan: Plan, results: Results) -> float:
    """Return the rate that the shares of a load refer to: that of the pipeline with its publisher."""
    if PUBLISHED in results.throughput:
        return results.throughput[PUBLISHED].median
    return published(rig, accounts=UNIFORM, records=plan.published_records).records_per_s


def _measure_growth(rig: Rig, plan: Plan, results: Results, say: Say) -> None:
    records, rounds = plan.growth_records, plan.growth_rounds
    say(f"growth: up to {plan.grown_rows[-1]:,} usage rows")
    results.by_rows, results.by_random_ids = by_rows(
        rig, accounts=UNIFORM, rows=plan.grown_rows, records=records, rounds=rounds
    )
    say(f"growth: up to {plan.grown_accounts[-1]:,} accounts")
    results.by_accounts = by_accounts(rig, accounts=plan.grown_accounts, records=records, rounds=rounds)
