"""The bars: what the ratios of one run must reach, met or not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.console import is_page
from bench.gate import IN_REDIS, OVER_HTTP, READ_WRITE, ROUND_TRIP
from bench.percentiles import Figure, ratio

if TYPE_CHECKING:
    from bench.suite import Results

_RATIOS = (
    ("debit stage, uniform", "pgbench, uniform", 5.0),
    ("debit stage, uniform, 2 workers", "pgbench, uniform", 5.0),
    ("debit stage, hot", "pgbench, hot", 25.0),
    ("debit stage, uniform", "set-based ceiling, one connection", 0.7),
    ("debit stage, uniform", "set-based ceiling", 0.7),
    ("end to end, 500 a message, uniform", "pgbench, uniform", 3.0),
    ("end to end, 500 a message, uniform", "plain actor, uniform", 10.0),
    ("end to end, 500 a message, hot", "plain actor, hot", 20.0),
    ("end to end, 1 a message, uniform", "plain actor, uniform", 2.0),
    ("end to end, 500 a message, hot", "end to end, 500 a message, uniform", 0.8),
)
_GATE_RATIOS = ((IN_REDIS, READ_WRITE, 0.8), (OVER_HTTP, ROUND_TRIP, 0.6))
_HALF_LOAD = 0.5
_DEBITED_P99_MS = 100.0
_ALERT_P99_MS = 250.0
_ROWS_RATIO = 1.2
_ACCOUNTS_RATIO = 1.5
_FLAT = 1.05
_PAGE_P95_MS = 100.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: ``measured`` must be at least, or at most, ``bound``."""

    name: str
    measured: Figure
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        value = self.measured.median
        return value >= self.bound if self.at_least else value <= self.bound


def bars(results: "Results") -> list[Bar]:
    """Return all bars that a run has figures for."""
    figures = results.throughput | results.gate
    met = [
        Bar(f"{ours} ÷ {theirs}", ratio(figures[ours], figures[theirs]), bound)
        for ours, theirs, bound in _RATIOS + _GATE_RATIOS
        if ours in figures and theirs in figures
    ]
    others = (_latency_bars, _growth_bars, _memory_bars, _console_bars)
    return met + [bar for bars_of in others for bar in bars_of(results)]


def _latency_bars(results: "Results") -> list[Bar]:
    for share, measured in results.latency:
        if share == _HALF_LOAD:
            debited, alert = (Figure((ms["p99"],)) for ms in (measured.debited_ms, measured.alert_ms))
            return [
                Bar("half load: publish → debited, p99 ms", debited, _DEBITED_P99_MS, at_least=False),
                Bar("half load: publish → alert, p99 ms", alert, _ALERT_P99_MS, at_least=False),
            ]
    return []


def _growth_bars(results: "Results") -> list[Bar]:
    found = []
    rows = {growth.there_already: growth.wall_us for growth in results.by_rows}
    if 10**5 in rows and 10**7 in rows:
        grown = Figure((rows[10**7] / rows[10**5],))
        found.append(Bar("cost a record, 10⁷ rows ÷ 10⁵ rows", grown, _ROWS_RATIO, at_least=False))
    accounts = {growth.there_already: growth.wall_us for growth in results.by_accounts}
    if 10**3 in accounts and 10**6 in accounts:
        grown = Figure((accounts[10**6] / accounts[10**3],))
        found.append(Bar("cost a record, 10⁶ accounts ÷ 10³", grown, _ACCOUNTS_RATIO, at_least=False))
    return found


def _memory_bars(results: "Results") -> list[Bar]:
    if not results.memory:
        return []
    worst = max(results.memory, key=lambda each: each.second_mb / each.first_mb)
    name = f"memory, second half ÷ first, worst worker ({worst.process})"
    return [Bar(name, Figure((worst.second_mb / worst.first_mb,)), _FLAT, at_least=False)]


def _console_bars(results: "Results") -> list[Bar]:
    pages = {path: ms["p95"] for path, ms in results.console.items() if is_page(path)}
    if not pages:
        return []
    slowest = max(pages, key=lambda path: pages[path])
    name = f"console, slowest page (/{slowest}), p95 ms"
    return [Bar(name, Figure((pages[slowest],)), _PAGE_P95_MS, at_least=False)]
