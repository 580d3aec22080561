"""What was parked, for operators: look, release, dismiss."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from api.access import overseeing
from api.bodies import Body, Name
from api.errors import RESPONSES, ApiError
from api.paging import Page
from api.services import Services, services_of
from shared.domain.quarantine import Reason
from shared.messaging.connect import open_transport
from shared.operations import quarantine

router = APIRouter(
    prefix="/v1/admin/quarantine",
    tags=["admin"],
    responses=RESPONSES,
    dependencies=[Depends(overseeing)],
)
ServicesNow = Annotated[Services, Depends(services_of)]


class Entry(BaseModel):
    """A record that could not be processed; identical ones are one entry with a count."""

    id: str
    reason: str
    detail: str
    count: int
    status: str
    account_id: str | None
    event_id: str | None
    raw: str
    raw_encoding: str
    dismissed_because: str | None
    first_seen_at: datetime
    last_seen_at: datetime


class Release(Body):
    """Which entries to send on their way again: by id, or all of one reason."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "unknown_model"}]})

    ids: list[Name] | None = Field(None, min_length=1, max_length=1000)
    reason: Reason | None = None


class Dismissal(Body):
    """Entries to close for good, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ids": ["qtn_1"], "because": "a test of ours"}]}
    )

    ids: list[Name] = Field(min_length=1, max_length=1000)
    because: str = Field(min_length=1, max_length=500)


class Done(BaseModel):
    """The entries that it was done to."""

    ids: list[str]


@router.get("")
async def list_quarantine(services: ServicesNow, *, closed: bool = False) -> Page[Entry]:
    """List what is parked, oldest first; with ``closed`` also what was released or dismissed."""
    found = await quarantine.list_quarantine(services.engine, include_closed=closed)
    return Page(data=[Entry(**entry) for entry in found])


@router.post("/release")
async def release(wanted: Release, services: ServicesNow) -> Done:
    """Send parked records on their way again, as if they had just arrived."""
    if (wanted.ids is None) == (wanted.reason is None):
        raise ApiError(422, "invalid_request", "name either ids or a reason")
    async with open_transport(services.settings.broker_url) as transport:
        return Done(ids=await quarantine.release(services.engine, transport, wanted.ids, wanted.reason))


@router.post("/dismiss")
async def dismiss(wanted: Dismissal, services: ServicesNow) -> Done:
    """Close entries for good."""
    return Done(ids=await quarantine.dismiss(services.engine, wanted.ids, wanted.because))
