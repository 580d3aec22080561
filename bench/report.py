"""The results as a document: ``bench/RESULTS.md``."""

from collections.abc import Iterable, Sequence

from bench.bars import Bar, bars
from bench.cost_model import Prediction, microseconds, needs, predict_growth, predict_throughput
from bench.growth import Growth
from bench.plan import FULL
from bench.suite import Results

BATCHED = "end to end, 500 a message, uniform"
SINGLE = "end to end, 1 a message, uniform"
BETWEEN = "end to end, 50 a message, uniform"
_RATES = (10_000, 100_000, 1_000_000)
_HOW = """\
`make bench` wrote this file. PostgreSQL ran with fsync and synchronous_commit on, RabbitMQ with quorum queues
and publisher confirms, one process a stage unless said otherwise; servers, workers and load generator shared
one machine. Cases of a round follow each other, so ratios are those of one minute of one machine; a median
stands before its range. After each run end to end the books were audited."""
_LATENCY = """\
From `publish()` in the Python publisher to the commit of the debit, and to the alert in the hands of a
subscriber; the last two columns count from that commit to that alert. Shares are of the rate with the
publisher, which takes its part of the machine too."""
_GATE = """\
Sixteen callers, each again as soon as it is answered; the scripts through one asyncio client on accounts with
a hundred requests under way, the routes from a process of its own to one server process under uvicorn. Half
load is half of each route's own rate, offered evenly."""
_CONSOLE = """\
An account with {rows:,} usage rows over half a year, of twenty models and ten keys; in the process of the
HTTP tier from the request until the answer, {requests} times each, one more transfer written before each.
Files are made whole before they leave. The clock sums up busy accounts as they go, which here it did not: the
first row is one look at all of it."""
_MODEL = """\
`bench/cost_model.py`: a record costs CPU of its own, a share of its message, and a share of what its account
costs once a batch. Fitted to 500 and 1 a message and to the least and the most accounts; the figures between
those are:"""
_NEEDS = """\
Worker processes and server cores at 70% load. Up to 10⁵ records/s one PostgreSQL with monthly partitions and
one RabbitMQ cluster carry it; set `PAYG_DEBIT_QUEUES` to the number of debit workers or more. At 10⁶ the
write-ahead log outgrows one machine: distribute by `account_id` (Citus; every hot statement names its
accounts) over as many nodes as the cores ask for, and the debit queues over several RabbitMQ clusters. An
estimate from the CPU of one machine, not a measurement."""


