"""Every metric of payg: what a process counts of itself, and what is read of the system as a whole.

A process counts per batch, never per record. What is read of the whole system has the same value wherever it
is asked for, so queries take the ``max`` of it, and the ``sum`` of what processes count.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shared.domain.errors import PaygError

#: So many processes of a host find a port of their own, from the one that is set upwards.
PORTS = 64

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

COUNTED = CollectorRegistry()
ProcessCollector(registry=COUNTED)
GCCollector(registry=COUNTED)

RECORDS = Counter(
    "payg_records", "usage records by what became of them at a stage", ("stage", "outcome"), registry=COUNTED
)
CHARGED = Counter(
    "payg_charged_nanos",
    "nano-dollars of usage by who paid: quota, balance, or uncollected",
    ("source",),
    registry=COUNTED,
)
RECORD_AGE = Histogram(
    "payg_record_age_seconds",
    "from a record's own time to its debit, of the oldest record of a batch",
    buckets=_SECONDS,
    registry=COUNTED,
)
LOST_RACES = Counter(
    "payg_lost_races",
    "accounts that were decided again because somebody else changed them first",
    registry=COUNTED,
)
EVALUATIONS = Counter("payg_evaluations", "accounts that were evaluated", registry=COUNTED)
PAYMENT_STEPS = Counter(
    "payg_payment_steps", "steps that were taken at Stripe", ("kind", "outcome"), registry=COUNTED
)
ALERTS = Counter("payg_alerts", "alerts that were delivered to the exchange", ("type",), registry=COUNTED)
HOLDS = Counter(
    "payg_holds",
    "holds by what became of them: placed, released, billed, parked",
    ("event",),
    registry=COUNTED,
)
QUEUE_WAIT = Histogram(
    "payg_queue_wait_seconds",
    "how long messages waited between two stages",
    ("queue",),
    buckets=_SECONDS,
    registry=COUNTED,
)
BATCH = Histogram(
    "payg_batch_seconds", "how long a stage worked on a batch", ("stage",), buckets=_SECONDS, registry=COUNTED
)
RETRIES = Counter(
    "payg_retries", "failures of a batch that were waited out or halved", ("stage",), registry=COUNTED
)
HTTP_REQUESTS = Histogram(
    "payg_http_request_seconds",
    "time from request to answer",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=COUNTED,
)
GATE_ANSWERS = Counter(
    "payg_gate_answers", "requests that were held, or why not", ("answer",), registry=COUNTED
)


class Kind(NamedTuple):
    """A number that is read of the system: what it says, and the label that tells its values apart."""

    says: str
    label: str | None = None


#: By name, without the prefix ``payg_``.
GAUGES = {
    "up": Kind("1 where the server can be reached", "server"),
    "processes": Kind("worker processes that report", "stage"),
    "messages_in_flight": Kind("messages that processes hold", "stage"),
    "queue_ready": Kind("messages that wait", "queue"),
    "queue_consumers": Kind("consumers of the queue", "queue"),
    "queue_lag_seconds": Kind("the oldest message that waits is at most so old", "queue"),
    "dead_letters": Kind("messages of the queue that the broker gave up on", "queue"),
    "clock_age_seconds": Kind("since the clock looked at the queues"),
    "quarantine_entries": Kind("open entries of the quarantine", "reason"),
    "topups": Kind("top-ups on their way, or parked", "state"),
    "topup_overdue_seconds": Kind("how late the payment step is that should have been taken first"),
    "refunds": Kind("refunds on their way, or parked", "state"),
    "payment_differences": Kind("open differences between Stripe and the books", "kind"),
    "unprocessed_stripe_events": Kind("events of Stripe that were stored and not worked off"),
    "reconciliation_age_seconds": Kind("since Stripe and the books were compared"),
    "due_evaluations": Kind("batches of accounts that wait for their evaluation"),
    "due_evaluations_age_seconds": Kind("age of the oldest of them"),
    "undelivered_alerts": Kind("alerts that are not out yet"),
    "undelivered_alerts_age_seconds": Kind("age of the oldest of them"),
    "holds_in_database": Kind("holds that were placed while Redis was away"),
    "audit_age_seconds": Kind("since the books were audited"),
    "audit_ok": Kind("1 where the last audit found the books right"),
}


class Gauge(NamedTuple):
    """One value of a kind."""

    kind: str
    label: str
    value: float


class Gauges(Collector):
    """What was read of the system last."""

    def __init__(self, values: Iterable[Gauge] = ()) -> None:
        self.values = tuple(values)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        by_kind: dict[str, list[Gauge]] = defaultdict(list)
        for gauge in self.values:
            by_kind[gauge.kind].append(gauge)
        for name, gauges in by_kind.items():
            says, label = GAUGES[name]
            family = GaugeMetricFamily(f"payg_{name}", says, labels=[label] if label else [])
            for gauge in gauges:
                family.add_metric([gauge.label] if label else [], gauge.value)
            yield family


class MetricsError(PaygError):
    """No port is free for the metrics."""


def names() -> frozenset[str]:
    """Return the name of every metric, as queries write it."""
    counted = {
        sample
        for metric in COUNTED.collect()
        for sample in _samples(metric.name, metric.type)
        if metric.name.startswith("payg_")
    }
    return frozenset(counted | {f"payg_{name}" for name in GAUGES})


def _samples(name: str, kind: str) -> tuple[str, ...]:
    if kind == "histogram":
        return tuple(f"{name}_{suffix}" for suffix in ("bucket", "sum", "count"))
    return (f"{name}_total",) if kind == "counter" else (name,)


def serve_metrics(host: str, port: int) -> int:
    """Serve what is counted from a thread, at that port or the next that is free; return which."""
    for each in range(port, port + PORTS):
        try:
            start_http_server(each, host, COUNTED)
        except OSError:
            continue
        return each
    raise MetricsError(f"PAYG_METRICS_PORT: {host} has no free port from {port} to {port + PORTS - 1}")
