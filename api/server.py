"""The HTTP tier."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from api.console.app import create_console
from api.errors import answer_errors
from api.limits import BodyLimit
from api.routes import (
    billing,
    gate,
    health,
    invoices,
    keys,
    models,
    payment_methods,
    subscription,
    topups,
    usage,
    user,
    webhooks,
)
from api.routes.admin import accounts, payments, prices, quarantine
from api.services import Services
from shared.settings import Settings

#: What `POST /v1/usage` takes over AMQP it takes over HTTP.
_MAX_BODY_BYTES = 8 * 1024 * 1024
_ROUTES = (
    health,
    gate,
    usage,
    models,
    user,
    billing,
    topups,
    payment_methods,
    subscription,
    invoices,
    keys,
    accounts,
    prices,
    quarantine,
    payments,
    webhooks,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it connects when it is first asked something."""
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with services.running():
            yield

    app = FastAPI(title="payg", summary="Prepaid billing: exact, fast, provable.", lifespan=lifespan)
    app.state.services = services
    app.add_middleware(BodyLimit, max_bytes=_MAX_BODY_BYTES)
    answer_errors(app)
    for routes in _ROUTES:
        app.include_router(routes.router)
    app.mount("/console", create_console(services))
    return app


def run_api(settings: Settings) -> None:
    """Serve until the process is told to stop."""
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
