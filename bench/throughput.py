"""Throughput and its baselines, interleaved: each round measures each case once, on an empty database."""

from collections import defaultdict
from collections.abc import Callable

from bench.ceiling import ceiling
from bench.debit_stage import debit_stage
from bench.end_to_end import Throughput, end_to_end, published
from bench.percentiles import Figure
from bench.pgbench import pgbench
from bench.plain import plain
from bench.plan import HOT, UNIFORM, Plan
from bench.rig import Rig
from bench.traffic import Traffic

Case = Callable[[], float | Throughput]
Say = Callable[[str], None]


def cases(rig: Rig, plan: Plan) -> dict[str, Case]:
    """Return what a round measures, baselines beside what they are held against."""

    def drained(accounts: int, per_message: int) -> Case:
        records = plan.single_records if per_message == 1 else plan.batched_records
        return lambda: end_to_end(rig, accounts=accounts, records=records, per_message=per_message)

    return {
        "pgbench, uniform": lambda: pgbench(rig, accounts=UNIFORM, seconds=plan.pgbench_s),
        "debit stage, uniform": lambda: _debit(rig, UNIFORM, plan.debit_records, workers=1),
        "debit stage, uniform, 2 workers": lambda: _debit(rig, UNIFORM, plan.debit_records, workers=2),
        "set-based ceiling, one connection": lambda: ceiling(
            rig, accounts=UNIFORM, records=plan.debit_records, connections=1
        ),
        "set-based ceiling": lambda: ceiling(
            rig, accounts=UNIFORM, records=plan.debit_records, connections=4
        ),
        "end to end, 500 a message, uniform": drained(UNIFORM, 500),
        "pgbench, hot": lambda: pgbench(rig, accounts=HOT, seconds=plan.pgbench_s),
        "debit stage, hot": lambda: _debit(rig, HOT, plan.debit_records, workers=1),
        "end to end, 500 a message, hot": drained(HOT, 500),
        "plain actor, uniform": lambda: plain(rig, accounts=UNIFORM, records=plan.plain_records),
        "plain actor, hot": lambda: plain(rig, accounts=HOT, records=plan.plain_records // 2),
        "end to end, 1 a message, uniform": drained(UNIFORM, 1),
        "end to end, 50 a message, uniform": drained(UNIFORM, 50),
        "end to end with the publisher, uniform": lambda: published(
            rig, accounts=UNIFORM, records=plan.published_records
        ),
    }


def measure(rig: Rig, plan: Plan, say: Say) -> tuple[dict[str, Figure], dict[str, Throughput]]:
    """Return records a second by case over all rounds, and the runs of the last round with their CPU."""
    figures: dict[str, list[float]] = defaultdict(list)
    runs: dict[str, Throughput] = {}
    for number in range(plan.rounds):
        for name, case in cases(rig, plan).items():
            if name in plan.skipped:
                continue
            measured = case()
            if isinstance(measured, Throughput):
                runs[name] = measured
                measured = measured.records_per_s
            figures[name].append(measured)
            say(f"round {number + 1} of {plan.rounds}: {name}: {measured:,.0f} records/s")
    return {name: Figure(tuple(values)) for name, values in figures.items()}, runs


def _debit(rig: Rig, accounts: int, records: int, workers: int) -> Throughput:
    url = rig.database(accounts)
    measured = debit_stage(rig, url, Traffic(accounts), records, workers=workers)
    rig.drop(url)
    return measured
