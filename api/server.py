"""The HTTP tier: health, and Stripe's webhooks. The contract's other routes come with the gate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response, status
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.webhooks import webhook_routes
from shared.db.engine import create_engine
from shared.messaging.transport import TransportError, open_transport
from shared.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it connects when it is first asked something."""
    engine = create_engine(settings.database_url, application="payg api")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(title="payg", lifespan=lifespan)
    app.include_router(webhook_routes(engine, settings))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        """Say whether the database and the broker can be reached."""
        checks = {"database": "ok", "broker": "ok"}
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError) as error:
            checks["database"] = type(error).__name__
        try:
            async with open_transport(settings.broker_url):
                pass
        except TransportError as error:
            checks["broker"] = type(error).__name__
        if set(checks.values()) != {"ok"}:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return checks

    return app


def run_api(settings: Settings) -> None:
    """Serve until the process is told to stop."""
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
