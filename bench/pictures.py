"""The results as pictures, for the README."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from bench.suite import Results

_OURS, _THEIRS = "#2563eb", "#9ca3af"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "payg",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6b7280",
    "text.color": "#374151",
    "axes.labelcolor": "#374151",
    "xtick.color": "#374151",
    "ytick.color": "#374151",
}
_BARS = (
    ("plain actor, uniform", "dramatiq actor, one record a message"),
    ("pgbench, uniform", "pgbench, hand-written transaction, 16 clients"),
    ("end to end, 1 a message, uniform", "payg, end to end, 1 event a message"),
    ("end to end, 500 a message, uniform", "payg, end to end, 500 events a message"),
    ("debit stage, uniform", "payg, debit stage alone"),
    ("plain actor, hot", "hot account: dramatiq actor"),
    ("pgbench, hot", "hot account: pgbench"),
    ("end to end, 500 a message, hot", "hot account: payg, end to end"),
    ("debit stage, hot", "hot account: payg, debit stage alone"),
)


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw what was measured as SVG files; return them."""
    drawn = []
    with mpl.rc_context(_STYLE):
        if results.throughput:
            drawn.append(_throughput(results, directory / "throughput.svg"))
        if len(results.latency) > 1:
            drawn.append(_latency(results, directory / "latency.svg"))
    return drawn


def _throughput(results: Results, path: Path) -> Path:
    shown = [(label, results.throughput[name]) for name, label in _BARS if name in results.throughput]
    figure, axes = plt.subplots(figsize=(8.6, 0.42 * len(shown) + 0.9))
    for row, (label, measured) in enumerate(reversed(shown)):
        axes.barh(row, measured.median, color=_OURS if "payg" in label else _THEIRS, height=0.7)
        axes.text(measured.median, row, f"  {measured.median:,.0f}", va="center")
    axes.set_yticks(range(len(shown)), [label for label, _ in reversed(shown)])
    axes.set_xlabel("durable debits a second, all on one machine with two cores")
    axes.margins(x=0.12)
    return _save(figure, path)


def _latency(results: Results, path: Path) -> Path:
    figure, axes = plt.subplots(figsize=(8.6, 3.2))
    loads = [measured.reached_per_s for _, measured in results.latency]
    for name, style in (("p50", "o-"), ("p99", "o--")):
        debited = [measured.debited_ms[name] for _, measured in results.latency]
        alert = [measured.alert_ms[name] for _, measured in results.latency]
        axes.plot(loads, debited, style, color=_OURS, label=f"publish → debited, {name}")
        axes.plot(loads, alert, style, color="#d97706", label=f"publish → alert, {name}")
    axes.set_xlabel("records/s offered, the load generator on the same two cores")
    axes.set_ylabel("milliseconds")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", bbox_inches="tight", transparent=False, metadata={"Date": None})
    plt.close(figure)
    return path
