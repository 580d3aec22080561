"""Metrics for Prometheus: this process's own, and what waits in the database and the queues."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

from api.services import Services, services_of
from shared.db.operations_view import Gauge, read_gauges
from shared.messaging.topology import Stage, stage_queues
from shared.messaging.transport import TransportError, open_transport

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: Annotated[Services, Depends(services_of)]) -> Response:
    """Say what this process counted, and what waits; what cannot be reached is left out, and `up` says so."""
    gauges = [*await _from_database(services), *await _from_broker(services)]
    registry = CollectorRegistry()
    registry.register(_Gauges(gauges))
    body = generate_latest(services.metrics.registry) + generate_latest(registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)


async def _from_database(services: Services) -> list[Gauge]:
    try:
        async with services.engine.connect() as connection:
            return [*await read_gauges(connection), Gauge("up", "database", 1)]
    except (SQLAlchemyError, OSError):
        return [Gauge("up", "database", 0)]


async def _from_broker(services: Services) -> list[Gauge]:
    queues = [name for stage in Stage for name in stage_queues(stage, services.settings.debit_queues)]
    try:
        async with open_transport(services.settings.broker_url) as transport:
            states = await transport.queue_states(queues)
    except TransportError:
        return [Gauge("up", "broker", 0)]
    return [*(Gauge("queue_ready", state.queue, state.ready) for state in states), Gauge("up", "broker", 1)]


class _Gauges(Collector):
    """Numbers that were read for one scrape."""

    def __init__(self, gauges: list[Gauge]) -> None:
        self._by_kind: dict[str, list[Gauge]] = defaultdict(list)
        for gauge in gauges:
            self._by_kind[gauge.kind].append(gauge)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for kind, gauges in self._by_kind.items():
            family = GaugeMetricFamily(f"payg_{kind}", kind.replace("_", " "), labels=["label"])
            for gauge in gauges:
                family.add_metric([gauge.label], gauge.value)
            yield family
