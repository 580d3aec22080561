"""The benchmark, shortened: every case runs, the books add up, and what was measured is written down."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import as_markdown
from bench.run import measure, save

PAYG = Path(sys.executable).with_name("payg")


@pytest.mark.slow
def test_the_suite_measures_each_case_beside_its_baseline(tmp_path: Path) -> None:
    said: list[str] = []
    results = measure(None, quick=True, say=said.append)
    assert {"pgbench, hot", "plain actor, uniform", "debit stage, hot"} <= results.throughput.keys()
    assert all(figure.median > 0 for figure in results.throughput.values())
    assert results.latency[0][1].alert_ms["p50"] > 0
    assert [growth.there_already for growth in results.by_accounts] == [100, 1_000]
    assert {"intake", "pricing", "debit", "thresholds"} <= {each.process for each in results.memory}
    assert results.gate_ms["POST /v1/authorize"]["p99"] > 0
    assert len(said) > len(results.throughput)
    (tmp_path / "bench").mkdir()
    (tmp_path / "docs").mkdir()
    save(results, tmp_path)
    assert (tmp_path / "bench" / "RESULTS.md").read_text() == as_markdown(results)
    assert "<svg" in (tmp_path / "docs" / "throughput.svg").read_text()


def test_a_section_that_does_not_exist_is_refused() -> None:
    done = subprocess.run([PAYG, "bench", "throughputs"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "throughput, latency, growth, memory, gate" in done.stderr


def test_the_figures_of_a_run_are_objects_a_line() -> None:
    done = subprocess.run(
        [PAYG, "bench", "growth", "--quick", "--json"], capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"what", "median", "low", "high", "unit"} <= rows[0].keys()
