"""The HTTP tier."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from socket import socket

import uvicorn
from fastapi import FastAPI

from api.console.app import create_console
from api.errors import answer_errors
from api.limits import RequestLimits, SendLimit, Shedding
from api.metrics import Measured
from api.routes import (
    alert_mail,
    alert_settings,
    billing,
    events,
    gate,
    health,
    invoices,
    keys,
    members,
    metrics,
    models,
    payment_methods,
    statements,
    subscription,
    topups,
    usage,
    user,
    webhook_endpoints,
    webhooks,
)
from api.routes.admin import accounts, payments, prices, quarantine
from api.services import Services
from shared.domain.events import MAX_BODY_BYTES
from shared.liveness import Liveness
from shared.settings import Settings

_MAX_BODY_BYTES = 1024 * 1024
#: What usage takes over AMQP it takes over HTTP.
_LARGE_BODIES = {"/v1/usage": MAX_BODY_BYTES}
_BODY_WITHIN_S = 30.0
#: What must be answered most of all when there is too much to do.
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
#: Who takes nothing of an answer for so long is let go.
_SEND_TIMEOUT_S = 30.0
_ROUTES = (
    health,
    metrics,
    gate,
    usage,
    models,
    user,
    billing,
    events,
    alert_mail,
    topups,
    payment_methods,
    subscription,
    invoices,
    statements,
    keys,
    members,
    alert_settings,
    accounts,
    prices,
    quarantine,
    payments,
    webhooks,
    webhook_endpoints,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it connects when it is first asked something."""
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        liveness = Liveness(settings.stuck_s)
        liveness.touch(settings.alive_file)
        async with services.running(), liveness.beating():
            yield

    app = FastAPI(title="payg", summary="Prepaid billing: exact, fast, provable.", lifespan=lifespan)
    app.state.services = services
    app.add_middleware(
        RequestLimits,
        max_bytes=_MAX_BODY_BYTES,
        large_bodies=_LARGE_BODIES,
        body_within_s=_BODY_WITHIN_S,
    )
    app.add_middleware(SendLimit, timeout_s=_SEND_TIMEOUT_S)
    app.add_middleware(Shedding, at_most=settings.max_in_flight, never_refused=_PROBES)
    app.add_middleware(Measured)
    answer_errors(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.mount("/console", create_console(services))
    return app


#: Longer than clients and load balancers keep what is idle: whoever asks never finds it just closed.
_IDLE_S = 75


class _Server(uvicorn.Server):
    """Ends what would never end by itself before it waits for what is under way."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        await self._services.end_streams()
        await super().shutdown(sockets)


def run_api(settings: Settings) -> None:
    """Serve until the process is told to stop."""
    serve(create_app(settings), settings)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve an application until the process is told to stop."""
    config = uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_s,
        timeout_keep_alive=_IDLE_S,
    )
    server = _Server(config, app.state.services)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise SystemExit(1)
