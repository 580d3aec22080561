"""How long and how often each thing is measured: the whole suite, and a short one that shows it works."""

from dataclasses import dataclass

UNIFORM = 1_000
HOT = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of a run: records by case, seconds of a load, rounds."""

    rounds: int
    batched_records: int
    single_records: int
    published_records: int
    debit_records: int
    plain_records: int
    pgbench_s: int
    latency_s: float
    latency_shares: tuple[float, ...]
    grown_rows: tuple[int, ...]
    grown_accounts: tuple[int, ...]
    growth_records: int
    growth_rounds: int
    memory_s: float
    gate_s: float
    console_rows: int
    console_requests: int
    skipped: frozenset[str] = frozenset()


FULL = Plan(
    rounds=3,
    batched_records=200_000,
    single_records=40_000,
    published_records=100_000,
    debit_records=200_000,
    plain_records=8_000,
    pgbench_s=6,
    latency_s=20.0,
    latency_shares=(0.1, 0.5, 0.8),
    grown_rows=(100_000, 1_000_000, 10_000_000),
    grown_accounts=(100, 1_000, 10_000, 100_000, 1_000_000),
    growth_records=100_000,
    growth_rounds=3,
    memory_s=600.0,
    gate_s=5.0,
    console_rows=1_000_000,
    console_requests=100,
)

QUICK = Plan(
    rounds=1,
    batched_records=2_000,
    single_records=200,
    published_records=500,
    debit_records=2_000,
    plain_records=200,
    pgbench_s=1,
    latency_s=2.0,
    latency_shares=(0.1,),
    grown_rows=(10_000, 20_000),
    grown_accounts=(100, 1_000),
    growth_records=2_000,
    growth_rounds=1,
    memory_s=4.0,
    gate_s=0.5,
    console_rows=1_000,
    console_requests=1,
    # The same as others of the round, but for a number.
    skipped=frozenset(
        {
            "debit stage, uniform, 2 workers",
            "set-based ceiling",
            "end to end, 500 a message, hot",
            "end to end, 50 a message, uniform",
            "plain actor, uniform",
        }
    ),
)
