"""Every metric has one place: what is read is described, and what is described is read."""

import re
import socket
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox.servers import free_port
from shared import metrics
from shared.metrics import GAUGES, RECORDS, Gauge, Gauges, MetricsError, serve_metrics

ROOT = Path(__file__).parents[2]


def test_each_gauge_is_read_somewhere_and_none_is_read_that_is_not_described() -> None:
    read = re.findall(r"SELECT '(\w+)', ", (ROOT / "shared/db/operations_view.py").read_text())
    assert sorted({*read, "up"}) == sorted(GAUGES)


def test_names_are_those_that_prometheus_sees() -> None:
    assert {
        "payg_records_total",
        "payg_queue_wait_seconds_bucket",
        "payg_queue_wait_seconds_count",
        "payg_queue_lag_seconds",
        "payg_up",
    } <= metrics.names()


def test_a_gauge_has_the_label_of_its_kind() -> None:
    lag, age = Gauges([Gauge("queue_lag_seconds", "pricing", 2), Gauge("clock_age_seconds", "", 1)]).collect()
    assert [(s.name, s.labels, s.value) for family in (lag, age) for s in family.samples] == [
        ("payg_queue_lag_seconds", {"queue": "pricing"}, 2),
        ("payg_clock_age_seconds", {}, 1),
    ]


def test_processes_of_one_host_each_have_a_port() -> None:
    RECORDS.labels("test", "seen").inc(3)
    base = free_port()
    ports = [serve_metrics("127.0.0.1", base) for _ in range(2)]
    assert ports[0] < ports[1] < base + metrics.PORTS
    for port in ports:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            families = text_string_to_metric_families(answer.read().decode())
        seen = [s.value for f in families for s in f.samples if s.labels.get("stage") == "test"]
        assert 3.0 in seen


def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PORTS", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MetricsError, match=f"PAYG_METRICS_PORT: 127.0.0.1 has no free port from {port}"):
            serve_metrics("127.0.0.1", port)
