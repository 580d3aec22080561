"""Metrics for Prometheus: what this process counted, and what waits in the database and the queues."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from api.services import Services, services_of
from shared.messaging.connect import open_transport
from shared.messaging.transport import TransportError
from shared.metrics import COUNTED, Gauge, Gauges
from shared.operations.watch import read_database

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(services: Annotated[Services, Depends(services_of)]) -> Response:
    """Say what this process counted, and what waits; what cannot be reached is left out, and `up` says so.

    Queues are those that the clock saw last.
    """
    registry = CollectorRegistry()
    registry.register(Gauges([*await read_database(services.engine), await _broker(services)]))
    return Response(generate_latest(COUNTED) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _broker(services: Services) -> Gauge:
    try:
        async with open_transport(services.settings.broker_url):
            return Gauge("up", "broker", 1)
    except TransportError:
        return Gauge("up", "broker", 0)
