"""Whether the process answers, and whether it can work."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.services import Services, services_of
from shared.messaging.connect import open_transport
from shared.messaging.transport import TransportError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "something it needs is away"}})
async def readyz(response: Response, services: Annotated[Services, Depends(services_of)]) -> dict[str, str]:
    """Say whether the database and the broker can be reached, and how the gate is answered."""
    checks = {"database": "ok", "broker": "ok"}
    try:
        async with services.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError) as error:
        checks["database"] = type(error).__name__
    try:
        async with open_transport(services.settings.broker_url):
            pass
    except TransportError as error:
        checks["broker"] = type(error).__name__
    if set(checks.values()) != {"ok"}:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return checks
