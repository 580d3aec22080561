"""Who gets mail about an account."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from api.access import ReadingAccount, WritingAccount
from api.bodies import Body
from api.errors import RESPONSES
from api.paging import Page
from api.services import Services, services_of
from shared.domain.alerts import AlertType
from shared.operations.delivery import mail_recipients

router = APIRouter(prefix="/v1/billing/alert-mail", tags=["alerts"], responses=RESPONSES)
ServicesNow = Annotated[Services, Depends(services_of)]


class Recipient(BaseModel):
    """An address. No `event_types` means all. It is not `enabled` once mail to it was refused for good."""

    recipient_id: str
    account_id: str
    address: str
    event_types: list[str]
    enabled: bool
    refused_because: str | None
    created_at: datetime


class WantedRecipient(Body):
    """An address, and what it is to get."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"address": "ops@example.com", "event_types": ["balance.critical"]}]}
    )

    address: str = Field(max_length=320)
    event_types: list[AlertType] = Field(default=[], max_length=100)


@router.get("")
async def list_recipients(account_id: ReadingAccount, services: ServicesNow) -> Page[Recipient]:
    """List the addresses, oldest first."""
    found = await mail_recipients.list_recipients(services.engine, account_id)
    return Page(data=[Recipient(**each) for each in found])


@router.put("")
async def put_recipient(
    wanted: WantedRecipient, account_id: WritingAccount, services: ServicesNow
) -> Recipient:
    """Add an address, or change what it gets; one that was given up is written to again."""
    recipient = await mail_recipients.put_recipient(
        services.engine, account_id, wanted.address, wanted.event_types
    )
    return Recipient(**recipient)


@router.delete("/{recipient_id}", status_code=204)
async def remove_recipient(
    account_id: WritingAccount, services: ServicesNow, recipient_id: Annotated[str, Path(max_length=512)]
) -> None:
    """Take an address away."""
    await mail_recipients.remove_recipient(services.engine, account_id, recipient_id)
