"""``payg bench``: run, show, and write down."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.bars import bars
from bench.percentiles import Figure
from bench.plan import FULL, QUICK
from bench.report import as_markdown
from bench.suite import SECTIONS, Results, run_suite
from shared.domain.errors import PaygError


class UnknownSectionError(PaygError):
    """There is no such part of the suite."""


def measure(sections: Sequence[str] | None, *, quick: bool, say: Callable[[str], None]) -> Results:
    """Run the suite, or some sections of it. Raises UnknownSectionError."""
    unknown = set(sections or ()) - set(SECTIONS)
    if unknown:
        raise UnknownSectionError(f"no section {min(unknown)!r}; there are {', '.join(SECTIONS)}")
    return run_suite(sections or SECTIONS, QUICK if quick else FULL, say)


def save(results: Results, directory: Path) -> None:
    """Write the document and the pictures below a checkout."""
    from bench.pictures import draw  # noqa: PLC0415 - only whoever draws needs what draws

    (directory / "bench" / "RESULTS.md").write_text(as_markdown(results))
    draw(results, directory / "docs")


def as_rows(results: Results) -> list[dict[str, Any]]:
    """Return all figures as plain rows, the bars last."""
    rows = [_row(name, figure, "records/s") for name, figure in results.throughput.items()]
    for share, measured in results.latency:
        for what, milliseconds in (
            ("debited", measured.debited_ms),
            ("alert", measured.alert_ms),
            ("debit to alert", measured.debit_to_alert_ms),
        ):
            rows += [
                _row(f"{what} {n} at {share:.0%}", Figure((ms,)), "ms") for n, ms in milliseconds.items()
            ]
    for what, grown in (("rows", results.by_rows), ("accounts", results.by_accounts)):
        rows += [_row(f"debit at {g.there_already} {what}", Figure((g.wall_us,)), "µs") for g in grown]
    rows += [_row(f"memory of {m.process}", Figure((m.first_mb, m.second_mb)), "MB") for m in results.memory]
    rows += [_row(name, figure, "calls/s") for name, figure in results.gate.items()]
    for name, milliseconds in results.gate_ms.items():
        rows += [_row(f"{name}, {n} at half load", Figure((ms,)), "ms") for n, ms in milliseconds.items()]
    for path, milliseconds in results.console.items():
        rows += [_row(f"/console/{path}, {n}", Figure((ms,)), "ms") for n, ms in milliseconds.items()]
    for bar in bars(results):
        rows.append({**_row(bar.name, bar.measured, "bar"), "bound": bar.bound, "met": bar.met})
    return rows


def _row(what: str, figure: Figure, unit: str) -> dict[str, Any]:
    median, low, high = (round(value, 2) for value in (figure.median, figure.low, figure.high))
    return {"what": what, "median": median, "low": low, "high": high, "unit": unit}
