"""The benchmark, shortened: every case runs, the books add up, and what was measured is written down."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import as_markdown
from bench.run import as_rows, measure, save

PAYG = Path(sys.executable).with_name("payg")


@pytest.mark.slow
def test_the_suite_measures_each_case_beside_its_baseline(tmp_path: Path) -> None:
    said: list[str] = []
    results = measure(None, quick=True, say=said.append)
    assert {"pgbench, hot", "plain actor, hot", "debit stage, hot"} <= results.throughput.keys()
    assert all(figure.median > 0 for figure in results.throughput.values())
    latency = results.latency[0][1]
    assert 0 < latency.debit_to_alert_ms["p50"] < latency.alert_ms["p50"]
    assert 0 < latency.debit_to_alert_ms["p99"] < latency.alert_ms["max"]
    assert [growth.there_already for growth in results.by_accounts] == [100, 1_000]
    assert {"intake", "pricing", "debit", "thresholds"} <= {each.process for each in results.memory}
    assert results.gate_ms["POST /v1/authorize"]["p99"] > 0
    assert results.console["transactions"]["p95"] > 0
    assert len(said) > len(results.throughput)
    (tmp_path / "bench").mkdir()
    (tmp_path / "docs").mkdir()
    save(results, tmp_path)
    assert (tmp_path / "bench" / "RESULTS.md").read_text() == as_markdown(results)
    assert "<svg" in (tmp_path / "docs" / "throughput.svg").read_text()
    assert all({"what", "median", "low", "high", "unit"} <= row.keys() for row in as_rows(results))


def test_a_section_that_does_not_exist_is_refused() -> None:
    done = subprocess.run([PAYG, "bench", "throughputs"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "throughput, latency, growth, memory, gate, console" in done.stderr