def as_markdown(results: Results) -> str:
    """Return the document; a part that was not measured is left out."""
    parts = [
        "# What was measured",
        _HOW,
        "Machine: {cpu}, {cores} cores, {memory}; {system}, Python {python}.".format(**results.machine),
        *_section("Bars", _bars(bars(results))),
        *_section("Throughput", _throughput(results)),
        *_section("Latency", _latency(results)),
        *_section("Growth", _growth(results)),
        *_section("Memory", _memory(results)),
        *_section("The gate", _gate(results)),
        *_section("The console", _console(results)),
        *_section("Where the time goes", _costs(results)),
        *_section("The model", _model(results)),
        *_section("What a rate needs", _needs(results)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _bars(found: Sequence[Bar]) -> str:
    rows = []
    for bar in found:
        spread = f"{bar.measured.low:,.2f} to {bar.measured.high:,.2f}"
        wanted = f"{'≥' if bar.at_least else '≤'} {bar.bound:g}"
        missed = f"**missed** by {abs(bar.measured.median / bar.bound - 1):.0%}"
        rows.append([bar.name, wanted, f"{bar.measured.median:,.2f}", spread, "met" if bar.met else missed])
    return _table(["bar", "wanted", "measured", "range", ""], rows) if rows else ""


def _throughput(results: Results) -> str:
    rows = [
        [name, f"{figure.median:,.0f}", f"{figure.low:,.0f} to {figure.high:,.0f}", _per_cpu(results, name)]
        for name, figure in results.throughput.items()
    ]
    return _table(["case", "records/s", "range", "records per CPU-second"], rows) if rows else ""


def _per_cpu(results: Results, name: str) -> str:
    run = results.runs.get(name)
    return f"{run.records / sum(run.cpu_s.values()):,.0f}" if run else ""


def _latency(results: Results) -> str:
    rows = [
        [
            f"{share:.0%}",
            f"{each.reached_per_s:,.0f}",
            *(
                f"{milliseconds[name]:,.0f}"
                for milliseconds in (each.debited_ms, each.alert_ms, each.debit_to_alert_ms)
                for name in ("p50", "p99")
            ),
        ]
        for share, each in results.latency
    ]
    head = [
        "load",
        "records/s",
        "debited p50 ms",
        "p99",
        "alert p50 ms",
        "p99",
        "debit → alert p50 ms",
        "p99",
    ]
    return f"{_LATENCY}\n\n{_table(head, rows)}" if rows else ""


def _growth(results: Results) -> str:
    def rows(grown: Sequence[Growth], what: str) -> list[list[str]]:
        return [[f"{g.there_already:,} {what}", f"{g.wall_us:.1f}", f"{g.cpu_us:.1f}"] for g in grown]

    table = rows(results.by_rows, "usage rows, ids that rise")
    table += rows(results.by_random_ids, "usage rows, random ids")
    table += rows(results.by_accounts, "accounts")
    return _table(["there already", "debit stage, µs a record", "CPU µs a record"], table) if table else ""


def _memory(results: Results) -> str:
    rows = [[m.process, f"{m.first_mb:.1f}", f"{m.second_mb:.1f}"] for m in results.memory]
    return _table(["process", "MB, first half", "MB, second half"], rows) if rows else ""


def _gate(results: Results) -> str:
    rows = []
    for name, figure in results.gate.items():
        at_half = results.gate_ms.get(name, {})
        milliseconds = (f"{at_half[n]:.1f}" if at_half else "" for n in ("p50", "p99"))
        rows.append(
            [name, f"{figure.median:,.0f}", f"{figure.low:,.0f} to {figure.high:,.0f}", *milliseconds]
        )
    table = _table(["case", "calls/s", "range", "p50 ms at half load", "p99"], rows)
    return f"{_GATE}\n\n{table}" if rows else ""


def _console(results: Results) -> str:
    rows = [
        [f"/{path}", *(f"{milliseconds[name]:,.0f}" for name in ("p50", "p95", "max"))]
        for path, milliseconds in results.console.items()
    ]
    how = _CONSOLE.format(rows=FULL.console_rows, requests=FULL.console_requests)
    return f"{how}\n\n{_table(['page', 'p50 ms', 'p95', 'longest'], rows)}" if rows else ""


def _costs(results: Results) -> str:
    cases = [name for name in (BATCHED, BETWEEN, SINGLE) if name in results.runs]
    if not cases:
        return ""
    by_case = [microseconds(results.runs[name]) for name in cases]
    rows = [[process, *(f"{cost[process]:.1f}" for cost in by_case)] for process in by_case[0]]
    rows.append(["all", *(f"{sum(cost.values()):.1f}" for cost in by_case)])
    rows.append(
        ["bytes of WAL", *(f"{results.runs[n].wal_bytes / results.runs[n].records:.0f}" for n in cases)]
    )
    return _table(["CPU µs a record", *cases], rows)


def predictions(results: Results) -> list[Prediction]:
    """Return what the model makes of figures that it was not fitted to."""
    found = []
    if {BATCHED, BETWEEN, SINGLE} <= results.runs.keys():
        runs = results.runs
        found.append(predict_throughput(BETWEEN, runs[BATCHED], runs[SINGLE], 50, runs[BETWEEN]))
    if len(results.by_accounts) > 2:
        found += predict_growth(results.by_accounts)
    return found


def _model(results: Results) -> str:
    rows = [
        [p.name, f"{p.predicted:,.0f} {p.unit}", f"{p.measured:,.0f}", f"{p.error:+.0%}"]
        for p in predictions(results)
    ]
    return f"{_MODEL}\n\n{_table(['figure', 'predicted', 'measured', 'error'], rows)}" if rows else ""


def _needs(results: Results) -> str:
    if BATCHED not in results.runs:
        return ""
    found = needs(results.runs[BATCHED], _RATES)
    stages = list(found[0].processes)
    rows = [
        [
            f"{need.records_per_s:,}",
            *(f"{need.processes[stage]}" for stage in stages),
            f"{need.postgres_cores:.1f}",
            f"{need.rabbitmq_cores:.1f}",
            f"{need.wal_mb_per_s:.0f}",
        ]
        for need in found
    ]
    head = ["records/s", *stages, "PostgreSQL cores", "RabbitMQ cores", "WAL MB/s"]
    return f"{_NEEDS}\n\n{_table(head, rows)}"
